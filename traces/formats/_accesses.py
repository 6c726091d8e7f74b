"""Memory accesses as a reader yields them: columns that a source does not tell are filled in."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from traces.formats.reader import Report, records
from traces.formats.text import Codes
from traces.memory import Memory

_SCHEMA = records(Memory)
_TOLD = {"accesses": 1}  # all else that a source does not tell is 0


def frame(count: int, **columns: Any) -> pl.DataFrame:
    """A batch: arrays, series, or one number for all rows."""
    data = []
    for name, dtype in _SCHEMA.items():
        value = columns.pop(name, _TOLD.get(name, 0))
        if name == "raw":
            data.append(value.alias(name))
        elif isinstance(value, int | np.integer):
            # a third of what pl.repeat takes, which plans a query for it
            data.append(pl.Series(name, [int(value)], dtype).new_from_index(0, count))
        else:
            data.append(pl.Series(name, value).cast(dtype))
    if columns:
        raise TypeError(f"no columns of memory accesses: {', '.join(columns)}")
    return pl.DataFrame(data)


def words(known: Sequence[str], codes: Any) -> pl.Series:
    """[row] -> the source's word, from its code."""
    series = pl.Series("raw", known, dtype=pl.Categorical)
    if len(known) == 1:
        return series.new_from_index(0, len(codes))
    return series.gather(pl.Series(codes))  # twice as fast as with an array, which is checked for negative indices


def ordinals(first: int, count: int) -> Any:
    """Times of rows whose source has no clock."""
    return np.arange(first, first + count, dtype=np.int64)


def latest(values: Any, here: Any, before: Any) -> Any:
    """[row] -> the value of the latest row that is ``here``, its own included; ``before`` where there is none yet."""
    place = np.maximum.accumulate(np.where(here, np.arange(here.size), -1))
    return np.where(place >= 0, values[place], before)


def numbered(keys: Any, names: Callable[[int], str], report: Report) -> Any:
    """[row] -> number of the address space that a key names."""
    # in the order of first appearance, however the rows are cut into batches
    codes, fresh = Codes().encode(np.asarray(keys, np.int64))
    return np.array([report.volume(names(int(keys[row]))) for row in fresh], np.uint32)[codes]
