"""What is counted while a trace is written: volumes (address spaces, devices), exact repeats, odd requests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces import block, dma, memory, message, pci
from traces.info import TraceInfo, Volume
from traces.kernel import kernel
from traces.table import I64, U8, U16, U32, U64, arrays, columns_of


class _Request(NamedTuple):
    """The numbers of a block request: `Block` without its text. Other kinds are counted in the same columns."""

    time: Annotated[U64, "block.time"]
    op: Annotated[U8, "block.op"]
    volume: Annotated[U32, "block.volume"]
    address: Annotated[U64, "block.address"]
    length: Annotated[U64, "block.length"]
    latency: Annotated[I64, "block.latency"]
    stream: Annotated[U32, "block.stream"]
    flags: Annotated[U16, "block.flags"]


_COUNTS = np.dtype([(name, "u8") for name in ("requests", "reads", "writes", "bytes_read", "bytes_written", "extent")])
_ODD = np.dtype([("empty", "u8"), ("unaligned", "u8"), ("unknown", "u8")])


READ, WRITE, EMPTY = 1, 2, 4  # what an operation is, added up; EMPTY: may have no bytes


def _meanings(known: Mapping[Any, int]) -> U8:
    """[operation] -> what it is."""
    table = np.zeros(256, np.uint8)
    for op, meaning in known.items():
        table[op] = meaning
    return table


_BLOCK = _meanings(
    {block.Op.READ: READ, block.Op.WRITE: WRITE, block.Op.ZONE_APPEND: WRITE, block.Op.FLUSH: EMPTY}
    | {op: EMPTY for op in block.Op if block.Op.ZONE_OPEN <= op <= block.Op.UNKNOWN}
)
_MEMORY = _meanings({memory.Op.LOAD: READ, memory.Op.STORE: WRITE, memory.Op.MODIFY: READ | WRITE})
_PLAIN = _meanings({0: READ, 1: WRITE})


@kernel
def _count(r: _Request, meanings: U8, volumes: NDArray[np.void], odd: NDArray[np.void]) -> None:
    """Add requests to their volumes' counts."""
    for i in range(r.time.size):
        v = volumes[r.volume[i]]
        op, length = r.op[i], r.length[i]
        meaning = meanings[op]
        v.requests += np.uint64(1)
        if meaning & READ:
            v.reads += np.uint64(1)
            v.bytes_read += length
        if meaning & WRITE:
            v.writes += np.uint64(1)
            v.bytes_written += length
        if length > 0:
            v.extent = max(v.extent, r.address[i] + length)
        o = odd[0]
        o.empty += np.uint64(length == 0 and not meaning & EMPTY)
        o.unaligned += np.uint64(((r.address[i] | length) & np.uint64(511)) != 0)
        o.unknown += np.uint64(op == 255)


@kernel
def _same(r: _Request, i: int, j: int) -> bool:
    return bool(
        r.address[i] == r.address[j]
        and r.length[i] == r.length[j]
        and r.op[i] == r.op[j]
        and r.volume[i] == r.volume[j]
        and r.latency[i] == r.latency[j]
        and r.stream[i] == r.stream[j]
        and r.flags[i] == r.flags[j]
    )


@kernel
def _mixed(r: _Request, i: int) -> Any:
    h = np.uint64(0x9E3779B97F4A7C15)
    for value in (
        r.address[i],
        r.length[i],
        np.uint64(r.op[i]) | (np.uint64(r.volume[i]) << np.uint64(8)),
        np.uint64(r.latency[i]),
        np.uint64(r.stream[i]) | (np.uint64(r.flags[i]) << np.uint64(32)),
    ):
        h = (h ^ value) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(31)
    return h


@kernel
def _repeats(r: _Request, count: int) -> Any:
    """Among the first ``count`` rows, which end with a whole instant: those that repeat an earlier row exactly."""
    found, i = 0, 0
    while i < count:
        j = i + 1
        while j < count and r.time[j] == r.time[i]:
            j += 1
        if j - i > 1 and j - i <= 16:
            for a in range(i + 1, j):
                for b in range(i, a):
                    if _same(r, a, b):
                        found += 1
                        break
        elif j - i > 16:
            hashes = np.empty(j - i, np.uint64)
            for a in range(i, j):
                hashes[a - i] = _mixed(r, a)
            hashes.sort()
            for a in range(1, hashes.size):
                found += hashes[a] == hashes[a - 1]
        i = j
    return found


_SENTENCES = {
    "empty": "requests of no bytes that should have some",
    "unaligned": "requests that are not whole 512-byte sectors",
    "unknown": "requests of an operation that is not known",
}


class _Kind(NamedTuple):
    """How the rows of one trace kind are counted."""

    columns: list[pl.Expr]  # as `_Request`
    meanings: U8
    odd: dict[str, str]
    key: pl.Expr | None = None  # what tells volumes apart where rows do not carry their number
    name: Callable[[int], str] = str  # a volume's name from its key
    repeats: bool = True  # whether exact repeats are counted; of memory accesses they are loops, no mistakes


def _bits(*columns: tuple[pl.Expr | str, int], dtype: type[pl.DataType] = pl.UInt64) -> pl.Expr:
    """Columns side by side in one number, each shifted left by so many bits."""
    parts = [(pl.col(c) if isinstance(c, str) else c).cast(dtype) * (1 << shift) for c, shift in columns]
    return pl.sum_horizontal(parts).cast(dtype)


def _device(key: int) -> str:
    return "no device" if key < 0 else f"{key >> 16:04x}:{key >> 8 & 255:02x}:{key >> 3 & 31:02x}.{key & 7}"


def _place(key: int) -> str:
    return "absent functions" if key < 0 else _device(key)


_BDF = _bits(("segment", 16), ("bus", 8), ("device", 3), ("function", 0))


def _nothing(name: str, dtype: type[pl.DataType]) -> pl.Expr:
    return pl.lit(0, dtype=dtype).alias(name)


_KINDS = {
    "block": _Kind([pl.col(c.name) for c in columns_of(_Request)], _BLOCK, _SENTENCES),
    "memory": _Kind(
        [
            pl.col("time", "op"),
            pl.col("space").alias("volume"),
            pl.col("address"),
            pl.col("size").alias("length"),
            (pl.col("ip") ^ pl.col("gap")).cast(pl.Int64, wrap_numerical=True).alias("latency"),
            pl.col("cpu").alias("stream"),
            _nothing("flags", pl.UInt16),
        ],
        _MEMORY,
        {"unknown": "accesses of an operation that is not known"},
        repeats=False,
    ),
    "config": _Kind(
        [
            pl.col("time", "op"),
            _bits((_BDF, 12), ("register", 0)).alias("address"),
            pl.col("width").cast(pl.UInt64).alias("length"),
            pl.col("value").cast(pl.Int64, wrap_numerical=True).alias("latency"),
            pl.col("cpu").alias("stream"),
            _bits(("mechanism", 0), ("present", 2), dtype=pl.UInt16).alias("flags"),
        ],
        _PLAIN,
        {},
        pl.when(pl.col("present") == pci.Presence.ABSENT).then(-1).otherwise(_BDF.cast(pl.Int64)),
        _place,
    ),
    "dma": _Kind(
        [
            pl.col("time"),
            pl.when(pl.col("event") == dma.Event.ACCESS).then("write").otherwise(2).cast(pl.UInt8).alias("op"),
            pl.col("address"),
            pl.col("size").alias("length"),
            pl.col("target").cast(pl.Int64, wrap_numerical=True).alias("latency"),
            (pl.col("domain") ^ pl.col("pasid")).alias("stream"),
            _bits(("event", 0), ("hit", 8), ("write", 10), ("fault", 12), dtype=pl.UInt16).alias("flags"),
        ],
        _PLAIN,
        {},
        pl.when(pl.col("source") == dma.NOT_TOLD).then(-1).otherwise(pl.col("source").cast(pl.Int64)),
        _device,
    ),
    "message": _Kind(
        [
            pl.col("time"),
            pl.when(pl.col("op") == message.Op.PUBLISHED)
            .then(1)
            .otherwise(pl.col("op") | 2)
            .cast(pl.UInt8)
            .alias("op"),
            pl.col("producer").alias("volume"),
            pl.col("address", "length"),
            pl.col("sequence").cast(pl.Int64, wrap_numerical=True).alias("latency"),
            pl.col("checksum").alias("stream"),
            pl.col("ring").cast(pl.UInt16, wrap_numerical=True).alias("flags"),
        ],
        _PLAIN,
        {"unknown": "records of which it is not known whether they were published"},
    ),
    "text": _Kind(
        [
            pl.col("time"),
            pl.lit(1, dtype=pl.UInt8).alias("op"),
            pl.col("address"),
            pl.col("length").cast(pl.UInt64),
            (pl.col("old").cast(pl.String) + "-" + pl.col("new").cast(pl.String))
            .hash()
            .cast(pl.Int64, wrap_numerical=True)
            .alias("latency"),
            pl.col("pid").alias("stream"),
            _nothing("flags", pl.UInt16),
        ],
        _PLAIN,
        {},
        pl.lit(0, dtype=pl.Int64),
        lambda key: "kernel text",
    ),
}

COUNTED = frozenset(sentence for kind in _KINDS.values() for sentence in kind.odd.values())  # notes that `Tally` makes


class Tally:
    """Counts the rows of a trace, batch by batch, into its `TraceInfo`."""

    def __init__(self, kind: str = "block") -> None:
        self._kind = _KINDS[kind]
        self._volumes = np.zeros(16, _COUNTS)
        self._odd = np.zeros(1, _ODD)
        self._duplicated = 0
        self._rest: pl.DataFrame | None = None  # the last instant's rows: it may go on in the next batch
        self._span = 0
        self._numbers: dict[int, int] = {}  # a volume's key -> its number, where rows do not carry it

    def add(self, batch: pl.DataFrame) -> None:
        """Count a batch of rows of the kind's table, in time order."""
        if not batch.height:
            return
        numbers = batch.select(*self._kind.columns, *self._volume(batch))
        requests = arrays(_Request, numbers)
        top = int(requests.volume.max()) + 1
        if top > self._volumes.size:
            self._volumes = np.concatenate([self._volumes, np.zeros(2 * top - self._volumes.size, _COUNTS)])
        _count(requests, self._kind.meanings, self._volumes, self._odd)
        self._span = int(requests.time[-1])
        if not self._kind.repeats:
            return
        cut = int(np.searchsorted(requests.time, requests.time[-1], "left"))
        if self._rest is not None:
            head = int(np.searchsorted(requests.time, self._rest["time"][0], "right"))
            joined = arrays(_Request, pl.concat([self._rest, numbers[:head]]))
            if cut == 0:  # the instant goes on
                self._rest = pl.concat([self._rest, numbers])
                return
            self._duplicated += _repeats(joined, joined.time.size)
            requests = arrays(_Request, numbers[head:])
            cut -= head
        self._duplicated += _repeats(requests, max(cut, 0))
        self._rest = numbers[-(numbers.height - int(np.searchsorted(numbers["time"].to_numpy(), self._span, "left"))) :]

    def _volume(self, batch: pl.DataFrame) -> list[pl.Series]:
        """The column `volume` where rows do not carry it."""
        if self._kind.key is None:
            return []
        keys = batch.with_columns(self._kind.key.alias("volume"))["volume"]
        for key in keys.unique(maintain_order=True):
            self._numbers.setdefault(key, len(self._numbers))
        return [keys.replace_strict(self._numbers, return_dtype=pl.UInt32)]

    def finish(self, info: TraceInfo, names: Sequence[str]) -> None:
        """Put what was counted into the trace's information; ``names`` are the volumes' keys by number."""
        if self._rest is not None:
            last = arrays(_Request, self._rest)
            self._duplicated += _repeats(last, last.time.size)
            self._rest = None
        if self._kind.key is not None:
            names = [self._kind.name(key) for key in self._numbers]
        info.volumes = [
            Volume(name=name, **{key: int(row[key]) for key in _COUNTS.names or ()})
            for name, row in zip(names, self._volumes, strict=False)
        ]
        info.duplicated = self._duplicated
        info.span = self._span
        odd = self._odd[0]
        for key, sentence in self._kind.odd.items():
            if odd[key]:
                info.notes[sentence] = int(odd[key])
