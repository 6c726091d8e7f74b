"""Requests from the block layer's events: which event counts, and when its request was completed.

One request leaves many events: queued (Q), issued (D), completed (C). The user says which of them is the record;
latency comes from finding its partner, by device, first sector and kind of operation (see `_match`). Flushes have no
sector; completions without bytes are the second ones that the kernel reports for a flush (`C WS 0`, in older kernels
`C NS 0`): they find no partner and are counted apart. Where completions are the records, those of blktrace that say
"write" (or "read") are none, for nothing was written; ftrace's are kept as the events that they are, which is how the
recordings of either kind were counted by others. A requeue takes back the issue before it.

Events may come out of order: they are matched in time order within a window, and records leave in the source's order.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.block import Flag, Op
from traces.formats._match import COMPLETE, COUNTS, EMPTY, FAILED, ISSUE, REQUEUE, TAKEN_BACK, Found, Open, Queue, match
from traces.formats._rwbs import ACTIONS, CODE, Words
from traces.formats.reader import Action, Records, Report
from traces.formats.text import Codes
from traces.table import I64, U8, U16, U32, U64, Bool, schema_of

HOLD = 1 << 18  # a record waits for its completion until so many requests came after it
WINDOW = 1 << 18  # so many events are kept back to put them in time order before they are matched
RING = 2 * WINDOW + 2 * HOLD  # requests that can wait for their completion, records that are held back

_OTHER = 255  # an event that neither begins nor ends a request
_PASSTHROUGH, _NEVER, _EMPTY, _UNPLACED = 16, 17, 18, 19  # classes beside those of `Words`

T = TypeVar("T", bound=tuple[Any, ...])


def cut(rows: T, which: slice | NDArray[Any]) -> T:
    """Some rows of a struct of arrays."""
    return type(rows)(*(column[which] for column in rows))


def _places(number: int, count: int) -> slice | I64:
    """Where records stand in the ring: a slice unless they go round its end, as a modulo costs more than all else."""
    begin = number % RING
    return slice(begin, begin + count) if begin + count <= RING else np.arange(number, number + count) % RING


class Events(NamedTuple):
    """Events in the source's order, one row each."""

    time: I64  # nanoseconds
    action: U8  # see `_rwbs.CODE`
    device: U32  # major << 20 | minor
    offset: U64  # bytes; 0 where the event has no sector
    length: U64  # bytes
    pid: U32
    word: U16  # RWBS, see `Words`
    passthrough: Bool  # a command given to the device as it is: neither address nor direction mean anything
    unplaced: Bool  # has a sector that the source does not tell: it finds no partner
    failed: Bool  # completed with an error


def _in_order(parts: Sequence[Queue]) -> bool:
    """Whether events, none of the parts being empty, stand in the order of time."""
    seams = all(int(before.time[-1]) <= int(after.time[0]) for before, after in pairwise(parts))
    return seams and all(bool((part.time[1:] >= part.time[:-1]).all()) for part in parts)


class _Held(NamedTuple):
    """Records held back until their completion is known or given up; their numbers run on."""

    time: I64
    op: U8
    device: U32
    offset: U64
    length: U64
    stream: U32
    flags: U16
    word: U16


class Requests:
    """Takes events as they come, gives batches of `Records`; what is odd goes to the report at the end."""

    def __init__(self, action: Action, words: Words, report: Report, *, empty: bool = False) -> None:
        self._empty = empty  # whether a completion of no bytes is a record
        self._action, self._words, self._report = action, words, report
        self._chosen = CODE[action.value]
        issue = CODE["Q"] if action is Action.QUEUE else CODE["D"]
        self._kind = np.full(256, _OTHER, np.uint8)
        self._kind[issue], self._kind[CODE["C"]] = ISSUE, COMPLETE
        if action is not Action.QUEUE:
            self._kind[CODE["R"]] = REQUEUE
        self._seen = np.zeros(256, np.int64)
        self._devices, self._volumes = Codes(), list[int]()  # [device's code] -> volume
        self._queue: list[Queue] = []
        self._queued = 0
        self._horizon = -(1 << 63)  # the latest time that was matched
        self._behind = 0
        self._held: deque[tuple[int, _Held]] = deque()  # number of the first record, records
        self._next = self._given = 0  # numbers of the next record to come and to hand out
        self._found = Found(np.full(RING, -1, np.int64), np.zeros(RING, np.uint8))
        self._open = Open(
            head=np.full(RING, -1, np.int32),
            next=np.full(RING, -1, np.int32),
            live=np.zeros(RING, np.bool_),
            time=np.empty(RING, np.int64),
            key=np.empty(RING, np.uint64),
            offset=np.empty(RING, np.uint64),
            length=np.empty(RING, np.uint64),
            row=np.empty(RING, np.int64),
        )
        self._counts = np.zeros(1, COUNTS)

    def wanted(self, actions: NDArray[Any]) -> Bool:
        """Count events by action; which of them must be fed."""
        self._seen += np.bincount(actions, minlength=256)
        wanted: Bool = self._kind[actions] != _OTHER
        return wanted

    def feed(self, events: Events) -> Iterator[pl.DataFrame]:
        """Take wanted events; give the records that need not be held back any longer."""
        for begin in range(0, events.time.size, HOLD):
            self._take(cut(events, slice(begin, begin + HOLD)))
            if self._queued < 2 * WINDOW:
                continue
            self._match(self._queued - WINDOW)
            # a record that stands in the queue is not finished; but the ring has an end
            waiting = min(int(part.row[part.row >= 0].min(initial=self._next)) for part in self._queue)
            yield from self._hand_out(max(waiting - HOLD, self._next + HOLD - RING))

    def rest(self) -> Iterator[pl.DataFrame]:
        """Give all that is left, and report."""
        self._match(self._queued)
        yield from self._hand_out(self._next)
        self._tell()

    def _take(self, events: Events) -> None:
        if not events.time.size:
            return
        full, empty, flags, classes = self._words.table()
        kind = self._kind[events.action]
        record = events.action == self._chosen
        which = np.flatnonzero(record)
        rows = np.full(record.size, -1)
        rows[which] = np.arange(self._next, self._next + which.size)
        length = events.length
        if events.passthrough.any():
            length = np.where(events.passthrough, np.uint64(0), length)
        key = events.device.astype(np.uint64) << np.uint64(8) | self._classes(events, classes[events.word], length)
        self._queue.append(self._partners(Queue(events.time, kind, key, events.offset, length, rows, events.failed)))
        self._queued += events.time.size
        if not which.size:
            return
        e = cut(events, which)
        op = np.where(e.length == 0, empty[e.word], full[e.word])
        op[e.passthrough] = Op.UNKNOWN
        flag = flags[e.word] | np.where(e.failed, np.uint16(Flag.ERROR), np.uint16(0))
        held = _Held(e.time, op, e.device, e.offset, e.length, e.pid, flag, e.word)
        self._held.append((self._next, held))
        place = _places(self._next, op.size)
        self._found.latency[place] = -1
        self._found.mark[place] = 0
        self._next += op.size

    def _name(self, device: int) -> str:
        """What a device is called."""
        return f"{device >> 20},{device & 0xFFFFF}"

    def _partners(self, queue: Queue) -> Queue:
        """By what a request finds its completion: key, offset and length, unless the source knows better."""
        return queue

    def _classes(self, events: Events, kind: U8, length: U64) -> U64:
        """What must agree between a request and its completion beside the place."""
        if self._action is Action.QUEUE:
            # the leading F of a bio is gone when its request is completed; "FN" completes the driver's own flush
            never = (events.action == CODE["C"]) & (kind == 7) & (length == 0)
            kind = np.where(length == 0, np.uint8(_EMPTY), kind & np.uint8(0xFE))
            kind[never] = _NEVER
        if events.passthrough.any() or events.unplaced.any():
            kind = np.where(events.passthrough, np.uint8(_PASSTHROUGH), kind)
            kind = np.where(events.unplaced, np.uint8(_UNPLACED), kind)
        return kind.astype(np.uint64)

    def _match(self, count: int) -> None:
        """Match the earliest of the queued events."""
        if not count:
            return
        if not _in_order(self._queue):  # else nothing is copied, which took as long as matching
            queue = Queue(*(np.concatenate(columns) for columns in zip(*self._queue, strict=True)))
            self._queue = [cut(queue, np.argsort(queue.time, kind="stable"))]
        horizon, left = self._horizon, count
        while left:
            part = self._queue.pop(0)
            if part.time.size > left:
                self._queue.insert(0, cut(part, slice(left, None)))
                part = cut(part, slice(left))
            left -= part.time.size
            self._behind += int(np.count_nonzero(part.time < horizon))
            self._horizon = max(self._horizon, int(part.time[-1]))
            match(part, self._open, self._found, self._counts, self._given)
        self._queued -= count

    def _hand_out(self, stop: int) -> Iterator[pl.DataFrame]:
        while self._held and self._given < stop:
            number, held = self._held[0]
            begin, end = self._given - number, min(stop - number, held.time.size)
            if end == held.time.size:
                self._held.popleft()
            self._given = number + end
            batch = self._records(cut(held, slice(begin, end)), number + begin)
            if batch.height:
                yield batch

    def _records(self, held: _Held, number: int) -> pl.DataFrame:
        place = _places(number, held.time.size)
        mark = self._found.mark[place]
        failed = np.where(mark & FAILED, np.uint16(Flag.ERROR), np.uint16(0))
        taken = (mark & TAKEN_BACK) != 0
        if not self._empty:
            taken |= ((mark & EMPTY) != 0) & ((held.op == Op.READ) | (held.op == Op.WRITE))
        batch = pl.DataFrame(
            {
                "time": held.time,
                "op": held.op,
                "volume": self._numbers(held.device, ~taken),
                "offset": held.offset,
                "length": held.length,
                "latency": np.array(self._found.latency[place]),  # a copy: the ring goes on
                "stream": held.stream,
                "flags": held.flags | failed,
                "raw": pl.Series(self._words.words, dtype=pl.Categorical).gather(held.word),
            },
            schema_overrides={name: t for name, t in schema_of(Records).items() if name != "raw"},
        )
        return batch.filter(pl.Series(~taken)) if taken.any() else batch

    def _numbers(self, device: U32, kept: Bool) -> U32:
        """[record] -> its volume, where it is kept: a device of which nothing is kept is none."""
        code, fresh = self._devices.encode(device[kept].astype(np.int64))
        self._volumes += [self._report.volume(self._name(each)) for each in device[kept][fresh].tolist()]
        numbers = np.zeros(device.size, np.uint32)
        numbers[kept] = np.array(self._volumes, np.uint32)[code]
        return numbers

    def _tell(self) -> None:
        c, note = self._counts[0], self._report.note
        for letter, meaning in ACTIONS.items():
            if letter != self._action.value:
                note(f"events of action {letter} ({meaning}), not counted as requests", int(self._seen[CODE[letter]]))
        known = sum(int(self._seen[code]) for code in CODE.values())
        note("events of unknown actions", int(self._seen.sum()) - known)
        issues = "queued" if self._action is Action.QUEUE else "issued"
        note(f"requests {issues} whose completion was not found", int(c["lost"]) + int(self._open.live.sum()))
        note("completions found too late: the record had been handed out", int(c["late"]))
        note(f"completions of what was not seen to be {issues}", int(c["orphans"]))
        note("completions without bytes of a request of their own (flushes)", int(c["empty"]))
        note("completions of a part of a request", int(c["partial"]))
        note("issues taken back by a requeue, not counted", int(c["requeued"]))
        note("requeues whose issue was not seen or had been handed out", int(c["kept"]))
        note(f"events further than {WINDOW} events from their place in time", self._behind)
