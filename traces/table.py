"""A table is declared once, as a NamedTuple of annotated arrays.

The same class is the struct of arrays that kernels fill and take, the schema that
Parquet files must have, the comments that DuckDB shows and the text of ``docs/tables.md``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.errors import StrataError

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Text = NDArray[np.str_]  # never enters a kernel: a stage projects it away (see `arrays`)

T = TypeVar("T", bound=tuple[Any, ...])

_POLARS: dict[type, pl.DataType] = {
    np.uint8: pl.UInt8(),
    np.uint16: pl.UInt16(),
    np.uint32: pl.UInt32(),
    np.uint64: pl.UInt64(),
    np.int64: pl.Int64(),
    np.float64: pl.Float64(),
    np.bool_: pl.Boolean(),
    np.str_: pl.String(),
}


class SchemaError(StrataError):
    """A frame does not have the columns its table declares."""


@dataclass(frozen=True)
class Unknown:
    """Marks the value of a column that stands for "not known"; DuckDB views show it as NULL."""

    value: int


@dataclass(frozen=True)
class Measured:
    """Marks a column that was measured on this machine, as times are: another run gives other values."""


class Column(NamedTuple):
    """One declared column."""

    name: str
    scalar: type
    doc: str
    unknown: int | None
    measured: bool = False

    @property
    def polars(self) -> pl.DataType:
        """The column's type in frames and Parquet."""
        return _POLARS[self.scalar]


_DECLARED: dict[type[Any], tuple[Column, ...]] = {}  # a millisecond each, asked several times a batch


def columns_of(table: type[Any]) -> tuple[Column, ...]:
    """The declared columns of a table, in order."""
    if table in _DECLARED:
        return _DECLARED[table]
    columns = []
    for name, hint in get_type_hints(table, include_extras=True).items():
        array, doc, *marks = get_args(hint)
        scalar = get_args(get_args(array)[1])[0]
        unknown = next((mark.value for mark in marks if isinstance(mark, Unknown)), None)
        measured = any(isinstance(mark, Measured) for mark in marks)
        columns.append(Column(name, scalar, doc, unknown, measured))
    return _DECLARED.setdefault(table, tuple(columns))


def name_of(table: type[Any]) -> str:
    """``FtlWindows`` is kept as ``ftl_windows``."""
    return "".join("_" + c.lower() if c.isupper() else c for c in table.__name__).lstrip("_")


def doc_of(table: type[Any]) -> str:
    """The first line of the table's docstring."""
    return (table.__doc__ or "").strip().splitlines()[0]


def schema_of(table: type[Any]) -> dict[str, pl.DataType]:
    """Column name to polars type, in declared order."""
    return {column.name: column.polars for column in columns_of(table)}


def checked(table: type[Any], rows: pl.DataFrame) -> pl.DataFrame:
    """The frame itself, if it is a ``table``; else a SchemaError that says what differs."""
    want, have = schema_of(table), dict(rows.schema)
    if list(want.items()) != list(have.items()):
        differs = [
            f"{name}: want {want.get(name, 'no such column')}, have {have.get(name, 'nothing')}"
            for name in dict.fromkeys([*want, *have])
            if want.get(name) != have.get(name)
        ]
        raise SchemaError(f"{name_of(table)}: {'; '.join(differs) or 'columns are in another order'}")
    if holes := [c for c in rows.columns if rows[c].null_count()]:
        raise SchemaError(f"{name_of(table)}: nulls in {', '.join(holes)}")
    return rows


def arrays(table: type[T], rows: pl.DataFrame) -> T:
    """A frame's columns as read-only, contiguous arrays: one compiled signature for every batch.

    ``table`` may name fewer columns than the frame has: a stage takes what its kernel uses.
    """
    out = []
    for column in columns_of(table):
        if column.name not in rows.columns:
            raise SchemaError(f"{name_of(table)}: the batch has no column '{column.name}'")
        series = rows[column.name]
        if series.dtype != column.polars or column.scalar is np.str_:
            raise SchemaError(f"{name_of(table)}.{column.name}: want {column.polars} numbers, have {series.dtype}")
        if series.null_count():
            raise SchemaError(f"{name_of(table)}.{column.name}: {series.null_count()} nulls")
        array = np.ascontiguousarray(series.to_numpy())
        array.setflags(write=False)
        out.append(array)
    return table(*out)


def frame(rows: Any) -> pl.DataFrame:
    """A struct of arrays (an instance of a table) as a checked frame."""
    table = type(rows)
    data = [pl.Series(c.name, value, dtype=c.polars) for c, value in zip(columns_of(table), rows, strict=True)]
    return checked(table, pl.DataFrame(data))


def empty(table: type[T], length: int) -> T:
    """Room for ``length`` rows, for a kernel to fill. Tables with text have no such form."""
    return table(*(np.empty(length, np.dtype(c.scalar)) for c in columns_of(table)))


def records(table: type[Any], length: int) -> Any:
    """Room for ``length`` rows as one array of records: a kernel compiles faster with it than with one a column."""
    kinds = [(c.name, np.dtype(c.scalar)) for c in columns_of(table)]
    return np.zeros(length, kinds).view(np.recarray)


def struct(table: type[T], rows: Any) -> T:
    """Records as a struct of arrays."""
    return table(*(np.ascontiguousarray(rows[c.name]) for c in columns_of(table)))


def first(rows: T, length: int) -> T:
    """The first rows of a struct of arrays: views, not copies."""
    return type(rows)(*(column[:length] for column in rows))


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def duckdb_type(column: Column) -> str:
    """The column's DuckDB type."""
    names = {
        np.uint8: "UTINYINT",
        np.uint16: "USMALLINT",
        np.uint32: "UINTEGER",
        np.uint64: "UBIGINT",
        np.int64: "BIGINT",
        np.float64: "DOUBLE",
        np.bool_: "BOOLEAN",
        np.str_: "VARCHAR",
    }
    return names[column.scalar]


def select_list(table: type[Any]) -> str:
    """The columns as a SQL select list, "not known" markers turned into NULL; quoted."""
    return ", ".join(
        f'nullif("{c.name}", {c.unknown}) AS "{c.name}"' if c.unknown is not None else f'"{c.name}"'
        for c in columns_of(table)
    )


def comments(table: type[Any], relation: str, extra: dict[str, str] | None = None) -> Iterator[str]:
    """The COMMENT statements for a table or view of this declaration.

    ``relation`` is ``VIEW`` or ``TABLE``; ``extra`` comments columns that the store adds.
    """
    name = name_of(table)
    yield f"COMMENT ON {relation} {name} IS {quoted(doc_of(table))}"
    for column, doc in ({c.name: c.doc for c in columns_of(table)} | (extra or {})).items():
        yield f'COMMENT ON COLUMN {name}."{column}" IS {quoted(doc)}'


def markdown(tables: Sequence[type[Any]]) -> str:
    """The generated part of ``docs/tables.md``: a section a table, a row a column."""
    out = []
    for table in tables:
        out.append(f"## `{name_of(table)}`\n\n{doc_of(table)}\n\n| column | type | meaning |\n|---|---|---|")
        out.extend(
            f"| `{c.name}` | {duckdb_type(c)} | {c.doc.replace('|', chr(92) + '|')} |" for c in columns_of(table)
        )
        out.append("")
    return "\n".join(out)
