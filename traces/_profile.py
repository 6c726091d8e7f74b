"""What a pass over a trace keeps in mind: the state and the kernels of `traces.profile`.

All of it has a bound. Pages are followed one by one in a hash table. When it is full, every second place is forgotten,
by a hash of the place, and what is seen of the rest counts twice: places that are still followed were followed from
their first request (adaptive spatial sampling, as in SHARDS: Waldspurger et al., FAST 2015). Reuse distances come
from a smaller sample of the same make, whose pages stand in a row in the order of their last use; a Fenwick tree counts
those behind a place. Regions are never sampled: where there are too many, two neighbours become one.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import inline_lean_kernel, lean_kernel
from traces.requests import CHANGES, LOOKS
from traces.table import I64, U8, U32, U64

Whole = int | np.integer[Any]  # what numpy's types call a number of a kernel's

PAGE = 12  # a byte address to its page, as a shift
REGION = 20  # a byte address to its region, as a shift, as long as there are not too many
RECENT = 32  # requests whose end is remembered
BIN = 100_000_000  # ns
LONGEST = 1 << 32  # bytes of a request beyond which its pages and regions are not followed
SUB = 7  # bits of a histogram's value that count: a bucket is no wider than 2**-SUB of its value
BUCKETS = (64 - SUB) << SUB
SIZE, UPDATE, REUSE, READ_LATENCY, WRITE_LATENCY = range(5)  # histograms
HISTOGRAMS = 5
NEVER, NOBODY = (1 << 64) - 1, -1
_STRETCH = 4  # places in the row of a reuse sample for each page that it may hold

_COUNTED = ("requests", "reads", "writes", "others", "bytes_read", "bytes_written", "data", "sequential")
TOTAL = np.dtype(
    [(name, "i8") for name in (*_COUNTED, "discards", "flushes", "bytes_discarded", "aligned", "size_max")]
    + [(name, "i8") for name in ("page_writes", "overwrites", "known")]
    + [("first", "i8"), ("last", "i8"), ("gap_squares", "f8")]  # times of requests, last -1 before there is one
    + [("bin", "i8"), ("in_bin", "i8"), ("bin_squares", "i8")]
)
WINDOW = np.dtype(
    [(name, "i8") for name in (*_COUNTED, "pages", "new_pages", "gaps", "gap_sum", "known", "latency")]
    + [("gap_squares", "f8")]
)
# ``written``: time of the last write + 1, 0 for none; ``seen``: (number of the last window + 1) * 2, + 1 if ever read
PAGES = np.dtype([("page", "i8"), ("written", "i8"), ("volume", "i4"), ("seen", "i4")])
REGIONS = np.dtype(
    [
        (name, "i8")
        for name in ("region", "used", "volume", "requests", "reads", "writes", "bytes_read", "bytes_written")
    ]
)
SAMPLE = np.dtype([(name, "i8") for name in ("base", "room", "live", "now", "shift", "uses")] + [("limit", "u8")])
BOOKS = np.dtype(
    [(name, "i8") for name in ("window", "window_end", "tick", "shift", "used", "region_shift", "regions")]
    + [("limit", "u8")]
)


class Request(NamedTuple):
    """What is looked at of a request; rows of other kinds are made such, see `traces._profile_kinds`."""

    time: Annotated[U64, "block.time"]
    op: Annotated[U8, "block.op"]
    volume: Annotated[U32, "block.volume"]
    address: Annotated[U64, "block.address"]
    length: Annotated[U64, "block.length"]
    latency: Annotated[I64, "block.latency"]


class State(NamedTuple):
    """What outlives a request. Row 0 is the whole trace wherever there are rows, volumes follow."""

    window: int  # ns
    most_pages: int
    most_regions: int
    meanings: U8  # [operation] what it is, as in `traces.requests`
    keys: U64  # [volume] of the hash
    detail: I64  # [volume] its row in ``histograms`` and ``samples``, `NOBODY` if it has none
    recent: U64  # [volume, number] ends of requests
    total: Any  # [row] TOTAL
    windows: Any  # [volume] WINDOW
    histograms: I64  # [detail, histogram, bucket]
    pages: Any  # [slot] PAGES
    regions: Any  # [slot] REGIONS
    spare: Any  # as large as ``regions``
    books: Any  # one BOOKS
    samples: Any  # [detail] SAMPLE
    row_page: I64  # [place in the row] page
    row_volume: NDArray[np.int32]  # [place in the row] volume, `NOBODY` where it has been used again since
    tree: NDArray[np.int32]  # [place in the row] Fenwick tree of those that count
    slots: NDArray[np.int32]  # [slot] place in the row + 1, 0 for none


def power_of_two(least: int) -> int:
    """The first power of two that is no less."""
    return 1 << max(least - 1, 0).bit_length()


def new_state(
    *, volumes: int, detail: I64, meanings: U8, window: int, pages: int, regions: int, reuse: list[int]
) -> State:
    """A state before the first request. ``reuse``: how many pages each reuse sample holds, the whole trace's first."""
    samples = np.zeros(len(reuse), SAMPLE)
    samples["room"] = reuse
    samples["base"] = np.cumsum([0, *reuse[:-1]]) * _STRETCH
    samples["limit"] = NEVER
    row = sum(reuse) * _STRETCH
    books = np.zeros(1, BOOKS)
    books["window"], books["region_shift"], books["limit"] = -1, REGION, NEVER
    total = np.zeros(volumes + 1, TOTAL)
    total["last"] = -1
    with np.errstate(over="ignore"):
        keys = (np.arange(volumes, dtype=np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
    slots = power_of_two(2 * regions)
    return State(
        window=window,
        most_pages=pages,
        most_regions=regions,
        meanings=meanings,
        keys=keys,
        detail=detail,
        recent=np.full((volumes, RECENT), NEVER, np.uint64),
        total=total,
        windows=np.zeros(volumes, WINDOW),
        histograms=np.zeros((len(reuse), HISTOGRAMS, BUCKETS), np.int64),
        pages=np.zeros(power_of_two(2 * pages), PAGES),
        regions=np.zeros(slots, REGIONS),
        spare=np.zeros(slots, REGIONS),
        books=books,
        samples=samples,
        row_page=np.zeros(row, np.int64),
        row_volume=np.full(row, NOBODY, np.int32),
        tree=np.zeros(row, np.int32),
        slots=np.zeros(row, np.int32),
    )


@inline_lean_kernel
def mixed(key: np.uint64, place: Whole) -> np.uint64:
    """A hash of a place: the mixing function of SplitMix64."""
    z = key + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inline_lean_kernel
def bucket(value: Whole) -> Whole:
    """Which bucket of a histogram a number of 0 to 2**63 - 1 falls into."""
    if value < 1 << SUB:
        return value
    shift = (np.float64(value).view(np.int64) >> 52) - 1023 - SUB  # rounding up there still finds the right bucket
    return (shift << SUB) + (value >> shift)


@inline_lean_kernel
def _add(s: State, detail: Whole, which: int, value: Whole, weight: Whole) -> None:
    s.histograms[0, which, bucket(value)] += weight
    if detail > 0:
        s.histograms[detail, which, bucket(value)] += weight


# pages


@lean_kernel
def _find(s: State, volume: Whole, page: Whole, place: np.uint64) -> Whole:
    """The page's slot, or the free one where it would stand."""
    mask = s.pages.size - 1
    i = np.int64(place & np.uint64(mask))
    while s.pages[i].seen and (s.pages[i].page != page or s.pages[i].volume != volume):
        i = (i + 1) & mask
    return i


@lean_kernel
def _forget(s: State, hole: Whole) -> None:
    """Free a slot; what stands behind it moves up so that it is still found."""
    mask = s.pages.size - 1
    i = hole
    while True:
        i = (i + 1) & mask
        if not s.pages[i].seen:
            break
        home = np.int64(mixed(s.keys[s.pages[i].volume], s.pages[i].page) & np.uint64(mask))
        if (i - home) & mask >= (i - hole) & mask:  # it stands at or behind the hole from where it is looked for
            s.pages[hole].page, s.pages[hole].written = s.pages[i].page, s.pages[i].written
            s.pages[hole].volume, s.pages[hole].seen = s.pages[i].volume, s.pages[i].seen
            hole = i
    s.pages[hole].seen = 0


@lean_kernel
def _halve_pages(s: State) -> None:
    """Follow every second place only."""
    books = s.books[0]
    books.limit >>= np.uint64(1)
    books.shift += 1
    i = 0
    while i < s.pages.size:
        if s.pages[i].seen and mixed(s.keys[s.pages[i].volume], s.pages[i].page) > books.limit:
            _forget(s, i)
            books.used -= 1
        else:
            i += 1


@lean_kernel
def _page(s: State, use: tuple[Whole, Whole], page: Whole, place: np.uint64, time: Whole) -> None:
    """One request's use of one page; ``use`` is its volume and meaning."""
    volume, meaning = use
    written = time + 1 if meaning & CHANGES else 0
    books, window = s.books[0], s.windows[volume]
    if place > books.limit:
        return
    i = _find(s, volume, page, place)
    if not s.pages[i].seen:
        if books.used >= s.most_pages:
            while books.used >= s.most_pages and place <= books.limit:
                _halve_pages(s)
            if place > books.limit:
                return
            i = _find(s, volume, page, place)
        s.pages[i].page, s.pages[i].volume, s.pages[i].written = page, volume, 0
        books.used += 1
        window.new_pages += 1 << books.shift
    weight = 1 << books.shift
    known = s.pages[i]
    seen = (books.window + 1) << 1
    if known.seen < seen:
        window.pages += weight
    known.seen = seen | (known.seen & 1) | (meaning & LOOKS != 0)
    if written:
        s.total[0].page_writes += weight
        s.total[volume + 1].page_writes += weight
        if known.written:
            s.total[0].overwrites += weight
            s.total[volume + 1].overwrites += weight
            _add(s, s.detail[volume], UPDATE, written - known.written, weight)
        known.written = written


# reuse


@lean_kernel
def _count_back(s: State, sample: Whole) -> None:
    """Close the ranks of a row, without the pages that are not sampled any more."""
    mine = s.samples[sample]
    base, length = mine.base, mine.room * _STRETCH
    live = 0
    for i in range(base, base + mine.now):
        volume, page = s.row_volume[i], s.row_page[i]
        if volume != NOBODY and mixed(s.keys[volume], page) <= mine.limit:
            s.row_volume[base + live], s.row_page[base + live] = volume, page
            live += 1
    for i in range(base, base + length):
        s.slots[i] = 0
        s.tree[i] = i - base < live
        if i - base >= live:
            s.row_volume[i] = NOBODY
    for i in range(1, length + 1):
        above = i + (i & -i)
        if above <= length:
            s.tree[base + above - 1] += s.tree[base + i - 1]
    for i in range(live):
        place = mixed(s.keys[s.row_volume[base + i]], s.row_page[base + i])
        slot = np.int64(place & np.uint64(length - 1))
        while s.slots[base + slot]:
            slot = (slot + 1) & (length - 1)
        s.slots[base + slot] = i + 1
    mine.live = mine.now = live


@lean_kernel
def _reuse(s: State, sample: Whole, volume: Whole, page: Whole, place: np.uint64) -> None:
    """One use of one page: how many other pages were used since its last one."""
    mine = s.samples[sample]
    mine.uses += 1
    if place > mine.limit:
        return
    base, length = mine.base, mine.room * _STRETCH
    if mine.now == length:
        _count_back(s, sample)
    slot = np.int64(place & np.uint64(length - 1))
    while True:
        at = np.int64(s.slots[base + slot]) - 1
        if at < 0 or (s.row_page[base + at] == page and s.row_volume[base + at] == volume):
            break
        slot = (slot + 1) & (length - 1)
    if at >= 0:
        behind, i = mine.live, at + 1
        while i > 0:
            behind -= s.tree[base + i - 1]
            i -= i & -i
        s.histograms[sample, REUSE, bucket(behind << mine.shift)] += 1 << mine.shift
        s.row_volume[base + at] = NOBODY
        i = at + 1
        while i <= length:
            s.tree[base + i - 1] -= 1
            i += i & -i
    else:
        full = mine.live == mine.room
        while mine.live == mine.room and place <= mine.limit:
            mine.limit >>= np.uint64(1)
            mine.shift += 1
            _count_back(s, sample)
        if full:
            if place > mine.limit:
                return
            slot = np.int64(place & np.uint64(length - 1))
            while s.slots[base + slot]:
                slot = (slot + 1) & (length - 1)
        mine.live += 1
    s.row_page[base + mine.now], s.row_volume[base + mine.now] = page, volume
    s.slots[base + slot] = mine.now + 1
    i = mine.now + 1
    while i <= length:
        s.tree[base + i - 1] += 1
        i += i & -i
    mine.now += 1
