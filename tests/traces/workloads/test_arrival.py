"""Bursts: what their gaps follow, and that they are no smoother than they should be."""

import hashlib
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest

from tests.reference import workloads as reference
from traces.config import configured
from traces.table import F64, I64
from traces.workloads.arrival import arrive
from traces.workloads.uniform import Uniform, generate
from traces.workloads.workload import Lane, new_plan

pytestmark = pytest.mark.kernels

N = 200_000


def times(rows: int = 1 << 16, **settings: Any) -> F64:
    config = configured(Uniform, {"requests": N, "rate": 1000} | settings)
    return np.concatenate([batch["time"].to_numpy() for batch in generate(config, rows)]).astype(np.float64)


def dispersion(at: F64, width: float) -> float:
    """Variance of the requests in intervals of so many nanoseconds, over their mean: 1 for Poisson requests."""
    counts = np.bincount((at / width).astype(np.int64))[:-1]
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize(("burst", "busy"), [(1.0, 0.1), (0.02, 0.3), (0.002, 0.5)])
def test_on_off__gaps_are_those_of_a_switched_process(burst: float, busy: float) -> None:
    gaps = np.diff(times(arrival="on-off", burst=f"{round(burst * 1e6)}us", busy=busy)) / 1e9
    watched = np.array(reference.interrupted_poisson(1000, burst, busy, N, seed=1))
    assert ks_2samp(gaps, watched).pvalue > 1e-3
    other = np.array(reference.interrupted_poisson(1000, burst * 1.3, busy, N, seed=1))
    if burst < 0.01:  # of long bursts, too few end for the test to see the difference
        assert ks_2samp(gaps, other).pvalue < 1e-3


def test_on_off__has_the_rate_and_the_variance() -> None:
    burst, busy = 0.1, 0.2
    at = times(arrival="on-off", burst="100ms", busy=busy, requests=2_000_000)
    gaps = np.diff(at) / 1e9
    assert gaps.mean() == pytest.approx(1e-3, rel=0.02)
    ends, begins = 1 / burst, busy / (1 - busy) / burst
    inside = 1000 / busy
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(1 + 2 * inside * ends / (ends + begins) ** 2, rel=0.05)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.01


def test_on_off__is_bursty_up_to_its_own_time_scale() -> None:
    at = times(arrival="on-off", burst="100ms", busy=0.2, requests=1_000_000)
    small, middle, large = (dispersion(at, width) for width in (1e6, 1e8, 1e10))
    assert small < middle < large
    # the variance of counts grows up to what the gaps' does, and no further
    assert large == pytest.approx((np.diff(at).var() / np.diff(at).mean() ** 2), rel=0.35)
    assert dispersion(times(requests=1_000_000), 1e8) == pytest.approx(1, abs=0.1)


@given(
    requests=st.integers(1, 300),
    bias=st.floats(0.5, 0.95),
    grain=st.integers(1, 10**9),
    rate=st.floats(0.1, 1e6),
    seed=st.integers(0, 100),
    rows=st.integers(1, 100),
)
def test_b_model__cells_are_those_of_the_reference(
    requests: int, bias: float, grain: int, rate: float, seed: int, rows: int
) -> None:
    asked = {"requests": requests, "arrival": "b-model", "bias": bias, "grain": grain, "rate": rate, "seed": seed}
    plan = new_plan(configured(Uniform, asked))
    at = np.empty(requests, np.uint64)
    for begin in range(0, requests, rows):
        arrive(plan.arrivals, begin, at[begin : begin + rows])
    span = requests * 1e9 / rate
    depth = min(62, math.ceil(math.log2(max(1, span / grain))))
    cells = reference.b_model(requests, bias, depth, int(plan.lanes[Lane.BURST]))
    assert sum(count for _, _, count in cells) == requests
    whole = [int(t) for t in at + plan.arrivals.clock[0]["origin"]]
    assert whole == sorted(whole)
    done = 0
    slack = 1 + span * 1e-12
    for low, high, count in cells:
        for t in whole[done : done + count]:
            assert low * span - slack <= t <= high * span + slack
        done += count


def test_b_model__requests_are_even_within_a_grain() -> None:
    at = times(arrival="b-model", bias=0.8, grain="1000s")  # 200 seconds in all: nothing is halved
    assert kstest(at / 200e9, "uniform").pvalue > 1e-3
    assert dispersion(at, 1e8) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("bias", [0.6, 0.7, 0.8])
def test_b_model__has_the_entropy_of_its_bias_on_all_scales(bias: float) -> None:
    asked = {"requests": 1 << 20, "arrival": "b-model", "bias": bias, "grain": 1, "rate": 1e6, "seed": 5}
    plan = new_plan(configured(Uniform, asked))
    at = np.empty(1 << 20, np.uint64)
    arrive(plan.arrivals, 0, at)
    where = (at + plan.arrivals.clock[0]["origin"]).astype(np.float64) / ((1 << 20) * 1e3)
    entropies = []
    for level in range(1, 9):
        share = np.bincount((where * 2**level).astype(np.int64), minlength=2**level) / at.size
        share = share[share > 0]
        entropies.append(-(share * np.log2(share)).sum())
    law = -bias * math.log2(bias) - (1 - bias) * math.log2(1 - bias)
    np.testing.assert_allclose(np.diff([0.0, *entropies]), law, rtol=0.01)


def test_b_model__stays_bursty_from_far_away() -> None:
    at = times(arrival="b-model", bias=0.7, requests=1_000_000)
    small, middle, large = (dispersion(at, width) for width in (1e8, 1e9, 1e10))
    assert small > 20
    assert 3 * small < middle
    assert 3 * middle < large


def test_b_model__halves_are_chosen_by_a_fair_coin() -> None:
    first: list[int] = []
    for seed in range(400):
        plan = new_plan(configured(Uniform, {"requests": 100, "arrival": "b-model", "seed": seed}))
        first.append(reference.b_model(100, 0.7, 1, int(plan.lanes[Lane.BURST]))[0][2])
    assert sorted(set(first)) == [30, 70]
    assert chisquare([first.count(30), first.count(70)]).pvalue > 1e-3


@pytest.mark.parametrize("arrival", ["on-off", "b-model"])
def test_bursts__change_nothing_but_the_times(arrival: str) -> None:
    plain, bursty = (
        pl.concat(generate(configured(Uniform, {"requests": 1000, "arrival": each}))) for each in ("poisson", arrival)
    )
    assert plain.drop("time").equals(bursty.drop("time"))
    assert not plain["time"].equals(bursty["time"])


def test_limits__longest_bursts_keep_time_in_order() -> None:
    longest: dict[str, dict[str, Any]] = {"on-off": {"burst": "1d", "busy": 0.01}, "b-model": {}}
    for arrival, more in longest.items():
        at: I64 = times(requests=100, rate=1e-6, arrival=arrival, **more).astype(np.int64)
        assert (np.diff(at) >= 0).all()
        assert at[-1] < 2**63 - 1


@pytest.mark.parametrize(("arrival", "golden"), [("on-off", "6256ba62be8c3fad"), ("b-model", "fdcf7c50303d18e8")])
def test_bursts__are_the_same_everywhere(arrival: str, golden: str) -> None:
    at = times(requests=20_000, arrival=arrival, seed=42).astype("<i8")
    assert hashlib.sha256(at.tobytes()).hexdigest()[:16] == golden
