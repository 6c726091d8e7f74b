"""A drive with a learned map: a write buffer that sorts, what is learned of it and of collected blocks, and lookups.

The host's pages wait in a buffer until it is full. Then they are programmed in the order of their numbers and learned,
so that neighbours stand side by side (LeaFTL: Sun, Li, Liu, Huang, Xu, ASPLOS 2023, section 3.3). A page written again
while it waits takes the place of the one before, which costs no program; one that is read is served from DRAM; until a
page is programmed, its former cell counts. Flush requests program nothing, as they rewrite no map page of the other
maps. Garbage collection copies a victim's pages in the order of their cells and has them learned, a victim at a time.

Segments stay in DRAM; nothing of them is written to flash. After a loss of power the map is learned anew from the
page numbers that stand beside the pages in flash, block by block.

A guess that is not the page's cell costs one more read: the page at the guess tells its neighbours' numbers. So does
finding the former cell of a page of an approximate segment, when it is programmed anew or discarded, since the guess
alone does not say whether it is exact; an accurate segment tells the cell.
"""

from typing import Any

import numpy as np

from pipeline.ftl.drive import ONE, collect, open_block, trim_page, write_page
from pipeline.ftl.l2p.flush import DATA
from pipeline.ftl.l2p.learned import bytes_of, compact, figures, learn, predict, sort_keys
from pipeline.ftl.l2p.learned import forget as cut_out
from pipeline.ftl.l2p.state import NOWHERE, Map, Mapped
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel


@inline_lean_kernel
def waits(mapped: Mapped, page: Whole) -> Any:
    """Whether a page is in the write buffer."""
    return mapped.kind == Map.LEARNED and mapped.at[page] != 0


@lean_kernel
def count_segments(mapped: Mapped) -> None:
    """Note what the segments take."""
    books = mapped.books[0]
    books.segments = bytes_of(figures(mapped.learned))
    books.segments_peak = max(books.segments_peak, books.segments)


@lean_kernel
def collect_learned(mapped: Mapped) -> None:
    """Collect a block and learn where its pages stand now."""
    drive = mapped.drive
    collect(drive)
    moved = drive.tally[0].moved
    for i in range(moved):
        mapped.entry_pointer[i] = drive.where[drive.moved[i]] - 1
    learn(mapped.learned, drive.moved, mapped.entry_pointer, moved)


@lean_kernel
def room_learned(mapped: Mapped) -> None:
    """Make the host's frontier have room, as `pipeline.ftl.drive.make_room` does."""
    drive = mapped.drive
    while drive.room[DATA] == 0 or drive.blocks.head[0].erased < drive.reserve:
        if drive.blocks.head[0].erased > drive.reserve:
            open_block(drive, DATA)
        else:
            collect_learned(mapped)


@lean_kernel
def program_buffer(mapped: Mapped) -> None:
    """Program what waits in order of the pages, and learn it; compact if it is time."""
    drive, books, keys = mapped.drive, mapped.books[0], mapped.learned.work.keys
    count = books.waiting
    for i in range(count):
        keys[i] = mapped.entry_page[i]
    sort_keys(mapped.learned.work, count)
    for i in range(count):
        mapped.entry_page[i] = keys[i]
    for i in range(count):
        page = np.int64(mapped.entry_page[i])
        if drive.room[DATA] == 0:
            room_learned(mapped)
        books.update_reads += mapped.learned.owner[page] != 0
        write_page(drive, page, 0)
        mapped.at[page] = 0
    for i in range(count):  # a block that was filled here may have been collected here
        mapped.entry_pointer[i] = drive.where[np.int64(mapped.entry_page[i])] - 1
    learn(mapped.learned, mapped.entry_page, mapped.entry_pointer, count)
    books.waiting = 0
    books.uncompacted += count
    if mapped.compact_every and books.uncompacted >= mapped.compact_every:
        count_segments(mapped)
        compact(mapped.learned)
        books.uncompacted = 0


@inline_lean_kernel
def about_to_replace(mapped: Mapped, page: Whole) -> None:
    """Count an update."""
    books = mapped.books[0]
    books.updates += 1
    books.update_hits += mapped.at[page] != 0 or mapped.learned.owner[page] == 0


@lean_kernel
def write_learned(mapped: Mapped, page: Whole) -> None:
    """Put a page into the write buffer."""
    books = mapped.books[0]
    about_to_replace(mapped, page)
    if mapped.at[page] != 0:
        books.spared += 1
    else:
        mapped.entry_page[books.waiting] = page
        books.waiting += 1
        mapped.at[page] = books.waiting
        books.peak = max(books.peak, books.waiting)
        if books.waiting == mapped.entries:
            program_buffer(mapped)


@lean_kernel
def trim_learned(mapped: Mapped, page: Whole) -> None:
    """Unmap a page that is mapped or waits."""
    drive, books = mapped.drive, mapped.books[0]
    about_to_replace(mapped, page)
    if drive.where[page] == 0:
        drive.tally[0].trimmed += 1
    else:
        books.update_reads += mapped.learned.owner[page] != 0
        trim_page(drive, page)
        cut_out(mapped.learned, int(page))
    slot = np.int64(mapped.at[page]) - 1
    if slot >= 0:
        books.spared += 1
        books.waiting -= 1
        last = mapped.entry_page[books.waiting]
        mapped.entry_page[slot] = last
        mapped.at[np.int64(last)] = slot + 1
        mapped.at[page] = 0


@lean_kernel
def find_learned(mapped: Mapped, page: Whole) -> Any:
    """Read a page: its cell + 1, or NOWHERE if it waits in the buffer or stands nowhere."""
    books = mapped.books[0]
    if mapped.at[page] != 0:
        books.buffer_hits += 1
        return np.int64(NOWHERE)
    guess, found, _ = predict(mapped.learned, page)
    if not found:
        books.absent += 1
        return np.int64(NOWHERE)
    pointer = np.int64(mapped.drive.where[page])
    if guess + 1 == pointer:
        books.cached_hits += 1
    else:
        books.map_reads += 1
    return pointer


@lean_kernel
def told_by_segments(mapped: Mapped, page: Whole) -> Any:
    """What the guess leads to: the cell + 1 that it is near enough to and in the block of, else the guess + 1."""
    guess, found, _ = predict(mapped.learned, page)
    if not found:
        return np.int64(NOWHERE)
    cell, shift = np.int64(mapped.drive.where[page]) - 1, mapped.drive.shift
    if cell >= 0 and abs(guess - cell) <= mapped.learned.gamma and guess >> shift == cell >> shift:
        return cell + 1
    return guess + 1


@lean_kernel
def crash_learned(mapped: Mapped, protected: bool) -> None:
    """Lose power: the buffer is lost unless it is protected, and the map is learned anew.

    Discards are taken to survive.
    """
    drive, books, learned = mapped.drive, mapped.books[0], mapped.learned
    if not protected:
        for i in range(books.waiting):
            page = np.int64(mapped.entry_page[i])
            mapped.at[page] = 0
            if drive.where[page] != 0:
                books.reverted += 1
            else:
                books.gone += 1
        books.waiting = 0
    for group in range(learned.levels.size):
        learned.levels[group] = 0
    for i in range(learned.owner.size):
        learned.owner[i] = 0
    for block in range(drive.blocks.total):
        count = 0
        for i in range(drive.pages):
            cell = (block << drive.shift) + i
            if drive.counts[cell >> 6] >> np.uint64(cell & 63) & ONE == ONE:
                drive.moved[count] = drive.holds[block * drive.pages + i]
                mapped.entry_pointer[count] = cell
                count += 1
        learn(learned, drive.moved, mapped.entry_pointer, count)
