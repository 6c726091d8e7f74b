import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chisquare

from tests.reference import workloads as reference
from traces.config import configured
from traces.table import I64
from traces.workloads.zipf import Zipf, generate

pytestmark = pytest.mark.kernels

N = 1_000_000
THETAS = (0.0, 0.3, 0.99, 1 - 1e-9, 1.0, 1 + 1e-12, 1.2, 2.0, 5.0)


def places(**settings: Any) -> I64:
    config = configured(Zipf, {"requests": N, "size": 512} | settings)
    return (pl.concat(generate(config))["address"] // 512).to_numpy().astype(np.int64)


def fits(counts: I64, law: list[float]) -> float:
    """How well counts by rank fit a law: the p-value, ranks with less than 10 expected put together."""
    expected = np.array(law) * counts.sum()
    often = max(1, int(np.count_nonzero(expected >= 10)))
    groups = np.minimum(np.arange(expected.size), often)
    have, want = np.bincount(groups, counts), np.bincount(groups, expected)
    if have.size > 1 and want[-1] < 10:
        have, want = np.append(have[:-2], have[-2:].sum()), np.append(want[:-2], want[-2:].sum())
    return float(chisquare(have, want * (have.sum() / want.sum())).pvalue)


@pytest.mark.parametrize("n", [2, 1000])
@pytest.mark.parametrize("theta", THETAS)
def test_zipf__follows_the_law(theta: float, n: int) -> None:
    counts = np.bincount(places(theta=theta, capacity=n * 512, scattered=False), minlength=n)
    assert fits(counts, reference.zipf(n, theta)) > 1e-3


@pytest.mark.parametrize("theta", [0.3, 0.99, 1.0, 1.2, 2.0])
def test_zipf__a_slightly_other_law_is_told_apart(theta: float) -> None:
    counts = np.bincount(places(theta=theta, capacity=1000 * 512, scattered=False), minlength=1000)
    assert fits(counts, reference.zipf(1000, theta + 0.02)) < 1e-6


@pytest.mark.parametrize("theta", [0.0, 0.5, 0.99, 1.0, 1.2])
def test_zipf__holds_in_a_huge_volume(theta: float) -> None:
    n = 1 << 40
    ranks = places(theta=theta, capacity=n * 512, scattered=False)
    total = reference.harmonic(n, theta)
    for top in (1, 2, 10, 1000, 1 << 20, 1 << 39):
        share = reference.harmonic(top, theta) / total
        have = int(np.count_nonzero(ranks < top))
        assert binom.ppf(1e-6, N, share) <= have <= binom.ppf(1 - 1e-6, N, share), top


def test_zipf__a_single_place_is_always_asked() -> None:
    assert not places(capacity=512, requests=1000).any()


def test_zipf__the_steepest_law_asks_the_first_place_only() -> None:
    assert not places(theta=64, capacity=1000 * 512, scattered=False).any()


def test_zipf__scattering_moves_places_and_keeps_popularity() -> None:
    plain, moved = (places(capacity=1000 * 512, scattered=scattered) for scattered in (False, True))
    counts, scattered = np.bincount(plain, minlength=1000), np.bincount(moved, minlength=1000)
    assert not np.array_equal(counts, scattered)
    assert np.array_equal(np.sort(counts), np.sort(scattered))
    where = {rank: set(moved[plain == rank].tolist()) for rank in range(1000)}
    assert all(len(each) <= 1 for each in where.values()), "a rank has one place"


def test_zipf__volumes_are_scattered_differently() -> None:
    config = configured(Zipf, {"requests": N, "volumes": 2, "capacity": 10_000 * 4096})
    rows = pl.concat(generate(config))
    tops = [
        rows.filter(pl.col("volume") == volume)["address"].value_counts(sort=True)["address"].head(20).to_list()
        for volume in range(2)
    ]
    assert len(set(tops[0]) & set(tops[1])) < 5


def test_zipf__neighbours_in_time_are_independent() -> None:
    ranks = places(theta=0.99, capacity=1000 * 512, scattered=False)
    top = (ranks == 0).astype(float)
    assert abs(np.corrcoef(top[1:], top[:-1])[0, 1]) < 4 / math.sqrt(N)
