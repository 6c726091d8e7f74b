"""A page-mapped drive under a block trace: what its garbage collection programs beside what the host writes.

Requests are split into pages. A write that carries less than a page programs a whole one, after reading it if it was
mapped; a discard unmaps only pages that lie wholly inside it. Each volume is a drive of its own. What is erased
when a victim is chosen counts as data (see `pipeline.ftl.drive`), so nominal and effective spare are both told, each
with its closed form beside what was measured. Zone operations and requests of unknown kind are counted, not replayed.

A recorded trace is short beside the age of a drive and touches little of a big disk. Hence two things that are not in
the trace: ``layout = "compact"`` numbers the pages in the order of their first write, so that the drive is as large
as what was written; ``prefill`` writes the drive before the trace begins. Prefilled pages are counted apart and are in
no figure of write amplification.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.ftl._page_mapped_config import PageMappedConfig
from pipeline.ftl.config import Config, Layout, Prefill, Zeroes
from pipeline.ftl.fit import fit
from pipeline.ftl.fleet import Fleet, new_fleet
from pipeline.ftl.laws import BrokenLawError, check_laws, check_programs
from pipeline.ftl.nand.model import FtlLatency, FtlLoad, Timing
from pipeline.ftl.nand.model import told as latencies_of
from pipeline.ftl.replay import (
    BEYOND,
    TIME,
    VOLUME,
    FtlWindows,
    Request,
    Rules,
    Told,
    end_windows,
    serve,
    survey,
)
from pipeline.ftl.summary import FtlSummary, summary
from pipeline.ftl.wear.config import Wearing
from pipeline.ftl.wear.life import FtlLife, lives
from pipeline.ftl.wear.model import NO_TIME, FtlWear
from pipeline.stage import Rows, Stage
from traces.block import Block
from traces.errors import ConfigError, TraceError
from traces.table import arrays, records, struct

# random prefill: how often the exported pages are overwritten. The write amplification of random writes that follow was
# within 0.5 % of theory at spares 0.05 to 0.50; after one time 3 to 5 % above it at 0.50
FILLS = 2
NEVER = np.iinfo(np.int64).max


def by_volume(rows: Request) -> tuple[Request, NDArray[np.int64]]:
    """The rows volume after volume, each in their order; where each volume's begin, and where the last one's end."""
    volumes = rows.volume
    if volumes.min() != volumes.max():
        # numpy sorts 16-bit numbers stably in linear time: 12 ms in place of 57 for a Mi of rows
        order = np.argsort(volumes.astype(np.uint16) if volumes.max() < 1 << 16 else volumes, kind="stable")
        rows = Request._make(column[order] for column in rows)
        for column in rows:
            column.setflags(write=False)  # as `arrays` gives them: kernels are compiled for each kind anew
    return rows, np.concatenate([[0], np.flatnonzero(np.diff(rows.volume)) + 1, [rows.volume.size]])


def fleet_of(config: Config) -> Fleet:
    """The drives of all volumes."""
    volumes = range(len(config.capacity))
    return new_fleet(
        [config.logical(volume) for volume in volumes],
        [config.blocks(volume) for volume in volumes],
        [-(-size // config.page) if config.layout == Layout.COMPACT else 0 for size in config.capacity],
        config.block_pages,
        page=config.page,
        reserve=config.reserve,
        frontiers=config.frontiers,
        victim=config.victim,
        choices=config.choices,
        window=config.window_blocks,
        seed=config.seed,
        placement=config.placement,
        classes=config.classes,
        timing=config if isinstance(config, Timing) else Timing(),
        wearing=config if isinstance(config, Wearing) else Wearing(),
        time=config.window,
    )


def memory(config: Config) -> int:
    """Bytes of all drives' arrays; what nothing touches takes none."""
    fleet = fleet_of(config)
    parts = [*fleet, *(fleet.nands or ()), *(fleet.wear or ())]
    return sum(each.nbytes for each in parts if isinstance(each, np.ndarray))


def rules_of(config: Config) -> Rules:
    """What the configuration says to the kernel."""
    return Rules(
        window=config.window,
        program_zeroes=config.write_zeroes == Zeroes.PROGRAM,
        prefilled=config.prefill != Prefill.NONE,
        fills=FILLS if config.prefill == Prefill.RANDOM else 0,
    )


def surveyed(
    trace: Iterable[pl.DataFrame], config: Config, reached: NDArray[np.uint64] | None = None
) -> Iterator[Request]:
    """The trace's batches that hold requests, each looked through.

    ``reached`` is to be told how far the requests of each volume reach, in bytes: see `pipeline.ftl.fleet.grown_to`.
    ConfigError if the configuration is not settled (see `fit`), TraceError for a row that cannot be replayed.
    """
    if not config.exported or not config.capacity or not config.window:
        raise ConfigError(
            "capacity, footprint (compact layout) and window must be settled by the trace: call fit first"
        )
    capacity = np.array(config.capacity, np.uint64)
    # a few ns a row, for drives so small that they are asked of few
    small = config.layout == Layout.DIRECT and config.page * config.least in config.capacity
    given, latest = 0, 0
    for batch in trace:
        rows = arrays(Request, batch)
        if not rows.time.size:
            continue
        refuse(*survey(rows, capacity, np.uint64(latest)), rows, given, config)
        given += rows.time.size
        latest = int(rows.time[-1])
        if small and reached is not None:
            np.maximum.at(reached, rows.volume, rows.address + rows.length)
        yield rows


def run(trace: Iterable[pl.DataFrame], config: PageMappedConfig) -> Iterator[Rows]:
    """Windows as soon as every volume is past them, in order of time and volume; at the end a summary of each volume.

    ConfigError if the configuration is not settled (see `fit`), TraceError for a row that cannot be replayed.
    """
    rules = rules_of(config)
    fleet = fleet_of(config)
    given, latest, begun = 0, 0, None
    reached = np.zeros(len(config.capacity), np.uint64)
    for rows in surveyed(trace, config, reached):
        given += rows.time.size
        latest = int(rows.time[-1])
        begun = int(rows.time[0]) if begun is None else begun
        yield from _told(served(fleet, rows, rules, config), _ended(fleet, config.window, latest // config.window))
    yield from _told(_ended(fleet, config.window, NEVER))
    check_laws(fleet)
    now = fleet.tally[::2]
    if (accounted := int(now.requests.sum() + now.refused.sum())) != given:
        raise BrokenLawError(f"requests served and refused {accounted} != requests given {given}")
    rows_of = summary(fleet, config, reached)
    yield rows_of
    if fleet.nands is not None:
        yield latencies_of(fleet.nands)
    if config.wears:
        yield lives(fleet, rows_of, latest - (begun or 0), config.warranty)


def room_for(fleet: Fleet, rows: int) -> Told:
    """Room for so many windows of what is asked for."""
    return Told(
        records(FtlWindows, rows),
        records(FtlLoad, rows if fleet.nands is not None else 0),
        records(FtlWear, rows if fleet.wear is not None else 0),
    )


def filled(told: Told, rows: int) -> Told:
    """Its first rows."""
    return Told._make(each[:rows] for each in told)


def served(fleet: Fleet, rows: Request, rules: Rules, config: Config) -> Told:
    """The windows that ended while a batch was served."""
    rows, begins = by_volume(rows)
    first_at, last_at = rows.time[begins[:-1]], rows.time[begins[1:] - 1]
    most = np.minimum(np.diff(begins), (last_at - first_at) // np.uint64(rules.window) + 1) + 1
    told = room_for(fleet, int(most.sum()))
    ended, row = serve(fleet, rows, begins, rules, told)
    if row >= 0:
        volume = int(rows.volume[row])
        where = f"block.address: the write at {rows.address[row]} (volume {volume}, {rows.time[row]} ns)"
        if fleet.tally[2 * volume].numbered == config.logical(volume):
            raise TraceError(f"{where} needs more pages than the footprint of {config.logical(volume)} has")
        raise TraceError(f"{where} finds no place in the crowded map of what was written; use layout=direct")
    check_programs(fleet)
    return filled(told, ended)


def refuse(row: int, why: int, rows: Request, before: int, config: Config) -> None:
    """TraceError if the survey found a row that cannot be replayed."""
    if row < 0:
        return
    where = f"block row {before + row}"
    volume = int(rows.volume[row])
    if why == TIME:
        raise TraceError(f"{where}: at {rows.time[row]} is before the row that precedes it; sort the trace by time")
    if why == VOLUME:
        raise TraceError(f"{where}: volume {volume} is beyond the {len(config.capacity)} volumes configured")
    if why == BEYOND:
        bound = config.capacity[volume]
        end = int(rows.address[row]) + int(rows.length[row])
        raise TraceError(
            f"{where}: address {rows.address[row]} + length {rows.length[row]} = {end} is past the end of volume "
            f"{volume}, whose capacity is {bound} bytes"
        )


def _ended(fleet: Fleet, window: int, before: int) -> Told:
    """The open windows whose number is below the given one."""
    told = room_for(fleet, fleet.start.size - 1)
    return filled(told, end_windows(fleet, window, before, told))


def _told(*ended: Told) -> Iterator[Rows]:
    """Windows of all volumes in order of time, then volume."""
    for table, parts in zip((FtlWindows, FtlLoad, FtlWear), zip(*ended, strict=True), strict=True):
        rows: Any = np.concatenate(parts).view(np.recarray)
        rows = rows[rows.time != NO_TIME]
        if rows.size:
            yield struct(table, rows[np.lexsort((rows.volume, rows.time))])


STAGE = Stage(
    name="ftl.page_mapped",
    doc="A page-mapped flash translation layer: write amplification, latency, wear and life under a block trace.",
    config=PageMappedConfig,
    reads=Block,
    takes=Request,
    writes=(FtlSummary, FtlWindows, FtlLatency, FtlLoad, FtlWear, FtlLife),
    headline=(
        "wa",
        "requests_per_s",
        "read_p99",
        "write_p99",
        "worn_out_request",
        "wa_steady",
        "wa_theory_effective",
        "effective_spare",
        "host_programs",
        "gc_programs",
        "erases",
    ),
    fit=fit,
    run=run,
    memory=memory,
    alerts=("refused_requests", "uncorrectable_reads", "overload", "grown_to"),
)
