"""Buffers for writes that come too early, against `tests.reference.reorder` and by hand."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.ftl.zoned.manage import manage
from pipeline.ftl.zoned.reorder import TALLY, Acknowledge, GapAction, Group, Overlap, Rules, settle
from pipeline.ftl.zoned.state import Profile, Zones, advance, claim, write
from tests.pipeline.zoned.buffered import (
    ALL,
    POWER,
    PUT,
    READ,
    WAIT,
    Steps,
    buffers_for,
    performed,
    pieces,
    stored,
    waiting,
    zones_of,
)
from tests.reference import reorder as reference
from traces.block import Op
from traces.config import spelled

pytestmark = pytest.mark.kernels


class Asked:
    """Zones for the reference."""

    def __init__(self, zones: Zones) -> None:
        self.zones, self.capacity = zones, zones.capacity

    def state(self, zone: int) -> int:
        return int(self.zones.state[zone])

    def wp(self, zone: int) -> int:
        return int(self.zones.wp[zone])

    def claim(self, zone: int) -> int:
        return int(claim(self.zones, zone))

    def advance(self, zone: int, blocks: int) -> None:
        advance(self.zones, zone, blocks)


class Slow:
    """The reference with the rules of the buffers, doing the same steps."""

    def __init__(self, rules: Rules, zones: Zones, extents: int) -> None:
        self.zones = zones
        self.buffers = reference.Buffers(
            Asked(zones),
            zones.zones,
            rules.window,
            rules.quota,
            spelled(rules.group),
            rules.stream_groups,
            rules.unit,
            rules.gap_timer,
            spelled(rules.gap_action),
            spelled(rules.acknowledge),
            rules.overlap == Overlap.REPLACE,
            rules.page,
            extents or 1 << 30,
        )

    def do(self, row: int, what: int, zone: int, at: int, blocks: int, stream: int, time: int) -> int:
        buffers = self.buffers
        buffers.fire(time)
        if what == PUT:
            return buffers.put(zone, at, blocks, stream, time, row)
        if what == READ:
            return len(buffers.read(zone, at, blocks))
        if what == POWER:
            buffers.lose_power(blocks > 0, time)
            return buffers.tally["buffered"]
        if what == ALL:
            for each in range(buffers.count):
                buffers.managed(each, time)
        elif what != WAIT:
            status = int(manage(self.zones, what, zone * self.zones.size, False, False))
            buffers.managed(zone, time)
            return status
        return 0


MANAGEMENT = [Op.ZONE_RESET, Op.ZONE_FINISH, Op.ZONE_CLOSE]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Rules, tuple[int, int, int, int, Profile], int, list[tuple[int, ...]]]:
    """Rules, zones, the pool, and steps whose blocks count from the write pointer."""
    count, capacity = draw(st.integers(1, 4)), draw(st.integers(4, 40))
    rules = Rules(
        window=draw(st.integers(0, 24)),
        quota=draw(st.integers(0, 24)),
        group=draw(st.sampled_from(Group)),
        stream_groups=draw(st.integers(1, 3)),
        unit=draw(st.integers(1, 16)),
        gap_timer=draw(st.sampled_from([0, 1, 5, 20])),
        gap_action=draw(st.sampled_from(GapAction)),
        acknowledge=draw(st.sampled_from(Acknowledge)),
        overlap=draw(st.sampled_from(Overlap)),
        page=draw(st.integers(1, 5)),
    )
    count_of_steps = draw(st.sampled_from([10, 40, 300]))
    if count_of_steps == 300:  # lists that are drawn step by step are too short to fill many zones
        rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
        what = rng.choice(
            [PUT, READ, WAIT, POWER, ALL, *MANAGEMENT], 300, p=[0.87, 0.02, 0.01, 0.01, 0.01, 0.06, 0.01, 0.01]
        )
        lows, highs = [0, -1, 1, 0, 0], [count, draw(st.integers(1, 11)), draw(st.integers(2, 9)), 5, 4]
        steps = [tuple(each) for each in np.column_stack([what, rng.integers(lows, highs, (300, 5))]).tolist()]
    else:
        step = st.tuples(
            st.sampled_from([PUT] * 24 + [READ] * 2 + [WAIT, POWER, ALL, *MANAGEMENT]),
            st.integers(0, count - 1),
            st.integers(-1, 10),
            st.integers(1, 8),
            st.integers(0, 4),
            st.integers(0, 6),
        )
        steps = draw(st.lists(step, max_size=count_of_steps))
    active = draw(st.integers(0, count))
    limits = draw(st.integers(0, active or count)), active, draw(st.sampled_from(Profile))
    extents = draw(st.sampled_from([0, 0, 1, 2, 5]))
    return rules, (count, capacity, *limits), extents, steps


@settings(max_examples=300)
@given(situations())
def test_same_as_the_reference(situation: tuple[Rules, tuple[int, int, int, int, Profile], int, Any]) -> None:
    rules, geometry, extents, drawn = situation
    slow = Slow(rules, zones_of(*geometry), extents)
    steps: Steps = []
    want, time = [], 0
    for what, zone, near, blocks, stream, later in drawn:
        time += later
        slow.buffers.fire(time)
        step = what, zone, max(slow.buffers.zones.wp(zone) + near, 0), blocks, stream, time
        want.append(slow.do(len(steps), *step))
        steps.append(step)
    zones = zones_of(*geometry)
    buffers = buffers_for(rules, zones, extents or 200, media=4000)
    assert performed(zones, buffers, steps) == want
    settle(buffers, time)
    slow.buffers.settle(time)

    tally, expected = buffers.tally[0], slow.buffers.tally
    have = {name: int(tally[name]) for name in TALLY.names or ()}
    assert have == {name: expected[name] for name in have} | {"changed": time}
    assert not set(expected) - set(have)
    for bins, counter in ((buffers.distances, slow.buffers.distances), (buffers.held, slow.buffers.held)):
        assert {i: int(n) for i, n in enumerate(bins) if n} == counter
    assert [(z, a + i, row) for z, a, n, row in pieces(buffers) for i in range(n)] == slow.buffers.media
    assert zones.wp.tolist() == slow.zones.wp.tolist()
    assert zones.state.tolist() == slow.zones.state.tolist()
    blocks_of = {
        zone: {at + i: row for at, n, row in extents for i in range(n)} for zone, extents in stored(buffers).items()
    }
    assert blocks_of == {z: {b: w.row for b, w in sorted(own.items())} for z, own in slow.buffers.buffered.items()}
    assert waiting(buffers) == list(slow.buffers.gaps.items())
    assert sum(buffers.used) == sum(slow.buffers.used.values())


@given(situations())
def test_writes_are_accounted_for(situation: tuple[Rules, tuple[int, int, int, int, Profile], int, Any]) -> None:
    """Each write ends once, and each block of a zone is programmed once, in order, between two resets."""
    rules, geometry, extents, drawn = situation
    steps, time = [], 0
    for what, zone, near, blocks, stream, later in drawn:
        time += later
        steps.append((what, zone, max(near, 0) * 3, blocks, stream, time))
    zones = zones_of(*geometry)
    buffers = buffers_for(rules, zones, extents, media=4000)
    performed(zones, buffers, steps)
    t = buffers.tally[0]
    refused = sum(int(t[name]) for name in TALLY.names or () if name.startswith("refused_"))
    assert t.writes == t.in_order + t.early + refused
    ends = ("drained", "late", "lost", "absent", "discarded", "replaced", "buffered")
    assert t.early == sum(int(t[name if name == "drained" else name + "_writes"]) for name in ends)
    assert t.programmed + t.padded == sum(n for _, _, n, _ in pieces(buffers))
    assert t.buffered == sum(buffers.used) <= t.peak
    reached = dict.fromkeys(range(zones.zones), 0)
    for zone, at, blocks, _ in pieces(buffers):
        assert at in (reached[zone], 0)
        reached[zone] = at + blocks


def arrive(orders: NDArray[np.int64], blocks: int, window: int, quota: int) -> tuple[int, int, int]:
    """Writes of so many blocks to a zone for each row of ``orders``, in that order; what window and quota refused.

    The last number: how many blocks were buffered of a zone at most, if there is but one. If nothing is refused each
    zone must have been programmed from its start to its end, each write once.
    """
    count, writes = orders.shape
    zones = zones_of(count, writes * blocks)
    buffers = buffers_for(Rules(window, quota), zones, media=orders.size)
    steps = np.zeros((orders.size, 6), np.int64)
    steps[:, 0], steps[:, 3] = PUT, blocks
    steps[:, 1] = np.repeat(np.arange(count), writes)
    steps[:, 2] = orders.ravel() * blocks
    refused = np.count_nonzero(performed(zones, buffers, steps))
    tally = buffers.tally[0]
    assert refused == tally.refused_window + tally.refused_quota
    if not refused:
        media = buffers.media[: buffers.head[0].media]
        assert (media.zone == steps[:, 1]).all()
        assert (media.at.reshape(count, writes) == np.arange(writes) * blocks).all()
        assert (media.blocks == blocks).all()
        assert (steps[media.row, 2] == media.at).all()
        assert zones.wp.tolist() == [writes * blocks] * count
    return int(tally.refused_window), int(tally.refused_quota), int(tally.peak)


def displacement(order: tuple[int, ...]) -> int:
    """How far the writes of a permutation are from their places, at most."""
    return max(abs(i - at) for i, at in enumerate(order))


@pytest.mark.parametrize("blocks", [1, 3, 8])
@pytest.mark.parametrize("writes", range(2, 8))
def test_every_permutation(writes: int, blocks: int) -> None:
    """Displaced by at most d, a window of 2 d writes and a quota of d suffice; a block less is too little for some."""
    every = list(permutations(range(writes)))
    for d in range(1, writes):
        orders = np.array([each for each in every if displacement(each) <= d])
        assert arrive(orders, blocks, 2 * d * blocks, d * blocks)[:2] == (0, 0)
        reach = min(2 * d, writes)  # a write can end no further above the write pointer
        assert arrive(orders, blocks, reach * blocks - 1, writes * blocks)[0] > 0
        assert arrive(orders, blocks, writes * blocks, min(d, writes - 1) * blocks - 1)[1] > 0


@given(st.integers(2, 3000), st.integers(0, 80), st.integers(1, 8), st.integers(0, 1 << 30))
def test_long_permutations(writes: int, d: int, blocks: int, seed: int) -> None:
    keys = np.arange(writes) + np.random.default_rng(seed).random(writes) * (d + 1)
    order = np.argsort(keys)
    have = displacement(tuple(order.tolist()))
    assert have <= d
    window, quota, peak = arrive(order[np.newaxis], blocks, 2 * have * blocks, have * blocks)
    assert (window, quota) == (0, 0)
    assert peak <= have * blocks


@given(st.integers(1, 8), st.integers(2, 60), st.integers(1, 20), st.integers(0, 1 << 30))
def test_interleaved_streams(streams: int, writes: int, d: int, seed: int) -> None:
    """However streams are mixed, each zone is programmed in order: as if it was alone."""
    rng = np.random.default_rng(seed)
    orders = [np.argsort(np.arange(writes) + rng.random(writes) * (d + 1)) for _ in range(streams)]
    mixed = rng.permutation(np.repeat(np.arange(streams), writes))
    at = [iter(each.tolist()) for each in orders]
    steps = [(PUT, zone, next(at[zone]), 1, zone, 0) for zone in mixed.tolist()]
    zones = zones_of(streams, writes)
    rules = Rules(2 * d, d, Group.STREAM, stream_groups=streams)
    buffers = buffers_for(rules, zones, media=len(steps))
    assert not any(performed(zones, buffers, steps))
    for zone in range(streams):
        assert [at for z, at, _, _ in pieces(buffers) if z == zone] == list(range(writes))


@given(st.lists(st.tuples(st.integers(0, 34), st.integers(1, 8)), max_size=40), st.sampled_from(Profile))
def test_without_a_window_it_is_the_state_machine(asked: list[tuple[int, int]], profile: Profile) -> None:
    plain, zones = zones_of(2, 32, profile=profile), zones_of(2, 32, profile=profile)
    buffers = buffers_for(Rules(0, 100), zones)
    steps = [(PUT, 0, at, blocks, 0, 0) for at, blocks in asked]
    assert performed(zones, buffers, steps) == [int(write(plain, at, blocks)) for at, blocks in asked]
    assert zones.wp.tolist() == plain.wp.tolist()
