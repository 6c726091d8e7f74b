"""Hit ratios of all sizes at once against LRU caches of each size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ftl.l2p.mrc import Curve, Stack, curve_of, full, grown, new_stack, touch
from tests.reference.mrc import Looked, Sample, lru
from traces.kernel import lean_kernel
from traces.table import I64, Bool

pytestmark = pytest.mark.kernels


@lean_kernel
def _touch_all(s: Stack, keys: I64, reads: Bool, begin: int) -> int:
    for i in range(begin, keys.size):
        if full(s):
            return i
        touch(s, keys[i], reads[i])
    return keys.size


def curve(lookups: Looked, most: int, room: int = 1) -> Curve:
    """As the kernels tell it, growing from so little room."""
    keys = np.array([key for key, _ in lookups], np.int64)
    reads = np.array([read for _, read in lookups], np.bool_)
    s, done = new_stack(most, room), 0
    while (done := _touch_all(s, keys, reads, done)) < keys.size:
        s = grown(s)
    return curve_of(s)


def skewed(keys: int, count: int, seed: int = 1) -> Looked:
    chance = np.random.default_rng(seed)
    drawn = (chance.random(count) ** 3 * keys).astype(int) * 7919
    return list(zip(drawn.tolist(), (chance.random(count) < 0.4).tolist(), strict=True))


lookup_lists = st.lists(st.tuples(st.integers(0, 40) | st.integers(0, 1 << 52), st.booleans()), max_size=200)


@given(lookup_lists)
def test_curve__is_that_of_lru_caches_of_each_size(lookups: Looked) -> None:
    have = curve(lookups, 1000)
    distinct = len({key for key, _ in lookups})
    assert (have.lookups, have.reads) == (len(lookups), sum(read for _, read in lookups))
    assert (have.keys, have.step, have.exact) == (distinct, 1, True)
    for size in range(distinct + 2):
        hits, of_reads = lru(lookups, size)
        assert have.hit_ratio(size) == (hits / len(lookups) if lookups else -1)
        assert have.read_hit_ratio(size) == (of_reads / have.reads if have.reads else -1)


@pytest.mark.parametrize("room", [1, 700, 3000])
def test_curve__is_exact_where_ranks_are_closed_and_room_grows_many_times(room: int) -> None:
    lookups = skewed(3000, 40_000)
    have = curve(lookups, 3000, room)
    for size in (1, 2, 63, 64, 65, 1000, 2999, 3000):
        hits, of_reads = lru(lookups, size)
        assert (have.all[min(size, have.all.size - 1)], have.of_reads[min(size, have.all.size - 1)]) == (hits, of_reads)
    assert have.exact


def test_curve__counts_over_many_runs_of_words() -> None:
    """Places in the thousands of runs, where distances are told by each of the four steps."""
    keys = 1 << 17
    order = [*range(keys), *range(keys - 1, -1, -1)]  # the second pass has the distances 0, 1, 2...
    have = curve([(key, True) for key in order], keys, keys)
    assert have.all[:5].tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(have.all, np.arange(keys + 1))


@given(lookup_lists, st.integers(2, 20))
def test_curve__of_a_sample_is_that_of_the_list(lookups: Looked, most: int) -> None:
    have, want = curve(lookups, most), Sample(most, lookups)
    assert (have.step, have.keys) == (want.step, want.keys)
    for size in range(0, (len(lookups) + 1) * want.step, want.step)[1:]:
        at = min(size // have.step, have.all.size - 1)
        assert have.all[at] == want.hits(size, reads=False)
        assert have.of_reads[at] == want.hits(size, reads=True)


def test_curve__of_a_sample_is_near_the_exact_one() -> None:
    lookups = skewed(60_000, 300_000)
    exact, sample = curve(lookups, 1 << 20), curve(lookups, 16384)
    assert (exact.exact, sample.exact) == (True, False)
    assert sample.keys == pytest.approx(exact.keys, rel=0.05)
    for size in (1024, 4096, 16384, 32768):
        assert sample.hit_ratio(size) == pytest.approx(exact.hit_ratio(size), abs=0.02)
        assert sample.read_hit_ratio(size) == pytest.approx(exact.read_hit_ratio(size), abs=0.02)
    assert sample.hit_ratio(sample.step - 1) == -1  # finer than the sample tells
    assert sample.sizes()[0] >= sample.step
    assert all(size % sample.step == 0 or size == sample.keys for size in sample.sizes())


@pytest.mark.parametrize(("percent", "want"), [(16, 1), (17, 2), (50, 2), (51, 3), (75, 3), (76, -1)])
def test_size_for__is_the_smallest_that_is_enough(percent: int, want: int) -> None:
    keys = [1, 2, 3, 3, 3, 2, 3, 2, 3, 1, 2, 3]  # distances: 0 twice, 1 four times, 2 three times
    have = curve([(key, False) for key in keys], 100)
    assert have.all[:4].tolist() == [0, 2, 6, 9]
    assert have.size_for(percent) == want
    assert have.sizes() == [1, 2, 3]


def test_curve__of_nothing() -> None:
    have = curve([], 100)
    assert (have.hit_ratio(4), have.read_hit_ratio(4), have.size_for(90), have.sizes()) == (-1, -1, -1, [])
