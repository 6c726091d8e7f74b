"""gem5's packet traces: the magic ``gem5``, then Protocol Buffers, each after its length as a varint.

The first message is a PacketHeader (1 obj_id, 2 ver, 3 tick_freq, 4 id_strings), the others are Packets: 1 tick, 2
cmd, 3 addr, 4 size, 5 flags, 6 pkt_id, 7 pc. A tick is 1/tick_freq seconds. Commands 1 (ReadReq) and 4 (WriteReq) are
the same in all versions, the numbers of others changed: they are unknown, with their number. A read whose flags have
0x100 is a fetch. The packet's id is that of the requestor where gem5 names them, and kept as ``cpu``. Checked against
the documented layout only, not a recording. Source: gem5, src/proto/packet.proto, src/proto/protoio.cc,
src/mem/packet.hh, src/mem/request.hh (INST_FETCH).
"""

from collections.abc import Iterator, Sequence
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from traces.errors import TraceError
from traces.formats._accesses import frame, words
from traces.formats._protobuf import varint
from traces.formats.inputs import Input
from traces.formats.reader import ROWS, Format, Options, Report
from traces.formats.text import Codes
from traces.kernel import lean_kernel
from traces.memory import Op
from traces.table import I64, U8, U64, Bool

_MAGIC = b"gem5"
_BLOCK = 1 << 21
_LONGEST = 1 << 16  # a packet has some 60 bytes
_FETCH = 0x100
_READ, _WRITE = 1, 4
_NAMES = {_READ: "ReadReq", _WRITE: "WriteReq"}
_OPS = np.array([Op.UNKNOWN, Op.LOAD, Op.UNKNOWN, Op.UNKNOWN, Op.STORE, Op.UNKNOWN], np.uint8)  # [command]
_NEEDED = 0b11110  # tick, cmd, addr and size


class _Packets(NamedTuple):
    """What the kernel fills: a row a packet."""

    value: U64  # [field - 1, packet]
    seen: U8  # [packet]: bit i: field i was there; 255: no message
    at: I64  # [packet] -> where its length stands


@lean_kernel
def _fields(data: U8, i: Any, end: Any, out: _Packets, row: int) -> bool:
    """One message's fields; whether it is one."""
    seen = 0
    while i < end:
        tag, i = varint(data, i, end)
        if i < 0:
            return False
        wire, field = int(tag & np.uint64(7)), int(tag >> np.uint64(3))
        if wire == 0:
            value, i = varint(data, i, end)
            if i < 0:
                return False
            if 1 <= field <= 7:
                out.value[field - 1, row] = value
                seen |= 1 << field
        elif wire == 2:
            length, i = varint(data, i, end)
            if i < 0 or length > np.uint64(end - i):
                return False
            i += int(length)
        elif wire == 1 or wire == 5:
            i += 8 if wire == 1 else 4
            if i > end:
                return False
        else:
            return False
    out.seen[row] = seen & 254
    return True


@lean_kernel
def _packets(data: U8, out: _Packets) -> tuple[int, int, bool]:
    """Whole messages of a block: how many, where the next begins, and whether the lengths still make sense."""
    count, i = 0, 0
    while i < data.size and count < out.seen.size:
        length, begin = varint(data, i, data.size)
        if begin == -1:
            break
        if begin == -2 or length > np.uint64(_LONGEST):
            return count, i, False
        end = begin + int(length)
        if end > data.size:
            break
        for field in range(7):
            out.value[field, count] = 0
        out.at[count] = i
        if not _fields(data, begin, end, out, count):
            out.seen[count] = 255
        count += 1
        i = end
    return count, i, True


def _header(data: bytes, file: str) -> tuple[int, int]:
    """Ticks a second, and where the packets begin."""
    out = _Packets(np.zeros((7, 1), np.uint64), np.zeros(1, np.uint8), np.zeros(1, np.int64))
    count, end, _ = _packets(np.frombuffer(data, np.uint8)[4:], out)
    frequency = int(out.value[2, 0])
    if not count or out.seen[0] == 255 or not frequency:
        raise TraceError(f"{file}: gem5's header with the ticks of a second is not there")
    return frequency, 4 + end


def _scale(frequency: int, file: str) -> tuple[int, int]:
    """Nanoseconds and the ticks they take, as small as they can be."""
    shared = gcd(10**9, frequency)
    up, down = 10**9 // shared, frequency // shared
    if up * down >= 1 << 62:
        raise TraceError(f"{file}: {frequency} ticks a second are no whole number of nanoseconds")
    return up, down


class _Rows:
    """Packets of one file to records."""

    def __init__(self, source: Input, frequency: int, report: Report) -> None:
        self._source, self._report = source, report
        self._up, self._down = _scale(frequency, source.name)
        last = ((1 << 62) // self._up + 1) * self._down - 1
        self._last_tick = np.uint64(min(last, (1 << 64) - 1))
        self._commands, self._names = Codes(), list[str]()

    def batch(self, packets: _Packets, offset: int) -> pl.DataFrame | None:
        """The good ones of some packets; ``offset`` is where in the file they begin."""
        value, seen = packets.value, packets.seen
        whole = (seen != 255) & (seen & _NEEDED == _NEEDED)
        far = whole & ((value[0] > self._last_tick) | (value[3] >> np.uint64(32) > 0))
        good = whole & ~far
        if good.all():
            kept = value.copy()
        else:
            kept = value[:, good]
            self._refuse(packets, whole, ~good, offset)
        if not good.any():
            return None
        tick, command, address, size, flags, owner, pc = kept
        fetch = (command == _READ) & (flags & np.uint64(_FETCH) != 0)
        fits = owner < np.uint64(1 << 32)
        self._report.note("packet ids past 32 bits, not kept", int(np.count_nonzero(~fits)))
        codes, fresh = self._commands.encode(command.view(np.int64))
        self._names += [_NAMES.get(int(command[row]), f"command {int(command[row])}") for row in fresh]
        return frame(
            tick.size,
            time=self._nanoseconds(tick),
            op=np.where(fetch, np.uint8(Op.FETCH), _OPS[np.minimum(command, _OPS.size - 1)]),
            space=self._report.volume(self._source.label),
            cpu=np.where(fits, owner, 0),
            address=address,
            size=size,
            ip=pc,
            raw=words(self._names, codes),
        )

    def _nanoseconds(self, tick: U64) -> I64:
        up, down = np.uint64(self._up), np.uint64(self._down)
        time = tick // down * up
        if up > 1:
            time += tick % down * up // down
        return time.view(np.int64)

    def _refuse(self, packets: _Packets, whole: Bool, rows: Bool, offset: int) -> None:
        for row in np.flatnonzero(rows).tolist():
            reason = "time or size past the largest there is"
            if packets.seen[row] == 255:
                reason = "no packet"
            elif not whole[row]:
                reason = "a packet without tick, command, address or size"
            at = offset + int(packets.at[row])
            self._report.refuse(self._source.name, at, reason, packets.value[:, row].tobytes())


def _read_one(source: Input, report: Report) -> Iterator[pl.DataFrame]:
    head = source.head()
    if not head.startswith(_MAGIC):
        raise TraceError(f"{source.name}: does not begin with 'gem5'")
    frequency, offset = _header(head, source.name)
    made = _Rows(source, frequency, report)
    room = min(ROWS, _BLOCK // 2)
    out = _Packets(np.empty((7, room), np.uint64), np.empty(room, np.uint8), np.empty(room, np.int64))
    skipped, rest, sound = 0, b"", True
    with source.open() as stream:
        while skipped < offset and (block := stream.read(offset - skipped)):
            skipped += len(block)
        while sound and (block := stream.read(_BLOCK)):
            data = rest + block
            while sound:
                count, used, sound = _packets(np.frombuffer(data, np.uint8), out)
                packets = _Packets(out.value[:, :count], out.seen[:count], out.at[:count])
                if count and (rows := made.batch(packets, offset)) is not None:
                    yield rows
                data, offset = data[used:], offset + used
                if count < room:
                    break
            rest = data
    if rest:
        reason = "cut short within a packet" if sound else "no length of a packet: nothing after it can be told apart"
        report.refuse(source.name, offset, reason, rest[:64])


def _sniff(name: str, head: bytes) -> str | None:
    return "begins with 'gem5'" if head.startswith(_MAGIC) else None


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        yield from _read_one(source, report)


FORMAT = Format(name="gem5", kind="memory", doc="gem5 packet traces", sniff=_sniff, read=_read)
