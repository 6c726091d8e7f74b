"""Block requests into pages, and what each window of time saw of them: the kernels of `pipeline.ftl.page_mapped`."""

from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.ftl.drive import Drive, ask_for, empty_apart, prepare, trim_page, write_page
from pipeline.ftl.fleet import Fleet, drive_of
from pipeline.ftl.nand.model import Nand, end_load, fetch, flush
from pipeline.ftl.nand.model import begin as begin_request
from pipeline.ftl.nand.model import end as end_request
from pipeline.ftl.nand.model import read as read_in_time
from pipeline.ftl.numbering import ABSENT, WORDS, held, home, number_in, numbered
from pipeline.ftl.victim import Whole
from pipeline.ftl.wear.model import (
    count_refreshed,
    give_up,
    goes_on,
    read_page,
    refuses,
    serve_no_more,
    wants_refresh,
    wear_row,
)
from pipeline.ftl.wear.state import Wear
from traces.block import Op
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import F64, I64, U8, U32, U64, Unknown

FAR, NEAR = 24, 12  # requests ahead: where a page is mapped; the books of the block that holds it
IN_ORDER, TIME, VOLUME, BEYOND = 0, 1, 2, 3  # what `survey` finds


class Request(NamedTuple):
    """What a drive needs to know of a block request."""

    time: Annotated[U64, "nanoseconds since the trace's first request"]
    op: Annotated[U8, "see traces.block.Op"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    address: Annotated[U64, "first byte of the request within its volume"]
    length: Annotated[U64, "bytes; 0 where the operation has none"]
    stream: Annotated[U32, "who issued it; 0 where not told"]


class FtlWindows(NamedTuple):
    """A page-mapped drive over time: a row for each window and volume in which the volume was asked for anything."""

    time: Annotated[U64, "when the window begins, nanoseconds since the trace's first request"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    requests: Annotated[U64, "requests served, of all kinds"]
    host_programs: Annotated[U64, "pages programmed for the host"]
    gc_programs: Annotated[U64, "pages copied by garbage collection"]
    wl_programs: Annotated[U64, "pages copied by wear levelling, or because reading them took many retries"]
    erases: Annotated[U64, "blocks erased"]
    wa: Annotated[
        F64,
        "write amplification: (host_programs + gc_programs + wl_programs) / host_programs; NULL if nothing was written",
        Unknown(-1),
    ]
    pages_read: Annotated[U64, "pages read by the host, unmapped ones included"]
    trimmed_pages: Annotated[U64, "pages unmapped by discards and write-zeroes"]
    mapped_pages: Annotated[U64, "logical pages mapped at the window's end: the valid pages of the drive"]
    erased_blocks: Annotated[I64, "blocks ready to be opened at the window's end"]


class Told(NamedTuple):
    """What windows come to: a record of each table, where it is asked for. ``wear`` has no time if nothing was erased.

    Given to kernels as arrays, one a column, the three took a third of the time in which all of them are compiled.
    """

    windows: Any  # FtlWindows
    load: Any  # FtlLoad
    wear: Any  # FtlWear


class Rules(NamedTuple):
    """What the configuration says to the kernel."""

    window: int  # ns
    program_zeroes: bool
    prefilled: bool
    fills: int  # how often the drive is overwritten at random before the trace begins


@lean_kernel
def survey(trace: Request, capacity: U64, latest: np.uint64) -> tuple[int, int]:
    """The first row that cannot be replayed, and why; ``capacity`` is in bytes, one for each volume.

    ``latest`` is the time of the row before the first.
    """
    for i in range(trace.time.size):
        if trace.time[i] < latest:
            return i, TIME
        latest = trace.time[i]
        volume = trace.volume[i]
        if volume >= capacity.size:
            return i, VOLUME
        op = trace.op[i]
        if op <= Op.WRITE_ZEROES and op != Op.FLUSH:
            bound = capacity[volume]
            if trace.address[i] > bound or trace.length[i] > bound - trace.address[i]:
                return i, BEYOND
    return -1, IN_ORDER


@inline_lean_kernel
def look_ahead(drive: Drive, trace: Request, i: int) -> None:
    """Ask for what the requests to come will need.

    On a drive of 16 Mi pages, spare 0.20: 2.7 M host pages/s without, 9 at a distance of 12, 12 to 13 at 24 and at 48.
    On one of 1 Mi pages: 19 without, 27 at any of them.
    """
    dense, hashed = drive.number.size > 0, drive.table.size > 0
    if i + FAR < trace.time.size:
        page = np.int64(trace.address[i + FAR]) >> drive.page_shift
        if dense:
            ask_for(drive.number, page)
        elif hashed:
            ask_for(drive.table, WORDS * home(drive, page))
        else:
            ask_for(drive.where, page)
    if i + NEAR < trace.time.size:
        page = np.int64(trace.address[i + NEAR]) >> drive.page_shift
        if dense:
            if 0 <= page < drive.number.size:
                ask_for(drive.where, np.int64(drive.number[page]) - 1)
        elif hashed:
            ask_for(drive.where, number_in(drive, held(drive, home(drive, page))))  # the page's, if it stands there
        elif 0 <= page < drive.where.size:
            cell = np.int64(drive.where[page]) - 1
            ask_for(drive.counts, cell >> 6)
            ask_for(drive.blocks.valid, cell >> drive.shift)
            ask_for(drive.blocks.links, (cell >> drive.shift) << 1)


@lean_kernel
def end_window(drive: Drive, volume: Whole, window: int, told: Told, row: int) -> None:
    """Fill one row with what happened since the window began; no window is open after it."""
    now, then, out = drive.tally[0], drive.tally[1], told.windows[row]
    end_load(drive.nand, now.window, volume, told.load, row)
    if told.wear.size:
        told.wear[row].time, told.wear[row].volume = now.window * window, volume
    wear_row(drive.blocks, drive.wear, now.erases > then.erases, told.wear, row)
    out.time = now.window * window
    out.volume = volume
    out.requests = now.requests - then.requests
    host, copied, levelled = now.host - then.host, now.gc - then.gc, now.levelled - then.levelled
    out.host_programs = host
    out.gc_programs = copied
    out.erases = now.erases - then.erases
    out.wl_programs = levelled
    out.wa = (host + copied + levelled) / host if host else -1.0
    out.pages_read = now.pages_read - then.pages_read
    out.trimmed_pages = now.trimmed - then.trimmed
    out.mapped_pages = now.mapped
    out.erased_blocks = drive.blocks.head[0].erased
    now.window, now.window_end = -1, 0


@inline_lean_kernel
def begin_window(drive: Drive, window: int, at: Whole) -> None:
    """Open the window that ``at`` lies in."""
    now, then = drive.tally[0], drive.tally[1]
    now.window = at // window
    now.window_end = (now.window + 1) * window
    then.requests, then.host, then.gc, then.erases = now.requests, now.host, now.gc, now.erases
    then.pages_read, then.trimmed, then.levelled = now.pages_read, now.trimmed, now.levelled


@lean_kernel
def read_cell(drive: Drive, cell: Whole) -> None:
    """The host reads a page of flash that wears: again and again, and its block may have to go."""
    block = cell >> drive.shift
    retries, _ = read_page(drive.blocks, drive.wear, block)
    for _ in range(retries):
        fetch(drive.nand, cell)
    read_in_time(drive.nand, cell)
    if wants_refresh(drive.blocks, drive.wear, block, retries):
        count_refreshed(drive.wear, empty_apart(drive, block))


@lean_kernel
def replay(  # noqa: PLR0917 - what is not compiled where it is None must be an argument
    drive: Drive, nand: Nand | None, wear: Wear | None, trace: Request, rules: Rules, told: Told, row: int
) -> int:
    """Serve the requests of one volume; the row of ``told`` after those that were filled.

    If a page is written that the drive cannot number (compact layout), -1 - its request. A drive that is worn out
    serves the request under way, and none after it.

    ``nand`` and ``wear`` are the drive's: what is done for them is not even compiled where they are None.
    """
    now = drive.tally[0]
    within = (1 << drive.page_shift) - 1
    for i in range(trace.time.size):
        look_ahead(drive, trace, i)
        at = np.int64(trace.time[i])
        if wear is not None and not goes_on(wear, at):
            now.refused += 1
            continue
        if at >= now.window_end:
            if now.window >= 0:
                end_window(drive, np.int64(trace.volume[i]), rules.window, told, row)
                row += 1
            begin_window(drive, rules.window, at)
        now.requests += 1
        op = trace.op[i]
        if op == Op.WRITE:
            now.writes += 1
        elif op == Op.READ:
            now.reads += 1
        elif op == Op.DISCARD:
            now.discards += 1
        elif op == Op.WRITE_ZEROES:
            now.write_zeroes += 1
        elif op == Op.FLUSH:
            now.flushes += 1
            if nand is not None:
                begin_request(nand, at)
                flush(nand)
                end_request(nand, op, 0)
            continue
        elif Op.ZONE_APPEND <= op <= Op.ZONE_MANAGE:
            now.zone += 1
            continue
        else:
            now.unknown += 1
            continue
        length = np.int64(trace.length[i])
        if nand is not None:
            begin_request(nand, at)
        if length == 0:
            now.zero_length += 1
            if nand is not None:
                end_request(nand, op, 0)
            continue
        start = np.int64(trace.address[i])
        end = start + length
        programs = op == Op.WRITE or (op == Op.WRITE_ZEROES and rules.program_zeroes)
        if programs:
            now.bytes_written += length
        first, last = start >> drive.page_shift, (end - 1) >> drive.page_shift
        for trace_page in range(first, last + 1):
            page = numbered(drive, trace_page, programs)
            if page < ABSENT:
                return -1 - i
            mapped = page >= 0 and drive.where[page] != 0
            partial = (trace_page == first and start & within != 0) or (trace_page == last and end & within != 0)
            if op == Op.READ:
                now.pages_read += 1
                if not mapped:
                    now.unmapped_read += 1
                elif wear is not None:
                    read_cell(drive, np.int64(drive.where[page]) - 1)
                elif nand is not None:
                    read_in_time(nand, np.int64(drive.where[page]) - 1)
            elif programs or (mapped and partial and op == Op.WRITE_ZEROES):  # the rest of the page must be kept
                if nand is not None:  # noqa: SIM102 - the compiler drops branches that ask for None and nothing else
                    if mapped and partial:
                        fetch(nand, np.int64(drive.where[page]) - 1)
                if wear is not None:  # noqa: SIM102
                    if not mapped and refuses(drive.blocks, wear, now.mapped):
                        give_up(wear)
                        left: Any = end - (start if trace_page == first else trace_page << drive.page_shift)
                        now.bytes_written -= left
                        break
                write_page(drive, page, trace.stream[i])
                if partial:
                    now.partial += 1
                    if mapped:
                        now.rmw += 1
            elif mapped and not partial:
                trim_page(drive, page)
        if nand is not None:
            end_request(nand, op, length)
        if wear is not None:
            serve_no_more(wear, now.requests - 1)
    return row


@lean_kernel
def serve(fleet: Fleet, trace: Request, begins: I64, rules: Rules, told: Told) -> tuple[int, int]:
    """Serve the requests of all volumes, which stand one volume after the other; how many rows of ``told`` were filled.

    ``begins`` says where each volume's requests begin, and where the last one's end. A drive is prepared when it is
    first asked for something. The other number is a request that a drive has no room for, -1 if there is none.
    """
    row: Any = np.int64(0)  # not a literal, for which all that is called would be compiled once more
    for i in range(begins.size - 1):
        begin, end = begins[i], begins[i + 1]
        volume = trace.volume[begin]
        drive = drive_of(fleet, volume)
        if drive.tally[0].round_pages == 0:
            prepare(drive, fleet.seed + volume, rules.prefilled, rules.fills)
        part = Request(
            trace.time[begin:end],
            trace.op[begin:end],
            trace.volume[begin:end],
            trace.address[begin:end],
            trace.length[begin:end],
            trace.stream[begin:end],
        )
        after = replay(drive, drive.nand, drive.wear, part, rules, told, row)
        if after < 0:
            return row, begin - 1 - after
        row = after
    return row, -1


@lean_kernel
def end_windows(fleet: Fleet, window: int, before: int, told: Told) -> int:
    """End the windows that are open and whose number is below ``before``; how many."""
    row: Any = np.int64(0)
    for volume in range(fleet.start.size - 1):
        now = fleet.tally[2 * volume]
        if now.round_pages and 0 <= now.window < before:
            end_window(drive_of(fleet, volume), volume, window, told, row)
            row += 1
    return int(row)
