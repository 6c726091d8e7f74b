"""Commands a second of the zone state machine by itself, on one core.

Writes and appends of 1 to 8 blocks, evenly spread over 64 zones, and a reset of each zone that is full: arrays of
commands to arrays of statuses. Without limits; with limits that close a zone for nearly every command; with random
write areas. ``pytest benchmarks/bench_zoned.py`` prints the figures beside the goal and fails where it is not reached.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipeline.ftl.zoned.manage import command
from pipeline.ftl.zoned.state import Attribute, Geometry, State, Zones, new_zones
from traces.block import Flag, Op
from traces.kernel import lean_kernel
from traces.table import I64, U8, U16

COMMANDS, ZONES = 1 << 22, 64
GOAL = 5.0  # M commands a second
CASES = {
    "no limits": Geometry(ZONES, 4096, 3072),
    "limits": Geometry(ZONES, 4096, 3072, max_open=8),
    "random write areas": Geometry(ZONES, 4096, 3072, zrwa=16, granularity=2, zrwas=ZONES),
}
_ZRWA = int(Flag.ZRWA)


class Commands(NamedTuple):
    """Commands, one row each, and what they are answered."""

    op: U8
    slba: I64
    blocks: I64
    flags: U16
    status: U16


@lean_kernel
def _answers(zones: Zones, c: Commands) -> None:
    for row in range(c.op.size):
        c.status[row], _ = command(zones, c.op[row], c.slba[row], c.blocks[row], c.flags[row])


@lean_kernel
def _plan(zones: Zones, chance: I64, c: Commands) -> None:
    """Commands that all succeed."""
    op, slba, blocks, flags = c.op, c.slba, c.blocks, c.flags
    for row in range(op.size):
        zone = chance[row] % zones.zones
        start, wp = zone * zones.size, zones.wp[zone]
        op[row], slba[row], blocks[row] = Op.WRITE, start + wp, 1 + (chance[row] >> 8) % 8
        if zones.state[zone] == State.FULL or (zones.zrwa and wp + 24 > zones.capacity):
            op[row], slba[row] = Op.ZONE_RESET, start
        elif zones.zrwa and not zones.attributes[zone] & Attribute.ZRWA:
            op[row], slba[row], flags[row] = Op.ZONE_OPEN, start, _ZRWA
        elif zones.zrwa:
            slba[row] += 2 * ((chance[row] >> 12) % 8)
        else:
            blocks[row] = min(blocks[row], zones.capacity - wp)
            if chance[row] >> 16 & 1:
                op[row], slba[row] = Op.ZONE_APPEND, start
        command(zones, op[row], slba[row], blocks[row], flags[row])


@pytest.mark.benchmark(timer=time.thread_time)  # of one core: what else the machine does takes no part of it
@pytest.mark.parametrize("case", CASES)
def test_zones(benchmark: Any, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    geometry = CASES[case]
    dtypes: tuple[Any, ...] = (np.uint8, np.int64, np.int64, np.uint16, np.uint16)
    commands = Commands(*(np.zeros(COMMANDS, dtype) for dtype in dtypes))
    _plan(new_zones(geometry), np.random.default_rng(1).integers(0, 1 << 20, COMMANDS), commands)
    _answers(new_zones(geometry), commands)  # compiles
    benchmark.pedantic(_answers, setup=lambda: ((new_zones(geometry), commands), {}), rounds=3, iterations=1)
    assert not commands.status.any()
    assert len(np.unique(commands.op)) == 3
    rate = COMMANDS / benchmark.stats.stats.min / 1e6
    told = f"{case}: {rate:.1f} M commands/s, goal {GOAL:.1f}: {'reached' if rate >= GOAL else 'not reached'}"
    with capsys.disabled():
        print(f"\n{told}")
    assert rate >= GOAL, told
