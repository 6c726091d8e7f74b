from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, facts, lines_kept, one, pages
from tests.damage import damaged, read
from traces.formats.usimm import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

TEXT = "2477 R 0x3e262680 0x1000d28\n147 W 0x295653c0\n"
DOMAINS = "2477 R 0x3e262680 0x1000d28 7\n147 W 0x295653c0 10\n"


def test_lines__with_and_without_domains(tmp_path: Path) -> None:
    names = ("time", "op", "address", "ip", "gap", "cpu", "raw")
    rows, report = one(FORMAT, tmp_path, TEXT + DOMAINS)
    assert columns(rows, *names) == [
        (0, Op.LOAD, 0x3E262680, 0x1000D28, 2477, 0, "R"),
        (1, Op.STORE, 0x295653C0, 0, 147, 0, "W"),
        (2, Op.LOAD, 0x3E262680, 0x1000D28, 2477, 7, "R"),
        (3, Op.STORE, 0x295653C0, 0, 147, 10, "W"),
    ]
    assert (report.clock, report.volumes, report.refused) == ("ordinal", {"program.txt": 0}, 0)


def test_what_is_no_line_of_usimms__is_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT + "1 R 0x5\n1 X 0x5 0x6\nR 0x5 0x6\n1 W 0x5 x\n1 W 5 6 7\n")
    assert (rows.height, report.refused) == (2, 5)


def test_facts(shared: Path) -> None:
    known = facts(shared, "usimm/faceshort")
    rows, report = read(FORMAT, [shared / "public-traces/usimm/faceshort"])
    assert (rows.height, report.refused) == (known["records"], known["odd"]["malformed"])
    assert (rows["op"] == Op.LOAD).sum() == known["reads"]
    assert (rows["op"] == Op.STORE).sum() == known["writes"]
    assert (rows["gap"].sum(), pages(rows)) == (known["nonmem_instructions"], known["pages4k"])
    assert set(rows["cpu"]) == set(range(8))


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT.encode()) is not None
    assert FORMAT.sniff("x", DOMAINS.encode()) is not None
    assert FORMAT.sniff("x", b"147 W 0x295653c0\n") is None
    assert FORMAT.sniff("x", TEXT.encode() + b"7 R 0x5\n") is None


@settings(max_examples=150)
@given(data=damaged(DOMAINS.encode() * 4))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
