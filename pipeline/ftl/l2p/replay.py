"""Block requests into pages that a map is asked for, and what each window of time saw of them."""

from typing import Annotated, NamedTuple

import numpy as np

from pipeline.ftl._columns import HostPrograms, Volume
from pipeline.ftl.drive import begin, open_books
from pipeline.ftl.l2p.ask import crash, find, trim, write
from pipeline.ftl.l2p.learn import count_segments, program_buffer, waits
from pipeline.ftl.l2p.state import Map, Mapped, Maps, map_of, prepare_map
from pipeline.ftl.numbering import ABSENT, numbered
from pipeline.ftl.replay import Request, Rules, look_ahead
from pipeline.ftl.victim import Whole, draw, prepare_blocks
from traces.block import Op
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import F64, I64, U8, U64, Unknown


class FtlL2pWindows(NamedTuple):
    """Maps over time: a row for each window, volume and map in which the volume was asked for anything."""

    time: Annotated[U64, "when the window begins, nanoseconds since the trace's first request"]
    volume: Volume
    map: Annotated[U8, "0 flat, 1 two-level, 2 DFTL, 3 learned"]
    requests: Annotated[U64, "requests served, of all kinds"]
    host_programs: HostPrograms
    map_programs: Annotated[U64, "map pages rewritten"]
    gc_programs: Annotated[U64, "pages copied by garbage collection, map pages among them"]
    erases: Annotated[U64, "blocks erased"]
    wa: Annotated[
        F64,
        "write amplification: (host_programs + map_programs + gc_programs) / host_programs; NULL if none was written",
        Unknown(-1),
    ]
    pages_read: Annotated[U64, "pages read by the host, unmapped ones included"]
    lookups: Annotated[U64, "pages looked up to be read"]
    map_reads: Annotated[
        U64, "of lookups, those that had to read a map page; learned: those that were not told exactly"
    ]
    hit_ratio: Annotated[F64, "share of lookups that are not map_reads; NULL where there were none", Unknown(-1)]
    dram_bytes: Annotated[U64, "DRAM of the map when the window ended; only the learned map's changes"]


@lean_kernel
def end_window(mapped: Mapped, volume: Whole, window: int, out: FtlL2pWindows, row: int) -> None:
    """Fill one row with what happened since the window began; no window is open after it."""
    now, then = mapped.drive.tally[0], mapped.drive.tally[1]
    books, before = mapped.books[0], mapped.books[1]
    out.time[row] = now.window * window
    out.volume[row] = volume
    out.map[row] = mapped.kind
    out.requests[row] = now.requests - then.requests
    host, mapping, copied = now.host - then.host, now.map - then.map, now.gc - then.gc
    out.host_programs[row] = host
    out.map_programs[row] = mapping
    out.gc_programs[row] = copied
    out.erases[row] = now.erases - then.erases
    out.wa[row] = (host + mapping + copied) / host if host else -1.0
    out.pages_read[row] = now.pages_read - then.pages_read
    lookups, reads = books.lookups - before.lookups, books.map_reads - before.map_reads
    out.lookups[row] = lookups
    out.map_reads[row] = reads
    out.hit_ratio[row] = 1.0 - reads / lookups if lookups else -1.0
    if mapped.kind == Map.LEARNED:
        count_segments(mapped)
    out.dram_bytes[row] = mapped.dram + books.segments
    now.window, now.window_end = -1, 0


@inline_lean_kernel
def begin_window(mapped: Mapped, window: int, at: Whole) -> None:
    """Open the window that ``at`` lies in."""
    now, then = mapped.drive.tally[0], mapped.drive.tally[1]
    now.window = at // window
    now.window_end = (now.window + 1) * window
    then.requests, then.host, then.map, then.gc, then.erases = now.requests, now.host, now.map, now.gc, now.erases
    then.pages_read = now.pages_read
    mapped.books[1].lookups, mapped.books[1].map_reads = mapped.books[0].lookups, mapped.books[0].map_reads


@lean_kernel
def prepare(mapped: Mapped, seed: int, rules: Rules) -> None:
    """Make zeros an erased drive with an empty map; if it is to be prefilled, write its pages as the host would.

    The books begin after that: what was programmed is set apart. A drive that cannot be filled serves nothing.
    """
    drive, books = mapped.drive, mapped.books[0]
    prepare_blocks(drive.blocks, seed)
    begin(drive)
    prepare_map(mapped)
    if not rules.prefilled:
        return
    for i in range(drive.bound * (1 + rules.fills)):
        page = i
        if i >= drive.bound:
            page = draw(drive.blocks.head[0], drive.bound)
        if not write(mapped, page):
            break
    if mapped.kind == Map.LEARNED:
        program_buffer(mapped)
        count_segments(mapped)
        books.segments_peak = books.segments
    open_books(drive)
    books.lookups = books.absent = books.cached_hits = books.buffer_hits = books.map_reads = books.data_reads = 0
    books.updates = books.update_hits = books.update_reads = books.rewrite_reads = books.gc_map = 0
    books.spared = 0


@inline_lean_kernel
def has_pages(op: Whole) -> bool:
    """Whether the requests of a kind are about pages."""
    return bool(op == Op.WRITE or op == Op.READ or op == Op.DISCARD or op == Op.WRITE_ZEROES)


@inline_lean_kernel
def ask(mapped: Mapped, trace: Request, i: int, rules: Rules) -> int:
    """Serve one request; whether all of it could be, or what kept its page from having a number if negative."""
    drive = mapped.drive
    now, within = drive.tally[0], (1 << drive.page_shift) - 1
    op, start, length = trace.op[i], np.int64(trace.address[i]), np.int64(trace.length[i])
    if not has_pages(op) or length == 0:
        return 1
    end = start + length
    programs = op == Op.WRITE or (op == Op.WRITE_ZEROES and rules.program_zeroes)
    first, last = start >> drive.page_shift, (end - 1) >> drive.page_shift
    for trace_page in range(first, last + 1):
        page = numbered(drive, trace_page, programs)
        if page < ABSENT or page >= drive.bound:
            return -1
        mapped_before = page >= 0 and (drive.where[page] != 0 or waits(mapped, page))
        partial = (trace_page == first and start & within != 0) or (trace_page == last and end & within != 0)
        if op == Op.READ:
            now.pages_read += 1
            if not mapped_before:
                now.unmapped_read += 1
            if not find(mapped, page):
                return 0
        elif programs or (mapped_before and partial and op == Op.WRITE_ZEROES):  # the rest of the page must be kept
            if partial:
                now.partial += 1
                if mapped_before:
                    now.rmw += 1
                    if not find(mapped, page):
                        return 0
            if not write(mapped, page):
                return 0
        elif mapped_before and not partial and not trim(mapped, page):
            return 0
    return 1


@lean_kernel
def replay(mapped: Mapped, trace: Request, rules: Rules, out: FtlL2pWindows, row: int) -> int:
    """Serve the requests of one volume; the row of ``out`` after those that were filled.

    If a page is written that the drive cannot number (compact layout), -1 - its request.
    """
    now, books = mapped.drive.tally[0], mapped.books[0]
    for i in range(trace.time.size):
        books.given += 1
        if books.stopped:
            continue
        look_ahead(mapped.drive, trace, i)
        at = np.int64(trace.time[i])
        if at >= now.window_end:
            if now.window >= 0:
                end_window(mapped, trace.volume[i], rules.window, out, row)
                row += 1
            begin_window(mapped, rules.window, at)
        now.requests += 1
        served = ask(mapped, trace, i, rules)
        if served < 0:
            return -1 - i
        if served == 0:
            now.requests -= 1
    return row


@lean_kernel
def serve(maps: Maps, trace: Request, begins: I64, rules: Rules, out: FtlL2pWindows) -> tuple[int, int]:
    """Serve the requests of all volumes, as `pipeline.ftl.replay.serve` does with drives."""
    row = int(np.int64(0))  # as it is later: else all of this is compiled twice
    for i in range(begins.size - 1):
        first, end = begins[i], begins[i + 1]
        volume = trace.volume[first]
        mapped = map_of(maps, volume)
        if mapped.books[0].prepared == 0:
            prepare(mapped, maps.fleet.seed + volume, rules)
        part = Request(
            trace.time[first:end],
            trace.op[first:end],
            trace.volume[first:end],
            trace.address[first:end],
            trace.length[first:end],
            trace.stream[first:end],
        )
        after = replay(mapped, part, rules, out, row)
        if after < 0:
            return row, first - 1 - after
        row = after
    return row, -1


@lean_kernel
def lose_power(maps: Maps, protected: bool) -> None:
    """Power fails: all volumes that were asked for anything by now find their maps again. The flat map survives."""
    for volume in range(maps.fleet.start.size - 1):
        books = maps.books[2 * volume]
        if maps.kind != Map.FLAT and books.prepared and not books.stopped:
            mapped = map_of(maps, volume)
            crash(mapped, protected)
            if maps.kind == Map.LEARNED:
                count_segments(mapped)


@lean_kernel
def end_windows(maps: Maps, window: int, before: int, out: FtlL2pWindows) -> int:
    """End the windows that are open and whose number is below ``before``; how many."""
    row = int(np.int64(0))
    for volume in range(maps.fleet.start.size - 1):
        mapped = map_of(maps, volume)
        if mapped.books[0].prepared and 0 <= mapped.drive.tally[0].window < before:
            end_window(mapped, volume, window, out, row)
            row += 1
    return row
