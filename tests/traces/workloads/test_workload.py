"""What is common to all generators: when requests come, whether they read, which volume they ask."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chisquare, kstest

from traces.block import Op
from traces.config import configured
from traces.workloads.uniform import Uniform, generate

pytestmark = pytest.mark.kernels

N = 200_000


def trace(rows: int = 1 << 16, **settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(Uniform, {"requests": N} | settings), rows))


@pytest.mark.parametrize("rate", [3.0, 7e4, 1e9])
def test_fixed__arrives_at_the_nearest_nanosecond(rate: float) -> None:
    at = trace(arrival="fixed", rate=rate)["time"].to_list()
    assert at[:3] == [0, round(1e9 / rate), round(2e9 / rate)]
    assert all(abs(t - i * 1e9 / rate) <= 0.5 + 1e-6 for i, t in enumerate(at))


def test_fixed__whole_seconds_are_whole() -> None:
    at = trace(arrival="fixed", rate=3)["time"]
    assert at.gather_every(3).to_list() == [second * 10**9 for second in range(math.ceil(N / 3))]


@pytest.mark.parametrize("rate", [0.01, 1e4, 3e8])
def test_poisson__has_the_rate(rate: float) -> None:
    at = trace(rate=rate)["time"]
    # the sum of n exponential gaps has the standard deviation of sqrt(n) of them; rounding must not shift it
    assert (N - 1) / (int(at[-1]) / 1e9) == pytest.approx(rate, rel=4 / math.sqrt(N))


def test_poisson__gaps_are_exponential_and_independent() -> None:
    at = trace(rate=1e3)["time"].to_numpy().astype(np.float64)
    gaps = np.diff(at) / 1e6
    assert kstest(gaps, "expon").pvalue > 1e-3
    assert kstest(gaps * 1.02, "expon").pvalue < 1e-3, "the test must see a rate that is off by 2 %"
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / math.sqrt(N)
    counts = np.bincount((at / 1e9 * 10).astype(np.int64))[:-1]  # in tenths of a second
    assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * math.sqrt(2 / counts.size))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
def test_reads__have_their_share(share: float) -> None:
    rows = trace(reads=share)
    reads = int((rows["op"] == Op.READ).sum())
    assert binom.ppf(1e-5, N, share) <= reads <= binom.ppf(1 - 1e-5, N, share)
    assert rows.filter(pl.col("op") == Op.READ)["raw"].cast(pl.String).unique().to_list() == (["R"] if reads else [])
    assert int((rows["op"] == Op.WRITE).sum()) == N - reads


def test_volumes__are_asked_alike() -> None:
    counts = np.bincount(trace(volumes=7)["volume"].to_numpy())
    assert counts.size == 7
    assert chisquare(counts).pvalue > 1e-3


def test_lanes__are_independent() -> None:
    rows = trace(volumes=2, reads=0.5, capacity=1 << 20)
    half = rows.select(
        op=pl.col("op").cast(pl.Int64),
        volume=pl.col("volume").cast(pl.Int64),
        upper=(pl.col("address") >= 1 << 19).cast(pl.Int64),
    )
    counts = half.group_by("op", "volume", "upper").len()
    assert counts.height == 8
    assert chisquare(counts["len"].to_numpy()).pvalue > 1e-3


def test_settings__change_nothing_but_what_they_say() -> None:
    base, other = trace(), trace(reads=0.5, arrival="fixed", volumes=3)
    assert base["address"].equals(other["address"])


def test_limits__longest_trace_keeps_time_in_order() -> None:
    at = trace(requests=1000, rate=1e-5)["time"]
    assert at.is_sorted()
    assert int(at[-1]) < 2**63
