"""The drives of a trace's volumes in arrays that they share, so that one kernel call serves a batch of all of them.

What a drive keeps, in bytes:

    where     4 a logical page
    holds     4 a physical page
    counts    1/8 a physical page, up to twice as much where the pages in a block are no power of two
    number    compact layout: 4 a page of the trace's address space, or 6 / 0.9 a logical page, whichever is less
    blocks    17 a block: phase 1, valid 4, erases 4, links 8; cost-benefit 8 more
    rings     8 for each page of one block, and 8
    placement 1 a block where there are classes of data, 4 a logical page where the drive tells them apart
    the rest  2,840: rounds 2,048, two tallies 560, start 96, head 104, frontiers 32

Without placement and with blocks of 32 pages or more (16 unless the victim is cost-benefit) that is at most 16 bytes a
physical page and 3 KiB a drive, whatever the layout: what the rings take in a drive of few blocks is less than what its
spare saves.
"""

import mmap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.ftl.config import Config, Layout
from pipeline.ftl.drive import ROUNDS, TALLY, Drive, Frontiers, held_back
from pipeline.ftl.nand.model import Nands, Timing, nand_of, new_nands
from pipeline.ftl.numbering import ENTRY, WORDS, slots_for
from pipeline.ftl.placement import Placement
from pipeline.ftl.victim import HEAD, Blocks, Victim
from pipeline.ftl.wear.config import Wearing
from pipeline.ftl.wear.state import Wear, new_wear, part_of
from traces.kernel import inline_lean_kernel

NORESERVE = 0x4000  # MAP_NORESERVE of Linux (asm-generic/mman.h); Python's mmap names it from 3.13 on
HUGE = 1 << 22  # bytes from which on numpy asks for huge pages too

START = np.dtype(
    [
        (name, "i8")
        for name in (
            "page",  # where the drive begins in `Fleet.where`
            "cell",  # in holds
            "word",  # in counts
            "number",
            "entry",  # in table
            "block",  # in phase, valid, erases and changed
            "link",
            "heat",
            "logical",  # the drive's pages
            "bound",  # the first of them that is of class 1 if data is told apart by number
            "blocks",
            "bits",
            "near",
        )
    ]
)


class Fleet(NamedTuple):
    """All drives. What is a number here is the same for each; the arrays are those of `Drive`, one after the other."""

    pages: int
    page_shift: int
    shift: int
    frontiers: int
    classes: int
    placement: Placement
    collectors: int
    reserve: int
    victim: Victim
    choices: int
    window: int
    seed: int
    journal: int
    start: Any  # [volume, and one past the last] START
    where: NDArray[np.uint32]
    holds: NDArray[np.uint32]
    counts: NDArray[np.uint64]
    number: NDArray[np.uint32]
    table: NDArray[np.uint16]
    kind: NDArray[np.uint8]
    heat: NDArray[np.uint32]
    moved: NDArray[np.uint32]
    cursor: NDArray[np.int64]
    room: NDArray[np.int64]
    rounds: NDArray[np.int64]
    phase: NDArray[np.uint8]
    valid: NDArray[np.int32]
    erases: NDArray[np.uint32]
    changed: NDArray[np.int64]
    links: NDArray[np.int32]
    head: Any  # [volume] HEAD
    nands: Nands | None
    wear: Wear | None
    tally: Any  # [2 volume: now, 2 volume + 1: when the window began] TALLY


def zeros(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that take memory where they are touched.

    ``np.zeros`` is refused what is larger than the machine, and the drives of a trace together may be.
    """
    size = max(count, 1) * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    if size >= HUGE:
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype, count)


def new_fleet(
    logical: Sequence[int],
    blocks: Sequence[int],
    numbered: Sequence[int],
    pages: int,
    *,
    page: int,
    reserve: int,
    frontiers: Frontiers,
    victim: Victim,
    choices: int,
    window: int,
    seed: int,
    placement: Placement = Placement.NONE,
    classes: int = 1,
    tell_moved: bool = False,
    timing: Timing = Timing(),  # noqa: B008 - frozen
    wearing: Wearing = Wearing(),  # noqa: B008 - frozen
    time: int = 0,
) -> Fleet:
    """Drives, yet to be prepared, of so many logical pages, blocks and pages a block; ``page`` is in bytes.

    ``numbered`` are the pages of each volume's address space if compact, else 0. ``tell_moved``: the pages that a
    collection copied are asked for. ``time`` is that of a window, in ns.
    """
    shift = (pages - 1).bit_length()
    volumes = len(logical)
    start: Any = np.zeros(volumes + 1, START).view(np.recarray)
    drives = start[:-1]
    drives.logical = drives.bound = logical
    drives.blocks = blocks
    slots = [slots_for(*each) for each in zip(logical, numbered, strict=True)]
    drives.bits = [each.bit_length() for each in logical]
    # of 2 ** 32 hashes those with the same low bits are 2 ** (ENTRY - bits) apart
    drives.near = [
        min(size, (size << ENTRY - each.bit_length() >> 32) - 1) for size, each in zip(slots, logical, strict=True)
    ]
    sizes: dict[str, Any] = {
        "page": drives.logical,
        "cell": drives.blocks * pages,
        "word": ((drives.blocks << shift) + 63) >> 6,
        "number": np.where(np.array(slots) == 0, numbered, 0),
        "entry": WORDS * np.array(slots),
        "block": drives.blocks,
        "link": drives.blocks + pages + 1,
        "heat": drives.logical * (placement in (Placement.RECENCY, Placement.FREQUENCY)),
    }
    for name, each in sizes.items():
        start[name][1:] = np.cumsum(each)
    total = {name: int(start[name][-1]) for name in sizes}
    held = held_back(reserve, placement, classes) + wearing.spared
    return Fleet(
        pages=pages,
        page_shift=page.bit_length() - 1,
        shift=shift,
        frontiers=frontiers * classes,
        classes=classes,
        placement=placement,
        collectors=0 if frontiers == Frontiers.ONE else classes,
        reserve=held,
        victim=victim,
        choices=choices,
        window=window,
        seed=seed,
        journal=0,
        start=start,
        where=zeros(total["page"], np.uint32),
        holds=zeros(total["cell"], np.uint32),
        counts=zeros(total["word"], np.uint64),
        number=zeros(total["number"], np.uint32),
        table=zeros(total["entry"], np.uint16),
        kind=zeros(total["block"] if classes > 1 else 0, np.uint8),
        heat=zeros(total["heat"], np.uint32),
        moved=zeros(volumes * pages if tell_moved else 0, np.uint32),
        cursor=zeros(frontiers * classes * volumes, np.int64),
        room=zeros(frontiers * classes * volumes, np.int64),
        rounds=zeros(ROUNDS * volumes, np.int64),
        phase=zeros(total["block"], np.uint8),
        valid=zeros(total["block"], np.int32),
        erases=zeros(total["block"], np.uint32),
        changed=zeros(total["block"] if victim == Victim.COST_BENEFIT else 0, np.int64),
        links=zeros(2 * total["link"], np.int32).reshape(-1, 2),
        head=zeros(volumes, HEAD).view(np.recarray),
        nands=new_nands(timing, volumes, page=page, block_pages=pages, window=time),
        wear=new_wear(
            wearing,
            total["block"],
            volumes,
            held - wearing.spared,
            held + frontiers * classes - 1,
        ),
        tally=zeros(2 * volumes, TALLY).view(np.recarray),
    )


@inline_lean_kernel
def drive_of(fleet: Fleet, volume: int) -> Drive:
    """The drive of a volume: views. (Outside of kernels it is `drive_in`.)"""
    at, end = fleet.start[volume], fleet.start[volume + 1]
    changed = (at.block, end.block) if fleet.changed.size else (0, 0)
    kind = (at.block, end.block) if fleet.kind.size else (0, 0)
    moved = volume * fleet.pages if fleet.moved.size else 0
    first = volume * fleet.frontiers
    return Drive(
        at.logical,
        fleet.pages,
        fleet.page_shift,
        fleet.shift,
        fleet.classes,
        fleet.placement,
        fleet.collectors,
        at.bound,
        fleet.reserve,
        at.bits,
        at.near,
        fleet.where[at.page : end.page],
        fleet.holds[at.cell : end.cell],
        fleet.counts[at.word : end.word],
        fleet.number[at.number : end.number],
        fleet.table[at.entry : end.entry],
        fleet.kind[kind[0] : kind[1]],
        fleet.heat[at.heat : end.heat],
        fleet.moved[moved : moved + fleet.pages if fleet.moved.size else 0],
        fleet.cursor[first : first + fleet.frontiers],
        fleet.room[first : first + fleet.frontiers],
        fleet.rounds[ROUNDS * volume : ROUNDS * volume + ROUNDS],
        Blocks(
            at.blocks,
            fleet.pages,
            fleet.victim,
            fleet.choices,
            fleet.window,
            fleet.phase[at.block : end.block],
            fleet.valid[at.block : end.block],
            fleet.erases[at.block : end.block],
            fleet.changed[changed[0] : changed[1]],
            fleet.links[at.link : end.link],
            fleet.head[volume : volume + 1],
            fleet.journal,
        ),
        nand_of(fleet.nands, volume),
        part_of(fleet.wear, at.block, end.block, volume, at.logical),
        fleet.tally[2 * volume : 2 * volume + 2],
    )


def drive_in(fleet: Fleet, volume: int) -> Drive:
    """What `drive_of` gives, outside of kernels: views.

    A lean kernel must not hand arrays to Python: nobody owns them, and any volume's drive had the first one's wear.
    """
    at, end = fleet.start[volume], fleet.start[volume + 1]
    bare: Drive = drive_of.py_func(fleet._replace(nands=None, wear=None), volume)  # type: ignore[attr-defined]
    return bare._replace(
        nand=nand_of.py_func(fleet.nands, volume),  # type: ignore[attr-defined]
        wear=part_of.py_func(fleet.wear, at.block, end.block, volume, at.logical),  # type: ignore[attr-defined]
    )


def grown_to(config: Config, fleet: Fleet, reached: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of each volume the pages that its drive was given for its spare to work, where the trace needs fewer; else 0.

    What it needs is what it writes; in the direct layout what it reaches, ``reached`` in bytes.
    """
    logical = np.array([config.logical(volume) for volume in range(fleet.start.size - 1)], np.int64)
    needs = -(-reached.astype(np.int64) // config.page)
    if config.layout == Layout.COMPACT:
        needs = fleet.tally[::2].numbered
    return np.where((logical == config.least) & (needs > 0) & (needs < logical), logical, 0)


def state_bytes(fleet: Fleet, volume: int) -> int:
    """Bytes of all that is kept of one drive; those that nothing touches are never committed."""
    drive = drive_in(fleet, volume)
    arrays = [*drive, *drive.blocks, *(drive.nand or ()), *(drive.wear or ())]
    return START.itemsize + sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))
