"""A page-mapped drive: which physical page holds which logical one, and how pages are programmed, moved and trimmed.

Every write goes to the next page of an open block, the frontier of its class of data (`pipeline.ftl.placement`); where
garbage collection copies to is the same frontier or one of its own, again one a class. When a frontier of the host is
full and opening another block would leave fewer than ``reserve`` erased ones, blocks are collected until it does not,
or until copying has made room in the frontier.

What is erased when a victim is chosen holds no data and wins nothing: those blocks are held back, and the drive
behaves as one with so much less spare. `Drive` adds them up at every choice, so that the effective spare can be told.
With one frontier and a reserve of one exactly one block is held back, the least with which copying has
somewhere to go.

The validity bits beside the two maps let collecting read one word in place of 64 entries of the map, and go from live
page to live page without a branch for the dead ones. What all this takes is added up in `pipeline.ftl.fleet`.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from pipeline.ftl.nand.model import Nand, is_timed
from pipeline.ftl.nand.model import copy as copy_in_time
from pipeline.ftl.nand.model import erase as erase_in_time
from pipeline.ftl.nand.model import program as program_in_time
from pipeline.ftl.placement import Placement, class_of, class_of_copy
from pipeline.ftl.victim import (
    NONE,
    Blocks,
    Whole,
    close,
    draw,
    lose_page,
    pick,
    prepare_blocks,
)
from pipeline.ftl.wear.level import coldest, withdraw
from pipeline.ftl.wear.model import begin_wear, close_block, count_levelled, erase_block, open_erased, prepare_wear
from pipeline.ftl.wear.state import Wear
from traces.kernel import inline_lean_kernel, lean_kernel, prefetch

ROUNDS = 256  # write amplification is kept for so many equal shares of the host's writes at most
ONE = np.uint64(1)
ALL_BITS = np.uint64((1 << 64) - 1)
NO_BITS = np.uint64(0)
first_bit: Any = trailing_zeros
ask_for: Any = prefetch


class Frontiers(IntEnum):
    """Whether garbage collection copies into the block that the host writes, or into one of its own."""

    ONE = 1
    SEPARATE = 2


class CapacityError(Exception):
    """The drive cannot work with so little spare; ``blocks`` is the fewest physical blocks with which it can."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        super().__init__(f"at least {blocks} physical blocks are needed")


TALLY = np.dtype(
    [
        (name, "i8")
        for name in (
            "requests",  # served, of all kinds
            "reads",
            "writes",
            "discards",
            "flushes",
            "write_zeroes",
            "zone",  # zone operations: counted, not replayed
            "unknown",  # counted, not replayed
            "zero_length",
            "refused",  # requests that came when the drive was worn out
            "bytes_written",
            "partial",  # page writes that carried less than a page
            "rmw",  # of them, those that had to read the page first
            "host",  # pages programmed for the host
            "gc",  # pages copied by garbage collection
            "prefill",  # pages programmed before the trace began, copies included
            "prefill_erases",
            "levelled",  # pages copied by wear levelling, or because reading them took many retries
            "map",  # pages of a map that is kept in flash
            "closed",  # pages programmed in blocks that were filled
            "erases",
            "trimmed",
            "mapped",
            "pages_read",
            "unmapped_read",
            "picks",  # victims chosen
            "held",  # erased pages standing at each choice, added up
            "mapped_at_picks",  # mapped pages at each choice, added up
            "moved",  # pages in ``Drive.moved``
            "numbered",  # logical pages given to trace pages (compact layout)
            "round_pages",  # host pages in a round; 0 as long as the drive is not prepared
            "round_end",  # host when the present round is over
            "rounds",  # full rounds
            "round_copied",  # gc and levelled when the present round began
            "window",  # number of the open window, -1 before the first
            "window_end",  # ns
        )
    ]
)


class Drive(NamedTuple):
    """One drive of a fleet: all that outlives one request. What is a number here stays; what changes is an array.

    A cell is a physical page. Blocks stand ``2 ** shift`` cells apart, so that no cell has to be divided by the pages
    in a block; ``holds`` alone leaves no gaps.
    """

    logical: int  # pages exported
    pages: int  # in a block
    page_shift: int  # a byte address to its page
    shift: int  # a cell to its block
    classes: int  # of data
    placement: Placement
    collectors: int  # the frontier that copies of class 0 go to; those of the others follow
    bound: int  # logical page from which on all are of class 1 (Placement.BOUND)
    reserve: int  # blocks
    bits: int  # of a hash table's entry, those that hold the logical page
    near: int  # slots from its home within which a page of the hash table must stand
    where: NDArray[np.uint32]  # [logical page] cell + 1; 0 where unmapped, so that untouched memory is never committed
    holds: NDArray[np.uint32]  # [block * pages + page in it] logical page last programmed there
    counts: NDArray[np.uint64]  # [cell / 64] a bit for each cell that counts
    number: NDArray[np.uint32]  # [trace page] logical page + 1, 0 where none; empty unless compact and dense
    table: NDArray[np.uint16]  # hash table of numbers if compact and sparse (see `pipeline.ftl.numbering`), else empty
    kind: NDArray[np.uint8]  # [block] class of its data; empty if there is one
    heat: NDArray[np.uint32]  # [logical page] what `pipeline.ftl.placement` remembers; empty if nothing
    moved: NDArray[np.uint32]  # logical pages that the latest collection copied; empty if nobody asks
    cursor: NDArray[np.int64]  # [frontier] next cell
    room: NDArray[np.int64]  # [frontier] cells left
    rounds: NDArray[np.int64]  # [round] pages copied during it
    blocks: Blocks
    nand: Nand | None
    wear: Wear | None
    tally: Any  # two TALLYs: now, and when the window began


def blocks_for(logical: int, pages: int, spare: float, reserve: int, frontiers: int) -> int:
    """Physical blocks so that the nominal spare 1 - U/T is at least ``spare``; CapacityError if they cannot work.

    Beside the data and what is held back, the open blocks of other frontiers among it, there must be one page to win.
    """
    data = logical / pages
    blocks = int(np.ceil(round(data / (1 - spare), 6)))
    least = logical // pages + reserve + frontiers
    if blocks < least:
        raise CapacityError(least)
    return blocks


def held_back(reserve: int, placement: Placement, classes: int) -> int:
    """Erased blocks that only copies may open, if ``reserve`` are wanted.

    Where the pages of one victim are of several classes, each class may need a block.
    """
    return reserve + (classes - 1 if placement > Placement.STREAM else 0)


@inline_lean_kernel
def open_block(drive: Drive, frontier: int) -> None:
    """Give a full frontier an erased block."""
    block = open_erased(drive.blocks, drive.wear)
    drive.cursor[frontier] = block << drive.shift
    drive.room[frontier] = drive.pages
    if drive.kind.size:
        drive.kind[block] = frontier - drive.collectors if frontier >= drive.classes else frontier


@lean_kernel
def shut(tally: Any, blocks: Blocks, wear: Wear | None, block: Whole) -> None:
    """The block's last page is programmed."""
    tally[0].closed += blocks.pages
    close(blocks, block)
    close_block(blocks, wear, block)


@inline_lean_kernel
def place(drive: Drive, frontier: int, page: Whole) -> None:
    """Program a logical page at a frontier that has room; its former place must not count any more."""
    cell = drive.cursor[frontier]
    block = cell >> drive.shift
    drive.holds[block * drive.pages + (cell - (block << drive.shift))] = page
    drive.where[page] = cell + 1
    drive.counts[cell >> 6] |= ONE << np.uint64(cell & 63)
    drive.blocks.valid[block] += 1
    drive.cursor[frontier] = cell + 1
    drive.room[frontier] -= 1
    if drive.room[frontier] == 0:
        shut(drive.tally, drive.blocks, drive.wear, block)


@inline_lean_kernel
def forget(drive: Drive, cell: Whole) -> None:
    """The cell's page no longer counts."""
    drive.counts[cell >> 6] &= ~(ONE << np.uint64(cell & 63))
    lose_page(drive.blocks, cell >> drive.shift)


@lean_kernel
def collect(drive: Drive) -> None:
    """Choose a block, copy what counts in it, and erase it."""
    now, blocks = drive.tally[0], drive.blocks
    now.picks += 1
    now.held += blocks.head[0].erased * drive.pages
    for frontier in range(drive.room.size):
        now.held += drive.room[frontier]
    now.mapped_at_picks += now.mapped
    now.gc += empty_block(drive, pick(blocks))


@inline_lean_kernel
def copy_out(drive: Drive, block: Whole, watched: bool) -> int:
    """Copy what counts in a block to the collectors' frontiers; how many pages.

    ``watched`` is a constant, and the compiler makes two functions of this one: asking for each page whether anybody
    wants to know of it cost 9 % of all host pages/s at spare 0.20 and 12 % at 0.07.
    """
    frontier, copied = drive.collectors, 0
    first_cell = block << drive.shift
    row = block * drive.pages - first_cell  # from a cell to its place in ``holds``
    word, cells = first_cell >> 6, 1 << drive.shift
    mine = ALL_BITS  # in each of its words; small blocks share one
    if cells < 64:
        mine = ((ONE << np.uint64(cells)) - ONE) << np.uint64(first_cell & 63)
    # asking for all map entries first: 7.3 in place of 5.4 M host pages/s on 16 Mi pages at spare 0.07, nothing on 1 Mi
    for w in range(word, word + max(cells >> 6, 1)):
        bits = drive.counts[w] & mine
        while bits != NO_BITS:
            cell = (w << 6) + np.int64(first_bit(bits))
            bits &= bits - ONE
            ask_for(drive.where, drive.holds[row + cell])
    for w in range(word, word + max(cells >> 6, 1)):
        bits = drive.counts[w] & mine
        drive.counts[w] &= ~mine
        while bits != NO_BITS:
            cell = (w << 6) + np.int64(first_bit(bits))
            bits &= bits - ONE
            page = np.int64(drive.holds[row + cell])
            if watched:
                if drive.placement != Placement.NONE:
                    frontier = drive.collectors + class_of_copy(drive, page, block)
                if drive.moved.size:
                    drive.moved[copied] = page
            if drive.room[frontier] == 0:
                open_block(drive, frontier)
            place(drive, frontier, page)
            copied += 1
            if watched:
                copy_in_time(drive.nand, cell, drive.where[page] - 1)
    return copied


@inline_lean_kernel
def empty_block(drive: Drive, block: Whole) -> Any:
    """Copy what counts in a block and erase it; how many pages were copied."""
    if drive.placement == Placement.NONE and drive.moved.size == 0 and not is_timed(drive.nand):
        copied = copy_out(drive, block, False)
    else:
        copied = copy_out(drive, block, True)
    drive.tally[0].moved = copied
    erase_block(drive.blocks, drive.wear, block, drive.tally[0].mapped + 1)  # the page that all this is done for
    erase_in_time(drive.nand)
    drive.tally[0].erases += 1
    return copied


@lean_kernel
def empty_apart(drive: Drive, block: Whole) -> Any:
    """Empty a closed block that garbage collection did not choose; how many pages were copied."""
    withdraw(drive.blocks, block)
    copied = empty_block(drive, block)
    drive.tally[0].levelled += copied
    while drive.blocks.head[0].erased < drive.reserve:  # pages of several classes may have opened more blocks than one
        collect(drive)
    return copied


@lean_kernel
def level(drive: Drive, wear: Wear | None) -> None:
    """Static wear levelling: empty the coldest block, if it is time. ``wear`` is the drive's."""
    if wear is None:
        return
    block = coldest(drive.blocks, wear)
    if block != NONE:
        empty_apart(drive, block)
        count_levelled(wear)


@lean_kernel
def make_room(drive: Drive, frontier: int) -> None:
    """Collect until a frontier of the host has room or may be given another block, and the reserve is whole.

    Copies of several classes may open more blocks than the one that they empty.
    """
    head = drive.blocks.head[0]
    level(drive, drive.wear)
    while drive.room[frontier] == 0 or head.erased < drive.reserve:
        if head.erased > drive.reserve:
            open_block(drive, frontier)
        else:
            collect(drive)


@lean_kernel
def end_round(drive: Drive) -> None:
    """Note what was copied during the round; where the notes are full, two rounds become one."""
    now = drive.tally[0]
    if now.rounds == drive.rounds.size:
        for i in range(drive.rounds.size // 2):
            drive.rounds[i] = drive.rounds[2 * i] + drive.rounds[2 * i + 1]
        now.rounds //= 2
        now.round_end += now.round_pages
        now.round_pages *= 2
        return  # an even number of old rounds was full: the present one is the first half of a new one
    drive.rounds[now.rounds] = now.gc + now.levelled - now.round_copied
    now.rounds += 1
    now.round_copied = now.gc + now.levelled
    now.round_end += now.round_pages


@inline_lean_kernel
def program_page(drive: Drive, page: Whole, frontier: int) -> Any:
    """Program one logical page at a frontier that has room; whether it was mapped before."""
    old = np.int64(drive.where[page]) - 1
    if old >= 0:
        forget(drive, old)
    else:
        drive.tally[0].mapped += 1
    place(drive, frontier, page)
    return old >= 0


@inline_lean_kernel
def write_page(drive: Drive, page: Whole, stream: Whole) -> Any:
    """Program one logical page for the host; whether it was mapped before."""
    now = drive.tally[0]
    frontier = 0
    if drive.placement != Placement.NONE:
        frontier = class_of(drive, page, stream)
    if drive.room[frontier] == 0:
        make_room(drive, frontier)
    drive.blocks.head[0].clock += 1
    mapped = program_page(drive, page, frontier)
    program_in_time(drive.nand, drive.where[page] - 1)
    now.host += 1
    if now.host == now.round_end:
        end_round(drive)
    return mapped


@inline_lean_kernel
def trim_page(drive: Drive, page: Whole) -> None:
    """Unmap one logical page."""
    old = np.int64(drive.where[page]) - 1
    if old >= 0:
        forget(drive, old)
        drive.where[page] = 0
        drive.tally[0].mapped -= 1
        drive.tally[0].trimmed += 1


@lean_kernel
def fill(drive: Drive, drawn: int) -> None:
    """Program every logical page once, in order, then ``drawn`` evenly drawn ones."""
    for i in range(drive.logical + drawn):
        page = i
        if i >= drive.logical:
            page = draw(drive.blocks.head[0], drive.logical)
        write_page(drive, page, np.uint32(0))


@lean_kernel
def begin(drive: Drive) -> None:
    """Open the books: all zero but what says where windows and rounds begin."""
    now = drive.tally[0]
    now.window = -1
    now.round_pages = now.round_end = max(1, drive.logical // 8)


@lean_kernel
def prepare(drive: Drive, seed: int, prefilled: bool, fills: int) -> None:
    """Make zeros an erased drive; if it is to be prefilled, `fill` it, ``fills`` times at random after once in order.

    The books begin after that: what was programmed is set apart, and wear starts from nothing.
    """
    prepare_blocks(drive.blocks, seed)
    prepare_wear(drive.blocks, drive.wear, seed)
    begin(drive)
    if prefilled:
        prefill(drive, fills)
    begin_wear(drive.blocks, drive.wear)


@lean_kernel
def prefill(drive: Drive, fills: int) -> None:
    """`fill` the drive and open the books anew."""
    fill(drive, fills * drive.logical)
    open_books(drive)


@lean_kernel
def open_books(drive: Drive) -> None:
    """Set apart what was programmed so far, and let wear start from nothing."""
    now = drive.tally[0]
    programs, erases, mapped, closed = now.host + now.gc + now.map, now.erases, now.mapped, now.closed
    drive.tally[0] = drive.tally[1]  # zeros
    begin(drive)
    now.prefill, now.prefill_erases, now.mapped, now.closed = programs, erases, mapped, closed
    for block in range(drive.blocks.total):
        drive.blocks.erases[block] = 0
