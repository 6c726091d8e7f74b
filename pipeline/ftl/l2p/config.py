"""What a comparison of logical-to-physical maps is asked to be, and what each map takes in DRAM and flash."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field

from pipeline.ftl._cell import Cell
from pipeline.ftl._power_loss import CrashAt, Protection
from pipeline.ftl.config import GROWN, Config
from pipeline.ftl.drive import CapacityError, blocks_for, held_back
from pipeline.ftl.l2p.flush import SLACK
from pipeline.ftl.l2p.learned_fit import GROUP
from pipeline.ftl.l2p.state import IN_FLASH, Flush, Map, SlotPolicy
from pipeline.ftl.nand.config import PRESETS, Times
from pipeline.ftl.placement import Placement
from traces.config import ByName, Nanoseconds, split
from traces.errors import ConfigError

CLASSES = 2  # of what a drive with its map in flash holds: data, map pages


class Sizes(NamedTuple):
    """Bytes that a map takes, however full its drive is; a learned map's without its segments."""

    directory: int  # DRAM: the flat map, first structures without slots, the global translation directory, groups
    cache: int  # DRAM: slots of the first structures, the cached mapping table
    buffer: int  # DRAM: changed pointers that wait for their map page; which pages the write buffer holds
    flash: int  # map pages

    @property
    def dram(self) -> int:
        """All of it that is DRAM."""
        return self.directory + self.cache + self.buffer


def slot_bytes(fanout: int, pointer: int) -> int:
    """Of one slot of a first structure: a cell, and which of the map page's pointers it is.

    The top bit of a pointer is left over, since `L2pConfig` lets a drive have half as many cells as pointers tell
    apart. With 4-byte pointers and a fan-out of 512 that is 31 + 9 bits, five bytes; with 1,024 it is six. The order of
    the slots is told by their places, and an empty one by a cell that no drive has.
    """
    return -(-(8 * pointer - 1 + (fanout - 1).bit_length()) // 8)


def flat_sizes(pages: int, pointer: int) -> Sizes:
    """A flat map of so many pages."""
    return Sizes(pages * pointer, 0, 0, 0)


def two_level_sizes(pages: int, *, fanout: int, slots: int, pointer: int, page: int, buffer: int = 0) -> Sizes:
    """A two-level map: a pointer and the slots for each map page; ``buffer`` is in bytes."""
    structures = -(-pages // fanout)
    return Sizes(structures * pointer, structures * slots * slot_bytes(fanout, pointer), buffer, structures * page)


if TYPE_CHECKING:
    NoPlacement = Placement
else:
    NoPlacement = ByName[(Placement.NONE,)]


@dataclass(frozen=True, slots=True, kw_only=True)
class L2pConfig(Config):
    """A drive, and the maps that are tried on it. ValueError where the keys do not go together."""

    placement: Annotated[NoPlacement, Field(description="none: data and map pages are what is told apart here")] = (
        Placement.NONE
    )
    window: Annotated[
        Nanoseconds, Field(ge=0, description="time that a row of ftl_l2p_windows covers; 0: about 150 rows a volume")
    ] = 0
    maps: Annotated[
        tuple[ByName[Map], ...],
        BeforeValidator(split),
        Field(
            description="maps that are compared with the flat one, which always is replayed: two-level, dftl, learned"
        ),
    ] = (Map.TWO_LEVEL, Map.DFTL, Map.LEARNED)
    pointer: Annotated[int, Field(ge=2, le=8, description="bytes of a pointer")] = 4
    fanout: Annotated[
        int,
        Field(
            ge=0,
            le=1 << 20,
            description="N: pointers in a map page of the two-level map; 0: as many as fit, which DFTL always has",
        ),
    ] = 0
    slots: Annotated[
        int,
        Field(ge=0, le=1 << 10, description="k: target pointers that a first structure keeps in DRAM, fewer than N"),
    ] = 1
    slot_policy: Annotated[
        ByName[SlotPolicy],
        Field(
            description="which pointers have the slots. lru: those read or written last; fifo: those that came last; "
            "direct: pointer i has slot i mod k; write-only: those written last, reads bring none"
        ),
    ] = SlotPolicy.LRU
    dirty_batch: Annotated[
        int,
        Field(
            ge=1,
            le=1 << 20,
            description="two-level: changed pointers with which a map page is rewritten; 1: each is written through",
        ),
    ] = 1024
    flush: Annotated[
        ByName[Flush],
        Field(description="which map page is rewritten: that with most changed pointers, or that which waited longest"),
    ] = Flush.MOST
    cache_entries: Annotated[
        int,
        Field(ge=0, le=1 << 31, description="DFTL: pointers cached; 0: in as much DRAM as the two-level map takes"),
    ] = 0
    entry_overhead: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="bytes of a cached or waiting pointer, or a page in the write buffer, beside two pointers, its "
            "page's and its cell's: two links of a list and a place in a hash table",
        ),
    ] = 12
    protected_share: Annotated[
        float,
        Field(ge=0, lt=1, description="DFTL: share of its table for segmented LRU's protected segment; 0: plain LRU"),
    ] = 0.0
    gamma: Annotated[
        int,
        Field(
            ge=0, le=127, description="learned: cells by which an approximate segment may be wrong; 0: there is none"
        ),
    ] = 4
    learn_buffer: Annotated[
        int,
        Field(
            ge=0,
            le=1 << 20,
            description="learned: pages of the host's that wait in DRAM to be sorted, programmed and learned together; "
            "0: those of one block",
        ),
    ] = 0
    compact_every: Annotated[
        int,
        Field(
            ge=0, lt=1 << 62, description="learned: pages of the host's after which segments are compacted; 0: never"
        ),
    ] = 1_000_000
    crash_at: CrashAt = 0
    power_loss_protection: Protection = True
    cell: Annotated[ByName[Cell], Field(description="bits a flash cell holds: times of the break-even figures")] = (
        Cell.TLC
    )
    tolerance: Annotated[
        float,
        Field(ge=0, le=1, description="share by which a map may lengthen the flash's work and still pay"),
    ] = 0.05

    def __post_init__(self) -> None:
        if self.placement != Placement.NONE:
            raise ValueError("placement must be none: data and map pages are what is told apart here")
        if not self.maps or Map.FLAT in self.maps or len(set(self.maps)) < len(self.maps):
            raise ValueError("maps names each map once, and not the flat one, which always is replayed")
        if (Map.TWO_LEVEL in self.maps or not self.cache_entries) and self.fanout * self.pointer > self.page:
            raise ValueError(
                f"fanout: {self.fanout} pointers of {self.pointer} bytes do not fit a page of {self.page} bytes; "
                f"{self.page // self.pointer} do"
            )
        if self.slots >= (targets := self.targets(Map.TWO_LEVEL)):
            raise ValueError(f"slots: {self.slots} is not fewer than the {targets} pointers of a map page")
        Config.__post_init__(self)

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        two_level, dftl = Map.TWO_LEVEL in self.maps, Map.DFTL in self.maps
        as_large = dftl and not self.cache_entries  # DFTL's cache has the DRAM of the two-level map
        alone = "unless maps has two-level"
        sized = f"{alone}, or dftl while cache_entries is 0"
        every = dict.fromkeys(("fanout", "slots", "dirty_batch"), (sized, two_level or as_large))
        every["slot_policy"] = (alone, two_level)
        every["flush"] = ("unless maps has two-level or dftl", two_level or dftl)
        every |= dict.fromkeys(("cache_entries", "protected_share"), ("unless maps has dftl", dftl))
        learned = ("unless maps has learned", Map.LEARNED in self.maps)
        every |= dict.fromkeys(("gamma", "learn_buffer", "compact_every"), learned)
        every["power_loss_protection"] = ("while crash_at is 0", self.crash_at != 0)
        mine = {key: why for key, (why, works) in every.items() if not works}
        return Config.idle(self) | mine | {"streams": "where data and map pages are what is told apart"}

    # how large

    def targets(self, kind: Map) -> int:
        """Pointers in a map page."""
        most: int = self.page // self.pointer
        return self.fanout or most if kind == Map.TWO_LEVEL else most

    def map_pages(self, kind: Map, volume: int) -> int:
        """Logical pages that the map takes behind the data's."""
        return -(-self.logical(volume) // self.targets(kind)) if kind in IN_FLASH else 0

    @property
    def held(self) -> int:
        """Blocks that are kept erased for copies and for map pages."""
        return held_back(self.reserve, Placement.BOUND, CLASSES)

    @property
    def open(self) -> int:
        """Blocks that are open at a time, at most."""
        return CLASSES * self.frontiers

    @property
    def densest(self) -> int:
        """The fewest pointers in a map page of any map; 0 if there are no map pages."""
        return min((self.targets(kind) for kind in self.maps if kind in IN_FLASH), default=0)

    def blocks(self, volume: int) -> int:
        """Physical blocks of a volume's drive, the same for all maps; ValueError if they cannot work."""
        pages, logical = self.block_pages, self.logical(volume)
        with_map = logical + (-(-logical // self.densest) if self.densest else 0)
        try:
            blocks_for(logical, pages, self.spare, self.held + with_map // pages - logical // pages, self.open)
        except CapacityError as error:
            least = np.ceil((1 - logical / pages / (error.blocks - 1)) * 1e6 + 1) / 1e6
            raise ValueError(
                f"spare {self.spare} is too small for volume {volume} ({logical} pages and up to {with_map - logical} "
                f"map pages, {pages} a block): beside them and the {self.held} reserved blocks nothing is left to "
                f"collect; the smallest that works is {least:.6f}"
            ) from None
        blocks = Config.blocks(self, volume)
        if blocks * pages >> 8 * self.pointer - 1:
            raise ValueError(
                f"volume {volume}: pointers of {self.pointer} bytes are too short for {blocks * pages} pages"
            )
        return blocks

    # what it takes

    @property
    def entry_bytes(self) -> int:
        """Of a cached or waiting pointer, or a page in the write buffer."""
        return 2 * self.pointer + self.entry_overhead

    def waiting(self, kind: Map) -> int:
        """Changed pointers, or pages in the write buffer, that may wait at most."""
        if kind == Map.LEARNED:
            return self.learn_buffer or self.block_pages
        return (self.dirty_batch if kind == Map.TWO_LEVEL else 1) + SLACK * self.block_pages

    def entries(self, volume: int) -> int:
        """Of DFTL's cached mapping table."""
        logical = self.logical(volume)
        entries = self.cache_entries
        if not entries:
            spare = self.sizes(Map.TWO_LEVEL, volume).dram - self._directory(volume) - self._buffer(Map.DFTL)
            entries = max(1, spare // self.entry_bytes)
        return min(entries, logical)

    def _directory(self, volume: int) -> int:
        return self.map_pages(Map.DFTL, volume) * self.pointer

    def _buffer(self, kind: Map) -> int:
        return self.waiting(kind) * self.entry_bytes

    def sizes(self, kind: Map, volume: int) -> Sizes:
        """What the map of a volume takes; of a learned one, what it takes beside its segments."""
        logical = self.logical(volume)
        if kind == Map.FLAT:
            return flat_sizes(logical, self.pointer)
        if kind == Map.LEARNED:
            return Sizes(-(-logical // GROUP) * self.pointer, 0, self._buffer(kind), 0)
        if kind == Map.TWO_LEVEL:
            targets = self.targets(kind)
            return two_level_sizes(
                logical,
                fanout=targets,
                slots=self.slots,
                pointer=self.pointer,
                page=self.page,
                buffer=self._buffer(kind),
            )
        cache = self.entries(volume) * self.entry_bytes
        return Sizes(self._directory(volume), cache, self._buffer(kind), self.map_pages(kind, volume) * self.page)

    @property
    def times(self) -> Times:
        """Of the flash's operations."""
        return PRESETS[self.cell]

    @property
    def least(self) -> int:
        """Pages from which on the spare works for certain, beside the map pages; ConfigError if none are enough."""
        usable = self.spare / (1 - self.spare) - (1 / self.densest if self.densest else 0)
        if usable <= 0:
            raise ConfigError(
                f"spare {self.spare} is less than what map pages of {self.densest} pointers take; raise spare or fanout"
            )
        return int(np.ceil(self.block_pages * (self.held + self.open + 2) / usable))

    def grown(self, logical: int) -> int:
        """The pages themselves, or as many as it takes for the spare to work beside the map pages."""
        logical, needed = max(logical, 1), self.least
        if logical >= needed:
            return logical
        if needed > max(GROWN * logical, GROWN * self.block_pages * 64):
            raise self.too_large(needed, logical)
        return needed
