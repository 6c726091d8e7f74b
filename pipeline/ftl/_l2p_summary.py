"""What a comparison of maps comes to: one row a volume and map, with the flat map as the measure of the others."""

from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.ftl._l2p_config import L2pConfig
from pipeline.ftl._l2p_state import BOOKS, PLACE, Maps
from pipeline.ftl.fleet import state_bytes
from traces.table import F64, U8, U32, U64, Bool, Unknown, empty

TIB = 1 << 40


class FtlL2pSummary(NamedTuple):
    """Logical-to-physical maps under one trace, a row a volume and map; all drives have the same blocks."""

    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    map: Annotated[U8, "0 flat, 1 two-level, 2 DFTL"]
    capacity: Annotated[U64, "bytes that the drive exports (compact layout: room for what the trace writes)"]
    logical_pages: Annotated[U64, "the same in pages"]
    physical_pages: Annotated[U64, "pages of all blocks"]
    fanout: Annotated[U64, "pointers in a map page; 0 where there are none"]
    map_pages: Annotated[U64, "map pages when all of them are written"]
    dram_bytes: Annotated[U64, "DRAM of the map, the same however full the drive is: directory, cache and buffer"]
    directory_bytes: Annotated[
        U64, "of dram_bytes: the flat map; first structures without slots; global translation directory"
    ]
    cache_bytes: Annotated[U64, "of dram_bytes: slots of the first structures; cached mapping table"]
    buffer_bytes: Annotated[U64, "of dram_bytes: changed pointers that wait for their map page, as many as may at most"]
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
    absent: Annotated[U64, "of lookups, those answered by there being no map page"]
    cached_hits: Annotated[U64, "of lookups, those answered by a slot, or by the cached mapping table"]
    buffer_hits: Annotated[U64, "of lookups, those answered by a changed pointer that waits"]
    map_reads: Annotated[U64, "of lookups, those that had to read a map page from flash, one each"]
    data_reads: Annotated[U64, "of lookups, those that found a page of data and read it from flash"]
    map_reads_per_read: Annotated[F64, "map_reads / lookups; NULL where nothing was looked up", Unknown(-1)]
    hit_ratio: Annotated[F64, "share of lookups that read no map page; NULL where nothing was looked up", Unknown(-1)]
    pages_read: Annotated[U64, "pages read by the host"]
    unmapped_read: Annotated[U64, "of pages_read, those that hold nothing"]
    updates: Annotated[U64, "pointers that the host changed: pages written and unmapped"]
    update_hits: Annotated[U64, "of updates, those whose pointer was in a slot, in the cache or among those that wait"]
    update_hit_ratio: Annotated[F64, "update_hits / updates; NULL where nothing was updated", Unknown(-1)]
    update_reads: Annotated[U64, "map pages read to bring a pointer that is changed into the cache (DFTL)"]
    rewrite_reads: Annotated[U64, "map pages read to be rewritten: all that did not change as a whole"]
    host_programs: Annotated[U64, "pages programmed for the host"]
    map_programs: Annotated[U64, "map pages rewritten"]
    map_programs_per_write: Annotated[F64, "map_programs / host_programs; NULL if nothing was written", Unknown(-1)]
    gc_data_programs: Annotated[U64, "pages of data copied by garbage collection"]
    gc_map_programs: Annotated[U64, "map pages copied by garbage collection"]
    programs: Annotated[U64, "pages programmed since the trace began: all of these"]
    prefill_programs: Annotated[U64, "pages programmed before the trace began; in no other figure"]
    erases: Annotated[U64, "blocks erased since the trace began"]
    trimmed_pages: Annotated[U64, "pages unmapped by discards and write-zeroes"]
    mapped_pages: Annotated[U64, "logical pages of data mapped at the end"]
    wa: Annotated[F64, "write amplification: programs / host_programs; NULL if nothing was written", Unknown(-1)]
    wa_data: Annotated[F64, "the same without the map's programs and copies; NULL if nothing was written", Unknown(-1)]
    wa_over_flat: Annotated[F64, "wa less the flat map's; NULL if nothing was written", Unknown(-1000)]
    buffer_peak: Annotated[U64, "the most changed pointers that ever waited, before the trace began or since"]
    reverted_pages: Annotated[U64, "by a crash: pages that went back to what their map page says"]
    gone_pages: Annotated[U64, "by a crash: pages that no map page had heard of yet"]
    lost_pages: Annotated[U64, "by a crash: pages whose former cell was erased before their map page was rewritten"]
    flash_ns: Annotated[
        F64, "the flash's work: reads, programs and erases, copies included, at the times of the configured cell"
    ]
    slowdown: Annotated[
        F64,
        "flash_ns over the flat map's, less 1; NULL where the flash had no work or not all was served",
        Unknown(-1000),
    ]
    break_even_read_ns: Annotated[
        F64,
        "time of reading a map page for a lookup up to which slowdown would be within the tolerance, all else as it "
        "was; 0 if even reads that take no time would not do; NULL where slowdown is, or map_reads is 0",
        Unknown(-1),
    ]
    break_even_hit_ratio: Annotated[
        F64,
        "hit ratio from which slowdown would be within the tolerance, all else as it was; NULL where slowdown is, "
        "nothing was looked up or even 1 would not do",
        Unknown(-1),
    ]
    pays: Annotated[Bool, "whether DRAM is saved, everything was served and slowdown is within the tolerance"]
    state_bytes: Annotated[U64, "memory of the emulated drive and map as allocated"]


def _share(part: Any, whole: Any) -> Any:
    """Where there is a whole, else -1."""
    return np.where(whole > 0, part / np.maximum(whole, 1), -1.0)


def summary(every: list[Maps], config: L2pConfig) -> FtlL2pSummary:
    """A row for each volume that was asked for anything and each map; the flat map's comes first."""
    flat, times, counts = every[0], config.times, []
    volumes = np.flatnonzero(flat.books[::2].given)
    for maps in every:
        now, books = maps.fleet.tally[::2][volumes], maps.books[::2][volumes]
        programs = now.host + now.map + now.gc
        reads = books.data_reads + books.map_reads + books.update_reads + books.rewrite_reads + now.gc
        work = 1.0 * reads * times.read + 1.0 * programs * times.program + 1.0 * now.erases * times.erase
        start = maps.fleet.start[:-1][volumes]
        sizes = [config.sizes(maps.kind, volume) for volume in volumes.tolist()]
        values: dict[str, Any] = {
            "volume": volumes,
            "map": maps.kind,
            "capacity": start.bound << maps.fleet.page_shift,
            "logical_pages": start.bound,
            "physical_pages": start.blocks * maps.fleet.pages,
            "fanout": maps.fanout,
            "map_pages": start.logical - start.bound,
            "dram_bytes": [size.dram for size in sizes],
            "directory_bytes": [size.directory for size in sizes],
            "cache_bytes": [size.cache for size in sizes],
            "buffer_bytes": [size.buffer for size in sizes],
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
            "map_programs": now.map,
            "map_programs_per_write": _share(now.map, now.host),
            "gc_data_programs": now.gc - books.gc_map,
            "gc_map_programs": books.gc_map,
            "programs": programs,
            "prefill_programs": now.prefill,
            "erases": now.erases,
            "trimmed_pages": now.trimmed,
            "mapped_pages": now.mapped - [_map_pages(maps, volume) for volume in volumes.tolist()],
            "wa": _share(programs, now.host),
            "wa_data": _share(now.host + now.gc - books.gc_map, now.host),
            "buffer_peak": books.peak,
            "reverted_pages": books.reverted,
            "gone_pages": books.gone,
            "lost_pages": books.lost,
            "flash_ns": work,
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
    known = (flat["flash_ns"] > 0) & (mine["unserved"] == 0) & (flat["unserved"] == 0)
    slowdown = np.where(known, mine["flash_ns"] / np.maximum(flat["flash_ns"], 1) - 1, -1000)
    # what is left for the map reads of lookups when all else has been done
    left = (1 + config.tolerance) * flat["flash_ns"] - (mine["flash_ns"] - mine["map_reads"] * config.times.read)
    hits = 1 - left / np.maximum(mine["lookups"] * config.times.read, 1)
    return {
        "dram_per_tib": dram * (TIB / mine["capacity"]),
        "dram_saved": 1 - dram / np.maximum(whole, 1),
        "wa_over_flat": np.where(mine["host_programs"] > 0, mine["wa"] - flat["wa"], -1000),
        "slowdown": slowdown,
        "break_even_read_ns": np.where(
            known & (mine["map_reads"] > 0), np.maximum(left, 0) / np.maximum(mine["map_reads"], 1), -1
        ),
        "break_even_hit_ratio": np.where(known & (mine["lookups"] > 0) & (hits <= 1), np.maximum(hits, 0), -1),
        "pays": known & (dram < whole) & (slowdown <= config.tolerance),
    }


def _map_pages(maps: Maps, volume: int) -> int:
    """Map pages that are written."""
    start = maps.fleet.start[volume]
    return int(np.count_nonzero(maps.fleet.where[start.page + start.bound : start.page + start.logical]))


def _state_bytes(maps: Maps, volume: int) -> int:
    """Of drive and map."""
    begin, end = maps.place[volume], maps.place[volume + 1]
    of = {name: int(end[name] - begin[name]) for name in PLACE.names or () if name not in ("entries", "safe")}
    pages = 8 * of["page"] + 4 * of["index"] + 8 * of["word"] + 4 * of["structure"] + 8 * of["link"]
    cached = 8 * of["slot"] + 9 * of["entry"] + 8 * of["order"]
    return state_bytes(maps.fleet, volume) + pages + cached + 2 * BOOKS.itemsize
