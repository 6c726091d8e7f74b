"""What each kind of trace is characterised by: its rows as requests, the words of its operations, what is counted once.

Sizes, pages, regions and arrivals come from one machine for all kinds (`traces._profile`). This is what it is told:

    kind      volume          address, page                          delay
    block     volume          the volume's bytes                     to completion
    memory    address space   as accessed; of no told size: 1 byte   none
    config    device          4 KiB a function: pages are functions  none
    dma       device          input address of an access             none
    text      kernel text     as patched                             none
    message   producer        ring << 48 | address in its data       of a published record to delivery
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import xxhash

from traces import block, dma, memory, message, pci
from traces.requests import BDF, KINDS, bits
from traces.table import U64


class View(NamedTuple):
    """How one kind is looked at."""

    operation: tuple[str, ...]  # the columns that tell what a row asked for
    word: Callable[..., str]  # and from their values what it is called
    distinct: Mapping[str, pl.Expr]  # what is counted once -> its value, null where there is none
    instead: Mapping[str, pl.Expr] = {}  # other columns of `Request` than counting takes

    def requests(self, kind: str) -> dict[str, pl.Expr]:
        """The columns of `traces._profile.Request`, but for a volume without a number."""
        names = ("time", "op", "volume", "address", "length")
        mine = {name: each for name, each in KINDS[kind].columns.items() if name in names}
        return mine | {"latency": pl.lit(-1, pl.Int64)} | dict(self.instead)


def _spelled(members: Any) -> Callable[[int], str]:
    known = {int(member): member.name.lower().replace("_", " ") for member in members}
    return lambda op: known.get(op, "unknown")


_MECHANISM = _spelled(pci.Mechanism)
_EVENT = _spelled(dma.Event)
_OUTCOME = _spelled(message.Outcome)
_RECORD = {int(message.Op.PUBLISHED): "published", int(message.Op.TORN): "torn", int(message.Op.FULL): "ring full"}


def _config(op: int, mechanism: int) -> str:
    return f"{'write' if op == pci.Op.WRITE else 'read'} by {_MECHANISM(mechanism)}"


def _dma(event: int, write: int) -> str:
    if event == dma.Event.ACCESS and write != dma.Told.NOT_TOLD:
        return "write" if write else "read"
    return _EVENT(event)


def _message(op: int, outcome: int) -> str:
    told = _RECORD.get(op, "unknown")
    return told if outcome == message.Outcome.NOT_TOLD else f"{told}, {_OUTCOME(outcome)}"


def _where(name: str, but: Any) -> pl.Expr:
    """A column without the value that stands for nothing."""
    return pl.when(pl.col(name) != but).then(pl.col(name))


_FUNCTION = bits((BDF, 12), ("register", 0))

VIEWS = {
    "block": View(
        ("op",), _spelled(block.Op), {"streams": _where("stream", 0)}, {"latency": KINDS["block"].columns["latency"]}
    ),
    "memory": View(
        ("op",),
        _spelled(memory.Op),
        {
            "processors": pl.col("cpu"),
            "instructions": _where("ip", 0),
            "cache lines, of 64 bytes, of first bytes": pl.col("address") // 64,
        },
    ),
    "config": View(
        ("op", "mechanism"),
        _config,
        {
            "functions": BDF,
            "functions that are present": pl.when(pl.col("present") == pci.Presence.PRESENT).then(BDF),
            "registers": _FUNCTION,
        },
    ),
    "dma": View(
        ("event", "write"),
        _dma,
        {
            "devices": _where("source", dma.NOT_TOLD),
            "domains": _where("domain", dma.NOT_TOLD),
            "address spaces": _where("pasid", dma.NOT_TOLD),
            "ranges mapped": pl.when(pl.col("event") == dma.Event.MAP).then(pl.col("address")),
        },
    ),
    "text": View(
        ("procedure",),
        lambda procedure: procedure or "not told",
        {"sites": pl.col("address"), "procedures": _where("procedure", ""), "processes": _where("pid", 0)},
    ),
    "message": View(
        ("op", "outcome"),
        _message,
        {"receivers": _where("receiver", ""), "rings": pl.col("ring")},
        {"address": bits(("ring", 48), ("address", 0)), "latency": pl.col("delivered")},
    ),
}


@cache
def columns(kind: str) -> tuple[str, ...]:
    """The columns of the kind's table that a profile looks at."""
    view = VIEWS[kind]
    wanted = [*view.requests(kind).values(), *view.distinct.values()]
    key = KINDS[kind].key
    names = [name for each in [*wanted, *([key] if key is not None else [])] for name in each.meta.root_names()]
    return tuple(dict.fromkeys([*names, *view.operation]))


class Operations:
    """How often, and over how many bytes, each operation came in each window of each volume."""

    _LOOSE = 1 << 20  # rows that wait to be added up

    def __init__(self, kind: str, window: int) -> None:
        self._view, self._window = VIEWS[kind], window
        self._parts: list[pl.DataFrame] = []

    def add(self, batch: pl.DataFrame, requests: pl.DataFrame) -> None:
        """Count a batch, given as it is and as requests."""
        names = [f"op_{i}" for i in range(len(self._view.operation))]
        rows = requests.select(pl.col("time") // self._window * self._window, "volume", "length").with_columns(
            batch[column].alias(name) for column, name in zip(self._view.operation, names, strict=True)
        )
        counted = rows.group_by("time", "volume", *names).agg(
            pl.len().cast(pl.UInt64).alias("requests"), pl.col("length").sum().alias("bytes")
        )
        self._parts.append(counted.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)))
        if sum(part.height for part in self._parts) > self._LOOSE:
            self._parts = [self._added()]

    def _added(self) -> pl.DataFrame:
        whole = pl.concat(self._parts)
        return whole.group_by(whole.columns[:-2]).agg(pl.col("requests", "bytes").sum())

    def finish(self) -> pl.DataFrame:
        """The columns of `traces.profile.TraceOperations`."""
        whole = self._added()
        kinds = whole.select(pl.col("^op_.*$")).unique()
        words = kinds.with_columns(pl.Series("operation", [self._view.word(*row) for row in kinds.iter_rows()]))
        told = whole.join(words, on=kinds.columns, nulls_equal=True)
        return (
            told.group_by("time", "volume", "operation")
            .agg(pl.col("requests", "bytes").sum())
            .sort("time", "volume", "operation")
        )


class Distinct:
    """How many different values went by: one by one up to a bound, past that those whose hash is small."""

    def __init__(self, most: int) -> None:
        self._most, self._shift = most, 0
        self._hashes = np.empty(0, np.uint64)

    def add(self, values: pl.Series) -> None:
        """Take the values of a batch; null is none."""
        found = values.drop_nulls().unique()
        if found.dtype in (pl.Categorical, pl.Enum, pl.String):
            hashes = [xxhash.xxh3_64_intdigest(word.encode()) for word in found.cast(pl.String)]
            found = pl.Series(hashes, dtype=pl.UInt64)
        new = _mixed(found.cast(pl.UInt64).to_numpy())
        self._hashes = np.union1d(self._hashes, new[new >> np.uint64(64 - self._shift) == 0] if self._shift else new)
        while self._hashes.size > self._most:
            self._shift += 1
            self._hashes = self._hashes[self._hashes >> np.uint64(64 - self._shift) == 0]

    @property
    def count(self) -> int:
        """How many there are; an estimate where ``rate`` is less than 1."""
        return self._hashes.size << self._shift

    @property
    def rate(self) -> float:
        """The share of all values that were followed."""
        return 0.5**self._shift


def _mixed(values: U64) -> U64:
    """SplitMix64's mixing function."""
    with np.errstate(over="ignore"):
        z = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: U64 = z ^ (z >> np.uint64(31))
        return mixed
