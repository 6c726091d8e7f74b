"""When requests complete: a drive's channels, dies and planes by the times until which they are busy.

An erase block of the emulated drive is a superblock, one block of every plane of every die, as drives stripe data
(the lines of Linux' pblk, see Bjørling, Gonzalez and Bonnet, FAST 2017; super blocks and super pages of the
Software-Enabled Flash API): page i of it lies on plane i mod P of die i / P mod D, and die d on channel d mod C. So
pages that a frontier programs one after the other go to one die after the other; no die needs a frontier of its own.

There are no events. Requests come in the order of their arrival, and every operation takes the first time at which its
die or channel is free (list scheduling). Channels and dies remember up to `GAPS` idle stretches before the time until
which they are busy: transfers and reads slip into them, programs and erases of a die keep their order.

    read     the die for tR, then its channel for a page's transfer. Reads of a row (pages of one die's planes that
             stand side by side) that wait for the die are served by one multi-plane read
    program  the channel, then the die for tPROG. A page whose data arrives before its row's program began is
             programmed with it (multi-plane)
    copy     a read, its transfer to the controller, the transfer back and a program; all copies of a collection are
             handed out at the arrival of the request that caused it, so that what comes later waits behind them
    erase    every die for tBERS, each as soon as it has done its work before and the last copy is programmed

A host write takes the next place of the write buffer, a ring, as soon as the program that had it is complete; pages
are read from there while they are being programmed. A flush completes when all that was written before is programmed.
``fetch`` reads a page that the request's next page must wait for: of a map, or the old one of a partial write.

What is left out: suspended programs and erases, differences between the pages of a word line, refresh, a host link of
finite rate, the controller's processors, copies inside a die. Data that a busy die must program next is taken to wait
in its registers, however much it is.

Where a drive calls what. Outside of ``begin`` and ``end`` (prefill) nothing happens, and nothing at all where there is
None in place of a `Nand`, which the compiler sees: such a drive is as fast, and as fast to compile, as if all this was
not there.


    begin(nand, at)                 a request that is served, of any kind that `end` knows, before anything else
    read(nand, cell)                for each mapped page that the host reads
    fetch(nand, cell)               before a ``program`` or ``read`` that waits for it; `answer` if none follows
    program(nand, cell)             a page programmed for the host (or of a map) at its frontier
    copy(nand, source, target)      a page that collection or wear levelling copies
    erase(nand)                     a block, after its copies
    flush(nand)                     for a flush
    end(nand, op, length)           last; the latency, noted
    end_load(nand, window, volume, out, row)    when a window ends
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl._cell import Cell
from pipeline.ftl._nand_books import (
    BOOK,
    BUCKETS,
    DEEPEST,
    KINDS,
    FtlLatency,
    FtlLoad,
    Kind,
    end_load,
    latencies,
    note,
    pop,
    push,
)
from pipeline.ftl._nand_config import PRESETS, Acknowledge, Loop, Times, Timing
from pipeline.ftl._nand_units import GAPS, LANE, MOMENT, PLACE, UNIT, Nand, append, keep, put, sense
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


class Nands(NamedTuple):
    """The flash of all drives of a fleet: the numbers of `Nand`, and its arrays one drive after the other.

    Bytes a drive: 576 a die or channel; 28 to 32 a page of the write buffer; 8 a request under way (open loop 32 KiB);
    172,032 of histograms, of which little is ever touched.
    """

    dies: int
    window: int
    mask: int
    read: int
    program: int
    erase: int
    transfer: int
    overhead: int
    on_program: bool
    closed: bool
    channels: int
    buffer: int  # pages
    chains: int
    deepest: int  # requests under way that are told apart
    kinds: int  # of books; 0 where time is not modelled
    lanes: Any
    units: Any
    gaps: NDArray[np.int64]
    places: Any
    heads: NDArray[np.int32]
    waiting: NDArray[np.int64]
    counts: NDArray[np.int64]
    books: Any
    moment: Any


def new_nands(config: Timing, volumes: int, *, page: int, block_pages: int, window: int) -> Nands | None:
    """The flash of so many drives, idle; None if ``config.timing`` is off.

    ``page`` is in bytes, ``window`` in ns.
    """
    if config.timing == Loop.OFF:
        return None
    dies, buffer = config.channels * config.dies, config.write_buffer
    chains = 1 << (buffer - 1).bit_length()
    closed = config.timing == Loop.CLOSED
    deepest = config.queue_depth if closed else DEEPEST
    pages = np.arange(block_pages)
    lanes: Any = np.zeros(pages.size, LANE).view(np.recarray)
    lanes.row = pages // config.planes
    lanes.die = lanes.row % dies
    lanes.channel = dies + lanes.die % config.channels
    moment: Any = np.zeros(volumes, MOMENT).view(np.recarray)
    moment.first = -1
    units: Any = np.zeros(volumes * (dies + config.channels), UNIT).view(np.recarray)
    units.row = units.read_row = -1
    return Nands(
        dies=dies,
        window=window,
        mask=(1 << (block_pages - 1).bit_length()) - 1,
        read=config.times.read,
        program=config.times.program,
        erase=config.times.erase,
        transfer=max(1, round(page * 1e9 / config.bus)),
        overhead=config.overhead,
        on_program=config.acknowledge == Acknowledge.PROGRAM,
        closed=closed,
        channels=config.channels,
        buffer=buffer,
        chains=chains,
        deepest=deepest,
        kinds=2 * KINDS,
        lanes=lanes,
        units=units,
        gaps=np.zeros(units.size * GAPS * 2, np.int64).reshape(-1, 2),
        places=np.zeros(volumes * buffer, PLACE).view(np.recarray),
        heads=np.zeros(volumes * chains, np.int32),
        waiting=np.zeros(volumes * deepest, np.int64),
        counts=np.zeros(volumes * 2 * KINDS * BUCKETS, np.int64).reshape(-1, BUCKETS),
        books=np.zeros(volumes * 2 * KINDS, BOOK).view(np.recarray),
        moment=moment,
    )


@lean_kernel
def nand_of(nands: Nands | None, volume: int) -> Nand | None:
    """The flash of a volume's drive: views. (Outside of kernels it is ``nand_of.py_func``.)"""
    if nands is None:
        return None
    units = nands.dies + nands.channels
    return Nand(
        nands.dies,
        nands.window,
        nands.mask,
        nands.read,
        nands.program,
        nands.erase,
        nands.transfer,
        nands.overhead,
        nands.on_program,
        nands.closed,
        nands.lanes,
        nands.units[volume * units : (volume + 1) * units],
        nands.gaps[volume * units * GAPS : (volume + 1) * units * GAPS],
        nands.places[volume * nands.buffer : (volume + 1) * nands.buffer],
        nands.heads[volume * nands.chains : (volume + 1) * nands.chains],
        nands.waiting[volume * nands.deepest : (volume + 1) * nands.deepest],
        nands.counts[volume * nands.kinds : (volume + 1) * nands.kinds],
        nands.books[volume * nands.kinds : (volume + 1) * nands.kinds],
        nands.moment[volume : volume + 1],
    )


def told(nands: Nands) -> FtlLatency:
    """`latencies` of all drives; their windows must have ended."""
    return latencies([(volume, nand_of.py_func(nands, volume)) for volume in range(nands.moment.size)])  # type: ignore[attr-defined]


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
            at = waiting[0]
            pop(waiting, moment.waiting)
            moment.waiting -= 1
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
    place = nand.places[moment.place]
    accepted, blocked = moment.start, moment.blocked
    if place.done > accepted:
        accepted, blocked = place.done, blocked | place.blocked
    moment.blocked = 0
    done = put(nand, cell, max(accepted, moment.ready))
    keep(nand, moment.place, cell, done, moment.blocked)
    moment.place += 1
    if moment.place == nand.places.size:
        moment.place = 0
    moment.written = max(moment.written, done)
    moment.ready = moment.start
    if nand.on_program:
        accepted, blocked = done, blocked | moment.blocked
    moment.done, moment.blocked = max(moment.done, accepted), blocked


# inlined: 69 in place of 77 ns a copy, but minutes of compiling in all kernels that collect
@lean_kernel
def copy(nand: Nand | None, source: Whole, target: Whole) -> None:
    """Copy a page of a block that is to be erased."""
    if nand is None:
        return
    moment = nand.moment[0]
    if moment.live:
        blocked = moment.blocked
        done = put(nand, target, sense(nand, source, moment.start))
        die = nand.units[nand.lanes[source & nand.mask].die]
        die.collects = max(die.collects, done - nand.program - nand.transfer)
        die = nand.units[nand.lanes[target & nand.mask].die]
        die.collects = max(die.collects, done)
        moment.copied = max(moment.copied, done)
        moment.blocked = blocked


@lean_kernel
def erase(nand: Nand | None) -> None:
    """Erase a block, which is one of every plane of every die, when what was copied from it is programmed."""
    if nand is None:
        return
    moment = nand.moment[0]
    if not moment.live:
        return
    for number in range(nand.dies):
        die = nand.units[number]
        die.collects = append(nand, number, max(moment.start, moment.copied), nand.erase, nand.read) + nand.erase
        die.row = die.read_row = -1
    moment.work += nand.dies * nand.erase
    moment.copied = 0


@lean_kernel
def flush(nand: Nand | None) -> None:
    """The request is a flush: it waits until all that was written is programmed."""
    if nand is None:
        return
    nand.moment[0].done = max(nand.moment[0].done, nand.moment[0].written)


@lean_kernel
def end(nand: Nand | None, op: Whole, length: Whole) -> Any:
    """The request, a read, write, discard, write-zeroes or flush, is served; its latency in ns, which is noted."""
    if nand is None:
        return 0
    moment = nand.moment[0]
    moment.done = max(moment.done, moment.ready)
    moment.live = 0
    latency = moment.done - moment.arrival
    if moment.waiting < nand.waiting.size:
        push(nand.waiting, moment.waiting, moment.done)
        moment.waiting += 1
    moment.latest = max(moment.latest, moment.done)
    note(nand, op, length, latency)
    return latency
