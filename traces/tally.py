"""What is counted while a trace is written: volumes (address spaces, devices), exact repeats, odd requests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.info import TraceInfo, Volume
from traces.kernel import kernel
from traces.requests import EMPTY, KINDS, READ, USES, WRITE, Numbering, Request
from traces.table import U8, arrays

_COUNTS = np.dtype(
    [(name, "u8") for name in ("requests", "reads", "writes", "others", "bytes_read", "bytes_written", "extent")]
)
_LAST = np.uint64((1 << 64) - 1)
_ODD = np.dtype([("empty", "u8"), ("unaligned", "u8"), ("unknown", "u8")])


@kernel
def _count(r: Request, meanings: U8, volumes: NDArray[np.void], odd: NDArray[np.void]) -> None:
    """Add requests to their volumes' counts."""
    for i in range(r.time.size):
        v = volumes[r.volume[i]]
        op, length = r.op[i], r.length[i]
        meaning = meanings[op]
        v.requests += np.uint64(1)
        v.others += np.uint64(not meaning & (READ | WRITE))
        if meaning & READ:
            v.reads += np.uint64(1)
            v.bytes_read += length
        if meaning & WRITE:
            v.writes += np.uint64(1)
            v.bytes_written += length
        if length > 0 or meaning & (EMPTY | USES) == EMPTY | USES:  # where sizes are not told, a byte at least
            end = r.address[i] + max(length, np.uint64(1))
            v.extent = max(v.extent, end if end >= r.address[i] else _LAST)
        o = odd[0]
        o.empty += np.uint64(length == 0 and not meaning & EMPTY)
        o.unaligned += np.uint64(((r.address[i] | length) & np.uint64(511)) != 0)
        o.unknown += np.uint64(op == 255)


@kernel
def _same(r: Request, i: int, j: int) -> bool:
    return bool(
        r.address[i] == r.address[j]
        and r.length[i] == r.length[j]
        and r.op[i] == r.op[j]
        and r.volume[i] == r.volume[j]
        and r.latency[i] == r.latency[j]
        and r.stream[i] == r.stream[j]
        and r.flags[i] == r.flags[j]
    )


@kernel
def _mixed(r: Request, i: int) -> Any:
    h = np.uint64(0x9E3779B97F4A7C15)
    for value in (
        r.address[i],
        r.length[i],
        np.uint64(r.op[i]) | (np.uint64(r.volume[i]) << np.uint64(8)),
        np.uint64(r.latency[i]),
        np.uint64(r.stream[i]) | (np.uint64(r.flags[i]) << np.uint64(32)),
    ):
        h = (h ^ value) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(31)
    return h


@kernel
def _repeats(r: Request, count: int) -> Any:
    """Among the first ``count`` rows, which end with a whole instant: those that repeat an earlier row exactly."""
    found, i = 0, 0
    while i < count:
        j = i + 1
        while j < count and r.time[j] == r.time[i]:
            j += 1
        if j - i > 1 and j - i <= 16:
            for a in range(i + 1, j):
                for b in range(i, a):
                    if _same(r, a, b):
                        found += 1
                        break
        elif j - i > 16:
            hashes = np.empty(j - i, np.uint64)
            for a in range(i, j):
                hashes[a - i] = _mixed(r, a)
            hashes.sort()
            for a in range(1, hashes.size):
                found += hashes[a] == hashes[a - 1]
        i = j
    return found


COUNTED = frozenset(sentence for kind in KINDS.values() for sentence in kind.odd.values())  # notes that `Tally` makes


class Tally:
    """Counts the rows of a trace, batch by batch, into its `TraceInfo`."""

    def __init__(self, kind: str = "block") -> None:
        self._kind = KINDS[kind]
        self._volumes = np.zeros(16, _COUNTS)
        self._odd = np.zeros(1, _ODD)
        self._duplicated = 0
        self._rest: pl.DataFrame | None = None  # the last instant's rows: it may go on in the next batch
        self._span = 0
        self._numbering = Numbering(kind)

    def add(self, batch: pl.DataFrame) -> None:
        """Count a batch of rows of the kind's table, in time order."""
        if not batch.height:
            return
        numbers = self._numbering.requests(batch)
        requests = arrays(Request, numbers)
        top = int(requests.volume.max()) + 1
        if top > self._volumes.size:
            self._volumes = np.concatenate([self._volumes, np.zeros(2 * top - self._volumes.size, _COUNTS)])
        _count(requests, self._kind.meanings, self._volumes, self._odd)
        self._span = int(requests.time[-1])
        if not self._kind.repeats:
            return
        cut = int(np.searchsorted(requests.time, requests.time[-1], "left"))
        if self._rest is not None:
            head = int(np.searchsorted(requests.time, self._rest["time"][0], "right"))
            joined = arrays(Request, pl.concat([self._rest, numbers[:head]]))
            if cut == 0:  # the instant goes on
                self._rest = pl.concat([self._rest, numbers])
                return
            self._duplicated += _repeats(joined, joined.time.size)
            requests = arrays(Request, numbers[head:])
            cut -= head
        self._duplicated += _repeats(requests, max(cut, 0))
        self._rest = numbers[-(numbers.height - int(np.searchsorted(numbers["time"].to_numpy(), self._span, "left"))) :]

    def finish(self, info: TraceInfo, names: Sequence[str]) -> None:
        """Put what was counted into the trace's information; ``names`` are the volumes' keys by number."""
        if self._rest is not None:
            last = arrays(Request, self._rest)
            self._duplicated += _repeats(last, last.time.size)
            self._rest = None
        found = self._numbering.names
        info.volumes = [
            Volume(name=name, **{key: int(row[key]) for key in _COUNTS.names or ()})
            for name, row in zip(names if found is None else found, self._volumes, strict=False)
        ]
        info.duplicated = self._duplicated
        info.span = self._span
        odd = self._odd[0]
        for key, sentence in self._kind.odd.items():
            if odd[key]:
                info.notes[sentence] = int(odd[key])
