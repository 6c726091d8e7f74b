import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings

from tests.accesses import by_word, columns, facts, lines_kept, one, ops, pages, touched
from tests.damage import damaged, read
from traces.formats import _template
from traces.formats.lackey import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

TEXT = """\
==1234== Lackey, an example Valgrind tool
--1234-- warning
I  0401ab70,3
 S 1fff000758,8
I  0401ab73,5
 L 1fff000750,4
 M 00602264,1
"""
SAID = ("lines of valgrind's own",)


def test_lines__are_accesses_of_their_instruction(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT)
    assert ops(rows) == [Op.FETCH, Op.STORE, Op.FETCH, Op.LOAD, Op.MODIFY]
    assert columns(rows, "time", "address", "size", "ip", "raw") == [
        (0, 0x401AB70, 3, 0x401AB70, "I"),
        (1, 0x1FFF000758, 8, 0x401AB70, "S"),
        (2, 0x401AB73, 5, 0x401AB73, "I"),
        (3, 0x1FFF000750, 4, 0x401AB73, "L"),
        (4, 0x602264, 1, 0x401AB73, "M"),
    ]
    assert set(rows["accesses"]) == {1}
    assert (report.clock, report.notes, report.refused) == ("ordinal", {SAID[0]: 2}, 0)
    assert report.volumes == {"program.txt": 0}


def test_what_is_no_line_of_lackeys__is_refused(tmp_path: Path) -> None:
    rows, report = one(
        FORMAT, tmp_path, "I  04,3\nL 04,1\n X 04,1\nhello\n S 04\n S g4,1\n S 04,x\n S 04,8 more\n S 05,8\n"
    )
    assert ops(rows) == [Op.FETCH, Op.STORE]
    assert report.take_refused()["line"].to_list() == [2, 3, 4, 5, 6, 7, 8]


def test_kernel_addresses__have_64_bits(tmp_path: Path) -> None:
    rows, _ = one(FORMAT, tmp_path, " L ffffffffff600000,8\n")
    assert columns(rows, "address", "ip") == [(0xFFFFFFFFFF600000, 0)]


@pytest.mark.parametrize("name", ["sqlite", "gzip"])
def test_whole_runs__have_their_facts(shared: Path, name: str) -> None:
    known = json.loads((shared / f"captures/E_mem/{name}.facts.json").read_text())
    rows, report = read(FORMAT, [shared / f"captures/E_mem/{name}.lackey.zst"])
    assert (rows.height, report.refused, report.notes) == (known["records"], 0, {})
    assert by_word(rows) == known["kinds"]
    code, data = rows.filter(rows["op"] == Op.FETCH), rows.filter(rows["op"] != Op.FETCH)
    written = data.filter(data["op"] != Op.LOAD)
    assert len(touched(code)) == known["distinct_4k_code_pages"]
    assert len(touched(data)) == known["distinct_4k_data_pages"]
    assert len(touched(written)) == known["distinct_4k_written_pages"]
    assert data["size"].sum() == known["data_bytes_accessed"]
    ends = (rows["address"] + rows["size"] - 1) // 4096
    assert (ends != rows["address"] // 4096).sum() == known["accesses_crossing_a_4k_boundary"]


def test_facts__of_a_public_copy(shared: Path) -> None:
    known = facts(shared, "lackey/cachelab_long_SergeShpak.trace.zst")
    rows, report = read(FORMAT, [shared / "public-traces/lackey/cachelab_long_SergeShpak.trace.zst"])
    assert (rows.height, report.refused, report.notes) == (known["records"], 0, {})
    assert by_word(rows) == known["by_op"]
    assert dict(rows.group_by("raw").agg(pl.col("size").sum()).iter_rows()) == known["bytes_by_op"]
    assert (rows["address"].min(), rows["address"].max()) == (int(known["min_addr"], 16), int(known["max_addr"], 16))
    assert pages(rows) == known["pages4k"]
    reads = rows.filter(pl.col("op").is_in([Op.LOAD, Op.MODIFY])).height
    assert (reads, rows.height - by_word(rows)["L"]) == (known["reads"], known["writes"])
    assert set(rows["ip"]) == {0}


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT.encode()) is not None
    assert FORMAT.sniff("x", b" S 00602264,1\n L 00602260,4\n") is not None
    assert FORMAT.sniff("x", b"S 00602264,1\nL 00602260,4\n") is None
    assert FORMAT.sniff("x", b"==12== Lackey\n") is None
    assert FORMAT.sniff("x", b"\0" * 100) is None


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    want, _ = one(FORMAT, tmp_path, TEXT * 20)
    monkeypatch.setattr(_template, "_CHUNK", 50)
    assert one(FORMAT, tmp_path, TEXT * 20)[0].equals(want)


@settings(max_examples=150)
@given(data=damaged(TEXT.encode() * 3))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data, SAID)
