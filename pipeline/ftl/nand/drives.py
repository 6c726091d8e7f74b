"""The flash of all drives of a fleet, for `pipeline.ftl.nand`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.nand.books import BOOK, BUCKETS, DEEPEST, KINDS, FtlLatency, latencies
from pipeline.ftl.nand.config import Acknowledge, Loop, Scheduling, Timing
from pipeline.ftl.nand.units import LANE, MOMENT, NEVER, OP, PLACE, UNIT, Nand
from traces.kernel import lean_kernel

# A die tells so many waiting operations apart for each row of its share of the write buffer and of a block. A page that
# waits brings its copies with it: with two for each row, reads of a drive of S_f 0.1 waited 352 ms at p99, now 4.3 ms.
OPS_EACH = 16
SPARE_OPS = 32  # and so many more
DEEPEST_RING = 16  # at most 2 ** 16


class Nands(NamedTuple):
    """The flash of all drives of a fleet: the numbers of `Nand`, and its arrays one drive after the other.

    Bytes a drive: 808 a die or channel; 64 to 96 a page of the write buffer; 16 a page of a block; 8 a request under
    way (open loop 32 KiB); 172,032 of histograms, of which little is ever touched; where reads go first, 32 for each
    operation that a die can tell apart: 512 to 1024 for each row of its share of the write buffer and of a block.
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
    reads_first: bool
    depth: int
    channels: int
    buffer: int  # pages
    chains: int
    deepest: int  # requests under way that are told apart
    kinds: int  # of books; 0 where time is not modelled
    lanes: Any
    units: Any
    ops: Any
    places: Any
    listed: NDArray[np.int64]
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
    depth = 1
    if config.scheduling == Scheduling.READS_FIRST:
        operations = OPS_EACH * (buffer + block_pages) // (dies * config.planes) + SPARE_OPS
        depth = 1 << min(DEEPEST_RING, operations.bit_length())
    # eight for each place: copies ask for pages that are hardly ever there, and most chains are to be empty
    chains = 8 << (buffer - 1).bit_length()
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
    units.row = units.read_row = units.written = units.collected = -1
    units.idle[..., 1] = NEVER
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
        reads_first=config.scheduling == Scheduling.READS_FIRST,
        depth=depth,
        channels=config.channels,
        buffer=buffer,
        chains=chains,
        deepest=deepest,
        kinds=2 * KINDS,
        lanes=lanes,
        units=units,
        ops=np.zeros(volumes * dies * depth, OP).view(np.recarray),
        places=np.zeros(volumes * buffer, PLACE).view(np.recarray),
        listed=np.zeros((volumes * block_pages, 2), np.int64),
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
        nands.reads_first,
        nands.depth,
        nands.lanes,
        nands.units[volume * units : (volume + 1) * units],
        nands.ops[volume * nands.dies * nands.depth : (volume + 1) * nands.dies * nands.depth],
        nands.places[volume * nands.buffer : (volume + 1) * nands.buffer],
        nands.listed[volume * nands.lanes.size : (volume + 1) * nands.lanes.size],
        nands.heads[volume * nands.chains : (volume + 1) * nands.chains],
        nands.waiting[volume * nands.deepest : (volume + 1) * nands.deepest],
        nands.counts[volume * nands.kinds : (volume + 1) * nands.kinds],
        nands.books[volume * nands.kinds : (volume + 1) * nands.kinds],
        nands.moment[volume : volume + 1],
    )


def told(nands: Nands) -> FtlLatency:
    """`latencies` of all drives; their windows must have ended."""
    return latencies([(volume, nand_of.py_func(nands, volume)) for volume in range(nands.moment.size)])  # type: ignore[attr-defined]
