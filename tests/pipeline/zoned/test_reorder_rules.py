"""What the reorder buffers do, by hand."""

from typing import Any

import numpy as np
import pytest

from pipeline.ftl.zoned.reorder import (
    Acknowledge,
    Group,
    Loss,
    Overlap,
    Room,
    Rules,
    Write,
    buffers_of,
    groups_of,
    lose_power,
    managed,
    most_extents,
    new_buffers,
    put,
)
from pipeline.ftl.zoned.state import State, degrade
from pipeline.ftl.zoned.status import Status
from tests.pipeline.zoned.buffered import (
    PUT,
    READ,
    buffers_for,
    made,
    performed,
    pieces,
    stored,
    waiting,
    written,
    zones_of,
)
from traces.block import Op
from traces.config import spelled

pytestmark = pytest.mark.kernels

INVALID = Status.ZONE_INVALID_WRITE


def test_misplaced_writes_are_programmed_in_order() -> None:
    zones, buffers = made(Rules(window=32, quota=32))
    assert written(zones, buffers, [8, 0, 16, 24]) == [0, 0, 0, 0]
    assert pieces(buffers) == [(0, 0, 8, 1), (0, 8, 8, 0), (0, 16, 8, 2), (0, 24, 8, 3)]
    assert zones.wp[0] == 32


def test_without_buffers_each_misplaced_write_is_an_error() -> None:
    zones, buffers = made(Rules(window=0, quota=0))
    assert written(zones, buffers, [8, 0, 16, 24]) == [INVALID, 0, INVALID, INVALID]
    assert zones.wp[0] == 8
    assert buffers.tally[0].refused_window == 3


CAUSES: dict[str, tuple[Rules, tuple[int, int], int]] = {
    "window": (Rules(32, 99), (33, 8), INVALID),
    "quota": (Rules(99, 15), (40, 8), INVALID),
    "overlap": (Rules(99, 99), (22, 4), INVALID),
    "below": (Rules(99, 99), (0, 1), INVALID),
    "boundary": (Rules(999, 99), (95, 2), Status.ZONE_BOUNDARY_ERROR),
    "pool": (Rules(99, 99), (40, 8), INVALID),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_refused_changes_nothing(cause: str) -> None:
    rules, (at, blocks), status = CAUSES[cause]
    zones, buffers = made(rules._replace(gap_timer=100), extents=1)
    assert written(zones, buffers, [0, 16]) == [0, 0]
    state = [each.copy() for each in (*zones[-5:], *buffers[1:5], buffers.held, buffers.media)]
    tally = buffers.tally.copy()
    assert performed(zones, buffers, [(PUT, 0, at, blocks, 0, 1)]) == [status]
    for old, new in zip(state, (*zones[-5:], *buffers[1:5], buffers.held, buffers.media), strict=True):
        assert (old == new).all()
    tally["writes"] += 1
    tally["refused_" + cause] += 1
    assert (tally == buffers.tally).all()


def test_a_full_zone_and_a_lost_one() -> None:
    zones, buffers = made(Rules(32, 32), count=3)
    performed(zones, buffers, [(Op.ZONE_FINISH, 0, 0, 0, 0, 0)])
    degrade(zones, 1, State.READ_ONLY)
    degrade(zones, 2, State.OFFLINE)
    full, read_only, offline = performed(zones, buffers, [(PUT, zone, 8, 8, 0, 0) for zone in range(3)])
    assert (full, read_only, offline) == (
        Status.ZONE_IS_FULL,
        Status.ZONE_IS_READ_ONLY,
        Status.ZONE_IS_OFFLINE,
    )
    assert buffers.tally[0].refused_state == 3


def test_resources_are_claimed_at_admission() -> None:
    zones, buffers = made(Rules(32, 32), count=2, max_open=1, max_active=1)
    assert performed(zones, buffers, [(PUT, 0, 8, 8, 0, 0), (PUT, 1, 8, 8, 0, 0), (PUT, 1, 0, 8, 0, 0)]) == [
        0,
        Status.TOO_MANY_ACTIVE_ZONES,
        Status.TOO_MANY_ACTIVE_ZONES,
    ]
    assert zones.state.tolist() == [State.IMPLICITLY_OPEN, State.EMPTY]
    assert buffers.tally[0].refused_resources == 2
    assert stored(buffers) == {0: [(8, 8, 0)], 1: []}


def test_a_zone_closed_meanwhile_opens_again() -> None:
    """Closed for another zone to open, or by the host: buffers and timer stay."""
    zones, buffers = made(Rules(32, 32, gap_timer=50), count=2, max_open=1)
    steps = [(PUT, 0, 8, 8, 0, 0), (PUT, 1, 0, 8, 0, 1), (Op.ZONE_CLOSE, 1, 0, 0, 0, 2)]
    assert performed(zones, buffers, steps) == [0, 0, 0]
    assert zones.state.tolist() == [State.CLOSED, State.CLOSED]
    assert waiting(buffers) == [(0, 50)]
    assert performed(zones, buffers, [(PUT, 0, 0, 8, 0, 3)]) == [0]
    assert (zones.state[0], zones.wp[0]) == (State.IMPLICITLY_OPEN, 16)


SHARED = {  # whether a write to zone 0, at block 20, stream 0 is refused when another used the quota up
    Group.ZONE: [((0, 8, 1), True), ((1, 8, 0), False)],
    Group.STREAM: [((1, 8, 2), True), ((0, 8, 1), False)],
    Group.NAMESPACE: [((1, 8, 1), True)],
    Group.ERASE_UNIT: [((0, 16, 1), True), ((0, 8, 0), False), ((1, 16, 0), False)],
}


@pytest.mark.parametrize(
    ("group", "first", "refused"), [(g, f, r) for g, cases in SHARED.items() for f, r in cases], ids=str
)
def test_whose_quota(group: Group, first: tuple[int, int, int], refused: bool) -> None:
    zones, buffers = made(Rules(96, 4, group, stream_groups=2, unit=16), count=2)
    zone, at, stream = first
    steps = [(PUT, zone, at, 4, stream, 0), (PUT, 0, 20, 1, 0, 0)]
    assert performed(zones, buffers, steps) == [0, INVALID if refused else 0]
    assert buffers.tally[0].refused_quota == refused


@pytest.mark.parametrize("group", Group, ids=spelled)
def test_no_group_refuses_another(group: Group) -> None:
    """All groups fill their quotas to the last block, block by block: the pool has room for it."""
    rules = Rules(33, 4, group, stream_groups=3, unit=11)
    zones, buffers = made(rules, count=2, capacity=33)
    groups = groups_of(rules, 2, 33)
    assert groups == {Group.ZONE: 2, Group.STREAM: 3, Group.NAMESPACE: 1, Group.ERASE_UNIT: 6}[group]
    assert most_extents(rules, 2, 33) == groups * 4
    steps = [(PUT, zone, at, 1, at, 0) for zone in range(2) for at in range(1, 33)]
    status = performed(zones, buffers, steps)
    assert status.count(0) == groups * 4 == buffers.tally[0].buffered
    assert buffers.tally[0].refused_quota == len(steps) - groups * 4
    assert buffers.used.tolist() == [4] * groups


def test_newer_data_replaces_older() -> None:
    zones, buffers = made(Rules(96, 30, overlap=Overlap.REPLACE))
    tally = buffers.tally[0]
    assert written(zones, buffers, [8], blocks=24) == [0]
    assert performed(zones, buffers, [(PUT, 0, 16, 4, 0, 0)]) == [0]  # cuts it in two
    assert stored(buffers)[0] == [(8, 8, 0), (16, 4, 0), (20, 12, 0)]
    assert (tally.replaced_blocks, tally.replaced_writes, tally.buffered_writes) == (4, 0, 2)
    assert performed(zones, buffers, [(PUT, 0, 4, 14, 0, 0)]) == [0]
    assert stored(buffers)[0] == [(4, 14, 0), (18, 2, 0), (20, 12, 0)]
    assert (tally.replaced_blocks, tally.replaced_writes, tally.buffered_writes) == (14, 0, 3)
    assert performed(zones, buffers, [(PUT, 0, 18, 14, 0, 0)]) == [0]
    assert (tally.replaced_writes, tally.buffered_writes) == (2, 2)
    assert buffers.used.tolist() == [28]
    assert performed(zones, buffers, [(PUT, 0, 0, 8, 0, 0)]) == [0]  # at the write pointer, into the first
    assert [piece[:3] for piece in pieces(buffers)] == [(0, 0, 8), (0, 8, 10), (0, 18, 14)]
    assert (tally.replaced_blocks, tally.drained, tally.buffered) == (32, 2, 0)
    assert performed(zones, buffers, [(PUT, 0, at, n, 0, 0) for at, n in [(40, 16), (44, 4), (32, 8)]]) == [0, 0, 0]
    assert [piece[1:] for piece in pieces(buffers)[3:]] == [(32, 8, 2), (40, 4, 0), (44, 4, 1), (48, 8, 0)]
    assert (tally.drained, tally.buffered, tally.buffered_writes) == (4, 0, 0)  # a write in two pieces is one


def test_quota_is_given_back_to_whom_it_was() -> None:
    zones, buffers = made(Rules(96, 4, Group.STREAM, stream_groups=2, overlap=Overlap.REPLACE))
    steps = [(0, 8), (1, 8), (1, 8), (1, 16), (0, 16), (0, 8)]  # stream, at
    status = performed(zones, buffers, [(PUT, 0, at, 4, stream, 0) for stream, at in steps])
    assert status == [0, 0, 0, INVALID, 0, INVALID]
    assert buffers.used.tolist() == [4, 4]


def test_a_pool_has_room_for_what_is_cut() -> None:
    """A write that cuts another in two needs two extents, one that takes the place of another none."""
    zones, buffers = made(Rules(96, 96, overlap=Overlap.REPLACE), extents=2)
    assert written(zones, buffers, [8], blocks=16) == [0]
    assert written(zones, buffers, [12], blocks=4) == [INVALID]
    assert written(zones, buffers, [8], blocks=4) == [0]
    assert written(zones, buffers, [8, 32], blocks=4) == [0, INVALID]
    assert stored(buffers)[0] == [(8, 4, 0), (12, 12, 0)]
    assert buffers.tally[0].refused_pool == 2


def test_nothing_is_programmed_twice() -> None:
    zones, buffers = made(Rules(32, 32))
    assert written(zones, buffers, [0, 8, 16, 16]) == [0, 0, 0, INVALID]
    assert written(zones, buffers, [0, 20, 24, 28], blocks=4) == [INVALID, INVALID, 0, 0]
    assert written(zones, buffers, [32, 32], blocks=8) == [0, INVALID]
    assert [piece[1] for piece in pieces(buffers)] == [0, 8, 16, 24, 28, 32]


def test_management() -> None:
    """Reset discards, finish fails what waits, close keeps."""
    for op, fate in ((Op.ZONE_RESET, "discarded"), (Op.ZONE_FINISH, "lost"), (Op.ZONE_CLOSE, "buffered")):
        zones, buffers = made(Rules(32, 32, gap_timer=10))
        assert written(zones, buffers, [0, 16, 24]) == [0, 0, 0]
        assert performed(zones, buffers, [(op, 0, 0, 0, 0, 5)]) == [0]
        tally = buffers.tally[0]
        kept = 16 if fate == "buffered" else 0
        assert (tally.discarded_blocks, tally.lost_blocks, tally.late_blocks, tally.buffered) == (
            16 * (fate == "discarded"),
            16 * (fate == "lost"),
            0,
            kept,
        )
        assert len(waiting(buffers)) == bool(kept)
        assert buffers.used.tolist() == [kept]


def test_a_zone_given_up() -> None:
    zones, buffers = made(Rules(32, 32, acknowledge=Acknowledge.PROGRAM))
    written(zones, buffers, [0, 16])
    degrade(zones, 0, State.READ_ONLY)
    managed(zones, buffers, 0, 9)
    assert (buffers.tally[0].late_writes, buffers.tally[0].buffered) == (1, 0)


def test_reads_find_what_is_buffered() -> None:
    zones, buffers = made(Rules(64, 64))
    written(zones, buffers, [0, 16, 32])
    asked = [(0, 96), (0, 8), (8, 8), (15, 2), (23, 10), (20, 4), (40, 8)]
    assert performed(zones, buffers, [(READ, 0, at, n, 0, 9) for at, n in asked]) == [16, 0, 0, 1, 2, 4, 0]
    assert buffers.tally[0].read_blocks == 23


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("acknowledge", Acknowledge, ids=spelled)
def test_power_fails(acknowledge: Acknowledge, protected: bool) -> None:
    """At any command: what was acknowledged is on the medium, in the buffers, or told as lost."""
    starts = [8, 0, 24, 16, 48, 40, 32, 64]
    for cut in range(len(starts) + 1):
        zones, buffers = made(Rules(64, 64, gap_timer=1000, acknowledge=acknowledge), count=2)
        status = written(zones, buffers, starts[:cut])
        assert not any(status)
        programmed = sum(n for _, _, n, _ in pieces(buffers))
        held = 8 * cut - programmed
        loss = lose_power(buffers, protected, cut)
        if acknowledge == Acknowledge.PROGRAM:
            assert loss == Loss(0, 0, 0, 0, held // 8, held)
        else:
            assert loss == (Loss(held // 8, held, 0, 0, 0, 0) if protected else Loss(0, 0, held // 8, held, 0, 0))
        readable = performed(zones, buffers, [(READ, 0, int(zones.wp[0]), 96, 0, cut)])
        assert readable == [loss.kept_blocks]
        tally = buffers.tally[0]
        assert (tally.lost_blocks, tally.absent_blocks) == (loss.lost_blocks, loss.absent_blocks)
        assert len(waiting(buffers)) == (loss.kept_blocks > 0)


def test_figures() -> None:
    zones, buffers = made(Rules(64, 64, page=16), capacity=40)
    assert written(zones, buffers, [8, 0, 24, 32, 16], every=10) == [0] * 5
    tally = buffers.tally[0]
    assert (tally.writes, tally.in_order, tally.early, tally.drained) == (5, 2, 3, 3)
    assert tally.pages == 3  # of 16, 16 and 8 blocks
    assert tally.peak == 16
    assert tally.occupancy == 10 * 8 + 10 * 8 + 10 * 16
    assert tally.held == 10 + 20 + 10
    assert {i: int(n) for i, n in enumerate(buffers.distances) if n} == {0: 2, 4: 2, 5: 1}  # 8 twice, 16
    assert {i: int(n) for i, n in enumerate(buffers.held) if n} == {4: 2, 5: 1}


def test_the_media_log_counts_what_it_does_not_hold() -> None:
    zones = zones_of(1, 96)
    buffers = buffers_for(Rules(32, 32), zones, media=2)
    written(zones, buffers, [0, 8, 16])
    assert (buffers.head[0].media, pieces(buffers)) == (3, [(0, 0, 8, 0), (0, 8, 8, 1)])


def test_namespaces_share_arrays_and_nothing_else() -> None:
    rules = Rules(32, 32, gap_timer=10)
    fleet = new_buffers(rules, [Room(2, 64), Room(3, 96)], media=10)
    parts: list[Any] = [buffers_of.py_func(fleet, volume) for volume in range(2)]  # type: ignore[attr-defined]
    assert [part.zone.size for part in parts] == [2, 3]
    zones = zones_of(2, 64), zones_of(3, 96)
    for volume, (place, part) in enumerate(zip(zones, parts, strict=True)):
        for at in (8, 16 + 8 * volume):
            assert put(place, part, Write(1, at, 8, 0, 0, at)) == 0
        alone = buffers_for(rules, place, media=10)
        place.wp[:] = 0
        performed(place, alone, [(PUT, 1, 8, 8, 0, 0), (PUT, 1, 16 + 8 * volume, 8, 0, 0)])
        for name in ("zone", "used", "head", "tally", "distances", "held"):
            assert np.array_equal(getattr(part, name), getattr(alone, name)), name
        assert [each[:2] for each in stored(part)[1]] == [each[:2] for each in stored(alone)[1]]
