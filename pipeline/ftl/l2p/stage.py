"""Logical-to-physical maps against each other on one trace: flat in DRAM, on two levels, DFTL, learned.

A pointer of four bytes for each page of 4 KiB is a thousandth of the capacity in DRAM. What is tried to save it:

- **flat**: the whole map in DRAM. No lookup reads flash. How it is kept over a loss of power is not modelled.
- **two-level**: N logical pages share a first structure in DRAM: the pointer to a second structure, a map page in
  flash with their N target pointers, and k of these pointers cached (`pipeline.ftl.l2p.slots`). A lookup that finds
  no cached pointer reads the map page, one flash read more. Changed pointers wait in a buffer of bounded size until
  their map page is rewritten out of place (`pipeline.ftl.l2p.flush`); until then they are read from the buffer.
- **DFTL** (Gupta, Kim, Urgaonkar, ASPLOS 2009): a cached mapping table of single pointers, a directory of the map
  pages. A miss reads a map page; a changed pointer that has to go takes all changed ones of its map page along. What
  garbage collection moves is changed in the cache where it stands there, else in the map pages, those of one victim
  at once.
- **learned** (LeaFTL: Sun, Li, Liu, Huang, Xu, ASPLOS 2023): lines in place of pointers, in DRAM as a whole, so that
  there are no map pages; how much DRAM depends on what is written (`pipeline.ftl.l2p.learned`). It needs a write buffer
  that sorts (`pipeline.ftl.l2p.learn`). Pages that are not told exactly cost a read more each.

Each map has a drive of its own with the same blocks under the same requests. Map pages stand in flash like data, with
frontiers of their own, and garbage collection moves them: they take from the spare, and their programs are part of
write amplification. Reads of data cost a lookup, and so do writes of a part of a page, which read the rest.

The learned map's write buffer also spares the flash work that the others do: pages written or read again while they
wait. How much is told beside (``spared_programs``, ``buffer_hits``, ``spared_ns``), and ``slowdown`` takes it for done,
since every drive could have such a buffer. What its pages take in DRAM is not counted, which of them it holds is.

Numbering pages in the order of their first write (``layout = "compact"``) gives map pages the pages that were written
together; where what matters is which pages of the address space share a map page, take ``layout = "direct"``.

``crash_at`` takes power from all drives at once. The flat map is taken to survive; of the others, what is lost and not
protected is counted, and the costs of a map that lost something are not compared with the flat one's.

What a map saves and costs is told beside the flat one: DRAM, map reads, map programs, write amplification, the
flash's work, and from which hit ratio or read time on it would stay within a tolerance. Nothing is certain to pay: a
random load reads a map page for nearly every page.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.ftl._power_loss import HALF, settled
from pipeline.ftl.config import Layout
from pipeline.ftl.fit import fit as fit_drive
from pipeline.ftl.fleet import Fleet, new_fleet
from pipeline.ftl.l2p.config import CLASSES, L2pConfig
from pipeline.ftl.l2p.laws import check_content, check_maps
from pipeline.ftl.l2p.replay import FtlL2pWindows, end_windows, lose_power, serve
from pipeline.ftl.l2p.state import IN_FLASH, Map, Maps, new_maps
from pipeline.ftl.l2p.summary import FtlL2pSummary, summary
from pipeline.ftl.laws import BrokenLawError, check_laws, check_programs
from pipeline.ftl.page_mapped import NEVER, by_volume, rules_of, surveyed
from pipeline.ftl.placement import Placement
from pipeline.ftl.replay import Request, Rules
from pipeline.stage import Rows, Stage
from traces.block import Block
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.table import empty, first


def fit(config: L2pConfig, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> L2pConfig:
    """Settle capacity, footprint and window as `pipeline.ftl.fit` does, and when power fails."""
    return fit_drive(replace(config, crash_at=settled(config.crash_at, info)), info, rows)


def fleet_of(config: L2pConfig, kind: Map) -> Fleet:
    """The drives of all volumes for one map."""
    volumes, in_flash = range(len(config.capacity)), kind in IN_FLASH
    fleet = new_fleet(
        [config.logical(volume) + config.map_pages(kind, volume) for volume in volumes],
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
        placement=Placement.BOUND if in_flash else Placement.NONE,
        classes=CLASSES if in_flash else 1,
        tell_moved=kind != Map.FLAT,
    )
    fleet.start.bound[:-1] = [config.logical(volume) for volume in volumes]
    return fleet


def maps_of(config: L2pConfig, kind: Map) -> Maps:
    """The maps of all volumes, of one kind."""
    volumes = range(len(config.capacity))
    entries = [0 for _ in volumes]
    if kind == Map.DFTL:
        entries = [config.entries(volume) for volume in volumes]
    elif kind == Map.LEARNED:
        entries = [config.waiting(kind) for _ in volumes]
    return new_maps(
        fleet_of(config, kind),
        kind=kind,
        fanout=config.targets(kind) if kind in IN_FLASH else 0,
        slots=config.slots if kind == Map.TWO_LEVEL else 0,
        policy=config.slot_policy,
        flush=config.flush,
        batch=config.dirty_batch if kind == Map.TWO_LEVEL else 1,
        limit=config.waiting(kind),
        gamma=config.gamma,
        compact_every=config.compact_every,
        entries=entries,
        safe=[int(config.protected_share * each) for each in entries],
        dram=[config.sizes(kind, volume).dram for volume in volumes],
    )


def memory(config: L2pConfig) -> int:
    """Bytes of all arrays of all maps and their drives; what nothing touches takes none."""
    every = (maps_of(config, kind) for kind in sorted({Map.FLAT, *config.maps}))
    parts = (part for maps in every for part in (*maps.fleet, *maps, *maps.learned, *maps.learned.work))
    return sum(each.nbytes for each in parts if isinstance(each, np.ndarray))


def run(trace: Iterable[pl.DataFrame], config: L2pConfig) -> Iterator[Rows]:
    """Windows as soon as every volume is past them, in order of time, volume and map; at the end the summary.

    ConfigError if the configuration is not settled (see `fit`), TraceError for a row that cannot be replayed.
    """
    if config.crash_at == HALF:
        raise ConfigError("crash_at must be settled by the trace: call fit first")
    rules = rules_of(config)
    every = [maps_of(config, kind) for kind in sorted({Map.FLAT, *config.maps})]
    given, latest, fails = 0, 0, config.crash_at or NEVER
    reached = np.zeros(len(config.capacity), np.uint64)
    for rows in surveyed(trace, config, reached):
        done: list[FtlL2pWindows] = []
        for part in _parts(rows, fails - given):
            if given == fails:
                # before the request that comes next; windows that were over by then are told as they ended
                done += _failed(every, config, int(part.time[0]) // config.window)
            done += [_served(maps, part, rules, config) for maps in every]
            given += part.time.size
            latest = int(part.time[-1])
        yield from _told(*done, *(_ended(maps, config.window, latest // config.window) for maps in every))
    yield from _told(*(_failed(every, config, NEVER) if given == fails else ()))
    yield from _told(*(_ended(maps, config.window, NEVER) for maps in every))
    for maps in every:
        check_laws(maps.fleet)
        check_maps(maps)
        check_content(every[0], maps)
        if (asked := int(maps.books[::2].given.sum())) != given:
            raise BrokenLawError(f"requests asked of a map {asked} != requests given {given}")
    yield summary(every, config, reached)


def _parts(rows: Request, cut: int) -> Iterator[Request]:
    """The rows, in two parts where the cut lies among them."""
    if not 0 < cut < rows.time.size:
        yield rows
        return
    yield Request._make(column[:cut] for column in rows)
    yield Request._make(column[cut:] for column in rows)


def _failed(every: list[Maps], config: L2pConfig, window: int) -> list[FtlL2pWindows]:
    """Power fails: the windows that ended before."""
    ended = [_ended(maps, config.window, window) for maps in every]
    for maps in every:
        lose_power(maps, config.power_loss_protection)
    return ended


def _served(maps: Maps, rows: Request, rules: Rules, config: L2pConfig) -> FtlL2pWindows:
    """The windows that ended while a batch was served."""
    rows, begins = by_volume(rows)
    first_at, last_at = rows.time[begins[:-1]], rows.time[begins[1:] - 1]
    most = np.minimum(np.diff(begins), (last_at - first_at) // np.uint64(rules.window) + 1) + 1
    out = empty(FtlL2pWindows, int(most.sum()))
    filled, row = serve(maps, rows, begins, rules, out)
    if row >= 0:
        volume = int(rows.volume[row])
        raise TraceError(
            f"block.address: the write at {rows.address[row]} (volume {volume}, {rows.time[row]} ns) finds no number "
            f"for its page: {config.logical(volume)} are given; take a larger footprint, or layout=direct"
        )
    check_programs(maps.fleet)
    return first(out, filled)


def _ended(maps: Maps, window: int, before: int) -> FtlL2pWindows:
    """The open windows whose number is below the given one."""
    out = empty(FtlL2pWindows, maps.fleet.start.size - 1)
    return first(out, end_windows(maps, window, before, out))


def _told(*ended: FtlL2pWindows) -> Iterator[FtlL2pWindows]:
    """Windows of all volumes and maps in order of time, then volume, then map."""
    if not ended:
        return
    rows = FtlL2pWindows._make(np.concatenate(columns) for columns in zip(*ended, strict=True))
    if rows.time.size:
        order = np.lexsort((rows.map, rows.volume, rows.time))
        yield FtlL2pWindows._make(column[order] for column in rows)


STAGE = Stage(
    name="ftl.l2p",
    doc="Logical-to-physical maps, flat, two-level, DFTL and learned: what each saves in DRAM and costs in flash.",
    config=L2pConfig,
    reads=Block,
    takes=Request,
    writes=(FtlL2pSummary, FtlL2pWindows),
    headline=("map", "dram_bytes", "hit_ratio", "map_programs_per_write", "wa", "wa_over_flat", "slowdown", "pays"),
    fit=fit,
    run=run,
    memory=memory,
    alerts=("unserved", "reverted_pages", "gone_pages", "lost_pages", "grown_to"),
)
