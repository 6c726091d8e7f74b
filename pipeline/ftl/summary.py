"""What a replay comes to: one row a volume, with the closed forms beside what was measured."""

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
from pipeline.ftl.config import Config
from pipeline.ftl.fleet import Fleet, drive_in, grown_to, state_bytes
from pipeline.ftl.nand.model import FtlLatency, Kind, Nands
from pipeline.ftl.nand.model import told as latencies_of
from pipeline.ftl.theory import write_amplification
from pipeline.ftl.victim import Phase
from pipeline.ftl.wear.model import exported
from traces.table import F64, I64, U64, Bool, Unknown, empty

STEADY_ROUNDS = 8  # a round is an eighth of the exported pages or more: so much must have been written in steady state
STEADY_DRIFT = 0.05
MANY, BEHIND = 1000, 0.05  # a queue of fewer requests, or a shorter one, is a burst and no overload


class FtlSummary(NamedTuple):
    """A page-mapped drive's whole replay, one row a volume that the trace asked for anything."""

    volume: Volume
    capacity: Capacity
    logical_pages: LogicalPages
    physical_blocks: Annotated[U64, "erase blocks"]
    physical_pages: PhysicalPages
    grown_to: GrownTo
    bad_pages: Annotated[U64, "of them, those of blocks not in use at the end: bad from the factory or retired"]
    nominal_spare: Annotated[
        F64, "1 - logical_pages / physical_pages: what the configuration's spare came to in whole blocks"
    ]
    effective_spare: Annotated[
        F64,
        "spare left when what is held back counts as data and bad pages not at all: "
        "1 - logical_pages / (physical_pages - bad_pages - held_pages), of what is left of both at the end",
    ]
    held_pages: Annotated[
        F64,
        "erased pages standing when a victim is chosen (collector's reserve, unwritten part of open blocks), mean over "
        "all choices; the reserve where none was chosen",
    ]
    requests: Annotated[
        U64, "requests of the trace that were served, of all kinds: with refused_requests as many as were given"
    ]
    refused_requests: Annotated[U64, "requests that came when the drive was worn out"]
    worn_out_request: Annotated[
        I64,
        "the volume's request, counted from 0, in which the drive was worn out: the last, served as far as there was "
        "room; NULL if it was not, or before the first",
        Unknown(-1),
    ]
    reads: Annotated[U64, "read requests"]
    writes: Annotated[U64, "write requests"]
    discards: Annotated[U64, "discard requests"]
    flushes: Annotated[U64, "flush requests; they program nothing"]
    write_zeroes: Annotated[U64, "write-zeroes requests"]
    zone_requests: Annotated[U64, "zone operations: counted here, not replayed"]
    unknown_requests: Annotated[U64, "requests of unknown kind: counted here, not replayed"]
    zero_length: Annotated[U64, "reads, writes, discards and write-zeroes of no length: counted, without effect"]
    bytes_written: Annotated[U64, "bytes of writes, and of write-zeroes where these program"]
    host_programs: HostPrograms
    partial_pages: Annotated[U64, "of host_programs, those for which the request carried less than a page"]
    rmw_pages: Annotated[U64, "of partial_pages, those that had to be read first because the page was mapped"]
    gc_programs: Annotated[U64, "pages copied by garbage collection"]
    wl_programs: Annotated[
        U64, "pages copied by static wear levelling, and out of blocks of which a read took many retries"
    ]
    programs: Annotated[U64, "pages programmed since the trace began: host_programs + gc_programs + wl_programs"]
    prefill_programs: PrefillPrograms
    erases: Erases
    prefill_erases: Annotated[U64, "blocks erased before the trace began; in no other figure"]
    erases_min: Annotated[U64, "erases of the least erased block in use"]
    erases_mean: Annotated[F64, "erases a block in use, mean"]
    erases_max: Annotated[U64, "erases of the most erased block in use"]
    erases_std: Annotated[F64, "erases a block in use, standard deviation"]
    trimmed_pages: TrimmedPages
    mapped_pages: Annotated[U64, "logical pages mapped at the end"]
    mapped_at_gc: Annotated[
        F64, "logical pages mapped when a victim is chosen, mean over all choices; NULL where none was", Unknown(-1)
    ]
    pages_read: PagesRead
    uncorrectable_reads: Annotated[U64, "page reads that no retry could correct (rber)"]
    unmapped_read: UnmappedRead
    wa: Annotated[
        F64,
        "write amplification over the whole trace: programs / host_programs; NULL if nothing was written",
        Unknown(-1),
    ]
    steady: Annotated[
        Bool,
        "whether write amplification settled: MSER truncation of its rounds (at most 256 equal shares of the host's "
        "programs) falls into their first half, leaves at least the exported pages written, halves that differ by at "
        "most 5 %, and something was erased",
    ]
    steady_since: Annotated[I64, "host programs after which it was settled; NULL if it was not", Unknown(-1)]
    wa_steady: Annotated[F64, "write amplification since then; NULL if it was not settled", Unknown(-1)]
    requests_per_s: Annotated[
        F64, "timing: requests a second, from the first arrival to the last completion; NULL without", Unknown(-1)
    ]
    read_p99: Annotated[I64, "timing: ns that 99 % of the reads do not exceed; NULL without", Unknown(-1)]
    write_p99: Annotated[I64, "timing: ns that 99 % of the writes do not exceed; NULL without", Unknown(-1)]
    overload: Annotated[
        U64,
        "timing open: ns of work that was left when the last request came, where that is more than a twentieth of the "
        "time in which 1,000 requests or more came: they come faster than the drive serves them, and latencies grow "
        "with the trace's length; 0 where not",
    ]
    wa_theory: Annotated[
        F64,
        "closed form for uniform random page writes on a full drive at the nominal spare (see pipeline.ftl.theory); "
        "NULL for policies that have none",
        Unknown(-1),
    ]
    wa_theory_effective: Annotated[F64, "the same at the effective spare; NULL where there is none", Unknown(-1)]
    state_bytes: Annotated[
        U64,
        "memory of the emulated drive's state as allocated, without timing and wear at most 16 bytes a physical page "
        "where blocks have 32 pages or more; untouched parts are never committed",
    ]


def steady_since(rounds: np.ndarray[Any, np.dtype[np.float64]]) -> int | None:
    """The first of the rounds from which on their values are in steady state; None if they never are.

    The truncation d minimises the marginal standard error ``sum (x_i - mean)^2 / (n - d)^2`` of what is left (MSER:
    White, SIMULATION 69(6), 1997). A minimum in the later half means that the series is still on its way.
    """
    n = rounds.size
    if n < STEADY_ROUNDS:
        return None
    left = np.arange(n, 0, -1)
    sums, squares = np.cumsum(rounds[::-1])[::-1], np.cumsum(rounds[::-1] ** 2)[::-1]
    errors = np.maximum(squares - sums**2 / left, 0.0) / left**2.0
    d = int(np.argmin(errors[: n - STEADY_ROUNDS + 1]))
    if d > n // 2:
        return None
    middle = (d + n) // 2
    early, late = rounds[d:middle].mean(), rounds[middle:].mean()
    return d if abs(early - late) <= STEADY_DRIFT * late else None


def summary(fleet: Fleet, config: Config, reached: NDArray[np.uint64]) -> FtlSummary:
    """A row for each volume that was asked for anything; ``reached`` is as of `pipeline.ftl.fleet.grown_to`."""
    volumes = np.flatnonzero(fleet.tally[::2].requests)
    now, start = fleet.tally[::2][volumes], fleet.start[volumes]
    logical, physical = start.logical, start.blocks * fleet.pages
    programs = now.host + now.gc + now.levelled
    exported_now = logical
    worn_out, (bad, lost) = np.full(volumes.size, -1), np.zeros((2, volumes.size), np.int64)
    if fleet.wear is not None:
        state = fleet.wear.state[volumes]
        worn_out, lost = state.worn_out_request, state.uncorrectable
        bad = (state.factory_bad + state.grown_bad) * fleet.pages
        exported_now = np.array([_exported(fleet, volume) for volume in volumes.tolist()])
    held = np.where(now.picks, now.held / np.maximum(now.picks, 1), fleet.reserve * fleet.pages)
    nominal, effective = 1 - logical / physical, 1 - exported_now / (physical - bad - held)
    values: dict[str, Any] = {
        "volume": volumes,
        "capacity": logical << fleet.page_shift,
        "logical_pages": logical,
        "physical_blocks": start.blocks,
        "physical_pages": physical,
        "grown_to": grown_to(config, fleet, reached)[volumes],
        "bad_pages": bad,
        "nominal_spare": nominal,
        "effective_spare": effective,
        "held_pages": held,
        "requests": now.requests,
        "refused_requests": now.refused,
        "worn_out_request": worn_out,
        "reads": now.reads,
        "writes": now.writes,
        "discards": now.discards,
        "flushes": now.flushes,
        "write_zeroes": now.write_zeroes,
        "zone_requests": now.zone,
        "unknown_requests": now.unknown,
        "zero_length": now.zero_length,
        "bytes_written": now.bytes_written,
        "host_programs": now.host,
        "partial_pages": now.partial,
        "rmw_pages": now.rmw,
        "gc_programs": now.gc,
        "wl_programs": now.levelled,
        "programs": programs,
        "prefill_programs": now.prefill,
        "erases": now.erases,
        "prefill_erases": now.prefill_erases,
        "trimmed_pages": now.trimmed,
        "mapped_pages": now.mapped,
        "mapped_at_gc": np.where(now.picks, now.mapped_at_picks / np.maximum(now.picks, 1), -1),
        "pages_read": now.pages_read,
        "uncorrectable_reads": lost,
        "unmapped_read": now.unmapped_read,
        "wa": np.where(now.host, programs / np.maximum(now.host, 1), -1),
        "wa_theory": [_theory(fleet, spare) for spare in nominal.tolist()],
        "wa_theory_effective": [_theory(fleet, spare) for spare in effective.tolist()],
        "state_bytes": [state_bytes(fleet, volume) for volume in volumes.tolist()],
    }
    rows = empty(FtlSummary, volumes.size)
    rows.overload[:] = 0
    rows.requests_per_s[:] = rows.read_p99[:] = rows.write_p99[:] = -1
    for name, value in values.items():
        getattr(rows, name)[:] = value
    if fleet.nands is not None:
        _time(rows, latencies_of(fleet.nands))
        rows.overload[:] = _overload(fleet.nands, fleet.tally[::2].requests)[volumes] if not fleet.nands.closed else 0
    for row, volume in enumerate(volumes.tolist()):
        drive = drive_in(fleet, volume)
        erases, tally = drive.blocks.erases[drive.blocks.phase != Phase.RETIRED], drive.tally[0]
        rows.erases_min[row], rows.erases_max[row] = erases.min(), erases.max()
        rows.erases_mean[row], rows.erases_std[row] = erases.mean(), erases.std()
        amplification = 1 + drive.rounds[: tally.rounds] / float(tally.round_pages)
        since = steady_since(amplification) if tally.erases else None
        rows.steady[row] = since is not None
        rows.steady_since[row] = -1 if since is None else since * tally.round_pages
        rows.wa_steady[row] = -1 if since is None else amplification[since:].mean()
    return rows


def _time(rows: FtlSummary, told: FtlLatency) -> None:
    """What is told of latencies beside everything else."""
    for row, volume in enumerate(rows.volume.tolist()):
        for i in np.flatnonzero(told.volume == volume).tolist():
            if told.kind[i] == Kind.ALL:
                rows.requests_per_s[row] = told.requests_per_s[i]
            elif told.kind[i] == Kind.READ:
                rows.read_p99[row] = told.p99[i]
            elif told.kind[i] == Kind.WRITE:
                rows.write_p99[row] = told.p99[i]


def _overload(nands: Nands, requests: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each volume: ns that its drive was behind at the last arrival, 0 if that is little."""
    moment = nands.moment
    behind = moment.latest - moment.arrival
    return np.where((requests >= MANY) & (behind > BEHIND * (moment.arrival - moment.first)), behind, 0)


def _exported(fleet: Fleet, volume: int) -> int:
    """Logical pages that a volume's drive exports at the end."""
    drive = drive_in(fleet, volume)
    return int(exported.py_func(drive.blocks, drive.wear))  # type: ignore[attr-defined]


def _theory(fleet: Fleet, spare: float) -> float:
    """The closed form; -1 where there is none."""
    amplification = write_amplification(fleet.victim, spare, fleet.pages, fleet.choices)
    return -1.0 if amplification is None else amplification
