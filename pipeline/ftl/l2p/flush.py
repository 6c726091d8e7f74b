"""Changed pointers on their way into map pages, and the room that rewriting a map page takes.

A changed pointer waits until ``batch`` of them do; then a map page is read, unless all its pointers changed, and
programmed anew out of place, as often as it takes for fewer to wait. Which: the one with most changed pointers, of
equals the one that came to that number first, or the one that has waited longest. What garbage collection moves are
changed pointers too, those of one victim at once. The pointer to a map page that it moves stands in DRAM, and nothing
waits.

Forward progress. A victim may bring as many changed pointers as a block has pages, each of another map page, and
rewriting those may take more room than the victim gave. Hence the reserve is one block larger than that of a flat
map's drive: only rewriting and copies may open it, and rewriting leaves one block for copies. Where rewriting finds
no room either, blocks are collected first and their pointers wait too, up to `SLACK` blocks' worth beyond the batch.
When more would have to wait, or `TRIES` times as many blocks were collected for one page as there are, the drive has
come to its end: rewriting takes what collecting wins. Policies that do not look for the emptiest block come to that,
written through, at a spare with which they work well as long as their map is in DRAM.
"""

from typing import Any

import numpy as np

from pipeline.ftl.drive import NO_BITS, ONE, ask_for, collect, first_bit, open_block, program_page
from pipeline.ftl.l2p.cache import cached, change_entry
from pipeline.ftl.l2p.slots import change_slot
from pipeline.ftl.l2p.state import Flush, Map, Mapped, bit_of
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel

DATA, MAP = 0, 1  # frontiers
SLACK = 32  # blocks
TRIES = 8


@inline_lean_kernel
def unlink(mapped: Mapped, structure: Whole) -> None:
    """Take a map page out of its ring."""
    after, before = mapped.links[structure, 0], mapped.links[structure, 1]
    mapped.links[before, 0] = after
    mapped.links[after, 1] = before


@inline_lean_kernel
def put(mapped: Mapped, page: Whole, pointer: Whole) -> None:
    """Let a changed pointer wait for its map page."""
    books, structure = mapped.books[0], page // mapped.fanout
    word, bit = bit_of(mapped, page)
    mapped.fresh[page] = pointer
    if mapped.dirty[word] & bit == NO_BITS:
        mapped.dirty[word] |= bit
        books.waiting += 1
        books.peak = max(books.peak, books.waiting)
        count = np.int64(mapped.waiting[structure]) + 1
        mapped.waiting[structure] = count
        if mapped.flush == Flush.MOST or count == 1:
            if count > 1:
                unlink(mapped, structure)
            level = count if mapped.flush == Flush.MOST else 1
            ring = mapped.waiting.size + level
            last = mapped.links[ring, 1]
            mapped.links[last, 0] = structure
            mapped.links[structure, 1] = last
            mapped.links[structure, 0] = ring
            mapped.links[ring, 1] = structure
            books.most = max(books.most, level)


@inline_lean_kernel
def chosen(mapped: Mapped) -> Any:
    """The map page to rewrite; one waits."""
    level, rings = mapped.books[0].most, mapped.waiting.size
    while mapped.links[rings + level, 0] == rings + level:
        level -= 1
    mapped.books[0].most = level
    return np.int64(mapped.links[rings + level, 0])


@inline_lean_kernel
def rewrite(mapped: Mapped, structure: Whole) -> None:
    """Program a map page anew with all its changed pointers; its frontier has room."""
    drive, books = mapped.drive, mapped.books[0]
    first, changes = structure * mapped.fanout, 0
    for w in range(mapped.words):
        bits = mapped.dirty[structure * mapped.words + w]
        mapped.dirty[structure * mapped.words + w] = NO_BITS
        while bits != NO_BITS:
            page = first + (w << 6) + np.int64(first_bit(bits))
            bits &= bits - ONE
            mapped.second[page] = mapped.fresh[page]
            changes += 1
    if mapped.waiting[structure]:
        unlink(mapped, structure)
        books.waiting -= mapped.waiting[structure]
        mapped.waiting[structure] = 0
    if changes < min(mapped.fanout, drive.bound - first) and drive.where[drive.bound + structure] != 0:
        books.rewrite_reads += 1
    program_page(drive, drive.bound + structure, MAP)
    drive.tally[0].map += 1


@lean_kernel
def collected(mapped: Mapped) -> bool:
    """Collect a block and follow what moved; False if the drive has come to its end."""
    drive, books = mapped.drive, mapped.books[0]
    books.tries += 1
    if books.waiting + drive.pages > mapped.limit or books.tries > TRIES * (drive.blocks.total + TRIES):
        books.stopped = 1
        return False
    collect(drive)
    moved = drive.tally[0].moved
    for i in range(moved):
        ask_for(mapped.fresh, drive.moved[i])
        ask_for(mapped.dirty, np.int64(drive.moved[i]) // mapped.fanout * mapped.words)
    for i in range(moved):
        page = np.int64(drive.moved[i])
        if page >= drive.bound:
            books.gc_map += 1
            continue
        pointer = drive.where[page]
        if mapped.kind == Map.TWO_LEVEL:
            change_slot(mapped, page, pointer)
        elif cached(mapped, page):
            change_entry(mapped, page, pointer)
            continue
        put(mapped, page, pointer)
    return True


@lean_kernel
def map_room(mapped: Mapped) -> bool:
    """Make the frontier of map pages have room, out of the reserve if need be; False at the drive's end."""
    drive = mapped.drive
    while drive.room[MAP] == 0:
        if drive.blocks.head[0].erased > 1:
            open_block(drive, MAP)
        elif not collected(mapped):
            return False
    return True


@lean_kernel
def drain(mapped: Mapped) -> bool:
    """Rewrite map pages until fewer pointers wait than a batch has; False at the drive's end."""
    while mapped.books[0].waiting >= mapped.batch:
        if mapped.drive.room[MAP] == 0 and not map_room(mapped):
            return False
        rewrite(mapped, chosen(mapped))
    return True


@lean_kernel
def data_room(mapped: Mapped) -> bool:
    """Make the host's frontier have room; False at the drive's end."""
    drive = mapped.drive
    while drive.room[DATA] == 0:
        if drive.blocks.head[0].erased > drive.reserve:
            open_block(drive, DATA)
        elif not collected(mapped) or not drain(mapped):
            return False
    return True
