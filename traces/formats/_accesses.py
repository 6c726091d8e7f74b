"""Memory accesses as a reader yields them: columns that a source does not tell are filled in."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from traces.formats.reader import Report, records
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
            data.append(pl.repeat(int(value), count, dtype=dtype, eager=True).alias(name))
        else:
            data.append(pl.Series(name, value).cast(dtype))
    if columns:
        raise TypeError(f"no columns of memory accesses: {', '.join(columns)}")
    return pl.DataFrame(data)


def words(known: Sequence[str], codes: Any) -> pl.Series:
    """[row] -> the source's word, from its code."""
    return pl.Series("raw", known, dtype=pl.Categorical).gather(codes)


def ordinals(first: int, count: int) -> Any:
    """Times of rows whose source has no clock."""
    return np.arange(first, first + count, dtype=np.int64)


def latest(values: Any, here: Any, before: Any) -> Any:
    """[row] -> the value of the latest row that is ``here``, its own included; ``before`` where there is none yet."""
    place = np.maximum.accumulate(np.where(here, np.arange(here.size), -1))
    return np.where(place >= 0, values[place], before)


def numbered(keys: Any, names: Callable[[int], str], report: Report) -> Any:
    """[row] -> number of the address space that a key names."""
    found, place = np.unique(keys, return_index=True)
    order = np.argsort(place)  # in the order of first appearance, however the rows are cut into batches
    numbers = np.empty(found.size, np.uint32)
    for i in order.tolist():
        numbers[i] = report.volume(names(int(found[i])))
    return numbers[np.searchsorted(found, keys)]
