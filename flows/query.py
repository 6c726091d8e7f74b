"""``strata sql``: any query on the catalog, read-only, to a table, CSV, JSON or a Parquet file."""

import csv
import sys
from pathlib import Path
from typing import Any

import duckdb

from flows.show import ready
from flows.terminal import Output, text
from traces.errors import StrataError
from traces.store import disk_errors, part

_SHOWN = 1000  # rows of a table for people
_BATCH = 10_000


class QueryError(StrataError):
    """A query that DuckDB refuses, in DuckDB's words."""


def statement(given: str | None) -> str:
    """The SQL itself: as given, or from stdin where ``-`` or nothing was given."""
    if given in (None, "-"):
        if sys.stdin.isatty():
            raise QueryError("no query: write it as an argument, or pipe it in")
        given = sys.stdin.read()
    if not given or not given.strip():
        raise QueryError("the query is empty")
    return given


def query(out: Output, sql: str, *, as_csv: bool, parquet: Path | None) -> None:
    """Answer a query; raises QueryError with DuckDB's message."""
    with ready(out) as db:
        try:
            _reads_only(db, sql)
            if parquet is not None:
                _keep(db, sql, parquet)
                out.note(f"written to {parquet}")
                return
            answer = db.execute(sql)
            names = [column[0] for column in answer.description or ()]
            if as_csv:
                writer = csv.writer(sys.stdout, lineterminator="\n")
                writer.writerow(names)
                while batch := answer.fetchmany(_BATCH):
                    writer.writerows(batch)
            elif out.json:
                out.document([dict(zip(names, row, strict=True)) for row in answer.fetchall()])
            else:
                found = answer.fetchmany(_SHOWN + 1)
                shown = [list(map(_cell, row)) for row in found[:_SHOWN]]
                cut = [[_cut(cell, out.width) for cell in row] for row in shown]
                out.table([dict(zip(names, row, strict=True)) for row in cut])
                if cut != shown:
                    out.note("text that is longer than a line is cut: --csv, --json and --parquet give all")
                if not found:
                    out.note(f"no rows ({', '.join(names)})")
                if len(found) > _SHOWN:
                    out.note(f"only the first {_SHOWN:,} rows are shown: --csv, --json and --parquet give all")
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            raise QueryError(str(error).strip()) from error


_ASKS = ("SELECT", "EXPLAIN", "PRAGMA", "MULTI")  # MULTI: a PIVOT


def _reads_only(db: duckdb.DuckDBPyConnection, sql: str) -> None:
    """QueryError for a statement that would write files or change anything, and for more than one statement."""
    statements = db.extract_statements(sql)
    for statement in statements:
        if statement.type.name not in _ASKS:
            raise QueryError(
                f"{statement.type.name} is no question: `strata sql` only reads; --parquet and --csv keep answers"
            )
    if len(statements) != 1:
        raise QueryError(f"{len(statements)} statements: ask one question at a time")


def _cell(value: Any) -> Any:
    """Whole numbers as they are, so that they can be pasted into the next query."""
    return text(value) if isinstance(value, float) else value


def _cut(cell: Any, width: int) -> Any:
    """Text cut to a line of the terminal."""
    return f"{cell[: width - 1]}…" if isinstance(cell, str) and len(cell) > width else cell


def _keep(db: duckdb.DuckDBPyConnection, sql: str, target: Path) -> None:
    whole = part(target)
    try:
        with disk_errors("the answer", target):
            relation = db.sql(sql)
            if relation is None:
                raise QueryError("the statement answers no rows")
            relation.write_parquet(str(whole), compression="zstd")
            whole.rename(target)
    finally:
        whole.unlink(missing_ok=True)
