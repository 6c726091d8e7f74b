"""From entries of a logical-to-physical table to counts: the kernels of `pipeline.ftl.recovery`.

A core takes entries in chunks. If the lowest and the highest address of a chunk lie in one blockset, so do all of them,
and the chunk is one addition; else every entry is turned into an index, by vectors and without a branch (what is
unmapped or out of range has slots of its own behind the blocksets), and the slots are incremented one by one. They
have two bytes, so that twice as many stay in the first cache, and are added to those of four before any can come round
to zero; with more than 65,536 blocksets that would take longer than it saves.

Tried on tables of 64 Mi entries of 4 bytes, in billions of entries a second of one core (a sum: 4.2 to 4.7). Random
tables: with 4,096, 16,384 and 65,536 blocksets.

    entry by entry, bounds compared at each                      sequential 0.2, half unmapped 0.3
    a chunk's entries xor-ed with its first, then shifted        sequential 2.0
    lowest and highest, all in one kernel: it spilt registers    sequential 1.4, random 1.1
    lowest and highest in a kernel of their own                  sequential 3.4 to 4.1
    slots of four bytes, incremented at once, without a buffer   0.9, 1.9, 1.1: a load passes a store to its own slot
    slots of four bytes, indexes in a buffer                     1.6, 1.8, 1.0
    the same, and the table asked for 512 entries ahead          2.1, 1.8, 1.0
    two tables of four bytes in turn, asked for ahead            1.9, 1.2, 1.0
    slots of two bytes, asked for ahead                          2.4, 2.5, 1.2
    the same, and a branch for each that comes round to zero     2.4, 2.4, 1.2; but 1.4 each of two at once
    chunks of 128 and 512 entries in place of 256                1.9 to 2.2
    the table asked for to read, not to write, or 1,024 ahead    the same, +- 5 %
    asked for between indexes and increments                     5 % less
    asked for a line at a time between increments                25 % less
    indexes of two bytes, read four at a time                    3 to 5 % less, though the vectors are whole (vpmovdw)
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.fleet import zeros
from traces.kernel import exchange, lean_kernel, prefetch
from traces.table import I64, U32, U64

CHUNK = 256  # entries
AHEAD = 512  # entries that the table is asked for before they are read
LINE = 64  # bytes
ROUND = 1 << 16  # what a slot of two bytes counts before it is zero again
FEW = 1 << 16  # blocksets for which counts of two bytes pay
WIDE = np.uint64(0xFFFFFFFF)
UNMAPPED = 16  # slots that unmapped entries take in turn: with one, each would wait for the store before it
EXTRA = 1 + UNMAPPED  # slots behind the blocksets; the first is of what is out of range
APART = 8  # locks in a cache line of their own
FAR = 24  # entries ahead, where a bit is asked for
ONE, WORD, ALL = np.uint64(1), np.uint64(6), np.uint64((1 << 64) - 1)
WITHIN = np.uint64(63)
ask_for: Any = prefetch
swap: Any = exchange


class Shape(NamedTuple):
    """What an address means; every number is a uint64, so that kernels are compiled once."""

    first: np.uint64  # the lowest address that there is
    last: np.uint64  # the highest
    unmapped: np.uint64
    blocksets: np.uint64
    pages: np.uint64  # in a blockset
    shift: np.uint64  # blocksets stand 2 ** shift addresses apart


class Local(NamedTuple):
    """What a core has counted."""

    counts: U32  # [blockset, then the extra slots]
    low: NDArray[np.uint16]  # to be added to them; empty if there are too many
    # [0] entries in ``low``. On a cache line of its own: on one with another core's, two at once counted 1.3 G/s each
    since: I64
    seen: U64  # a bit for each address, and a word for none; empty if they are not asked for


class Room(NamedTuple):
    """What a core works in: a chunk of entries, and what becomes of them."""

    got: NDArray[Any]
    slot: U32
    bits: U64


class Common(NamedTuple):
    """What all cores share that have no tables of their own."""

    counts: U32
    locks: I64  # APART from each other


def room_for(table: NDArray[Any]) -> Room:
    """For a core that reads this table, in pages of memory that no other core has a part of."""
    return Room(zeros(CHUNK, table.dtype), zeros(CHUNK, np.uint32), zeros(CHUNK, np.uint64))


@lean_kernel
def scan(table: NDArray[Any], piece: I64, shape: Shape, local: Local, room: Room) -> None:
    """Count a piece of the table: first entry, end, how many stand together, how far apart their first ones are."""
    begin, end, run, step = piece[0], piece[1], piece[2], piece[3]
    line = LINE // table.itemsize
    if run >= CHUNK:
        for at in range(begin, end, step):
            stop = min(at + run, end)
            for i in range(at, stop, CHUNK):
                if count(table[i : min(i + CHUNK, stop)], shape, local, room):
                    # incrementing keeps the processor from reading on; asked for always: sequential 2.5
                    ahead = i + AHEAD
                    if ahead >= stop:
                        ahead += step - run
                    for j in range(ahead, ahead + CHUNK, line):
                        ask_for(table, j)
        return
    size = 0
    for at in range(begin, end, step):
        for i in range(at, min(at + run, end)):
            room.got[size] = table[i]
            size += 1
            if size == CHUNK:
                count(room.got, shape, local, room)
                size = 0
    if size:
        count(room.got[:size], shape, local, room)


@lean_kernel
def count(entries: NDArray[Any], shape: Shape, local: Local, room: Room) -> bool:
    """Count one chunk; whether it took its entries one by one."""
    low, high = extremes(entries)
    first, shift, size, seen = shape.first, shape.shift, entries.size, local.seen
    if low == high and high == shape.unmapped:
        local.counts[shape.blocksets + ONE] += np.uint32(size)
        return False
    inside = low >= first and high <= shape.last
    if inside:
        blockset = (high - first) >> shift
        together = (low - first) >> shift == blockset and (high - first) - (blockset << shift) < shape.pages
        if together and (seen.size == 0 or ascending(entries)):
            local.counts[blockset] += np.uint32(size)
            if seen.size:
                mark_run(seen, low - first, size)
            return False
    if inside and shape.last <= WIDE and shape.pages == ONE << shift:
        index_inside(entries, np.uint32(first), np.uint32(shift), room.slot)
    else:
        index_all(entries, shape, room.slot)
    if local.low.size:
        if local.since[0] > ROUND - 1 - CHUNK:
            fold(local.low, local.counts)
            local.since[0] = 0
        increment(room.slot, size, local.low)
        local.since[0] += size
    else:
        increment(room.slot, size, local.counts)
    if seen.size:
        bit_all(entries, shape, np.uint64(seen.size - 1) << WORD, room)
        mark(room.bits, size, seen)
    return True


@lean_kernel
def extremes(entries: NDArray[Any]) -> tuple[Any, Any]:
    """The lowest and the highest."""
    low, high = entries[0], entries[0]
    for j in range(entries.size):
        low = min(low, entries[j])
        high = max(high, entries[j])
    return np.uint64(low), np.uint64(high)


@lean_kernel
def ascending(entries: NDArray[Any]) -> bool:
    """Whether each is the one before it and 1."""
    first, off = np.uint64(entries[0]), np.uint64(0)
    for j in range(entries.size):
        off |= (np.uint64(entries[j]) - first) ^ np.uint64(j)
    return bool(off == np.uint64(0))


@lean_kernel
def index_all(entries: NDArray[Any], shape: Shape, index: U32) -> None:
    """The slot of the local table for each."""
    first, shift, blocksets, pages = shape.first, shape.shift, shape.blocksets, shape.pages
    unmapped, within = shape.unmapped, (ONE << shape.shift) - ONE
    for j in range(entries.size):
        address = np.uint64(entries[j]) - first  # one below the first becomes too large
        slot = min(address >> shift, blocksets)
        if address & within >= pages:
            slot = blocksets
        if entries[j] == unmapped:
            slot = blocksets + ONE + (np.uint64(j) & np.uint64(UNMAPPED - 1))
        index[j] = slot


@lean_kernel
def index_inside(entries: NDArray[Any], first: np.uint32, shift: np.uint32, index: U32) -> None:
    """The same where all are addresses of four bytes: random tables take a tenth less time."""
    shift &= np.uint32(31)  # said so that vectors hold twice as many
    for j in range(entries.size):
        index[j] = np.uint32(np.uint32(entries[j]) - first) >> shift


@lean_kernel
def increment(slots: U32, size: int, counts: NDArray[Any]) -> None:
    """One more in each slot."""
    one = counts.dtype.type(1)
    for j in range(size):
        counts[slots[j]] += one


@lean_kernel
def fold(low: NDArray[np.uint16], counts: U32) -> None:
    """Add the counts of two bytes to those of four, and begin them anew."""
    for slot in range(low.size):
        counts[slot] += np.uint32(low[slot])
        low[slot] = np.uint16(0)


@lean_kernel
def bit_all(entries: NDArray[Any], shape: Shape, nowhere: np.uint64, room: Room) -> None:
    """The bit of each address; ``nowhere`` for one that is none."""
    first, blocksets, slot = shape.first, shape.blocksets, room.slot
    for j in range(entries.size):
        address = np.uint64(entries[j]) - first
        if np.uint64(slot[j]) >= blocksets:
            address = nowhere
        room.bits[j] = address


@lean_kernel
def mark(bits: U64, size: int, seen: U64) -> None:
    """Set bits."""
    for j in range(size):
        if j + FAR < size:
            ask_for(seen, bits[j + FAR] >> WORD)
        seen[bits[j] >> WORD] |= ONE << (bits[j] & WITHIN)


@lean_kernel
def mark_run(seen: U64, bit: np.uint64, size: int) -> None:
    """Set ``size`` bits from one on."""
    end = bit + np.uint64(size)
    while bit < end:
        inside = bit & WITHIN
        many = min(np.uint64(64) - inside, end - bit)
        seen[bit >> WORD] |= (ALL >> (np.uint64(64) - many)) << inside
        bit += many


@lean_kernel
def add(counts: U32, local: U32, begin: int, end: int) -> None:
    """Add the slots from ``begin`` to ``end`` of a local table."""
    into, more = counts[begin:end], local[begin:end]
    for i in range(into.size):
        into[i] += more[i]


@lean_kernel
def distinct(seen: NDArray[np.uint64], begin: int, end: int) -> Any:
    """Bits that any core set in the words from ``begin`` to ``end``; ``seen`` is [core, word]."""
    found = np.int64(0)
    for word in range(begin, end):
        bits = np.uint64(0)
        for core in range(seen.shape[0]):
            bits |= seen[core, word]
        # bits of a word counted by halves (Warren, Hacker's Delight, 5-1)
        bits -= (bits >> ONE) & np.uint64(0x5555555555555555)
        bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
        bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        found += np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))
    return found


@lean_kernel
def scan_locked(table: NDArray[Any], piece: I64, shape: Shape, common: Common, local: Local) -> None:
    """The baseline: every count in the table that all share, each under the lock of its blockset.

    The counts of ``local`` are the extra slots alone.
    """
    many = np.uint64(common.locks.size // APART)
    within = (ONE << shape.shift) - ONE
    for at in range(piece[0], piece[1], piece[3]):
        for i in range(at, min(at + piece[2], piece[1])):
            if table[i] == shape.unmapped:
                local.counts[1] += np.uint32(1)
                continue
            address = np.uint64(table[i]) - shape.first
            blockset = address >> shape.shift
            if blockset >= shape.blocksets or address & within >= shape.pages:
                local.counts[0] += np.uint32(1)
                continue
            lock = (blockset % many) * np.uint64(APART)
            while swap(common.locks, lock, 1) != 0:
                pass
            common.counts[blockset] += np.uint32(1)
            swap(common.locks, lock, 0)
            if local.seen.size:
                local.seen[address >> WORD] |= ONE << (address & WITHIN)


@lean_kernel
def first_stray(table: NDArray[Any], shape: Shape) -> int:
    """The first entry that is neither unmapped nor an address; -1 if there is none."""
    within = (ONE << shape.shift) - ONE
    for i in range(table.size):
        address = np.uint64(table[i]) - shape.first
        if table[i] != shape.unmapped and (
            address >> shape.shift >= shape.blocksets or address & within >= shape.pages
        ):
            return i
    return -1
