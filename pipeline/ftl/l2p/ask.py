"""What a host asks of a map: find a page, write one, unmap one; and what is left of the map after a loss of power.

A write needs no lookup where changed pointers are gathered: what the page's former cell was, the rewriting of its map
page tells. DFTL brings every pointer that it changes into its cache first (Gupta, Kim, Urgaonkar, ASPLOS 2009,
section 3).
"""

from typing import Any

import numpy as np

from pipeline.ftl.drive import NO_BITS, ONE, Drive, first_bit, forget, trim_page, write_page
from pipeline.ftl.l2p.cache import bring, cached, change_entry, coldest, drop, meet, pointer_in
from pipeline.ftl.l2p.flush import DATA, chosen, data_room, drain, map_room, put, rewrite, unlink
from pipeline.ftl.l2p.learn import (
    crash_learned,
    find_learned,
    told_by_segments,
    trim_learned,
    write_learned,
)
from pipeline.ftl.l2p.slots import NO_SLOT, change_slot, keep, slot_of
from pipeline.ftl.l2p.state import NOWHERE, Map, Mapped, SlotPolicy, stale
from pipeline.ftl.victim import Phase, Whole, gain_page
from traces.kernel import inline_lean_kernel, lean_kernel

ENDED, MISS, HIT = -1, 0, 1


@lean_kernel
def pointer_of(mapped: Mapped, page: Whole) -> Any:
    """What the map says of a page, told without counting: its cell + 1, or NOWHERE."""
    if mapped.kind == Map.FLAT:
        return np.int64(mapped.drive.where[page])
    if mapped.kind == Map.LEARNED:
        return told_by_segments(mapped, page)
    if mapped.kind == Map.TWO_LEVEL:
        slot = slot_of(mapped, page)
        if slot != NO_SLOT:
            return np.int64(mapped.slot_pointer[slot])
    elif cached(mapped, page):
        return pointer_in(mapped, page)
    return np.int64(mapped.fresh[page] if stale(mapped, page) else mapped.second[page])


@lean_kernel
def fetch(mapped: Mapped, page: Whole, write: bool) -> int:
    """Bring a pointer into the cached mapping table. A read of what has no map page brings nothing."""
    drive, books = mapped.drive, mapped.books[0]
    if cached(mapped, page):
        meet(mapped, page)
        return HIT
    structure = drive.bound + page // mapped.fanout
    if not write and drive.where[structure] == 0:
        books.absent += 1
        return MISS
    if books.held == mapped.entries:
        last = coldest(mapped)
        other = np.int64(mapped.entry_page[last])
        if stale(mapped, other):
            if not map_room(mapped):
                return ENDED
            rewrite(mapped, other // mapped.fanout)
        drop(mapped, last)
        if not drain(mapped):
            return ENDED
    if drive.where[structure] != 0:
        if write:
            books.update_reads += 1
        else:
            books.map_reads += 1
    bring(mapped, page, mapped.second[page])
    return MISS


@inline_lean_kernel
def look_up(mapped: Mapped, page: Whole) -> Any:
    """Where a page is by slots, waiting pointers and map page."""
    books = mapped.books[0]
    slot = slot_of(mapped, page)
    pointer = np.int64(NOWHERE)
    if slot != NO_SLOT:
        books.cached_hits += 1
        pointer = np.int64(mapped.slot_pointer[slot])
    elif stale(mapped, page):
        books.buffer_hits += 1
        pointer = np.int64(mapped.fresh[page])
    elif mapped.drive.where[mapped.drive.bound + page // mapped.fanout] == 0:
        books.absent += 1
    else:
        books.map_reads += 1
        pointer = np.int64(mapped.second[page])
    if pointer != NOWHERE and mapped.policy != SlotPolicy.WRITE_ONLY:
        keep(mapped, page, pointer)
    return pointer


@inline_lean_kernel
def find(mapped: Mapped, page: Whole) -> bool:
    """Read a page, one that the compact layout does not know if negative; False at the drive's end."""
    books, pointer, found = mapped.books[0], np.int64(NOWHERE), MISS
    books.lookups += 1
    books.tries = 0
    if page < 0:
        books.absent += 1
    elif mapped.kind == Map.TWO_LEVEL:
        pointer = look_up(mapped, page)
    elif mapped.kind == Map.DFTL:
        found = fetch(mapped, page, False)
        if found != ENDED:
            books.cached_hits += found
            pointer = pointer_in(mapped, page)
    elif mapped.kind == Map.LEARNED:
        pointer = find_learned(mapped, page)
    else:
        pointer = np.int64(mapped.drive.where[page])
    if pointer != NOWHERE:
        books.data_reads += 1
    return found != ENDED


@inline_lean_kernel
def about_to_change(mapped: Mapped, page: Whole) -> bool:
    """Count an update, and do what comes before it; False at the drive's end."""
    books = mapped.books[0]
    books.updates += 1
    books.tries = 0
    if mapped.kind == Map.TWO_LEVEL:
        found = HIT if slot_of(mapped, page) != NO_SLOT or stale(mapped, page) else MISS
    else:
        found = fetch(mapped, page, True)
    books.update_hits += max(found, MISS)
    return found != ENDED


@inline_lean_kernel
def write(mapped: Mapped, page: Whole) -> bool:
    """Write a page; False at the drive's end."""
    drive = mapped.drive
    going = True
    if mapped.kind == Map.LEARNED:
        write_learned(mapped, page)
        return True
    if mapped.kind != Map.FLAT:
        going = about_to_change(mapped, page) and (drive.room[DATA] > 0 or data_room(mapped))
    if going:
        write_page(drive, page, 0)
        pointer = drive.where[page]
        if mapped.kind == Map.DFTL:
            change_entry(mapped, page, pointer)
        elif mapped.kind == Map.TWO_LEVEL:
            keep(mapped, page, pointer)
            put(mapped, page, pointer)
            going = mapped.books[0].waiting < mapped.batch or drain(mapped)
    return going


@lean_kernel
def trim(mapped: Mapped, page: Whole) -> bool:
    """Unmap a mapped page; False at the drive's end."""
    if mapped.kind == Map.FLAT:
        trim_page(mapped.drive, page)
        return True
    if mapped.kind == Map.LEARNED:
        trim_learned(mapped, page)
        return True
    if not about_to_change(mapped, page):
        return False
    trim_page(mapped.drive, page)
    if mapped.kind == Map.DFTL:
        change_entry(mapped, page, NOWHERE)
        return True
    change_slot(mapped, page, NOWHERE)
    put(mapped, page, NOWHERE)
    return mapped.books[0].waiting < mapped.batch or drain(mapped)


@lean_kernel
def crash(mapped: Mapped, protected: bool) -> None:
    """Lose power, and find the map again.

    The newest version of each map page is found by the numbers that stand beside the pages in flash: the pointers in
    DRAM to them are those of before. What was cached is lost. Changed pointers survive in memory that is ``protected``;
    otherwise their pages are what their map page says. Where that cell was erased since, the page holds nothing any
    more: nothing here waits for a map page to be rewritten before a block is erased.
    """
    if mapped.kind == Map.LEARNED:
        crash_learned(mapped, protected)
        return
    for slot in range(mapped.slot_page.size):
        mapped.slot_page[slot] = 0
    if not protected:
        for structure in range(mapped.waiting.size):
            for w in range(mapped.words):
                bits = mapped.dirty[structure * mapped.words + w]
                mapped.dirty[structure * mapped.words + w] = NO_BITS
                while bits != NO_BITS:
                    revert(mapped, structure * mapped.fanout + (w << 6) + np.int64(first_bit(bits)))
                    bits &= bits - ONE
        while mapped.books[0].waiting:
            structure = chosen(mapped)
            unlink(mapped, structure)
            mapped.books[0].waiting -= mapped.waiting[structure]
            mapped.waiting[structure] = 0
    for entry in range(mapped.books[0].fresh):
        page = np.int64(mapped.entry_page[entry])
        if mapped.at[page] == entry + 1 and not stale(mapped, page):
            drop(mapped, entry)


@lean_kernel
def revert(mapped: Mapped, page: Whole) -> None:
    """Make a page what its map page says of it."""
    drive, books = mapped.drive, mapped.books[0]
    new, old = np.int64(drive.where[page]) - 1, np.int64(mapped.second[page]) - 1
    if new == old:
        return
    if new >= 0:
        forget(drive, new)
        drive.where[page] = 0
        drive.tally[0].mapped -= 1
    if old < 0:
        books.gone += 1
    elif not still_holds(drive, old, page):
        mapped.second[page] = NOWHERE
        books.lost += 1
    else:
        drive.where[page] = old + 1
        drive.tally[0].mapped += 1
        drive.counts[old >> 6] |= ONE << np.uint64(old & 63)
        gain_page(drive.blocks, old >> drive.shift)
        books.reverted += 1


@lean_kernel
def still_holds(drive: Drive, cell: Whole, page: Whole) -> bool:
    """Whether a cell was programmed with this page since its block was erased."""
    block = cell >> drive.shift
    if drive.blocks.phase[block] == Phase.ERASED:
        return False
    for frontier in range(drive.room.size):
        if drive.room[frontier] and drive.cursor[frontier] >> drive.shift == block and cell >= drive.cursor[frontier]:
            return False
    return bool(drive.holds[block * drive.pages + (cell - (block << drive.shift))] == page)
