"""The shared agent's capture: what it saw of the rings that it watches. Strata's own format, written while it runs.

Append-only and self-checking: whatever its writer had put out when it was killed can be read. All numbers are
little-endian. A header of 40 bytes: magic number (``89 'AGENT' 0D 0A``: a text-mode transfer would break it), u16
version, u16 bytes of a slot, u32 0, i64 the time at which it was begun on the Unix clock (0: not told) and i64 on the
writer's monotonic one, both in nanoseconds, u32 0, u32 CRC-32C of the 36 bytes before. Then slots of 88 bytes:

    0 marker ``A5 'Rec'``          20 u32 producer, or the number     40 i64 published
    4 u32 CRC-32C of bytes 8..87      that a name is for              48 i64 seen, -1 never or not told
    8 u64 number of the slot       24 u32 ring                        56 i64 delivered, -1 the same
   16 u8 what: 1 ring, 2 producer, 28 u32 receiver; 2**32 - 1: none   64 u64 sequence
      3 receiver, 4 record         32 u32 CRC-32C of the payload      72 u64 address within the ring
   17 u8 op, 18 u8 outcome, 19 0   36 u32 0                           80 u64 length; of a ring its bytes, 0: not told

A ring's bytes, a producer's or a receiver's name (UTF-8, at most 64 bytes, from byte 24 on, then zeros) stand before
the first record that has their number, and do not change. Times are readings of the monotonic clock; op and outcome are
those of the table `Message`. Slots are numbered from 0, in the order in which the agent was done with what they tell: a
record comes when it was delivered or given up. Payloads are not kept. An agent that starts anew writes a file of its
own.

Reading goes on behind what is damaged: bytes that are no slot are refused as one row, with the byte at which they
begin, and the next whole slot is looked for byte by byte. A slot that is whole and makes no sense (a number without a
name, delivery before detection, a place outside its ring) is refused alone. A damaged header ends it: nothing would be
known of the clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.crc32c import crc32c
from traces.errors import TraceError
from traces.formats._capture import (
    HEADER,
    KNOWN,
    LAST,
    MAGIC,
    MARKER,
    NAMED_AT,
    SIZE,
    SLOT,
    VERSION,
    Places,
    Table,
    What,
    find,
    follow,
    judge,
    look,
    numbered,
)
from traces.formats._rows import rows, words
from traces.formats.inputs import Input
from traces.formats.reader import ROWS, Format, Options, Report
from traces.message import WORDS, Message
from traces.message import words as word_of
from traces.table import I64, U32, U64

_CHUNK = ROWS // 4  # slots that are read at once
_WRONG = (
    "",
    "a slot of this number has been before",
    "nobody knows what such a slot tells",
    "no such operation or outcome",
    "its producer has no name yet",
    "its ring is not known yet",
    "its receiver has no name yet",
    "it lies outside its ring",
    "a time before 0 or past 2**61 ns, or in the wrong order",
)


class _Names:
    """What numbers stand for, and from which slot on."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, int]] = {}  # number -> what, slot
        self.values: dict[Any, int] = {}  # what -> its place among them
        self._table: Table | None = None

    def add(self, number: int, value: Any, slot: int) -> bool:
        """False where the number stands for something else."""
        if number not in self.known:
            self.known[number] = value, slot
            self.values.setdefault(value, len(self.values))
            self._table = None
        return bool(self.known[number][0] == value)

    def look(self, numbers: U32, slots: U64) -> I64:
        """[slot] -> the place of what its number stands for; -1 where that is not known before it."""
        if self._table is None:
            ordered = sorted(self.known)
            told = [self.known[number] for number in ordered]
            self._table = Table(
                np.array(ordered, np.uint32),
                np.array([slot for _, slot in told], np.uint64),
                np.array([self.values[value] for value, _ in told], np.int64),
            )
        out = np.empty(numbers.size, np.int64)
        look(self._table, numbers, slots, out)
        return out


@dataclass(frozen=True)
class _Clock:
    unix: int
    monotonic: int

    def times(self, published: I64) -> I64:
        """Nanoseconds on the Unix clock where it is told, else on the writer's."""
        return published + (self.unix - self.monotonic) if self.unix else published

    @property
    def name(self) -> str:
        return "unix" if self.unix else "monotonic" if self.monotonic else "relative"


class _Capture:
    """One file on its way in."""

    def __init__(self, source: Input, clock: _Clock, report: Report) -> None:
        self.source, self.clock, self.report = source, clock, report
        self.rings, self.producers, self.receivers = _Names(), _Names(), _Names()
        self._last = -1  # slot
        self._begun = np.zeros(0, np.bool_)  # [ring] -> a record was published...
        self._next = np.zeros(0, np.uint64)  # ... before this one

    def rows(self, slots: NDArray[Any], places: I64) -> pl.DataFrame | None:
        """The records among whole slots; ``places`` are the bytes at which they begin."""
        wrong = np.zeros(slots.size, np.uint8)
        self._last, missing = numbered(slots, self._last, wrong)
        self.report.note("slots missing in the file's numbering, the damaged ones among them", missing)
        is_record = slots["what"] == What.RECORD
        for i in np.flatnonzero((wrong == 0) & ~is_record).tolist():
            if reason := self._named(slots[i]):
                self.report.refuse(self.source.name, int(places[i]), reason, slots[i].tobytes())
        number = slots["number"]
        found = Places(
            self.producers.look(slots["producer"], number),
            self.rings.look(slots["ring"], number),
            self.receivers.look(slots["receiver"], number),
        )
        sizes = np.array([size for _, size in self.rings.values], np.uint64)
        judge(slots, found, sizes, KNOWN, wrong)
        for i in np.flatnonzero(wrong).tolist():
            self.report.refuse(self.source.name, int(places[i]), _WRONG[wrong[i]], slots[i].tobytes())
        good = is_record & (wrong == 0)
        if good.all():
            return self._frame(slots, found)
        return self._frame(slots[good], Places._make(each[good] for each in found)) if good.any() else None

    def _named(self, slot: Any) -> str:
        """Learn what a number stands for; what is wrong with it."""
        number, place = int(slot["producer"]), int(slot["number"])
        if slot["what"] == What.RING:
            size = int(slot["length"])
            if not self.rings.add(number, (number, size), place):
                return f"ring {number} has {self.rings.known[number][0][1]} bytes already"
            if size and self.rings.known[number][1] == place:
                self.report.note(f"rings of {size} bytes")
            return ""
        names = self.producers if slot["what"] == What.PRODUCER else self.receivers
        try:
            name = slot.tobytes()[NAMED_AT:].rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return "the name is not UTF-8"
        if not name or not names.add(number, name, place):
            return f"number {number} is called {names.known[number][0]!r} already" if name else "the name is empty"
        if names is self.producers:
            self.report.volume(name)
        return ""

    def _frame(self, slots: NDArray[Any], places: Places) -> pl.DataFrame:
        more = len(self.rings.values) - self._begun.size
        self._begun, self._next = np.pad(self._begun, (0, more)), np.pad(self._next, (0, more))
        missing, again = follow(slots, places.ring, self._begun, self._next)
        self.report.note("records missing in the numbering of their ring", missing)
        self.report.note("records that come again in the numbering of their ring", again)
        volumes = np.array([self.report.volumes[name] for name in self.producers.values], np.uint32)
        published, seen, delivered = slots["published"], slots["seen"], slots["delivered"]
        return rows(
            Message,
            slots.size,
            time=self.clock.times(published),
            producer=volumes[places.producer],
            receiver=words(["", *self.receivers.values], places.receiver + 1),
            seen=np.where(seen >= 0, seen - published, -1),
            delivered=np.where(delivered >= 0, delivered - published, -1),
            raw=words(WORDS, word_of(slots["op"], slots["outcome"])),
            **{name: slots[name] for name in ("op", "ring", "sequence", "address", "length", "checksum", "outcome")},
        )


def _read_one(source: Input, report: Report) -> Iterator[pl.DataFrame]:
    with source.open() as stream:
        head = stream.read(HEADER.itemsize)
        clock = _opened(source.name, head)
        report.clock = clock.name
        capture = _Capture(source, clock, report)
        at, rest, gap = HEADER.itemsize, b"", -1
        lost = b""  # the first bytes of the gap that is open
        while block := stream.read(_CHUNK * SIZE - len(rest)):
            data = rest + block
            room = len(data) // SIZE
            slots, places = np.empty(room * SIZE, np.uint8), np.empty(room, np.int64)
            gaps = np.empty((room, 2), np.int64)
            found, holes, settled, since = find(np.frombuffer(data, np.uint8), gap >= 0, slots, places, gaps)
            for begin, end in gaps[:holes].tolist():
                if gap < 0:
                    gap, lost = at + begin, data[begin : begin + SIZE]
                report.refuse(source.name, gap, _no_slot(lost, at + end - gap, "up to the next whole slot"), lost)
                gap = -1
            if found:
                batch = capture.rows(slots[: found * SIZE].view(SLOT), places[:found] + at)
                if batch is not None:
                    yield batch
            if since >= 0 and gap < 0:
                gap, lost = at + since, data[since : since + SIZE]
            at, rest = at + settled, data[settled:]
    if gap >= 0:
        report.refuse(source.name, gap, _no_slot(lost, at + len(rest) - gap, "up to the file's end"), lost)
    elif rest:
        report.refuse(source.name, at, f"cut short: {len(rest)} of a slot's {SIZE} bytes", rest)


def _no_slot(lost: bytes, count: int, until: str) -> str:
    why = "a slot's checksum does not fit" if lost.startswith(MARKER) else "no slot begins here"
    return f"{why}: {count} bytes skipped {until}"


def _opened(name: str, head: bytes) -> _Clock:
    """The clock that a header tells; TraceError where it is damaged."""
    if not head.startswith(MAGIC):
        raise TraceError(f"{name}: no capture of the shared agent: its first bytes are not the magic number")
    if len(head) < HEADER.itemsize:
        raise TraceError(f"{name}: cut short within the header of {HEADER.itemsize} bytes: no record was written yet")
    told = np.frombuffer(head, HEADER)[0]
    if crc32c(np.frombuffer(head, np.uint8), 0, HEADER.itemsize - 4) != told["crc"]:
        raise TraceError(f"{name}: the header is damaged (its checksum does not fit), nothing is known of the clock")
    if told["version"] != VERSION or told["slot"] != SIZE:
        raise TraceError(
            f"{name}: version {told['version']} with slots of {told['slot']} bytes; only version {VERSION} "
            f"with {SIZE} is known: read it with a newer Strata"
        )
    if not 0 <= told["unix"] <= LAST or not 0 <= told["monotonic"] <= LAST:
        raise TraceError(f"{name}: the header's clocks are before 0 or past 2**61 ns")
    return _Clock(int(told["unix"]), int(told["monotonic"]))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        yield from _read_one(source, report)


def _sniff(name: str, head: bytes) -> str | None:
    if not head.startswith(MAGIC):
        return None
    return f"magic number 89 41 47 45 4e 54 0d 0a, version {int.from_bytes(head[8:10], 'little')}"


FORMAT = Format(name="agent", kind="message", doc="captures of the shared agent", sniff=_sniff, read=_read)
