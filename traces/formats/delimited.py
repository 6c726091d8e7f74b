"""Any delimited text, through a layout that says which column holds what.

A user declares one with ``--columns "time=1:us,op=3,offset=4:sector,length=5,volume=0"``; formats that are
delimited text (MSR) are layouts with a name. Columns are counted from 0, or named where the file has a header line.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from traces.block import Op
from traces.config import size
from traces.errors import TraceError, nearest
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report
from traces.formats.text import BAD, GOOD, Codes, Field, Kind, Scanned, Scanner, chunks, first_lines
from traces.table import I64, U8, U32, Bool, schema_of

FILETIME_EPOCH = 116_444_736_000_000_000  # 1970-01-01 in ticks of 100 ns since 1601-01-01 (Windows FILETIME)

_WORDS = {
    Op.READ: ("r", "rd", "read", "reads"),
    Op.WRITE: ("w", "wr", "write", "writes"),
    Op.DISCARD: ("d", "discard", "trim", "unmap", "t"),
    Op.FLUSH: ("f", "flush", "sync"),
    Op.WRITE_ZEROES: ("z", "write_zeroes", "writezeroes"),
}
OPS = {word: op for op, words in _WORDS.items() for word in words}


@dataclass(frozen=True)
class Clock:
    """A column of times: ``nanoseconds = (value * 10**scale - epoch) * tick``, in integers throughout."""

    column: int
    scale: int = 0
    tick: int = 1
    epoch: int = 0
    kind: str = "relative"


@dataclass(frozen=True)
class Amount:
    """A column of addresses or lengths in units of ``unit`` bytes."""

    column: int
    unit: int = 1
    hexadecimal: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column holds what. Columns that a source does not have are None.

    ``ops`` are words in lower case; with an empty word among them the column may be blank. ``meaning`` is asked about
    words that are not among them. ``wide`` is a column that may hold separators itself (see `Scanner`).
    """

    separator: str | None  # one character, or None for runs of blanks
    offset: Amount
    length: Amount
    op: int | Op  # a column, or the operation of every row
    ops: Mapping[str, Op] = field(default_factory=lambda: OPS)
    meaning: Callable[[str], Op] | None = None
    time: Clock | None = None
    latency: Clock | None = None
    volume: tuple[int, ...] = ()
    stream: int | None = None
    fewest: int = 0
    most: int = 0
    wide: int = -1


def scanner_of(layout: Layout) -> tuple[Scanner, dict[str, int]]:
    """The scanner for a layout, and where each wanted field stands in it."""
    fields: list[Field] = []
    names: list[str] = []

    def want(name: str, wanted: Field) -> None:
        fields.append(wanted)
        names.append(name)

    if layout.time:
        want("time", Field(layout.time.column, Kind.DECIMAL if layout.time.scale else Kind.INTEGER, layout.time.scale))
    for name, amount in (("offset", layout.offset), ("length", layout.length)):
        kind = Kind.HEX if amount.hexadecimal else Kind.INTEGER
        want(name, Field(amount.column, kind, unit=amount.unit, unsigned=True))
    if not isinstance(layout.op, Op):
        want("op", Field(layout.op, Kind.WORD, required="" not in layout.ops))
    if layout.latency:
        want("latency", Field(layout.latency.column, Kind.DECIMAL, layout.latency.scale, required=False))
    if layout.stream is not None:
        want("stream", Field(layout.stream, Kind.INTEGER, required=False, missing=0))
    for i, column in enumerate(layout.volume):
        want(f"volume {i}", Field(column, Kind.WORD))
    taken = [wanted.index for wanted in fields]
    if twice := {index for index in taken if taken.count(index) > 1}:
        raise TraceError(f"column {min(twice)} is used twice in the mapping")
    scanner = Scanner(fields, layout.separator, names, fewest=layout.fewest, most=layout.most, wide=layout.wide)
    return scanner, {name: i for i, name in enumerate(names)}


def read_layout(source: Input, layout: Layout, report: Report) -> Iterator[pl.DataFrame]:
    """One file's records by a layout."""
    scanner, at = scanner_of(layout)
    if layout.time is None:
        report.clock = "ordinal"
    else:
        report.clock = layout.time.kind
    volumes = _Volumes(report, [at[f"volume {i}"] for i in range(len(layout.volume))], source.label)
    operations = _Operations(layout, report, at.get("op"))
    ordinal = 0
    with source.open() as stream:
        for chunk in chunks(stream, report):
            scanned = scanner.scan(chunk)
            values = {name: scanned.values(i) for name, i in at.items()}
            good = (scanned.status == GOOD) & (values["offset"] + values["length"] >= 0)  # wraps where it is too far
            time, timely = _time(values, layout, scanned, ordinal)
            good &= timely
            all_good = bool(good.all())
            if not all_good:
                _refuse(scanned, good, layout, report, timely=timely, file=source.name)
            batch = pl.DataFrame(
                {
                    "time": time,
                    "op": operations.ops(scanned),
                    "volume": volumes.numbers(scanned, good),
                    "offset": values["offset"].view(np.uint64),
                    "length": values["length"].view(np.uint64),
                    "latency": _latency(values, layout, good, report),
                    "stream": _stream(values, good, report),
                    "flags": np.zeros(scanned.count, np.uint16),
                    "raw": operations.raw(scanned),
                },
                schema_overrides={k: v for k, v in schema_of(Records).items() if k != "raw"},
            )
            ordinal += scanned.count
            if not all_good:
                batch = batch.filter(pl.Series(good))
            if batch.height:
                operations.note(batch)
                yield batch


def reader_of(layout: Layout) -> Callable[[Sequence[Input], Options, Report], Iterator[pl.DataFrame]]:
    """What `Format.read` is for a format that is one layout."""

    def read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
        for source in sources:
            yield from read_layout(source, layout, report)

    return read


_LATEST = 1 << 62  # nanoseconds, 146 years: the difference of two times must fit 63 bits


def _time(values: Mapping[str, I64], layout: Layout, scanned: Scanned, ordinal: int) -> tuple[I64, Bool]:
    """[line] -> nanoseconds, and whether they can be a time."""
    if layout.time is None:
        return np.arange(ordinal, ordinal + scanned.count), np.ones(scanned.count, np.bool_)
    limit = _LATEST // layout.time.tick
    ticks = values["time"] - layout.time.epoch
    return ticks * layout.time.tick, (ticks + limit).view(np.uint64) <= np.uint64(2 * limit)


def _latency(values: Mapping[str, I64], layout: Layout, good: Bool, report: Report) -> I64:
    """[line] -> nanoseconds, -1 where there is none or it cannot be."""
    if layout.latency is None:
        return np.full(good.size, -1)
    found = values["latency"]
    odd = (found < 0) | (found > _LATEST // layout.latency.tick)
    if odd.any():
        told = odd & good & (found != -1)  # -1 is what a missing field reads as
        report.note("latencies that are negative or past 146 years, taken as not known", int(np.count_nonzero(told)))
        return np.where(odd, -1, found * layout.latency.tick)
    return found * layout.latency.tick


def _stream(values: Mapping[str, I64], good: Bool, report: Report) -> U32:
    """[line] -> stream id, 0 where there is none or it does not fit 32 bits."""
    if "stream" not in values:
        return np.zeros(good.size, np.uint32)
    found = values["stream"]
    odd = (found < 0) | (found >= 1 << 32)
    report.note("stream ids that do not fit 32 bits, taken as not told", int(np.count_nonzero(odd & good)))
    return np.where(odd, 0, found).astype(np.uint32)


def _refuse(scanned: Scanned, good: Bool, layout: Layout, report: Report, *, timely: Bool, file: str) -> None:
    bad = [int(row) for row in np.flatnonzero(~good)]
    if bad[0] == 0 and scanned.first == 1 and scanned.status[0] >= BAD and _is_header(scanned.line(0), layout):
        report.note("header lines")
        bad = bad[1:]
    for row in bad:
        if scanned.status[row] == GOOD:
            reason = "the request ends past 2**63 bytes" if timely[row] else "the time is past the largest there is"
            report.refuse(file, scanned.number(row), reason, scanned.line(row))
        else:
            scanned.refuse(report, file, [row])


def _is_header(line: str, layout: Layout) -> bool:
    words = line.split(layout.separator)
    column = layout.time.column if layout.time else layout.offset.column
    return column < len(words) and words[column].strip(' "\t\r')[:1].isalpha()


class _Volumes:
    """Volume numbers from one or more key columns; a file without any is a volume of its own."""

    def __init__(self, report: Report, wanted: Sequence[int], file: str) -> None:
        self._report, self._wanted, self._file = report, wanted, file
        self._codes, self._numbers = Codes(), np.empty(0, np.uint32)
        self._pairs = [Codes() for _ in wanted[2:]]

    def numbers(self, scanned: Scanned, good: Bool) -> U32:
        """[line] -> volume number; keys of lines that are not good make no volume."""
        if not self._wanted:
            return np.full(scanned.count, self._report.volume(self._file) if good.any() else 0, np.uint32)
        columns = [scanned.words(i) for i in self._wanted]
        key = columns[0][0].astype(np.int64)
        for i, (codes, _) in enumerate(columns[1:]):
            if i:
                key = self._pairs[i - 1].encode(key)[0].astype(np.int64)
            key = (key << 32) | codes
        rows = None if good.all() else np.flatnonzero(good)
        codes, fresh = self._codes.encode(key if rows is None else key[rows])
        firsts = fresh if rows is None else rows[fresh].tolist()
        new = [self._report.volume("_".join(words[c[row]] for c, words in columns)) for row in firsts]
        self._numbers = np.append(self._numbers, np.array(new, np.uint32))
        if rows is None:
            return self._numbers[codes]
        numbers = np.zeros(scanned.count, np.uint32)
        numbers[rows] = self._numbers[codes]
        return numbers


_NAMED = 20  # unknown words that get a note of their own; a column taken for the operation by mistake has millions


class _Operations:
    """Operations and the source's words for them."""

    def __init__(self, layout: Layout, report: Report, wanted: int | None) -> None:
        self._layout, self._report, self._wanted = layout, report, wanted
        self._strange: set[str] = set()

    def ops(self, scanned: Scanned) -> U8:
        """[line] -> `Op`."""
        if self._wanted is None:
            return np.full(scanned.count, int(self._layout.op), np.uint8)
        codes, words = scanned.words(self._wanted)
        table = np.array([self._op(word.lower()) for word in words], np.uint8)
        return table[codes]

    def _op(self, word: str) -> Op:
        if word in self._layout.ops or self._layout.meaning is None:
            return self._layout.ops.get(word, Op.UNKNOWN)
        return self._layout.meaning(word)

    def raw(self, scanned: Scanned) -> pl.Series:
        """[line] -> the word itself."""
        if self._wanted is None:
            return pl.repeat("", scanned.count, dtype=pl.Categorical, eager=True)
        codes, words = scanned.words(self._wanted)
        return pl.Series(words, dtype=pl.Categorical).gather(codes)

    def note(self, batch: pl.DataFrame) -> None:
        """Name the words that are no operation that is known."""
        strange = batch.filter(pl.col("op") == Op.UNKNOWN)
        if not strange.height:
            return
        for word, count in strange["raw"].cast(pl.String).value_counts(sort=True).iter_rows():
            if word in self._strange or len(self._strange) < _NAMED:
                self._strange.add(word)
                what = f"operation '{word}' is not known" if word else "requests without an operation"
            else:
                what = "operations of other words that are not known"
            self._report.note(what, count)


_UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_EXAMPLE = 'like "time=1:us,op=3,offset=4:sector,length=5:B,volume=0"'
_KEYS = ("time", "op", "offset", "length", "volume", "latency", "stream", "sep")


def parse_columns(text: str, head: bytes) -> Layout:
    """The layout that ``--columns`` declares; TraceError says what is wrong with it.

    ``time`` and ``latency`` take a unit (s, ms, us, ns, filetime) and ``@unix`` where the epoch is 1970; ``offset`` and
    ``length`` take B, sector (512), hex or any size (4KiB), joined by ``*``; ``op`` takes words as ``0=R/1=W`` or is
    itself ``read`` or ``write``; ``volume`` joins columns by ``+``; ``sep`` is a character, ``tab`` or ``blank``.
    """
    lines = first_lines(head)
    if not lines:
        raise TraceError("the file has no line to map columns on")
    given: dict[str, str] = {}
    for part in re.split(r",(?=\s*\w+=)", text):
        key, _, value = part.strip().partition("=")
        if key not in _KEYS:
            raise TraceError(f"--columns: unknown key '{key}'{nearest(key, _KEYS)}; write it {_EXAMPLE}")
        if not value or key in given:
            raise TraceError(f"--columns: '{key}' is {'empty' if not value else 'given twice'}; write it {_EXAMPLE}")
        given[key] = value
    for key in ("offset", "length", "op"):
        if key not in given:
            raise TraceError(f"--columns: '{key}' is missing; write it {_EXAMPLE}")
    separator = _separator(given.pop("sep", ""), lines)
    header = [word.strip(' "\t\r') for word in lines[0].split(separator)]

    def column(key: str, word: str) -> int:
        if word.isdigit():
            return int(word)
        if word in header:
            return header.index(word)
        raise TraceError(f"--columns: {key}={word}: no such column{nearest(word, header)}")

    def clock(key: str) -> Clock | None:
        if key not in given:
            return None
        place, _, unit = given[key].partition(":")
        unit, _, kind = (unit or "ns").partition("@")
        if kind not in ("", "unix"):
            raise TraceError(f"--columns: {key}: '@{kind}' is no epoch; only @unix, or nothing")
        where = column(key, place)
        if unit == "filetime":
            return Clock(where, tick=100, epoch=FILETIME_EPOCH if key == "time" else 0, kind="unix")
        if unit not in _UNITS:
            raise TraceError(
                f"--columns: {key}: unknown unit '{unit}'{nearest(unit, [*_UNITS, 'filetime'])}; @unix may follow"
            )
        return Clock(where, scale=_UNITS[unit], kind=kind or "relative")

    def amount(key: str) -> Amount:
        place, _, unit = given[key].partition(":")
        factor, hexadecimal = 1, False
        for word in (unit or "B").split("*"):
            if word == "hex":
                hexadecimal = True
            else:
                try:
                    factor *= 512 if word == "sector" else size(word if word[:1].isdigit() else f"1{word}")
                except ValueError:
                    raise TraceError(f"--columns: {key}: '{word}' is no unit; use B, sector, hex or a size") from None
        return Amount(column(key, place), factor, hexadecimal)

    place, _, words = given["op"].partition(":")
    ops: Mapping[str, Op] = OPS
    if words:
        pairs = [pair.partition("=") for pair in words.split("/")]
        if bad := [word for _, _, word in pairs if word.lower() not in OPS]:
            raise TraceError(f"--columns: op: '{bad[0]}' is no operation; write words like 0=R/1=W")
        ops = {word.lower(): OPS[meaning.lower()] for word, _, meaning in pairs}
    fixed = OPS.get(place.lower()) if place not in header and not place.isdigit() else None
    return Layout(
        separator=separator,
        time=clock("time"),
        offset=amount("offset"),
        length=amount("length"),
        op=fixed if fixed is not None else column("op", place),
        ops=ops,
        latency=clock("latency"),
        volume=tuple(column("volume", word) for word in given.get("volume", "").split("+") if word),
        stream=column("stream", given["stream"]) if "stream" in given else None,
    )


def _separator(given: str, lines: Sequence[str]) -> str | None:
    if given:
        named = {"tab": "\t", "blank": None, "comma": ",", "semicolon": ";"}
        if given in named:
            return named[given]
        if len(given) == 1:
            return given
        raise TraceError(f"--columns: sep={given}: one character, or tab, blank, comma, semicolon")
    for separator in (",", "\t", ";", "|"):
        if all(separator in line for line in lines):
            return separator
    return None


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    if not options.columns:
        raise TraceError(f"delimited text needs --columns, {_EXAMPLE}")
    for source in sources:
        yield from read_layout(source, parse_columns(options.columns, source.head()), report)


FORMAT = Format(
    name="delimited",
    kind="block",
    doc="any delimited text through --columns",
    sniff=lambda name, head: None,  # its columns must be declared
    read=_read,
    declares=frozenset({"columns"}),
)
