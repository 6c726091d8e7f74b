"""A trace that ``strata export TRACE csv`` wrote comes back: one format a kind, told by the whole header line.

The header names every column of the kind's table in order and, where rows number their volumes (address spaces,
producers), the volume's name behind them. Rows come back with the numbers that they left with, so that the trace has
the same hash. The file does not tell a volume without a row, nor where the trace's clock began.
"""

import csv
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO

import polars as pl

from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report
from traces.formats.text import CHUNK, LONGEST, chunks
from traces.kinds import KINDS
from traces.requests import PLACES
from traces.table import columns_of, schema_of

_LATEST = 1 << 62  # nanoseconds: the difference of two times must fit 63 bits
_MORE = "more than the header names"
_AHEAD = 1 << 16  # volumes that a number may be ahead of those that were seen


def header(kind: str) -> list[str]:
    """The columns of the file."""
    place = PLACES.get(kind)
    return [column.name for column in columns_of(KINDS[kind])] + ([f"{place}_name"] if place else [])


def _sniff(kind: str, head: bytes) -> str | None:
    line = head.partition(b"\n")[0].rstrip(b"\r").replace(b'"', b"")
    return f"the header line of a {kind} trace's export" if line == ",".join(header(kind)).encode() else None


def _read(kind: str, sources: Sequence[Input], report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        if not _sniff(kind, source.head()):
            raise TraceError(f"{source.name}: its first line must be {','.join(header(kind))}")
        numbers = _Numbers(report)
        with source.open() as stream:
            stream.readline()
            line = 2
            for chunk in _whole(stream, report):
                rows, lines = _parsed(chunk, kind, source.name, line, report)
                line += lines
                batch = _records(kind, rows, source.name, report, numbers)
                if batch.height:
                    yield batch
        numbers.close()


def _whole(stream: BinaryIO, report: Report) -> Iterator[bytes]:
    """Chunks that end with a line's end outside of quotes."""
    rest = b""
    for chunk in chunks(stream, report, CHUNK):
        rest += chunk
        if rest.count(b'"') % 2 and len(rest) < CHUNK + LONGEST:
            continue
        yield rest
        rest = b""
    if rest:
        yield rest


def _parsed(chunk: bytes, kind: str, file: str, first: int, report: Report) -> tuple[pl.DataFrame, int]:
    """Fields as text with the line of each row, and how many lines the chunk has."""
    names = [*header(kind), _MORE]
    schema = dict.fromkeys(names, pl.String())
    try:
        rows = pl.read_csv(
            BytesIO(",".join(names).encode() + b"\n" + chunk),
            schema=schema,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )
    except pl.exceptions.ComputeError:  # a quote that stands alone somewhere: line by line
        return _by_line(chunk, names, file, first, report)
    return rows.with_row_index("line", first), chunk.count(b"\n")


def _by_line(chunk: bytes, names: list[str], file: str, first: int, report: Report) -> tuple[pl.DataFrame, int]:
    found: list[list[Any]] = []
    lines = chunk.decode("utf-8", "replace").split("\n")[:-1]
    for number, line in enumerate(lines, first):
        try:
            fields = next(csv.reader([line.rstrip("\r")], strict=True), [])
        except csv.Error as error:
            report.refuse(file, number, str(error), line)
            continue
        found.append([number, *(fields + [None] * len(names))[: len(names)]])
    schema = {"line": pl.UInt32()} | dict.fromkeys(names, pl.String())
    return pl.DataFrame(found, schema=schema, orient="row"), len(lines)


def _records(kind: str, rows: pl.DataFrame, file: str, report: Report, numbers: "_Numbers") -> pl.DataFrame:
    """Rows of text as records; what is no row of the table is refused."""
    table = schema_of(KINDS[kind]) | {"time": pl.Int64()}
    unknown = {column.name: column.unknown for column in columns_of(KINDS[kind])}
    text = [name for name in header(kind) if table.get(name, pl.String()) == pl.String()]
    rows = rows.filter(~pl.all_horizontal(pl.col(header(kind)).is_null()))  # empty lines
    made = rows.select(
        "line",
        *(
            pl.col(name)
            if name in text
            else pl.when(pl.col(name).is_null() | (pl.col(name) == ""))
            .then(pl.lit(unknown[name], table[name]))
            .otherwise(pl.col(name).cast(table[name], strict=False))
            .alias(name)
            for name in header(kind)
        ),
    )
    good = made.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    good &= rows[_MORE].is_null() & (made["time"].fill_null(0).abs() <= _LATEST)
    if kind == "block":  # neither is above 2**63, so that the sum does not wrap
        far = pl.max_horizontal("address", "length", pl.col("address") + pl.col("length")) >= 1 << 63
        good &= ~made.select(far.fill_null(value=False)).to_series()
    if not good.all():
        _refuse(rows.filter(~good), made.filter(~good), file, report)
        made = made.filter(good)
    if (place := PLACES.get(kind)) is not None:
        made = made.with_columns(numbers.of(made[place], made[f"{place}_name"]).alias(place))
    made = made.select(*table).with_columns(pl.col(name).cast(pl.Categorical) for name in text if name in table)
    if kind == "block":
        made = made.rename({"address": "offset"}).select(*schema_of(Records))
    return made


def _refuse(rows: pl.DataFrame, made: pl.DataFrame, file: str, report: Report) -> None:
    for row, values in zip(rows.iter_rows(named=True), made.iter_rows(named=True), strict=True):
        number = row.pop("line")
        bad = next((name for name, value in values.items() if value is None), None)
        if bad is not None:
            reason = f"{row[bad]!r} is no value of column '{bad}'" if row[bad] else f"no value in column '{bad}'"
        else:
            reason = _MORE if row[_MORE] is not None else "the time, or the request's end, is past the largest there is"
        report.refuse(file, number, reason, ",".join(value or "" for value in row.values()))


class _Numbers:
    """Volumes keep their numbers where those are free: of the first file of a trace they are."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._known: dict[tuple[int, str], int] = {}  # (number, name) in the file -> number in the trace
        self._waiting: dict[int, str] = {}  # a number that was passed over -> its key for now

    def of(self, numbers: pl.Series, names: pl.Series) -> pl.Series:
        """[row] -> number in the trace."""
        pairs = pl.DataFrame({"number": numbers, "name": names})
        for number, name in pairs.unique().sort("number", "name").iter_rows():
            if (number, name) not in self._known:
                self._known[number, name] = self._placed(number, name)
        known = pl.DataFrame(
            [(*pair, to) for pair, to in self._known.items()],
            schema={"number": numbers.dtype, "name": pl.String, "to": pl.UInt32},
            orient="row",
        )
        return pairs.join(known, on=["number", "name"], how="left", maintain_order="left")["to"]

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
