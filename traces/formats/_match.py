"""A request finds its completion: open requests in a ring of bounded size, chained by hash.

A completion goes to the youngest request that fits its device, class, first byte and, if there is one, length: a
request whose own completion was lost spoils nothing after it. It may cover a part of a request (the rest stays open) or
several requests that follow each other (queued bios that were merged).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel, prefetch
from traces.table import I64, U8, U64, Bool

ISSUE, COMPLETE, REQUEUE = 0, 1, 2  # kinds of events
_AHEAD = 8  # events: their buckets are in no cache, and waiting for them was a third of matching
FAILED, TAKEN_BACK, EMPTY = 1, 2, 4  # marks of records


class Queue(NamedTuple):
    """Events to be matched."""

    time: I64
    kind: U8
    key: U64  # device << 8 | class
    offset: U64
    length: U64
    row: I64  # the record's number; -1 where the event is no record
    failed: Bool


class Open(NamedTuple):
    """Requests that wait for their completion: a ring, chained by hash."""

    head: NDArray[np.int32]  # [bucket] -> slot, -1 none
    next: NDArray[np.int32]  # [slot] -> slot
    live: Bool
    time: I64
    key: U64
    offset: U64
    length: U64
    row: I64


class Found(NamedTuple):
    """What is known of the records that are held back: a ring by record number."""

    latency: I64
    mark: U8


COUNTS = np.dtype(
    [(n, np.int64) for n in ("issues", "matched", "lost", "late", "orphans", "empty", "partial", "requeued", "kept")]
)


@lean_kernel
def _bucket(key: np.uint64, offset: np.uint64, buckets: int) -> Any:
    mixed = (key ^ (offset * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(buckets - 1))


@lean_kernel
def _link(o: Open, slot: int) -> None:
    b = _bucket(o.key[slot], o.offset[slot], o.head.size)
    o.next[slot] = o.head[b]
    o.head[b] = slot
    o.live[slot] = True


@lean_kernel
def _unlink(o: Open, slot: int) -> None:
    b = _bucket(o.key[slot], o.offset[slot], o.head.size)
    o.live[slot] = False
    at = o.head[b]
    if at == slot:
        o.head[b] = o.next[slot]
        return
    while o.next[at] != slot:
        at = o.next[at]
    o.next[at] = o.next[slot]


@lean_kernel
def _find(o: Open, key: np.uint64, offset: np.uint64, length: np.uint64, time: int) -> Any:
    """The youngest open request there, one of exactly this length first; -1 if there is none."""
    other = -1
    at = o.head[_bucket(key, offset, o.head.size)]
    while at >= 0:
        if o.key[at] == key and o.offset[at] == offset and o.time[at] <= time:
            if o.length[at] == length:
                return at
            if other < 0 and (o.length[at] == 0) == (length == 0):
                other = at
        at = o.next[at]
    return other


@lean_kernel
def match(q: Queue, o: Open, found: Found, counts: NDArray[Any], first: int) -> None:
    """Match events in time order. Records before ``first`` have been handed out already."""
    c = counts[0]
    ring, held = o.time.size, found.latency.size
    for i in range(q.time.size):
        if i + _AHEAD < q.time.size:
            bucket = _bucket(q.key[i + _AHEAD], q.offset[i + _AHEAD], o.head.size)
            prefetch(o.head, bucket)  # type: ignore[call-arg]  # an intrinsic is given its context by Numba
        if q.kind[i] == 0:
            slot = c.issues % ring
            c.issues += 1
            if o.live[slot]:
                _unlink(o, slot)
                c.lost += 1
            o.time[slot], o.key[slot], o.offset[slot] = q.time[i], q.key[i], q.offset[i]
            o.length[slot], o.row[slot] = q.length[i], q.row[i]
            _link(o, slot)
        elif q.kind[i] == 1:
            offset, rest, hit = q.offset[i], q.length[i], False
            while True:
                slot = _find(o, q.key[i], offset, rest, q.time[i])
                if slot < 0:
                    break
                _unlink(o, slot)
                row = o.row[slot] if o.row[slot] >= 0 else q.row[i]
                part = o.length[slot] > rest
                if row < first:
                    c.late += not part
                elif not (hit and row == q.row[i]):
                    if not part or row == q.row[i]:
                        found.latency[row % held] = q.time[i] - o.time[slot]
                    if q.failed[i]:
                        found.mark[row % held] |= 1
                hit = True
                if part:
                    c.partial += 1
                    o.offset[slot] += rest
                    o.length[slot] -= rest
                    _link(o, slot)
                    break
                c.matched += 1
                offset += o.length[slot]
                rest -= o.length[slot]
                if rest == 0:
                    break
            if not hit:
                if q.length[i] == 0:
                    c.empty += 1
                    if q.row[i] >= 0:
                        found.mark[q.row[i] % held] |= 4
                else:
                    c.orphans += 1
        else:
            slot = _find(o, q.key[i], q.offset[i], q.length[i], q.time[i])
            if slot < 0:
                c.kept += 1
                continue
            _unlink(o, slot)
            row = o.row[slot]
            if row >= first:
                found.mark[row % held] |= 2
                c.requeued += 1
            elif row >= 0:
                c.kept += 1
