from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from traces.config import configured
from traces.workloads.uniform import Uniform, generate

pytestmark = pytest.mark.kernels


def places(**settings: Any) -> pl.Series:
    config = configured(Uniform, settings)
    return pl.concat(generate(config))["address"] // config.size


@pytest.mark.parametrize("count", [2, 3, 1000, 1 << 12])
def test_uniform__every_place_is_as_likely(count: int) -> None:
    where = places(requests=500_000, capacity=count * 4096).to_numpy().astype(np.int64)
    assert chisquare(np.bincount(where, minlength=count)).pvalue > 1e-3


def test_uniform__successive_places_are_independent() -> None:
    where = places(requests=500_000, capacity=16 * 4096, size=4096).to_numpy().astype(np.int64)
    pairs = where[1::2] * 16 + where[::2]
    assert chisquare(np.bincount(pairs, minlength=256)).pvalue > 1e-3


def test_uniform__reaches_the_ends_of_a_huge_volume() -> None:
    where = places(requests=500_000, capacity=512 << 40, size=512).to_numpy().astype(np.float64) / 2**40
    counts, _ = np.histogram(where, bins=64, range=(0, 1))
    assert chisquare(counts).pvalue > 1e-3
    assert where.min() < 1e-4
    assert where.max() > 1 - 1e-4
