"""Batches of the kinds beside block and memory: columns that a source does not tell are filled in.

And what every format of binary records cannot use: holes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces import dma, pci
from traces.formats.reader import Report, records
from traces.table import Bool, columns_of

# what stands for "not told" where it is not 0 (or marked so in the table itself)
_NOT_TOLD: dict[type[Any], dict[str, int]] = {
    pci.Config: {"mechanism": pci.Mechanism.OTHER, "present": pci.Presence.NOT_TOLD},
    dma.Dma: {"request": dma.Request.NOT_TOLD, "write": dma.Told.NOT_TOLD, "hit": dma.Told.NOT_TOLD},
}


def rows(table: type[Any], count: int, **columns: Any) -> pl.DataFrame:
    """A batch: arrays, series of words (see `words`), or one value for all rows."""
    schema, not_told, data = records(table), _NOT_TOLD.get(table, {}), []
    for column in columns_of(table):
        name, dtype = column.name, schema[column.name]
        value = columns.pop(name, "" if dtype == pl.String else not_told.get(name, column.unknown or 0))
        if isinstance(value, str | int | np.integer):
            one = pl.Series(name, [value], pl.Categorical if dtype == pl.String else dtype)
            data.append(one.new_from_index(0, count))  # a third of what pl.repeat takes, which plans a query for it
        elif dtype == pl.String:
            data.append(value.alias(name))
        else:
            data.append(pl.Series(name, value).cast(dtype))
    if columns:
        raise TypeError(f"no columns of {table.__name__}: {', '.join(columns)}")
    return pl.DataFrame(data)


def holes(records: NDArray[Any], file: str, offset: int, report: Report) -> Bool:
    """[record] -> whether all its bytes are zero; refuses them, a run at once; they begin at byte ``offset``.

    For binary formats in which such a record cannot be: a download or a disk that left out a piece ends so.
    """
    empty: Bool = np.ones(records.size, np.bool_)
    for name in reversed(records.dtype.names or ()):  # addresses and numbers stand last and are hardly ever 0
        empty &= records[name] == np.zeros((), records.dtype[name])
        if not empty.any():
            return empty
    edges = np.flatnonzero(np.diff(empty, prepend=False, append=False)).tolist()
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        reason = f"a hole: {end - first} records of zeros in a row"
        report.refuse(file, offset + first * records.itemsize, reason, records[first : first + 1].tobytes())
    report.note("records of zeros, a hole in the file: refused, a row a run", int(np.count_nonzero(empty)))
    return empty


def words(known: Sequence[str], codes: Any) -> pl.Series:
    """[row] -> a word, from its code."""
    return pl.Series(known, dtype=pl.Categorical).gather(codes)


def meanings(known: Sequence[str], table: dict[str, int], otherwise: int) -> Any:
    """[code] -> what a word means."""
    return np.array([table.get(word, otherwise) for word in known], np.int64)
