from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, facts, one, pages
from tests.damage import damaged, read, survives
from traces.formats import _template
from traces.formats.ramulator import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

CPU = "2 11696256\n9 140736594543744 4096\n0 11696320\n"


def test_processors__load_and_write_back(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, CPU)
    assert columns(rows, "time", "op", "address", "gap", "raw") == [
        (0, Op.LOAD, 11696256, 2, "load"),
        (1, Op.LOAD, 140736594543744, 9, "load"),
        (2, Op.STORE, 4096, 0, "writeback"),
        (3, Op.LOAD, 11696320, 0, "load"),
    ]
    assert (report.clock, report.refused, set(rows["size"])) == ("ordinal", 0, {0})


def test_memories__read_and_write(tmp_path: Path) -> None:
    rows, _ = one(FORMAT, tmp_path, "0x12345680 R\n0x4cbd56c0 W\n")
    assert columns(rows, "time", "op", "address", "raw") == [
        (0, Op.LOAD, 0x12345680, "R"),
        (1, Op.STORE, 0x4CBD56C0, "W"),
    ]


def test_what_is_neither__is_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, CPU + "1\n1 x\n1 2 3 4\n12 R\n0x1 X\n-1 5\n# said\n")
    assert (rows.height, report.refused, report.notes) == (4, 6, {"comments": 1})


def test_facts(shared: Path) -> None:
    known = facts(shared, "ramulator/445.gobmk.gz")
    rows, report = read(FORMAT, [shared / "public-traces/ramulator/445.gobmk.gz"])
    loads, stores = rows.filter(rows["op"] == Op.LOAD), rows.filter(rows["op"] == Op.STORE)
    assert (loads.height, loads.height, stores.height) == (known["records"], known["reads"], known["writes"])
    assert (rows["gap"].sum(), pages(rows)) == (known["bubble_instructions"], known["pages4k"])
    assert (report.refused, (rows["address"] % 64 != 0).sum()) == (0, known["odd"]["addr_not_64_aligned"])


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("x", CPU.encode()) is None
    assert FORMAT.sniff("x", b"0x12345680 R\n") is None


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    want, _ = one(FORMAT, tmp_path, CPU * 9)
    monkeypatch.setattr(_template, "_CHUNK", 30)
    assert one(FORMAT, tmp_path, CPU * 9)[0].equals(want)


@settings(max_examples=150)
@given(data=damaged(CPU.encode() * 3))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    done = survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
    if done is not None:
        rows, report = done
        lines = sum(word != "writeback" for word in rows["raw"]) + report.refused + report.notes.get("empty lines", 0)
        assert lines + report.notes.get("comments", 0) == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
