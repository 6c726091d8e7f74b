"""A page-mapped drive: which physical page holds which logical one, and how pages are programmed, moved and trimmed.

Every write goes to the next page of an open block, the frontier; where garbage collection copies to is the same
frontier or one of its own. When the host's frontier is full and opening another block would leave fewer than
``reserve`` erased ones, blocks are collected until it does not, or until copying has made room in the frontier.

What is erased when a victim is chosen holds no data and wins nothing: those blocks are held back, and the drive
behaves as one with so much less spare. `Drive` adds them up at every choice, so that the effective spare can be told.
With one frontier and a reserve of one exactly one block is held back, the least with which copying has
somewhere to go.

Four bytes a logical page (``where``), four and an eighth a physical page (``holds``, ``counts``), about 29 a block.
The validity bits beside the two maps let collecting read one word in place of 64 entries of the map, and go from live
page to live page without a branch for the dead ones.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from pipeline.ftl.victim import (
    Blocks,
    Phase,
    Victim,
    Whole,
    close,
    draw,
    erase,
    lose_page,
    new_blocks,
    pick,
    take_erased,
)
from traces.kernel import inline_lean_kernel, lean_kernel, prefetch

HOST, COLLECTOR = 0, 1
ROUNDS = 256  # write amplification is kept for so many equal shares of the host's writes at most
FULL = 0.9  # of a hash table's slots: 5 probes for a page that is there, 50 for one that is not (TAOCP 3, 6.4)
ONE = np.uint64(1)
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


class BrokenLawError(AssertionError):
    """The drive's books do not balance: a mistake in Strata, never in a trace."""


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
            "bytes_written",
            "partial",  # page writes that carried less than a page
            "rmw",  # of them, those that had to read the page first
            "host",  # pages programmed for the host
            "gc",  # pages copied by garbage collection
            "prefill",  # pages programmed before the trace began, copies included
            "prefill_erases",
            "closed",  # pages programmed in blocks that were filled
            "erases",
            "trimmed",
            "mapped",
            "pages_read",
            "unmapped_read",
            "picks",  # victims chosen
            "held",  # erased pages standing at each choice, added up
            "mapped_at_picks",  # mapped pages at each choice, added up
            "numbered",  # logical pages given to trace pages (compact layout)
            "round_pages",  # host pages in a round
            "round_end",  # host when the present round is over
            "rounds",  # full rounds
            "round_gc",  # gc when the present round began
            "window",  # number of the open window, -1 before the first
            "window_end",  # ns
        )
    ]
)


class Drive(NamedTuple):
    """All that outlives one request. What is a number here stays; what changes is an array."""

    logical: int  # pages exported
    pages: int  # in a block
    page_shift: int  # a byte address to its page
    shift: int  # a cell (physical page) to its block: blocks stand 2 ** shift cells apart
    word: int  # a cell to the word of its validity bit, as a shift
    collector: int  # the frontier that copies go to
    reserve: int  # blocks
    where: NDArray[np.uint32]  # [logical page] cell + 1; 0 where unmapped, so that untouched memory is never committed
    holds: NDArray[np.uint32]  # [cell] logical page last programmed there
    counts: NDArray[np.uint64]  # [word] a bit for each cell that counts
    number: NDArray[np.uint32]  # [trace page] logical page + 1, 0 where none; empty unless compact and dense
    table: NDArray[np.uint32]  # [2 slot] trace page, [2 slot + 1] logical page + 1: compact and sparse, else empty
    cursor: NDArray[np.int64]  # [frontier] next cell
    room: NDArray[np.int64]  # [frontier] cells left
    rounds: NDArray[np.int64]  # [round] pages copied during it
    blocks: Blocks
    tally: Any  # two TALLYs: now, and when the window began


def blocks_for(logical: int, pages: int, spare: float, reserve: int, frontiers: Frontiers) -> int:
    """Physical blocks so that the nominal spare 1 - U/T is at least ``spare``; CapacityError if they cannot work.

    Beside the data and what is held back there must be one page to win.
    """
    data = logical / pages
    blocks = int(np.ceil(round(data / (1 - spare), 6)))
    least = logical // pages + 1 + reserve + (1 if frontiers == Frontiers.SEPARATE else 0)
    if blocks < least:
        raise CapacityError(least)
    return blocks


def new_drive(
    logical: int,
    blocks: int,
    pages: int,
    *,
    page: int,
    reserve: int,
    frontiers: Frontiers,
    victim: Victim,
    choices: int,
    window: int,
    seed: int,
    numbered: int = 0,
) -> Drive:
    """An erased drive. ``page`` is in bytes; ``numbered`` the pages of the trace's address space if compact, else 0."""
    shift = (pages - 1).bit_length()
    word = min(shift, 6)
    dense = numbered <= 2 * logical  # else a table over the whole address space would be larger than the drive's state
    drive = Drive(
        logical=logical,
        pages=pages,
        page_shift=page.bit_length() - 1,
        shift=shift,
        word=word,
        collector=HOST if frontiers == Frontiers.ONE else COLLECTOR,
        reserve=reserve,
        where=np.zeros(logical, np.uint32),
        holds=np.empty(blocks << shift, np.uint32),
        counts=np.zeros((blocks << shift) >> word, np.uint64),
        number=np.zeros(numbered if dense else 0, np.uint32),
        table=np.zeros(0 if dense else 2 * (int(logical / FULL) + 2), np.uint32),
        cursor=np.zeros(2, np.int64),
        room=np.zeros(2, np.int64),
        rounds=np.zeros(ROUNDS, np.int64),
        blocks=new_blocks(blocks, pages, victim, choices=choices, window=window, seed=seed),
        tally=np.zeros(2, TALLY).view(np.recarray),
    )
    begin(drive)
    return drive


def state_bytes(drive: Drive) -> int:
    """Bytes of all arrays; the parts of ``where`` and ``number`` that no request touches are never committed."""
    arrays = [*drive, *drive.blocks]
    return sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))


@inline_lean_kernel
def open_block(drive: Drive, frontier: int) -> None:
    """Give a full frontier an erased block."""
    drive.cursor[frontier] = take_erased(drive.blocks) << drive.shift
    drive.room[frontier] = drive.pages


@inline_lean_kernel
def place(drive: Drive, frontier: int, page: Whole) -> None:
    """Program a logical page at a frontier that has room; its former place must not count any more."""
    cell = drive.cursor[frontier]
    drive.holds[cell] = page
    drive.where[page] = cell + 1
    drive.counts[cell >> drive.word] |= ONE << np.uint64(cell & ((1 << drive.word) - 1))
    drive.blocks.valid[cell >> drive.shift] += 1
    drive.cursor[frontier] = cell + 1
    drive.room[frontier] -= 1
    if drive.room[frontier] == 0:
        drive.tally[0].closed += drive.pages
        close(drive.blocks, cell >> drive.shift)


@inline_lean_kernel
def forget(drive: Drive, cell: Whole) -> None:
    """The cell's page no longer counts."""
    drive.counts[cell >> drive.word] &= ~(ONE << np.uint64(cell & ((1 << drive.word) - 1)))
    lose_page(drive.blocks, cell >> drive.shift)


@lean_kernel
def collect(drive: Drive) -> None:
    """Copy what counts in one block to the collector's frontier and erase the block."""
    now, blocks, frontier = drive.tally[0], drive.blocks, drive.collector
    now.picks += 1
    now.held += blocks.head[0].erased * drive.pages + drive.room[HOST] + drive.room[COLLECTOR]
    now.mapped_at_picks += now.mapped
    block = pick(blocks)
    first_cell = block << drive.shift
    words = (1 << drive.shift) >> drive.word
    word = first_cell >> drive.word
    # asking for all map entries first: 7.3 in place of 5.4 M host pages/s on 16 Mi pages at spare 0.07, nothing on 1 Mi
    for w in range(words):
        bits = drive.counts[word + w]
        while bits != NO_BITS:
            cell = first_cell + (w << drive.word) + np.int64(first_bit(bits))
            bits &= bits - ONE
            ask_for(drive.where, drive.holds[cell])
    for w in range(words):
        bits = drive.counts[word + w]
        drive.counts[word + w] = NO_BITS
        while bits != NO_BITS:
            cell = first_cell + (w << drive.word) + np.int64(first_bit(bits))
            bits &= bits - ONE
            if drive.room[frontier] == 0:
                open_block(drive, frontier)
            place(drive, frontier, np.int64(drive.holds[cell]))
            now.gc += 1
    erase(blocks, block)
    now.erases += 1


@lean_kernel
def make_room(drive: Drive) -> None:
    """Collect until the host's frontier has room or may be given another block."""
    while drive.room[HOST] == 0:
        if drive.blocks.head[0].erased > drive.reserve:
            open_block(drive, HOST)
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
    drive.rounds[now.rounds] = now.gc - now.round_gc
    now.rounds += 1
    now.round_gc = now.gc
    now.round_end += now.round_pages


@inline_lean_kernel
def write_page(drive: Drive, page: Whole) -> Any:
    """Program one logical page for the host; whether it was mapped before."""
    now = drive.tally[0]
    if drive.room[HOST] == 0:
        make_room(drive)
    drive.blocks.head[0].clock += 1
    old = np.int64(drive.where[page]) - 1
    if old >= 0:
        forget(drive, old)
    else:
        now.mapped += 1
    place(drive, HOST, page)
    now.host += 1
    if now.host == now.round_end:
        end_round(drive)
    return old >= 0


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
        write_page(drive, page)


def prefill(drive: Drive, drawn: int) -> None:
    """`fill` the drive and begin the books: what was programmed is set apart, and wear starts from nothing."""
    fill(drive, drawn)
    was = drive.tally[0].copy()
    begin(drive)
    now = drive.tally[0]
    now.prefill, now.prefill_erases, now.mapped, now.closed = was.host + was.gc, was.erases, was.mapped, was.closed
    drive.blocks.erases[:] = 0


def begin(drive: Drive) -> None:
    """Open the books."""
    drive.tally[:] = np.zeros((), TALLY)
    drive.tally[0].window = -1
    drive.tally[0].round_pages = drive.tally[0].round_end = max(1, drive.logical // 8)


def check_programs(drive: Drive) -> tuple[int, int]:
    """X1 by counters alone, so cheap that every batch is checked; pages programmed, and those in open blocks."""
    now = drive.tally[0]
    open_now = sum(drive.pages - int(drive.room[f]) for f in (HOST, COLLECTOR) if drive.room[f])
    programs, by_cause = int(now.closed) + open_now, int(now.host + now.gc + now.prefill)
    if programs != by_cause:
        raise BrokenLawError(f"X1: programs = host + GC + prefill: {programs} != {by_cause}")
    return programs, open_now


def check_laws(drive: Drive) -> None:
    """X1, X2 and X3 over the whole state, counted anew; BrokenLawError."""
    now, blocks = drive.tally[0], drive.blocks
    programs, open_now = check_programs(drive)
    erased = int(now.prefill_erases) + int(blocks.erases.sum(dtype=np.int64))
    standing = int(np.count_nonzero(blocks.phase == Phase.CLOSED))
    kept = drive.pages * (erased + standing) + open_now
    mapped, strays = recount(drive)
    laws = {
        "X2: programs = pages of erased generations + pages programmed now": (programs, kept),
        "X3: mapped pages = sum of validity counts": (int(now.mapped), int(blocks.valid.sum(dtype=np.int64))),
        "X3: mapped pages = recount of the map": (int(now.mapped), mapped),
        "X3: map entries that their cell does not answer to": (strays, 0),
        "erases counted = erases of all blocks": (int(now.prefill_erases + now.erases), erased),
        "erased blocks counted = erased blocks": (
            int(blocks.head[0].erased),
            int(np.count_nonzero(blocks.phase == Phase.ERASED)),
        ),
    }
    broken = [f"{law}: {have} != {want}" for law, (have, want) in laws.items() if have != want]
    if broken:
        raise BrokenLawError("; ".join(broken))


@lean_kernel
def recount(drive: Drive) -> tuple[int, int]:
    """Mapped pages, and how many of them stand at a cell that does not count or holds another page."""
    mapped = strays = 0
    for page in range(drive.logical):
        cell = np.int64(drive.where[page]) - 1
        if cell >= 0:
            mapped += 1
            bit = (drive.counts[cell >> drive.word] >> np.uint64(cell & ((1 << drive.word) - 1))) & ONE
            if bit != ONE or drive.holds[cell] != page:
                strays += 1
    return mapped, strays
