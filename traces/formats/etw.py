"""Disk events of Event Tracing for Windows, dumped as text: Microsoft's production and enterprise traces.

Lines between ``BeginHeader`` and ``EndHeader`` name the columns of each event; the rows after them begin with their
event's name. ``DiskRead`` and ``DiskWrite`` have offset and size in hexadecimal bytes, ``DiskFlush`` has neither; the
disk's number is the volume, the thread the stream. TimeStamp and ElapsedTime are microseconds, the first counted from
when tracing began (general knowledge: no document says so). Every other event is counted, not read. Checked against
the documented layout only, not a recording. Source: SNIA IOTTA traces 130 and 158, the headers of their files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report
from traces.formats.scanner import EMPTY, GOOD, Field, Kind, Scanned, Scanner
from traces.formats.text import chunks, is_text
from traces.table import Bool, schema_of

_BEGIN, _END = "BeginHeader", "EndHeader"
_OPS = {"DiskRead": Op.READ, "DiskWrite": Op.WRITE, "DiskFlush": Op.FLUSH}
_COLUMNS = {  # ours -> the header's
    "time": "TimeStamp",
    "latency": "ElapsedTime",
    "disk": "DiskNum",
    "stream": "ThreadID",
    "offset": "ByteOffset",
    "length": "IOSize",
}
_EXTENT = ("offset", "length")
_LAST_US = (1 << 62) // 1000


def _sniff(name: str, head: bytes) -> str | None:
    if not is_text(head) or not head.lstrip().startswith(_BEGIN.encode()):
        return None
    events = _header(head)[0]
    known = [event for event in _OPS if event in events]
    return f"a header between {_BEGIN} and {_END} that names the columns of {', '.join(known)}" if known else None


def _header(head: bytes) -> tuple[dict[str, list[str]], int]:
    """Event -> its columns, and the number of the line that ends the header (0: there is none)."""
    events: dict[str, list[str]] = {}
    for number, line in enumerate(head.decode("utf-8", "replace").split("\n"), 1):
        words = [word.strip() for word in line.split(",")]
        if words == [_END]:
            return events, number
        if len(words) > 1:
            events[words[0]] = words
    return events, 0


@dataclass
class _Rows:
    """Rows of the events that have the same columns."""

    columns: dict[str, int]  # ours -> place
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        fields = [Field(0, Kind.WORD)]
        for name, place in self.columns.items():
            kind = {"disk": Kind.WORD, "offset": Kind.HEX, "length": Kind.HEX}.get(name, Kind.INTEGER)
            needed = name not in ("latency", "stream")
            fields.append(Field(place, kind, required=needed, unsigned=name in _EXTENT))
        self.names = ["event", *self.columns]
        self.scanner = Scanner(fields, ",", self.names)


def _layouts(events: dict[str, list[str]], source: Input) -> list[_Rows]:
    found: list[_Rows] = []
    for event, op in _OPS.items():
        if event not in events:
            continue
        wanted = {ours: their for ours, their in _COLUMNS.items() if op != Op.FLUSH or ours not in _EXTENT}
        named = [word.split("(")[0].strip() for word in events[event]]
        if missing := [their for ours, their in wanted.items() if their not in named and ours != "latency"]:
            raise TraceError(f"{source.name}: the header names no column {', '.join(missing)} for {event}")
        columns = {ours: named.index(their) for ours, their in wanted.items() if their in named}
        rows = next((each for each in found if each.columns == columns), None)
        if rows is None:
            found.append(rows := _Rows(columns))
        rows.events.append(event)
    return found


class _Chunk:
    """The records of one chunk, in the file's order, whatever their columns."""

    def __init__(self, source: Input, report: Report, skip: int) -> None:
        self._source, self._report, self._skip = source, report, skip

    def read(self, layouts: Sequence[_Rows], chunk: memoryview) -> pl.DataFrame:
        """Scan a chunk by each layout and put the rows together."""
        parts, used = [], np.zeros(0, np.bool_)
        for rows in layouts:
            scanned = rows.scanner.scan(chunk)
            codes, words = scanned.words(0)
            mine = np.array([word in rows.events for word in words], np.bool_)[codes]
            mine[: max(0, self._skip - scanned.first + 1)] = False
            used = used | mine if used.size else mine.copy()
            parts.append(self._records(rows, scanned, mine))
        rest = ~used & (scanned.status != EMPTY)
        rest[: max(0, self._skip - scanned.first + 1)] = False
        self._report.note("events that are no request", int(np.count_nonzero(rest)))
        return pl.concat(parts).sort("line").drop("line")

    def _records(self, rows: _Rows, scanned: Scanned, mine: Bool) -> pl.DataFrame:
        value = {name: scanned.values(i) for i, name in enumerate(rows.names)}
        none = np.zeros(scanned.count, np.int64)
        offset, length = value.get("offset", none), value.get("length", none)
        sound = (value["time"] >= 0) & (value["time"] <= _LAST_US) & (offset + length >= 0)
        good = mine & (scanned.status == GOOD) & sound
        for row in np.flatnonzero(mine & ~good).tolist():
            number, text = scanned.number(row), scanned.line(row)
            told = scanned.reason(row) if scanned.status[row] != GOOD else "time or extent past the largest there is"
            self._report.refuse(self._source.name, number, told, text)
        disk, disks = scanned.words(rows.names.index("disk"))
        seen, first = np.unique(disk[good], return_index=True)
        volume = np.zeros(len(disks), np.uint32)
        for code in seen[np.argsort(first)].tolist():
            volume[code] = self._report.volume(disks[code])
        event, events = scanned.words(0)
        ops = np.array([_OPS.get(word, Op.UNKNOWN) for word in events], np.uint8)
        latency = value.get("latency", none - 1)[good]
        count = int(np.count_nonzero(good))
        columns = {
            "time": value["time"][good] * 1000,
            "op": ops[event[good]],
            "volume": volume[disk[good]],
            "offset": offset[good].view(np.uint64),
            "length": length[good].view(np.uint64),
            "latency": np.where((latency >= 0) & (latency <= _LAST_US), latency * 1000, -1),
            "stream": np.maximum(value["stream"][good], 0).astype(np.uint32),
            "flags": np.zeros(count, np.uint16),
            "raw": pl.Series(events, dtype=pl.Categorical).gather(event[good]),
            "line": np.flatnonzero(good),
        }
        return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        events, end = _header(source.head())
        if not end:
            raise TraceError(f"{source.name}: no header between {_BEGIN} and {_END} in the first 64 KiB")
        layouts = _layouts(events, source)
        if not layouts:
            raise TraceError(f"{source.name}: the header names none of {', '.join(_OPS)}: no disk events were traced")
        chunk = _Chunk(source, report, end)
        with source.open() as stream:
            for data in chunks(stream, report):
                batch = chunk.read(layouts, data)
                if batch.height:
                    yield batch


FORMAT = Format(name="etw", kind="block", doc="ETW disk events as text (Microsoft traces)", sniff=_sniff, read=_read)
