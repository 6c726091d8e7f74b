from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import by_word, columns, facts, lines_kept, one, ops, pages
from tests.damage import damaged, read
from traces.formats.dramsim import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

MASE = "0x2000D5C0 IFETCH  30\n0x1FF96FC0 WRITE   160\n0x1FF97000 READ    192\n"
K6 = "0x1 P_FETCH 1\n0x2 P_MEM_RD 2\n0x3 P_LOCK_RD 3\n0x4 P_MEM_WR 4\n0x5 P_LOCK_WR 5\n0x6 BOFF 6\n"


def test_commands__become_operations(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, MASE)
    assert columns(rows, "time", "op", "address", "raw") == [
        (30, Op.FETCH, 0x2000D5C0, "IFETCH"),
        (160, Op.STORE, 0x1FF96FC0, "WRITE"),
        (192, Op.LOAD, 0x1FF97000, "READ"),
    ]
    assert (report.clock, report.refused) == ("ordinal", 0)
    assert report.notes == {"times that are cycles, one kept as a nanosecond": 3}
    rows, _ = one(FORMAT, tmp_path, K6)
    assert ops(rows) == [Op.FETCH, Op.LOAD, Op.LOAD, Op.STORE, Op.STORE, Op.UNKNOWN]


def test_unknown_commands__are_kept_and_bad_lines_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, MASE + "0x1 REFRESH 200\n0x1 READ\n0x1 READ x\nx READ 1\n0x1 READ 1 2\n")
    assert columns(rows[-1:], "op", "raw") == [(Op.UNKNOWN, "REFRESH")]
    assert (rows.height, report.refused) == (4, 4)


def test_facts(shared: Path) -> None:
    known = facts(shared, "dramsim/mase_art.trc.gz")
    rows, report = read(FORMAT, [shared / "public-traces/dramsim/mase_art.trc.gz"])
    assert (rows.height, report.refused, by_word(rows)) == (known["records"], 0, known["by_op"])
    assert ((rows["op"] != Op.STORE).sum(), (rows["op"] == Op.STORE).sum()) == (known["reads"], known["writes"])
    assert [rows["time"][0], rows["time"][-1]] == known["cycles"]
    assert (rows["time"].diff().drop_nulls() < 0).sum() == known["odd"]["cycle_decreases"]
    assert pages(rows) == known["pages4k"]


def test_sniff() -> None:
    assert FORMAT.sniff("x", MASE.encode()) is not None
    assert FORMAT.sniff("x", K6.encode()) is not None
    assert FORMAT.sniff("x", b"0x1 DO 5\n") is None


@settings(max_examples=150)
@given(data=damaged(MASE.encode() * 3))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
