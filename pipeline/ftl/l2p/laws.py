"""What must hold of every map at any moment: it says of each page what its drive knows, and its books balance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.l2p.ask import pointer_of
from pipeline.ftl.l2p.slots import NO_SLOT, slot_of
from pipeline.ftl.l2p.state import Map, Mapped, Maps, map_of, stale
from pipeline.ftl.laws import BrokenLawError
from traces.kernel import lean_kernel

FOUND = np.dtype(
    [
        (name, "i8")
        for name in (
            "strays",  # pages of which the map does not say what the drive knows
            "durable",  # pages not waiting of which the map page does not say it
            "waiting",  # map pages whose waiting pointers were not all counted
            "slots",  # slots in use, or pages in the write buffer
            "listed",  # of them, those that are found by their page
        )
    ]
)


def check_maps(maps: Maps) -> None:
    """Lookups, map pages, waiting pointers and caches, counted anew; BrokenLawError."""
    found = np.zeros(1, FOUND).view(np.recarray)
    for volume in range(maps.fleet.start.size - 1):
        if not maps.books[2 * volume].prepared or maps.kind == Map.FLAT:
            continue
        recount_map(maps, volume, found)
        all_of = {
            "lookups that are not the drive's": (found[0].strays, 0),
            "map pages that are not the drive's": (found[0].durable, 0),
            "map pages whose changed pointers are miscounted": (found[0].waiting, 0),
            "slots, or pages in the write buffer, that are not found": (found[0].slots - found[0].listed, 0),
        }
        for law, (have, want) in all_of.items():
            if have != want:
                raise BrokenLawError(f"{law}: {have} (volume {volume}, map {maps.kind.name.lower()})")


def check_content(flat: Maps, maps: Maps) -> None:
    """X9: what was all served, and lost nothing with the power, has the flat map's pages mapped; BrokenLawError."""
    for volume in range(flat.fleet.start.size - 1):
        books = maps.books[2 * volume]
        undone = books.reverted + books.gone + books.lost
        if not books.prepared or books.stopped or flat.books[2 * volume].stopped or undone:
            continue
        have, want = mapped_pages(maps, volume), mapped_pages(flat, volume)
        if off := int(np.count_nonzero(have != want)):
            raise BrokenLawError(f"X9: {off} pages are mapped in one of flat and {maps.kind.name.lower()} alone")


def mapped_pages(maps: Maps, volume: int) -> NDArray[np.bool_]:
    """Of each logical page of data whether it stands in flash or waits in the write buffer."""
    start, entry = maps.fleet.start[volume], maps.place.entry[volume]
    waiting = maps.books[2 * volume].waiting if maps.kind == Map.LEARNED else 0
    out: NDArray[np.bool_] = maps.fleet.where[start.page : start.page + start.bound] != 0
    out[maps.entry_page[entry : entry + waiting]] = True
    return out


@lean_kernel
def recount_map(maps: Maps, volume: int, found: Any) -> None:
    """What the whole state of one map comes to."""
    mapped = map_of(maps, volume)
    out, drive = found[0], mapped.drive
    for page in range(drive.bound):
        want = drive.where[page]
        if pointer_of(mapped, page) != want:
            out.strays += 1
        if mapped.kind == Map.LEARNED:
            entry = np.int64(mapped.at[page]) - 1
            out.listed += 0 <= entry < mapped.books[0].waiting and mapped.entry_page[entry] == page
            continue
        if not stale(mapped, page):
            out.durable += mapped.second[page] != want
        elif mapped.fresh[page] != want:
            out.strays += 1
        if slot_of(mapped, page) != NO_SLOT:
            out.listed += 1
    if mapped.kind == Map.LEARNED:
        out.slots += mapped.books[0].waiting
    for slot in range(mapped.slot_page.size):
        out.slots += mapped.slot_page[slot] != 0
    for structure in range(mapped.waiting.size):
        out.waiting += waiting_of(mapped, structure) != mapped.waiting[structure]


@lean_kernel
def waiting_of(mapped: Mapped, structure: int) -> int:
    """Changed pointers of a map page that nothing else takes care of."""
    count, first = 0, structure * mapped.fanout
    for page in range(first, min(first + mapped.fanout, mapped.drive.bound)):
        if stale(mapped, page) and not (mapped.kind == Map.DFTL and mapped.at[page] != 0):
            count += 1
    return count
