from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, facts, lines_kept, one, pages
from tests.damage import damaged, read
from traces.formats.ucsd import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

TEXT = "s 0x1fffff50 1\nl 0x1fffff58 6\n"


def test_lines__are_loads_and_stores(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT)
    assert columns(rows, "time", "op", "address", "gap", "raw") == [
        (0, Op.STORE, 0x1FFFFF50, 1, "s"),
        (1, Op.LOAD, 0x1FFFFF58, 6, "l"),
    ]
    assert (report.clock, report.refused, report.volumes) == ("ordinal", 0, {"program.txt": 0})


def test_variants__for_teaching(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, "r 1fffff50\nW 10\nx 20\nr\nr zz\nr 1 2 3\n")
    assert columns(rows, "op", "address", "raw") == [
        (Op.LOAD, 0x1FFFFF50, "r"),
        (Op.STORE, 16, "W"),
        (Op.UNKNOWN, 32, "x"),
    ]
    assert report.refused == 3


def test_facts(shared: Path) -> None:
    known = facts(shared, "address_ls/gcc.trace.gz")
    rows, report = read(FORMAT, [shared / "public-traces/address_ls/gcc.trace.gz"])
    assert (rows.height, report.refused) == (known["records"], known["odd"]["malformed"])
    assert ((rows["op"] == Op.LOAD).sum(), (rows["op"] == Op.STORE).sum()) == (known["reads"], known["writes"])
    assert (rows["address"].min(), rows["address"].max()) == (int(known["min_addr"], 16), int(known["max_addr"], 16))
    assert pages(rows) == known["pages4k"]


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT.encode()) is not None
    for text in (b"r 0x10 1\n", b"l 10 1\n", b"l 0x10\n"):
        assert FORMAT.sniff("x", text) is None


@settings(max_examples=150)
@given(data=damaged(TEXT.encode() * 4))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
