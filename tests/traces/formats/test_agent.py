import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from tests.reference.messages import crc32c
from traces.errors import TraceError
from traces.export.agent import Capture
from traces.formats import agent
from traces.formats._capture import SLOT
from traces.formats.agent import FORMAT
from traces.ingest import ingest
from traces.message import Op, Outcome
from traces.store import Store

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[2] / "golden" / "channel.agent"
RING, PRODUCER, RECEIVER, RECORD = 1, 2, 3, 4


def header(unix: int = 1_700_000_000_000_000_000, monotonic: int = 5_000, version: int = 1, slot: int = 88) -> bytes:
    whole = struct.pack("<8sHHIqqI", b"\x89AGENT\r\n", version, slot, 0, unix, monotonic, 0)
    return whole + struct.pack("<I", crc32c(whole))


def sealed(content: bytes) -> bytes:
    assert len(content) == 80
    return b"\xa5Rec" + struct.pack("<I", crc32c(content)) + content


def named(number: int, what: int, key: int, name: str) -> bytes:
    return sealed(struct.pack("<QBBBBI", number, what, 0, 0, 0, key) + name.encode().ljust(64, b"\0"))


def ring(number: int, key: int, size: int) -> bytes:
    return sealed(struct.pack("<QBBBBI", number, RING, 0, 0, 0, key) + bytes(56) + struct.pack("<Q", size))


def record(number: int, **given: int) -> bytes:
    told = {"op": 0, "outcome": 1, "producer": 7, "ring": 3, "receiver": 9, "checksum": 5} | given
    told = {"published": 6000, "seen": 6500, "delivered": 7000, "sequence": 0, "address": 0, "length": 100} | told
    ids = [told[name] for name in ("producer", "ring", "receiver", "checksum")]
    rest = [told[name] for name in ("published", "seen", "delivered", "sequence", "address", "length")]
    first = struct.pack("<QBBBB", number, RECORD, told["op"], told["outcome"], 0)
    return sealed(first + struct.pack("<4IIqqqQQQ", *ids, 0, *rest))


NAMES = [ring(0, 3, 4096), named(1, PRODUCER, 7, "sensor"), named(2, RECEIVER, 9, "log")]
WHOLE = [
    header(),
    *NAMES,
    record(3),
    record(4, published=6100, delivered=-1, outcome=2, sequence=1, address=192),
    record(5, published=6200, seen=-1, delivered=-1, outcome=0, op=1, sequence=2, address=384, checksum=0),
    named(6, PRODUCER, 8, "idle"),
    record(7, published=6300, seen=6500, delivered=-1, outcome=3, sequence=2, address=384, receiver=(1 << 32) - 1),
    record(8, published=6400, seen=-1, delivered=-1, outcome=0, op=2, sequence=3, length=4000, checksum=0),
]


def one(tmp_path: Path, data: bytes) -> tuple[pl.DataFrame, Any]:
    path = tmp_path / "x.agent"
    path.write_bytes(data)
    return read(FORMAT, [path])


def refused(report: Any) -> list[tuple[int, str]]:
    return [(line, reason) for _, line, reason, _ in report.take_refused().iter_rows()]


def test_golden__is_what_was_written_by_hand() -> None:
    assert GOLDEN.read_bytes() == b"".join(WHOLE)
    assert all(len(slot) == SLOT.itemsize == 88 for slot in WHOLE[1:])


def test_golden__reads_to_exactly_its_facts() -> None:
    rows, report = read(FORMAT, [GOLDEN])
    t = 1_700_000_000_000_000_000
    assert rows.drop("raw").rows() == [
        (t + 1000, Op.PUBLISHED, 0, 3, "log", 0, 0, 100, 5, 500, 1000, Outcome.DELIVERED),
        (t + 1100, Op.PUBLISHED, 0, 3, "log", 1, 192, 100, 5, 400, -1, Outcome.REFUSED),
        (t + 1200, Op.TORN, 0, 3, "log", 2, 384, 100, 0, -1, -1, Outcome.NOT_TOLD),
        (t + 1300, Op.PUBLISHED, 0, 3, "", 2, 384, 100, 5, 200, -1, Outcome.CORRUPT),
        (t + 1400, Op.FULL, 0, 3, "log", 3, 0, 4000, 0, -1, -1, Outcome.NOT_TOLD),
    ]
    assert rows["raw"].to_list() == ["delivered", "refused", "torn", "corrupt", "full"]
    assert (report.clock, report.volumes, report.refused) == ("unix", {"sensor": 0, "idle": 1}, 0)
    assert report.notes == {"rings of 4096 bytes": 1}
    assert FORMAT.sniff("x", GOLDEN.read_bytes()) == "magic number 89 41 47 45 4e 54 0d 0a, version 1"


def test_golden__is_ingested(tmp_path: Path) -> None:
    (made,) = ingest(Store(tmp_path), [GOLDEN], name="it")
    assert (made.kind, made.info.rows, made.info.clock) == ("message", 5, "unix")
    assert [(volume.name, volume.requests, volume.writes) for volume in made.info.volumes] == [
        ("sensor", 5, 3),
        ("idle", 0, 0),
    ]


@pytest.mark.parametrize(
    ("unix", "monotonic", "clock", "time"), [(0, 0, "relative", 6000), (0, 5000, "monotonic", 6000)]
)
def test_clocks__are_what_the_header_tells(tmp_path: Path, unix: int, monotonic: int, clock: str, time: int) -> None:
    rows, report = one(tmp_path, header(unix, monotonic) + b"".join(WHOLE[1:]))
    assert (report.clock, rows["time"][0]) == (clock, time)


def test_a_capture_cut_anywhere__reads_up_to_there(tmp_path: Path) -> None:
    data = b"".join(WHOLE)
    for at in range(40, len(data)):
        rows, report = one(tmp_path, data[:at])
        slots = (at - 40) // 88
        assert rows.height == sum(slot[16] == RECORD for slot in WHOLE[1 : 1 + slots])
        left = (at - 40) % 88
        want = [(40 + slots * 88, f"cut short: {left} of a slot's 88 bytes")] if left else []
        assert refused(report) == want


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text", "first bytes are not the magic number"),
        (header()[:20], "cut short within the header"),
        (header()[:-1] + b"\0", "the header is damaged"),
        (header(version=2), "version 2 with slots of 88 bytes"),
        (header(slot=96), "version 1 with slots of 96 bytes"),
        (header(unix=-1), "before 0"),
    ],
)
def test_headers_that_are_none__end_it(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        one(tmp_path, data)


def _overwritten(data: bytes) -> bytes:
    return data[:100] + b"xx" + data[102:]


def _removed(data: bytes) -> bytes:
    return data[:400] + data[407:]


def _inserted(data: bytes) -> bytes:
    return data[:392] + b"\xa5Rec" + bytes(300) + data[392:]


@pytest.mark.parametrize("chunk", [1, 2, 1 << 17])
@pytest.mark.parametrize(
    ("how", "records", "where", "reason"),
    [
        (_overwritten, 0, 40, "a slot's checksum does not fit: 88 bytes skipped up to the next whole slot"),
        (_removed, 4, 392, "a slot's checksum does not fit: 81 bytes skipped up to the next whole slot"),
        (_inserted, 5, 392, "a slot's checksum does not fit: 304 bytes skipped up to the next whole slot"),
        (lambda data: data + bytes(500), 5, 832, "no slot begins here: 500 bytes skipped up to the file's end"),
    ],
)
def test_damage__is_stepped_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[bytes], bytes],
    records: int,
    where: int,
    reason: str,
    chunk: int,
) -> None:
    monkeypatch.setattr(agent, "_CHUNK", chunk)
    rows, report = one(tmp_path, how(b"".join(WHOLE)))
    assert rows.height == records
    assert refused(report)[0] == (where, reason)
    if how is _removed:
        assert report.notes["slots missing in the file's numbering, the damaged ones among them"] == 1


@pytest.mark.parametrize(
    ("slot", "reason"),
    [
        (record(2), "a slot of this number has been before"),
        (sealed(struct.pack("<QB", 3, 9) + bytes(71)), "nobody knows what such a slot tells"),
        (record(3, op=7), "no such operation or outcome"),
        (record(3, outcome=9), "no such operation or outcome"),
        (record(3, producer=8), "its producer has no name yet"),
        (record(3, ring=4), "its ring is not known yet"),
        (record(3, receiver=1), "its receiver has no name yet"),
        (record(3, address=4096), "it lies outside its ring"),
        (record(3, length=4097), "it lies outside its ring"),
        (record(3, seen=5999), "a time before 0 or past 2**61 ns, or in the wrong order"),
        (record(3, delivered=6499), "a time before 0 or past 2**61 ns, or in the wrong order"),
        (record(3, seen=-1), "a time before 0 or past 2**61 ns, or in the wrong order"),
        (record(3, published=-1), "a time before 0 or past 2**61 ns, or in the wrong order"),
        (record(3, delivered=1 << 62), "a time before 0 or past 2**61 ns, or in the wrong order"),
        (ring(3, 3, 8192), "ring 3 has 4096 bytes already"),
        (named(3, PRODUCER, 7, "other"), "number 7 is called 'sensor' already"),
        (named(3, RECEIVER, 9, "other"), "number 9 is called 'log' already"),
        (named(3, RECEIVER, 1, ""), "the name is empty"),
        (sealed(struct.pack("<QBBBBI", 3, PRODUCER, 0, 0, 0, 1) + b"\xff" * 64), "the name is not UTF-8"),
    ],
)
def test_slots_that_make_no_sense__are_refused_alone(tmp_path: Path, slot: bytes, reason: str) -> None:
    rows, report = one(tmp_path, b"".join([header(), *NAMES, slot, record(4)]))
    assert rows.height == 1
    assert refused(report) == [(40 + 3 * 88, reason)]


def test_a_name__holds_from_its_slot_on_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = b"".join(
        [header(), *NAMES[:1], record(1), named(2, PRODUCER, 7, "a"), named(3, RECEIVER, 9, "b"), record(4)]
    )
    want, report = one(tmp_path, early)
    assert (want.height, refused(report)) == (1, [(128, "its producer has no name yet")])
    monkeypatch.setattr(agent, "_CHUNK", 1)
    assert one(tmp_path, early)[0].equals(want)


def test_numbering__of_a_ring_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = [5, 6, 9, 9, 10]
    data = b"".join([header(), *NAMES, *(record(3 + i, sequence=s) for i, s in enumerate(sequences))])
    for chunk in (1, 3, 1000):
        monkeypatch.setattr(agent, "_CHUNK", chunk)
        notes = one(tmp_path, data)[1].notes
        assert notes["records missing in the numbering of their ring"] == 2
        assert notes["records that come again in the numbering of their ring"] == 1


def test_writer__writes_the_golden_capture() -> None:
    file = BytesIO()
    capture = Capture(file, unix=1_700_000_000_000_000_000, monotonic=5_000)
    capture.ring(3, 4096)
    capture.producer(7, "sensor")
    capture.receiver(9, "log")
    golden = np.frombuffer(b"".join(WHOLE[1:]), SLOT)
    capture.records(golden[3:6].copy())
    capture.producer(8, "idle")
    capture.records(golden[7:].copy())
    assert file.getvalue() == GOLDEN.read_bytes()
    for name in ("", "x" * 65, "ä" * 33, "a\0b"):
        with pytest.raises(TraceError, match="cannot be a name"):
            capture.producer(1, name)


@settings(max_examples=200)
@given(data=damaged(b"".join(WHOLE)) | st.binary(max_size=300).map(lambda rest: header() + rest))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
