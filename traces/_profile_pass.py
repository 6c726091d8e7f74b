"""The pass itself: every request of a trace into the counts of `traces._profile`, window by window."""

from typing import Any

import numpy as np

from traces._profile import (
    BIN,
    LONGEST,
    NOBODY,
    PAGE,
    READ_LATENCY,
    RECENT,
    SIZE,
    WRITE_LATENCY,
    Request,
    State,
    Whole,
    _add,
    _page,
    _reuse,
    mixed,
)
from traces.kernel import inline_lean_kernel, lean_kernel, prefetch
from traces.requests import DISCARD, EMPTY, FLUSH, READ, USES, WRITE

AHEAD = 16  # requests: where a page is kept is asked for so long before it is looked at


@lean_kernel
def _region(table: Any, volume: Whole, region: Whole, key: np.uint64) -> Whole:
    """The region's slot, or the free one where it would stand."""
    mask = table.size - 1
    i = np.int64(mixed(key, region) & np.uint64(mask))
    while table[i].used and (table[i].region != region or table[i].volume != volume):
        i = (i + 1) & mask
    return i


@lean_kernel
def _coarsen(s: State) -> None:
    """Make one region of two."""
    books = s.books[0]
    books.region_shift += 1
    books.regions = 0
    for i in range(s.regions.size):
        s.spare[i].used = 0
    for i in range(s.regions.size):
        old = s.regions[i]
        if old.used:
            j = _region(s.spare, old.volume, old.region >> 1, s.keys[old.volume])
            new = s.spare[j]
            if not new.used:
                new.used, new.volume, new.region = 1, old.volume, old.region >> 1
                new.requests = new.reads = new.writes = new.bytes_read = new.bytes_written = 0
                books.regions += 1
            new.requests += old.requests
            new.reads += old.reads
            new.writes += old.writes
            new.bytes_read += old.bytes_read
            new.bytes_written += old.bytes_written
    for i in range(s.regions.size):
        new, old = s.spare[i], s.regions[i]
        old.used, old.volume, old.region = new.used, new.volume, new.region
        old.requests, old.reads, old.writes = new.requests, new.reads, new.writes
        old.bytes_read, old.bytes_written = new.bytes_read, new.bytes_written


@lean_kernel
def _regions(s: State, use: tuple[Whole, Whole], address: np.uint64, length: Whole, told: bool) -> None:
    """Count a request (its volume and meaning) where it begins, its bytes where they lie; ``told``: it has some."""
    volume, meaning = use
    books, left, begins = s.books[0], length, True
    at = address
    while left > 0:
        number = np.int64(at >> np.uint64(books.region_shift))
        i = _region(s.regions, volume, number, s.keys[volume])
        while not s.regions[i].used and books.regions >= s.most_regions:
            _coarsen(s)
            number = np.int64(at >> np.uint64(books.region_shift))
            i = _region(s.regions, volume, number, s.keys[volume])
        region = s.regions[i]
        if not region.used:
            region.used, region.volume, region.region, region.requests = 1, volume, number, 0
            region.reads = region.writes = region.bytes_read = region.bytes_written = 0
            books.regions += 1
        size = np.int64(1) << books.region_shift
        here = min(size - np.int64(at & np.uint64(size - 1)), left)
        region.requests += begins
        if meaning & READ:
            region.reads += begins
            region.bytes_read += here if told else 0
        if meaning & WRITE:
            region.writes += begins
            region.bytes_written += here if told else 0
        begins = False
        left -= here
        at += np.uint64(here)


@inline_lean_kernel
def _sequential(s: State, volume: Whole, number: Whole, address: np.uint64, end: np.uint64) -> bool:
    """Whether a request begins where one of the last ones ended; ``number`` counts the volume's requests."""
    found = False
    for k in range(RECENT):
        found |= s.recent[volume, k] == address
    s.recent[volume, number % RECENT] = end
    return found


@inline_lean_kernel
def _tick(s: State, time: Whole) -> None:
    """The greatest step that all times are multiples of."""
    a = s.books[0].tick
    if a != 1 and (a == 0 or time % a):
        b = time
        while b:
            a, b = b, a % b
        s.books[0].tick = a


@inline_lean_kernel
def _arrival(total: Any, time: Whole) -> Whole:
    """Time since the request before, -1 for the first; keeps what dispersion and variation are computed from."""
    gap = time - total.last if total.last >= 0 else -1
    if gap >= 0:
        total.gap_squares += np.float64(gap) * np.float64(gap)
    else:
        total.first = time
    total.last = time
    if time // BIN != total.bin:
        total.bin_squares += total.in_bin * total.in_bin
        total.bin, total.in_bin = time // BIN, 0
    total.in_bin += 1
    return gap


@lean_kernel
def follow(s: State, r: Request, begin: int) -> int:
    """Take requests from ``begin`` on; stops before the first of another window and says where.

    `close_window` must be called before the next one is opened.
    """
    books = s.books[0]
    for i in range(begin, r.time.size):
        time, volume = np.int64(r.time[i]), np.int64(r.volume[i])
        if time >= books.window_end:
            if books.window >= 0:
                return i
            books.window = time // s.window
            books.window_end = (books.window + 1) * s.window
        if i + AHEAD < r.time.size:
            place = mixed(s.keys[r.volume[i + AHEAD]], np.int64(r.address[i + AHEAD] >> np.uint64(PAGE)))
            prefetch(s.pages, np.int64(place & np.uint64(s.pages.size - 1)))  # type: ignore[call-arg]
        meaning, latency = np.int64(s.meanings[r.op[i]]), r.latency[i]
        address, length = r.address[i], np.int64(r.length[i])
        window, whole, total, detail = s.windows[volume], s.total[0], s.total[volume + 1], s.detail[volume]
        _tick(s, time)
        _arrival(whole, time)
        gap = _arrival(total, time)
        if gap >= 0:
            window.gaps += 1
            window.gap_sum += gap
            window.gap_squares += np.float64(gap) * np.float64(gap)
        read, write, uses = meaning & READ != 0, meaning & WRITE != 0, meaning & USES != 0
        data = uses and length > 0
        sequential = aligned = False
        if data:
            aligned = ((address | r.length[i]) & np.uint64((1 << PAGE) - 1)) == 0
            sequential = _sequential(s, volume, total.data, address, address + r.length[i])
        window.requests += 1
        window.data += data
        window.sequential += sequential
        window.reads += read
        window.writes += write
        window.others += not (read or write)
        window.bytes_read += length if read else 0
        window.bytes_written += length if write else 0
        if latency >= 0:
            window.known += 1
            window.latency += latency
        for row in range(0, volume + 2, volume + 1):
            t = s.total[row]
            t.requests += 1
            t.data += data
            t.sequential += sequential
            t.aligned += aligned
            t.reads += read
            t.writes += write
            t.discards += meaning & DISCARD != 0
            t.flushes += meaning & FLUSH != 0
            t.others += meaning & (READ | WRITE | DISCARD | FLUSH) == 0
            t.bytes_read += length if read else 0
            t.bytes_written += length if write else 0
            t.bytes_discarded += length if meaning & DISCARD else 0
            t.known += latency >= 0
            if data:
                t.size_max = max(t.size_max, length)
        if latency >= 0 and (read or write):
            _add(s, detail, READ_LATENCY if read else WRITE_LATENCY, latency, 1)
        if data:
            _add(s, detail, SIZE, length, 1)
        elif not uses or not meaning & EMPTY:
            continue
        length = max(min(length, np.int64(LONGEST)), np.int64(1))
        _regions(s, (volume, meaning), address, length, bool(data))
        last = np.int64((address + np.uint64(length - 1)) >> np.uint64(PAGE))
        for page in range(np.int64(address >> np.uint64(PAGE)), last + 1):
            place = mixed(s.keys[volume], page)
            _page(s, (volume, meaning), page, place, time)
            _reuse(s, 0, volume, page, place)
            if detail != NOBODY:
                _reuse(s, detail, volume, page, place)
    return r.time.size


def close_window(s: State) -> None:
    """Forget what was counted in the window."""
    s.windows[:] = 0
    s.books["window"], s.books["window_end"] = -1, 0
