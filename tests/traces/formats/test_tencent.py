from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from traces.block import Op
from traces.formats.tencent import FORMAT, IN_BYTES

pytestmark = pytest.mark.kernels

TEXT = b"1538323200,12910952,128,0,1063\n1538323200,6338688,8,1,1627\n1538323201,1904106400,384,0,1360\n"


def many(unit: int, size: int) -> bytes:
    return b"".join(b"1538323200,%d,%d,0,1\n" % (i * 8 * unit, size) for i in range(40))


def notes(how: object, path: Path, data: bytes) -> list[str]:
    path.write_bytes(data)
    return list(read(how, [path])[1].notes)  # type: ignore[arg-type]


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "2018100100"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    second = 10**9
    assert rows.select("time", "op", "volume", "offset", "length", "raw").rows() == [
        (1538323200 * second, Op.READ, 0, 12910952 * 512, 128 * 512, "0"),
        (1538323200 * second, Op.WRITE, 1, 6338688 * 512, 8 * 512, "1"),
        (1538323201 * second, Op.READ, 2, 1904106400 * 512, 384 * 512, "0"),
    ]
    assert report.volumes == {"1063": 0, "1627": 1, "1360": 2}
    assert (report.clock, report.notes, report.refused) == ("unix", {}, 0)


def test_copy_in_bytes__is_the_same_trace(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(TEXT)
    want, _ = read(FORMAT, [path])
    lines = [line.split(b",") for line in TEXT.splitlines()]
    path.write_bytes(b"".join(b"%s,%d,%s,%s,%s\n" % (a, 512 * int(b), c, d, e) for a, b, c, d, e in lines))
    have, report = read(IN_BYTES, [path])
    assert have.equals(want)
    assert report.notes == {}


def test_what_looks_otherwise__is_noted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert notes(FORMAT, path, many(1, 8)) == []
    assert notes(IN_BYTES, path, many(512, 8)) == []
    assert [note[:40] for note in notes(FORMAT, path, many(512, 8))] == ["suspect: every sector number is a multip"]
    assert [note[:40] for note in notes(IN_BYTES, path, many(1, 8))] == ["suspect: offsets that are no whole secto"]
    assert [note[:40] for note in notes(IN_BYTES, path, many(512, 4096))] == [
        "suspect: every size is a multiple of 512"
    ]


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(TEXT + b"1538323202,1,2,0\n9999999999999,1,2,0,1\n1538323202,1,2,2,1\n1538323202.5,1,2,0,1\n")
    rows, report = read(FORMAT, [path])
    assert rows["op"].to_list()[3:] == [Op.UNKNOWN]
    assert report.take_refused()["line"].to_list() == [4, 5, 7]


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("x", TEXT * 9) is None
    assert IN_BYTES.sniff("x", TEXT * 9) is None


@settings(max_examples=100)
@given(data=damaged(TEXT * 6) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("trace")
    accounted(survives(FORMAT, folder / "x", data), data)
    accounted(survives(IN_BYTES, folder / "x", data), data)
