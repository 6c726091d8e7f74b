"""Open CAS's iotrace: Protocol Buffers messages, each after its length.

A message has a header (field 1: 1 sequence number, 2 nanoseconds) and one event: a request (field 2: 1 first sector,
2 sectors, 4 device, 5 operation: 1 read, 2 write, 3 discard, 6 flush, 7 forced unit access, 9 id), a device's name
(field 3: 1 device, 2 name) or a completion (field 5: 1 first sector, 2 sectors, 3 error, 4 device, 5 the request's id).
There is a file per CPU. Sectors have 512 bytes; a field that is 0 is not written. Where ids are told a completion finds
its request by them, else by device and place. Recordings from before operations were numbered so have 0 for reads: they
become unknown. Checked against the documented layout only, not a recording. Source: Open-CAS,
open-cas-telemetry-framework, source/octf/proto/trace.proto.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from traces.block import Op
from traces.errors import TraceError
from traces.formats._match import Queue
from traces.formats._protobuf import varint
from traces.formats._requests import HOLD, Events, Requests
from traces.formats._rwbs import CODE, Words
from traces.formats.inputs import Input
from traces.formats.reader import Action, Format, Options, Report
from traces.formats.text import Codes
from traces.kernel import lean_kernel
from traces.order import Disorder, Moves, in_time_order, merged
from traces.table import I64, U8, U16

_BLOCK = 1 << 22  # bytes read at once
_LONGEST = 1 << 20  # a message beyond this is none
_REQUEST, _DEVICE, _COMPLETION = 2, 3, 5
_QUEUED, _COMPLETED = CODE["Q"], CODE["C"]
_GOOD, _LENGTH = 0, 2
_REASONS = {
    1: "no event with a header",
    _LENGTH: "not the length of a message: nothing after it can be read",
    3: "time, sector or number of sectors is past the largest that can be",
}
_BY_ID = np.uint64(30)  # class of a request that is known by its id, beside those of the block layer


class _Messages(NamedTuple):
    """What the kernel fills: a row a request or completion, in ``odd`` the other messages; ``field`` is of one alone.

    Numbers of all messages, ten each, took half as long again: they do not stay in the cache.
    """

    time: I64
    action: U8  # see `_rwbs.CODE`
    word: U8  # 4 * operation + 2 * flush + forced unit access
    lba: I64
    sectors: I64
    device: I64
    id: I64
    failed: U8
    odd_at: I64  # where its length stands
    odd_end: I64
    odd_event: I64  # field of the event, 0 if there is none
    odd_device: I64
    odd_name: I64  # where the device's name begins
    odd_name_end: I64
    odd_status: U8  # `_GOOD` or one of `_REASONS`
    field: I64  # [field]: the event's numbers; 0: the header's time


_EVENT = _Messages._fields[:8]


def _room(count: int) -> _Messages:
    small = ("action", "word", "failed", "odd_status")
    columns: list[Any] = [np.empty(count, np.uint8 if name in small else np.int64) for name in _Messages._fields]
    columns[-1] = np.empty(10, np.int64)
    return _Messages(*columns)


@lean_kernel
def _fields(data: U8, i: Any, end: Any, odd: int, out: _Messages) -> bool:
    """Fields of a header (odd < 0) or of an event; False if they are not whole."""
    header = odd < 0
    while i < end:
        tag, i = varint(data, i, end)
        if i < 0:
            return False
        field, kind = np.int64(tag) >> 3, tag & np.uint64(7)
        if kind == 0:
            value, i = varint(data, i, end)
            if i < 0:
                return False
            if header and field == 2:
                out.field[0] = np.int64(value)
            elif not header and 0 < field < 10:
                out.field[field] = np.int64(value)
        elif kind == 2:
            length, i = varint(data, i, end)
            if i < 0 or length > np.uint64(end - i):
                return False
            if not header and field == 2:
                out.odd_name[odd], out.odd_name_end[odd] = i, i + np.int64(length)
            i += np.int64(length)
        elif kind == 1 or kind == 5:
            i += 8 if kind == 1 else 4
        else:
            return False
    return bool(i == end)


@lean_kernel
def _event(data: U8, i: Any, end: Any, odd: int, out: _Messages) -> tuple[Any, int]:
    """Fields of a message to ``out.field``; its event and status."""
    event, told = np.int64(0), False
    while i < end:
        tag, i = varint(data, i, end)
        size = np.uint64(0)
        if i >= 0:
            size, i = varint(data, i, end)
        if i < 0 or tag & np.uint64(7) != 2 or size > np.uint64(end - i):
            return event, 1
        header = np.int64(tag) >> 3 == 1
        if header:
            told = True
        else:
            event = np.int64(tag) >> 3
        if not _fields(data, i, i + np.int64(size), -1 if header else odd, out):
            return event, 1
        i += np.int64(size)
    if not told or event <= 0:
        return event, 1
    time, lba = out.field[0], out.field[1]
    far = not 0 <= time <= 1 << 62
    if event == 2 or event == 5:
        far |= (lba >> 54 != 0 and lba != -1) or out.field[2] >> 32 != 0
    return event, 3 if far else 0


@lean_kernel
def _decode(data: U8, out: _Messages) -> tuple[int, int, int]:
    """The messages of some bytes; how many events and odd ones, and where the first that is not whole begins."""
    i: Any = 0
    row, odd = 0, 0
    while i < data.size and row < out.time.size and odd < out.odd_at.size:
        length, begin = varint(data, i, data.size)
        if begin == -1:
            break
        out.odd_at[odd] = i
        out.odd_event[odd] = out.odd_device[odd] = out.odd_name[odd] = out.odd_name_end[odd] = 0
        if begin < 0 or length > np.uint64(1 << 20):
            out.odd_status[odd], out.odd_end[odd] = 2, data.size
            return row, odd + 1, data.size
        if length > np.uint64(data.size - begin):
            break
        end = begin + np.int64(length)
        f = out.field
        for field in range(10):
            f[field] = 0
        event, status = _event(data, begin, end, odd, out)
        i = end
        if status != 0 or (event != 2 and event != 5):
            out.odd_event[odd], out.odd_device[odd], out.odd_status[odd] = event, f[1], status
            out.odd_end[odd] = end
            odd += 1
            continue
        out.time[row], out.lba[row], out.sectors[row], out.device[row] = f[0], f[1], f[2], f[4]
        if event == 5:
            out.action[row], out.word[row], out.id[row], out.failed[row] = _COMPLETED, 0, f[5], f[3] != 0
        else:
            out.action[row], out.id[row], out.failed[row] = _QUEUED, f[9], 0
            out.word[row] = 4 * (f[5] if 1 <= f[5] <= 3 else 0) + 2 * (f[6] != 0) + (f[7] != 0)
        row += 1
    return row, odd, i


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
        self.names: list[str] = []  # [device's code]
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
        self._codes = Codes()  # of devices
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
        m, report = _room(min(len(data), HOLD)), self._report
        rows, odd, used = _decode(np.frombuffer(data, np.uint8), m)
        good, event = m.odd_status[:odd] == _GOOD, m.odd_event[:odd]
        for row in np.flatnonzero(~good).tolist():
            at, end = int(m.odd_at[row]), int(m.odd_end[row])
            report.refuse(source.name, offset + at, _REASONS[int(m.odd_status[row])], data[at:end][:100])
        devices = np.flatnonzero(good & (event == _DEVICE)).tolist()
        for row in devices:
            name = data[m.odd_name[row] : m.odd_name_end[row]]
            self._told[int(m.odd_device[row])] = name.decode("utf-8", "replace")
        report.note("names of devices", len(devices))
        report.note("events of files, which are no requests", int(np.count_nonzero(good)) - len(devices))
        frame = pl.DataFrame({name: getattr(m, name)[:rows] for name in _EVENT})
        return frame, used, bool(odd and m.odd_status[odd - 1] == _LENGTH)

    def feed(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Requests and completions in the order of time, at most `HOLD` of them."""
        time, action, word, lba, sectors, device, number, failed = (frame[name].to_numpy() for name in _EVENT)
        code, fresh = self._codes.encode(device)
        for each in device[fresh].tolist():
            name, names = self._told.get(each, f"device {each}"), self._bios.names
            names.append(f"{name} ({each})" if name in names else name)
        self._bios.wanted(action)
        unknown = "requests of an operation that is not numbered 1 to 3: an older recording would have 0 for reads"
        self._report.note(unknown, int(np.count_nonzero((action == _QUEUED) & (word < 4))))
        self._bios.ids = number.view(np.uint64)
        never = np.zeros(time.size, np.bool_)
        yield from self._bios.feed(
            Events(
                time=time,
                action=action,
                device=code,
                offset=(np.maximum(lba, 0) << 9).view(np.uint64),
                length=(sectors << 9).view(np.uint64),
                pid=np.zeros(time.size, np.uint32),
                word=self._code[word],
                passthrough=never,
                unplaced=never,
                failed=failed.view(np.bool_),
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
