"""Kernel text patches as perf prints them: ``perf script --show-text-poke-events``, and ``perf script -D``.

``comm pid [cpu] seconds: PERF_RECORD_TEXT_POKE ffffffff88ab8890 __schedule+0x0 old len 5 new len 5``, then lines
``Old bytes: 0f 1f ..`` and ``New bytes: e9 ..`` of up to 16 bytes each; with ``-D`` the line begins ``cpu nanoseconds
0x.. [0x..]:``. Which procedure patched is not told. Written from perf's source and its mailing list; no recording was
at hand: unchecked. Source: linux, tools/perf/util/event.c (perf_event__fprintf_text_poke, text_poke_printer),
builtin-script.c.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from traces.formats import _events as events
from traces.formats._rows import rows
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import is_text
from traces.patch import Text

_POKE = "PERF_RECORD_TEXT_POKE"
_LENGTHS = "old len {old:u16} new len {new:u16}"
_BEFORE = (
    "{*} -1 [{cpu:u32}]{*} {time:t9}: ",
    "{*}{pid:u32} [{cpu:u32}]{*} {time:t9}: ",
    "{cpu:u32} {nanoseconds:u62} {offset:x} [{size:x}]: ",
)
_AFTER = (" {address:x} " + _LENGTHS, " {address:x} {symbol:w} " + _LENGTHS, " addr {address:x} " + _LENGTHS)
_HEADERS = tuple(before + _POKE + after for before in _BEFORE for after in _AFTER)
_OLD, _NEW, _COMMENT = len(_HEADERS), len(_HEADERS) + 1, len(_HEADERS) + 2
_SYMBOLS = tuple(before + "PERF_RECORD_KSYMBOL{*}" for before in _BEFORE)
_LINES = ("~Old bytes: {*}", "~New bytes: {*}", events.COMMENT, *_SYMBOLS)
_OTHER = len(_HEADERS) + len(_LINES)
_BYTES = re.compile(r"\s*(?:Old|New) bytes:((?: [0-9a-f]{2}){1,16})\s*")


@dataclass
class _Poke:
    """A patch whose bytes are being read."""

    line: int
    text: str
    time: int
    cpu: int
    pid: int
    address: int
    symbol: str
    lengths: tuple[int, int]
    old: str = ""
    new: str = ""

    @property
    def whole(self) -> bool:
        """Whether all its bytes are there."""
        return (len(self.old) // 2, len(self.new) // 2) == self.lengths


class _Pokes:
    """One file's lines to patches. Patches are few, a line at a time is fast enough."""

    def __init__(self, source: Input, report: Report) -> None:
        self.file, self.report = source.name, report
        other = _BEFORE[1] + events.OTHER
        self.templates = Templates([*_HEADERS, *_LINES, other])
        self.others = events.Others(report, source.name, "perf")
        self.open: _Poke | None = None

    def add(self, found: Found) -> pl.DataFrame:
        """The patches that are whole after some lines."""
        which = found.which
        events.comments(found, which == _COMMENT, self.report)
        symbols_too = int(np.count_nonzero((which > _COMMENT) & (which < _OTHER)))
        self.report.note("symbols that came or went (PERF_RECORD_KSYMBOL)", symbols_too)
        self.others.note(found, which == _OTHER)
        symbol, symbols = found.words("symbol")
        numbers = {name: found.signed(name) for name in ("time", "nanoseconds", "cpu", "pid", "old", "new")}
        address, done = found["address"], []
        for row in np.flatnonzero(which <= _NEW).tolist():
            if which[row] < _OLD:
                self.close()
                value = {name: int(column[row]) for name, column in numbers.items()}
                self.open = _Poke(
                    line=found.number(row),
                    text=found.line(row),
                    time=value["nanoseconds"] if which[row] >= 2 * len(_AFTER) else value["time"],
                    cpu=value["cpu"],
                    pid=value["pid"],
                    address=int(address[row]),
                    symbol=symbols[symbol[row]],
                    lengths=(value["old"], value["new"]),
                )
            elif not self._take(found.line(row), old=which[row] == _OLD):
                self.report.refuse(self.file, found.number(row), "bytes of no patch, or not bytes", found.line(row))
            if self.open and self.open.whole:
                done.append(self.open)
                self.open = None
        return _batch(done)

    def _take(self, line: str, old: bool) -> bool:
        found, poke = _BYTES.fullmatch(line), self.open
        if not found or not poke:
            return False
        more = found[1].replace(" ", "")
        if old and not poke.new and len(poke.old + more) <= 2 * poke.lengths[0]:
            poke.old += more
        elif not old and len(poke.old) == 2 * poke.lengths[0] and len(poke.new + more) <= 2 * poke.lengths[1]:
            poke.new += more
        else:
            return False
        return True

    def close(self) -> None:
        """Set a patch aside whose bytes are not all there."""
        if self.open:
            reason = "the bytes of the patch are not as many as it says"
            self.report.refuse(self.file, self.open.line, reason, self.open.text)
            self.open = None


def _batch(pokes: Sequence[_Poke]) -> pl.DataFrame:
    def words(values: list[str]) -> pl.Series:
        return pl.Series(values, dtype=pl.Categorical)

    return rows(
        Text,
        len(pokes),
        time=np.array([poke.time for poke in pokes], np.int64),
        address=np.array([poke.address for poke in pokes], np.uint64),
        length=np.array([max(poke.lengths) for poke in pokes], np.int64),
        old=words([poke.old for poke in pokes]),
        new=words([poke.new for poke in pokes]),
        symbol=words([poke.symbol for poke in pokes]),
        cpu=np.array([poke.cpu for poke in pokes], np.int64),
        pid=np.array([poke.pid for poke in pokes], np.int64),
        raw=_POKE,
    )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    for source in sources:
        pokes = _Pokes(source, report)
        with source.open() as stream:
            for found in pokes.templates.read(stream, source.name, report):
                batch = pokes.add(found)
                if batch.height:
                    yield batch
        pokes.close()


def _sniff(name: str, head: bytes) -> str | None:
    return f"perf's records {_POKE}" if is_text(head) and f": {_POKE} ".encode() in head else None


FORMAT = Format(name="text-poke", kind="text", doc="perf script --show-text-poke-events", sniff=_sniff, read=_read)
