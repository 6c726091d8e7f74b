"""What is kept of a drive's wear, and how its bit error rate follows from it: see `pipeline.ftl.wear`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.victim import Whole
from pipeline.ftl.wear.config import Levelling, Retirement, Spread, Wearing
from traces.kernel import lean_kernel
from traces.table import F64, I64, U32

STATE = np.dtype(
    [
        ("random", "u8"),  # of its own, so that victims are drawn alike with wear and without
        *(
            (name, "i8")
            for name in (
                "now",  # ns; set by whoever serves requests
                "counting",  # 1 from the beginning of the trace on: what is erased before wears nothing
                "order",  # erasures so far: of blocks erased as often, the one that came first is opened first
                "most",  # erases of the most erased block, retired ones included
                "floor",  # no closed block was erased less often
                "hand",  # where the next look begins
                "since",  # erases since the last look
                "factory_bad",  # blocks
                "grown_bad",  # blocks retired
                "deferred",  # times that a worn block was used again, because none stood ready in its place
                "read_retries",
                "uncorrectable",  # page reads
                "wl_blocks",  # emptied to even wear out; counted by the drive, as the next two are
                "refreshed",  # blocks emptied because of what a read needed
                "refresh_programs",  # pages copied for that
                "worn_out",  # 1 when a worn block can no longer be spared
                "worn_out_request",  # set by whoever serves requests; -1 as long as it is not
            )
        ),
    ]
)


class Wear(NamedTuple):
    """A drive's wear, or that of all drives of a fleet (`part_of`). Arrays are empty where nothing is kept in them.

    In bytes a block: 4 (limit), dynamic and static levelling 12, bit errors 36.
    """

    levelling: Levelling
    gap: int  # erases
    every: int  # erases
    retirement: Retirement
    keep: int  # erased blocks that must stand when one is retired: the reserve without `Wearing.spared`
    held: int  # blocks that hold no data: the reserve, and the collector's frontier where it is one of its own
    logical: int  # pages exported when the drive is new; of a fleet 0
    bad: float  # share
    endurance: int  # cycles, mean
    sigma: float
    spread: Spread
    age: int  # cycles before the trace
    correctable: float
    retries: int
    gain: float
    unit: float  # ns
    refresh: int
    law: F64  # the nine constants
    limit: U32  # [block] cycles that it stands
    opened: I64  # [block] ns
    reads: U32  # [block] since it was erased
    worn: F64  # [block, 3] the bit error rate's parts: fresh and by cycles; by one day; by one read a page
    heap: NDArray[np.int32]  # [erased block] see `pipeline.ftl.wear.pool`
    order: I64  # [block] when it was erased
    state: Any  # one STATE; of a fleet one a volume


def new_wear(config: Wearing, blocks: int, volumes: int, reserve: int, held: int) -> Wear | None:
    """Wear of so many blocks of all volumes, yet to be prepared, drive by drive; None if nothing of it is asked for.

    ``reserve`` is in blocks, without `Wearing.spared`; ``held`` with it, and with the collector's frontier.
    """
    if not config.wears:
        return None
    erring = blocks if config.law else 0
    levelled = blocks if config.levelling != Levelling.NONE else 0
    state: Any = np.zeros(volumes, STATE).view(np.recarray)
    state.worn_out_request = -1
    return Wear(
        levelling=config.levelling,
        gap=config.levelling_gap,
        every=config.levelling_every,
        retirement=config.retirement,
        keep=reserve,
        held=held,
        logical=0,
        bad=config.factory_bad,
        endurance=config.cycles,
        sigma=config.endurance_spread,
        spread=config.spread,
        age=config.age,
        correctable=config.correctable,
        retries=config.retries,
        gain=config.retry_gain,
        unit=float(config.retention_unit),
        refresh=config.refresh,
        law=np.array(config.law, np.float64),
        limit=np.zeros(blocks, np.uint32),
        opened=np.zeros(erring, np.int64),
        reads=np.zeros(erring, np.uint32),
        worn=np.zeros((erring, 3), np.float64),
        heap=np.zeros(levelled, np.int32),
        order=np.zeros(levelled, np.int64),
        state=state,
    )


@lean_kernel
def part_of(wear: Wear | None, begin: int, end: int, volume: int, logical: int) -> Wear | None:
    """The wear of one drive of a fleet, whose blocks these are: views. (Outside of kernels ``part_of.py_func``.)"""
    if wear is None:
        return None
    return Wear(
        wear.levelling,
        wear.gap,
        wear.every,
        wear.retirement,
        wear.keep,
        wear.held,
        logical,
        wear.bad,
        wear.endurance,
        wear.sigma,
        wear.spread,
        wear.age,
        wear.correctable,
        wear.retries,
        wear.gain,
        wear.unit,
        wear.refresh,
        wear.law,
        wear.limit[begin:end],
        wear.opened[begin:end],
        wear.reads[begin:end],
        wear.worn[begin:end],
        wear.heap[begin:end],
        wear.order[begin:end],
        wear.state[volume : volume + 1],
    )


@lean_kernel
def rber(law: F64, cycles: float, days: float, reads: float) -> float:
    """eps + alpha c^k + beta c^m t^n + gamma c^p r^q: c cycles, t days of retention, r reads a page, none negative."""
    part = law[0] + law[1] * cycles ** law[2]
    if days > 0:
        part += law[3] * cycles ** law[4] * days ** law[5]
    if reads > 0:
        part += law[6] * cycles ** law[7] * reads ** law[8]
    return float(part)


@lean_kernel
def age_block(wear: Wear, block: Whole, cycles: Whole) -> None:
    """Note what a block's errors depend on after so many cycles; it holds no data and was not read.

    A block that stands but half as many cycles as the mean is taken to be worn twice as far: ours, so that one number
    says of a block both when it is worn and how it errs.
    """
    law = wear.law
    c = cycles * (wear.endurance / wear.limit[block])
    wear.worn[block, 0] = law[0] + law[1] * c ** law[2]
    wear.worn[block, 1] = law[3] * c ** law[4]
    wear.worn[block, 2] = law[6] * c ** law[7]
    wear.reads[block] = 0


@lean_kernel
def rber_now(wear: Wear, block: Whole, pages: int) -> float:
    """A block's bit error rate: `rber` with its cycles, the time since it was opened and its reads a page."""
    law, state = wear.law, wear.state[0]
    out = wear.worn[block, 0]
    held = state.now - wear.opened[block]
    # two powers a read in place of five: 54 in place of 125 ns
    if held > 0 and law[3] > 0:
        out += wear.worn[block, 1] * (held / wear.unit) ** law[5]
    if wear.reads[block] and law[6] > 0:
        out += wear.worn[block, 2] * (wear.reads[block] / pages) ** law[8]
    return float(out)
