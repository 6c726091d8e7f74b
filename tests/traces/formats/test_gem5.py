import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accesses import columns, one
from tests.damage import damaged, survives
from traces.errors import TraceError
from traces.formats import gem5
from traces.formats.gem5 import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

NAMES = ("time", "op", "address", "size", "cpu", "ip", "raw")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(**fields: int) -> bytes:
    number = {"tick": 1, "cmd": 2, "addr": 3, "size": 4, "flags": 5, "pkt_id": 6, "pc": 7}
    body = b"".join(varint(number[name] << 3) + varint(value) for name, value in fields.items())
    return varint(len(body)) + body


def header(frequency: int = 10**12) -> bytes:
    entry = b"\x08\x01\x12\x03cpu"
    body = b"\x0a\x06system" + b"\x10\x00" + b"\x18" + varint(frequency) + b"\x22" + varint(len(entry)) + entry
    return b"gem5" + varint(len(body)) + body


def test_golden__bytes_by_hand(tmp_path: Path) -> None:
    data = bytes.fromhex(
        "67656d35"  # gem5
        "0a" "0a0173" "1880a094a58d1d"  # obj_id "s", tick_freq 10**12
        "0c" "08e807" "1001" "188020" "2040" "3805"  # tick 1000, ReadReq, 0x1000, 64, pc 5
    )  # fmt: skip
    rows, report = one(FORMAT, tmp_path, data)
    assert columns(rows, *NAMES) == [(1, Op.LOAD, 0x1000, 64, 0, 5, "ReadReq")]
    assert (report.clock, report.volumes, report.refused) == ("relative", {"program.txt": 0}, 0)


def test_packets__are_accesses(tmp_path: Path) -> None:
    data = (
        header()
        + message(tick=1500, cmd=4, addr=(1 << 64) - 64, size=8, pkt_id=3)
        + message(tick=2000, cmd=1, addr=0x400000, size=4, flags=0x100, pc=0x400000)
        + message(tick=3000, cmd=8, addr=0x5000, size=64)
    )
    rows, report = one(FORMAT, tmp_path, gzip.compress(data))
    assert columns(rows, *NAMES) == [
        (1, Op.STORE, (1 << 64) - 64, 8, 3, 0, "WriteReq"),
        (2, Op.FETCH, 0x400000, 4, 0, 0x400000, "ReadReq"),
        (3, Op.UNKNOWN, 0x5000, 64, 0, 0, "command 8"),
    ]
    assert report.refused == 0


@given(st.sampled_from([10**12, 10**9, 10**6, 2_400_000_000, 1]), st.integers(0, 1 << 61))
def test_ticks__become_nanoseconds_in_integers(
    tmp_path_factory: pytest.TempPathFactory, frequency: int, tick: int
) -> None:
    want = tick * 10**9 // frequency
    rows, report = one(
        FORMAT, tmp_path_factory.mktemp("x"), header(frequency) + message(tick=tick, cmd=1, addr=0, size=1)
    )
    assert rows["time"].to_list() == ([want] if not report.refused else [])
    assert want <= 1 << 62 or report.refused


def test_packets_that_are_none__are_refused_with_their_byte(tmp_path: Path) -> None:
    start = header()
    bad = [b"\x02\x0b\x00", message(tick=1, cmd=1, addr=1), message(tick=1, cmd=1, addr=1, size=1 << 32)]
    good = message(tick=1, cmd=1, addr=1, size=1)
    rows, report = one(FORMAT, tmp_path, start + good + b"".join(bad) + good + good[:-1])
    refused = report.take_refused()
    assert rows.height == 2
    assert refused["line"][0] == len(start) + len(good)
    assert refused["reason"].to_list() == [
        "no packet",
        "a packet without tick, command, address or size",
        "time or size past the largest there is",
        "cut short within a packet",
    ]


def test_lengths_that_make_no_sense__end_the_file(tmp_path: Path) -> None:
    good = message(tick=1, cmd=1, addr=1, size=1)
    rows, report = one(FORMAT, tmp_path, header() + good + varint(1 << 40) + good * 9)
    assert (rows.height, report.refused) == (1, 1)
    assert "nothing after it can be told apart" in report.first


@pytest.mark.parametrize(
    "data", [b"", b"gem6" + header()[4:], b"gem5", b"gem5\x02\x10\x01", header(0), header(10**18 + 9)]
)
def test_headers__that_are_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(TraceError):
        one(FORMAT, tmp_path, data)


def test_batches__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = header() + b"".join(message(tick=i * 1000, cmd=1, addr=i, size=i % 70) for i in range(300))
    want, _ = one(FORMAT, tmp_path, data)
    assert want.height == 300
    monkeypatch.setattr(gem5, "_BLOCK", 50)
    assert one(FORMAT, tmp_path, data)[0].equals(want)
    monkeypatch.setattr(gem5, "ROWS", 3)
    assert one(FORMAT, tmp_path, data)[0].equals(want)


def test_sniff() -> None:
    assert FORMAT.sniff("x", header()) == "begins with 'gem5'"
    assert FORMAT.sniff("x", b"gem") is None


@settings(max_examples=150)
@given(data=damaged(header() + b"".join(message(tick=i * 1000, cmd=1, addr=1 << i, size=i) for i in range(40))))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
