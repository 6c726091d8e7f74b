"""Kernel text patches as perf prints them: ``perf script --show-text-poke-events``, and ``perf script -D``.

``comm pid [cpu] seconds: PERF_RECORD_TEXT_POKE ffffffff88ab8890 __schedule+0x0 old len 5 new len 5``, then lines
``Old bytes: 0f 1f ..`` and ``New bytes: e9 ..`` of up to 16 bytes each; with ``-D`` the line begins ``cpu nanoseconds
0x.. [0x..]:``. Which procedure patched is not told. Checked against the documented layout only (perf's source and its
mailing list), not a recording. Source: linux, tools/perf/util/event.c (perf_event__fprintf_text_poke,
text_poke_printer), builtin-script.c.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from traces.formats import _events as events
from traces.formats._program import I32
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes, is_text, key
from traces.kernel import lean_kernel
from traces.patch import Text
from traces.table import I64, U8

_POKE = "PERF_RECORD_TEXT_POKE"
_LENGTHS = "old len {old:u16} new len {new:u16}"
_BEFORE = (
    "{*} -1 [{cpu:u32}]{*} {time:t9}: ",
    "{*}{pid:u32} [{cpu:u32}]{*} {time:t9}: ",
    "{cpu:u32} {nanoseconds:u62} {offset:x} [{size:x}]: ",
)
_AFTER = (" {address:x} " + _LENGTHS, " {address:x} {symbol:w} " + _LENGTHS, " addr {address:x} " + _LENGTHS)
_HEADERS = tuple(before + _POKE + after for before in _BEFORE for after in _AFTER)
_SYMBOLS = tuple(before + "PERF_RECORD_KSYMBOL{*}" for before in _BEFORE)
_LINES = (*_HEADERS, "~Old bytes: {*}", "~New bytes: {*}", events.COMMENT, *_SYMBOLS)
_OLD, _NEW, _COMMENT = range(len(_HEADERS), len(_HEADERS) + 3)
_OTHER = len(_LINES)
_NUMBERS = ("time", "nanoseconds", "cpu", "pid", "old", "new", "address")
_SHORT = "the bytes of the patch are not as many as it says"
_LONGEST = 1 << 16  # bytes of a patch, and one more
_OPEN, _OLD_DONE, _NEW_DONE, _OLD_LENGTH, _NEW_LENGTH, _ROW = range(6)
_CARRIED = -1  # row of a patch that began in a chunk before


class _Rows(NamedTuple):
    """Lines of patches."""

    at: I32  # where they begin in the chunk
    kind: U8  # template: of a header, `_OLD` or `_NEW`
    lengths: I64  # [old or new, row] of a header


class _Open(NamedTuple):
    """The patch whose bytes are being read."""

    state: I64  # its row, how many of its bytes there are and should be
    old: U8
    new: U8


class _Done(NamedTuple):
    """What the kernel fills: a row a patch that is whole, and in ``odd`` the lines that are refused."""

    row: I64
    pool: U8  # the bytes of all patches, old before new
    end: I64  # [patch, old or new] -> where its bytes end in the pool
    keys: I64  # [patch, old or new] -> of its bytes
    odd: I64
    odd_header: U8


@lean_kernel
def _bytes(data: U8, i: int, into: U8, have: int, most: int) -> int:
    """Append the bytes that a line tells; how many there are then, -1 if they are none or too many."""
    while data[i] == 32 or data[i] == 9:
        i += 1
    i += 10
    if data[i - 1] != 58:  # "Old bytes:"
        return -1
    count = 0
    while data[i] == 32:
        value = np.int64(0)
        for k in range(1, 3):
            c = np.int64(data[i + k])
            if 48 <= c <= 57:
                value = value * 16 + c - 48
            elif 97 <= c <= 102:
                value = value * 16 + c - 87
            else:
                value = np.int64(256)
                break
        if value > 255:
            break
        if count == 16 or have + count == most:
            return -1
        into[have + count] = value
        count += 1
        i += 3
    while data[i] == 32 or 9 <= data[i] <= 13:
        if data[i] == 10:
            return have + count if count else -1
        i += 1
    return -1


@lean_kernel
def _follow(data: U8, lines: _Rows, poke: _Open, done: _Done, counts: I64) -> None:
    """Put patches together from their header and the lines of their old and new bytes."""
    state, patches, odd, filled = poke.state, 0, 0, 0
    for row in range(lines.kind.size):
        if lines.kind[row] < _OLD:
            if state[_OPEN]:
                done.odd[odd], done.odd_header[odd] = state[_ROW], 1
                odd += 1
            state[_OPEN], state[_OLD_DONE], state[_NEW_DONE] = 1, 0, 0
            state[_OLD_LENGTH], state[_NEW_LENGTH], state[_ROW] = lines.lengths[0, row], lines.lengths[1, row], row
        else:
            have = -1
            if state[_OPEN] and lines.kind[row] == _OLD and not state[_NEW_DONE]:
                have = _bytes(data, lines.at[row], poke.old, state[_OLD_DONE], state[_OLD_LENGTH])
                if have >= 0:
                    state[_OLD_DONE] = have
            elif state[_OPEN] and lines.kind[row] == _NEW and state[_OLD_DONE] == state[_OLD_LENGTH]:
                have = _bytes(data, lines.at[row], poke.new, state[_NEW_DONE], state[_NEW_LENGTH])
                if have >= 0:
                    state[_NEW_DONE] = have
            if have < 0:
                done.odd[odd], done.odd_header[odd] = row, 0
                odd += 1
                continue
        if state[_OLD_DONE] == state[_OLD_LENGTH] and state[_NEW_DONE] == state[_NEW_LENGTH]:
            for which in range(2):
                begin = filled
                for k in range(state[_OLD_DONE + which]):
                    done.pool[filled] = poke.new[k] if which else poke.old[k]
                    filled += 1
                done.end[patches, which], done.keys[patches, which] = filled, key(done.pool, begin, filled)
            done.row[patches] = state[_ROW]
            patches += 1
            state[_OPEN] = 0
    counts[0], counts[1] = patches, odd


class _Pokes:
    """One file's lines to patches."""

    def __init__(self, source: Input, report: Report) -> None:
        self.file, self.report = source.name, report
        other = _BEFORE[1] + events.OTHER
        self.templates = Templates([*_LINES, other])
        self.others = events.Others(report, source.name, "perf")
        self.open = _Open(np.zeros(6, np.int64), np.empty(_LONGEST, np.uint8), np.empty(_LONGEST, np.uint8))
        self.carried = dict.fromkeys((*_NUMBERS, "symbol"), 0)  # of the patch that is open at a chunk's end
        self.told = (0, "")  # its line
        self.codes, self.texts = Codes(), list[str]()

    def add(self, found: Found) -> pl.DataFrame:
        """The patches that are whole after some lines."""
        which = found.which
        events.comments(found, which == _COMMENT, self.report)
        symbols_too = int(np.count_nonzero((which > _COMMENT) & (which < _OTHER)))
        self.report.note("symbols that came or went (PERF_RECORD_KSYMBOL)", symbols_too)
        self.others.note(found, which == _OTHER)
        at = np.flatnonzero(which < _COMMENT)
        data, begins = found.lines()
        done = _Done(
            row=np.empty(at.size, np.int64),
            pool=np.empty(data.size // 3 + 2 * _LONGEST, np.uint8),
            end=np.empty((at.size, 2), np.int64),
            keys=np.empty((at.size, 2), np.int64),
            odd=np.empty(2 * at.size, np.int64),
            odd_header=np.empty(2 * at.size, np.uint8),
        )
        counts = np.zeros(2, np.int64)
        lines = _Rows(begins[at], which[at], np.stack([found.signed("old")[at], found.signed("new")[at]]))
        _follow(data, lines, self.open, done, counts)
        patches, odd = counts.tolist()
        for row, header in zip(done.odd[:odd].tolist(), done.odd_header[:odd].tolist(), strict=True):
            line = self.told if row == _CARRIED else (found.number(int(at[row])), found.line(int(at[row])))
            self.report.refuse(self.file, line[0], _SHORT if header else "bytes of no patch, or not bytes", line[1])
        rows_of = done.row[:patches]
        told, symbols = self._told(found, at[rows_of])
        for name, column in told.items():
            column[rows_of == _CARRIED] = self.carried[name]
        row = int(self.open.state[_ROW])
        if self.open.state[_OPEN] and row != _CARRIED:
            self.carried = {name: int(column[0]) for name, column in self._told(found, at[row : row + 1])[0].items()}
            self.told = (found.number(int(at[row])), found.line(int(at[row])))
            self.open.state[_ROW] = _CARRIED
        return self._batch(patches, told, done, symbols)

    def _told(self, found: Found, rows: I64) -> tuple[dict[str, I64], list[str]]:
        """What header lines say; and the symbols by code."""
        symbol, symbols = found.words("symbol")
        told = {name: found.signed(name)[rows] for name in _NUMBERS} | {"symbol": symbol[rows].astype(np.int64)}
        told["time"] = np.where(found.which[rows] >= 2 * len(_AFTER), told["nanoseconds"], told["time"])
        return told, symbols

    def _batch(self, patches: int, told: dict[str, I64], done: _Done, symbols: list[str]) -> pl.DataFrame:
        codes, fresh = self.codes.encode(done.keys[:patches].ravel())
        ends = np.append(0, done.end[:patches].ravel())
        self.texts += [done.pool[ends[each] : ends[each + 1]].tobytes().hex() for each in fresh]
        return rows(
            Text,
            patches,
            time=told["time"],
            address=told["address"].view(np.uint64),
            length=np.maximum(told["old"], told["new"]),
            old=words(self.texts, codes[0::2]),
            new=words(self.texts, codes[1::2]),
            symbol=words(symbols, told["symbol"]),
            cpu=told["cpu"],
            pid=told["pid"],
            raw=_POKE,
        )

    def close(self) -> None:
        """Set a patch aside whose bytes are not all there."""
        if self.open.state[_OPEN]:
            self.report.refuse(self.file, self.told[0], _SHORT, self.told[1])


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
