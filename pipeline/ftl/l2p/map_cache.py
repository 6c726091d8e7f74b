"""How large a drive's map cache must be for a trace: hit ratios of LRU caches of every size, from one pass.

A drive whose logical-to-physical map is larger than its DRAM keeps the map in flash and a part of it in a cache. Every
page that a request reads, writes or unmaps is a lookup. What is cached are single entries (the cached mapping table of
DFTL: Gupta, Kim, Urgaonkar, ASPLOS 2009) or whole map pages (translation pages; second structures of a two-level
map), least recently used out first. LRU is a stack algorithm, hence one pass answers for all sizes
(`pipeline.ftl.l2p.mrc`). Each volume is a drive of its own, with its own cache.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from pipeline.ftl.l2p.mrc import Curve, Stack, curve_of, full, grown, look_for, new_stack, touch
from pipeline.stage import Rows, Stage
from traces.block import Block, Op
from traces.config import Bytes
from traces.errors import TraceError
from traces.info import TraceInfo
from traces.kernel import lean_kernel
from traces.table import F64, I64, U8, U32, U64, Bool, Unknown, arrays

ADDRESSES = 1 << 32  # pages that a pointer of four bytes can tell apart; no trace may reach past them
FOLLOWED, FEWEST = 1 << 22, 1 << 11  # keys of all volumes together; of each at least
AHEAD = 16  # requests
NO_BOUND = 1 << 62  # keys


class Granularity(IntEnum):
    """What a map cache holds."""

    ENTRY = 0
    MAP_PAGE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A map cache of any size."""

    page: Annotated[Bytes, Field(ge=512, le=1 << 24, description="bytes of a flash page, a power of two")] = 4096
    fanout: Annotated[
        int, Field(ge=2, le=1 << 20, description="N: pointers in a map page, to logical pages that follow each other")
    ] = 1024
    pointer: Annotated[int, Field(ge=1, le=8, description="bytes of a pointer to a page")] = 4
    cache: Annotated[
        Bytes,
        Field(ge=1, description="DRAM of the map cache whose hit ratio the summary tells; the table tells all sizes"),
    ] = 1 << 20
    discards: Annotated[
        bool, Field(description="whether discards look up the pages that lie wholly inside them, as an unmap does")
    ] = True
    followed: Annotated[
        int,
        Field(
            ge=0,
            le=1 << 28,
            description="map entries of a volume that are followed one by one, and map pages; where there are more, "
            f"all is estimated from a sample of so many. 0: {FOLLOWED} over the trace's volumes, {FEWEST} at least",
        ),
    ] = 0

    def __post_init__(self) -> None:
        if self.page & (self.page - 1):
            raise ValueError(f"page must be a power of two, got {self.page}")
        if 0 < self.followed < 16:
            raise ValueError(f"followed must be 0, or 16 or more, got {self.followed}")

    def size_of(self, granularity: Granularity) -> int:
        """Bytes of DRAM that one cached thing takes: its pointers, and one that says which it is."""
        return self.pointer * (1 + (self.fanout if granularity == Granularity.MAP_PAGE else 1))


class Lookup(NamedTuple):
    """What a map needs to know of a block request."""

    op: Annotated[U8, "see traces.block.Op"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    address: Annotated[U64, "first byte of the request within its volume"]
    length: Annotated[U64, "bytes; 0 where the operation has none"]


class FtlMapCacheSummary(NamedTuple):
    """What an LRU map cache does for each volume of a trace."""

    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    requests: Annotated[U64, "requests of the trace to this volume, of all kinds"]
    lookups: Annotated[U64, "pages that they read, write or unmap, each time: lookups of the map"]
    read_lookups: Annotated[U64, "of lookups, those of reads"]
    entries: Annotated[U64, "distinct map entries looked up: the working set; an estimate where not exact"]
    map_pages: Annotated[U64, "distinct map pages looked up; an estimate where not exact"]
    entries_exact: Annotated[Bool, "whether every map entry was followed; if not, figures of entries are of a sample"]
    map_pages_exact: Annotated[Bool, "the same of map pages"]
    flat_bytes: Annotated[U64, "DRAM of a flat map: a pointer for each page up to the last one looked up"]
    cache_bytes: Annotated[U64, "DRAM of the chosen cache"]
    entry_hit_ratio: Annotated[
        F64, "share of the lookups that the chosen cache of entries answers; NULL below the sample's step", Unknown(-1)
    ]
    map_page_hit_ratio: Annotated[F64, "the same of a cache of map pages", Unknown(-1)]
    entry_read_hit_ratio: Annotated[F64, "of the lookups of reads; NULL where there are none", Unknown(-1)]
    map_page_read_hit_ratio: Annotated[F64, "the same of a cache of map pages", Unknown(-1)]
    entry_most: Annotated[
        F64,
        "hit ratio of a cache of entries without bound: all but first lookups; NULL if nothing is looked up",
        Unknown(-1),
    ]
    map_page_most: Annotated[F64, "the same of a cache of map pages", Unknown(-1)]
    entry_bytes_90: Annotated[
        I64, "DRAM of the smallest cache of entries that answers 90 % of the lookups; NULL if none does", Unknown(-1)
    ]
    entry_bytes_99: Annotated[I64, "the same for 99 %", Unknown(-1)]
    map_page_bytes_90: Annotated[
        I64, "DRAM of the smallest cache of map pages that answers 90 % of the lookups; NULL if none does", Unknown(-1)
    ]
    map_page_bytes_99: Annotated[I64, "the same for 99 %", Unknown(-1)]


class FtlMapMrc(NamedTuple):
    """Hit ratios of LRU map caches over their size: 1, 2, 4... to all that is looked up, and the chosen one."""

    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    granularity: Annotated[U8, "what is cached: 0 map entries, 1 map pages"]
    cache_entries: Annotated[U64, "how many of them the cache holds"]
    cache_bytes: Annotated[U64, "DRAM for their pointers, and for one each that says which it is"]
    hit_ratio: Annotated[F64, "share of all lookups that are answered; NULL below the sample's step", Unknown(-1)]
    read_hit_ratio: Annotated[F64, "share of the lookups of reads; NULL where there are none", Unknown(-1)]
    exact: Annotated[Bool, "whether every key was followed; if not, the row is estimated from a sample"]


class Rules(NamedTuple):
    """What the configuration says to the kernel."""

    page_shift: int
    fanout: int
    discards: bool


@dataclass
class _Volume:
    """What is kept of one volume."""

    stacks: list[Stack]  # one for each granularity
    requests: int = 0
    last: int = -1  # page looked up


@lean_kernel
def survey(trace: Lookup, pages: int, page_shift: int) -> int:
    """The first row that reaches past so many pages, -1 if none does."""
    end = np.uint64(pages) << np.uint64(page_shift)
    for i in range(trace.op.size):
        placed = trace.op[i] <= Op.WRITE_ZEROES and trace.op[i] != Op.FLUSH
        if placed and (trace.address[i] > end or trace.length[i] > end - trace.address[i]):
            return i
    return -1


@lean_kernel
def follow(entries: Stack, map_pages: Stack, trace: Lookup, rules: Rules, at: I64) -> bool:
    """Look up the pages of the requests from ``at[0]`` on, of that one from page ``at[1]`` on; whether all were.

    If not, ``at`` says where to go on when the full stack is grown. ``at[2]`` is the last page of all.
    """
    size = np.int64(1) << rules.page_shift
    for i in range(at[0], trace.op.size):
        if i + AHEAD < trace.op.size:
            look_for(entries, np.int64(trace.address[i + AHEAD]) >> rules.page_shift)
        op, length = trace.op[i], np.int64(trace.length[i])
        if length == 0 or op > Op.WRITE_ZEROES or op == Op.FLUSH or (op == Op.DISCARD and not rules.discards):
            continue
        start = np.int64(trace.address[i])
        begin, end = start >> rules.page_shift, (start + length + size - 1) >> rules.page_shift
        if op == Op.DISCARD:
            begin, end = (start + size - 1) >> rules.page_shift, (start + length) >> rules.page_shift
        for page in range(max(begin, at[1]), end):
            if full(entries) or full(map_pages):
                at[0], at[1] = i, page
                return False
            touch(entries, page, op == Op.READ)
            touch(map_pages, page // rules.fanout, op == Op.READ)
        at[1] = 0
        if begin < end:
            at[2] = max(at[2], end - 1)
    return True


def fit(config: Config, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> Config:
    """Share the keys that are followed among the trace's volumes."""
    if config.followed:
        return config
    return replace(config, followed=max(FEWEST, FOLLOWED // max(len(info.volumes), 1)))


def run(trace: Iterable[pl.DataFrame], config: Config) -> Iterator[Rows]:
    """At the end the curves of each volume, then a summary; TraceError for a row past what pointers can tell apart."""
    most = config.followed or FOLLOWED
    rules = Rules(config.page.bit_length() - 1, config.fanout, config.discards)
    volumes: dict[int, _Volume] = {}
    given = 0
    for batch in trace:
        rows = arrays(Lookup, batch)
        if (row := survey(rows, ADDRESSES, rules.page_shift)) >= 0:
            raise TraceError(
                f"block row {given + row}: address {rows.address[row]} + length {rows.length[row]} reaches past the "
                f"{ADDRESSES} pages of {config.page} bytes that a map can have; take a larger page"
            )
        given += rows.op.size
        for volume, part in _parts(batch):
            if volume not in volumes:
                volumes[volume] = _Volume([new_stack(most) for _ in Granularity])
            _serve(volumes[volume], part, rules)
    told = [(volume, kept, [curve_of(s) for s in kept.stacks]) for volume, kept in sorted(volumes.items())]
    yield _curves([(volume, curves) for volume, _, curves in told], config)
    yield _summary(told, config)


def _parts(batch: pl.DataFrame) -> Iterator[tuple[int, Lookup]]:
    """The rows of each volume, in their order."""
    rows = arrays(Lookup, batch.sort("volume", maintain_order=True))
    begins = [0, *(np.flatnonzero(np.diff(rows.volume)) + 1).tolist(), rows.op.size]
    for begin, end in pairwise(begins):
        if begin < end:
            yield int(rows.volume[begin]), Lookup._make(column[begin:end] for column in rows)


def _serve(kept: _Volume, part: Lookup, rules: Rules) -> None:
    """Look up a part of the trace, with room made where it is wanted."""
    at = np.array([0, 0, kept.last], np.int64)
    while not follow(kept.stacks[0], kept.stacks[1], part, rules, at):
        kept.stacks = [grown(s) if full(s) else s for s in kept.stacks]
    kept.requests += part.op.size
    kept.last = int(at[2])


def _curves(told: list[tuple[int, list[Curve]]], config: Config) -> FtlMapMrc:
    rows: list[tuple[Any, ...]] = []
    for volume, curves in told:
        for granularity, curve in zip(Granularity, curves, strict=True):
            size_of = config.size_of(granularity)
            for size in sorted({*curve.sizes(), config.cache // size_of} - {0}):
                ratios = curve.hit_ratio(size), curve.read_hit_ratio(size)
                rows.append((volume, granularity, size, size * size_of, *ratios, curve.exact))
    columns = zip(*rows, strict=True) if rows else [()] * len(FtlMapMrc._fields)
    return FtlMapMrc._make(np.array(column) for column in columns)


def _summary(told: list[tuple[int, _Volume, list[Curve]]], config: Config) -> FtlMapCacheSummary:
    values: dict[str, list[Any]] = {
        "volume": [volume for volume, _, _ in told],
        "requests": [kept.requests for _, kept, _ in told],
        "lookups": [curves[0].lookups for _, _, curves in told],
        "read_lookups": [curves[0].reads for _, _, curves in told],
        "flat_bytes": [(kept.last + 1) * config.pointer for _, kept, _ in told],
        "cache_bytes": [config.cache for _ in told],
    }
    for granularity, one, many in (
        (Granularity.ENTRY, "entry", "entries"),
        (Granularity.MAP_PAGE, "map_page", "map_pages"),
    ):
        size_of = config.size_of(granularity)
        mine = [curves[granularity] for _, _, curves in told]
        size = config.cache // size_of
        values[many] = [curve.keys for curve in mine]
        values[many + "_exact"] = [curve.exact for curve in mine]
        values[one + "_hit_ratio"] = [curve.hit_ratio(size) for curve in mine]
        values[one + "_read_hit_ratio"] = [curve.read_hit_ratio(size) for curve in mine]
        values[one + "_most"] = [curve.hit_ratio(NO_BOUND) for curve in mine]
        for percent in (90, 99):
            sizes = [curve.size_for(percent) for curve in mine]
            values[f"{one}_bytes_{percent}"] = [n * size_of if n >= 0 else -1 for n in sizes]
    return FtlMapCacheSummary(**{name: np.array(values[name]) for name in FtlMapCacheSummary._fields})


STAGE = Stage(
    name="ftl.map_cache",
    doc="A cache of the logical-to-physical map: hit ratios of all its sizes under a block trace.",
    config=Config,
    reads=Block,
    takes=Lookup,
    writes=(FtlMapCacheSummary, FtlMapMrc),
    headline=("entries", "map_pages", "entry_hit_ratio", "map_page_hit_ratio", "entry_bytes_90", "map_page_bytes_90"),
    fit=fit,
    run=run,
)
