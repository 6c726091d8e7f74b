import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings

from tests.accesses import columns, one, touched
from tests.damage import damaged, read
from traces.formats import _template
from traces.formats.soft_dirty import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[2] / "golden"
HEADER = "# pid 134 period_ms 100  columns: t_ms window_ms scan_ms resident_pages dirty_pages runs\n"
TEXT = HEADER + "107.0 100.4 5.4 18396 3 55e74c74b+2,55e74c760,\n212.6 100.6 5.0 18396 0\n"
ACROSS = "317.8 100.5 4.7 18396 1 7fffffffffff,\n"


def held(path: Path, facts: Path) -> None:
    known = json.loads(facts.read_text())
    rows, report = read(FORMAT, [path])
    pages = rows["size"] // 4096
    assert report.refused == 0
    assert report.notes == {"windows": known["windows"]}
    assert pages.sum() == rows["accesses"].sum() == known["sum_dirty_pages"]
    window = rows.group_by("time").agg((pl.col("size") // 4096).sum().alias("pages"))
    assert (window.height, window["pages"].max()) == (known["windows"], known["max_dirty"])
    assert len(touched(rows)) == known["distinct_pages_ever_dirty"]


@pytest.mark.parametrize("name", ["redis-idle", "redis-set-uniform", "sqlite"])
def test_facts(shared: Path, name: str) -> None:
    folder = shared / "captures/E_mem"
    held(folder / f"{name}.dirty.zst", folder / f"{name}.dirty.facts.json")


def test_golden__has_its_counts() -> None:
    rows, report = read(FORMAT, [GOLDEN / "redis-idle.dirty.zst"])
    assert (rows.height, rows["accesses"].sum(), report.notes) == (1933, 3845, {"windows": 73})
    assert (rows["time"][0], rows["time"][-1]) == (107_000_000, 8_095_600_000)
    assert report.volumes == {"redis-idle.dirty: pid 134": 0}


def test_a_run__is_a_row(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT + ACROSS)
    assert columns(rows, "time", "op", "address", "size", "accesses") == [
        (107_000_000, Op.DIRTY, 0x55E74C74B000, 8192, 2),
        (107_000_000, Op.DIRTY, 0x55E74C760000, 4096, 1),
        (317_800_000, Op.DIRTY, 0x7FFFFFFFFFFF000, 4096, 1),
    ]
    assert report.notes == {"windows": 3, "windows without a dirty page": 1}
    assert report.clock == "relative"


def test_windows__that_disagree_with_their_count(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, "1.0 1.0 1.0 9 5 a,b+2,\n")
    assert (rows.height, report.volumes) == (2, {"program.txt": 0})
    assert report.notes["windows whose runs disagree with their count"] == 1


@pytest.mark.parametrize(
    "runs", ["x,", "a+,", "a+0,", "a;b,", "a,,b", "12345678901234,", "fffffffffffff+2,", "a+b,", "+1"]
)
def test_runs_that_are_none__refuse_their_window(tmp_path: Path, runs: str) -> None:
    rows, report = one(FORMAT, tmp_path, f"{TEXT}3.0 1.0 1.0 9 1 {runs}\n")
    assert (rows.height, report.refused) == (2, 1)
    assert report.first.startswith("line 4: the runs are not")


def test_processes__are_address_spaces_of_their_own(tmp_path: Path) -> None:
    _, report = one(FORMAT, tmp_path, TEXT + HEADER.replace("134", "7") + ACROSS)
    assert report.volumes == {"program.txt: pid 134": 0, "program.txt: pid 7": 1}


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (TEXT + HEADER.replace("134", "7") + ACROSS) * 5
    want, report = one(FORMAT, tmp_path, text)
    monkeypatch.setattr(_template, "_CHUNK", 60)
    rows, again = one(FORMAT, tmp_path, text)
    assert rows.equals(want)
    assert again.notes == report.notes


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT.encode()) is not None
    assert FORMAT.sniff("x", TEXT.encode()[20:]) is None


@settings(max_examples=150)
@given(data=damaged((TEXT + ACROSS).encode() * 3))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("trace") / "x"
    path.write_bytes(data)
    rows, report = read(FORMAT, [path])
    assert rows["accesses"].sum() * 4096 == rows["size"].sum() or rows["accesses"].max() == 2**32 - 1
    assert report.notes.get("windows", 0) + report.refused <= data.count(b"\n") + 1
