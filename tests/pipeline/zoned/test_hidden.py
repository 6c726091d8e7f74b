"""Inputs of zones with random write areas that a recording does not tell, and what is found of them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ftl.zoned.hidden import Inputs, find
from pipeline.ftl.zoned.state import Geometry, Profile, new_zones
from tests.damage import read
from tests.pipeline.zoned.test_recordings import BLOCK, RANDOM, answer
from traces.block import Flag, Op
from traces.formats import nvme_tsv
from traces.nvme import NOT_TOLD, recorded_status

pytestmark = pytest.mark.kernels

SMALL = Geometry(4, 16, 12, max_open=2, max_active=3, zrwa=4, granularity=2, zrwas=2)


def inputs(commands: list[tuple[int, int, int, int]], recorded: list[int]) -> Inputs:
    op, slba, blocks, flags = np.array(commands, np.int64).reshape(-1, 4).T
    return Inputs(op.astype(np.uint8), slba, blocks, flags.astype(np.uint16), np.array(recorded, np.uint16))


def answered(geometry: Geometry, told: Inputs) -> list[int]:
    zones = new_zones(geometry)
    return [answer(zones, Op(op), *(int(each) for each in rest))[0] for op, *rest in zip(*told[:4], strict=True)]


def veiled(told: Inputs) -> Inputs:
    """What is left of commands in a table of them."""
    flush = told.op == Op.ZONE_FLUSH_ZRWA
    return told._replace(
        op=np.where(flush, np.uint8(Op.ZONE_MANAGE), told.op),
        slba=np.where(flush, 0, told.slba),
        flags=told.flags & ~np.uint16(Flag.ZRWA),
    )


def a_command(geometry: Geometry) -> st.SearchStrategy[tuple[int, int, int, int]]:
    zone = st.integers(0, geometry.zones - 1).map(lambda each: each * geometry.size)
    block = st.integers(0, geometry.zones * geometry.size - 1)
    flags = st.sampled_from([0, 0, 0, Flag.ZRWA, Flag.ZRWA, Flag.ALL_ZONES])
    return st.one_of(
        st.tuples(st.just(Op.WRITE), block, st.integers(1, 6), st.just(0)),
        st.tuples(st.just(Op.ZONE_APPEND), zone, st.integers(1, 6), st.just(0)),
        st.tuples(st.just(Op.ZONE_OPEN), zone, st.just(0), flags),
        st.tuples(st.just(Op.ZONE_FLUSH_ZRWA), block, st.just(0), st.just(0)),
        st.tuples(st.sampled_from([Op.ZONE_CLOSE, Op.ZONE_FINISH, Op.ZONE_RESET]), zone, st.just(0), st.just(0)),
    )


@given(commands=st.lists(a_command(SMALL), max_size=40), profile=st.sampled_from(Profile))
def test_find__explains_every_answer(commands: list[tuple[int, int, int, int]], profile: Profile) -> None:
    geometry = SMALL._replace(profile=profile)
    true = inputs(commands, [0] * len(commands))
    given_ = veiled(true)._replace(recorded=np.array(answered(geometry, true), np.uint16))
    found = find(geometry, given_)
    assert found.unexplained == -1
    refused = (given_.op == Op.ZONE_MANAGE) & (given_.recorded != 0)
    again = np.array(answered(geometry, found.inputs), np.uint16)
    assert (again == given_.recorded)[~refused].all()
    assert found.certain <= found.found <= len(commands)
    for name in ("blocks", "recorded"):
        assert (getattr(found.inputs, name) == getattr(given_, name)).all()


def test_find__what_follows_tells() -> None:
    """A write above the write pointer passes only where the zone has an area; where it has none the answer says so."""
    for asked, status in ((Flag.ZRWA, 0), (0, 0x1BC)):
        given_ = inputs([(Op.ZONE_OPEN, 0, 0, 0), (Op.WRITE, 2, 1, 0)], [0, status])
        found = find(SMALL, given_)
        assert found.inputs.flags.tolist() == [asked, 0]
        assert (found.found, found.certain) == (1, 1)
    found = find(SMALL, inputs([(Op.ZONE_OPEN, 0, 0, 0), (Op.WRITE, 0, 1, 0)], [0, 0]))
    assert (found.found, found.certain) == (1, 0)


def test_find__what_no_inputs_explain() -> None:
    given_ = inputs([(Op.WRITE, 0, 1, 0), (Op.WRITE, 0, 1, 0), (Op.WRITE, 1, 1, 0)], [0, 0, 0])
    found = find(SMALL, given_)
    assert found.unexplained == 1
    assert found.inputs is given_
    untold = given_._replace(recorded=np.array([0, NOT_TOLD, 0], np.uint16))
    assert find(SMALL, untold).unexplained == -1


def test_find__a_recording(shared: Path) -> None:
    rows, report = read(nvme_tsv.FORMAT, [shared / "captures/C_zns/zns.tsv.zst"])
    some = rows.filter(pl.col("volume") == report.volumes["ns4"])
    slba, blocks = (some[name].cast(pl.Int64).to_numpy() // BLOCK for name in ("offset", "length"))
    given_ = Inputs(some["op"].to_numpy(), slba, blocks, some["flags"].to_numpy(), recorded_status(some))
    found = find(RANDOM, given_)
    assert (found.found, found.certain, found.unexplained) == (465, 145, -1)
    unequal = np.flatnonzero(np.array(answered(RANDOM, found.inputs)) != given_.recorded)
    # a report past the namespace whose address the table does not tell, and a flush that was refused
    told: list[Any] = [(Op(given_.op[row]), int(given_.recorded[row])) for row in unequal]
    assert told == [(Op.ZONE_REPORT, 0x080), (Op.ZONE_MANAGE, 0x1BE)]
    assert find(RANDOM._replace(zrwa=6), given_).unexplained > 0
