"""When requests complete: a drive's channels, dies and planes by the times until which they are busy.

An erase block of the emulated drive is a superblock, one block of every plane of every die, as drives stripe data
(the lines of Linux' pblk, see Bjørling, Gonzalez and Bonnet, FAST 2017; super blocks and super pages of the
Software-Enabled Flash API): page i of it lies on plane i mod P of die i / P mod D, and die d on channel d mod C. So
pages that a frontier programs one after the other go to one die after the other; no die needs a frontier of its own.

There are no events. Requests come in the order of their arrival, and every transfer takes the first time at which its
channel is free (list scheduling). Channels remember up to `GAPS` idle stretches before the time until which they are
busy, which transfers slip into. What dies do is a matter of ``scheduling``:

    in-order     the same as channels: reads slip into idle stretches, programs and erases keep their order
    reads-first  reads of the host and of maps wait for what their die does at that time, and push back what waits for
                 it; reads of copies wait for no program. After `IN_A_ROW` reads one piece of what waits is done. When
                 a place of the write buffer is free, and when a flush completes, is told as it is known then

    read     the die for tR, then its channel for a page's transfer. Reads of a row (pages of one die's planes that
             stand side by side) that wait for the die are served by one multi-plane read
    program  the channel, then the die for tPROG. A page whose data arrives before its row's program began is
             programmed with it (multi-plane)
    copy     a read, its transfer to the controller, the transfer back and a program; all copies of a collection are
             handed out at the arrival of the request that caused it, so that what is programmed later waits behind them
    erase    every die for tBERS, each as soon as it has done its work before and the last copy is programmed

A host write takes the next place of the write buffer, a ring, as soon as the program that had it is complete; pages
are read from there while they are being programmed. A flush completes when all that was written before is programmed.
``fetch`` reads a page that the request's next page must wait for: of a map, or the old one of a partial write.

Where reads go first, a latency that was told stays: a write that waited for a place of the buffer, or for its program,
and a flush are not charged for the reads that push this back after they arrived; what comes after them is. Nor is a
program on another die pushed back with the read that it copies, or an erase with the copies on other dies. A cell is
read before its program is complete if that waits and is no longer, or never was, in the write buffer: a copy, say.
A read that must wait for another (of a map, or one that failed) holds its die from the time on at which it is ready:
what can begin before then does, and reads that come meanwhile have the die's idle stretches.
A die tells `OPS_EACH` operations apart for each row of its share of the write buffer and of a block, since each page
that waits brings copies with it; of more, the first can not be passed (an open loop that asks for more than the drive
can do). Transfers of reads do not pass those of writes: where they take 3.4 us (4 KiB, the default bus) this costs a
read 0.2 ms behind a write of 1 MiB to an idle drive of four channels.

What is left out: suspended programs and erases, differences between the pages of a word line, a host link of finite
rate, the controller's processors, copies inside a die. Data that a busy die must program next is taken to wait
in its registers, however much it is.

Where a drive calls what. Outside of ``begin`` and ``end`` (prefill) nothing happens, and nothing at all where there is
None in place of a `Nand`, which the compiler sees: such a drive is as fast, and as fast to compile, as if all this was
not there.

    begin(nand, at)                 a request that is served, of any kind that `end` knows, before anything else
    read(nand, cell)                for each mapped page that the host reads
    fetch(nand, cell)               before a ``program`` or ``read`` that waits for it; `answer` if none follows
    program(nand, cell)             a page programmed for the host (or of a map) at its frontier
    copy(nand, source, target)      a page that collection or wear levelling copies; an ``erase`` comes next, or more
    erase(nand)                     a block; what was to be copied from it is handed out then
    flush(nand)                     for a flush
    end(nand, op, length)           last; the latency, noted
    end_load(nand, window, volume, out, row)    when a window ends
"""

from typing import Any

from pipeline.ftl._cell import Cell
from pipeline.ftl.nand.books import KINDS, FtlLatency, FtlLoad, Kind, end_load, latencies, note, pop, push, replace
from pipeline.ftl.nand.config import PRESETS, Acknowledge, Loop, Scheduling, Times, Timing
from pipeline.ftl.nand.drives import Nands, nand_of, new_nands, told
from pipeline.ftl.nand.pages import ask_for, copy_listed, due, keep, put, sense
from pipeline.ftl.nand.queue import end_of, give
from pipeline.ftl.nand.units import Nand, append
from pipeline.ftl.victim import Whole
from traces.kernel import lean_kernel

__all__ = [
    "KINDS",
    "PRESETS",
    "Acknowledge",
    "Cell",
    "FtlLatency",
    "FtlLoad",
    "Kind",
    "Loop",
    "Nand",
    "Nands",
    "Scheduling",
    "Times",
    "Timing",
    "answer",
    "begin",
    "copy",
    "end",
    "end_load",
    "erase",
    "fetch",
    "flush",
    "latencies",
    "nand_of",
    "new_nands",
    "program",
    "read",
    "told",
]


@lean_kernel
def is_timed(nand: Nand | None) -> bool:
    """Whether time is modelled."""
    return nand is not None


@lean_kernel
def begin(nand: Nand | None, at: Whole) -> None:
    """A request arrives, at ``at`` ns of the trace; closed loop: when one of those under way completes."""
    if nand is None:
        return
    moment, waiting = nand.moment[0], nand.waiting
    if nand.closed:
        at = 0
        if moment.waiting == waiting.size:
            at = waiting[0]  # its place is kept for when this one completes
            moment.waiting -= 1
            moment.replaces = 1
    else:
        while moment.waiting > 0 and waiting[0] <= at:
            pop(waiting, moment.waiting)
            moment.waiting -= 1
    moment.deepest = max(moment.deepest, moment.waiting)
    if moment.first < 0:
        moment.first = at
    moment.arrival, moment.live, moment.blocked = at, 1, 0
    moment.start = moment.ready = moment.done = at + nand.overhead


@lean_kernel
def read(nand: Nand | None, cell: Whole) -> None:
    """The host reads a page."""
    if nand is None:
        return
    moment = nand.moment[0]
    if moment.live:
        moment.done = max(moment.done, sense(nand, cell, moment.ready))
        moment.ready = moment.start


@lean_kernel
def fetch(nand: Nand | None, cell: Whole) -> None:
    """Read a page that the next ``read`` or ``program`` of the request has to wait for."""
    if nand is None:
        return
    moment = nand.moment[0]
    if moment.live:
        moment.ready = sense(nand, cell, moment.ready)


@lean_kernel
def answer(nand: Nand | None) -> None:
    """What was fetched is all that this page of the request takes: of a page, say, that turned out to be unmapped."""
    if nand is None:
        return
    nand.moment[0].done = max(nand.moment[0].done, nand.moment[0].ready)
    nand.moment[0].ready = nand.moment[0].start


@lean_kernel
def program(nand: Nand | None, cell: Whole) -> None:
    """Program a page for the host, through the write buffer."""
    if nand is None:
        return
    moment = nand.moment[0]
    if not moment.live:
        return
    place, free = nand.places[moment.place], due(nand, moment.place)
    accepted, blocked = moment.start, moment.blocked
    if free > accepted:
        accepted, blocked = free, blocked | place.blocked
    moment.blocked = 0
    done = put(nand, cell, max(accepted, moment.ready), 0)
    keep(nand, moment.place, cell, done, moment.blocked)
    moment.place += 1
    if moment.place == nand.places.size:
        moment.place = 0
    if nand.reads_first:
        after = nand.places[moment.place]
        ask_for(nand.ops, nand.lanes[after.cell & nand.mask].die * nand.depth + (after.op & (nand.depth - 1)))
    moment.written = max(moment.written, done)
    moment.ready = moment.start
    if nand.on_program:
        accepted, blocked = done, blocked | moment.blocked
    moment.done, moment.blocked = max(moment.done, accepted), blocked


@lean_kernel
def copy(nand: Nand | None, source: Whole, target: Whole) -> None:
    """Copy a page of a block that is to be erased; the flash is told of it by ``erase``, which must come next.

    One call for all copies of a block took 7 to 8 ns a page less than one for each.
    """
    if nand is None:
        return
    moment = nand.moment[0]
    if moment.live:
        if moment.listed == nand.listed.shape[0]:
            copy_listed(nand)
        nand.listed[moment.listed, 0], nand.listed[moment.listed, 1] = source, target
        moment.listed += 1


@lean_kernel
def erase(nand: Nand | None) -> None:
    """Erase a block, which is one of every plane of every die, when what was copied from it is programmed."""
    if nand is None:
        return
    moment = nand.moment[0]
    if not moment.live:
        return
    copy_listed(nand)
    for number in range(nand.dies):
        die = nand.units[number]
        ready = max(moment.start, moment.copied)
        if nand.reads_first:
            give(nand, number, ready, nand.erase, 1)
            die.collected = die.given - 1
        else:
            die.collects = append(nand, number, ready, nand.erase, nand.read) + nand.erase
        die.row = die.read_row = -1
    moment.work += nand.dies * nand.erase
    moment.copied = 0


@lean_kernel
def flush(nand: Nand | None) -> None:
    """The request is a flush: it waits until all that was written is programmed."""
    if nand is None:
        return
    nand.moment[0].done = max(nand.moment[0].done, nand.moment[0].written)
    if nand.reads_first:
        for number in range(nand.dies):
            last = end_of(nand, number, nand.units[number].written, 0)
            nand.moment[0].done = max(nand.moment[0].done, last)


@lean_kernel
def end(nand: Nand | None, op: Whole, length: Whole) -> Any:
    """The request, a read, write, discard, write-zeroes or flush, is served; its latency in ns, which is noted."""
    if nand is None:
        return 0
    moment = nand.moment[0]
    moment.done = max(moment.done, moment.ready)
    moment.live = 0
    latency = moment.done - moment.arrival
    if nand.closed and moment.replaces:
        replace(nand.waiting, moment.done)
        moment.waiting += 1
        moment.replaces = 0
    elif moment.waiting < nand.waiting.size:
        push(nand.waiting, moment.waiting, moment.done)
        moment.waiting += 1
    moment.latest = max(moment.latest, moment.done)
    note(nand, op, length, latency)
    return latency
