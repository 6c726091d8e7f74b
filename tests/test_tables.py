"""What every declared table must keep, and that the generated docs are those of the code."""

import re
from typing import Any

import duckdb
import pytest

from flows import tables as docs
from flows.catalog import macros, tables
from traces.kinds import KINDS
from traces.table import columns_of, doc_of, duckdb_type, name_of

every_table = pytest.mark.parametrize("table", tables(), ids=name_of)


def test_the_generated_docs_are_current() -> None:
    assert docs.DOCS.read_text() == docs.text(), "run `make docs`"


def test_no_two_tables_have_one_name() -> None:
    names = [name_of(table) for table in tables()]
    assert len(set(names)) == len(names)
    assert set(KINDS) <= set(names)


@every_table
def test_a_table_says_what_its_rows_are(table: type[Any]) -> None:
    assert doc_of(table).endswith((".", ":"))
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name_of(table))


@every_table
def test_every_column_has_a_sentence(table: type[Any]) -> None:
    for column in columns_of(table):
        assert len(column.doc) > 2, column.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)


@every_table
def test_a_column_can_be_written_as_it_is_called(table: type[Any]) -> None:
    with duckdb.connect() as db:
        declared = ", ".join(f'NULL::{duckdb_type(c)} AS "{c.name}"' for c in columns_of(table))
        db.execute(f"CREATE TABLE t AS SELECT {declared}")
        for column in columns_of(table):
            db.execute(f"SELECT max({column.name}), count({column.name}) FROM t WHERE {column.name} IS NOT NULL")


@pytest.mark.parametrize("macro", macros(), ids=lambda macro: macro.name)
def test_a_macro_says_what_it_answers_and_how_it_is_called(macro: Any) -> None:
    assert f"`{macro.name}(" in macro.doc or f"FROM {macro.name}(" in macro.doc
    assert f"CREATE MACRO {macro.name}(" in macro.sql
