"""A page-mapped drive under a block trace: what its garbage collection programs beside what the host writes.

Requests are split into pages. A write that carries less than a page programs a whole one, after reading it if it was
mapped; a discard unmaps only pages that lie wholly inside it. Each volume is a drive of its own. What is erased
when a victim is chosen counts as data (see `pipeline.ftl.drive`), so nominal and effective spare are both told, each
with its closed form beside what was measured. Zone operations and requests of unknown kind are counted, not replayed.

A recorded trace is short beside the age of a drive and touches little of a big disk. Hence two things that are not in
the trace: ``layout = "compact"`` numbers the pages in the order of their first write, so that the drive is as large
as what was written; ``prefill`` writes the drive before the trace begins. Prefilled pages are counted apart and are in
no figure of write amplification.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from pipeline.ftl.drive import (
    BrokenLawError,
    CapacityError,
    Drive,
    Frontiers,
    blocks_for,
    check_laws,
    check_programs,
    new_drive,
    prefill,
)
from pipeline.ftl.replay import (
    BEYOND,
    TIME,
    VOLUME,
    FtlWindows,
    Request,
    Rules,
    end_window,
    mark_written,
    replay,
    survey,
)
from pipeline.ftl.summary import FtlSummary, summary
from pipeline.ftl.victim import Victim
from pipeline.stage import Rows, Stage
from traces.block import Block, Op
from traces.config import ByName, Bytes, Nanoseconds
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.table import arrays, empty, first

WINDOWS = 150  # what an automatic window aims at
# random prefill: how often the exported pages are overwritten. The write amplification of random writes that follow was
# within 0.5 % of theory at spares 0.05 to 0.50; after one time 3 to 5 % above it at 0.50
FILLS = 2
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


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, int | str) else value


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
        if self.capacity and self.footprint and len(self.capacity) != len(self.footprint):
            raise ValueError(f"capacity names {len(self.capacity)} volumes, footprint {len(self.footprint)}")
        for name, sizes in (("capacity", self.capacity), ("footprint", self.footprint)):
            for volume, size in enumerate(sizes):
                if size <= 0 or -(-size // self.page) > ADDRESSES:
                    raise ValueError(f"{name}: volume {volume} must have 1 to {ADDRESSES} pages, got {size} bytes")
        for volume in range(len(self.exported)):
            self.blocks(volume)

    @property
    def exported(self) -> tuple[int, ...]:
        """Bytes that each volume's drive exports; empty as long as it is not settled."""
        return self.capacity if self.layout == Layout.DIRECT else self.footprint

    def logical(self, volume: int) -> int:
        """Pages that a volume's drive exports."""
        size: int = self.exported[volume if len(self.exported) > 1 else 0]
        return -(-size // self.page)

    def blocks(self, volume: int) -> int:
        """Physical blocks of a volume's drive; ValueError if they cannot work."""
        pages, logical = self.block_pages, self.logical(volume)
        try:
            blocks = blocks_for(logical, pages, self.spare, self.reserve, self.frontiers)
        except CapacityError as error:
            least = np.ceil((1 - logical / pages / (error.blocks - 1)) * 1e6 + 1) / 1e6
            raise ValueError(
                f"spare {self.spare} is too small for volume {volume} ({logical} pages, {pages} a block): beside its "
                f"data and the {self.reserve} reserved blocks nothing is left to collect; the smallest that works is "
                f"{least:.6f}"
            ) from None
        if blocks << (pages - 1).bit_length() > ADDRESSES:
            raise ValueError(
                f"volume {volume}: {blocks} blocks of {pages} pages are more than {ADDRESSES} pages; take a larger page"
            )
        return blocks

    def grown(self, logical: int) -> int:
        """The pages themselves, or as many as it takes for the spare to work."""
        logical = max(logical, 1)
        try:
            blocks_for(logical, self.block_pages, self.spare, self.reserve, self.frontiers)
        except CapacityError:
            held = self.reserve + self.frontiers
            needed = int(np.ceil(self.block_pages * held * (1 - self.spare) / self.spare))
            if needed > max(GROWN * logical, GROWN * self.block_pages * 64):
                raise ConfigError(
                    f"reserve {self.reserve} and spare {self.spare} need a drive of {needed} pages, and the trace has "
                    f"{logical} for it: lower reserve, raise spare or give the drive's size"
                ) from None
            return needed
        return logical


def fit(config: Config, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> Config:
    """Settle capacity, footprint and window by the trace; it is read through only for a footprint.

    A volume too small for its spare to work is given more pages. ConfigError if the sizes cannot be had.
    """
    extents = [volume.extent for volume in info.volumes] or _extents(rows())
    for name, sizes in (("capacity", config.capacity), ("footprint", config.footprint)):
        if len(sizes) not in (0, 1, len(extents)):
            raise ConfigError(f"{name}: {len(sizes)} values for the trace's {len(extents)} volumes")
    capacity = tuple(-(-max(size, 1) // config.page) * config.page for size in config.capacity or extents)
    footprint = config.footprint
    if config.layout == Layout.COMPACT:
        footprint = footprint or _footprint(config, info, extents, rows)
        capacity, footprint = _each(capacity, footprint), _each(footprint, capacity)
    elif not config.capacity:
        capacity = tuple(config.page * config.grown(size // config.page) for size in capacity)
    window = config.window or _round_up(info.span // WINDOWS)
    try:
        return replace(config, capacity=capacity, footprint=footprint, window=window)
    except ValueError as error:
        raise ConfigError(str(error)) from None


_footprints: dict[tuple[str, int, Zeroes], tuple[int, ...]] = {}  # pages, so that a grid reads the trace once


def _footprint(
    config: Config, info: TraceInfo, extents: list[int], rows: Callable[[], Iterable[pl.DataFrame]]
) -> tuple[int, ...]:
    """Bytes that each volume's drive exports: what the trace writes, and as much as it takes for the spare to work."""
    for volume, extent in enumerate(extents):
        if extent // config.page > ADDRESSES:
            raise ConfigError(
                f"volume {volume} reaches to byte {extent}, more than {ADDRESSES} pages of {config.page} bytes; "
                "take a larger page"
            )
    key = info.content, config.page, config.write_zeroes
    if not info.content or key not in _footprints:
        _footprints[key] = _written(config, extents, rows())
    return tuple(config.page * config.grown(pages) for pages in _footprints[key])


def _each(sizes: tuple[int, ...], volumes: tuple[int, ...]) -> tuple[int, ...]:
    """One value for all volumes as one for each."""
    return sizes * len(volumes) if len(sizes) == 1 else sizes


def _round_up(span: int) -> int:
    """The next 1, 2 or 5 times a power of ten."""
    step: int = 10 ** (len(str(max(span, 1))) - 1)
    return next(digit * step for digit in (1, 2, 5, 10) if digit * step >= span)


def _extents(trace: Iterable[pl.DataFrame]) -> list[int]:
    """One past the last byte that the requests of each volume touch, for a trace that does not tell."""
    extents = [0]
    for batch in trace:
        touching = batch.filter(pl.col("op").is_in([Op.READ, Op.WRITE, Op.DISCARD, Op.WRITE_ZEROES]))
        for volume, end in touching.group_by("volume").agg((pl.col("address") + pl.col("length")).max()).iter_rows():
            extents.extend([0] * (volume + 1 - len(extents)))
            extents[volume] = max(extents[volume], end)
    return extents


def _written(config: Config, extents: list[int], trace: Iterable[pl.DataFrame]) -> tuple[int, ...]:
    """Distinct pages that each volume's requests write: one bit of memory a page of the extent."""
    bits = [np.zeros(extent // config.page // 8 + 1, np.uint8) for extent in extents]
    pages = [0] * len(extents)
    zeroes = config.write_zeroes == Zeroes.PROGRAM
    for batch in trace:
        for volume, part in by_volume(arrays(Request, batch)):
            if volume >= len(bits):
                raise TraceError(f"block.volume: {volume} is not one of the trace's {len(bits)} volumes")
            new = mark_written(part, config.page.bit_length() - 1, zeroes, bits[volume])
            if new < 0:
                end = int(part.address[-1 - new]) + int(part.length[-1 - new])
                raise TraceError(
                    f"block.address: a write ends at {end}, past the {extents[volume]} bytes that the trace's metadata "
                    f"gives volume {volume}; ingest it again"
                )
            pages[volume] += new
    return tuple(pages)


def _still(column: NDArray[Any]) -> NDArray[Any]:
    """The column, read-only as `arrays` gives them: kernels are compiled for each kind anew."""
    column.setflags(write=False)
    return column


def by_volume(rows: Request) -> Iterator[tuple[int, Request]]:
    """The rows of each volume, in their order."""
    volumes = rows.volume
    if not volumes.size:
        return
    top = volumes.max()
    if top == volumes.min():
        yield int(top), rows
        return
    # numpy sorts 16-bit numbers stably in linear time: 12 ms in place of 57 for a Mi of rows
    order = np.argsort(volumes.astype(np.uint16) if top < 1 << 16 else volumes, kind="stable")
    rows = Request._make(_still(column[order]) for column in rows)
    starts = np.flatnonzero(np.diff(rows.volume)) + 1
    for start, stop in zip([0, *starts], [*starts, order.size], strict=True):
        yield int(rows.volume[start]), Request._make(column[start:stop] for column in rows)


def made(config: Config, volume: int) -> Drive:
    """The drive of one volume as the trace will find it."""
    each = volume if len(config.capacity) > 1 else 0
    drive = new_drive(
        config.logical(volume),
        config.blocks(volume),
        config.block_pages,
        page=config.page,
        reserve=config.reserve,
        frontiers=config.frontiers,
        victim=config.victim,
        choices=config.choices,
        window=config.window_blocks,
        seed=config.seed + volume,
        numbered=-(-config.capacity[each] // config.page) if config.layout == Layout.COMPACT else 0,
    )
    if config.prefill != Prefill.NONE:
        prefill(drive, FILLS * drive.logical if config.prefill == Prefill.RANDOM else 0)
    return drive


def run(trace: Iterable[pl.DataFrame], config: Config) -> Iterator[Rows]:
    """Windows as soon as every volume is past them, in order of time and volume; at the end a summary of each volume.

    ConfigError if the configuration is not settled (see `fit`), TraceError for a row that cannot be replayed.
    """
    if not config.exported or not config.capacity or not config.window:
        raise ConfigError(
            "capacity, footprint (compact layout) and window must be settled by the trace: call fit first"
        )
    capacity = np.array(config.capacity, np.uint64)
    rules = Rules(window=config.window, program_zeroes=config.write_zeroes == Zeroes.PROGRAM)
    drives: dict[int, Drive] = {}
    given, latest = 0, 0
    for batch in trace:
        rows = arrays(Request, batch)
        if not rows.time.size:
            continue
        _refuse(*survey(rows, capacity, np.uint64(latest)), rows, given, config)
        given += rows.time.size
        latest = int(rows.time[-1])
        ended = []
        for volume, part in by_volume(rows):
            if volume not in drives:
                drives[volume] = made(config, volume)
            out = empty(FtlWindows, min(part.time.size, int(part.time[-1] - part.time[0]) // config.window + 1) + 1)
            filled = replay(drives[volume], part, volume, rules, out)
            if filled < 0:
                raise TraceError(
                    f"block.address: the write at {part.address[-1 - filled]} (volume {volume}, "
                    f"{part.time[-1 - filled]} ns) needs more pages than the footprint of {config.logical(volume)} has"
                )
            check_programs(drives[volume])
            ended.append(first(out, filled))
        yield from _told(ended + _ended(drives, config.window, latest // config.window))
    yield from _told(_ended(drives, config.window, None))
    rows_served = 0
    for volume in sorted(drives):
        check_laws(drives[volume])
        rows_served += int(drives[volume].tally[0].requests)
    if rows_served != given:
        raise BrokenLawError(f"requests served {rows_served} != requests given {given}")
    for volume in sorted(drives):
        yield summary(drives[volume], volume)


def _refuse(row: int, why: int, rows: Request, before: int, config: Config) -> None:
    """TraceError if the survey found a row that cannot be replayed."""
    if row < 0:
        return
    where = f"block row {before + row}"
    volume = int(rows.volume[row])
    if why == TIME:
        raise TraceError(f"{where}: at {rows.time[row]} is before the row that precedes it; sort the trace by time")
    if why == VOLUME:
        raise TraceError(f"{where}: volume {volume} is beyond the {len(config.capacity)} volumes configured")
    if why == BEYOND:
        bound = config.capacity[volume if len(config.capacity) > 1 else 0]
        end = int(rows.address[row]) + int(rows.length[row])
        raise TraceError(
            f"{where}: address {rows.address[row]} + length {rows.length[row]} = {end} is past the end of volume "
            f"{volume}, whose capacity is {bound} bytes"
        )


def _ended(drives: dict[int, Drive], window: int, before: int | None) -> list[FtlWindows]:
    """The open windows that lie before the given one; all where none is given."""
    ended = []
    for volume, drive in drives.items():
        if drive.tally[0].window >= 0 and (before is None or drive.tally[0].window < before):
            row = empty(FtlWindows, 1)
            end_window(drive, volume, window, row, 0)
            ended.append(row)
    return ended


def _told(ended: list[FtlWindows]) -> Iterator[FtlWindows]:
    """Windows of all volumes in order of time, then volume."""
    if sum(each.time.size for each in ended):
        rows = FtlWindows._make(np.concatenate(columns) for columns in zip(*ended, strict=True))
        order = np.lexsort((rows.volume, rows.time))
        yield FtlWindows._make(column[order] for column in rows)


STAGE = Stage(
    name="ftl.page_mapped",
    doc="A page-mapped flash translation layer: write amplification, erases and wear under a block trace.",
    config=Config,
    reads=Block,
    takes=Request,
    writes=(FtlSummary, FtlWindows),
    fit=fit,
    run=run,
)
