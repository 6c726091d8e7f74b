"""What is asked of the timing model: keys of every page-mapped drive (see `pipeline.ftl.nand`)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from pipeline.ftl._cell import Cell, Flash
from traces.config import ByName, Bytes, Nanoseconds


class Loop(IntEnum):
    """When requests arrive, if time is modelled at all."""

    OFF = 0
    OPEN = 1
    CLOSED = 2


class Acknowledge(IntEnum):
    """When a write is complete."""

    BUFFER = 0
    PROGRAM = 1


class Scheduling(IntEnum):
    """What a die does first."""

    IN_ORDER = 0
    READS_FIRST = 1


class Times(NamedTuple):
    """Nanoseconds that an operation keeps a die busy."""

    read: int
    program: int
    erase: int


# SLC, MLC, TLC: table 1 of HP's white paper "Solid State Drive Technology: Differences between SLC, MLC and TLC NAND",
# the middle of each range (read 25, 50, ~75 us; program 200-300, 600-900, ~900-1350 us; erase 1.5-2, 3, ~4.5 ms).
# QLC: means over the four kinds of page, measured on a 96-layer chip by Chen et al. (PACA, ICCD 2022, figure 2 and
# table I), as FEMU's hw/femu quotes them: reads 47.9, 76.2, 134.6, 228.1 us, program 1.86 ms, erase 6.34 ms.
# Uncertain: chips of a cell type differ by a factor of two and more between generations, and dies that program all
# pages of a word line at once take less than half of this a page. Give the three times where a datasheet is at hand.
PRESETS = {
    Cell.SLC: Times(25_000, 250_000, 1_750_000),
    Cell.MLC: Times(50_000, 750_000, 3_000_000),
    Cell.TLC: Times(75_000, 1_125_000, 4_500_000),
    Cell.QLC: Times(121_700, 1_860_000, 6_340_000),
}


@dataclass(frozen=True, kw_only=True)
class Timing(Flash):
    """The keys of the timing model; whoever inherits them has ``page`` and ``block_pages`` and calls `check_timing`."""

    timing: Annotated[
        ByName[Loop],
        Field(
            description="off: state alone, no latencies; open: requests arrive at the times of the trace, however many "
            "are under way; closed: times are ignored, and a request arrives when one of queue_depth completes"
        ),
    ] = Loop.OFF
    queue_depth: Annotated[int, Field(ge=1, le=1 << 16, description="closed loop: requests that are under way")] = 32
    channels: Annotated[int, Field(ge=1, le=256, description="timing: buses between controller and flash")] = 4
    dies: Annotated[int, Field(ge=1, le=256, description="timing: dies on each channel")] = 2
    planes: Annotated[int, Field(ge=1, le=16, description="timing: planes of each die")] = 2
    read_time: Annotated[Nanoseconds, Field(ge=0, description="timing: tR, a page from its cells; 0: by cell")] = 0
    program_time: Annotated[Nanoseconds, Field(ge=0, description="timing: tPROG, a page to its cells; 0: by cell")] = 0
    erase_time: Annotated[Nanoseconds, Field(ge=0, description="timing: tBERS, a block; 0: by cell")] = 0
    # ONFI 4.2 (2020) allows 1,600 MT/s on eight bits; 1,200 is what drives of its day run at
    bus: Annotated[Bytes, Field(ge=1_000_000, description="timing: bytes a second of each channel")] = 1_200_000_000
    overhead: Annotated[
        Nanoseconds,
        Field(
            ge=0,
            description="timing: what controller and host link add to each request. An assumption: drives differ, and "
            "nothing else of them is modelled",
        ),
    ] = 10_000
    write_buffer: Annotated[
        int, Field(ge=1, le=1 << 20, description="timing: pages that the host may have written ahead of the flash")
    ] = 1024
    acknowledge: Annotated[
        ByName[Acknowledge],
        Field(description="timing: a write completes when its last page has a place in the buffer, or is programmed"),
    ] = Acknowledge.BUFFER
    scheduling: Annotated[
        ByName[Scheduling],
        Field(
            description="timing: a read waits for all that its die was given before (in-order), or for what the die "
            "does at that time (reads-first: reads of the host and of maps pass programs, copies and erases that wait)"
        ),
    ] = Scheduling.READS_FIRST

    @property
    def times(self) -> Times:
        """Of the cell type, where not given."""
        preset = PRESETS[self.cell]
        return Times(
            self.read_time or preset.read, self.program_time or preset.program, self.erase_time or preset.erase
        )

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        out = {} if self.timing == Loop.CLOSED else {"queue_depth": "unless timing is closed"}
        if self.timing == Loop.OFF:
            keys = ("channels", "dies", "planes", "read_time", "program_time", "erase_time", "bus", "overhead")
            out |= dict.fromkeys((*keys, "write_buffer", "acknowledge", "scheduling"), "while timing is off")
        return out

    def check_timing(self, block_pages: int) -> None:
        """ValueError where the keys do not go together."""
        width = self.channels * self.dies * self.planes
        if self.timing != Loop.OFF and block_pages % width:
            raise ValueError(
                f"block_pages {block_pages} must be a multiple of channels x dies x planes = {width}: an erase block "
                f"is a superblock, as many pages on every plane of every die; take {-(-block_pages // width) * width}"
            )
