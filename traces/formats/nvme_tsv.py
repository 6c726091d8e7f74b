"""Tables of the commands that an NVMe device was given, with tabs between columns that a header line names.

``t_us`` (when it came), ``op``, ``sqid``, ``cid``, ``slba`` and ``nlb`` (logical blocks), ``status``, ``lat_us``, and
perhaps ``phase``, ``nsid`` (without it the file is one volume), ``zone``, ``appended_lba``, ``errors``. ``-`` stands
for "has none". The ranges that ``dsm`` deallocates are written ``slba+nlb``, of which there may be several; each is a
record. A status is decimal or, after 0x, hexadecimal, 0 is success; any other stands in ``raw`` behind the operation.

Sizes of logical blocks are not told: they are taken to be 4096 bytes. Where a device has others, it is declared:
``--format nvme-tsv --columns block=512``. Source: the recordings' own index.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.amounts import size
from traces.block import Op
from traces.errors import TraceError
from traces.formats._lines import TOO_LARGE, Lines, Meanings, number
from traces.formats._nvme import LAST_BYTE, NAMES, Commands, Raw, frame
from traces.formats._requests import cut
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes, chunks, is_text, key
from traces.kernel import lean_kernel
from traces.table import I64, U8, Bool

BLOCK = 4096
_SMALLEST, _LARGEST = 512, 1 << 24  # bytes a logical block can have

_NEEDED = ("t_us", "op", "slba", "nlb", "status")
_WORDS = ("op", "phase")
_WANTED = (*_WORDS, "t_us", "slba", "nlb", "status", "sqid", "nsid", "lat_us", "appended_lba")
_AT = {name: i for i, name in enumerate(_WANTED)}
_TEXT = {"op": 0, "phase": 1, "slba": 2}  # columns of which it is kept where they stand
_NONE, _RANGES, _MISSING = -1, -3, -4  # values beside numbers (and TOO_LARGE): "-", "a+b", what is no number
_LAST_US = ((1 << 62) - 1) // 1000
_BLOCK = re.compile(r"block=(\w+)")
_RANGE = re.compile(r"(\d+|0x[0-9a-f]+)\+(\d+|0x[0-9a-f]+)")
_OPS = {
    **{name.lower(): op for name, op in NAMES.items()},
    **{f"{name}_all".lower(): op for name, op in NAMES.items() if name.startswith("ZONE_") and op != Op.ZONE_APPEND},
    "discard": Op.DISCARD,
    "deallocate": Op.DISCARD,
}


class _Cells(NamedTuple):
    """What the kernel fills."""

    value: NDArray[np.int64]  # [wanted column, line]
    at: NDArray[np.int64]  # [see `_TEXT`, line]
    end: NDArray[np.int64]
    columns: I64  # [line] -> how many there are


class _Plan(NamedTuple):
    """What the kernel knows."""

    place: I64  # [column] -> wanted column, or -1
    text: I64  # [wanted column] -> where its place is kept, or -1
    words: int  # wanted columns that hold words: the first ones


@lean_kernel
def _cells(data: U8, end: I64, plan: _Plan, out: _Cells) -> None:
    place, text = plan.place, plan.text
    i: Any = 0
    for row in range(end.size):
        column = 0
        while True:
            begin = i
            wanted = place[column] if column < place.size else -1
            if wanted >= 0 and wanted >= plan.words:
                value, i = number(data, i)
                if i == begin:
                    value = np.int64(-1 if data[i] == 45 else -4)
                    i += data[i] == 45
                elif value < 0:
                    value = np.int64(-2)
                after = data[i]
                if after != 9 and after != 10 and after != 13 and after != 32:
                    value = np.int64(-3 if after == 43 else -4)
                out.value[wanted, row] = value
            while data[i] != 9 and data[i] != 10:
                i += 1
            if wanted >= 0 and text[wanted] >= 0:
                stop = i
                while stop > begin and (data[stop - 1] == 13 or data[stop - 1] == 32):
                    stop -= 1
                out.at[text[wanted], row], out.end[text[wanted], row] = begin, stop
                if wanted < plan.words:
                    out.value[wanted, row] = key(data, begin, stop)
            column += 1
            i += 1
            if data[i - 1] == 10:
                break
        out.columns[row] = column


def _columns(line: bytes) -> list[str]:
    return line.decode("utf-8", "replace").strip("\r\n").split("\t")


def _sniff(name: str, head: bytes) -> str | None:
    columns = _columns(head.split(b"\n", 1)[0]) if is_text(head) else []
    if not all(need in columns for need in (*_NEEDED, "cid")):
        return None
    return f"header line with the columns {', '.join(columns)}"


def _block(text: str) -> int:
    """Bytes of a logical block, as ``--columns`` declares them; TraceError says what is wrong with it."""
    if not text:
        return BLOCK
    found = _BLOCK.fullmatch(text.strip())
    if not found:
        raise TraceError(f"--columns {text}: nvme-tsv takes the size of a logical block, like block=512")
    try:
        block: int = size(found[1])
    except ValueError as error:
        raise TraceError(f"--columns {text}: {error}") from None
    if not _SMALLEST <= block <= _LARGEST or block & (block - 1):
        raise TraceError(f"--columns {text}: a logical block has a power of two of bytes, from 512 to 16 MiB")
    return block


class _Table:
    """One file's lines to records."""

    def __init__(self, source: Input, columns: Sequence[str], options: Options, report: Report) -> None:
        self._file, self._label, self._report = source.name, source.label, report
        self._block, self._declared = _block(options.columns), bool(options.columns)
        self._last = LAST_BYTE // self._block
        place = np.array([_AT.get(name, -1) for name in columns], np.int64)
        self._plan = _Plan(place, np.array([_TEXT.get(name, -1) for name in _WANTED], np.int64), len(_WORDS))
        self._given = {name for name in columns if name in _AT}
        self._words: list[str] = []
        self._word = Meanings(self._new_word)
        self._phases: list[str] = []
        self._phase = Meanings(self._new_phase)
        self._raw = Raw(self._words)
        self._spaces, self._numbers = Codes(), np.empty(0, np.int64)

    def _new_word(self, word: str) -> int:
        self._words.append(word)
        return len(self._words) - 1

    def _new_phase(self, word: str) -> int:
        self._phases.append(word)
        return len(self._phases) - 1

    def records(self, lines: Lines) -> pl.DataFrame | None:
        """The records of a chunk."""
        count = lines.count
        value, at, end = (np.empty((n, count), np.int64) for n in (len(_WANTED), len(_TEXT), len(_TEXT)))
        for name, i in _AT.items():
            if name not in self._given:
                value[i] = _NONE
        cells = _Cells(value, at, end, np.empty(count, np.int64))
        _cells(lines.data, lines.end, self._plan, cells)
        short = cells.columns != self._plan.place.size
        if short.any():  # cells that are not there
            value[:, short] = _MISSING
            at[:, short] = end[:, short] = 0
        return self._records(lines, cells)

    def _records(self, lines: Lines, cells: _Cells) -> pl.DataFrame | None:
        count = lines.count
        value = {name: cells.value[i] for name, i in _AT.items()}
        word = self._word.values(lines, value["op"], cells.at[0], cells.end[0])
        good = cells.columns == self._plan.place.size
        good &= (value["t_us"] >= 0) & (value["t_us"] <= _LAST_US) & (value["lat_us"] <= _LAST_US)
        for name in ("sqid", "nsid", "status"):
            good &= (value[name] >= _NONE) & (value[name] >> 32 <= 0)
        good &= (value["lat_us"] >= _NONE) & (value["nlb"] >= _NONE) & (value["slba"] != _MISSING)
        good &= (value["slba"] != TOO_LARGE) & (value["slba"] <= self._last) & (value["nlb"] <= self._last)
        good &= np.array([bool(each) for each in self._words], np.bool_)[word] if count else good
        self._refuse(lines, ~good)
        with_ranges = np.flatnonzero(good & (value["slba"] == _RANGES)).tolist()
        ranges = {row: self._ranges(lines, cells, row) for row in with_ranges}
        for row in (row for row, told in ranges.items() if not told):
            good[row] = False
        made = self._made(value, word, good)
        if any(ranges.values()):
            told = {row: each for row, each in ranges.items() if each}
            made = _ranged(made, np.cumsum(good) - 1, told, self._block)
        self._note(lines, value, cells, good)
        return frame(made, self._raw) if made.time.size else None

    def _made(self, value: dict[str, I64], word: I64, good: Bool) -> Commands:
        needed = ("t_us", "nsid", "slba", "nlb", "lat_us", "sqid", "status")
        rows = {name: value[name] for name in needed}
        if not good.all():
            rows, word = {name: column[good] for name, column in rows.items()}, word[good]
        ops = np.array([_OPS.get(name.lower(), Op.UNKNOWN) for name in self._words] or [Op.UNKNOWN], np.uint8)
        for code in np.unique(word).tolist():
            if self._words[code].lower() not in _OPS and self._words[code].upper() not in NAMES:
                self._report.note(
                    f"operation '{self._words[code][:60]}' is not known", int(np.count_nonzero(word == code))
                )
        return Commands(
            time=rows["t_us"] * 1000,
            op=ops[word],
            space=self._volumes(rows["nsid"]),
            offset=np.maximum(rows["slba"], 0) * self._block,
            length=np.maximum(rows["nlb"], 0) * self._block,
            latency=np.where(rows["lat_us"] >= 0, rows["lat_us"] * 1000, -1),
            queue=np.maximum(rows["sqid"], 0),
            status=rows["status"],
            word=word,
        )

    def _volumes(self, space: I64) -> I64:
        codes, fresh = self._spaces.encode(space)
        for row in fresh:
            name = self._label if space[row] < 0 else f"ns{space[row]}"
            self._numbers = np.append(self._numbers, self._report.volume(name))
        numbers: I64 = self._numbers[codes]
        return numbers

    def _ranges(self, lines: Lines, cells: _Cells, row: int) -> list[tuple[int, int]]:
        """The ranges ``a+b`` of a command; none if they are refused."""
        found = _RANGE.findall(lines.part(int(cells.at[2, row]), int(cells.end[2, row])))
        told = [(int(first, 0), int(blocks, 0)) for first, blocks in found]
        if not told or any(max(pair) > self._last for pair in told):
            self._report.refuse(self._file, lines.number(row), "not ranges slba+nlb", lines.text(row))
            return []
        wrong = sum(blocks for _, blocks in told) != cells.value[_AT["nlb"], row]
        self._report.note("deallocations whose ranges do not add up to nlb", int(wrong))
        self._report.note("deallocations of several ranges, each a record", int(len(told) > 1))
        return told

    def _note(self, lines: Lines, value: dict[str, I64], cells: _Cells, good: Bool) -> None:
        note = self._report.note
        taken = "declared" if self._declared else "taken"
        counted = int(np.count_nonzero(good & (value["nlb"] > 0)))
        note(f"commands whose blocks are {taken} to have {self._block} bytes", counted)
        note(
            "zone appends, whose place in the zone is not kept",
            int(np.count_nonzero(good & (value["appended_lba"] >= 0))),
        )
        if "phase" in self._given and good.any():
            rows = np.flatnonzero(good)
            phase = self._phase.values(lines, value["phase"][rows], cells.at[1][rows], cells.end[1][rows])
            for code, count in enumerate(np.bincount(phase).tolist()):
                note(f"commands of phase '{self._phases[code][:60]}'", count)

    def _refuse(self, lines: Lines, rows: Bool) -> None:
        for row in np.flatnonzero(rows).tolist():
            text = lines.text(row)
            if not text.strip():
                self._report.note("empty lines")
            elif lines.number(row) != 1:
                reason = "not the columns of the header, or a number is none or past the largest there is"
                self._report.refuse(self._file, lines.number(row), reason, text)


def _ranged(made: Commands, at: I64, ranges: dict[int, list[tuple[int, int]]], block: int) -> Commands:
    """A record for each range; ``at`` is [line] -> its record."""
    times = np.ones(made.time.size, np.int64)
    rows = at[list(ranges)]
    times[rows] = [len(told) for told in ranges.values()]
    ranged = np.zeros(times.size, np.bool_)
    ranged[rows] = True
    made, ranged = cut(made, np.repeat(np.arange(times.size), times)), np.repeat(ranged, times)
    extent = np.array([pair for told in ranges.values() for pair in told], np.int64) * block
    made.offset[ranged], made.length[ranged] = extent[:, 0], extent[:, 1]
    return made


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        columns = _columns(source.head().split(b"\n", 1)[0])
        if missing := [name for name in _NEEDED if name not in columns]:
            raise TraceError(f"{source.name}: the first line names no column {' or '.join(missing)}")
        table, first = _Table(source, columns, options, report), 1
        with source.open() as stream:
            for chunk in chunks(stream, report):
                lines = Lines(chunk, first)
                first += lines.count
                batch = table.records(lines)
                if batch is not None:
                    yield batch


FORMAT = Format(
    name="nvme-tsv",
    kind="block",
    doc="tables of an NVMe device's commands, zones too",
    sniff=_sniff,
    read=_read,
    declares=frozenset({"columns"}),
)
