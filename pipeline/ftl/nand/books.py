"""Latencies of `pipeline.ftl.nand`: which requests are under way, histograms, and the tables made of them.

Histograms are log-linear with 64 buckets an octave. A percentile is the smallest bucket that so large a share of the
requests does not exceed, told by its upper end: never below the true value, and at most 1/64 (1.6 %) above it.
"""

from enum import IntEnum
from typing import Annotated, Any, NamedTuple

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros
from numpy.typing import NDArray

from pipeline.ftl.nand.units import Nand
from pipeline.ftl.victim import Whole
from traces.block import Op
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import F64, I64, U8, U32, U64, Unknown, empty

FINE = 6  # 2 ** FINE buckets an octave
LONGEST = (1 << 47) - 1  # ns, 39 hours: longer latencies share the last bucket, their mean and maximum stay exact
BUCKETS = (48 - FINE) << FINE
DEEPEST = 4096  # open loop: so many requests under way are told apart
zeros_before: Any = leading_zeros

BOOK = np.dtype(
    [(name, "i8") for name in ("requests", "bytes", "total", "longest", "blocked", "low", "high")]
)  # total and longest in ns; low, high: the buckets in use


class Kind(IntEnum):
    """Requests whose latencies are told apart."""

    READ = 0
    WRITE = 1
    DISCARD = 2
    FLUSH = 3
    ALL = 4


KINDS = 4
NONE = BUCKETS  # low of an empty book


class FtlLatency(NamedTuple):
    """How long a drive's requests took, a row for each volume and kind of request that it served."""

    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    kind: Annotated[U8, "0 read, 1 write, 2 discard or write-zeroes, 3 flush, 4 all of them"]
    requests: Annotated[U64, "requests of the kind"]
    bytes: Annotated[U64, "bytes that they asked for"]
    mean: Annotated[F64, "latency from arrival to completion, ns, mean (exact)"]
    p50: Annotated[U64, "ns that half of the requests do not exceed; as all percentiles at most 1/64 too high"]
    p90: Annotated[U64, "ns that 90 % do not exceed"]
    p99: Annotated[U64, "ns that 99 % do not exceed"]
    p999: Annotated[U64, "ns that 99.9 % do not exceed"]
    p9999: Annotated[U64, "ns that 99.99 % do not exceed"]
    max: Annotated[U64, "ns of the slowest (exact)"]
    gc_blocked: Annotated[
        F64,
        "share of requests that waited for a die or a place of the write buffer which garbage collection kept busy",
    ]
    requests_per_s: Annotated[
        F64,
        "requests a second from the volume's first arrival to its last completion; NULL if no time passed",
        Unknown(-1),
    ]
    bytes_per_s: Annotated[F64, "bytes a second, the same way; NULL if no time passed", Unknown(-1)]
    queue_depth: Annotated[
        F64, "requests of the kind under way, mean over the same time; NULL if none passed", Unknown(-1)
    ]


class FtlLoad(NamedTuple):
    """How fast a drive was over time: a row for each window of ftl_windows, if time is modelled."""

    time: Annotated[U64, "when the window begins in the trace, nanoseconds since its first request"]
    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    requests: Annotated[U64, "reads, writes, discards, write-zeroes and flushes that arrived"]
    elapsed: Annotated[
        U64,
        "ns until all of them were complete. Open loop: from the window's beginning, or the completion of the window "
        "before, to its end at least; closed loop: from the completion of the window before",
    ]
    requests_per_s: Annotated[F64, "requests / elapsed; NULL if no time passed", Unknown(-1)]
    bytes_per_s: Annotated[F64, "bytes asked for / elapsed; NULL if no time passed", Unknown(-1)]
    read_p50: Annotated[I64, "ns that half of the reads do not exceed; NULL if there were none", Unknown(-1)]
    read_p99: Annotated[I64, "ns that 99 % of the reads do not exceed; NULL if there were none", Unknown(-1)]
    write_p50: Annotated[I64, "ns that half of the writes do not exceed; NULL if there were none", Unknown(-1)]
    write_p99: Annotated[I64, "ns that 99 % of the writes do not exceed; NULL if there were none", Unknown(-1)]
    queue_depth: Annotated[
        F64, "requests under way, mean: their latencies added up / elapsed; NULL if no time passed", Unknown(-1)
    ]
    queue_depth_max: Annotated[U32, "most others under way when a request arrived; open loop: 4,096 are that or more"]
    die_utilisation: Annotated[
        F64,
        "time of dies that the requests took / (dies x elapsed), above 1 where work is left at the end; NULL if no "
        "time passed",
        Unknown(-1),
    ]
    gc_blocked: Annotated[
        F64, "share of requests that waited for what garbage collection kept busy; NULL if there were none", Unknown(-1)
    ]


@inline_lean_kernel
def bucket_of(latency: Whole) -> Any:
    """Of a latency in ns: the first 64 are exact, then an octave has 64 each."""
    capped = np.int64(min(latency, LONGEST))
    shift: Any = max(63 - FINE - np.int64(zeros_before(np.uint64(capped))), 0)
    return (shift << FINE) + (capped >> shift)


@inline_lean_kernel
def upper_end(bucket: Whole) -> Any:
    """The largest latency of a bucket, ns."""
    shift = max((bucket >> FINE) - 1, 0)
    return ((bucket - (shift << FINE) + 1) << shift) - 1


@inline_lean_kernel
def push(waiting: NDArray[np.int64], size: Whole, time: Whole) -> None:
    """Add a time to a heap of such size, the earliest first; there must be room."""
    at = size
    while at > 0 and waiting[(at - 1) >> 1] > time:
        waiting[at] = waiting[(at - 1) >> 1]
        at = (at - 1) >> 1
    waiting[at] = time


@inline_lean_kernel
def pop(waiting: NDArray[np.int64], size: Whole) -> None:
    """Take the earliest time out of a heap of such size."""
    last, size = waiting[size - 1], size - 1
    at, child = 0, 1
    while child < size:
        if child + 1 < size and waiting[child + 1] < waiting[child]:
            child += 1
        if waiting[child] >= last:
            break
        waiting[at] = waiting[child]
        at, child = child, 2 * child + 1
    waiting[at] = last


@inline_lean_kernel
def replace(waiting: NDArray[np.int64], time: Whole) -> None:
    """Put a time in the place of the earliest of a full heap: half the way of a `pop` and a `push`."""
    last: Any = waiting.size - 1
    child: Any = 1
    at = 0
    while child <= last:
        # added, not branched upon: which child is earlier, no processor can foresee
        child += np.int64(waiting[min(child + 1, last)] < waiting[child])
        if waiting[child] >= time:
            break
        waiting[at] = waiting[child]
        at, child = child, 2 * child + 1
    waiting[at] = time


@inline_lean_kernel
def note(nand: Nand, op: Whole, length: Whole, latency: Whole) -> None:
    """Enter a request in the window's book of its kind."""
    kind = 2
    if op == Op.READ:
        kind = 0
    elif op == Op.WRITE:
        kind = 1
    elif op == Op.FLUSH:
        kind = 3
    book, bucket = nand.books[kind], bucket_of(latency)
    if book.requests == 0:
        book.low = book.high = bucket
    book.low, book.high = min(book.low, bucket), max(book.high, bucket)
    nand.counts[kind, bucket] += 1
    book.requests += 1
    book.bytes += length
    book.total += latency
    book.longest = max(book.longest, latency)
    book.blocked += nand.moment[0].blocked


@lean_kernel
def quantile(nand: Nand, book: Whole, share: float) -> Any:
    """Latency, in ns, that such a share of a book's requests does not exceed; -1 if it has none."""
    mine = nand.books[book]
    if mine.requests == 0:
        return -1
    # 1e-9: 0.99 of 100 requests are 99, whatever the product of two floats is
    want, seen = max(np.int64(np.ceil(share * mine.requests - 1e-9)), 1), 0
    for bucket in range(mine.low, mine.high + 1):
        seen += nand.counts[book, bucket]
        if seen >= want:
            return min(upper_end(bucket), mine.longest)
    return mine.longest


@lean_kernel
def close_books(nand: Nand) -> None:
    """Add the window's books to those of the windows before, and empty them."""
    for kind in range(KINDS):
        new, old = nand.books[kind], nand.books[KINDS + kind]
        if new.requests == 0:
            continue
        if old.requests == 0:
            old.low, old.high = new.low, new.high
        old.low, old.high = min(old.low, new.low), max(old.high, new.high)
        for bucket in range(new.low, new.high + 1):
            nand.counts[KINDS + kind, bucket] += nand.counts[kind, bucket]
            nand.counts[kind, bucket] = 0
        old.requests += new.requests
        old.bytes += new.bytes
        old.total += new.total
        old.longest = max(old.longest, new.longest)
        old.blocked += new.blocked
        new.requests = new.bytes = new.total = new.longest = new.blocked = 0


@lean_kernel
def end_load(nand: Nand | None, window: Whole, volume: Whole, told: Any, row: int) -> None:
    """Fill a record of FtlLoad with what the window of that number saw; what comes is of another."""
    if nand is None:
        return
    moment, begin, out = nand.moment[0], window * nand.window, told[row]
    since, until = max(moment.mark, moment.first), moment.latest
    if not nand.closed:
        since, until = max(moment.mark, begin), max(moment.latest, begin + nand.window)
    requests, size, total, blocked = 0, 0, 0, 0
    for kind in range(KINDS):
        book = nand.books[kind]
        requests += book.requests
        size += book.bytes
        total += book.total
        blocked += book.blocked
    elapsed = max(until - since, 0)
    per_s = 1e9 / elapsed if elapsed else 0.0
    out.time = begin
    out.volume = volume
    out.requests = requests
    out.elapsed = elapsed
    out.requests_per_s = requests * per_s if elapsed else -1.0
    out.bytes_per_s = size * per_s if elapsed else -1.0
    out.read_p50 = quantile(nand, Kind.READ, 0.5)
    out.read_p99 = quantile(nand, Kind.READ, 0.99)
    out.write_p50 = quantile(nand, Kind.WRITE, 0.5)
    out.write_p99 = quantile(nand, Kind.WRITE, 0.99)
    out.queue_depth = total / elapsed if elapsed else -1.0
    out.queue_depth_max = moment.deepest
    out.die_utilisation = (moment.work - moment.worked) / (nand.dies * elapsed) if elapsed else -1.0
    out.gc_blocked = blocked / requests if requests else -1.0
    close_books(nand)
    moment.mark, moment.worked, moment.deepest = max(moment.mark, until), moment.work, 0


def latencies(nands: list[tuple[int, Nand]]) -> FtlLatency:
    """A row for each kind of request, and one for all, of every volume that served any; its windows must have ended."""
    rows: list[tuple[Any, ...]] = []
    for volume, nand in nands:
        books, moment = nand.books[KINDS:], nand.moment[0]
        elapsed = int(moment.latest - max(moment.first, 0))
        told = [(kind, books[kind : kind + 1], nand.counts[KINDS + kind]) for kind in range(KINDS)]
        told.append((int(Kind.ALL), books, nand.counts[KINDS:].sum(axis=0)))
        for kind, book, counts in told:
            requests, size, total = (int(book[name].sum()) for name in ("requests", "bytes", "total"))
            if not requests:
                continue
            longest = int(book.longest.max())
            ranks = np.maximum(np.ceil(requests * np.array([0.5, 0.9, 0.99, 0.999, 0.9999]) - 1e-9), 1)
            buckets = np.searchsorted(np.cumsum(counts), ranks)
            percentiles = [min(upper_end.py_func(int(bucket)), longest) for bucket in buckets]  # type: ignore[attr-defined]
            rates = [n / elapsed for n in (requests * 1e9, size * 1e9, total)] if elapsed else [-1.0] * 3
            blocked = int(book.blocked.sum()) / requests
            rows.append((volume, kind, requests, size, total / requests, *percentiles, longest, blocked, *rates))
    out = empty(FtlLatency, len(rows))
    for i, row in enumerate(rows):
        for name, value in zip(FtlLatency._fields, row, strict=True):
            getattr(out, name)[i] = value
    return out
