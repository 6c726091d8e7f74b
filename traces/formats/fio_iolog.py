"""fio's iolog, versions 2 and 3.

The first line names the version. Version 3: ``timestamp file action [offset length]``, timestamps in microseconds since
the log began (its manual names no unit; iolog.c writes ``utime_since_now``). Version 2: ``file action [offset length]``
with one kind of time, ``file wait microseconds``, counted from the wait before. Offsets and lengths are bytes. A file
is added, opened, used and closed. Source: fio, HOWTO "Trace file format", iolog.c.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report
from traces.formats.scanner import EMPTY, GOOD, Field, Kind, Scanned, Scanner
from traces.formats.text import chunks, is_text
from traces.table import I64, U8, U32, Bool, schema_of

_HEADER = re.compile(rb"fio version (\d+) iolog[ \t]*\r?(\n|$)")
_WAITS = re.compile(rb"[ \t]wait[ \t]")
_OPS = {
    "read": Op.READ,
    "write": Op.WRITE,
    "trim": Op.DISCARD,
    "sync": Op.FLUSH,
    "datasync": Op.FLUSH,
}
_WITH_EXTENT = (Op.READ, Op.WRITE, Op.DISCARD)
_ADD, _OPEN, _CLOSE, _WAIT, _UNKNOWN = 200, 201, 202, 203, 250  # beside `Op`
_CONTROL = {"add": _ADD, "open": _OPEN, "close": _CLOSE, "wait": _WAIT}
_CLOSED, _ADDED, _OPENED = 0, 1, 2
_LAST_US = ((1 << 62) - 1) // 1000
_LAST_WAIT = 10**12
_LAST_BYTE = (1 << 62) - 1

_REASONS = (
    "",
    "the timestamp is negative or past the largest that can be",
    "version 3 has no 'wait'",
    "'wait' needs microseconds",
    "offset or length is missing, negative or past the largest that can be",
    f"unknown action (known: {', '.join([*_OPS, *_CONTROL])})",
    "the file is not open: it must be added and opened by a line before",
    "the file was not added by a line before",
)


def _sniff(name: str, head: bytes) -> str | None:
    found = _HEADER.match(head)
    return f"first line 'fio version {int(found[1])} iolog'" if found and is_text(head) else None


class _Log:
    """One log: which files are open, and how late it is."""

    def __init__(self, file: str, version: int, waits: bool, report: Report) -> None:
        self._file, self._version, self._waits, self._report = file, version, waits, report
        shift = version - 2
        fields = {
            "file": Field(shift, Kind.WORD),
            "action": Field(shift + 1, Kind.WORD),
            "offset": Field(shift + 2, Kind.INTEGER, required=False),
            "length": Field(shift + 3, Kind.INTEGER, required=False),
        }
        if version == 3:
            fields["timestamp"] = Field(0, Kind.INTEGER)
        self._at = {name: i for i, name in enumerate(fields)}
        self.scanner = Scanner(list(fields.values()), None, list(fields))
        self._state = np.empty(0, np.uint8)  # [file]
        self._now = self._ordinal = 0

    def records(self, scanned: Scanned) -> pl.DataFrame:
        """The records of a chunk."""
        value = {name: scanned.values(i) for name, i in self._at.items()}
        file, files = scanned.words(self._at["file"])
        word, words = scanned.words(self._at["action"])
        kind = np.array([_OPS.get(w, _CONTROL.get(w, _UNKNOWN)) for w in words], np.uint8)[word]
        good = scanned.status == GOOD
        if scanned.first == 1:
            good[0] = False  # the line that names the version
        self._state = np.concatenate([self._state, np.zeros(len(files) - self._state.size, np.uint8)])
        reason = np.zeros(scanned.count, np.uint8)  # index into _REASONS
        extent = np.isin(kind, _WITH_EXTENT)
        offset, length = value["offset"], value["length"]
        if self._version == 3:
            reason[(value["timestamp"] < 0) | (value["timestamp"] > _LAST_US)] = 1
            reason[kind == _WAIT] = 2
        reason[(kind == _WAIT) & ((offset < 0) | (offset > _LAST_WAIT))] = 3
        far = (offset < 0) | (length < 0) | (offset > _LAST_BYTE) | (length > _LAST_BYTE)
        reason[extent & far] = 4
        reason[kind == _UNKNOWN] = 5
        self._follow(file, kind, good & (reason == 0), reason)
        for row in np.flatnonzero(~good | (reason > 0)).tolist():
            self._set_aside(scanned, row, _REASONS[reason[row]])
        good &= (reason == 0) & (kind < _ADD)

        time = self._times(value, kind, good, reason)
        volume = np.zeros(len(files), np.uint32)
        seen, first = np.unique(file[good], return_index=True)
        for code in seen[np.argsort(first)].tolist():
            volume[code] = self._report.volume(files[code])
        count = int(np.count_nonzero(good))
        columns = {
            "time": time[good],
            "op": kind[good],
            "volume": volume[file[good]],
            "offset": np.where(extent, offset, 0)[good].view(np.uint64),
            "length": np.where(extent, length, 0)[good].view(np.uint64),
            "latency": np.full(count, -1),
            "stream": np.zeros(count, np.uint32),
            "flags": np.zeros(count, np.uint16),
            "raw": pl.Series(words, dtype=pl.Categorical).gather(word[good]),
        }
        return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})

    def _follow(self, file: U32, kind: U8, good: Bool, reason: U8) -> None:
        """Which files are open from line to line; marks lines that use one that is not."""
        begin = 0
        for row in [*np.flatnonzero(good & (kind >= _ADD)).tolist(), kind.size]:
            run = slice(begin, row)
            reason[run][good[run] & (self._state[file[run]] != _OPENED)] = 6
            begin = row + 1
            if row == kind.size:
                break
            code, what = int(file[row]), int(kind[row])
            if what == _ADD:
                self._state[code] = max(self._state[code], _ADDED)
            elif what != _WAIT and self._state[code] == _CLOSED:
                reason[row] = 7
            elif what != _WAIT:
                self._state[code] = _OPENED if what == _OPEN else _ADDED
        for name, code in _CONTROL.items():
            self._report.note(f"'{name}' lines", int(np.count_nonzero(good & (kind == code) & (reason == 0))))

    def _times(self, value: dict[str, I64], kind: U8, good: Bool, reason: U8) -> I64:
        """Nanoseconds; ordinals where the log has no time."""
        if self._version == 3:
            return value["timestamp"] * 1000
        if not self._waits:
            time = self._ordinal + np.cumsum(good) - good
            self._ordinal += int(good.sum())
            return time
        step = np.where((kind == _WAIT) & (reason == 0), value["offset"], 0)
        time = self._now + np.cumsum(step)
        self._now = int(time[-1]) if time.size else self._now
        return time * 1000

    def _set_aside(self, scanned: Scanned, row: int, reason: str) -> None:
        if scanned.status[row] == EMPTY:
            self._report.note("empty lines")
        elif scanned.number(row) != 1:
            why = scanned.reason(row) if scanned.status[row] != GOOD else reason
            self._report.refuse(self._file, scanned.number(row), why, scanned.line(row))


def _version(source: Input) -> int:
    found = _HEADER.match(source.head())
    if found is None:
        raise TraceError(
            f"{source.name}: the first line is not 'fio version 2 iolog' or 'fio version 3 iolog'. Version 1 "
            "(rw, offset, length, without such a first line) is not read: map its columns with --columns"
        )
    if int(found[1]) not in (2, 3):
        raise TraceError(f"{source.name}: fio iolog version {int(found[1])}; only versions 2 and 3 are known")
    return int(found[1])


def _has_waits(source: Input) -> bool:
    with replace(source, progress=lambda count: None).open() as stream:
        return any(_WAITS.search(chunk) for chunk in chunks(stream, Report()))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        version = _version(source)
        waits = version == 2 and _has_waits(source)
        report.clock = "relative" if version == 3 or waits else "ordinal"
        log = _Log(source.name, version, waits, report)
        with source.open() as stream:
            for chunk in chunks(stream, report):
                batch = log.records(log.scanner.scan(chunk))
                if batch.height:
                    yield batch


FORMAT = Format(name="fio-iolog", kind="block", doc="fio's iolog, versions 2 and 3", sniff=_sniff, read=_read)
