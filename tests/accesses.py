"""What the tests of memory formats share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.damage import read, survives
from traces.formats.reader import Format, Report
from traces.memory import Op


def facts(shared: Path, name: str) -> dict[str, Any]:
    """What other programs counted in a public recording."""
    known: dict[str, Any] = json.loads((shared / "public-traces/FACTS.json").read_text())[name]
    return known


def one(how: Format, folder: Path, data: str | bytes, name: str = "program.txt") -> tuple[pl.DataFrame, Report]:
    """The records of one small file."""
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read(how, [path])


def pages(rows: pl.DataFrame) -> int:
    """How many pages of 4 KiB accesses begin in."""
    return int(rows.select((pl.col("address") // 4096).n_unique()).item())


def touched(rows: pl.DataFrame) -> set[int]:
    """The pages of 4 KiB that accesses touch with any of their bytes."""
    first = (rows["address"] // 4096).to_numpy()
    last = ((rows["address"] + rows["size"] - 1) // 4096).to_numpy()
    found = set(np.unique(first).tolist())
    for begin, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
        found.update(range(begin, end + 1))
    return found


def by_word(rows: pl.DataFrame) -> dict[str, int]:
    """The source's words and how often each was read."""
    return dict(rows.group_by("raw").len().iter_rows())


def ops(rows: pl.DataFrame) -> list[Op]:
    """[row] -> operation."""
    return [Op(op) for op in rows["op"]]


def columns(rows: pl.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    """The rows of some columns."""
    return rows.select(names).rows()


def lines_kept(how: Format, path: Path, data: bytes, per_line: Sequence[str] = ()) -> None:
    """Every line that is not empty is a record, refused, or counted in a note (those ``per_line``)."""
    done = survives(how, path, data)
    if done is None:
        return
    rows, report = done
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    counted = sum(report.notes.get(sentence, 0) for sentence in ("empty lines", *per_line))
    assert rows.height + report.refused + counted == lines
