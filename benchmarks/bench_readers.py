"""Readers against what only converts: ``python -m benchmarks.bench_readers [--format NAME ...] [--markdown]``.

Every format's input (see `benchmarks.recordings`) is read, its batches thrown away, with the kernels compiled before.
Text is also made into zstd Parquet by polars, DuckDB and pyarrow as plain CSV: with the comma, tab or blank that stands
equally often in every line, or as one column a line where none does; columns that are all numbers become numbers. All
take turns, so that whatever else the machine does falls on all of them; a ratio is of the median times. Goals that are
no ratio are held against the reader's processor time.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from benchmarks.recordings import CASES, Case, input_of
from traces.formats import FORMATS
from traces.formats.inputs import Input
from traces.formats.reader import Format, Report

RATIO = {"text": 0.30, "delimited": 0.60}  # of the fastest converter's speed
BINARY = 200e6  # bytes a second
LACKEY = 5e6  # lines a second
_ALONE = "\x01"  # stands in no text: one column a line
_NAMES = {",": "comma", "\t": "tab", " ": "blank", _ALONE: "line"}
_SEEN = 200_000  # lines that the separator and the columns are taken from


@dataclass(frozen=True)
class Plain:
    """A text as plain CSV: how many of its first lines to pass over, what separates its columns, what they hold."""

    path: Path
    skip: int
    separator: str
    columns: dict[str, pl.DataType]


def plain(path: Path, skip: int) -> Plain:
    """How a file is a valid CSV."""
    with path.open("rb") as file:
        lines = list(islice(file, skip, skip + _SEEN))
    whole = b"".join(lines)
    separator = max(",\t ", key=lambda each: _count(lines, each.encode()))
    if b'"' in whole or not _count(lines, separator.encode()):
        separator = _ALONE
    some = pl.read_csv(
        whole,
        has_header=False,
        separator=separator,
        quote_char=None,
        infer_schema_length=None,
        truncate_ragged_lines=True,
    )
    kinds = {name: kind if kind in (pl.Int64, pl.Float64) else pl.String() for name, kind in some.schema.items()}
    return Plain(path, skip, separator, kinds)


def _count(lines: Sequence[bytes], separator: bytes) -> int:
    """How often it stands in every line; 0 where that differs."""
    count = lines[0].count(separator)
    return count if all(line.count(separator) == count for line in lines) else 0


def by_polars(csv: Plain, out: Path) -> int:
    """Polars, streaming."""
    target = out / "polars.parquet"
    pl.scan_csv(
        csv.path,
        has_header=False,
        skip_lines=csv.skip,
        separator=csv.separator,
        quote_char=None,
        schema=csv.columns,
    ).sink_parquet(target, compression="zstd", compression_level=1)
    return int(pl.scan_parquet(target).select(pl.len()).collect().item())


def by_duckdb(csv: Plain, out: Path) -> int:
    """DuckDB's COPY."""
    sql = {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.String: "VARCHAR"}
    columns = ", ".join(f"'{name}': '{sql[type(kind)]}'" for name, kind in csv.columns.items())
    source = (
        f"read_csv('{csv.path}', header = false, auto_detect = false, delim = '{csv.separator}', quote = '', "
        f"escape = '', skip = {csv.skip}, columns = {{{columns}}}, max_line_size = 16777216)"
    )
    target = out / "duckdb.parquet"
    with duckdb.connect() as db:
        db.execute(f"COPY (FROM {source}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
        row = db.execute(f"SELECT count(*) FROM '{target}'").fetchone()
    return int(row[0]) if row else 0


def by_pyarrow(csv: Plain, out: Path) -> int:
    """Pyarrow's data sets, streaming."""
    arrow = {pl.Int64: pa.int64(), pl.Float64: pa.float64(), pl.String: pa.string()}
    form = ds.CsvFileFormat(
        parse_options=pa.csv.ParseOptions(delimiter=csv.separator, quote_char=False),
        read_options=pa.csv.ReadOptions(column_names=list(csv.columns), block_size=1 << 23, skip_rows=csv.skip),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: arrow[type(kind)] for name, kind in csv.columns.items()}
        ),
    )
    options = ds.ParquetFileFormat().make_write_options(compression="zstd", compression_level=1)
    target = out / "pyarrow"
    ds.write_dataset(
        ds.dataset(csv.path, format=form),
        target,
        format="parquet",
        file_options=options,
        existing_data_behavior="overwrite_or_ignore",
    )
    return int(ds.dataset(target).count_rows())


CONVERTERS: dict[str, Callable[[Plain, Path], int]] = {
    "polars": by_polars,
    "duckdb": by_duckdb,
    "pyarrow": by_pyarrow,
}


def read(how: Format, case: Case, path: Path) -> tuple[int, int]:
    """Read all of a file; how many records there were, and how many refused rows."""
    report = Report(sink=lambda rows: None)
    batches = how.read([Input(path, str(path))], case.options, report)
    return sum(batch.height for batch in batches), report.refused


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One format's speeds."""

    name: str
    kind: str
    size: int  # bytes
    lines: int
    records: int
    refused: int
    seconds: float
    busy: float  # seconds of processor time
    converters: dict[str, float]  # seconds
    separator: str

    @property
    def fastest(self) -> str:
        """The fastest converter; empty where none could."""
        return min(self.converters, key=self.converters.__getitem__, default="")

    @property
    def ratio(self) -> float:
        """The reader's speed as a share of the fastest converter's."""
        return self.converters[self.fastest] / self.seconds if self.converters else 0.0

    @property
    def goal(self) -> str:
        """What the reader should reach."""
        match self.kind:
            case "binary":
                return f"{BINARY / 1e6:.0f} MB/s"
            case "lackey":
                return f"{LACKEY / 1e6:.0f} M lines/s"
            case kind:
                return f"{RATIO[kind]:.2f}"

    @property
    def reached(self) -> bool:
        """Whether it does."""
        match self.kind:
            case "binary":
                return self.size / self.busy >= BINARY
            case "lackey":
                return self.lines / self.busy >= LACKEY
            case kind:
                return self.ratio >= RATIO[kind]

    def cells(self) -> list[str]:
        """A row of the table."""
        speed = self.size / self.seconds
        against = ["", "", "", ""]
        if self.fastest:
            other = self.size / self.converters[self.fastest]
            against = [self.fastest, _NAMES[self.separator], f"{other / 1e6:.0f}", f"{self.ratio:.2f}"]
        rates = [f"{self.size / self.busy / 1e6:.0f}", f"{self.records / self.busy / 1e6:.1f}", f"{speed / 1e6:.0f}"]
        return [self.name, self.kind, *rates, *against, self.goal, "yes" if self.reached else "no"]


_HEAD = (
    *("format", "kind", "MB/s CPU", "M records/s CPU", "MB/s"),
    *("fastest converter", "column", "its MB/s", "ratio", "goal", "reached"),
)


def measure(name: str, folder: Path, size: int, rounds: int) -> Measured | None:
    """Measure one format; None where its recording is not at hand."""
    case, how = CASES[name], FORMATS[name]
    if (made := input_of(case, folder, size)) is None:
        return None
    path, skip = made
    small = input_of(case, folder / "small", 1)
    assert small is not None
    read(how, case, small[0])  # compiles what is not in the cache
    csv = None if case.kind == "binary" else plain(path, skip)
    ways = dict(CONVERTERS) if csv else {}
    mine: list[float] = []
    busy: list[float] = []
    theirs: dict[str, list[float]] = {way: [] for way in ways}
    records = refused = 0
    for _ in range(rounds):
        began, idle = time.perf_counter(), time.process_time()
        records, refused = read(how, case, path)
        mine.append(time.perf_counter() - began)
        busy.append(time.process_time() - idle)
        for way in list(ways):
            began = time.perf_counter()
            try:
                assert csv is not None
                ways[way](csv, folder)
            except (pl.exceptions.PolarsError, duckdb.Error, pa.ArrowInvalid) as error:
                print(f"  {name}: {way} cannot: {str(error).splitlines()[0]}")
                del ways[way], theirs[way]
                continue
            theirs[way].append(time.perf_counter() - began)
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))
    return Measured(
        name=name,
        kind=case.kind,
        size=path.stat().st_size,
        lines=lines,
        records=records,
        refused=refused,
        seconds=median(mine),
        busy=median(busy),
        converters={way: median(each) for way, each in theirs.items()},
        separator=csv.separator if csv else "",
    )


def main() -> None:
    """Read the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", nargs="+", choices=list(FORMATS), metavar="NAME", help="only these formats")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/performance.md shows it")
    parser.add_argument("--megabytes", type=int, default=64, help="bytes of an input, at least")
    parser.add_argument("--rounds", type=int, default=3, help="how often each reads and converts")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    asked = parser.parse_args()
    form = "| " + " | ".join(["{}"] * len(_HEAD)) + " |"
    if not asked.markdown:
        form = "{:19} {:9} {:>8} {:>15} {:>6} {:>18} {:>7} {:>8} {:>6} {:>13} {:>8}"
    print(form.format(*_HEAD))
    if asked.markdown:
        print(form.format("---", "---", *["---:"] * 3, "---", "---", *["---:"] * 3, "---"))
    for name in asked.format or FORMATS:
        if name not in CASES:
            print(f"  {name}: not measured; it has no line in benchmarks/recordings.py")
            continue
        with tempfile.TemporaryDirectory(prefix="strata-bench-", dir=asked.folder) as folder:
            (Path(folder) / "small").mkdir()
            found = measure(name, Path(folder), asked.megabytes * 1_000_000, asked.rounds)
        if found is None:
            print(f"  {name}: its recording is not at hand; set STRATA_SHARED")
            continue
        print(form.format(*found.cells()), flush=True)
        if found.refused > found.lines // 100 or not found.records:
            print(f"  {name}: {found.refused:,} refused rows, {found.records:,} records: not a fair input", flush=True)
    if not asked.markdown:
        print(f"{os.cpu_count()} cores, {asked.megabytes} MB, median of {asked.rounds}")


if __name__ == "__main__":
    main()
