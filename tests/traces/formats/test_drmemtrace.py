import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accesses import columns, facts, ops
from tests.damage import damaged, read, survives
from traces.errors import TraceError
from traces.formats import drmemtrace
from traces.formats.drmemtrace import FORMAT
from traces.formats.inputs import inputs
from traces.formats.reader import Report
from traces.ingest import ingest
from traces.memory import Op
from traces.store import Store

pytestmark = pytest.mark.kernels

START = 13_386_385_969_186_755  # microseconds since 1601
UNIX = (START - 11_644_473_600_000_000) * 1000


def entry(kind: int, size: int, address: int) -> bytes:
    return struct.pack("<HHQ", kind, size, address)


def thread(tid: int = 7, pid: int = 5, at: int = 0) -> bytes:
    return b"".join(
        [
            entry(25, 0, 7),
            entry(28, 12, 7),
            entry(22, 4, tid),
            entry(24, 4, pid),
            entry(28, 2, START + at),
            entry(47, 3, 0x1234),
            entry(10, 3, 0x1000),
            entry(0, 8, 0x8000),
            entry(1, 4, 0x8008),
            entry(28, 2, START + at + 10),
            entry(14, 5, 0x1003),
            entry(2, 1, 0x9000),
        ]
    )


END = entry(23, 4, 7) + entry(26, 0, 0)


def zipped(path: Path, chunks: Sequence[bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i, chunk in enumerate(chunks):
            archive.writestr(f"chunk.{i:04}", chunk)
    return path


def of(*paths: Path) -> tuple[pl.DataFrame, Report]:
    return read(FORMAT, [each for path in paths for each in inputs(path)])


def one(folder: Path, data: bytes) -> tuple[pl.DataFrame, Report]:
    path = folder / "trace"
    path.write_bytes(data)
    return of(path)


def test_entries__become_accesses(tmp_path: Path) -> None:
    rows, report = one(tmp_path, thread() + END)
    assert columns(rows, "time", "op", "address", "size", "ip", "cpu", "raw") == [
        (UNIX, Op.FETCH, 0x1000, 3, 0x1000, 7, "instr"),
        (UNIX, Op.LOAD, 0x8000, 8, 0x1000, 7, "read"),
        (UNIX, Op.STORE, 0x8008, 4, 0x1000, 7, "write"),
        (UNIX + 10_000, Op.FETCH, 0x1003, 5, 0x1003, 7, "direct call"),
        (UNIX + 10_000, Op.UNKNOWN, 0x9000, 1, 0x1003, 7, "prefetch"),
    ]
    assert (report.clock, report.volumes, report.refused) == ("unix", {"pid 5": 0}, 0)
    assert report.notes == {"markers": 3, "encodings of instructions": 1, "threads that ended": 1}


def test_instructions_not_fetched__count_in_the_gap(tmp_path: Path) -> None:
    tail = entry(29, 2, 0x2000) * 3 + entry(1, 8, 0xA000) + entry(1, 8, 0xA008)
    rows, report = one(tmp_path, thread() + tail + END)
    assert columns(rows[-2:], "address", "ip", "gap") == [(0xA000, 0x2000, 3), (0xA008, 0x2000, 0)]
    assert report.notes["instructions that were not fetched"] == 3


def test_bundles__are_instructions_in_a_row(tmp_path: Path) -> None:
    rows, _ = one(tmp_path, thread() + entry(10, 4, 0x3000) + entry(17, 3, 0x020301) + END)
    assert columns(rows[-4:], "address", "size", "op") == [
        (0x3000, 4, Op.FETCH),
        (0x3004, 1, Op.FETCH),
        (0x3005, 3, Op.FETCH),
        (0x3008, 2, Op.FETCH),
    ]


def test_entries_that_are_none__are_refused_with_their_byte(tmp_path: Path) -> None:
    data = thread() + entry(50, 0, 1) + entry(17, 9, 0) + entry(28, 2, 1 << 63) + entry(28, 2, 5) + END + b"\0" * 5
    rows, report = one(tmp_path, data)
    assert rows.height == 5
    assert report.take_refused()["line"].to_list() == [144, 156, 168, 180, 216]


@pytest.mark.parametrize("most", [1 << 13, 7])
def test_holes__are_refused_and_nothing_after_them_is_spoilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(drmemtrace, "ROWS", most)
    monkeypatch.setattr(drmemtrace, "_MINIMUM", most)
    told = entry(0, 0, 0x7000)  # a load whose size is 0, as there are
    whole = thread() + told + bytes(12 * 40) + told + entry(50, 0, 1) + bytes(12) + END
    rows, report = one(tmp_path, whole)
    intact, _ = one(tmp_path, thread() + told + told + END)
    assert rows.equals(intact)
    assert report.notes["records of zeros, a hole in the file: refused, a row a run"] == 41
    refused = report.take_refused()
    runs = refused.filter(pl.col("reason").str.contains("a hole"))["reason"].str.extract(r"(\d+) records").cast(int)
    assert runs.sum() == 41
    assert refused.filter(~pl.col("reason").str.contains("a hole"))["line"].to_list() == [12 * 54]
    assert 13 * 12 in refused["line"].to_list()
    assert runs.len() == 2 or most == 7


def test_chunks_of_a_zip__are_one_stream(tmp_path: Path) -> None:
    whole = thread() + entry(29, 2, 0x2000) + entry(1, 8, 0xA000) + END
    want, _ = of(zipped(tmp_path / "a.zip", [whole]))
    for cut in (60, 108, 120, 156):
        rows, report = of(zipped(tmp_path / "b.zip", [whole[:cut], whole[cut:]]))
        assert rows.equals(want)
        assert report.refused == 0


def test_threads__are_merged_by_time_and_kept_apart(tmp_path: Path) -> None:
    first = zipped(tmp_path / "a.zip", [thread(tid=7, at=5) + END])
    second = zipped(tmp_path / "b.zip", [thread(tid=8, at=0) + END])
    third = zipped(tmp_path / "c.zip", [thread(tid=9, pid=6, at=0) + END])
    rows, report = of(first, second, third)
    assert rows["time"].is_sorted()
    assert dict(rows.group_by("cpu").len().iter_rows()) == {7: 5, 8: 5, 9: 5}
    assert sorted(report.volumes) == ["pid 5", "pid 6"]
    done = ingest(Store(tmp_path / "store"), [first, second, third], name="both")[0]
    assert (done.kind, done.info.total("requests"), done.info.moved) == ("memory", 15, 0)
    assert {volume.name for volume in done.info.volumes} == {"pid 5", "pid 6"}


def test_files_without_times__have_their_order(tmp_path: Path) -> None:
    data = entry(25, 0, 7) + entry(22, 4, 1) + entry(10, 3, 0x1000) + entry(0, 8, 0x8000)
    rows, report = one(tmp_path, data)
    assert (report.clock, rows["time"].to_list()) == ("ordinal", [0, 1])
    assert report.volumes == {"trace": 0}
    assert report.notes == {"files without their last entry: cut off, or not closed": 1}


def test_batches__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b"".join(thread(at=i * 20) for i in range(50)) + END
    want, report = one(tmp_path, data)
    monkeypatch.setattr(drmemtrace, "ROWS", 7)
    monkeypatch.setattr(drmemtrace, "_MINIMUM", 7)
    rows, again = one(tmp_path, data)
    assert rows.equals(want)
    assert again.notes == report.notes


def held(known: dict[str, Any], rows: pl.DataFrame, report: Report) -> None:
    kinds = {"markers": "markers", "encodings": "encodings of instructions"}
    kinds["non_fetched_instructions"] = "instructions that were not fetched"
    assert report.refused == 0
    data = rows.filter(pl.col("op") != Op.FETCH)
    fetch = rows.filter(pl.col("op") == Op.FETCH)
    load, store = rows.filter(pl.col("op") == Op.LOAD), rows.filter(pl.col("op") == Op.STORE)
    have: dict[str, Any] = {
        "loads": load.height,
        "stores": store.height,
        "fetched_instructions": fetch.height,
        "bytes_read": load["size"].sum(),
        "bytes_written": store["size"].sum(),
        "data_pages4k": (data["address"] // 4096).n_unique(),
        "ifetch_pages4k": (fetch["address"] // 4096).n_unique(),
    } | {key: report.notes[sentence] for key, sentence in kinds.items()}
    assert have == {key: known[key] for key in have}


def test_facts__of_one_thread(shared: Path) -> None:
    known = facts(shared, "drmemtrace/dr_tests/simple_app")
    rows, report = of(shared / "public-traces/drmemtrace/dr_tests/drmemtrace.simple_app.trace.zip")
    held(known, rows, report)
    assert rows["gap"].sum() == known["non_fetched_instructions"]
    assert rows["time"].is_sorted()
    first, last = ((us - 11_644_473_600_000_000) * 1000 for us in known["timestamps_us_since_1601"])
    assert first <= rows["time"][0] <= rows["time"][-1] <= last
    assert report.volumes == {"pid 1438993": 0}


def test_facts__of_nine_threads(shared: Path) -> None:
    known = facts(shared, "drmemtrace/dr_tests/threadsig.x64")
    folder = shared / "public-traces/drmemtrace/dr_tests/drmemtrace.threadsig.x64.tracedir"
    files = sorted(folder.glob("*.trace.zip"))
    assert len(files) == known["files"]
    rows, report = of(*files)
    held(known, rows, report)
    assert rows["time"].is_sorted()
    assert rows["cpu"].n_unique() == known["files"] == report.notes["threads that ended"]
    assert report.volumes == {"pid 872805": 0}
    first, last = ((us - 11_644_473_600_000_000) * 1000 for us in known["timestamps_us_since_1601"])
    assert first <= rows["time"][0] <= rows["time"][-1] <= last


def test_legacy__threads_take_turns_in_one_file(shared: Path) -> None:
    rows, report = of(shared / "public-traces/drmemtrace/dr_tests/offline-legacy-trace.gz")
    assert report.refused == 0
    count = {op: ops(rows).count(op) for op in (Op.LOAD, Op.STORE, Op.FETCH)}
    assert count == {Op.LOAD: 26_381, Op.STORE: 16_308, Op.FETCH: 78_753}
    assert rows["cpu"].n_unique() == 5


def test_sniff() -> None:
    assert FORMAT.sniff("x", thread()) == "entries of 12 bytes after the header of drmemtrace version 7"
    assert FORMAT.sniff("x", thread()[12:]) is None
    assert FORMAT.sniff("x", entry(25, 0, 7)) is None
    assert FORMAT.sniff("x", b"\0" * 100) is None


@settings(max_examples=150)
@given(data=damaged(thread() * 3 + entry(17, 3, 0x020301) + END))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)


def narrow(kind: int, size: int, address: int) -> bytes:
    return struct.pack("<HHI", kind, size, address)


def narrow_thread(tid: int, times: Sequence[int]) -> bytes:
    head = narrow(25, 0, 7) + narrow(22, 4, tid) + narrow(24, 4, 5)
    rows = (narrow(28, 2, each % (1 << 32)) + narrow(10, 3, 0x1000) + narrow(0, 4, 0xFFFFFFF0) for each in times)
    return head + b"".join(rows) + narrow(17, 2, 0x0201) + narrow(26, 0, 0)


def test_32_bit_entries__are_known_by_their_second(tmp_path: Path) -> None:
    data = narrow_thread(7, [1000, 1010]) + narrow(17, 5, 0) + b"\0" * 3
    assert FORMAT.sniff("x", data) == "entries of 8 bytes after the header of drmemtrace version 7"
    rows, report = one(tmp_path, data)
    assert rows.select("time", "op", "cpu", "address", "size", "ip").rows() == [
        (1_000_000, Op.FETCH, 7, 0x1000, 3, 0x1000),
        (1_000_000, Op.LOAD, 7, 0xFFFFFFF0, 4, 0x1000),
        (1_010_000, Op.FETCH, 7, 0x1000, 3, 0x1000),
        (1_010_000, Op.LOAD, 7, 0xFFFFFFF0, 4, 0x1000),
        (1_010_000, Op.FETCH, 7, 0x1003, 1, 0x1003),
        (1_010_000, Op.FETCH, 7, 0x1004, 2, 0x1004),
    ]
    assert report.clock == "relative"
    assert report.take_refused()["text"].to_list() == [narrow(17, 5, 0).hex(), "000000"]


@settings(max_examples=60)
@given(start=st.integers(1, (1 << 32) - 1), steps=st.lists(st.integers(-1000, (1 << 31) - 1), max_size=30))
def test_32_bit_times__are_followed_round_their_end(
    tmp_path_factory: pytest.TempPathFactory, start: int, steps: list[int]
) -> None:
    times = [start]
    for step in steps:
        times.append(max(times[-1] + step, 1))
    whole = narrow_thread(7, times)
    with pytest.MonkeyPatch.context() as patch:
        for most in (1 << 13, 7):
            patch.setattr(drmemtrace, "ROWS", most)
            patch.setattr(drmemtrace, "_MINIMUM", most)
            rows, _ = one(tmp_path_factory.mktemp("x"), whole)
            assert (rows["time"] // 1000).to_list()[: 2 * len(times) : 2] == times


def test_32_bit_and_64_bit_programs__are_not_one_trace(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(narrow_thread(1, [5]))
    (tmp_path / "b").write_bytes(thread() + END)
    with pytest.raises(TraceError, match="ingest them apart"):
        of(tmp_path / "a", tmp_path / "b")
