"""The wear of a drive's flash: what its blocks stand, how they err, when they are retired, when the drive is worn out.

- Every block stands a number of program/erase cycles, drawn about the cell type's endurance (`Wearing.spread`). Blocks
  that are bad from the factory are never used.
- The raw bit error rate grows with cycles, with the time since the block was opened and with the reads since then
  (`pipeline.ftl.wear.state.rber`). A page that errs more than can be corrected is read again with other reference
  voltages; that each retry leaves a fixed share of the errors is ours. After the last one it is uncorrectable.
- A block is worn when its cycles reach what it stands, or when it errs more than can be corrected before it even holds
  data. It is retired then, if `keep` erased blocks stand: the collector's reserve is never taken from it. Otherwise it
  is used once more, which is counted (`deferred`).
- Fixed retirement: the drive is worn out when a worn block cannot be retired because the others would not hold all
  exported pages and what is held back. Capacity-variant (Jiao, Zhang, Shin, Choi, Kim, "The design and implementation
  of a capacity-variant storage system", FAST 2024): when they would not hold the pages that are mapped; until
  then the drive exports less, and refuses to map more than that. That block stays in use, so that the request under way
  is served whole, and whoever serves requests ends there.
- Wear levelling: `pipeline.ftl.wear.pool` and `pipeline.ftl.wear.level`.

What a drive calls. Where there is None in place of a `Wear`, which the compiler sees, blocks are opened and erased as
ever and nothing else happens: such a drive is as fast, and as fast to compile, as if all this was not there.

    preparation     `prepare_wear` after `prepare_blocks`; `begin_wear` when the books are opened and erases are 0
    each request    `goes_on`: False if the drive was worn out by one before
    block opened    `open_erased` in place of `take_erased`
    block closed    `close_block` after `close`
    block erased    `erase_block` in place of `erase`; True if it was retired
    page read       `read_page`: retries and whether it was lost; if `wants_refresh`, `withdraw` and empty the block,
                    and `count_refreshed`
    room is made    once before: `coldest`; if there is one, `withdraw`, empty it and `count_levelled`
    page mapped     `refuses`: a page that is not mapped yet finds no room on a drive that shrank: `give_up`
    request served  `serve_no_more`, which notes the request if the drive is worn out
    window ended    `wear_row`
"""

from math import cos, exp, floor, log, pi, sqrt
from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.ftl._victim_journal import Record, note
from pipeline.ftl.victim import NONE, Blocks, Phase, Whole, draw, erase, take_erased
from pipeline.ftl.wear.config import Retirement, Spread
from pipeline.ftl.wear.pool import put, restack, take
from pipeline.ftl.wear.state import Wear, age_block, rber_now
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import F64, U32, U64

NO_TIME = np.iinfo(np.uint64).max
MOST_CYCLES = (1 << 31) - 1
ALL_DRAWS = 1 << 32


class FtlWear(NamedTuple):
    """How worn the blocks of a drive are, over time: a row a volume and window in which something was erased."""

    time: Annotated[U64, "when the window begins, nanoseconds since the trace's first request"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    cycles_min: Annotated[
        U64,
        "program/erase cycles of the least worn block in use at the window's end, those before "
        "the trace (worn) included",
    ]
    cycles_p10: Annotated[U64, "cycles that a tenth of the blocks in use have not passed"]
    cycles_p50: Annotated[U64, "cycles that half of the blocks in use have not passed"]
    cycles_p90: Annotated[U64, "cycles that nine tenths of the blocks in use have not passed"]
    cycles_max: Annotated[U64, "cycles of the most worn block in use"]
    cycles_mean: Annotated[F64, "cycles a block in use, mean"]
    cycles_std: Annotated[F64, "cycles a block in use, standard deviation"]
    retired_blocks: Annotated[U64, "blocks retired since they were made, but for those bad from the factory"]
    factory_bad_blocks: Annotated[U64, "blocks that are bad from the factory"]
    physical_pages: Annotated[U64, "pages of the blocks in use: all but factory bad and retired ones"]
    exported_pages: Annotated[
        U64, "logical pages that the drive can still hold: fewer than at first only if its capacity is variant"
    ]
    read_retries: Annotated[U64, "times that a page was read again, since the trace began"]
    uncorrectable_reads: Annotated[U64, "page reads that no retry could correct, since the trace began"]


@inline_lean_kernel
def draw_normal(head: Any) -> float:
    """A number of the standard normal distribution (Box and Muller, Annals of Mathematical Statistics 29(2), 1958)."""
    radius = (draw(head, ALL_DRAWS) + 0.5) / ALL_DRAWS
    angle = (draw(head, ALL_DRAWS) + 0.5) / ALL_DRAWS
    return sqrt(-2.0 * log(radius)) * cos(2.0 * pi * angle)


@lean_kernel
def draw_limit(wear: Wear) -> int:
    """Cycles that a block stands: ``endurance`` on average, whatever the spread."""
    if wear.sigma == 0.0:
        return wear.endurance
    z = draw_normal(wear.state[0])
    if wear.spread == Spread.LOGNORMAL:
        cycles = wear.endurance * exp(wear.sigma * z - 0.5 * wear.sigma * wear.sigma)
    else:
        cycles = wear.endurance * (1.0 + wear.sigma * z)
    return int(min(max(floor(cycles + 0.5), 1.0), float(MOST_CYCLES)))


@inline_lean_kernel
def good_blocks(blocks: Blocks, wear: Wear) -> Any:
    """Blocks in use: all but factory bad and retired ones."""
    return blocks.total - wear.state[0].factory_bad - wear.state[0].grown_bad


@inline_lean_kernel
def exhausted(blocks: Blocks, wear: Wear, good: Whole, mapped: Whole) -> bool:
    """Whether so many blocks are too few for the data, what is held back and one page to win.

    Where blocks do not wear out and where capacity is fixed, the data are all exported pages.
    """
    data = mapped if wear.retirement == Retirement.CAPACITY_VARIANT else wear.logical
    return bool(good < data // blocks.pages + 1 + wear.held)


@inline_lean_kernel
def exported(blocks: Blocks, wear: Wear) -> Any:
    """Logical pages that the drive exports now: the most for which its blocks are not `exhausted`."""
    if wear.retirement != Retirement.CAPACITY_VARIANT:
        return wear.logical
    return min(wear.logical, max(0, (good_blocks(blocks, wear) - wear.held) * blocks.pages - 1))


@lean_kernel
def refuses(blocks: Blocks, wear: Wear | None, mapped: Whole) -> bool:
    """Whether a drive with so many mapped pages has no room for another."""
    if wear is None:
        return False
    return bool(wear.retirement == Retirement.CAPACITY_VARIANT and mapped >= exported(blocks, wear))


@lean_kernel
def prepare_wear(blocks: Blocks, wear: Wear | None, seed: int) -> None:
    """Draw what each erased block stands and retire those that are bad; the others are erased, in their order.

    Blocks that are worn from the start are retired as long as the others hold all that the drive exports when it is
    new; if there are more of them, it is worn out before its first request. Factory bad ones are not asked about: that
    enough others are left is the configuration's to see to (`Wearing.bad_blocks`).
    """
    if wear is None:
        return
    state, head = wear.state[0], blocks.head[0]
    state.random = np.uint64(seed) ^ np.uint64(0x57454152)
    bad = int(wear.bad * blocks.total)
    for block in range(blocks.total):  # so many of all, each set of them as likely (Knuth, TAOCP 2, algorithm 3.4.2S)
        if draw(state, blocks.total - block) < bad:
            blocks.phase[block] = Phase.RETIRED
            state.factory_bad += 1
            bad -= 1
        wear.limit[block] = draw_limit(wear)
    head.erased, last = 0, NONE
    for block in range(blocks.total):
        if blocks.phase[block] == Phase.RETIRED:
            continue
        if wear.law.size:
            age_block(wear, block, wear.age)
        if wear.age and is_worn(wear, block, wear.age):
            if not exhausted(blocks, wear, good_blocks(blocks, wear) - 1, wear.logical):
                blocks.phase[block] = Phase.RETIRED
                state.grown_bad += 1
                continue
            state.worn_out = 1
        if wear.heap.size:
            put(blocks, wear, block)
            continue
        if last == NONE:
            head.erased_first = block
        else:
            blocks.links[last, 0] = block
        blocks.links[block, 0] = NONE
        head.erased_last = last = block
        head.erased += 1


@lean_kernel
def begin_wear(blocks: Blocks, wear: Wear | None) -> None:
    """The trace begins: from now on erases wear. All erases must be 0."""
    if wear is None:
        return
    state = wear.state[0]
    state.counting = 1
    state.most = state.floor = state.since = 0
    if wear.heap.size:
        restack(blocks, wear)


@inline_lean_kernel
def is_worn(wear: Wear, block: Whole, cycles: Whole) -> bool:
    """Whether an erased block should not be used again."""
    if wear.retirement == Retirement.NONE:
        return False
    return bool(cycles >= wear.limit[block] or (wear.law.size and wear.worn[block, 0] > wear.correctable))


@lean_kernel
def open_erased(blocks: Blocks, wear: Wear | None) -> int:
    """Open the erased block whose turn it is."""
    if wear is None:
        return take_erased(blocks)
    if wear.heap.size:
        block = take(blocks, wear)
        blocks.phase[block] = Phase.OPEN
    else:
        block = take_erased(blocks)
    if wear.opened.size:
        wear.opened[block] = wear.state[0].now
    return block


@lean_kernel
def close_block(blocks: Blocks, wear: Wear | None, block: Whole) -> None:
    """A block was closed: it may be the coldest."""
    if wear is None:
        return
    wear.state[0].floor = min(wear.state[0].floor, blocks.erases[block])


@inline_lean_kernel
def clear(blocks: Blocks, block: Whole, phase: Phase) -> None:
    """What `erase` does but for the order of erased blocks."""
    blocks.erases[block] += 1
    blocks.valid[block] = 0
    blocks.phase[block] = phase
    if blocks.journal:
        note(blocks, block, Record.ERASED)


@lean_kernel
def erase_block(blocks: Blocks, wear: Wear | None, block: Whole, mapped: Whole) -> bool:
    """Erase a collected block and make it ready to be opened, or retire it; whether it was retired.

    ``mapped`` are the drive's mapped pages. If it is worn and cannot be spared, the drive is worn out.
    """
    if wear is None:
        erase(blocks, block)
        return False
    state = wear.state[0]
    if state.counting:
        erases = np.int64(blocks.erases[block]) + 1
        cycles = wear.age + erases
        state.most = max(state.most, erases)
        state.since += 1
        if wear.law.size:
            age_block(wear, block, cycles)
        if is_worn(wear, block, cycles):
            if exhausted(blocks, wear, good_blocks(blocks, wear) - 1, mapped):
                state.worn_out = 1
            elif blocks.head[0].erased < wear.keep:
                state.deferred += 1
            else:
                state.grown_bad += 1
                clear(blocks, block, Phase.RETIRED)
                return True
    elif wear.law.size:
        wear.reads[block] = 0
    if wear.heap.size:
        clear(blocks, block, Phase.ERASED)
        put(blocks, wear, block)
    else:
        erase(blocks, block)
    return False


@lean_kernel
def read_page(blocks: Blocks, wear: Wear | None, block: Whole) -> tuple[int, bool]:
    """A page of a block is read: how often it had to be read again, and whether it could not be corrected even so."""
    if wear is None:
        return 0, False
    state = wear.state[0]
    if wear.law.size == 0:
        return 0, False
    wear.reads[block] += 1
    errors, retries = rber_now(wear, block, blocks.pages), 0
    while errors > wear.correctable and retries < wear.retries:
        errors *= wear.gain
        retries += 1
    state.read_retries += retries
    lost = errors > wear.correctable
    if lost:
        state.uncorrectable += 1
    return retries, lost


@lean_kernel
def wants_refresh(blocks: Blocks, wear: Wear | None, block: Whole, retries: Whole) -> bool:
    """Whether a block of which a page took so many retries should be emptied into others."""
    if wear is None:
        return False
    return bool(0 < wear.refresh <= retries and blocks.phase[block] == Phase.CLOSED)


@lean_kernel
def goes_on(wear: Wear | None, now: Whole) -> bool:
    """Whether a drive still serves requests; this one came at ``now`` ns."""
    if wear is None:
        return True
    wear.state[0].now = now
    return bool(wear.state[0].worn_out == 0)


@lean_kernel
def give_up(wear: Wear | None) -> None:
    """The drive is worn out."""
    if wear is None:
        return
    wear.state[0].worn_out = 1


@lean_kernel
def serve_no_more(wear: Wear | None, request: Whole) -> None:
    """If the drive is worn out, this request was its last."""
    if wear is None:
        return
    if wear.state[0].worn_out:
        wear.state[0].worn_out_request = request


@lean_kernel
def count_levelled(wear: Wear | None) -> None:
    """A block was emptied to even wear out."""
    if wear is None:
        return
    wear.state[0].wl_blocks += 1


@lean_kernel
def count_refreshed(wear: Wear | None, pages: Whole) -> None:
    """A block was emptied because of what a read needed; ``pages`` were copied."""
    if wear is None:
        return
    wear.state[0].refreshed += 1
    wear.state[0].refresh_programs += pages


@lean_kernel
def erases_of_rank(blocks: Blocks, rank: int) -> int:
    """The ``rank``-th least erases of the blocks in use, counted from 1, by halving: no array of them is sorted."""
    low, high = np.int64(0), np.int64(0)
    for block in range(blocks.total):
        high = max(high, np.int64(blocks.erases[block]))
    while low < high:
        middle = (low + high) >> 1
        below = 0
        for block in range(blocks.total):
            if blocks.erases[block] <= middle and blocks.phase[block] != Phase.RETIRED:
                below += 1
        if below >= rank:
            high = middle
        else:
            low = middle + 1
    return int(low)


@lean_kernel
def wear_row(blocks: Blocks, wear: Wear | None, erased: bool, told: Any, row: int) -> None:
    """Fill a record of FtlWear in which time and volume stand; if nothing was erased, take the time away."""
    if wear is None:
        return
    state, out = wear.state[0], told[row]
    if not erased:
        out.time = NO_TIME
        return
    good = good_blocks(blocks, wear)
    total, squares, least, most = 0.0, 0.0, np.int64(MOST_CYCLES), np.int64(0)
    for block in range(blocks.total):
        if blocks.phase[block] != Phase.RETIRED:
            erases = np.int64(blocks.erases[block])
            total += erases
            least, most = min(least, erases), max(most, erases)
    mean = total / good
    for block in range(blocks.total):
        if blocks.phase[block] != Phase.RETIRED:
            squares += (blocks.erases[block] - mean) ** 2
    out.cycles_min = wear.age + least
    out.cycles_p10 = wear.age + erases_of_rank(blocks, (good + 9) // 10)
    out.cycles_p50 = wear.age + erases_of_rank(blocks, (good + 1) // 2)
    out.cycles_p90 = wear.age + erases_of_rank(blocks, (9 * good + 9) // 10)
    out.cycles_max = wear.age + most
    out.cycles_mean = wear.age + mean
    out.cycles_std = sqrt(squares / good)
    out.retired_blocks = state.grown_bad
    out.factory_bad_blocks = state.factory_bad
    out.physical_pages = good * blocks.pages
    out.exported_pages = exported(blocks, wear)
    out.read_retries = state.read_retries
    out.uncorrectable_reads = state.uncorrectable
