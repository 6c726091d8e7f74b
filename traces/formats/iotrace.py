"""Open CAS's iotrace: Protocol Buffers messages, each after its length (unchecked against a real recording).

A message has a header (field 1: 1 sequence number, 2 nanoseconds) and one event: a request (field 2: 1 first sector,
2 sectors, 4 device, 5 operation: 1 read, 2 write, 3 discard, 6 flush, 7 forced unit access, 9 id), a device's name
(field 3: 1 device, 2 name) or a completion (field 5: 1 first sector, 2 sectors, 3 error, 4 device, 5 the request's id).
There is a file per CPU. Sectors have 512 bytes; a field that is 0 is not written. Where ids are told a completion finds
its request by them, else by device and place. Recordings from before operations were numbered so have 0 for reads: they
become unknown. Source: Open-CAS, open-cas-telemetry-framework, source/octf/proto/trace.proto.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.block import Op
from traces.errors import TraceError
from traces.formats._match import Queue
from traces.formats._requests import HOLD, Events, Requests, cut
from traces.formats._rwbs import CODE, Words
from traces.formats.inputs import Input
from traces.formats.reader import Action, Format, Options, Report
from traces.kernel import lean_kernel
from traces.order import Disorder, Moves, in_time_order, merged
from traces.table import I64, U8, U16

_BLOCK = 1 << 22  # bytes read at once
_LONGEST = 1 << 20  # a message beyond this is none
_REQUEST, _DEVICE, _COMPLETION, _LAST_EVENT = 2, 3, 5, 7
_GOOD, _MALFORMED, _LENGTH = 0, 1, 2
_LAST_SECTOR = (1 << 54) - 1
_LAST_TIME = 1 << 62
_BY_ID = np.uint64(30)  # class of a request that is known by its id, beside those of the block layer


class _Messages(NamedTuple):
    """What the kernel fills: a row a message."""

    at: I64  # where its length stands
    event: I64  # field of the event, 0 if there is none
    time: I64
    field: NDArray[np.int64]  # [field, message]: the event's numbers
    name_at: I64
    name_end: I64
    status: U8


def _room(count: int) -> _Messages:
    columns: list[Any] = [np.empty((10, count) if name == "field" else count, np.int64) for name in _Messages._fields]
    columns[-1] = np.empty(count, np.uint8)
    return _Messages(*columns)


@lean_kernel
def _varint(data: U8, i: Any, end: Any) -> tuple[Any, Any]:
    """The number at ``i`` and where it ends; -1 where it does not end."""
    value, shift = np.uint64(0), 0
    while i < end and shift < 70:
        value |= np.uint64(data[i] & 127) << np.uint64(min(shift, 63))
        i += 1
        if data[i - 1] < 128:
            return np.int64(value), i
        shift += 7
    return np.int64(0), -1


@lean_kernel
def _fields(data: U8, i: Any, end: Any, row: int, out: _Messages) -> bool:
    """Fields of a header (row < 0: of message -1 - row) or of an event; False if they are not whole."""
    header = row < 0
    if header:
        row = -1 - row
    while i < end:
        tag, i = _varint(data, i, end)
        if i < 0:
            return False
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, i = _varint(data, i, end)
            if i < 0:
                return False
            if header and field == 2:
                out.time[row] = value
            elif not header and 0 < field < 10:
                out.field[field, row] = value
        elif kind == 2:
            length, i = _varint(data, i, end)
            if i < 0 or not 0 <= length <= end - i:
                return False
            if not header and field == 2:
                out.name_at[row], out.name_end[row] = i, i + length
            i += length
        elif kind == 1 or kind == 5:
            i += 8 if kind == 1 else 4
        else:
            return False
    return bool(i == end)


@lean_kernel
def _decode(data: U8, out: _Messages) -> tuple[int, int]:
    """The messages of some bytes; how many, and where the first that is not whole begins."""
    i: Any = 0
    row = 0
    while i < data.size and row < out.at.size:
        length, begin = _varint(data, i, data.size)
        if begin < 0 and data.size - i < 10:
            break
        out.at[row] = i
        out.event[row] = out.time[row] = out.name_at[row] = out.name_end[row] = 0
        for field in range(10):
            out.field[field, row] = 0
        if begin < 0 or not 0 <= length <= 1 << 20:
            out.status[row] = 2
            return row + 1, data.size
        if length > data.size - begin:
            break
        end = begin + length
        i = begin
        good, told = True, False
        while good and i < end:
            tag, i = _varint(data, i, end)
            size = np.int64(0)
            if i >= 0:
                size, i = _varint(data, i, end)
            good = i >= 0 and tag & 7 == 2 and 0 <= size <= end - i
            if good and tag >> 3 == 1:
                good = _fields(data, i, i + size, -1 - row, out)
                told = True
            elif good:
                out.event[row] = tag >> 3
                good = _fields(data, i, i + size, row, out)
            i += size
        out.status[row] = 0 if good and told and out.event[row] > 0 else 1
        i = end
        row += 1
    return row, i


def _sniff(name: str, head: bytes) -> str | None:
    i, count = 0, 0
    while i < len(head) and count < 50:
        length, begin = _small(head, i)
        end = begin + length
        if not 4 <= length <= _LONGEST or head[begin : begin + 1] != b"\x0a":
            return None
        inner, at = _small(head, begin + 1)
        tag = head[at + inner : at + inner + 1]
        if end > len(head) or not tag:
            break
        rest, last = _small(head, at + inner + 1)
        if not 2 <= inner <= 22 or tag[0] not in {field << 3 | 2 for field in range(2, 8)} or last + rest != end:
            return None
        i, count = end, count + 1
    if count < 2:
        return None
    return f"the first {count} messages are events of iotrace, each after its length, with header and one event"


def _small(data: bytes, i: int) -> tuple[int, int]:
    """A length at ``i`` and where it ends."""
    value = 0
    for shift in range(0, 28, 7):
        if i >= len(data):
            break
        value |= (data[i] & 127) << shift
        i += 1
        if data[i - 1] < 128:
            break
    return value, i


class _Bios(Requests):
    """Requests whose completions are found by their ids, on devices that have names."""

    def __init__(self, words: Words, report: Report) -> None:
        super().__init__(Action.QUEUE, words, report)
        self.names: dict[int, str] = {}  # device's code -> name
        self.ids = np.empty(0, np.uint64)  # of the events that are fed next

    def _name(self, device: int) -> str:
        return self.names[device]

    def _partners(self, queue: Queue) -> Queue:
        known = self.ids != 0
        return queue._replace(
            key=np.where(known, queue.key & ~np.uint64(255) | _BY_ID, queue.key),
            offset=np.where(known, self.ids, queue.offset),
            length=np.where(known, np.uint64(0), queue.length),
        )


class _Words(Words):
    """The block layer's words, for completions that do not say of what."""

    def table(self) -> tuple[U8, U8, U16, U8]:
        """As of `Words`; nothing of the operation must agree between a request and its completion."""
        full, empty, flags, kinds = super().table()
        return full, empty, flags, np.zeros_like(kinds)


class _Recording:
    """All files of a recording."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._words = _Words(nothing=(Op.UNKNOWN, Op.UNKNOWN))
        letters = ["N", "R", "W", "D"]
        words = [f + letter + fua for letter in letters for f in ("", "F") for fua in ("", "F")]
        self._code = np.array([self._words.code(word) for word in words], np.uint16)
        self._bios = _Bios(self._words, report)
        self._codes: dict[int, int] = {}  # device -> code
        self._told: dict[int, str] = {}  # device -> name

    def messages(self, source: Input) -> Iterator[pl.DataFrame]:
        """One file's requests and completions."""
        rest, offset = b"", 0
        with source.open() as stream:
            while block := stream.read(_BLOCK):
                data = rest + block
                used = 0
                while True:
                    frame, used_now, lost = self._some(source, data[used:], offset + used)
                    used += used_now
                    if frame.height:
                        yield frame
                    if lost:
                        return
                    if not used_now:
                        break
                rest, offset = data[used:], offset + used
        if rest:
            self._report.refuse(source.name, offset, "cut short: a message is not whole", rest[:100])

    def _some(self, source: Input, data: bytes, offset: int) -> tuple[pl.DataFrame, int, bool]:
        """As many messages as there is room for, the bytes they take, and whether no more can be found."""
        m = _room(min(len(data), HOLD))
        rows, used = _decode(np.frombuffer(data, np.uint8), m)
        m = cut(m._replace(field=m.field.T), slice(rows))
        f, report = m.field.T, self._report
        request, completion = m.event == _REQUEST, m.event == _COMPLETION
        good = (m.status == _GOOD) & (m.time >= 0) & (m.time <= _LAST_TIME)
        bad = (request | completion) & (((f[1] >> 54) != 0) & (f[1] != -1) | ((f[2] >> 32) != 0))
        ends = np.append(m.at[1:], used)
        for row in np.flatnonzero(~good | bad).tolist():
            reason = "time, sector or number of sectors is past the largest that can be"
            if m.status[row] != _GOOD:
                reason = "no event with a header"
            if m.status[row] == _LENGTH:
                reason = "not the length of a message: nothing after it can be read"
            report.refuse(source.name, offset + int(m.at[row]), reason, data[m.at[row] : ends[row]][:100])
        good &= ~bad
        for row in np.flatnonzero(good & (m.event == _DEVICE)).tolist():
            self._told[int(f[1, row])] = data[m.name_at[row] : m.name_end[row]].decode("utf-8", "replace")
        report.note("names of devices", int(np.count_nonzero(good & (m.event == _DEVICE))))
        others = good & ~np.isin(m.event, (_REQUEST, _DEVICE, _COMPLETION))
        report.note("events of files, which are no requests", int(np.count_nonzero(others)))
        use = np.flatnonzero(good & (request | completion))
        columns = {"time": m.time[use], "done": completion[use]}
        columns |= {str(i): f[i][use] for i in (1, 2, 3, 4, 5, 6, 7, 9)}
        return pl.DataFrame(columns), used, bool(rows and m.status[-1] == _LENGTH)

    def feed(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Requests and completions in the order of time, at most `HOLD` of them."""
        done = frame["done"].to_numpy()
        lba, sectors, third, device, fifth, flush, fua, ninth = (frame[c].to_numpy() for c in "12345679")
        each, inverse = np.unique(device, return_inverse=True)
        for number in each.tolist():
            if number not in self._codes:
                new = self._codes[number] = len(self._codes)
                name = self._told.get(number, f"device {number}")
                self._bios.names[new] = f"{name} ({number})" if name in self._bios.names.values() else name
        code = np.array([self._codes[number] for number in each.tolist()] or [0], np.uint32)[inverse]
        action = np.where(done, CODE["C"], CODE["Q"]).astype(np.uint8)
        self._bios.wanted(action)
        op = np.where(~done & (fifth >= 1) & (fifth <= 3), fifth, 0)
        unknown = "requests of an operation that is not numbered 1 to 3: an older recording would have 0 for reads"
        self._report.note(unknown, int(np.count_nonzero(~done & (op == 0))))
        self._bios.ids = np.where(done, fifth, ninth).view(np.uint64)
        yield from self._bios.feed(
            Events(
                time=frame["time"].to_numpy(),
                action=action,
                device=code,
                offset=(np.where(lba < 0, 0, lba) << 9).view(np.uint64),
                length=(sectors << 9).view(np.uint64),
                pid=np.zeros(done.size, np.uint32),
                word=self._code[4 * op + 2 * (~done & (flush != 0)) + (~done & (fua != 0))],
                passthrough=np.zeros(done.size, np.bool_),
                unplaced=np.zeros(done.size, np.bool_),
                failed=done & (third != 0),
            )
        )

    def rest(self) -> Iterator[pl.DataFrame]:
        """Give what is left, and report."""
        yield from self._bios.rest()


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    recording = _Recording(report)
    streams = [recording.messages(source) for source in sources]
    if len(streams) > 1:
        streams = [in_time_order(stream, Moves()) for stream in streams]
    try:
        for frame in merged(streams):
            for begin in range(0, frame.height, HOLD):
                yield from recording.feed(frame[begin : begin + HOLD])
    except Disorder:
        raise TraceError("the files of this recording are too far out of order to be merged by time") from None
    yield from recording.rest()


FORMAT = Format(
    name="iotrace",
    kind="block",
    doc="Open CAS's iotrace, a file per CPU",
    sniff=_sniff,
    read=_read,
    together=True,
)
