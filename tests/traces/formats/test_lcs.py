import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Op
from traces.errors import TraceError
from traces.formats.lcs import FORMAT

pytestmark = pytest.mark.kernels

MAGIC = struct.pack("<Q", 0x123456789ABCDEF0)


def old(letters: str = "<IQIqBI", places: bytes = bytes([2, 3, 1, 0, 4, 5, 0, 6, 0]), requests: int = 2) -> bytes:
    """A header of 1024 bytes."""
    head = MAGIC + letters.encode().ljust(240, b"\0") + places + bytes(231)
    head += struct.pack("<4q", requests, 0, 0, 0) + bytes(480)
    size = struct.calcsize(letters) if set(letters[1:]) <= set("cbBhHiIqQfd") else 0
    return head + struct.pack("<IIQ", len(letters) - 1, size, 1) + MAGIC


def new(version: int, requests: int = 2) -> bytes:
    """A header of 8192 bytes."""
    return MAGIC + struct.pack("<Qqq", version, 1, requests) + bytes(8000 - 16) + bytes(21 * 8) + MAGIC


OLD = old() + struct.pack("<IQIqBI", 7, 8, 4096, 2, 12, 3) + struct.pack("<IQIqBI", 8, 8, 4096, -1, 13, 4)


def one(tmp_path: Path, data: bytes) -> tuple[list[tuple[object, ...]], dict[str, int]]:
    path = tmp_path / "x.lcs"
    path.write_bytes(data)
    rows, report = read(FORMAT, [path])
    return rows.select("time", "op", "offset", "length", "stream", "raw").rows(), report.notes


def test_header__describes_the_records(tmp_path: Path) -> None:
    assert len(old()) == 1024
    rows, notes = one(tmp_path, OLD)
    assert rows == [
        (7 * 10**9, Op.READ, 4096, 4096, 3, "read"),
        (8 * 10**9, Op.WRITE, 4096, 4096, 4, "write"),
    ]
    assert not any("announces" in note for note in notes)
    assert FORMAT.sniff("x", OLD) == "magic number 0x123456789abcdef0, record format <IQIqBI"


def test_versions__have_records_of_their_own(tmp_path: Path) -> None:
    assert len(new(1)) == 8192
    rows, _ = one(tmp_path, new(1) + struct.pack("<IQIq", 7, 8, 512, -1) * 2)
    assert rows == [(7 * 10**9, Op.UNKNOWN, 4096, 512, 0, "")] * 2
    rows, _ = one(tmp_path, new(2) + struct.pack("<IQIIq", 7, 8, 512, 13 | 5 << 8, -1))
    assert rows == [(7 * 10**9, Op.WRITE, 4096, 512, 5, "write")]
    for version, features in ((3, 0), (4, 1), (5, 2), (6, 4), (7, 8), (8, 16)):
        row = struct.pack("<IQqIIq", 7, 8, 1 << 40, 1 | 5 << 8, 60, -1) + bytes(4 * features)
        rows, notes = one(tmp_path, new(version, 3) + row * 2)
        assert rows == [(7 * 10**9, Op.READ, 4096, 1 << 40, 5, "get")] * 2
        assert notes["the header announces 3 requests, the file holds 2"] == 1
        assert FORMAT.sniff("x", new(version)) == f"magic number 0x123456789abcdef0, version {version}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text\n", "no lcs trace"),
        (MAGIC + bytes(9000), "header's end"),
        (new(9), "lcs version 9"),
        (old("IQI"), "is none"),
        (old()[:8] + b"<IQIqBQ" + old()[15:], "bytes, the header says"),
        (old(places=bytes([9, 3, 1, 0, 0, 0, 0, 0, 0])), "past the last"),
        (old("<IQd", bytes([2, 3, 1, 0, 0, 0, 0, 0, 0])), "is a float"),
        (old(places=bytes([2, 3, 0, 0, 0, 0, 0, 0, 0])), "names no field for time"),
        (old(places=bytes([2, 2, 1, 0, 0, 0, 0, 0, 0])), "both id and size"),
    ],
)
def test_headers_that_are_none__are_told(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.lcs"
    path.write_bytes(data)
    assert FORMAT.sniff("x", data) is None
    with pytest.raises(TraceError, match=message):
        read(FORMAT, [path])


def test_bad_records__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.lcs"
    rows = [(-1, 8, 512), (1, 1 << 60, 512), (1, 8, -5), (1, 8, 512)]
    layout = "<qQq"
    head = old(layout, bytes([2, 3, 1, 0, 0, 0, 0, 0, 0]), 0)
    path.write_bytes(head + b"".join(struct.pack(layout, *row) for row in rows) + b"cut")
    read_rows, report = read(FORMAT, [path])
    assert read_rows.height == 1
    assert sorted(report.take_refused()["line"].to_list()) == [1024, 1048, 1072, 1120]


@settings(max_examples=150)
@given(data=damaged(OLD) | damaged(new(2) + bytes(280)) | st.binary(max_size=200).map(lambda rest: OLD + rest))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
