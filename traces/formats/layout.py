"""Delimited text through a layout that says which column holds what.

Formats that are delimited text (MSR) are layouts with a name; a user declares one with ``--columns`` (see
`traces.formats.delimited`). Columns are counted from 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Options, Records, Report
from traces.formats.scanner import BAD, GOOD, Field, Kind, Scanned, Scanner
from traces.formats.text import Codes, chunks
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


Watch = Callable[[Iterator[pl.DataFrame], Report], Iterator[pl.DataFrame]]  # gives the same batches


def reader_of(
    layout: Layout, watch: Watch | None = None
) -> Callable[[Sequence[Input], Options, Report], Iterator[pl.DataFrame]]:
    """What `Format.read` is for a format that is one layout; each file's batches go through ``watch``."""

    def read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
        for source in sources:
            batches = read_layout(source, layout, report)
            yield from watch(batches, report) if watch else batches

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
