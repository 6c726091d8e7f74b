"""The compact layout: trace pages numbered in the order of their first write, in a map of what was written.

Where the trace's address space is small beside the drive, an array over all of it says each page's number. Where it is
large, a hash table does, with linear probing and six bytes a slot: the low ``bits`` of an entry are the number + 1, the
others the low bits of the page's hash. The hash is a permutation of 32 bits, and its high bits say where a page is
looked for first; so a slot and the low bits make out the page as long as it stands near its home, and the number fits
in beside them (abbreviated keys: Knuth, TAOCP 3, 6.4, exercise 13; Cleary, IEEE Trans. Computers C-33(9), 1984).
Near is 36,000 slots, or the whole table if that is smaller. With nine slots of ten taken, so long a stretch of taken
ones is to be expected once in more than 10^70 drives.
"""

from typing import Any

import numpy as np

from pipeline.ftl.drive import Drive
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel

FULL = 0.9  # of a table's slots are taken at most: 5 probes for a page that is there, 50 for one that is not (6.4)
ENTRY = 48  # bits
WORDS = 3  # of 16 bits. Kept as two arrays, of 32 and 16 bits: 10 in place of 11 M host pages/s at spare 0.20
ABSENT, NONE_LEFT, TOO_FAR = -1, -2, -3
LOW = np.uint64(0xFFFFFFFF)


def slots_for(logical: int, numbered: int) -> int:
    """Slots of the table of a drive that numbers ``logical`` of ``numbered`` pages; 0 where an array is no larger."""
    slots = int(logical / FULL) + 2
    return slots if 4 * numbered > 2 * WORDS * slots else 0


@inline_lean_kernel
def mixed(page: Whole) -> np.uint64:
    """A permutation of 32 bits: the finalizer of MurmurHash3 (Appleby, 2011)."""
    x = np.uint64(page)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & LOW
    x = ((x ^ (x >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & LOW
    return x ^ (x >> np.uint64(16))


@inline_lean_kernel
def home(drive: Drive, page: Whole) -> Any:
    """Where a trace page's slot is looked for first: its hash scaled to the table."""
    return np.int64((mixed(page) * np.uint64(drive.table.size // WORDS)) >> np.uint64(32))


@inline_lean_kernel
def held(drive: Drive, slot: Whole) -> Any:
    """What stands in a slot; 0 if nothing does."""
    at = WORDS * slot
    low, middle, high = drive.table[at], drive.table[at + 1], drive.table[at + 2]
    return np.uint64(low) | np.uint64(middle) << np.uint64(16) | np.uint64(high) << np.uint64(32)


@inline_lean_kernel
def number_in(drive: Drive, entry: Any) -> Any:
    """The logical page that an entry holds; -1 if none."""
    return np.int64(entry & ((np.uint64(1) << np.uint64(drive.bits)) - np.uint64(1))) - 1


@inline_lean_kernel
def probe(drive: Drive, page: Whole) -> tuple[Any, Any, Any]:
    """The page's slot, the first free one, or TOO_FAR if neither is near; what it holds; the page's own entry."""
    bits = np.uint64(drive.bits)
    entry = (mixed(page) << bits) & ((np.uint64(1) << np.uint64(ENTRY)) - np.uint64(1))
    slot, slots = home(drive, page), drive.table.size // WORDS
    for _ in range(drive.near):
        have = held(drive, slot)
        if have == np.uint64(0) or (have ^ entry) >> bits == np.uint64(0):
            return slot, have, entry
        slot += 1
        if slot == slots:
            slot = 0
    return TOO_FAR, np.uint64(0), entry


@inline_lean_kernel
def numbered(drive: Drive, page: Whole, write: bool) -> Any:
    """The logical page of a trace page; ABSENT if it has none; NONE_LEFT or TOO_FAR if it cannot have one."""
    dense, hashed = drive.number.size > 0, drive.table.size > 0
    if not dense and not hashed:
        return page
    slot, entry = np.int64(page), np.uint64(0)
    if hashed:
        slot, have, entry = probe(drive, page)
        if slot == TOO_FAR:
            return TOO_FAR if write else ABSENT
        logical = number_in(drive, have)
    else:
        logical = np.int64(drive.number[page]) - 1
    if logical < 0 and write:
        now = drive.tally[0]
        if now.numbered == drive.logical:
            return NONE_LEFT
        logical = now.numbered
        now.numbered += 1
        if hashed:
            entry |= np.uint64(now.numbered)
            for i in range(WORDS):
                drive.table[WORDS * slot + i] = entry >> np.uint64(16 * i)
        else:
            drive.number[page] = now.numbered
    return logical
