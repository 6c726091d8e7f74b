"""Rows of any kind of trace as requests of volumes: what counts, profiles and tools share.

A volume is what rows are told apart by: of block traces a volume, of memory an address space, of messages a producer,
which the rows number; of configuration accesses and DMA the device that a row names; kernel text is one. What an
operation means stands in a table of bits, so that one kernel serves all kinds.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl

from traces import block, dma, memory, message, pci
from traces.table import I64, U8, U16, U32, U64, columns_of


class Request(NamedTuple):
    """The numbers of a block request: `Block` without its text. Other kinds are counted in the same columns."""

    time: Annotated[U64, "block.time"]
    op: Annotated[U8, "block.op"]
    volume: Annotated[U32, "block.volume"]
    address: Annotated[U64, "block.address"]
    length: Annotated[U64, "block.length"]
    latency: Annotated[I64, "block.latency"]
    stream: Annotated[U32, "block.stream"]
    flags: Annotated[U16, "block.flags"]


# what an operation is, added up
READ = 1
WRITE = 2
EMPTY = 4  # it may have no bytes; where it also uses its place, that one has a byte at least
DISCARD = 8
FLUSH = 16
USES = 32  # its place counts as used
LOOKS = 64  # and as read
CHANGES = 128  # and as written

_READS, _WRITES = READ | USES | LOOKS, WRITE | USES | CHANGES


def _meanings(known: Mapping[Any, int]) -> U8:
    """[operation] -> what it is."""
    table = np.zeros(256, np.uint8)
    for op, meaning in known.items():
        table[op] = meaning
    return table


_BLOCK = _meanings(
    {block.Op.READ: _READS, block.Op.WRITE: _WRITES, block.Op.ZONE_APPEND: _WRITES}
    | {block.Op.DISCARD: DISCARD, block.Op.FLUSH: EMPTY | FLUSH}
    | {op: EMPTY for op in block.Op if block.Op.ZONE_OPEN <= op <= block.Op.UNKNOWN}
)
_IDLE = 254  # of a memory trace: a region of which a monitor saw that nobody used it
_MEMORY = _meanings(
    {
        memory.Op.LOAD: EMPTY | _READS,
        memory.Op.STORE: EMPTY | _WRITES,
        memory.Op.MODIFY: EMPTY | _READS | _WRITES,
        memory.Op.FETCH: EMPTY | USES | LOOKS,
        memory.Op.SAMPLED: EMPTY | USES,
        memory.Op.DIRTY: EMPTY | USES | CHANGES,
        memory.Op.UNKNOWN: EMPTY | USES,
        _IDLE: EMPTY,
    }
)
_UNTOLD, _NO_ACCESS = 2, 3  # of a DMA trace: an access of which it is not told whether it writes; anything else
_PLAIN = _meanings({0: EMPTY | _READS, 1: EMPTY | _WRITES})
_DMA = _meanings({0: EMPTY | _READS, 1: EMPTY | _WRITES, _UNTOLD: EMPTY | USES, _NO_ACCESS: EMPTY})

_SENTENCES = {
    "empty": "requests of no bytes that should have some",
    "unaligned": "requests that are not whole 512-byte sectors",
    "unknown": "requests of an operation that is not known",
}


class Kind(NamedTuple):
    """How the rows of one trace kind are counted."""

    columns: dict[str, pl.Expr]  # `Request`'s; from ``latency`` on they tell rows apart, no more (block: what they say)
    meanings: U8  # [operation] -> what it is
    odd: dict[str, str]
    place: str | None = None  # the column that numbers the volumes
    key: pl.Expr | None = None  # what tells volumes apart where rows do not carry their number
    name: Callable[[int], str] = str  # a volume's name from its key
    repeats: bool = True  # whether exact repeats are counted; of memory accesses they are loops, no mistakes


def bits(*columns: tuple[pl.Expr | str, int], dtype: type[pl.DataType] = pl.UInt64) -> pl.Expr:
    """Columns side by side in one number, each shifted left by so many bits."""
    parts = [(pl.col(c) if isinstance(c, str) else c).cast(dtype) * (1 << shift) for c, shift in columns]
    return pl.sum_horizontal(parts).cast(dtype)


def _device(key: int) -> str:
    return "no device" if key < 0 else f"{key >> 16:04x}:{key >> 8 & 255:02x}:{key >> 3 & 31:02x}.{key & 7}"


def _place(key: int) -> str:
    return "absent functions" if key < 0 else _device(key)


BDF = bits(("segment", 16), ("bus", 8), ("device", 3), ("function", 0))  # of a row of the kind config


_NO_FLAGS = pl.lit(0, pl.UInt16)

KINDS = {
    "block": Kind({c.name: pl.col(c.name) for c in columns_of(Request)}, _BLOCK, _SENTENCES, "volume"),
    "memory": Kind(
        {
            "time": pl.col("time"),
            "op": pl.when((pl.col("op") == memory.Op.SAMPLED) & (pl.col("accesses") == 0))
            .then(pl.lit(_IDLE, pl.UInt8))
            .otherwise("op"),
            "volume": pl.col("space"),
            "address": pl.col("address"),
            "length": pl.col("size"),
            "latency": (pl.col("ip") ^ pl.col("gap")).cast(pl.Int64, wrap_numerical=True),
            "stream": pl.col("cpu"),
            "flags": _NO_FLAGS,
        },
        _MEMORY,
        {"unknown": "accesses of an operation that is not known"},
        "space",
        repeats=False,
    ),
    "config": Kind(
        {
            "time": pl.col("time"),
            "op": pl.col("op"),
            "address": bits((BDF, 12), ("register", 0)),
            "length": pl.col("width").cast(pl.UInt64),
            "latency": pl.col("value").cast(pl.Int64, wrap_numerical=True),
            "stream": pl.col("cpu"),
            "flags": bits(("mechanism", 0), ("present", 2), dtype=pl.UInt16),
        },
        _PLAIN,
        {},
        key=pl.when(pl.col("present") == pci.Presence.ABSENT).then(-1).otherwise(BDF.cast(pl.Int64)),
        name=_place,
    ),
    "dma": Kind(
        {
            "time": pl.col("time"),
            "op": pl.when(pl.col("event") == dma.Event.ACCESS).then("write").otherwise(pl.lit(_NO_ACCESS, pl.UInt8)),
            "address": pl.col("address"),
            "length": pl.col("size"),
            "latency": pl.col("target").cast(pl.Int64, wrap_numerical=True),
            "stream": pl.col("domain") ^ pl.col("pasid"),
            "flags": bits(("event", 0), ("hit", 8), ("write", 10), ("fault", 12), dtype=pl.UInt16),
        },
        _DMA,
        {},
        key=pl.when(pl.col("source") == dma.NOT_TOLD).then(-1).otherwise(pl.col("source").cast(pl.Int64)),
        name=_device,
    ),
    "message": Kind(
        {
            "time": pl.col("time"),
            "op": pl.when(pl.col("op") == message.Op.PUBLISHED).then(pl.lit(1, pl.UInt8)).otherwise(pl.col("op") | 2),
            "volume": pl.col("producer"),
            "address": pl.col("address"),
            "length": pl.col("length"),
            "latency": pl.col("sequence").cast(pl.Int64, wrap_numerical=True),
            "stream": pl.col("checksum"),
            "flags": pl.col("ring").cast(pl.UInt16, wrap_numerical=True),
        },
        _PLAIN,
        {"unknown": "records of which it is not known whether they were published"},
        "producer",
    ),
    "text": Kind(
        {
            "time": pl.col("time"),
            "op": pl.lit(1, pl.UInt8),
            "address": pl.col("address"),
            "length": pl.col("length").cast(pl.UInt64),
            "latency": (pl.col("old").cast(pl.String) + "-" + pl.col("new").cast(pl.String))
            .hash()
            .cast(pl.Int64, wrap_numerical=True),
            "stream": pl.col("pid"),
            "flags": _NO_FLAGS,
        },
        _PLAIN,
        {},
        key=pl.lit(0, pl.Int64),
        name=lambda key: "kernel text",
    ),
}

PLACES = {name: kind.place for name, kind in KINDS.items() if kind.place is not None}


class Numbering:
    """The volumes of a trace by number, in the order in which its rows first name them."""

    def __init__(self, kind: str) -> None:
        self._kind = KINDS[kind]
        self._numbers: dict[int, int] = {}  # a volume's key -> its number, where rows do not carry it

    def requests(self, batch: pl.DataFrame, columns: Mapping[str, pl.Expr] | None = None) -> pl.DataFrame:
        """Rows of the kind's table as ``columns`` (those of the kind, where not given) and their ``volume``."""
        wanted = dict(self._kind.columns if columns is None else columns)
        if self._kind.key is None:
            return batch.select(**wanted)
        keys = batch.with_columns(self._kind.key.alias("volume"))["volume"]
        for key in keys.unique(maintain_order=True):
            self._numbers.setdefault(key, len(self._numbers))
        return batch.select(**wanted, volume=pl.lit(keys.replace_strict(self._numbers, return_dtype=pl.UInt32)))

    @property
    def names(self) -> list[str] | None:
        """Names by number, as far as batches went by; None where rows carry the number."""
        return None if self._kind.key is None else [self._kind.name(key) for key in self._numbers]
