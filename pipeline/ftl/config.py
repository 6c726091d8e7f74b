"""What a page-mapped drive is asked to be, and how a trace meets it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from pipeline.ftl.drive import CapacityError, Frontiers, blocks_for, held_back
from pipeline.ftl.placement import HOST_PLACEMENTS, MOST_CLASSES, MOST_COUNTED, Placement
from pipeline.ftl.victim import Victim
from traces.config import ByName, Bytes, Nanoseconds, split
from traces.errors import ConfigError

GROWN = 16  # a small volume may become so many times larger for its spare to work, before that is a mistake
ADDRESSES = (1 << 32) - 1  # of pages: maps have four bytes an entry, and one value says "nowhere"


class Layout(IntEnum):
    """How the trace's pages become the drive's."""

    DIRECT = 0
    COMPACT = 1


class Prefill(IntEnum):
    """What was written before the trace begins."""

    NONE = 0
    SEQUENTIAL = 1
    RANDOM = 2


class Zeroes(IntEnum):
    """What a write-zeroes request does to whole pages."""

    UNMAP = 0
    PROGRAM = 1


if TYPE_CHECKING:
    HostPlacement = Placement
else:
    HostPlacement = ByName[HOST_PLACEMENTS]  # without what is for maps that are kept in flash


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, int) else split(value)


Sizes = Annotated[tuple[Bytes, ...], BeforeValidator(_many)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A page-mapped drive, and how the trace meets it. ValueError where the keys do not go together."""

    page: Annotated[Bytes, Field(ge=512, le=1 << 24, description="bytes of a flash page, a power of two")] = 4096
    block_pages: Annotated[int, Field(ge=2, le=1 << 16, description="pages in an erase block")] = 64
    spare: Annotated[
        float, Field(gt=0, lt=1, description="nominal spare S_f = 1 - exported pages / physical pages, a share")
    ] = 0.07
    layout: Annotated[
        ByName[Layout],
        Field(
            description="direct: the drive is as large as the volume; compact: pages are numbered in the order of "
            "their first write, and the drive is as large as what the trace writes; discards of pages that were not "
            "written before do nothing, whatever a prefill put there"
        ),
    ] = Layout.COMPACT
    capacity: Annotated[
        Sizes,
        Field(
            description="bytes of each volume's address space, one value for all volumes or one for each; no request "
            "may reach past it. Empty: as far as the trace reaches"
        ),
    ] = ()
    footprint: Annotated[
        Sizes,
        Field(
            description="compact layout: bytes that each volume's drive exports, one value for all or one for each. "
            "Empty: what the trace writes"
        ),
    ] = ()
    victim: Annotated[ByName[Victim], Field(description="how garbage collection chooses a block")] = Victim.GREEDY
    choices: Annotated[int, Field(ge=1, le=1 << 16, description="d of d-choices: blocks drawn for each choice")] = 10
    window_blocks: Annotated[int, Field(ge=1, description="w of windowed: blocks, oldest first, that compete")] = 256
    frontiers: Annotated[
        ByName[Frontiers], Field(description="one: host and collector share the open block; separate: one for each")
    ] = Frontiers.ONE
    placement: Annotated[
        HostPlacement,
        Field(
            description="how data is told apart, each class with frontiers of its own. none: not at all; stream: by "
            "the request's stream modulo streams (what a generator as hot-cold knows of its data, or what the host "
            "says); recency: by the time since a page's last write; frequency: by how often it was written of late"
        ),
    ] = Placement.NONE
    streams: Annotated[int, Field(ge=2, le=MOST_CLASSES, description="classes of data, unless placement is none")] = 2
    reserve: Annotated[
        int, Field(ge=1, description="erased blocks that are kept back for garbage collection; they count as data")
    ] = 1
    prefill: Annotated[
        ByName[Prefill],
        Field(
            description="none: the drive is new; sequential: every page is written once, in order; random: after that, "
            "evenly drawn pages are, twice as many as are exported. Counted apart"
        ),
    ] = Prefill.SEQUENTIAL
    write_zeroes: Annotated[
        ByName[Zeroes], Field(description="write-zeroes requests: unmap whole pages, or program them as writes do")
    ] = Zeroes.UNMAP
    window: Annotated[
        Nanoseconds, Field(ge=0, description="time that a row of ftl_windows covers; 0: about 150 rows a volume")
    ] = 0
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="of the victims and pages that are drawn")] = 0

    def __post_init__(self) -> None:
        if self.page & (self.page - 1):
            raise ValueError(f"page must be a power of two, got {self.page}")
        if self.footprint and self.layout == Layout.DIRECT:
            raise ValueError("footprint is for the compact layout; in the direct one capacity says all")
        if self.placement == Placement.FREQUENCY and self.streams > MOST_COUNTED:
            raise ValueError(f"streams: writes are counted too coarsely to tell more than {MOST_COUNTED} classes apart")
        if self.placement not in HOST_PLACEMENTS:
            raise ValueError(f"placement: {self.placement.name.lower()} is for maps that are kept in flash")
        if self.capacity and self.footprint and len(self.capacity) != len(self.footprint):
            raise ValueError(f"capacity names {len(self.capacity)} volumes, footprint {len(self.footprint)}")
        for name, sizes in (("capacity", self.capacity), ("footprint", self.footprint)):
            for volume, size in enumerate(sizes):
                if size <= 0 or -(-size // self.page) > ADDRESSES:
                    raise ValueError(f"{name}: volume {volume} must have 1 to {ADDRESSES} pages, got {size} bytes")
        for volume in range(len(self.exported)):
            self.blocks(volume)

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        drawn = self.victim in (Victim.RANDOM, Victim.D_CHOICES) or self.prefill == Prefill.RANDOM
        every = {
            "choices": ("unless victim is d-choices", self.victim == Victim.D_CHOICES),
            "window_blocks": ("unless victim is windowed", self.victim == Victim.WINDOWED),
            "streams": ("while placement is none", self.placement != Placement.NONE),
            "seed": ("unless victim is random or d-choices, or prefill random: nothing else is drawn", drawn),
        }
        return {key: why for key, (why, works) in every.items() if not works}

    @property
    def exported(self) -> tuple[int, ...]:
        """Bytes that each volume's drive exports; empty as long as it is not settled."""
        return self.capacity if self.layout == Layout.DIRECT else self.footprint

    @property
    def classes(self) -> int:
        """Of data."""
        return 1 if self.placement == Placement.NONE else self.streams

    @property
    def held(self) -> int:
        """Blocks that are kept erased for copies."""
        return held_back(self.reserve, self.placement, self.classes)

    @property
    def open(self) -> int:
        """Blocks that are open at a time, at most."""
        return self.frontiers * self.classes

    def logical(self, volume: int) -> int:
        """Pages that a volume's drive exports."""
        size: int = self.exported[volume if len(self.exported) > 1 else 0]
        return -(-size // self.page)

    def blocks(self, volume: int) -> int:
        """Physical blocks of a volume's drive; ValueError if they cannot work."""
        pages, logical = self.block_pages, self.logical(volume)
        try:
            blocks = blocks_for(logical, pages, self.spare, self.held, self.open)
        except CapacityError as error:
            least = np.ceil((1 - logical / pages / (error.blocks - 1)) * 1e6 + 1) / 1e6
            raise ValueError(
                f"spare {self.spare} is too small for volume {volume} ({logical} pages, {pages} a block): beside its "
                f"data and the {self.held} reserved blocks nothing is left to collect; the smallest that works is "
                f"{least:.6f}"
            ) from None
        if blocks << (pages - 1).bit_length() > ADDRESSES:
            raise ValueError(
                f"volume {volume}: {blocks} blocks of {pages} pages are more than {ADDRESSES} pages; take a larger page"
            )
        return blocks

    @property
    def least(self) -> int:
        """Pages from which on the spare works for certain: what smaller volumes are given."""
        return int(np.ceil(self.block_pages * (self.held + self.open) * (1 - self.spare) / self.spare))

    def grown(self, logical: int) -> int:
        """The pages themselves, or as many as it takes for the spare to work."""
        logical = max(logical, 1)
        try:
            blocks_for(logical, self.block_pages, self.spare, self.held, self.open)
        except CapacityError:
            needed = self.least
            if needed > max(GROWN * logical, GROWN * self.block_pages * 64):
                raise self.too_large(needed, logical) from None
            return needed
        return logical

    def too_large(self, needed: int, logical: int) -> ConfigError:
        """The error of a volume that would have to grow too much for its spare to work."""
        lower = "lower reserve, " if self.reserve > 1 else ""
        return ConfigError(
            f"reserve {self.reserve} and spare {self.spare} need a drive of {needed} pages, and the trace has "
            f"{logical} for it: {lower}raise spare, lower block_pages or give the drive's size"
        )
