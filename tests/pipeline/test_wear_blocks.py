"""What blocks stand and when they are retired, against distributions and by hand."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.ftl.victim import Phase
from pipeline.ftl.wear.config import Levelling, Retirement, Spread, Wearing
from pipeline.ftl.wear.model import (
    begin_wear,
    erase_block,
    erases_of_rank,
)
from pipeline.ftl.wear.pool import put, take
from tests.pipeline.worn import PAGES, blocks_of, drawn, figures, opened, phases, worn
from traces.config import spelled

pytestmark = pytest.mark.kernels


def test_erase_block__touches_no_reserve() -> None:
    """A worn block is retired only if the reserve stands without it; if not, it is used once more."""
    blocks, wear = worn(Wearing(endurance=1, retirement=Retirement.FIXED), 10, 8, reserve=2)
    begin_wear(blocks, wear)
    taken = [opened(blocks, wear) for _ in range(9)]
    assert not erase_block(blocks, wear, taken[0], 0)
    assert not wear.state[0].grown_bad
    assert erase_block(blocks, wear, taken[1], 0)
    assert (wear.state[0].deferred, wear.state[0].grown_bad, blocks.head[0].erased) == (1, 1, 2)


def test_erase_block__keeps_what_the_drive_needs() -> None:
    """Ten blocks of four pages, two held: 27 pages need seven more, one of them to win a page."""
    blocks, wear = worn(Wearing(endurance=1, retirement=Retirement.FIXED), 10, 27, reserve=0)
    begin_wear(blocks, wear)
    retired = [erase_block(blocks, wear, opened(blocks, wear), 0) for _ in range(3)]
    assert retired == [True, False, False]
    assert wear.state[0].worn_out
    assert figures(blocks, wear, 0).good == 9 == 27 // PAGES + 1 + wear.held


def test_capacity_variant__exports_what_its_blocks_hold() -> None:
    blocks, wear = worn(Wearing(endurance=1, retirement=Retirement.CAPACITY_VARIANT), 10, 27, reserve=0)
    begin_wear(blocks, wear)
    have = []
    for _ in range(4):
        erase_block(blocks, wear, opened(blocks, wear), 15)
        have.append(figures(blocks, wear, 15))
    # of n good blocks two are held; beside the exported pages there must be one to win
    assert [each.exported for each in have] == [27, 23, 19, 15]
    assert [each.refuses for each in have] == [False, False, False, True]
    assert [each.exhausted for each in have] == [False, False, False, True]
    assert not wear.state[0].worn_out
    assert not erase_block(blocks, wear, opened(blocks, wear), 15)
    assert wear.state[0].worn_out


def test_prepare_wear__retires_what_is_worn_from_the_start() -> None:
    config = Wearing(endurance=1000, endurance_spread=0.3, worn=0.9, retirement=Retirement.FIXED, factory_bad=0.02)
    blocks, wear = worn(config, 1000, 1500, seed=5)
    bad, weak = drawn(config, 1000, 5)[1], set(np.flatnonzero(wear.limit <= config.age).tolist())
    assert len(bad) == 20
    assert len(weak) == pytest.approx(420, abs=4 * 15.6)  # P(Z < (ln .9 + .3^2 / 2) / .3) = .42, by the lognormal law
    assert phases(blocks, Phase.RETIRED) == bad | weak
    assert wear.state[0].factory_bad == 20
    assert wear.state[0].grown_bad == len(weak - bad)
    order = [opened(blocks, wear) for _ in range(blocks.head[0].erased)]
    assert order == sorted(set(range(1000)) - bad - weak)
    assert not wear.state[0].worn_out
    blocks, wear = worn(config, 1000, 3500, seed=5)
    assert wear.state[0].worn_out
    assert figures(blocks, wear, 0).good == 3500 // PAGES + 3  # as few as hold all


@pytest.mark.parametrize("sigma", [0.05, 0.25])
@pytest.mark.parametrize("spread", Spread, ids=spelled)
def test_limits__have_their_distribution(spread: Spread, sigma: float) -> None:
    """Mean, deviation and shape (Kolmogorov and Smirnov) of 20,000; the seed is fixed, so is the answer."""
    many, endurance = 20_000, 100_000
    config = Wearing(endurance=endurance, endurance_spread=sigma, spread=spread, retirement=Retirement.FIXED)
    _, wear = worn(config, many, 10, seed=11)
    x = wear.limit / endurance
    assert x.mean() == pytest.approx(1, abs=4 * sigma / sqrt(many))
    if spread == Spread.LOGNORMAL:
        assert np.log(x).std() == pytest.approx(sigma, rel=0.02)
        law = stats.lognorm(sigma, scale=np.exp(-(sigma**2) / 2))
    else:
        assert x.std() == pytest.approx(sigma, rel=0.02)
        law = stats.norm(1, sigma)
    assert stats.kstest(x, law.cdf).pvalue > 0.01


@settings(deadline=None, max_examples=40)
@given(st.integers(0, (1 << 63) - 1), st.sampled_from(Spread), st.sampled_from([0.0, 0.1, 1.0]), st.integers(1, 5000))
def test_limits__are_those_of_the_reference(seed: int, spread: Spread, sigma: float, endurance: int) -> None:
    config = Wearing(endurance=endurance, endurance_spread=sigma, spread=spread, factory_bad=0.02)
    blocks, wear = worn(config, 150, 10, seed=seed)
    limits, bad = drawn(config, 150, seed)
    assert np.abs(wear.limit - np.array(limits)).max() <= 1  # two libraries' logarithms, rounded
    assert phases(blocks, Phase.RETIRED) == bad


def test_factory_bad__is_drawn_evenly() -> None:
    """Each block as likely as the others: chi-squared over 2,000 drives of 100 blocks, two of them bad."""
    count = np.zeros(100)
    for seed in range(2000):
        blocks, wear = worn(Wearing(factory_bad=0.02), 100, 10, seed=seed * 7919)
        assert wear.state[0].factory_bad == 2
        count += blocks.phase == Phase.RETIRED
    assert stats.chisquare(count).pvalue > 0.01


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=80))
def test_pool__is_a_sorted_list(moves: list[tuple[int, int]]) -> None:
    """Put and take in any order: what is taken has fewest erases, of equals it came first."""
    blocks, wear = worn(Wearing(levelling=Levelling.DYNAMIC), 12, 10)
    pool = [(0, block, block) for block in range(12)]  # erases, when it came, block
    came = 12
    for block, erases in moves:
        if any(each[2] == block for each in pool):
            pool.sort()
            assert take(blocks, wear) == pool.pop(0)[2]
        else:
            blocks.erases[block] = erases
            put(blocks, wear, block)
            pool.append((erases, came, block))
            came += 1
        assert blocks.head[0].erased == len(pool)
    for _, _, block in sorted(pool):
        assert take(blocks, wear) == block


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.data())
def test_erases_of_rank__is_the_sorted_list(erases: list[int], data: st.DataObject) -> None:
    blocks = blocks_of(len(erases) + 3)
    blocks.erases[: len(erases)] = erases
    blocks.erases[len(erases) :] = (0, 99, 7)
    blocks.phase[len(erases) :] = Phase.RETIRED
    rank = data.draw(st.integers(1, len(erases)))
    assert erases_of_rank(blocks, rank) == sorted(erases)[rank - 1]
