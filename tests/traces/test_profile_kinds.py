"""Characterisation of every kind: the same figures by the same machine, and what each kind is asked for."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import profile as reference
from traces._profile_kinds import VIEWS, Distinct, columns
from traces.block import Block
from traces.dma import NOT_TOLD, Dma, Event
from traces.info import TraceInfo
from traces.ingest import ingest
from traces.kinds import KINDS
from traces.making import write
from traces.memory import Memory, Op
from traces.message import Message
from traces.patch import Text
from traces.profile import (
    PROFILE_TABLES,
    Limits,
    TraceDistinct,
    TraceOperations,
    TraceProfile,
    TraceWindows,
    characterise,
    figures,
    profile,
)
from traces.store import Store
from traces.table import checked, schema_of
from traces.tally import Tally

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[1] / "golden"


def rows(table: type[Any], **given_: Any) -> pl.DataFrame:
    """Rows of a table; columns that are not given are 0 or empty."""
    height = len(next(iter(given_.values())))
    made = {
        name: given_.get(name, ["" if dtype == pl.String else 0] * height) for name, dtype in schema_of(table).items()
    }
    return pl.DataFrame(made, schema=schema_of(table))


def told(kind: str, whole: pl.DataFrame, size: int = 7, limits: Limits | None = None) -> dict[type[Any], pl.DataFrame]:
    """The tables of a trace, and that they are tables; cut into batches of ``size`` rows."""
    tally, info = Tally(kind), TraceInfo(format="toy", kind=kind)
    tally.add(whole)
    place = {"memory": "space", "message": "producer", "block": "volume"}.get(kind)
    tally.finish(info, [str(n) for n in range(int(str(whole[place].max())) + 1)] if place else [])
    batches = [whole[list(columns(kind))][i : i + size] for i in range(0, whole.height, size)]
    tables = characterise(batches, info, limits or Limits(pages=1 << 12, regions=1 << 8))
    for table in PROFILE_TABLES:
        checked(table, tables[table])
    return tables


def operations(tables: dict[type[Any], pl.DataFrame]) -> dict[str, tuple[int, int]]:
    """The operation -> how often, over how many bytes, in the whole trace."""
    found = tables[TraceOperations].group_by("operation").agg(pl.col("requests", "bytes").sum())
    return {word: (requests, size) for word, requests, size in found.iter_rows()}


def distinct(tables: dict[type[Any], pl.DataFrame]) -> dict[str, int]:
    return {what: count for what, count, _ in tables[TraceDistinct].iter_rows()}


access = st.tuples(
    st.sampled_from([0, 1, 300, 260_000_000]),
    st.sampled_from(list(Op)),
    st.integers(0, 2),
    st.one_of(st.integers(0, 40_000), st.integers(0, 5000).map(lambda n: (1 << 64) - (1 << 30) + n * 4000)),
    st.sampled_from([0, 0, 1, 8, 64, 4096, 9000]),
)


@settings(max_examples=80)
@given(st.lists(access, min_size=1, max_size=50), st.integers(1, 50), st.booleans())
def test_memory__is_what_the_reference_says(steps: list[tuple[int, ...]], size: int, small: bool) -> None:
    times = np.cumsum([0, *(step[0] for step in steps[1:])]).tolist()
    whole = rows(
        Memory,
        time=times,
        op=[step[1] for step in steps],
        space=[step[2] for step in steps],
        address=[step[3] for step in steps],
        size=[step[4] for step in steps],
        accesses=[1] * len(steps),
    )
    limits = (
        Limits(pages=16, regions=8, reuse=8, volume_reuse=4, windows=6)
        if small
        else Limits(pages=1 << 12, regions=1 << 8)
    )
    tables = told("memory", whole, size, limits)
    spaces = max(step[2] for step in steps) + 1
    want = reference.profile(
        [(time, *rest, -1) for time, (_, *rest) in zip(times, steps, strict=True)],
        spaces,
        window=int(tables[TraceProfile]["window_length"][0]),
        pages=limits.pages,
        regions=limits.regions,
        reuse=[limits.reuse, *([limits.volume_reuse] * spaces if spaces > 1 else [])],
        timed=True,
        words=reference.MEMORY,
        unsized=True,
    )
    for table, expected in zip(PROFILE_TABLES, want, strict=False):
        have = tables[table].to_dicts()
        assert len(have) == len(expected)
        for mine, theirs in zip(have, expected, strict=True):
            for name, value in theirs.items():
                assert mine[name] == pytest.approx(value, rel=1e-9, abs=1e-9), (table, name)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 4), st.integers(0, 2), st.integers(0, 9)), min_size=1))
def test_operations__are_counted_by_window_and_volume(given_: list[tuple[int, ...]]) -> None:
    given_ = sorted(given_)
    given_ = [(time - given_[0][0], *rest) for time, *rest in given_]
    time, op, volume, length = map(list, zip(*given_, strict=True))
    tables = told("block", rows(Block, time=time, op=op, volume=volume, length=length), 5)
    window = int(tables[TraceProfile]["window_length"][0])
    want: dict[tuple[int, int, str], list[int]] = defaultdict(lambda: [0, 0])
    words = ["read", "write", "discard", "flush", "write zeroes"]
    for at, what, v, n in given_:
        want[at // window * window, v, words[what]][0] += 1
        want[at // window * window, v, words[what]][1] += n
    have = tables[TraceOperations].rows()
    assert have == sorted((*key, *value) for key, value in want.items())


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 400)), max_size=80), max_size=10), st.integers(4, 64))
def test_distinct__is_exact_or_says_of_how_many(batches: list[list[int | None]], most: int) -> None:
    whole, cut = Distinct(most), Distinct(most)
    for batch in batches:
        cut.add(pl.Series(batch, dtype=pl.UInt32))
    values = [value for batch in batches for value in batch]
    whole.add(pl.Series(values, dtype=pl.UInt32))
    assert (cut.count, cut.rate) == (whole.count, whole.rate)
    there = len(set(values) - {None})
    assert (cut.rate == 1) == (there <= most)
    assert cut.count == there or cut.rate < 1


@pytest.mark.parametrize("text", [False, True])
def test_distinct__comes_near_what_is_exact(text: bool) -> None:
    counted = Distinct(1 << 12)
    for begin in range(0, 300_000, 50_000):
        values = pl.Series(np.arange(begin, begin + 60_000) * 4096)
        counted.add(values.cast(pl.String) if text else values)
    assert counted.rate < 0.02
    assert counted.count == pytest.approx(310_000, rel=0.05)


def test_every_kind_has_a_view_of_its_columns() -> None:
    assert set(VIEWS) == set(KINDS)
    for kind, table in KINDS.items():
        assert set(columns(kind)) <= set(schema_of(table))


def test_config__how_a_boot_finds_its_devices(tmp_path: Path) -> None:
    """How many functions are asked for, how many are there, by which way, and when most of it happens."""
    store = Store(tmp_path)
    (made,) = ingest(store, [GOLDEN / "q35-ovmf-none.qemu.log.zst"], name="boot")
    done = profile(store, "boot")
    kept = figures(store, "config", "boot", made.info.content)
    assert kept is not None
    whole = kept.row(0, named=True)
    assert (whole["requests"], whole["reads"], whole["writes"]) == (5515, 4768, 747)
    assert kept.height == 1 + len(made.info.volumes)
    counts = {what: n for what, n, _ in pl.read_parquet(done.path / "trace_distinct.parquet").iter_rows()}
    assert counts["functions that are present"] == len(made.info.volumes) - 1
    assert counts["functions"] == whole["pages"]
    assert whole["size_max"] == 4
    words = pl.read_parquet(done.path / "trace_operations.parquet")
    assert words["requests"].sum() == 5515
    assert set(words["operation"]) <= {
        f"{op} by {way}" for op in ("read", "write") for way in ("ports", "ecam", "other")
    }
    windows = pl.read_parquet(done.path / "trace_windows.parquet")
    assert windows["requests"].sum() == 5515
    assert windows["new_pages"].sum() == whole["pages"]


def test_dma__how_often_mappings_are_made_anew() -> None:
    """Accesses beside maps and invalidations, by device; what of the input addresses is used."""
    event = [Event.MAP, Event.ACCESS, Event.ACCESS, Event.UNMAP, Event.INVALIDATE_IOTLB_PAGES, Event.MAP, Event.ACCESS]
    whole = rows(
        Dma,
        time=range(7),
        event=event,
        source=[8, 8, 8, 8, NOT_TOLD, 8, 16],
        domain=[1, 1, 1, 1, 1, 2, NOT_TOLD],
        pasid=[NOT_TOLD] * 7,
        address=[0, 0, 100, 0, 0, 1 << 20, 1 << 20],
        size=[1 << 21, 64, 64, 1 << 21, 1 << 21, 4096, 0],
        write=[2, 1, 0, 2, 2, 2, 2],
    )
    tables = told("dma", whole)
    assert operations(tables) == {
        "map": (2, (1 << 21) + 4096),
        "write": (1, 64),
        "read": (1, 64),
        "unmap": (1, 1 << 21),
        "invalidate iotlb pages": (1, 1 << 21),
        "access": (1, 0),
    }
    assert distinct(tables) == {"devices": 2, "domains": 2, "address spaces": 0, "ranges mapped": 2}
    found = tables[TraceProfile]
    assert found["requests"].to_list() == [7, 5, 1, 1]
    assert found["pages"].to_list() == [2, 1, 0, 1]
    assert found["reads"].to_list() == [1, 1, 0, 0]


def test_text__where_and_by_whom_the_kernel_is_patched() -> None:
    """How many sites, by which procedure, in which bursts."""
    procedures = ["jump_label", "jump_label", "ftrace", "jump_label", ""]
    whole = rows(
        Text,
        time=[0, 10, 20, 5 * 10**9, 5 * 10**9],
        address=[0xFFFF_FFFF_8100_0000 + n for n in (0, 64, 5000, 0, 64)],
        length=[5] * 5,
        procedure=procedures,
        old=["90"] * 5,
        new=["cc"] * 5,
    )
    tables = told("text", whole)
    assert {word: n for word, (n, _) in operations(tables).items()} == Counter(p or "not told" for p in procedures)
    assert distinct(tables) == {"sites": 3, "procedures": 2, "processes": 0}
    row = tables[TraceProfile].row(0, named=True)
    assert (row["writes"], row["bytes_written"], row["pages"]) == (5, 25, 2)
    assert tables[TraceWindows]["requests"].to_list() == [3, 2]
    assert row["gap_cv"] > 1


def test_message__what_reaches_whom_and_how_late() -> None:
    """Published, torn and refused records by producer, receivers, and the delay of delivery."""
    whole = rows(
        Message,
        time=range(6),
        op=[0, 0, 0, 1, 2, 0],
        producer=[0, 0, 1, 1, 0, 0],
        ring=[0, 0, 1, 1, 0, 2],
        receiver=["a", "b", "a", "", "", "a"],
        address=[0, 4096, 0, 64, 0, 0],
        length=[64, 64, 128, 0, 0, 64],
        delivered=[100, 200, -1, -1, -1, 100],
        outcome=[1, 1, 2, 0, 0, 1],
    )
    tables = told("message", whole)
    assert operations(tables) == {
        "published, delivered": (3, 192),
        "published, refused": (1, 128),
        "torn": (1, 0),
        "ring full": (1, 0),
    }
    assert distinct(tables) == {"receivers": 2, "rings": 3}
    found = tables[TraceProfile]
    assert found["writes"].to_list() == [4, 3, 1]
    assert found["pages"].to_list() == [4, 3, 1]  # one ring's first page is not another's
    assert found["write_latency_p50"].to_list() == [100, 100, -1]
    assert found["latency_known"].to_list() == [3 / 6, 3 / 4, 0]


def test_memory__the_working_set_of_each_address_space_over_time() -> None:
    pages = [0, 1, 2, 0, 1, 2, 7, 7]
    whole = rows(
        Memory,
        time=[10**9 * i for i in range(8)],
        op=[Op.LOAD, Op.STORE, Op.FETCH, Op.LOAD, Op.MODIFY, Op.SAMPLED, Op.SAMPLED, Op.DIRTY],
        space=[0, 0, 0, 0, 0, 0, 0, 1],
        address=[4096 * page for page in pages],
        size=[0, 8, 3, 0, 8, 4096, 4096, 4096],
        accesses=[1, 1, 1, 1, 1, 5, 0, 1],  # at the last but one, a monitor saw nobody
        ip=[5, 5, 9, 0, 0, 0, 0, 0],
    )
    tables = told("memory", whole)
    found = tables[TraceProfile]
    assert found["pages"].to_list() == [4, 3, 1]
    assert found["pages_read"].to_list() == [3, 3, 0]
    assert found["pages_written"].to_list() == [2, 1, 1]
    assert found["reads"].to_list() == [3, 3, 0]
    assert tables[TraceWindows]["pages"].to_list() == [1, 1, 1, 1, 1, 1, 0, 1]
    assert {word: n for word, (n, _) in operations(tables).items()} == {
        "load": 2,
        "store": 1,
        "fetch": 1,
        "modify": 1,
        "sampled": 2,
        "dirty": 1,
    }
    assert distinct(tables)["instructions"] == 2


def test_profile__of_a_recording_of_memory_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lines = "".join(f"I  0401{i % 16:x}000,3\n S 1fff00{i % 7:x}758,8\n" for i in range(500))
    (tmp_path / "it.log").write_text(lines)
    (made,) = ingest(store, [tmp_path / "it.log"], name="it")
    assert (made.kind, profile(store, "it").fresh, profile(store, "it").fresh) == ("memory", True, False)
    kept = figures(store, "memory", "it", made.info.content)
    assert kept is not None
    whole = kept.row(0, named=True)
    assert (whole["requests"], whole["writes"], whole["reads"], whole["pages"]) == (1000, 500, 0, 16 + 7)
    assert whole["gap_mean"] == -1  # a source without a clock


@pytest.mark.parametrize("name", ["sqlite.dirty", "redis-set-uniform.dirty"])
def test_footprints_of_recordings_are_those_counted_independently(shared: Path, tmp_path: Path, name: str) -> None:
    facts = json.loads((shared / f"captures/E_mem/{name}.facts.json").read_text())
    store = Store(tmp_path)
    (made,) = ingest(store, [shared / f"captures/E_mem/{name}.zst"], name="it")
    done = profile(store, "it")
    whole = pl.read_parquet(done.path / "trace_profile.parquet").row(0, named=True)
    assert whole["pages"] == whole["pages_written"] == facts["distinct_pages_ever_dirty"]
    assert pl.read_parquet(done.path / "trace_operations.parquet")["requests"].sum() == made.info.rows


def test_profile__of_a_trace_with_one_row_of_each_kind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for kind, table in KINDS.items():
        write(store, "one", TraceInfo(format="toy", kind=kind), [rows(table, time=[0])], volumes=["v"])
        done = profile(store, f"{kind}/one")
        assert pl.read_parquet(done.path / "trace_profile.parquet")["requests"][0] == 1
