"""Records of binary formats of which no recording is at hand, made for `benchmarks.bench_readers`."""

import io
import random
import struct
from collections.abc import Callable, Mapping

import numpy as np

from traces.export.agent import Capture
from traces.formats._capture import SLOT
from traces.message import Op, Outcome

_COUNT = 20_000  # that are made before they are repeated


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _fields(numbers: Mapping[int, int | bytes]) -> bytes:
    out = b""
    for number, value in numbers.items():
        if isinstance(value, bytes):
            out += _varint(number << 3 | 2) + _varint(len(value)) + value
        else:
            out += _varint(number << 3) + _varint(value)
    return out


def _framed(body: bytes) -> bytes:
    return _varint(len(body)) + body


def gem5() -> bytes:
    """Packets of a gem5 trace, without its header."""
    rng = random.Random(1)
    return b"".join(
        _framed(_fields({1: 500 * i, 2: rng.choice((1, 4)), 3: rng.randrange(1 << 32), 4: 64, 7: 0x400000 + i}))
        for i in range(_COUNT)
    )


GEM5_HEAD = b"gem5" + _framed(_fields({1: b"system", 2: 0, 3: 10**12}))


def iotrace() -> bytes:
    """Requests of one core's file, each completed 90 us later; the time goes on, hence nothing is repeated."""
    rng, out = random.Random(1), [_framed(_fields({1: _fields({1: 1, 2: 1}), 3: _fields({1: 5, 2: b"sda"})}))]
    for i in range(700_000):
        sector = rng.randrange(1 << 28) * 8
        asked = {1: sector, 2: 8, 3: 1, 4: 5, 5: 1 + (i & 1), 9: i + 1}
        out.append(_framed(_fields({1: _fields({1: 2 * i + 2, 2: 100_000 * i}), 2: _fields(asked)})))
        done = {1: sector, 2: 8, 4: 5, 5: i + 1}
        out.append(_framed(_fields({1: _fields({1: 2 * i + 3, 2: 100_000 * i + 90_000}), 5: _fields(done)})))
    return b"".join(out)


def champsim(width: int, places: int, asid: int) -> Callable[[], bytes]:
    """Instructions of ``width`` bytes, some of which load and store."""

    def write() -> bytes:
        rng = np.random.default_rng(1)
        rows = np.zeros((_COUNT, width), np.uint8)
        words = rows.view(np.uint64)
        words[:, 0] = 0x400000 + 4 * np.arange(_COUNT)
        words[::3, width // 8 - places - asid] = rng.integers(1 << 20, 1 << 40, _COUNT)[::3]
        words[::2, width // 8 - 1 - asid] = rng.integers(1 << 20, 1 << 40, _COUNT)[::2]
        return rows.tobytes()

    return write


_ENTRY = np.dtype([("kind", "<u2"), ("size", "<u2"), ("address", "<u8")])


def drmemtrace() -> bytes:
    """Instructions, each with a load and a store."""
    rng, rows = np.random.default_rng(1), np.zeros(_COUNT, _ENTRY)
    rows["kind"][0::3], rows["kind"][1::3], rows["kind"][2::3] = 10, 0, 1
    rows["size"] = 4
    rows["address"] = rng.integers(1 << 20, 1 << 40, _COUNT)
    return rows.tobytes()


DRMEMTRACE_HEAD = np.array(
    [(25, 0, 7), (28, 12, 7), (22, 4, 7), (24, 4, 5), (28, 2, 13_386_385_969_186_755)], _ENTRY
).tobytes()

_OPNS = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op", "u1"), ("ns", "<u2"), ("next", "<i8")])


def oracle_opns() -> bytes:
    """Requests of oracleGeneral with operations and name spaces."""
    rng, rows = np.random.default_rng(1), np.zeros(_COUNT, _OPNS)
    rows["time"], rows["id"], rows["size"] = np.arange(_COUNT), rng.integers(1, 1 << 40, _COUNT), 4096
    rows["op"], rows["next"] = np.where(rng.random(_COUNT) < 0.5, 1, 13), -1
    return rows.tobytes()


_LCS = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op", "<u4"), ("next", "<i8")])
_LCS_MAGIC = struct.pack("<Q", 0x123456789ABCDEF0)
LCS_HEAD = _LCS_MAGIC + struct.pack("<Qqq", 2, 1, 0) + bytes(8000 - 16 + 21 * 8) + _LCS_MAGIC


def lcs() -> bytes:
    """Requests of lcs version 2, without the header."""
    rng, rows = np.random.default_rng(1), np.zeros(_COUNT, _LCS)
    rows["time"], rows["id"], rows["size"] = np.arange(_COUNT), rng.integers(1, 1 << 40, _COUNT), 4096
    rows["op"] = np.where(rng.random(_COUNT) < 0.5, 1, 13) | 5 << 8
    return rows.tobytes()


def agent() -> bytes:
    """A capture of the shared agent: its slots are numbered, hence nothing is repeated."""
    rng, file, count = np.random.default_rng(1), io.BytesIO(), 800_000
    capture = Capture(file, unix=1_790_000_000 * 10**9)
    for number in range(8):
        capture.ring(number)
        capture.producer(number, f"vm{number}")
        capture.receiver(number, f"service{number}")
    slots = np.zeros(count, SLOT)
    slots["op"], slots["outcome"] = Op.PUBLISHED, Outcome.DELIVERED
    slots["ring"] = slots["producer"] = slots["receiver"] = rng.integers(0, 8, count)
    slots["published"] = np.cumsum(rng.integers(100, 3000, count))
    slots["seen"], slots["delivered"] = slots["published"] + 900, slots["published"] + 2100
    for ring in range(8):
        here = slots["ring"] == ring
        slots["sequence"][here] = np.arange(np.count_nonzero(here))
    slots["address"], slots["length"] = slots["sequence"] * 256 % (1 << 20), 256
    capture.records(slots)
    return file.getvalue()
