"""What a logical-to-physical map keeps beside its drive, for the maps of all volumes in arrays that they share.

Map pages are logical pages of the map's own drive, behind those of the data: ``where[bound + t]`` is the pointer to
map page t that stands in DRAM, whether it is called a first structure or an entry of a global translation directory.

What one map keeps, in bytes, beside its drive: 8 1/8 a logical page, of DFTL 12 1/8; 12 a map page; 8 a slot of the
first structures; 17 an entry of the cached mapping table; 8 for each pointer of a map page; 500 for the rest. A learned
map keeps 24 a logical page (`pipeline.ftl.l2p.learned`), 17 a page of its write buffer and 500.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.drive import Drive
from pipeline.ftl.fleet import Fleet, drive_of, zeros
from pipeline.ftl.l2p.learned import new_learned
from pipeline.ftl.l2p.learned_fit import GROUP
from pipeline.ftl.l2p.learned_levels import LEVELS, ROOM, Learned
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel

NOWHERE = 0  # a pointer is a cell + 1
NO_ENTRY = -1


class Map(IntEnum):
    """How logical pages find their cells."""

    FLAT = 0
    TWO_LEVEL = 1
    DFTL = 2
    LEARNED = 3


IN_FLASH = (Map.TWO_LEVEL, Map.DFTL)  # those that keep map pages


class SlotPolicy(IntEnum):
    """Which pointers a first structure keeps in its slots."""

    LRU = 0
    FIFO = 1
    DIRECT = 2
    WRITE_ONLY = 3


class Flush(IntEnum):
    """Which map page is rewritten when enough changed pointers wait."""

    MOST = 0
    OLDEST = 1


BOOKS = np.dtype(
    [
        (name, "i8")
        for name in (
            "given",  # requests of the trace
            "stopped",  # 1 once the drive could go no further
            "prepared",  # 1 once it may be asked
            "lookups",  # pages that the host read, and those that a part of a page was written to
            "absent",  # of them, those answered by the lack of a map page, a segment, or a page in the compact layout
            "cached_hits",  # by a slot, an entry of the cached mapping table, or a segment exactly
            "buffer_hits",  # by a pointer that waits for its map page to be rewritten, or a page in the write buffer
            "map_reads",  # lookups that had to read a map page, or another page than the one that a segment told
            "data_reads",  # lookups that found a cell
            "updates",  # pointers that the host changed
            "update_hits",  # of them, those whose pointer stood in DRAM
            "update_reads",  # updates that had to read flash: to bring the pointer into the cache; for a former cell
            "rewrite_reads",  # map pages read to be rewritten
            "gc_map",  # map pages copied by garbage collection
            "waiting",  # changed pointers that wait for a rewrite, or pages in the write buffer
            "peak",  # the most that ever did
            "most",  # no ring above this one holds a map page
            "held",  # entries of the cached mapping table in use
            "fresh",  # those from here on were never used
            "free",  # the last one given back
            "safe",  # entries in the protected segment
            "tries",  # collections for one page that the host asks for
            "reverted",  # by a crash: pages that went back to what their map page says
            "gone",  # pages that their map page had never heard of
            "lost",  # pages whose map page points to a cell that was erased since
            "spared",  # pages written that were written again or discarded before they left the write buffer
            "uncompacted",  # pages programmed for the host since a learned map was compacted
            "segments",  # bytes of a learned map's segments when they were last counted
            "segments_peak",  # the most that ever were
        )
    ]
)

PLACE = np.dtype(
    [
        (name, "i8")
        for name in (
            "page",  # where a map begins in second and fresh
            "index",  # in at
            "structure",  # in waiting
            "word",  # in dirty
            "link",
            "slot",
            "entry",
            "order",
            "group",  # in the learned map
            "entries",  # of the cached mapping table, or of the write buffer
            "safe",  # of them, those of the protected segment
            "dram",  # bytes, beside those of segments
        )
    ]
)


class Maps(NamedTuple):
    """The maps of one kind, a volume each; the arrays are those of `Mapped`, one after the other."""

    kind: Map
    fanout: int
    slots: int
    policy: SlotPolicy
    flush: Flush
    batch: int
    limit: int
    words: int
    compact_every: int
    fleet: Fleet
    place: Any  # [volume, and one past the last] PLACE
    second: NDArray[np.uint32]
    fresh: NDArray[np.uint32]
    dirty: NDArray[np.uint64]
    waiting: NDArray[np.int32]
    links: NDArray[np.int32]
    slot_page: NDArray[np.uint32]
    slot_pointer: NDArray[np.uint32]
    at: NDArray[np.uint32]
    entry_page: NDArray[np.uint32]
    entry_pointer: NDArray[np.uint32]
    entry_safe: NDArray[np.uint8]
    order: NDArray[np.int32]
    learned: Learned
    books: Any  # [2 volume: now, 2 volume + 1: when the window began] BOOKS


class Mapped(NamedTuple):
    """One map and its drive. What is a number here stays; what changes is an array."""

    kind: Map
    fanout: int  # pointers in a map page
    slots: int  # of a first structure
    policy: SlotPolicy
    flush: Flush
    batch: int  # changed pointers with which a map page is rewritten
    limit: int  # changed pointers that may wait at most
    words: int  # of ``dirty`` for a map page
    entries: int
    safe: int
    dram: int  # bytes, beside those of segments
    compact_every: int  # pages programmed for the host; 0: never
    drive: Drive
    second: NDArray[np.uint32]  # [logical page] its pointer in flash
    fresh: NDArray[np.uint32]  # [logical page] its pointer, where that in flash is stale
    dirty: NDArray[np.uint64]  # [map page * words + pointer / 64] a bit for each pointer that is stale in flash
    waiting: NDArray[np.int32]  # [map page] of them, those that make it wait for a rewrite
    links: NDArray[np.int32]  # [map page, or map pages + ring; next or previous]
    slot_page: NDArray[np.uint32]  # [map page * slots + slot] which of the map page's pointers, + 1
    slot_pointer: NDArray[np.uint32]
    at: NDArray[np.uint32]  # [logical page] its entry of the cached mapping table, or of the write buffer, + 1
    entry_page: NDArray[np.uint32]  # [entry]
    entry_pointer: NDArray[np.uint32]  # [entry]
    entry_safe: NDArray[np.uint8]  # [entry] whether in the protected segment
    order: NDArray[np.int32]  # [entry, or probation, or the protected segment; next or previous] latest first
    learned: Learned
    books: Any  # two BOOKS


def new_maps(
    fleet: Fleet,
    *,
    kind: Map,
    fanout: int,
    slots: int,
    policy: SlotPolicy,
    flush: Flush,
    batch: int,
    limit: int,
    gamma: int,
    compact_every: int,
    entries: list[int],
    safe: list[int],
    dram: list[int],
) -> Maps:
    """Maps for drives, all of them empty; of a flat map there is nothing but the drives."""
    volumes = fleet.start.size - 1
    in_flash, learned = kind in IN_FLASH, kind == Map.LEARNED
    pages = fleet.start.bound[:-1] * in_flash
    structures = (fleet.start.logical - fleet.start.bound)[:-1] * in_flash
    words = (fanout + 63) // 64
    place: Any = np.zeros(volumes + 1, PLACE).view(np.recarray)
    place.entries[:-1], place.safe[:-1], place.dram[:-1] = entries, safe, dram
    cached = place.entries[:-1]
    sizes: dict[str, Any] = {
        "page": pages,
        "index": fleet.start.bound[:-1] * (learned or kind == Map.DFTL),
        "structure": structures,
        "word": structures * words,
        "link": structures + (fanout + 1) * in_flash,
        "slot": structures * slots * (kind == Map.TWO_LEVEL),
        "entry": np.maximum(cached, fleet.pages) if learned else cached,  # it holds what is learned at once
        "order": (cached + 2) * (kind == Map.DFTL),
        "group": -(-fleet.start.bound[:-1] // GROUP) * learned,
    }
    for name, each in sizes.items():
        place[name][1:] = np.cumsum(each)
    total = {name: int(place[name][-1]) for name in sizes}
    return Maps(
        kind=kind,
        fanout=fanout,
        slots=slots,
        policy=policy,
        flush=flush,
        batch=batch,
        limit=limit,
        words=words,
        compact_every=compact_every,
        fleet=fleet,
        place=place,
        second=zeros(total["page"], np.uint32),
        fresh=zeros(total["page"], np.uint32),
        dirty=zeros(total["word"], np.uint64),
        waiting=zeros(total["structure"], np.int32),
        links=zeros(2 * total["link"], np.int32).reshape(-1, 2),
        slot_page=zeros(total["slot"], np.uint32),
        slot_pointer=zeros(total["slot"], np.uint32),
        at=zeros(total["index"], np.uint32),
        entry_page=zeros(total["entry"], np.uint32),
        entry_pointer=zeros(total["entry"], np.uint32),
        entry_safe=zeros(total["entry"], np.uint8),
        order=zeros(2 * max(total["order"], 1), np.int32).reshape(-1, 2),
        learned=new_learned(
            total["group"] * GROUP,
            gamma=gamma,
            pages=fleet.pages,
            shift=fleet.shift,
            most=int(max(fleet.pages, *entries)) if learned else 1,
        ),
        books=zeros(2 * volumes, BOOKS).view(np.recarray),
    )


@inline_lean_kernel
def map_of(maps: Maps, volume: Whole) -> Mapped:
    """The map of a volume and its drive: views."""
    return map_with(maps, volume, drive_of(maps.fleet, int(volume)))


@inline_lean_kernel
def map_with(maps: Maps, volume: Whole, drive: Drive) -> Mapped:
    """The map of a volume, with its drive as given. (Outside of kernels it is ``map_with.py_func``.)"""
    at, end = maps.place[volume], maps.place[volume + 1]
    return Mapped(
        maps.kind,
        maps.fanout,
        maps.slots,
        maps.policy,
        maps.flush,
        maps.batch,
        maps.limit,
        maps.words,
        at.entries,
        at.safe,
        at.dram,
        maps.compact_every,
        drive,
        maps.second[at.page : end.page],
        maps.fresh[at.page : end.page],
        maps.dirty[at.word : end.word],
        maps.waiting[at.structure : end.structure],
        maps.links[at.link : end.link],
        maps.slot_page[at.slot : end.slot],
        maps.slot_pointer[at.slot : end.slot],
        maps.at[at.index : end.index],
        maps.entry_page[at.entry : end.entry],
        maps.entry_pointer[at.entry : end.entry],
        maps.entry_safe[at.entry : end.entry],
        maps.order[at.order : end.order],
        Learned(
            maps.learned.gamma,
            maps.learned.pages,
            maps.learned.shift,
            maps.learned.segments[at.group * ROOM : end.group * ROOM],
            maps.learned.ends[at.group * LEVELS : end.group * LEVELS],
            maps.learned.levels[at.group : end.group],
            maps.learned.owner[at.group * GROUP : end.group * GROUP],
            maps.learned.work,
        ),
        maps.books[2 * volume : 2 * volume + 2],
    )


@lean_kernel
def prepare_map(mapped: Mapped) -> None:
    """Make zeros a map that knows no page: rings and segments are empty."""
    structures = mapped.waiting.size
    for i in range(mapped.links.shape[0]):
        mapped.links[i, 0] = mapped.links[i, 1] = i if i >= structures else NO_ENTRY
    if mapped.kind == Map.DFTL:
        for i in range(mapped.entries, mapped.entries + 2):
            mapped.order[i, 0] = mapped.order[i, 1] = i
    mapped.books[0].free = NO_ENTRY
    mapped.books[0].prepared = 1


@inline_lean_kernel
def bit_of(mapped: Mapped, page: Whole) -> tuple[Any, Any]:
    """Where the page's bit in ``dirty`` is: its word, and the bit in it."""
    structure = page // mapped.fanout
    offset = page - structure * mapped.fanout
    return structure * mapped.words + (offset >> 6), np.uint64(1) << np.uint64(offset & 63)


@inline_lean_kernel
def stale(mapped: Mapped, page: Whole) -> Any:
    """Whether the page's pointer in flash is."""
    word, bit = bit_of(mapped, page)
    return mapped.dirty[word] & bit != np.uint64(0)
