"""No recording was at hand: the lines are written by hand from perf's source."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.damage import damaged, read, survives
from traces.formats import _template
from traces.formats.text_poke import FORMAT

pytestmark = pytest.mark.kernels

SCRIPT = b"""\
# captured on    : Tue May 12 15:19:07 2020
            perf  1234 [006]   565.303693: PERF_RECORD_KSYMBOL addr ffffffffc027a000 len 4096 type 2 flags 0x0 name k
            perf  1234 [006]   565.303697: PERF_RECORD_TEXT_POKE ffffffffc027a000  old len 0 new len 6
            New bytes: cc cc 0f 1f 44 00
     kworker/0:1    99 [001]   565.369336: PERF_RECORD_TEXT_POKE ffffffff88ab8890 __schedule+0x0 old len 5 new len 5
            Old bytes: 0f 1f 44 00 00
            New bytes: e9 6b 37 7c 37
          :-1    -1 [001]   565.456313: PERF_RECORD_TEXT_POKE ffffffffc027c000 kprobe_page+0x0 old len 18 new len 0
            Old bytes: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
            Old bytes: 10 11
"""
DUMP = b"""\
6 565303697010 0x291f68 [0x40]: PERF_RECORD_TEXT_POKE addr 0xffffffffc027a000 old len 0 new len 2
            New bytes: cc cc
7 566434327704 0x217c208 [0x40]: PERF_RECORD_TEXT_POKE ffffffff88ab8890 __schedule+0x0 old len 1 new len 1
            Old bytes: 0f
            New bytes: cc
"""
COLUMNS = ["time", "address", "length", "old", "new", "symbol", "cpu", "pid"]


def written(tmp_path: Path, text: bytes) -> Path:
    path = tmp_path / "x.txt"
    path.write_bytes(text)
    return path


def test_script(tmp_path: Path) -> None:
    rows, report = read(FORMAT, [written(tmp_path, SCRIPT)])
    assert FORMAT.sniff("x", SCRIPT)
    assert rows.select(COLUMNS).rows() == [
        (565303697000, 0xFFFFFFFFC027A000, 6, "", "cccc0f1f4400", "", 6, 1234),
        (565369336000, 0xFFFFFFFF88AB8890, 5, "0f1f440000", "e96b377c37", "__schedule+0x0", 1, 99),
        (565456313000, 0xFFFFFFFFC027C000, 18, bytes(range(18)).hex(), "", "kprobe_page+0x0", 1, 0),
    ]
    assert report.refused == 0
    assert report.notes == {"lines that begin with #": 1, "symbols that came or went (PERF_RECORD_KSYMBOL)": 1}
    assert set(rows["raw"]) == {"PERF_RECORD_TEXT_POKE"}


def test_dump(tmp_path: Path) -> None:
    rows, report = read(FORMAT, [written(tmp_path, DUMP)])
    assert FORMAT.sniff("x", DUMP)
    assert rows.select(COLUMNS).rows() == [
        (565303697010, 0xFFFFFFFFC027A000, 2, "", "cccc", "", 6, 0),
        (566434327704, 0xFFFFFFFF88AB8890, 1, "0f", "cc", "__schedule+0x0", 7, 0),
    ]
    assert report.refused == 0


def test_bytes__that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    head = b" perf 1 [0] 5.000001: PERF_RECORD_TEXT_POKE ffff0000 f+0x0 old len 2 new len 2\n"
    text = (
        b" Old bytes: 00 11\n"  # 1: of no patch
        + head  # 2: too few
        + b" Old bytes: 00 11\n New bytes: 22\n"
        + head  # 5: too many
        + b" Old bytes: 00 11 22\n"
        + head  # 7: in the wrong order
        + b" New bytes: 22 33\n Old bytes: 00 11\n"
        + head  # 10: not bytes
        + b" Old bytes: zz 11\n"
        + head
        + b" Old bytes: 00 11\n New bytes: 22 33\n"
        + b" perf 1 [0] 5.000001: cycles: 1 2\nnonsense\n"
        + head  # 17: cut off
    )
    rows, report = read(FORMAT, [written(tmp_path, text)])
    assert rows.select("old", "new").rows() == [("0011", "2233")]
    assert sorted(row[1] for row in report.take_refused().rows()) == [1, 2, 5, 6, 7, 8, 10, 11, 16, 17]
    assert report.notes["events of cycles"] == 1


@pytest.mark.parametrize("size", [1, 200])
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    path = written(tmp_path, SCRIPT)
    want = read(FORMAT, [path])
    monkeypatch.setattr(_template, "_CHUNK", size)
    rows, report = read(FORMAT, [path])
    assert_frame_equal(rows, want[0])
    assert report.notes == want[1].notes


@settings(max_examples=80)
@given(data=damaged(SCRIPT))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Any = tmp_path_factory.mktemp("trace") / "x"
    assert survives(FORMAT, path, data) is not None


@settings(max_examples=60)
@given(data=st.binary(max_size=300) | st.text("[01]:. x-Old bytes\t\r\n", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
