"""What every stage is: batches of a trace in, rows of declared tables out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import polars as pl

from traces.info import TraceInfo

C = TypeVar("C")
Rows = tuple[Any, ...]  # an instance of a table: a NamedTuple of arrays


@dataclass(frozen=True, slots=True)
class Stage(Generic[C]):
    """One emulated mechanism with its baselines.

    ``run`` makes its state, then for each batch: arrays, range checks on whole columns, kernel, yield.
    Cutting the trace elsewhere changes no row.
    """

    name: str
    doc: str
    config: type[C]
    reads: type[Any]  # the trace kind
    takes: type[Any]  # the columns of it that the kernel uses: a NamedTuple like a table
    writes: tuple[type[Any], ...]
    headline: tuple[str, ...]  # the figures of its summary that a table of several runs shows
    # settles what depends on the trace (a capacity of "as large as the trace needs"); may read the trace.
    # The settled configuration is what is run, hashed and kept.
    fit: Callable[[C, TraceInfo, Callable[[], Iterable[pl.DataFrame]]], C]
    run: Callable[[Iterable[pl.DataFrame], C], Iterator[Rows]]
    # bytes that a run of a settled configuration keeps, at most: how many of a grid share one reading of the trace.
    # None: not told, and then no more of them than work at a time
    memory: Callable[[C], int] | None = None
    alone: bool = False  # whether it measures times of its own, for which nothing else may be at work
    alerts: tuple[str, ...] = ()  # figures of its summary that must not go unnoticed where they are not 0
