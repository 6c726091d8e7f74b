from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.formats import iotrace
from traces.formats.iotrace import FORMAT
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

READ, WRITE, DISCARD = 1, 2, 3


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def fields(numbers: dict[int, int | bytes]) -> bytes:
    """Fields as Protocol Buffers write them: what is 0 is left out."""
    out = b""
    for field, value in numbers.items():
        if isinstance(value, bytes):
            out += varint(field << 3 | 2) + varint(len(value)) + value
        elif value:
            out += varint(field << 3) + varint(value)
    return out


def message(sid: int, time: int, event: int, **told: int | bytes) -> bytes:
    numbers = {int(key[1:]): value for key, value in told.items()}
    body = fields({1: fields({1: sid, 2: time}), event: fields(numbers)})
    return varint(len(body)) + body


DEVICE = message(1, 1000, 3, f1=5, f2=b"sda", f3=62914560)
ZERO = b"".join(
    [
        DEVICE,
        message(2, 2000, 2, f1=800, f2=8, f3=1, f4=5, f5=WRITE, f7=1, f9=77),
        message(3, 3000, 2, f1=16, f2=256, f4=6, f5=READ),
        message(4, 4000, 4, f1=3, f2=99),
        message(5, 5000, 2, f4=5, f5=WRITE, f6=1, f9=78),
    ]
)
ONE = b"".join(
    [
        message(6, 2500, 5, f1=808, f4=5, f5=77),  # by its id alone: the place has moved on
        message(7, 6000, 5, f1=16, f2=256, f3=1, f4=6),
        message(8, 7000, 2, f1=64, f2=8, f4=5, f5=DISCARD, f9=79),
        message(9, 8000, 2, f1=64, f2=8, f4=5, f9=80),
    ]
)


def recording(tmp_path: Path, *files: bytes) -> tuple[pl.DataFrame, Report]:
    paths = [tmp_path / f"octf.trace.{i}" for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return read(FORMAT, paths)


def test_bytes__are_as_they_should_be() -> None:
    """Written out by hand once, so that the writer above is checked too."""
    assert message(1, 300, 2, f1=8, f2=1, f5=WRITE) == bytes.fromhex("0f 0a05 0801 10ac02 1206 0808 1001 2802")
    assert DEVICE.hex(" ") == "15 0a 05 08 01 10 e8 07 1a 0c 08 05 12 03 73 64 61 18 80 80 80 1e"


def test_requests__of_all_files_with_their_completions(tmp_path: Path) -> None:
    rows, report = recording(tmp_path, ZERO, ONE)
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "flags", "raw").rows() == [
        (2000, Op.WRITE, 0, 800 * 512, 4096, 500, Flag.FUA, "WF"),
        (3000, Op.READ, 1, 16 * 512, 131072, 3000, Flag.ERROR, "R"),
        (5000, Op.FLUSH, 0, 0, 0, -1, Flag.PREFLUSH, "FW"),
        (7000, Op.DISCARD, 0, 64 * 512, 4096, -1, 0, "D"),
        (8000, Op.UNKNOWN, 0, 64 * 512, 4096, -1, 0, "N"),
    ]
    assert report.volumes == {"sda": 0, "device 6": 1}
    assert (report.clock, report.refused) == ("monotonic", 0)
    assert report.notes["events of files, which are no requests"] == 1
    assert report.notes["requests queued whose completion was not found"] == 3


def test_small_blocks__change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = recording(tmp_path, ZERO, ONE)
    for size in (1, 7, 40):
        monkeypatch.setattr(iotrace, "_BLOCK", size)
        rows, report = recording(tmp_path, ZERO, ONE)
        assert rows.equals(want[0])
        assert report.notes == want[1].notes


def test_what_cannot_be_read__is_refused(tmp_path: Path) -> None:
    far = message(1, 1, 2, f1=1 << 60, f2=8, f5=READ)
    last = message(9, 8000, 2, f1=64, f2=8, f4=5, f9=80)
    bad = ZERO + b"\x03abc" + far
    rows, report = recording(tmp_path, bad + ONE[:-4])
    assert rows.height == 4
    assert [row[1:3] for row in report.take_refused().rows()] == [
        (len(ZERO), "no event with a header"),
        (len(bad) - len(far), "time, sector or number of sectors is past the largest that can be"),
        (len(bad) + len(ONE) - len(last), "cut short: a message is not whole"),
    ]
    rows, report = recording(tmp_path, ZERO + b"\xff" * 20 + ONE)
    assert rows.height == 3
    assert report.take_refused()["reason"].to_list() == ["not the length of a message: nothing after it can be read"]


def test_sniff__knows_its_messages() -> None:
    assert FORMAT.sniff("x", ZERO) is not None
    assert FORMAT.sniff("x", (ZERO * 2000)[: 1 << 16]) is not None
    for other in (b"", b"\0" * 99, DEVICE[:5], b"\x0f\n" * 40, ONE[1:], ZERO + b"abc\n" * 9):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(ZERO + ONE))
def test_damage__costs_what_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data) is not None


@settings(max_examples=150)
@given(data=st.binary(max_size=300))
def test_nonsense__is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
