"""A trace that ``strata export TRACE csv`` wrote comes back: one format a kind, told by the whole header line.

The header names every column of the kind's table in order and, where rows number their volumes (address spaces,
producers), the volume's name behind them. Rows come back with the numbers that they left with, so that the trace has
the same hash. The file does not tell a volume without a row, nor where the trace's clock began.
"""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
import polars as pl

from traces.ahead import in_turn
from traces.errors import TraceError
from traces.formats._csv import BAD, GOOD, MORE, Scanned, Table, count_quotes
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report, records
from traces.formats.text import CHUNK, LONGEST, chunks
from traces.kinds import KINDS
from traces.requests import PLACES
from traces.table import U8, U32, columns_of, schema_of

_LATEST = 1 << 62  # nanoseconds: the difference of two times must fit 63 bits
_FAR = 255  # status of a record whose time or end is past what there is
_NEWLINE = 10
_SIDE_BY_SIDE = 2  # chunks scanned at once: the readers of plain CSV use all cores, too
_UNKNOWN = {kind: {c.name: c.unknown for c in columns_of(table)} for kind, table in KINDS.items()}
_AHEAD = 1 << 16  # volumes that a number may be ahead of those that were seen


def header(kind: str) -> list[str]:
    """The columns of the file."""
    place = PLACES.get(kind)
    return [column.name for column in columns_of(KINDS[kind])] + ([f"{place}_name"] if place else [])


def _sniff(kind: str, head: bytes) -> str | None:
    line = head.partition(b"\n")[0].rstrip(b"\r").replace(b'"', b"")
    return f"the header line of a {kind} trace's export" if line == ",".join(header(kind)).encode() else None


def _read(kind: str, sources: Sequence[Input], report: Report) -> Iterator[pl.DataFrame]:
    place = PLACES.get(kind)
    for source in sources:
        if not _sniff(kind, source.head()):
            raise TraceError(f"{source.name}: its first line must be {','.join(header(kind))}")
        numbers, line = _Numbers(report), 2
        schema = {name: records(KINDS[kind]).get(name, pl.String()) for name in header(kind)}
        tables = [Table(schema, _UNKNOWN[kind]) for _ in range(_SIDE_BY_SIDE)]
        with source.open() as stream:
            stream.readline()
            for found in in_turn([partial(_records, kind, table) for table in tables], _whole(stream, report)):
                _refuse(found, header(kind), source.name, line, report)
                line += found.scanned.lines
                batch = found.batch
                if not batch.height:
                    continue
                if place:
                    batch = batch.with_columns(numbers.of(found, place))
                yield batch.rename({"address": "offset"}).select(*schema_of(Records)) if kind == "block" else batch
        numbers.close()


def _whole(stream: BinaryIO, report: Report) -> Iterator[U8]:
    """Chunks that end with a line's end outside of quotes."""
    waiting: list[U8] = []
    quotes = size = 0
    for chunk in chunks(stream, report, CHUNK):
        waiting.append(np.frombuffer(chunk, np.uint8))
        quotes += int(count_quotes(waiting[-1]))
        size += len(chunk)
        if quotes % 2 and size < CHUNK + LONGEST:
            continue
        yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
        waiting, quotes, size = [], 0, 0
    if waiting:
        yield np.concatenate(waiting)


class _Found(NamedTuple):
    """One chunk's records, and what else is in it."""

    batch: pl.DataFrame
    names: U32  # [row] -> code of its volume's name; empty where rows have none
    bad: list[tuple[int, int, int]]  # of records that are none: where they begin and end, and their status
    scanned: Scanned


def _records(kind: str, table: Table, data: U8) -> _Found:
    """Records of a chunk; the volumes' numbers are still those of the file."""
    scanned = table.scan(data)
    status = scanned.status
    time = scanned.columns["time"]
    far = (time > _LATEST) | (time < -_LATEST)
    if kind == "block":  # what is above 2**63 is below zero
        address, length = (scanned.columns[name].view(np.int64) for name in ("address", "length"))
        far |= (address | length | (address + length)) < 0
    good = status == GOOD
    status[good & far] = _FAR
    good &= ~far
    bad = np.flatnonzero(~good)
    rows = np.flatnonzero(good) if bad.size else slice(None)
    batch = pl.DataFrame([scanned.series(name, rows) for name in schema_of(KINDS[kind])])
    names = scanned.columns[f"{PLACES[kind]}_name"][rows] if kind in PLACES else np.empty(0, np.uint32)
    spans = [(*scanned.span(row), int(status[row])) for row in bad.tolist()]
    return _Found(batch, names, spans, scanned)


def _refuse(found: _Found, names: list[str], file: str, first: int, report: Report) -> None:
    """Set aside what is no record; the chunk begins with line ``first``."""
    if not found.bad:
        return
    data = found.scanned.data
    newlines = np.flatnonzero(data == _NEWLINE)
    for begin, end, status in found.bad:
        text = data[begin:end].tobytes().decode("utf-8", "replace").rstrip("\r")
        line = first + int(np.searchsorted(newlines, begin))
        report.refuse(file, line, _reason(text, names, status), text)


def _reason(text: str, names: list[str], status: int) -> str:
    if status == MORE:
        return "more than the header names"
    if status == _FAR:
        return "the time, or the request's end, is past the largest there is"
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        return str(error)
    column = status - BAD
    value = fields[column] if column < len(fields) else ""
    name = names[column]
    return f"{value!r} is no value of column '{name}'" if value else f"no value in column '{name}'"


class _Numbers:
    """Volumes keep their numbers where those are free: of the first file of a trace they are."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._known: dict[tuple[int, str], int] = {}  # (number, name) in the file -> number in the trace
        self._waiting: dict[int, str] = {}  # a number that was passed over -> its key for now

    def of(self, found: _Found, place: str) -> pl.Series:
        """[row] -> number in the trace."""
        numbers, pairs, words = found.batch[place], found.scanned.pairs, found.scanned.words
        codes, fresh = pairs.codes.encode(numbers.to_numpy().astype(np.int64) << 32 | found.names)
        new = [(int(numbers[row]), str(words[int(found.names[row])])) for row in fresh]
        for pair in sorted(set(new) - self._known.keys()):
            self._known[pair] = self._placed(*pair)
        pairs.meaning = np.append(pairs.meaning, np.array([self._known[pair] for pair in new], np.uint32))
        return pl.Series(place, pairs.meaning[codes])

    def _placed(self, number: int, name: str) -> int:
        volumes = self._report.volumes
        if name in volumes:
            return volumes[name]
        if number in self._waiting:
            self._renamed(number, name)
            return number
        if len(volumes) < number <= len(volumes) + _AHEAD:
            for passed in range(len(volumes), number):
                self._waiting[passed] = f"\0{passed}"
                self._report.volume(self._waiting[passed])
        return self._report.volume(name)

    def _renamed(self, number: int, name: str) -> None:
        volumes, was = self._report.volumes, self._waiting.pop(number)
        whole = {name if key == was else key: at for key, at in volumes.items()}
        volumes.clear()
        volumes.update(whole)

    def close(self) -> None:
        """Name those that no row names."""
        self._report.note("volumes without a row, whose names the file does not tell", len(self._waiting))
        for number in list(self._waiting):
            name = f"volume {number}"
            while name in self._report.volumes:
                name += "'"
            self._renamed(number, name)


def _format(kind: str) -> Format:
    def sniff(name: str, head: bytes) -> str | None:
        return _sniff(kind, head)

    def read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
        return _read(kind, sources, report)

    return Format(f"csv-{kind}", kind, f"a {kind} trace as `strata export TRACE csv` writes it", sniff, read)


FORMATS = tuple(map(_format, KINDS))
