"""Who recovers a drive's validity counts and how, and what a physical address means: see `pipeline.ftl.recovery`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.ftl.recovery.scan import Shape
from traces.config import ByName, Bytes
from traces.errors import ConfigError
from traces.table import I64

MOST = (1 << 32) - 1  # entries: counts have four bytes
# without: a table of 0.9 Mi entries was one piece, and one of two cores read all of it
TURNS = 16


class Partition(IntEnum):
    """Which entries a core reads."""

    CONTIGUOUS = 0
    STRIDED = 1
    MAP_PAGE = 2


class Merge(IntEnum):
    """How the cores' tables become one."""

    MUTEX = 0
    STRIPED = 1
    TREE = 2
    OWNER = 3
    SHARED = 4


class Duplicates(IntEnum):
    """What several logical addresses on one physical address are."""

    COUNT = 0
    FLAG = 1


@dataclass(frozen=True, kw_only=True)  # with slots no other configuration could have it beside another base
class RecoveryConfig:
    """Who recovers, and how. ValueError where the keys do not go together."""

    cores: Annotated[int, Field(ge=1, le=64, description="threads, each with a subset and a local table")] = 2
    partition: Annotated[
        ByName[Partition],
        Field(
            description="contiguous: equal parts, in order; strided: stretches of the table in turn; map-page: every "
            "core takes the next map pages when it is done with its last ones"
        ),
    ] = Partition.MAP_PAGE
    merge: Annotated[
        ByName[Merge],
        Field(
            description="mutex: one lock, held while a whole local table is added; striped: a lock for each stripe of "
            "the table; tree: pairs, then pairs of pairs; owner: each core adds a range of all tables, without a lock; "
            "shared: no local tables, a lock for each increment (a baseline)"
        ),
    ] = Merge.OWNER
    stripes: Annotated[int, Field(ge=1, le=1 << 16, description="striped, shared: locks")] = 64
    # of 64 Ki, 16 Ki, 16 and 1 entries: 3.6, 2.7, 0.7 and 0.3 G entries/s a core where the table is sequential
    stride: Annotated[
        int,
        Field(ge=1, description="strided: entries that stand together; below a cache line all cores read all of it"),
    ] = 1 << 16
    map_page: Annotated[Bytes, Field(ge=8, description="bytes of a map page")] = 4096
    batch: Annotated[
        int,
        Field(ge=1, description="entries that a core reads between two marks; with map-page, takes at a time at most"),
    ] = 1 << 20
    duplicates: Annotated[
        ByName[Duplicates],
        Field(description="count: the drive deduplicates; flag: it does not, the table is corrupt. Counted in both"),
    ] = Duplicates.FLAG
    shuffle: Annotated[
        int, Field(ge=-1, description="seed of the order in which entries are taken and cores begin; -1: in order")
    ] = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What a physical address means: ``first + (blockset << shift) + page``, 2 ** shift the pages or the next power.

    ConfigError if there is no such drive.
    """

    blocksets: int
    pages: int  # in a blockset
    unmapped: int = MOST  # what stands for no address
    first: int = 0  # the lowest address

    def __post_init__(self) -> None:
        if not 0 < self.pages <= 1 << 40 or not 0 < self.blocksets < 1 << 31 or self.first < 0:
            raise ConfigError(
                f"blocksets, pages and first must be 1 to 2**31 - 1, 1 to 2**40 and not negative, got "
                f"{self.blocksets}, {self.pages} and {self.first}"
            )
        if self.last >= (1 << 64) - 1:
            raise ConfigError(f"the highest address is {self.last}: more than 8 bytes hold; take fewer blocksets")
        if self.first <= self.unmapped <= self.last:
            raise ConfigError(f"unmapped is {self.unmapped}, which is an address too; take one that is none")

    @property
    def shift(self) -> int:
        """Blocksets stand 2 ** shift addresses apart."""
        return (self.pages - 1).bit_length()

    @property
    def last(self) -> int:
        """The highest address."""
        return self.first + (self.blocksets << self.shift) - 1

    def shape(self) -> Shape:
        """The same for kernels."""
        numbers = (self.first, self.last, self.unmapped, self.blocksets, self.pages, self.shift)
        return Shape._make(np.uint64(number) for number in numbers)


def pieces_of(entries: int, width: int, config: RecoveryConfig) -> tuple[I64, NDArray[np.int16]]:
    """The pieces that the table is read in, and the core that each belongs to, -1 if it is not settled.

    A piece is a row: first entry, end, entries that stand together, how far apart their first ones are. ``width`` is of
    an entry, in bytes.
    """
    cores, batch = config.cores, config.batch
    if config.partition == Partition.CONTIGUOUS:
        edges = [entries * core // cores for core in range(cores + 1)]
        rows = [
            (at, min(at + batch, edges[core + 1]), batch, batch, core)
            for core in range(cores)
            for at in range(edges[core], edges[core + 1], batch)
        ]
    elif config.partition == Partition.STRIDED:
        apart = cores * config.stride
        segment = apart * max(1, batch // config.stride)
        rows = [
            (at + core * config.stride, min(at + segment, entries), config.stride, apart, core)
            for at in range(0, entries, segment)
            for core in range(cores)
            if at + core * config.stride < entries
        ]
    else:
        many = at_a_time(entries, width, config)
        rows = [(at, min(at + many, entries), many, many, -1) for at in range(0, entries, many)]
    table = np.array(rows, np.int64).reshape(-1, 5)
    return np.ascontiguousarray(table[:, :4]), table[:, 4].astype(np.int16)


def at_a_time(entries: int, width: int, config: RecoveryConfig) -> int:
    """Entries of the map pages that a core takes at a time: `TURNS` times or more, so that all end at about once."""
    page = max(1, config.map_page // width)
    return page * max(1, min(config.batch, entries // (config.cores * TURNS)) // page)


def size_of(piece: I64) -> int:
    """Entries of a piece."""
    begin, end, run, step = (int(number) for number in piece)
    whole, rest = divmod(end - begin, step)
    return whole * run + min(rest, run)


def stripes_of(blocksets: int, config: RecoveryConfig) -> I64:
    """Where the stripes of the global table begin, and where the last one ends."""
    many = {Merge.STRIPED: config.stripes, Merge.OWNER: config.cores}.get(config.merge, 1)
    many = min(many, blocksets)
    return np.array([blocksets * stripe // many for stripe in range(many + 1)], np.int64)
