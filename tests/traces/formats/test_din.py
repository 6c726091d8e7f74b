from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, lines_kept, one
from tests.damage import damaged
from traces.formats.din import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

TEXT = "2 430d70\n1 7fff7dd8 what follows is ignored\n 0 0x4013f000\n3 0\n4 0\n"


def test_labels__are_operations(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT)
    assert columns(rows, "time", "op", "address", "raw") == [
        (0, Op.FETCH, 0x430D70, "2"),
        (1, Op.STORE, 0x7FFF7DD8, "1"),
        (2, Op.LOAD, 0x4013F000, "0"),
        (3, Op.UNKNOWN, 0, "3"),
        (4, Op.UNKNOWN, 0, "4"),
    ]
    assert (report.clock, report.refused, report.volumes) == ("ordinal", 0, {"program.txt": 0})


def test_what_is_no_label__is_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT + "8 5\nr 5\n0\n0 zz\n")
    assert (rows.height, report.refused) == (5, 4)


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("x.din", TEXT.encode()) is None


@settings(max_examples=150)
@given(data=damaged(TEXT.encode() * 2))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
