"""State of `pipeline.ftl.nand`: dies, channels and the write buffer; until when they are busy, their idle stretches."""

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
            "free",  # when the last of what it was given ends; reads first: of what is settled
            "gaps",  # idle stretches remembered
            "head",  # where the first of them stands
            "row",  # cells of one row have one number: the row programmed last
            "began",  # in order: when that program begins
            "read_row",  # the same for reads
            "read_began",
            "collects",  # until when it works for garbage collection; reads first: what of that has begun
            # of dies where reads go first; operations are programs and erases, counted from 0
            "begun",  # operations that have begun
            "given",  # operations that it was given
            "worked",  # time of those begun
            "work",  # time of those given
            "until",  # when the last ends if the die did nothing else
            "copies",  # reads for copies that wait
            "copied_row",  # the row that the last of them reads
            "passed",  # reads of the host in a row that went before what waited
            "written",  # the last operation that programs for the host, -1 before it
            "collected",  # the last one for garbage collection
        )
    ]
)
# An operation that a die was given: when its data is there, the time of all operations up to it, when it ends if the
# die does nothing else (once it has begun: when it ends), and whether garbage collection asked for it.
OP = np.dtype([("ready", "i8"), ("work", "i8"), ("until", "i8"), ("collects", "i8")])
PLACE = np.dtype(
    [("cell", "i8"), ("done", "i8"), ("op", "i8"), ("blocked", "i4"), ("next", "i4")]
)  # of the write buffer; done: as told when it was taken, op: its die's operation
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
    reads_first: bool
    depth: int  # of a die's ring of operations, a power of two
    lanes: Any  # [page in block] LANE
    units: Any  # [die, then channel] UNIT
    gaps: NDArray[np.int64]  # [unit * GAPS + gap, (begin, end)], in a ring in order of time
    ops: Any  # [die * depth + number of the operation % depth] OP, where reads go first
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
def remember(nand: Nand, unit: Whole, begin: Whole, least: Whole) -> None:
    """A unit idles until ``begin``: it remembers that if it is for ``least`` or longer."""
    line, now = nand.units[unit], nand.moment[0].start
    idle = max(line.free, now)
    if begin - idle >= least:
        if line.gaps == GAPS and nand.gaps[unit * GAPS + line.head, 1] < now:
            line.head = (line.head + 1) & LAST
            line.gaps -= 1
        if line.gaps < GAPS:
            new = unit * GAPS + ((line.head + line.gaps) & LAST)
            nand.gaps[new, 0], nand.gaps[new, 1] = idle, begin
            line.gaps += 1


@inline_lean_kernel
def append(nand: Nand, unit: Whole, ready: Whole, length: Whole, least: Whole) -> Any:
    """The time from ``ready`` on that a unit gives after all it was given before.

    Where it idles for ``least`` before that, it remembers.
    """
    line = nand.units[unit]
    begin = max(ready, line.free)
    remember(nand, unit, begin, least)
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
