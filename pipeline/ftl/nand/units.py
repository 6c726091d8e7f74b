"""State of `pipeline.ftl.nand`: dies, channels and the write buffer; until when they are busy, their idle stretches."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel, move_rows

# Idle stretches that a die or channel remembers; one that comes when all are in use is lost. With 16 dies a channel and
# one write beside seven random reads the median read took 815 us with one, 248 with 16, 186.7 with 32, 186.6 with 64,
# 128 and 512. 64 in place of 32 also cost 7 % of the requests/s of a drive that collects.
GAPS = 32
STRIDE = 8  # so many of them are passed, or moved, at once: a channel in a closed loop has five
NOWHERE = GAPS + STRIDE + 1  # what is not wanted is written there
NEVER = (1 << 63) - 1
rows: Any = move_rows

LANE = np.dtype([("die", "i4"), ("channel", "i4"), ("row", "i4")])  # of each page in a block; units, and rows of pages
UNIT = np.dtype(
    [
        (name, "i8")
        for name in (
            "free",  # when the last of what it was given ends; reads first: of what is settled
            "gaps",  # idle stretches remembered
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
    # idle stretches in order of time, (begin, end); the ends behind them are NEVER
    + [("idle", "i8", (NOWHERE + 1, 2))]
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
            "listed",  # copies that were asked for since the last erase
            "copied",  # when all copies since the last erase are programmed
            "written",  # when all pages written so far are programmed
            "place",  # of the write buffer, next
            "waiting",  # requests under way
            "replaces",  # closed loop: whether the request takes the place of the first of them
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
    ops: Any  # [die * depth + number of the operation % depth] OP, where reads go first
    places: Any  # [place] PLACE: the write buffer
    listed: NDArray[np.int64]  # [copy, (source, target)] of the collection under way
    heads: NDArray[np.int32]  # [hash of a cell] last place taken by such a cell + 1, 0 where none; a power of two
    waiting: NDArray[np.int64]  # heap of the times when requests under way complete; closed loop: as deep as the queue
    counts: NDArray[np.int64]  # [2 * KINDS, BUCKETS] latencies: of the window, of all windows before
    books: Any  # [2 * KINDS] BOOK
    moment: Any  # [1] MOMENT


@inline_lean_kernel
def forget(line: Any, count: Whole) -> None:
    """Remember the first idle stretches no more."""
    line.gaps -= count
    for i in range(0, line.gaps + 1, STRIDE):
        rows(line.idle, i + count, i, STRIDE)
    for i in range(line.gaps, line.gaps + count):
        line.idle[i, 1] = NEVER


@inline_lean_kernel
def gap_for(line: Any, now: Whole, until: Whole) -> Any:
    """The first idle stretch that ends at ``until`` or later; those that end before ``now`` are forgotten.

    Which of the next few it is no processor foresees: comparing with all of them took 258 ns for a request of a closed
    loop at spare 0.07, stopping at the first that is late enough 277. A ring searched by halves took 60 ns more.
    """
    idle, i = line.idle, 0
    while idle[i, 1] < now:
        i += 1
    if i > 0:
        forget(line, i)
        i = 0
    while idle[i + STRIDE - 1, 1] < until:
        i += STRIDE
    late: Any = i
    for j in range(STRIDE - 1):
        late += np.int64(idle[i + j, 1] < until)
    return late


@inline_lean_kernel
def split(line: Any, i: Whole, since: Whole, begin: Whole, length: Whole) -> None:
    """Take time out of an idle stretch; what is left before and after it is remembered if it is as long.

    Without a branch where there are few: whether none, one or two are left changes from page to page. Entries are moved
    as one piece whatever their number, and what is not left is written to `NOWHERE`.
    """
    idle, end = line.idle, line.idle[i, 1]
    after = end - begin - length >= length
    before = begin - since >= length and not (after and line.gaps == GAPS)  # of two the earlier is lost
    left = np.int64(before) + np.int64(after)
    if line.gaps < STRIDE:
        rows(idle, i + 1, i + left, STRIDE)
    elif left == 2:
        for j in range(line.gaps + 1, i + 1, -1):
            idle[j, 0], idle[j, 1] = idle[j - 1, 0], idle[j - 1, 1]
    elif left == 0:
        for j in range(i, line.gaps + 1):
            idle[j, 0], idle[j, 1] = idle[j + 1, 0], idle[j + 1, 1]
    line.gaps += left - 1
    idle[i if before else NOWHERE, 1] = begin
    last = i + left - 1 if after else NOWHERE
    idle[last, 0], idle[last, 1] = begin + length, end


@lean_kernel
def slip_in(line: Any, now: Whole, ready: Whole, length: Whole) -> Any:
    """The first time from ``ready`` on in an idle stretch of such length, which is taken; -1 if there is none.

    All that slips in between the work of a unit takes equally long, and shorter stretches are not remembered: the first
    one that ends late enough has room.
    """
    i = gap_for(line, now + length, ready + length)
    if i == line.gaps:
        return -1
    since = line.idle[i, 0]
    begin = max(ready, since)
    split(line, i, since, begin, length)
    return begin


@lean_kernel
def take_first(line: Any, now: Whole, ready: Whole, length: Whole) -> Any:
    """The first time from ``ready`` on at which a unit is free, now taken.

    What comes after all that it was given is one more idle stretch, without an end. (Inlined this was no faster.)
    """
    i = gap_for(line, now + length, ready + length)
    since = max(line.idle[i, 0], now * np.int64(i == line.gaps))
    begin = max(ready, since)
    split(line, i, since, begin, length)
    line.free = max(line.free, begin + length)
    return begin


@inline_lean_kernel
def take(nand: Nand, unit: Whole, ready: Whole, length: Whole) -> Any:
    """The first time from ``ready`` on at which a unit is free, now taken."""
    return take_first(nand.units[unit], nand.moment[0].start, ready, length)


@inline_lean_kernel
def remember(nand: Nand, unit: Whole, begin: Whole, least: Whole) -> None:
    """A unit idles until ``begin``: it remembers that if it is for ``least`` or longer."""
    line, now = nand.units[unit], nand.moment[0].start
    idle = max(line.free, now)
    if begin - idle >= least:
        if line.gaps == GAPS and line.idle[0, 1] < now:
            forget(line, 1)
        if line.gaps < GAPS:
            line.idle[line.gaps, 0], line.idle[line.gaps, 1] = idle, begin
            line.gaps += 1


@inline_lean_kernel
def append(nand: Nand, unit: Whole, ready: Whole, length: Whole, least: Whole) -> Any:
    """The time from ``ready`` on that a unit gives after all it was given before.

    Where it idles for ``least`` before that, it remembers.
    """
    line = nand.units[unit]
    begin = max(ready, line.free)
    remember(nand, unit, begin, least)
    line.free = line.idle[line.gaps, 0] = begin + length
    return begin
