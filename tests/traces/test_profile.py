"""Characterisation: the slow reference says the same, cuts change nothing, sketches come near what is exact."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import profile as reference
from traces import profile as profiling
from traces._profile import Request, bucket
from traces._profile_figures import lower, zipf_theta
from traces.block import Block, Op
from traces.info import TraceInfo, Volume
from traces.ingest import ingest
from traces.profile import (
    PROFILE_TABLES,
    Limits,
    TraceProfile,
    TraceRegions,
    TraceWindows,
    characterise,
    figures,
    kept_profile,
    profile,
)
from traces.store import Store, read
from traces.table import checked, schema_of
from traces.workloads import make

pytestmark = pytest.mark.kernels

Row = tuple[int, int, int, int, int, int]  # time, op, volume, address, length, latency

OPS = [Op.READ, Op.READ, Op.WRITE, Op.WRITE, Op.DISCARD, Op.FLUSH, Op.ZONE_APPEND, Op.ZONE_RESET, Op.UNKNOWN]
request = st.tuples(
    st.sampled_from([0, 1, 7, 30_000_000, 260_000_000]),  # step in time
    st.sampled_from(OPS),
    st.integers(0, 2),
    st.one_of(st.integers(0, 12).map(lambda n: n * 4096), st.integers(0, 5000).map(lambda n: n * 512 * 1000)),
    st.sampled_from([0, 512, 4096, 4096, 8192, 30_000, 3 << 20]),
    st.sampled_from([-1, -1, 0, 129, 300, 10**7 + 1]),
)


def in_time(steps: list[tuple[int, Op, int, int, int, int]]) -> list[Row]:
    times = np.cumsum([0, *(step[0] for step in steps[1:])]).tolist()
    return [(time, *rest) for time, (_, *rest) in zip(times, steps, strict=True)]


traces = st.lists(request, min_size=1, max_size=60).map(in_time)


def info_of(rows: list[Row], clock: str = "relative") -> TraceInfo:
    volumes = [Volume(name=str(v)) for v in range(max(row[2] for row in rows) + 1)]
    for _, op, v, address, length, _ in rows:
        volumes[v].requests += 1
        volumes[v].bytes_read += length if op == Op.READ else 0
        volumes[v].bytes_written += length if op in (Op.WRITE, Op.ZONE_APPEND) else 0
        volumes[v].extent = max(volumes[v].extent, address + length)
    return TraceInfo(format="toy", clock=clock, span=rows[-1][0], rows=len(rows), volumes=volumes)


def batches(rows: list[Row], size: int) -> Iterable[pl.DataFrame]:
    whole = pl.DataFrame(rows, schema=schema_of(Request), orient="row").with_columns(stream=pl.lit(0, pl.UInt32))
    return [whole[i : i + size] for i in range(0, len(rows), size)]


def close(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> None:
    assert len(have) == len(want)
    for mine, theirs in zip(have, want, strict=True):
        assert set(mine) - set(theirs) <= {"zipf"}
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


LIMITS = Limits(pages=16, regions=8, reuse=8, volume_reuse=4, windows=6)


@settings(max_examples=150)
@given(rows=traces, size=st.integers(1, 60), small=st.booleans(), clock=st.sampled_from(["relative", "ordinal"]))
def test_characterise__is_what_the_reference_says(rows: list[Row], size: int, small: bool, clock: str) -> None:
    info = info_of(rows, clock)
    limits = LIMITS if small else Limits()
    tables = characterise(batches(rows, size), info, limits)
    for table, found in tables.items():
        checked(table, found)
    window = int(tables[TraceProfile]["window_length"][0])
    n = len(info.volumes)
    want = reference.profile(
        rows,
        n,
        window=window,
        pages=limits.pages,
        regions=limits.regions,
        reuse=[limits.reuse, *([limits.volume_reuse] * n if n > 1 else [])],
        timed=clock != "ordinal",
    )
    for table, expected in zip(PROFILE_TABLES, want, strict=False):
        close(tables[table].to_dicts(), expected)
    assert info.span // window <= 3 * limits.windows


@given(rows=traces, one=st.integers(1, 60), other=st.integers(1, 60))
def test_characterise__cutting_the_batches_changes_nothing(rows: list[Row], one: int, other: int) -> None:
    first = characterise(batches(rows, one), info_of(rows), LIMITS)
    second = characterise(batches(rows, other), info_of(rows), LIMITS)
    for table in PROFILE_TABLES:
        assert first[table].equals(second[table])


@given(st.integers(0, (1 << 63) - 1))
def test_a_bucket_is_narrow(value: int) -> None:
    low = lower(int(bucket(value)))
    assert low <= value < low + max(low >> 7, 1)
    assert value.bit_length() > 8 or low == value


def test_many_pages_through_small_tables() -> None:
    """Halving and closing ranks over and over, against the reference."""
    rng = np.random.default_rng(5)
    rows = [
        (i * 1000, int(rng.integers(2)), int(rng.integers(2)), int(rng.zipf(1.3) % 400) * 4096, 4096, -1)
        for i in range(4000)
    ]
    limits = Limits(pages=64, regions=4, reuse=32, volume_reuse=16)
    tables = characterise(batches(rows, 999), info_of(rows), limits)
    window = int(tables[TraceProfile]["window_length"][0])
    want = reference.profile(rows, 2, window=window, pages=64, regions=4, reuse=[32, 16, 16], timed=True)
    for table, expected in zip(PROFILE_TABLES, want, strict=False):
        close(tables[table].to_dicts(), expected)
    assert tables[TraceProfile]["page_rate"][0] < 0.3
    assert tables[TraceProfile]["reuse_rate"][0] < 0.3


@pytest.fixture(scope="module")
def zipf(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, TraceInfo]:
    store = Store(tmp_path_factory.mktemp("store"))
    asked = {"requests": 300_000, "capacity": "512MiB", "theta": 0.8, "reads": 0.3}
    made = make(store, "zipf", "z", asked)
    return pl.concat(read(Block, made.path)), made.info


def test_sketches_come_near_what_is_exact(zipf: tuple[pl.DataFrame, TraceInfo]) -> None:
    rows, info = zipf
    exact = characterise([rows], info, Limits(reuse=1 << 20))[TraceProfile].to_dicts()[0]
    sketch = characterise([rows], info, Limits(pages=1 << 14, reuse=1 << 13))[TraceProfile].to_dicts()[0]
    assert exact["page_rate"] == exact["reuse_rate"] == 1
    assert sketch["page_rate"] < 0.2
    assert sketch["reuse_rate"] < 0.1
    for name in ("pages", "pages_read", "pages_written", "pages_shared"):
        assert sketch[name] == pytest.approx(exact[name], rel=0.03), name
    assert sketch["overwrites"] == pytest.approx(exact["overwrites"], abs=0.03)
    for name in ("reuse_p50", "reuse_p90"):
        assert sketch[name] == pytest.approx(exact[name], rel=0.1), name


def test_what_a_generator_was_asked_for_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = {"requests": 400_000, "capacity": "1GiB", "size": "1MiB", "theta": 0.9, "reads": 0.25, "rate": 20_000}
    made = make(store, "zipf", "z", asked)
    found = characterise(read(Block, made.path), made.info)
    row = found[TraceProfile].to_dicts()[0]
    assert row["zipf"] == pytest.approx(0.9, abs=0.01)
    assert row["read_share"] == pytest.approx(0.25, abs=0.005)
    assert row["gap_mean"] == pytest.approx(50_000, rel=0.01)
    assert row["gap_cv"] == pytest.approx(1, abs=0.01)
    assert row["dispersion"] == pytest.approx(1, abs=0.25)
    assert (row["size_p10"], row["size_max"], row["aligned"]) == (1 << 20, 1 << 20, 1)
    assert (row["regions"], row["region_bytes"]) == (1024, 1 << 20)
    assert found[TraceRegions]["share"][0] == pytest.approx(1 / sum(k**-0.9 for k in range(1, 1025)), rel=0.02)
    fixed = make(store, "sequential", "s", {"requests": 50_000, "capacity": "64MiB", "arrival": "fixed"})
    found = characterise(read(Block, fixed.path), fixed.info)
    row = found[TraceProfile].to_dicts()[0]
    assert row["sequential"] == pytest.approx(1, abs=1e-3)
    assert row["gap_cv"] == pytest.approx(0, abs=1e-3)
    assert row["pages"] == 16_384
    assert row["reuse_p50"] == row["reuse_p90"] == 16_383 // 64 * 64
    assert found[TraceWindows]["new_pages"].sum() == 16_384


@pytest.mark.parametrize(
    ("file", "format_"),
    [
        ("msr_heimdall_replayer/msr.cut.per_10k.rw_20_80.105.trace", "replayer"),
        ("spc/Financial_mini.spc", None),
        ("derived/msr_csv_shape_from_heimdall_cuts.csv", "msr"),
        ("cloudphysics/cloudPhysicsIO.vscsi", None),
    ],
)
def test_footprints_of_recordings_are_those_counted_independently(
    shared: Path, tmp_path: Path, file: str, format_: str | None
) -> None:
    facts = json.loads((shared / "public-traces/FACTS.json").read_text())[file]
    store = Store(tmp_path)
    (made,) = ingest(store, [shared / "public-traces" / file], format=format_, name="it")
    profile(store, "it")
    found = figures(store, "block", "it", made.info.content)
    assert found is not None
    whole = found.row(0, named=True)
    for mine, theirs in {
        "requests": "records",
        "reads": "reads",
        "writes": "writes",
        "bytes_read": "bytes_read",
        "bytes_written": "bytes_written",
        "pages": "pages4k",
        "pages_written": "pages4k_written",
        "size_max": "max_request_bytes",
    }.items():
        assert whole[mine] == facts[theirs], mine
    assert found.height == facts["devices"] + 1


def test_zipf_theta__of_the_law_itself() -> None:
    for theta in (0.0, 0.5, 1.0, 1.5):
        counts = np.round(1e9 * np.arange(1, 1001) ** -theta).astype(np.int64)
        assert zipf_theta(counts) == pytest.approx(theta, abs=1e-4)
    assert zipf_theta(np.array([5])) == -1


def test_many_volumes_are_counted_and_the_busiest_described() -> None:
    rows: list[Row] = [(i, Op.WRITE, v, 4096 * i, 4096, -1) for i, v in enumerate([0, 1, 1, 2, 2, 2, 3] * 5)]
    found = characterise(batches(rows, 10), info_of(rows), Limits(volumes=2))[TraceProfile]
    assert found["requests"].to_list() == [35, 5, 10, 15, 5]
    assert found["size_p50"].to_list() == [4096, -1, 4096, 4096, -1]
    assert found["pages"].to_list() == [35, 5, 10, 15, 5]


def test_requests_longer_than_any_are_followed_to_a_bound() -> None:
    rows: list[Row] = [(0, Op.WRITE, 0, 0, 1 << 40, -1), (1, Op.DISCARD, 0, 0, 1 << 60, -1)]
    found = characterise(batches(rows, 10), info_of(rows))[TraceProfile].to_dicts()[0]
    assert found["bytes_written"] == 1 << 40
    assert found["pages"] == 1 << 20
    assert found["regions"] == 4096


def test_profile__is_kept_and_not_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "u", {"requests": 3000, "capacity": "8MiB", "volumes": 2})
    info = store.info("block", "u")
    assert figures(store, "block", "u", info.content) is None
    told: list[tuple[int, int]] = []
    made = profile(store, "block/u", lambda *at: told.append(at))
    assert made.fresh
    assert told[-1] == (3000, 3000)
    assert not profile(store, "u").fresh
    found = figures(store, "block", "u", info.content)
    assert found is not None
    assert found["volume"].to_list() == [-1, 0, 1]
    assert sorted(file.name for file in made.path.iterdir()) == [
        "trace_distinct.parquet",
        "trace_operations.parquet",
        "trace_profile.parquet",
        "trace_regions.parquet",
        "trace_windows.parquet",
    ]
    make(store, "uniform", "u", {"requests": 2000, "capacity": "8MiB"}, replace=True)
    assert kept_profile(store, "block", "u", store.info("block", "u").content) is None
    again = profile(store, "u")
    assert again.fresh
    assert list(made.path.parent.iterdir()) == [again.path]
    assert not store.leftovers()


def test_profile__interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "u", {"requests": 3000})

    def stop(table: object, rows: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profiling, "checked", stop)
    with pytest.raises(KeyboardInterrupt):
        profile(store, "u")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "profiles" in path.parts]
    assert not list(tmp_path.glob("profiles/*/*/.*"))


def test_a_request_knows_what_block_calls_it() -> None:
    assert schema_of(Request).items() <= schema_of(Block).items()
