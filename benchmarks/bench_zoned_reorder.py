"""Writes a second through the reorder buffers, zone state machine included: in order, and out of it.

Writes of one block to 64 zones in turn, each full zone reset when it is written again; displaced by up to so many
writes of their zone, with window and quota to suit, gap timer on. ``pytest benchmarks/bench_zoned_reorder.py`` prints
the figures beside their goals and fails where one is not reached.
"""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.ftl.zoned.manage import manage
from pipeline.ftl.zoned.reorder import (
    BuffersOfAll,
    Room,
    Rules,
    Write,
    buffers_of,
    fire,
    managed,
    new_buffers,
    put,
)
from pipeline.ftl.zoned.state import Geometry, Zones, new_zones
from traces.block import Op
from traces.kernel import lean_kernel

ZONES, CAPACITY = 64, 4096
GOALS = {0: 15.0, 1: 8.0, 8: 8.0, 64: 4.0}  # M writes a second, by displacement
GAP = 100  # ns


@lean_kernel
def serve(zones: Zones, fleet: BuffersOfAll, order: Any, begin: int) -> int:
    """Write each zone once, in that order of its blocks; how many writes were refused."""
    refused, at = 0, begin
    buffers = buffers_of(fleet, 0)
    for zone in range(ZONES):
        manage(zones, Op.ZONE_RESET, zone * zones.size, False, False)
        managed(zones, buffers, zone, at)
    for i in range(order.size):
        for zone in range(ZONES):
            at += GAP
            fire(zones, buffers, at)
            refused += put(zones, buffers, Write(zone, order[i], 1, 0, at, i)) != 0
    return refused


def displaced(by: int) -> NDArray[np.int64]:
    """The blocks of a zone, each at most so many places from its own."""
    keys = np.arange(CAPACITY) + np.random.default_rng(1).random(CAPACITY) * (by + 1)
    return np.argsort(keys).astype(np.int64)


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("by", GOALS)
def test_put(benchmark: Any, by: int, capsys: pytest.CaptureFixture[str]) -> None:
    rules = Rules(window=2 * max(by, 1), quota=max(by, 1), gap_timer=1_000_000_000, page=4)
    zones = new_zones(Geometry(ZONES, CAPACITY, CAPACITY))
    fleet = new_buffers(rules, [Room(ZONES, CAPACITY)])
    order = displaced(by)
    assert serve(zones, fleet, order, 0) == 0
    rounds = iter(range(1, 100))
    benchmark.pedantic(
        lambda: serve(zones, fleet, order, next(rounds) * GAP * ZONES * CAPACITY), rounds=7, iterations=1
    )
    rate = ZONES * CAPACITY / benchmark.stats.stats.min / 1e6
    told = f"displaced by {by}: {rate:.1f} M writes/s, goal {GOALS[by]:.1f}: "
    told += "reached" if rate >= GOALS[by] else "not reached"
    with capsys.disabled():
        print(f"\n{told}")
    assert rate >= GOALS[by], told
