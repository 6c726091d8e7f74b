from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, kstest

from tests.reference import workloads as reference
from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.boot_storm import BootStorm, generate

pytestmark = pytest.mark.kernels

PLACES = 10_000
LENGTH = 0.1 / 2 + 0.7 + 0.2 / 0.25


def trace(**settings: Any) -> pl.DataFrame:
    asked = {"size": 4096, "capacity": PLACES * 4096, "extent": 16 * 4096, "footprint": 0.1, "requests": 100_000}
    return pl.concat(generate(configured(BootStorm, asked | settings)))


def phase(rows: pl.DataFrame, volume: int, name: str) -> pl.DataFrame:
    its = rows.filter(pl.col("volume") == volume)
    low, high = {"loading": (0.0, 0.1), "services": (0.1, 0.8), "settling": (0.8, 1.0)}[name]
    return its[round(low * its.height) : round(high * its.height)]


@pytest.mark.parametrize(("volumes", "requests"), [(1, 50), (2, 999), (7, 5000), (33, 20_001), (50, 30)])
def test_boot_storm__is_the_merge_of_its_volumes(volumes: int, requests: int) -> None:
    rows = trace(volumes=volumes, requests=requests, arrival="fixed", rate=1000, window=0.4)
    counts = [requests // volumes + (volume < requests % volumes) for volume in range(volumes)]
    have = rows["volume"].value_counts().sort("volume")
    assert have["count"].to_list() == [count for count in counts if count]
    starts = [float(rows.filter(pl.col("volume") == v)["time"].min() or 0) for v in range(volumes)]  # type: ignore[arg-type]
    span = requests / 1000 * 1e9
    window = 0.4 * span if min(volumes, requests) > 1 else 0.0
    gap = (span - window) / (requests / volumes * LENGTH)
    want = reference.boots(starts, counts, [gap / 2, gap, gap * 4])
    # starts are known to a nanosecond only: requests of two volumes that come together may change places
    np.testing.assert_allclose(rows["time"].to_numpy().astype(np.float64), [at for at, _, _ in want], atol=2)
    same = rows["volume"].to_numpy() == np.array([volume for _, volume, _ in want])
    assert same.mean() > 0.95
    assert min(starts) == 0
    assert max(starts) == pytest.approx(window, abs=1)


def test_boot_storm__volumes_start_all_over_the_window() -> None:
    rows = trace(volumes=500, requests=50_000, window=0.5, rate=1000)
    starts = rows.group_by("volume").agg(pl.col("time").min())["time"].to_numpy().astype(np.float64)
    assert kstest(starts / 25e9, "uniform").pvalue > 1e-3


def test_boot_storm__phases_have_their_speeds() -> None:
    rows = trace(volumes=2, requests=200_000, window=0.3)
    mean = {
        name: np.mean([np.diff(phase(rows, v, name)["time"].to_numpy().astype(np.float64)).mean() for v in range(2)])
        for name in ("loading", "services", "settling")
    }
    assert mean["services"] / mean["loading"] == pytest.approx(2, rel=0.05)
    assert mean["settling"] / mean["services"] == pytest.approx(4, rel=0.05)
    gaps = np.diff(phase(rows, 0, "services")["time"].to_numpy().astype(np.float64))
    assert kstest(gaps / gaps.mean(), "expon").pvalue > 1e-3


def test_boot_storm__loading_is_sequential_and_the_same_for_all() -> None:
    rows = trace(volumes=5)
    for volume in range(5):
        its = phase(rows, volume, "loading")
        assert its["op"].unique().to_list() == [Op.READ]
        assert (its["address"] // 4096).to_list() == list(range(its.height))


def test_boot_storm__services_read_one_footprint() -> None:
    rows = trace(volumes=4, own=0, reads=1)
    walks = [(phase(rows, volume, "services")["address"] // 4096).to_list() for volume in range(4)]
    assert walks[1:] == walks[:-1]
    extents = [place // 16 for place in walks[0][::16]]
    assert len(set(extents)) == round(0.1 * (PLACES // 16))
    assert extents[: len(set(extents))] == extents[len(set(extents)) : 2 * len(set(extents))], (
        "then again from the start"
    )
    assert all(walks[0][i + 1] == walks[0][i] + 1 for i in range(len(walks[0]) - 1) if i % 16 < 15)
    assert max(extents) > 0.7 * PLACES / 16, "scattered over the volume"
    settled = set((phase(rows, 2, "settling")["address"] // (16 * 4096)).to_list())
    assert settled == set(extents)


def test_boot_storm__shares_are_as_asked() -> None:
    rows = trace(volumes=3, reads=0.8, own=0.25)
    late = pl.concat([phase(rows, volume, name) for volume in range(3) for name in ("services", "settling")])
    reads = late.filter(pl.col("op") == Op.READ)
    assert binom.ppf(1e-5, late.height, 0.8) <= reads.height <= binom.ppf(1 - 1e-5, late.height, 0.8)
    footprint = set((phase(trace(volumes=3, own=0, reads=1), 0, "services")["address"] // (16 * 4096)).to_list())
    elsewhere = (~(reads["address"] // (16 * 4096)).is_in(list(footprint))).sum()
    share = 0.25 * (1 - len(footprint) * 16 / PLACES)
    assert binom.ppf(1e-5, reads.height, share) <= elsewhere <= binom.ppf(1 - 1e-5, reads.height, share)
    writes = late.filter(pl.col("op") == Op.WRITE)["address"].to_numpy().astype(np.float64)
    assert kstest((writes / 4096 + 0.5) / PLACES, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("key", ["burst", "busy", "bias", "grain"])
def test_boot_storm__does_not_ask_what_bursts_are_like(key: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key '{key}'"):
        configured(BootStorm, {key: 1})


@pytest.mark.parametrize("arrival", ["on-off", "b-model"])
def test_boot_storm__refuses_bursts_in_a_burst(arrival: str) -> None:
    with pytest.raises(ConfigError, match="a boot storm is a burst by itself: fixed or poisson"):
        configured(BootStorm, {"arrival": arrival})
