"""The zone state machine against the plain one, over random namespaces and commands."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.zoned.manage import INVALID, command, report
from pipeline.ftl.zoned.state import Attribute, Geometry, Profile, State, Zones, degrade, new_zones
from pipeline.ftl.zoned.status import Status
from tests.reference.zns import Namespace
from traces.block import Flag, Op
from traces.kernel import lean_kernel

pytestmark = pytest.mark.kernels

STATES = {
    "empty": State.EMPTY,
    "implicit": State.IMPLICITLY_OPEN,
    "explicit": State.EXPLICITLY_OPEN,
    "closed": State.CLOSED,
    "read only": State.READ_ONLY,
    "full": State.FULL,
    "offline": State.OFFLINE,
}
ACTIONS = {
    Op.ZONE_OPEN: "open",
    Op.ZONE_CLOSE: "close",
    Op.ZONE_FINISH: "finish",
    Op.ZONE_RESET: "reset",
    Op.ZONE_OFFLINE: "offline",
    Op.ZONE_SET_EXTENSION: "extend",
    Op.ZONE_FLUSH_ZRWA: "flush",
    Op.ZONE_MANAGE: "?",
}


@dataclass(frozen=True)
class Command:
    """A command, or a zone given up (``op`` is then the name of its state)."""

    op: Op | str
    zone: int
    at: int = 0
    relative: bool = False  # whether `at` counts from the write pointer
    blocks: int = 1
    flags: int = 0


@lean_kernel
def _command(zones: Zones, op: int, slba: int, blocks: int, flags: int) -> tuple[Any, int]:
    return command(zones, op, slba, blocks, flags)


def reference(geometry: Geometry) -> Namespace:
    options = geometry._asdict() | {"profile": geometry.profile.name.lower()}
    return Namespace(**options)


def told(plain: Namespace, op: Op, slba: int, blocks: int, flags: int) -> tuple[int, int]:
    """The reference's answer."""
    if op == Op.ZONE_APPEND:
        return plain.append(slba, blocks)
    every, zrwa = bool(flags & Flag.ALL_ZONES), bool(flags & Flag.ZRWA)
    if op in ACTIONS:
        return plain.manage(ACTIONS[op], slba, every=every, zrwa=zrwa), -1
    carry = {Op.WRITE: plain.write, Op.READ: plain.read, Op.WRITE_ZEROES: plain.zeroes}
    if op in carry:
        return carry[op](slba, blocks), -1
    return (0x080 if op == Op.ZONE_REPORT and plain.beyond(slba, 1) else 0), -1


def listed(zones: Zones, state: State) -> list[int]:
    """The zones of a list; both ways must give the same."""
    ring = zones.zones + state
    there: list[int] = []
    back: list[int] = []
    for way, zone_list in ((0, there), (1, back)):
        zone = int(zones.links[ring, way])
        while zone != ring:
            zone_list.append(zone)
            zone = int(zones.links[zone, way])
    assert there == back[::-1]
    return there


def same(zones: Zones, plain: Namespace) -> None:
    assert zones.state.tolist() == [STATES[state] for state in plain.state.values()]
    assert zones.wp.tolist() == list(plain.wp.values())
    assert set(np.flatnonzero(zones.attributes & Attribute.ZRWA).tolist()) == plain.random
    assert set(np.flatnonzero(zones.attributes & Attribute.EXTENSION).tolist()) == plain.extended
    for name, zones_of in plain.order.items():
        assert listed(zones, STATES[name]) == zones_of
    head = zones.head[0]
    assert head["open"] == plain.count("implicit", "explicit")
    assert head["active"] == plain.count("implicit", "explicit", "closed")
    assert head["left"] == plain.left


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    zones, granularity = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    capacity = draw(st.integers(1, 16))
    max_active = draw(st.integers(0, zones))
    zrwa = draw(st.sampled_from([0, 1, 1, 2])) * granularity
    return Geometry(
        zones=zones,
        size=capacity + draw(st.integers(0, 6)),
        capacity=capacity,
        max_open=draw(st.integers(0, max_active or zones)),
        max_active=max_active,
        profile=draw(st.sampled_from(Profile)),
        extension=draw(st.sampled_from([0, 64])),
        cross_read=draw(st.booleans()),
        zrwa=zrwa,
        granularity=granularity,
        zrwas=draw(st.integers(0, max_active or zones)) if zrwa else 0,
        largest=draw(st.sampled_from([0, 5])),
        largest_append=draw(st.sampled_from([0, 3])),
    )


def commands(geometry: Geometry) -> st.SearchStrategy[Command]:
    zone = st.integers(0, geometry.zones - 1)
    anywhere = st.integers(0, geometry.zones)  # one beyond
    near = st.one_of(st.just(0), st.integers(-2, 2 * geometry.zrwa + 1))
    blocks = st.one_of(st.integers(1, 6), st.integers(1, 2 * geometry.size))
    managing = st.sampled_from([*ACTIONS, Op.ZONE_OPEN, Op.ZONE_OPEN, Op.ZONE_FLUSH_ZRWA])
    flags = st.sampled_from([0, 0, 0, Flag.ZRWA, Flag.ZRWA, Flag.ALL_ZONES, Flag.ALL_ZONES | Flag.ZRWA])
    return st.one_of(
        st.builds(Command, st.just(Op.WRITE), zone, near, st.just(True), blocks),
        st.builds(Command, st.sampled_from([Op.WRITE, Op.WRITE_ZEROES]), zone, near, st.just(True), blocks),
        st.builds(Command, st.just(Op.ZONE_APPEND), anywhere, st.sampled_from([0, 0, 0, 1]), blocks=blocks),
        st.builds(Command, st.just(Op.READ), anywhere, st.integers(0, geometry.size - 1), blocks=blocks),
        st.builds(Command, managing, anywhere, st.sampled_from([0, 0, 0, 0, 1]), flags=flags),
        st.builds(Command, st.just(Op.ZONE_OPEN), zone, flags=flags),
        st.builds(
            Command, st.just(Op.ZONE_FLUSH_ZRWA), zone, st.sampled_from([-1, *range(geometry.zrwa + 2)]), st.just(True)
        ),
        st.builds(Command, st.sampled_from([Op.ZONE_REPORT, Op.FLUSH, Op.DISCARD, Op.UNKNOWN]), anywhere),
        st.builds(Command, st.sampled_from(["read only", "offline"]), zone),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Geometry, list[Command]]:
    geometry = draw(geometries())
    return geometry, draw(st.lists(commands(geometry), min_size=10, max_size=60))


@settings(max_examples=400)
@given(histories())
def test_command__equals_the_reference(history: tuple[Geometry, list[Command]]) -> None:
    geometry, given_ = history
    zones, plain = new_zones(geometry), reference(geometry)
    for each in given_:
        if isinstance(each.op, str):
            degrade(zones, each.zone, STATES[each.op])
            plain.enter(each.zone, each.op)
        else:
            at = each.at + (plain.wp[each.zone] if each.relative else 0)
            slba = max(0, each.zone * geometry.size + at)
            before = (dict(plain.state), dict(plain.wp), {k: list(v) for k, v in plain.order.items()}, plain.left)
            expected = told(plain, each.op, slba, each.blocks, each.flags)
            assert _command(zones, each.op, slba, each.blocks, each.flags) == expected
            if expected[0] and geometry.profile == Profile.NVME:
                assert before == (plain.state, plain.wp, plain.order, plain.left)
            if geometry.profile == Profile.NVME:
                assert 0 <= plain.left <= geometry.zrwas
                assert max(plain.wp.values()) <= geometry.capacity
        same(zones, plain)
        assert not geometry.max_open or zones.head[0]["open"] <= geometry.max_open
        assert not geometry.max_active or zones.head[0]["active"] <= geometry.max_active
    expected_rows = [z for z in range(geometry.zones) if plain.state[z] in ("full", "closed")]
    status, rows = report(zones, 0, (State.FULL, State.CLOSED))
    assert status == Status.SUCCESS
    assert rows.start.tolist() == [zone * geometry.size for zone in expected_rows]
    assert rows.pointer.tolist() == [
        INVALID if plain.state[zone] == "full" else zone * geometry.size + plain.wp[zone] for zone in expected_rows
    ]


def test_report__begins_at_the_zone_of_a_block() -> None:
    zones = new_zones(Geometry(4, 8, 6))
    status, rows = report(zones, 9)
    assert (status, rows.start.tolist(), rows.pointer.tolist()) == (Status.SUCCESS, [8, 16, 24], [8, 16, 24])
    status, rows = report(zones, 32)
    assert (status, rows.start.size) == (Status.LBA_OUT_OF_RANGE, 0)


def test_degrade__takes_no_other_state() -> None:
    with pytest.raises(ValueError, match="not as <State"):
        degrade(new_zones(Geometry(1, 8, 8)), 0, State.FULL)


@pytest.mark.parametrize(("profile", "evicts"), [(Profile.NVME, False), (Profile.QEMU, True)])
def test_refused_for_too_many_active__closes_a_zone_in_one_profile(profile: Profile, evicts: bool) -> None:
    zones = new_zones(Geometry(4, 8, 8, max_open=2, max_active=2, profile=profile))
    assert [_command(zones, Op.WRITE, slba, 1, 0)[0] for slba in (0, 8, 16)] == [0, 0, Status.TOO_MANY_ACTIVE_ZONES]
    assert (zones.state[0] == State.CLOSED) == evicts
    assert zones.head[0]["evicted"] == evicts


def test_qemu__flush_past_the_capacity_and_areas_that_leak() -> None:
    zones = new_zones(Geometry(2, 16, 6, profile=Profile.QEMU, zrwa=4, granularity=4, zrwas=1))
    assert _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ZRWA)[0] == Status.SUCCESS
    assert [_command(zones, Op.ZONE_FLUSH_ZRWA, last, 0, 0)[0] for last in (3, 7)] == [0, 0]
    assert (zones.wp[0], zones.state[0]) == (8, State.EXPLICITLY_OPEN)
    assert _command(zones, Op.ZONE_OPEN, 16, 0, 0)[0] == Status.SUCCESS
    assert _command(zones, Op.ZONE_OPEN, 16, 0, Flag.ZRWA)[0] == Status.SUCCESS  # though none is left
    assert zones.head[0]["left"] == 0xFFFFFFFF


@pytest.mark.parametrize(("profile", "most"), [(Profile.NVME, 4), (Profile.QEMU, 5)])
def test_flush__of_an_area_and_in_one_profile_of_a_block_more(profile: Profile, most: int) -> None:
    for blocks in range(7):
        zones = new_zones(Geometry(1, 16, 12, profile=profile, zrwa=4, zrwas=1))
        assert _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ZRWA)[0] == Status.SUCCESS
        assert _command(zones, Op.WRITE, 3, 3, 0)[0] == Status.SUCCESS  # two beyond the area: they are flushed
        expected = Status.SUCCESS if 0 < blocks <= most else Status.ZONE_BOUNDARY_ERROR
        assert _command(zones, Op.ZONE_FLUSH_ZRWA, 1 + blocks, 0, 0)[0] == expected
        assert zones.wp[0] == (2 + blocks if expected == Status.SUCCESS else 2)


def closed(geometry: Geometry, zones_of: list[int], opened: list[int]) -> Zones:
    """Zones with a block each: some closed, then some implicitly open."""
    zones = new_zones(geometry)
    for zone in [*zones_of, *opened]:
        assert _command(zones, Op.WRITE, zone * geometry.size, 1, 0)[0] == Status.SUCCESS
        if zone in zones_of:
            assert _command(zones, Op.ZONE_CLOSE, zone * geometry.size, 0, 0)[0] == Status.SUCCESS
    return zones


@pytest.mark.parametrize(("profile", "opened"), [(Profile.NVME, []), (Profile.QEMU, [2, 0])])
def test_open_of_all__that_are_too_many(profile: Profile, opened: list[int]) -> None:
    zones = closed(Geometry(4, 8, 8, max_open=2, profile=profile), [2, 0, 1], [])
    assert _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ALL_ZONES)[0] == Status.TOO_MANY_OPEN_ZONES
    assert listed(zones, State.EXPLICITLY_OPEN) == opened


@pytest.mark.parametrize(
    ("profile", "status"), [(Profile.NVME, Status.SUCCESS), (Profile.QEMU, Status.TOO_MANY_OPEN_ZONES)]
)
def test_open_of_all__and_of_those_closed_on_the_way(profile: Profile, status: Status) -> None:
    zones = closed(Geometry(4, 8, 8, max_open=2, profile=profile), [0, 1], [2, 3])
    assert _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ALL_ZONES)[0] == status
    assert (listed(zones, State.EXPLICITLY_OPEN), listed(zones, State.CLOSED)) == ([0, 1], [2, 3])


@pytest.mark.parametrize(("granularity", "areas", "got"), [(2, 2, False), (1, 1, False), (1, 2, True)])
def test_open_of_all__with_areas(granularity: int, areas: int, got: bool) -> None:
    zones = closed(Geometry(2, 8, 8, zrwa=2, granularity=granularity, zrwas=areas), [0, 1], [])
    for slba in (1, 9, 10):  # the zone closed first has two blocks, the other three
        assert _command(zones, Op.WRITE, slba, 1, 0)[0] == Status.SUCCESS
        assert _command(zones, Op.ZONE_CLOSE, slba // 8 * 8, 0, 0)[0] == Status.SUCCESS
    status = _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ALL_ZONES | Flag.ZRWA)[0]
    assert status == (Status.SUCCESS if got else Status.NO_ZRWA_RESOURCES)
    assert listed(zones, State.EXPLICITLY_OPEN) == ([0, 1] if got else [])
    assert zones.head[0]["left"] == (0 if got else areas)


@pytest.mark.parametrize("profile", Profile)
def test_close_of_all__zones_implicitly_open_first(profile: Profile) -> None:
    zones = new_zones(Geometry(4, 8, 8, profile=profile))
    for op, zone in ((Op.ZONE_OPEN, 3), (Op.WRITE, 2), (Op.ZONE_OPEN, 0), (Op.WRITE, 1)):
        assert _command(zones, op, zone * 8, 1, 0)[0] == Status.SUCCESS
    assert _command(zones, Op.ZONE_CLOSE, 0, 0, Flag.ALL_ZONES)[0] == Status.SUCCESS
    assert listed(zones, State.CLOSED) == [2, 1, 3, 0]


@pytest.mark.parametrize(("state", "kept"), [(State.READ_ONLY, True), (State.OFFLINE, False)])
def test_degrade__what_a_zone_keeps(state: State, kept: bool) -> None:
    zones = new_zones(Geometry(1, 8, 8, max_open=1, extension=64, zrwa=2, zrwas=1))
    assert _command(zones, Op.ZONE_SET_EXTENSION, 0, 0, 0)[0] == Status.SUCCESS
    assert _command(zones, Op.ZONE_OPEN, 0, 0, Flag.ZRWA)[0] == Status.SUCCESS
    assert zones.attributes[0] == Attribute.EXTENSION + Attribute.ZRWA
    degrade(zones, 0, state)
    assert zones.attributes[0] == (Attribute.EXTENSION if kept else 0)
    assert zones.head[0].tolist()[:3] == (0, 0, 1)  # nothing open or active, an area left
