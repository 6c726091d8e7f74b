"""What a comparison of maps comes to: one row a volume and map, with the flat map as the measure of the others."""

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl._columns import (
    Capacity,
    Erases,
    GrownTo,
    HostPrograms,
    LogicalPages,
    PagesRead,
    PhysicalPages,
    PrefillPrograms,
    TrimmedPages,
    UnmappedRead,
    Volume,
)
from pipeline.ftl.fleet import drive_in, grown_to, state_bytes
from pipeline.ftl.l2p.config import L2pConfig
from pipeline.ftl.l2p.laws import mapped_pages
from pipeline.ftl.l2p.learned import Figures, figures
from pipeline.ftl.l2p.learned_fit import GROUP
from pipeline.ftl.l2p.learned_levels import LEVELS, ROOM
from pipeline.ftl.l2p.state import BOOKS, PLACE, Map, Maps, map_with
from traces.table import F64, U8, U64, Bool, Unknown, empty

TIB = 1 << 40


class FtlL2pSummary(NamedTuple):
    """Logical-to-physical maps under one trace, a row a volume and map; all drives have the same blocks."""

    volume: Volume
    map: Annotated[U8, "0 flat, 1 two-level, 2 DFTL, 3 learned"]
    capacity: Capacity
    logical_pages: LogicalPages
    physical_pages: PhysicalPages
    grown_to: GrownTo
    fanout: Annotated[U64, "pointers in a map page; 0 where there are none"]
    map_pages: Annotated[U64, "map pages when all of them are written"]
    dram_bytes: Annotated[
        U64,
        "DRAM of the map, directory, cache and buffer: the same however full the drive is; of the learned map, the "
        "most that it took when a window ended or before it was compacted",
    ]
    directory_bytes: Annotated[
        U64,
        "of dram_bytes: the flat map; first structures without slots; global translation directory; learned: a pointer "
        "for each 256 pages",
    ]
    cache_bytes: Annotated[U64, "of dram_bytes: slots of the first structures; cached mapping table; learned segments"]
    buffer_bytes: Annotated[
        U64,
        "of dram_bytes: changed pointers that wait for their map page, as many as may at most; which pages the learned "
        "map's write buffer holds",
    ]
    dram_end_bytes: Annotated[U64, "DRAM of the map at the end: only the learned map's is not dram_bytes"]
    segments: Annotated[U64, "lines of the learned map at the end"]
    approximate_segments: Annotated[U64, "of segments, those that tell a page's cell within gamma"]
    dram_per_tib: Annotated[F64, "dram_bytes for each TiB that the drive exports"]
    dram_saved: Annotated[F64, "bytes by which dram_bytes is less than the flat map's, a share; negative if it is more"]
    flash_bytes: Annotated[U64, "flash of the map: its map pages"]
    requests: Annotated[U64, "requests of the trace that were served, of all kinds"]
    unserved: Annotated[
        U64,
        "requests that were not, since the drive had come to its end: rewriting map pages takes more room than "
        "collecting wins. The first of them is the one after requests; 0 as a rule",
    ]
    lookups: Annotated[U64, "pages looked up to be read: pages_read, and pages that a write changed a part of"]
    absent: Annotated[U64, "of lookups, those answered by there being no map page, or no segment that covers the page"]
    cached_hits: Annotated[
        U64, "of lookups, those answered by a slot, by the cached mapping table, or by a segment and exactly"
    ]
    buffer_hits: Annotated[
        U64,
        "of lookups, those answered by a changed pointer that waits; by the learned map's write buffer, data and all",
    ]
    map_reads: Annotated[
        U64,
        "of lookups, those that had to read one more page: a map page; learned: another page than the one told",
    ]
    data_reads: Annotated[U64, "of lookups, those that found a page of data and read it from flash"]
    map_reads_per_read: Annotated[F64, "map_reads / lookups; NULL where nothing was looked up", Unknown(-1)]
    hit_ratio: Annotated[F64, "share of lookups that are not map_reads; NULL where nothing was looked up", Unknown(-1)]
    pages_read: PagesRead
    unmapped_read: UnmappedRead
    updates: Annotated[U64, "pointers that the host changed: pages written and unmapped"]
    update_hits: Annotated[
        U64,
        "of updates, those whose pointer was in a slot, in the cache or among those that wait; learned: all but those "
        "of pages that approximate segments cover",
    ]
    update_hit_ratio: Annotated[F64, "update_hits / updates; NULL where nothing was updated", Unknown(-1)]
    update_reads: Annotated[
        U64,
        "map pages read to bring a pointer that is changed into the cache (DFTL); pages read to find the former cell "
        "of what an approximate segment covers (learned)",
    ]
    rewrite_reads: Annotated[U64, "map pages read to be rewritten: all that did not change as a whole"]
    host_programs: HostPrograms
    spared_programs: Annotated[
        U64, "learned: pages written that were written again or discarded before they left the write buffer"
    ]
    waiting_pages: Annotated[U64, "learned: pages in the write buffer at the end; in no figure of programs"]
    map_programs: Annotated[U64, "map pages rewritten; the learned map has none"]
    map_programs_per_write: Annotated[F64, "map_programs / host_programs; NULL if nothing was written", Unknown(-1)]
    gc_data_programs: Annotated[U64, "pages of data copied by garbage collection"]
    gc_map_programs: Annotated[U64, "map pages copied by garbage collection"]
    programs: Annotated[U64, "pages programmed since the trace began: all of these"]
    prefill_programs: PrefillPrograms
    erases: Erases
    trimmed_pages: TrimmedPages
    mapped_pages: Annotated[U64, "logical pages of data mapped at the end, those in the write buffer among them"]
    wa: Annotated[F64, "write amplification: programs / host_programs; NULL if nothing was written", Unknown(-1)]
    wa_data: Annotated[F64, "the same without the map's programs and copies; NULL if nothing was written", Unknown(-1)]
    wa_over_flat: Annotated[
        F64,
        "wa less the flat map's; NULL where nothing was written, not all was served or a crash lost pages: what is "
        "not there is neither moved nor read",
        Unknown(-1000),
    ]
    buffer_peak: Annotated[
        U64,
        "the most changed pointers, or pages in the write buffer, that ever waited, before the trace began or since",
    ]
    reverted_pages: Annotated[
        U64, "by a crash: pages that went back to what their map page says, or to what was written before"
    ]
    gone_pages: Annotated[U64, "by a crash: pages that no map page had heard of yet, or that were in no flash"]
    lost_pages: Annotated[U64, "by a crash: pages whose former cell was erased before their map page was rewritten"]
    flash_ns: Annotated[
        F64, "the flash's work: reads, programs and erases, copies included, at the times of the configured cell"
    ]
    spared_ns: Annotated[
        F64,
        "learned: the flash's work that the write buffer spared, its spared programs, waiting pages and buffer hits",
    ]
    slowdown: Annotated[
        F64,
        "flash_ns and spared_ns over the flat map's, less 1; NULL where the flash had no work, not all was served or "
        "a crash lost pages",
        Unknown(-1000),
    ]
    break_even_read_ns: Annotated[
        F64,
        "time of the read more for a lookup up to which slowdown would be within the tolerance, all else as it "
        "was; 0 if even reads that take no time would not do; NULL where slowdown is, or map_reads is 0",
        Unknown(-1),
    ]
    break_even_hit_ratio: Annotated[
        F64,
        "hit ratio from which slowdown would be within the tolerance, all else as it was; NULL where slowdown is, "
        "nothing was looked up or even 1 would not do",
        Unknown(-1),
    ]
    pays: Annotated[Bool, "whether DRAM is saved, all was served, nothing lost, and slowdown is within the tolerance"]
    state_bytes: Annotated[U64, "memory of the emulated drive and map as allocated"]


def _share(part: Any, whole: Any) -> Any:
    """Where there is a whole, else -1."""
    return np.where(whole > 0, part / np.maximum(whole, 1), -1.0)


def summary(every: list[Maps], config: L2pConfig, reached: NDArray[np.uint64]) -> FtlL2pSummary:
    """A row for each volume that was asked for anything and each map; the flat map's comes first.

    ``reached`` is as of `pipeline.ftl.fleet.grown_to`.
    """
    flat, times, counts = every[0], config.times, []
    volumes = np.flatnonzero(flat.books[::2].given)
    grown = grown_to(config, flat.fleet, reached)[volumes]
    for maps in every:
        now, books = maps.fleet.tally[::2][volumes], maps.books[::2][volumes]
        programs = now.host + now.map + now.gc
        reads = books.data_reads + books.map_reads + books.update_reads + books.rewrite_reads + now.gc
        work = 1.0 * reads * times.read + 1.0 * programs * times.program + 1.0 * now.erases * times.erase
        start, learned = maps.fleet.start[:-1][volumes], maps.kind == Map.LEARNED
        sizes = [
            config.sizes(maps.kind, volume)._replace(cache=int(maps.books.segments_peak[2 * volume]))
            if learned
            else config.sizes(maps.kind, volume)
            for volume in volumes.tolist()
        ]
        waiting = books.waiting * learned
        spared = 1.0 * (books.spared + waiting) * times.program + 1.0 * books.buffer_hits * learned * times.read
        lines = [_figures(maps, volume) for volume in volumes.tolist()]
        values: dict[str, Any] = {
            "volume": volumes,
            "map": maps.kind,
            "capacity": start.bound << maps.fleet.page_shift,
            "logical_pages": start.bound,
            "physical_pages": start.blocks * maps.fleet.pages,
            "grown_to": grown,
            "fanout": maps.fanout,
            "map_pages": start.logical - start.bound,
            "dram_bytes": [size.dram for size in sizes],
            "directory_bytes": [size.directory for size in sizes],
            "cache_bytes": [size.cache for size in sizes],
            "buffer_bytes": [size.buffer for size in sizes],
            "dram_end_bytes": [size.dram for size in sizes] - books.segments_peak + books.segments,
            "segments": [each.accurate + each.approximate for each in lines],
            "approximate_segments": [each.approximate for each in lines],
            "flash_bytes": [size.flash for size in sizes],
            "requests": now.requests,
            "unserved": books.given - now.requests,
            "lookups": books.lookups,
            "absent": books.absent,
            "cached_hits": books.cached_hits,
            "buffer_hits": books.buffer_hits,
            "map_reads": books.map_reads,
            "data_reads": books.data_reads,
            "map_reads_per_read": _share(books.map_reads, books.lookups),
            "hit_ratio": _share(books.lookups - books.map_reads, books.lookups),
            "pages_read": now.pages_read,
            "unmapped_read": now.unmapped_read,
            "updates": books.updates,
            "update_hits": books.update_hits,
            "update_hit_ratio": _share(books.update_hits, books.updates),
            "update_reads": books.update_reads,
            "rewrite_reads": books.rewrite_reads,
            "host_programs": now.host,
            "spared_programs": books.spared,
            "waiting_pages": waiting,
            "map_programs": now.map,
            "map_programs_per_write": _share(now.map, now.host),
            "gc_data_programs": now.gc - books.gc_map,
            "gc_map_programs": books.gc_map,
            "programs": programs,
            "prefill_programs": now.prefill,
            "erases": now.erases,
            "trimmed_pages": now.trimmed,
            "mapped_pages": [np.count_nonzero(mapped_pages(maps, volume)) for volume in volumes.tolist()],
            "wa": _share(programs, now.host),
            "wa_data": _share(now.host + now.gc - books.gc_map, now.host),
            "buffer_peak": books.peak,
            "reverted_pages": books.reverted,
            "gone_pages": books.gone,
            "lost_pages": books.lost,
            "flash_ns": work,
            "spared_ns": spared,
            "state_bytes": [_state_bytes(maps, volume) for volume in volumes.tolist()],
        }
        counts.append(values)
    for values in counts:
        values.update(_against(values, counts[0], config))
    rows = empty(FtlL2pSummary, volumes.size * len(every))
    for name in FtlL2pSummary._fields:
        getattr(rows, name)[:] = np.concatenate([np.broadcast_to(values[name], volumes.size) for values in counts])
    order = np.lexsort((rows.map, rows.volume))
    return FtlL2pSummary._make(column[order] for column in rows)


def _against(mine: dict[str, Any], flat: dict[str, Any], config: L2pConfig) -> dict[str, Any]:
    """How a map stands against the flat one of the same volumes."""
    dram, whole = np.array(mine["dram_bytes"]), np.array(flat["dram_bytes"])
    whole_map = (mine["reverted_pages"] == 0) & (mine["gone_pages"] == 0) & (mine["lost_pages"] == 0)
    alike = (mine["unserved"] == 0) & (flat["unserved"] == 0) & whole_map
    known = alike & (flat["flash_ns"] > 0)
    work = mine["flash_ns"] + mine["spared_ns"]
    slowdown = np.where(known, work / np.maximum(flat["flash_ns"], 1) - 1, -1000)
    # what is left for the map reads of lookups when all else has been done
    left = (1 + config.tolerance) * flat["flash_ns"] - (work - mine["map_reads"] * config.times.read)
    hits = 1 - left / np.maximum(mine["lookups"] * config.times.read, 1)
    return {
        "dram_per_tib": dram * (TIB / mine["capacity"]),
        "dram_saved": 1 - dram / np.maximum(whole, 1),
        "wa_over_flat": np.where(alike & (mine["host_programs"] > 0), mine["wa"] - flat["wa"], -1000),
        "slowdown": slowdown,
        "break_even_read_ns": np.where(
            known & (mine["map_reads"] > 0), np.maximum(left, 0) / np.maximum(mine["map_reads"], 1), -1
        ),
        "break_even_hit_ratio": np.where(known & (mine["lookups"] > 0) & (hits <= 1), np.maximum(hits, 0), -1),
        "pays": known & (dram < whole) & (slowdown <= config.tolerance),
    }


def _figures(maps: Maps, volume: int) -> Figures:
    """Of a learned map; of others all 0."""
    drive = drive_in(maps.fleet, volume)
    return Figures(*figures(map_with.py_func(maps, volume, drive).learned))  # type: ignore[attr-defined]


def _state_bytes(maps: Maps, volume: int) -> int:
    """Of drive and map."""
    begin, end = maps.place[volume], maps.place[volume + 1]
    of = {name: int(end[name] - begin[name]) for name in PLACE.names or () if name not in ("entries", "safe", "dram")}
    pages = 8 * of["page"] + 4 * of["index"] + 8 * of["word"] + 4 * of["structure"] + 8 * of["link"]
    cached = 8 * of["slot"] + 9 * of["entry"] + 8 * of["order"]
    learned = of["group"] * (8 * ROOM + 2 * LEVELS + 2 + 2 * GROUP)
    return state_bytes(maps.fleet, volume) + pages + cached + learned + 2 * BOOKS.itemsize
