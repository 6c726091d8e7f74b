"""What a trace is like: the figures that practitioners ask for, from one pass in bounded memory.

The tables are the same for all kinds; `traces._profile_kinds` says what of each is a volume, an address, a page, a
delay and an operation.

Counts, shares of requests, sizes and times are exact. Page figures (footprint, overwriting, update intervals, working
sets) are exact up to `Limits.pages` distinct pages; past that, pages are followed by a hash of their place, and the
column ``page_rate`` says which share of them. Reuse distances come from samples of their own, with their rate in
``reuse_rate`` (SHARDS: Waldspurger et al., FAST 2015). Quantiles are nearest-rank, read from buckets: values of up
to 8 significant binary digits are exact (sizes that are multiples of a sector up to 128 KiB are), others less than
0.8 % too low. What is counted once (`TraceDistinct`) is exact up to `Limits.distinct` values.

A profile is kept beside its trace and found again by the trace's content and the code:

    <root>/profiles/<kind>/<name>/<content>-<code>/<table>.parquet
"""

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl

from traces.ahead import ahead
from traces.code import code_hash
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.progress import Progress, nobody
from traces.store import Store, disk_errors, part, read
from traces.table import F64, I64, U32, U64, Text, Unknown, checked, name_of

REGIONS_SHOWN = 32
_NONE = Unknown(-1)
_OF = "of requests that read, write or fetch at least a byte"


class TraceProfile(NamedTuple):
    """What a trace is like, one row a volume (address space, device, producer) and one for the whole trace."""

    volume: Annotated[I64, "which of the trace's volumes, counted from 0; NULL: the whole trace", _NONE]
    requests: Annotated[U64, "rows of all kinds"]
    reads: Annotated[U64, "read requests (memory: loads and modifies)"]
    writes: Annotated[U64, "write requests, zone appends included (memory: stores and modifies)"]
    discards: Annotated[U64, "discard requests"]
    flushes: Annotated[U64, "flush requests"]
    others: Annotated[U64, "requests of other kinds"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    bytes_discarded: Annotated[U64, "bytes given up by discards"]
    read_share: Annotated[F64, "reads / (reads + writes); NULL where there is neither", _NONE]
    size_p10: Annotated[I64, f"bytes, 10th percentile {_OF}", _NONE]
    size_p50: Annotated[I64, f"bytes, median {_OF}", _NONE]
    size_p90: Annotated[I64, f"bytes, 90th percentile {_OF}", _NONE]
    size_max: Annotated[I64, f"bytes, the largest {_OF}", _NONE]
    aligned: Annotated[F64, f"share {_OF}: those that begin and end with a 4 KiB page", _NONE]
    sequential: Annotated[F64, f"share {_OF}: those that begin where one of the volume's last 32 ended", _NONE]
    pages: Annotated[U64, "footprint: distinct 4 KiB pages used (see page_rate); of config traces functions asked for"]
    pages_read: Annotated[U64, "distinct pages read"]
    pages_written: Annotated[U64, "distinct pages written"]
    pages_shared: Annotated[U64, "distinct pages both read and written"]
    page_rate: Annotated[F64, "share of all pages that were followed: 1 means that page figures are exact"]
    overwrites: Annotated[F64, "share of page writes that went to a page written before in this trace", _NONE]
    update_p50: Annotated[I64, "nanoseconds from a page's write to its next, median; NULL without times", _NONE]
    update_p90: Annotated[I64, "nanoseconds from a page's write to its next, 90th percentile", _NONE]
    reuse_p50: Annotated[I64, "other pages used between two uses of one page, median (LRU stack distance)", _NONE]
    reuse_p90: Annotated[I64, "other pages used between two uses of one page, 90th percentile", _NONE]
    reuse_rate: Annotated[F64, "share of pages that reuse distances are measured on: 1 means exact", _NONE]
    region_bytes: Annotated[U64, "bytes of a region: 1 MiB, more where too many are touched"]
    regions: Annotated[U64, "regions touched"]
    top_1: Annotated[F64, "share of what uses a page: that which begins in the most popular 1 % of regions", _NONE]
    top_10: Annotated[F64, "share of what uses a page: that which begins in the most popular 10 % of regions", _NONE]
    zipf: Annotated[F64, "theta of the Zipf law that fits the regions' popularity best (maximum likelihood)", _NONE]
    gap_mean: Annotated[F64, "nanoseconds from one request to the next, mean; NULL without times", _NONE]
    gap_cv: Annotated[F64, "its coefficient of variation: 0 steady, 1 Poisson, more: bursts", _NONE]
    dispersion: Annotated[F64, "variance / mean of the requests in 100 ms: 1 Poisson, more: bursts", _NONE]
    latency_known: Annotated[F64, "share of requests whose latency (message: delay of delivery) is known"]
    read_latency_p50: Annotated[I64, "nanoseconds, median of reads; NULL where not known", _NONE]
    read_latency_p90: Annotated[I64, "nanoseconds, 90th percentile of reads", _NONE]
    read_latency_p99: Annotated[I64, "nanoseconds, 99th percentile of reads", _NONE]
    write_latency_p50: Annotated[I64, "nanoseconds, median of writes; NULL where not known", _NONE]
    write_latency_p90: Annotated[I64, "nanoseconds, 90th percentile of writes", _NONE]
    write_latency_p99: Annotated[I64, "nanoseconds, 99th percentile of writes", _NONE]
    tick: Annotated[U64, "nanoseconds: the greatest step that all times are multiples of; 0 if all are 0"]
    window_length: Annotated[U64, "nanoseconds that a row of trace_windows covers"]


class TraceWindows(NamedTuple):
    """A trace over time: a row for each window and volume in which the volume was asked for anything."""

    time: Annotated[U64, "when the window begins, nanoseconds since the trace's first row"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    requests: Annotated[U64, "rows of all kinds"]
    reads: Annotated[U64, "read requests"]
    writes: Annotated[U64, "write requests, zone appends included"]
    others: Annotated[U64, "requests that neither read nor write"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    read_share: Annotated[F64, "reads / (reads + writes); NULL where there is neither", _NONE]
    sequential: Annotated[F64, f"share {_OF}: those that begin where one of the volume's last 32 ended", _NONE]
    pages: Annotated[U64, "working set: distinct 4 KiB pages used (see trace_profile.page_rate)"]
    new_pages: Annotated[U64, "of them, those that no request before had touched"]
    gap_mean: Annotated[F64, "nanoseconds since the volume's request before, mean; NULL without times", _NONE]
    gap_cv: Annotated[F64, "its coefficient of variation: 0 steady, 1 Poisson, more: bursts", _NONE]
    depth: Annotated[
        F64,
        "requests outstanding on average, as if all had begun here (latencies / window); NULL where not known",
        _NONE,
    ]


class TraceRegions(NamedTuple):
    """The regions of a trace where most of what uses a page begins, the most popular first."""

    rank: Annotated[U32, "counted from 1"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    address: Annotated[U64, "first byte"]
    length: Annotated[U64, "bytes"]
    requests: Annotated[U64, "requests of all kinds that use a page and begin in it"]
    reads: Annotated[U64, "read requests that begin in it"]
    writes: Annotated[U64, "write requests that begin in it"]
    bytes_read: Annotated[U64, "bytes of it that were asked for"]
    bytes_written: Annotated[U64, "bytes that were given to it"]
    share: Annotated[F64, "of all requests of the trace that use a page, those that begin in it"]


class TraceOperations(NamedTuple):
    """What was asked for over time: a row for each window, volume and operation that came in it."""

    time: Annotated[U64, "when the window begins, nanoseconds since the trace's first row"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    operation: Annotated[
        Text,
        "the operation; config: and by which way; dma: the event; text: the procedure that patched; message: how far "
        "the record came",
    ]
    requests: Annotated[U64, "how often it came"]
    bytes: Annotated[U64, "bytes that it was of"]


class TraceDistinct(NamedTuple):
    """How many different ones of several things are in a trace: processors, functions, sites, receivers..."""

    what: Annotated[Text, "what is counted"]
    different: Annotated[U64, "how many different ones"]
    rate: Annotated[F64, "share of them that were followed: 1 means that the figure is exact"]


PROFILE_TABLES: tuple[type[Any], ...] = (TraceProfile, TraceWindows, TraceRegions, TraceOperations, TraceDistinct)


class Limits(NamedTuple):
    """Up to where figures are exact; past it they say what they are."""

    pages: int = 1 << 22  # followed one by one: 16 GiB of distinct pages, 200 MB of memory
    regions: int = 1 << 19  # of 1 MiB each
    reuse: int = 1 << 15  # pages that the reuse distances of the whole trace are measured on
    volume_reuse: int = 1 << 12  # and those of each volume
    volumes: int = 128  # the busiest, that have quantiles and reuse distances of their own: 90 MB of memory
    windows: int = 150  # about so many
    distinct: int = 1 << 17  # of anything, counted one by one: the sketch past it is within 1 %


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What became of one profile."""

    kind: str
    name: str
    path: Path  # the folder of its tables
    fresh: bool  # False: it was kept already
    seconds: float


def kept_profile(store: Store, kind: str, name: str, content: str) -> Path | None:
    """The folder of the newest profile of a trace of that content."""
    found = (store.root / "profiles" / kind / name).glob(f"{content}-*")
    return max(found, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def figures(store: Store, kind: str, name: str, content: str) -> pl.DataFrame | None:
    """The rows of `TraceProfile` that are kept of a trace; None where it was not profiled."""
    folder = kept_profile(store, kind, name, content)
    return pl.read_parquet(folder / f"{name_of(TraceProfile)}.parquet") if folder else None


def profile(store: Store, trace: str, progress: Progress = nobody) -> Profiled:
    """Characterise a trace, unless that is done already; ``progress`` counts rows.

    Raises StoreError where the store cannot be written.
    """
    began = time.perf_counter()
    kind, name = store.find(trace)
    info = store.info(kind, name)
    code = hashlib.sha256(f"{code_hash(__name__)} {info.clock}".encode()).hexdigest()[:16]
    target = store.root / "profiles" / kind / name / f"{info.content}-{code}"
    if target.exists():
        return Profiled(kind=kind, name=name, path=target, fresh=False, seconds=0.0)

    def batches() -> Iterator[pl.DataFrame]:
        from traces._profile_kinds import columns  # what needs the compiler is imported where it is needed

        done = 0
        for batch in read(KINDS[kind], store.trace_path(kind, name), columns(kind)):
            yield batch
            done += batch.height
            progress(done, info.rows)

    tables = characterise(ahead(batches()), info)
    folder = part(target)
    try:
        with disk_errors("the profile", target):
            folder.mkdir(parents=True)
            for table, rows in tables.items():
                checked(table, rows).write_parquet(folder / f"{name_of(table)}.parquet", compression="zstd")
            older = [each for each in target.parent.iterdir() if not each.name.startswith(".")]
            folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in older:  # of another content, or by other code
        shutil.rmtree(each, ignore_errors=True)
    return Profiled(kind=kind, name=name, path=target, fresh=True, seconds=time.perf_counter() - began)


def characterise(
    trace: Iterable[pl.DataFrame], info: TraceInfo, limits: Limits = LIMITS
) -> dict[type[Any], pl.DataFrame]:
    """The tables of a trace, given its rows in batches. Cutting the batches elsewhere changes nothing."""
    from traces._profile_figures import Pass

    whole = Pass(info, limits)
    for batch in trace:
        whole.add(batch)
    return whole.finish()
