"""What every export is: rows of a trace in, a file that other tools read out, and an account of what was lost.

It streams. What a format cannot carry is left out and counted, never bent into something that it is not.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from io import BytesIO
from pathlib import Path
from typing import Protocol

import polars as pl

from traces.block import Op
from traces.info import TraceInfo

SECTOR = 512  # bytes
NO_BYTES = "requests of no bytes, left out"


class Target(Protocol):
    """The file in the making."""

    def write(self, data: bytes, /) -> object:
        """Append."""


@dataclass(frozen=True)
class Outgoing:
    """A trace on its way out."""

    info: TraceInfo
    rows: Callable[[Iterable[str]], Iterator[pl.DataFrame]]  # the named columns, from the first row on at every call
    file: Target
    scratch: Path  # a folder for what does not fit into memory
    lost: dict[str, int] = field(default_factory=dict)  # sentence -> how often

    def lose(self, sentence: str, times: int) -> None:
        """Count what is not carried; zero times is nothing."""
        if times:
            self.lost[sentence] = self.lost.get(sentence, 0) + times

    def chosen(self, batch: pl.DataFrame, ops: Iterable[IntEnum]) -> pl.DataFrame:
        """The rows of those operations, each of its kind's `Op`; counts what is left out."""
        wanted = list(ops)
        chosen = batch["op"].is_in([int(op) for op in wanted])
        if chosen.all():
            return batch
        for op, count in batch.filter(~chosen)["op"].value_counts(sort=False).iter_rows():
            self.lose(f"requests to {type(wanted[0])(op).name.lower().replace('_', ' ')}, left out", count)
        return batch.filter(chosen)

    def carried(self, batch: pl.DataFrame, ops: Iterable[Op]) -> pl.DataFrame:
        """The requests of those operations, flushes with or without bytes, the others with; counts what is left out."""
        batch = self.chosen(batch, ops)
        empty = (batch["length"] == 0) & (batch["op"] != int(Op.FLUSH))
        self.lose(NO_BYTES, int(empty.sum()))
        return batch.filter(~empty) if empty.any() else batch

    def sectors(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Columns ``lba`` and ``sectors``: all sectors that a request touches."""
        first, end = pl.col("address") // SECTOR, pl.col("address") + pl.col("length")
        batch = batch.with_columns(
            first.alias("lba"), ((end + (SECTOR - 1)) // SECTOR - first).alias("sectors"), (end % SECTOR).alias("odd")
        )
        self.lose(
            "requests that are not whole sectors, widened to whole ones",
            int(((batch["address"] % SECTOR != 0) | (batch["odd"] != 0)).sum()),
        )
        return batch

    def untold(self, batch: pl.DataFrame) -> None:
        """Count what formats of times, places and operations have no room for."""
        self.lose("latencies, not carried", int((batch["latency"] >= 0).sum()))
        self.lose("streams, not carried", int((batch["stream"] != 0).sum()))
        self.lose("flags, not carried", int((batch["flags"] != 0).sum()))


@dataclass(frozen=True, slots=True)
class Export:
    """One format that a trace can leave as: a line of the list `traces.export.EXPORTS`."""

    name: str
    doc: str
    suffix: str  # what such files are called
    kinds: frozenset[str] | None  # of traces; None: any
    write: Callable[[Outgoing], int]  # how many requests were written


def text(rows: pl.DataFrame, separator: str = " ") -> bytes:
    """Rows as lines, nothing quoted."""
    buffer = BytesIO()
    rows.write_csv(buffer, include_header=False, separator=separator, quote_style="never")
    return buffer.getvalue()


def words(ops: Mapping[Op, str]) -> pl.Expr:
    """The column ``op`` in a format's words; every operation must have one."""
    return pl.col("op").replace_strict({int(op): word for op, word in ops.items()}, return_dtype=pl.String)


def plain_names(names: Sequence[str]) -> list[str]:
    """Names without blanks or control characters, each still one of its own."""
    made: dict[str, None] = {}
    for number, name in enumerate(names):
        plain = re.sub(r"[\s\x00-\x1f\x7f]", "_", name)[:200] or f"volume-{number}"
        while plain in made:
            plain = f"{plain}-{number}"
        made[plain] = None
    return list(made)
