"""What a generator of several traces at once is: one clock, and for every row what led to it.

A world emits parts: rows of one kind each, in time order within their kind, times counted from the world's beginning.
What it makes are traces of one name, one a kind; each begins at its own first row, and its ``origin`` is the world's
clock there: origin + time is the same instant in all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import polars as pl

from traces.kinds import ROWS
from traces.label import Category
from traces.table import schema_of
from traces.truth import TraceCauses, TraceRecords
from traces.workloads.workload import Asked

A = TypeVar("A", bound=Asked)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one kind, and what is known of them: ``truth`` as in `traces.truth.TRUTHS`, by the world's clock."""

    kind: str
    rows: pl.DataFrame
    truth: Mapping[str, pl.DataFrame] = field(default_factory=dict)


class Era(NamedTuple):
    """What the world was at, from when to when by its clock."""

    began: int
    ended: int
    label: str


@dataclass(frozen=True, slots=True)
class World(Generic[A]):
    """A generator of traces of several kinds: a line of the list `traces.workloads.worlds.WORLDS`."""

    name: str
    kinds: tuple[str, ...]
    doc: str
    config: type[A]
    emit: Callable[[A, int], Iterator[Part | Era]]
    names: Mapping[str, Sequence[str]]  # kind -> its volumes by number, where rows carry the number
    categories: Mapping[str, Category]  # era -> what a volume of the block trace is used for in it; else unknown

    @property
    def kind(self) -> str:
        """The kinds, in words."""
        return ", ".join(self.kinds)

    def parts(self, config: A, rows: int = ROWS) -> Iterator[Part | Era]:
        """Everything that happens, in batches of about ``rows`` rows of whichever kind has most."""
        return self.emit(config, rows)


def told(table: type[TraceCauses | TraceRecords], **columns: Any) -> pl.DataFrame:
    """Rows of a table of truth from its columns."""
    schema = schema_of(table)
    return pl.DataFrame([pl.Series(name, columns[name]).cast(dtype) for name, dtype in schema.items()])
