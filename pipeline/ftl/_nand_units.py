"""Dies, channels and the write buffer of `pipeline.ftl.nand`: until when they are busy, and who comes next."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel

# Idle stretches that a die or channel remembers; one that comes when all are in use is lost. With 16 dies a channel and
# one write beside seven random reads the median read took 815 us with one, 248 with 16, 186.7 with 32, 186.6 with 64,
# 128 and 512. 64 in place of 32 also cost 7 % of the requests/s of a drive that collects.
GAPS = 32
LAST = GAPS - 1

LANE = np.dtype([("die", "i4"), ("channel", "i4"), ("row", "i4")])  # of each page in a block; units, and rows of pages
UNIT = np.dtype(
    [
        (name, "i8")
        for name in (
            "free",  # when the last of what it was given ends
            "gaps",  # idle stretches remembered
            "head",  # where the first of them stands
            "row",  # cells of one row have one number: the row programmed last
            "began",  # when that program begins
            "read_row",  # the same for reads
            "read_began",
            "collects",  # until when it works for garbage collection
        )
    ]
)
PLACE = np.dtype([("cell", "i8"), ("done", "i8"), ("blocked", "i4"), ("next", "i4")])  # of the write buffer
MOMENT = np.dtype(
    [
        (name, "i8")
        for name in (
            "live",  # whether a request is under way
            "arrival",  # of the request
            "start",  # arrival and overhead: before it, nothing is done for the request
            "ready",  # when what its next page waits for is there
            "done",  # when all pages of the request are served that were seen so far
            "blocked",  # whether one of them waited for garbage collection
            "copied",  # when all copies since the last erase are programmed
            "written",  # when all pages written so far are programmed
            "place",  # of the write buffer, next
            "waiting",  # requests under way
            "first",  # arrival of the first request, -1 before it
            "latest",  # when all requests so far are complete
            "work",  # time of dies that was given out
            "worked",  # of it, before the window began
            "mark",  # where the window before ended
            "deepest",  # most requests under way at an arrival, in the window
        )
    ]
)


class Nand(NamedTuple):
    """The flash of one drive, all times in ns. What is a number here stays; what changes is an array."""

    dies: int  # 0: time is not modelled
    window: int  # that a row of ftl_load covers
    mask: int  # a cell to its page in the block
    read: int
    program: int
    erase: int
    transfer: int  # of a page
    overhead: int
    on_program: bool  # writes complete when programmed
    closed: bool
    lanes: Any  # [page in block] LANE
    units: Any  # [die, then channel] UNIT
    gaps: NDArray[np.int64]  # [unit * GAPS + gap, (begin, end)], in a ring in order of time
    places: Any  # [place] PLACE: the write buffer
    heads: NDArray[np.int32]  # [hash of a cell] last place taken by such a cell + 1, 0 where none; a power of two
    waiting: NDArray[np.int64]  # heap of the times when requests under way complete; closed loop: as deep as the queue
    counts: NDArray[np.int64]  # [2 * KINDS, BUCKETS] latencies: of the window, of all windows before
    books: Any  # [2 * KINDS] BOOK
    moment: Any  # [1] MOMENT


@lean_kernel
def slip_in(units: Any, gaps: NDArray[np.int64], unit: Whole, now: Whole, ready: Whole, length: Whole) -> Any:  # noqa: PLR0917
    """The first time from ``ready`` on in an idle stretch of such length, which is taken; -1 if there is none.

    All that slips in between the work of a unit takes equally long, and shorter stretches are not remembered: the first
    one that ends late enough has room.
    """
    line = units[unit]
    base = unit * GAPS
    while line.gaps > 0 and gaps[base + line.head, 1] < now + length:
        line.head = (line.head + 1) & LAST
        line.gaps -= 1
    if line.gaps == 0 or gaps[base + ((line.head + line.gaps - 1) & LAST), 1] < ready + length:
        return -1
    low, high = 0, line.gaps - 1
    while low < high:
        middle = (low + high) >> 1
        if gaps[base + ((line.head + middle) & LAST), 1] < ready + length:
            low = middle + 1
        else:
            high = middle
    i = base + ((line.head + low) & LAST)
    begin, end = max(ready, gaps[i, 0]), gaps[i, 1]
    before, after = begin - gaps[i, 0] >= length, end - begin - length >= length
    if before and after and line.gaps < GAPS:
        for j in range(line.gaps, low, -1):
            here, there = base + ((line.head + j) & LAST), base + ((line.head + j - 1) & LAST)
            gaps[here, 0], gaps[here, 1] = gaps[there, 0], gaps[there, 1]
        line.gaps += 1
        gaps[i, 1] = begin
        gaps[base + ((line.head + low + 1) & LAST), 0] = begin + length
    elif after:  # if both, the earlier is lost
        gaps[i, 0] = begin + length
    elif before:
        gaps[i, 1] = begin
    else:
        line.gaps -= 1
        if low == 0:
            line.head = (line.head + 1) & LAST
        for j in range(low, line.gaps if low else 0):
            here, there = base + ((line.head + j) & LAST), base + ((line.head + j + 1) & LAST)
            gaps[here, 0], gaps[here, 1] = gaps[there, 0], gaps[there, 1]
    return begin


@inline_lean_kernel
def append(nand: Nand, unit: Whole, ready: Whole, length: Whole, least: Whole) -> Any:
    """The time from ``ready`` on that a unit gives after all it was given before.

    Where it idles for ``least`` before that, it remembers.
    """
    line, now = nand.units[unit], nand.moment[0].start
    idle = max(line.free, now)
    begin = max(ready, line.free)
    if begin - idle >= least:
        if line.gaps == GAPS and nand.gaps[unit * GAPS + line.head, 1] < now:
            line.head = (line.head + 1) & LAST
            line.gaps -= 1
        if line.gaps < GAPS:
            new = unit * GAPS + ((line.head + line.gaps) & LAST)
            nand.gaps[new, 0], nand.gaps[new, 1] = idle, begin
            line.gaps += 1
    line.free = begin + length
    return begin


@inline_lean_kernel
def take(nand: Nand, unit: Whole, ready: Whole, length: Whole) -> Any:
    """The first time from ``ready`` on at which a unit is free, now taken."""
    begin = -1
    if nand.units[unit].gaps > 0:
        begin = slip_in(nand.units, nand.gaps, unit, nand.moment[0].start, ready, length)
    if begin < 0:
        begin = append(nand, unit, ready, length, length)
    return begin


@inline_lean_kernel
def buffered(nand: Nand, cell: Whole) -> Any:
    """When the program of a cell completes that is in the write buffer, 0 if it is not."""
    place = nand.heads[cell & (nand.heads.size - 1)] - 1
    while place >= 0 and nand.places[place].cell != cell:
        place = nand.places[place].next - 1
    return nand.places[place].done if place >= 0 else 0


@lean_kernel
def give_up(nand: Nand, place: Whole) -> None:
    """Take a place's cell out of the chain of its hash."""
    entry = nand.places[place]
    chain = entry.cell & (nand.heads.size - 1)
    at = nand.heads[chain] - 1
    if at == place:
        nand.heads[chain] = entry.next
        return
    while nand.places[at].next - 1 != place:
        at = nand.places[at].next - 1
    nand.places[at].next = entry.next


@inline_lean_kernel
def keep(nand: Nand, place: Whole, cell: Whole, done: Whole, blocked: Whole) -> None:
    """Put a cell that is being programmed in a place of the write buffer."""
    entry = nand.places[place]
    if entry.done > 0:
        give_up(nand, place)
    chain = cell & (nand.heads.size - 1)
    entry.cell, entry.done, entry.blocked, entry.next = cell, done, blocked, nand.heads[chain]
    nand.heads[chain] = place + 1


@inline_lean_kernel
def note_wait(nand: Nand, die: Any, ready: Whole, begin: Whole) -> None:
    """Whether the request has to wait for a die that collects."""
    if begin > ready and die.collects > ready:
        nand.moment[0].blocked = 1


@inline_lean_kernel
def sense(nand: Nand, cell: Whole, ready: Whole) -> Any:
    """Read a page into the controller; when it is there."""
    if nand.moment[0].written <= ready or buffered(nand, cell) <= ready:
        page = cell & nand.mask
        lane = nand.lanes[page]
        die, row = nand.units[lane.die], cell - page + lane.row
        if die.read_row == row and die.read_began >= ready:
            begin = die.read_began
        else:
            begin = take(nand, lane.die, ready, nand.read)
            die.read_row, die.read_began = row, begin
            nand.moment[0].work += nand.read
        note_wait(nand, die, ready, begin)
        ready = take(nand, lane.channel, begin + nand.read, nand.transfer) + nand.transfer
    return ready


@inline_lean_kernel
def put(nand: Nand, cell: Whole, ready: Whole) -> Any:
    """Program a page whose data the controller has at ``ready``; when that is complete."""
    page = cell & nand.mask
    lane = nand.lanes[page]
    die, row = nand.units[lane.die], cell - page + lane.row
    ready = take(nand, lane.channel, ready, nand.transfer) + nand.transfer
    if die.row != row or die.began < ready:
        die.began = append(nand, lane.die, ready, nand.program, nand.read)
        die.row = row
        nand.moment[0].work += nand.program
    note_wait(nand, die, ready, die.began)
    return die.began + nand.program
