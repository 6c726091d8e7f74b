"""Hit ratios of LRU caches of every size from one pass over what is looked up: stack distances.

A cache of n entries that drops the least recently used one holds the n keys used last, so a lookup hits if fewer than
n others were used since the key's last use (Mattson, Gecsei, Slutz, Traiger, IBM Systems Journal 9(2), 1970). That
number is the lookup's distance; their counts are the hits of all sizes.

Each use takes the next place in a row, and the key's last place is given up: the distance is the number of places
behind that one which are still taken. Beside each word of 64 places stands how many are taken before it in its run of
64 words, beside each run how many in its top of 64 runs, and beside each top how many in all: a place's number is four
loads. Places are taken at the end alone, so only giving one up changes what stands behind it, 64 numbers side by side.
With one key in 1 Mi, evenly drawn, that is 130 ns a lookup; sums over the numbers of words, runs and tops in place of
what stands before each took 250. Asking for the word of a place ahead, too, changed nothing.

Past ``most`` keys every second one is forgotten, by a hash of the key, and what is seen of the others counts twice
(SHARDS: Waldspurger, Park, Garthwaite, Ahmad, FAST 2015); below it all is exact.
The profile of a trace (`traces._profile`) keeps a smaller sample of the same kind, and distances to 8 binary digits.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces._profile import NEVER, Whole, mixed, power_of_two
from traces.kernel import inline_lean_kernel, lean_kernel, prefetch, trailing_zeros
from traces.table import I64, U64

NOBODY = -1
ONE, NONE = np.uint64(1), np.uint64(0)
LEAST = 64  # keys that a new state has room for: 20 KiB
# places in the row for each key that there is room for: how often ranks are closed
_STRETCH = 4
ask_for: Any = prefetch
first_bit: Any = trailing_zeros

ENTRY = np.dtype([("key", "i8"), ("at", "i8")])  # ``at``: place of its last use + 1, 0 where the slot is free
BOOKS = np.dtype(
    [
        (name, "i8")
        for name in (
            "lookups",
            "reads",  # of the lookups
            "last",  # the key looked up last, NOBODY if it is not followed
            "live",  # keys followed
            "now",  # the next place
            "shift",  # one key in 2**shift is followed
            "cold",  # first lookups of a key, each as many times as its key stands for
            "cold_reads",
        )
    ]
    + [("limit", "u8")]  # the largest hash that is followed
)


class Stack(NamedTuple):
    """The keys of one cache in the order of their last use. What is a number here stays; what changes is an array."""

    most: int  # keys
    room: int  # keys that the arrays hold
    table: Any  # [slot] ENTRY
    slot: NDArray[np.int32]  # [place] where the key whose last use it is stands in ``table``
    taken: U64  # [place / 64] a bit for each
    words: NDArray[np.uint16]  # [place / 64**2, word] places taken in the words of the run before this one
    runs: NDArray[np.int32]  # [place / 64**3, run] in the runs of the top before this one
    tops: NDArray[np.int32]  # [place / 64**3] in the tops before this one
    hits: I64  # [0 others, 1 reads; distance >> shift] lookups
    books: Any  # one BOOKS


def new_stack(most: int, room: int = LEAST) -> Stack:
    """An empty stack that follows ``most`` keys; with less room than that it must be `grown` when it is `full`."""
    room = min(room, most)
    places = -(-_STRETCH * room // 4096) * 4096
    books: Any = np.zeros(1, BOOKS).view(np.recarray)
    books.last, books.limit = NOBODY, NEVER
    return Stack(
        most=most,
        room=room,
        table=np.zeros(power_of_two(2 * room), ENTRY).view(np.recarray),
        slot=np.zeros(places, np.int32),
        taken=np.zeros(places >> 6, np.uint64),
        words=np.zeros((places >> 12, 64), np.uint16),
        runs=np.zeros(((places >> 18) + 1, 64), np.int32),
        tops=np.zeros((places >> 18) + 1, np.int32),
        hits=np.zeros((2, room), np.int64),
        books=books,
    )


def grown(s: Stack) -> Stack:
    """The same stack with twice the room, or as much as ``most`` keys take."""
    larger = new_stack(s.most, 2 * s.room)
    larger.books[0] = s.books[0]
    larger.hits[:, : s.room] = s.hits
    _move(s, larger)
    return larger


@inline_lean_kernel
def full(s: Stack) -> bool:
    """Whether a lookup may need more room than there is, and more can be had."""
    return bool(s.books[0].live == s.room and s.room < s.most)


@inline_lean_kernel
def _bits(word: np.uint64) -> Any:
    """How many bits are set; LLVM knows the pattern and makes one instruction of it."""
    word = word - ((word >> ONE) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inline_lean_kernel
def _home(s: Stack, key: Whole) -> Any:
    return np.int64(mixed(NONE, key) & np.uint64(s.table.size - 1))


@inline_lean_kernel
def look_for(s: Stack, key: Whole) -> None:
    """Ask for what a lookup to come will need."""
    ask_for(s.table, _home(s, key))


@inline_lean_kernel
def _find(s: Stack, key: Whole) -> Any:
    """The key's slot, or the free one where it would stand."""
    mask = s.table.size - 1
    i = _home(s, key)
    while s.table[i].at and s.table[i].key != key:
        i = (i + 1) & mask
    return i


@inline_lean_kernel
def _before(s: Stack, place: Whole) -> Any:
    """Places taken before this one."""
    word, run, top = place >> 6, place >> 12, place >> 18
    inside = s.taken[word] & ((ONE << np.uint64(place & 63)) - ONE)
    return _bits(inside) + np.int64(s.words[run, word & 63]) + s.runs[top, run & 63] + s.tops[top]


@lean_kernel
def _open_word(s: Stack, place: Whole) -> None:
    """Say what stands before the word, run and top that begin at a place; it is the end of the row."""
    word, run, top = place >> 6, place >> 12, place >> 18
    before = 0
    if place > 0:
        before = _before(s, place - 1) + np.int64((s.taken[(place - 1) >> 6] >> np.uint64(63)) & ONE)
    if place & 0x3FFFF == 0:
        s.tops[top] = before
    before -= s.tops[top]
    if place & 0xFFF == 0:
        s.runs[top, run & 63] = before
    s.words[run, word & 63] = before - s.runs[top, run & 63]


@inline_lean_kernel
def _take(s: Stack, place: Whole) -> None:
    """Take the place at the end of the row."""
    if place & 63 == 0:
        _open_word(s, place)
    s.taken[place >> 6] |= ONE << np.uint64(place & 63)


@inline_lean_kernel
def _give_up(s: Stack, place: Whole) -> None:
    word, run, top = place >> 6, place >> 12, place >> 18
    s.taken[word] &= ~(ONE << np.uint64(place & 63))
    for i in range(64):  # without a branch: vectors of the processor
        s.words[run, i] -= i > word & 63
    for i in range(64):
        s.runs[top, i] -= i > run & 63
    for i in range(top + 1, s.tops.size):
        s.tops[i] -= 1


@lean_kernel
def _close_ranks(s: Stack) -> None:
    """Give the keys the first places, in their order."""
    live = 0
    for word in range(s.taken.size):
        bits = s.taken[word]
        s.taken[word] = NONE
        while bits != NONE:
            slot = s.slot[(word << 6) + np.int64(first_bit(bits))]
            bits &= bits - ONE
            s.slot[live] = slot
            live += 1
            s.table[slot].at = live
    for place in range(live):
        _take(s, place)
    s.books[0].now = live


@lean_kernel
def _move(s: Stack, larger: Stack) -> None:
    """Give the keys of one stack to an empty one, in their order."""
    live = 0
    for place in range(s.books[0].now):
        if (s.taken[place >> 6] >> np.uint64(place & 63)) & ONE:
            key = s.table[s.slot[place]].key
            i = _find(larger, key)
            larger.table[i].key = key
            larger.table[i].at = live + 1
            larger.slot[live] = i
            _take(larger, live)
            live += 1
    larger.books[0].now = live


@lean_kernel
def _forget(s: Stack, hole: Whole) -> None:
    """Free a slot; what stands behind it moves up so that it is still found."""
    mask = s.table.size - 1
    i = hole
    while True:
        i = (i + 1) & mask
        if not s.table[i].at:
            break
        if (i - _home(s, s.table[i].key)) & mask >= (i - hole) & mask:
            s.table[hole].key, s.table[hole].at = s.table[i].key, s.table[i].at
            s.slot[s.table[hole].at - 1] = hole
            hole = i
    s.table[hole].at = 0


@lean_kernel
def _halve(s: Stack) -> None:
    """Follow every second key only, and count distances in steps twice as wide."""
    books = s.books[0]
    books.limit >>= ONE
    books.shift += 1
    books.last = NOBODY
    for place in range(books.now):
        if (s.taken[place >> 6] >> np.uint64(place & 63)) & ONE:
            i = np.int64(s.slot[place])
            if mixed(NONE, s.table[i].key) > books.limit:
                _give_up(s, place)
                _forget(s, i)
                books.live -= 1
    for which in range(2):
        for distance in range(s.room):
            count = 0
            if 2 * distance < s.room:
                count = s.hits[which, 2 * distance]
            if 2 * distance + 1 < s.room:
                count += s.hits[which, 2 * distance + 1]
            s.hits[which, distance] = count


@inline_lean_kernel
def _use(s: Stack, key: Whole, which: Whole) -> None:
    """A lookup of a key that is followed, and is not the one that was looked up last."""
    books = s.books[0]
    if books.now == s.slot.size:
        _close_ranks(s)
    i = _find(s, key)
    if s.table[i].at:
        place = s.table[i].at - 1
        s.hits[which, books.live - 1 - _before(s, place)] += 1 << books.shift
        _give_up(s, place)
    else:
        if books.live == s.room:
            while books.live == s.room and mixed(NONE, key) <= books.limit:
                _halve(s)
            if mixed(NONE, key) > books.limit:
                return
            i = _find(s, key)
        s.table[i].key = key
        books.live += 1
        books.cold += 1 << books.shift
        if which:
            books.cold_reads += 1 << books.shift
    s.table[i].at = books.now + 1
    s.slot[books.now] = i
    _take(s, books.now)
    books.now += 1
    books.last = key


@inline_lean_kernel
def touch(s: Stack, key: Whole, read: bool) -> None:
    """One lookup of a key from 0 on. Where the stack is `full` it must be `grown` before, else it begins to sample."""
    books = s.books[0]
    which = 1 if read else 0
    books.lookups += 1
    books.reads += which
    if key == books.last:
        s.hits[which, 0] += 1 << books.shift
    else:
        books.last = NOBODY
        if mixed(NONE, key) <= books.limit:
            _use(s, key, which)


class Curve(NamedTuple):
    """The hits of caches of all sizes.

    Of a sample, hits are corrected as SHARDS-adj does: what lookups are missing or too many are hits of any size.
    """

    lookups: int
    reads: int
    keys: int  # distinct ones; of a sample an estimate
    step: int  # sizes are told apart in such steps: 1 where all is exact
    all: I64  # [size / step] hits
    of_reads: I64  # [size / step]

    @property
    def exact(self) -> bool:
        """Whether every key was followed."""
        return self.step == 1

    def hit_ratio(self, size: int) -> float:
        """Share of the lookups that a cache of so many keys answers; -1 if there are none, or the size is no step."""
        return self._ratio(self.all, self.lookups, size)

    def read_hit_ratio(self, size: int) -> float:
        """The same of the lookups by reads."""
        return self._ratio(self.of_reads, self.reads, size)

    def _ratio(self, hits: I64, lookups: int, size: int) -> float:
        if not lookups or 0 < size < self.step:
            return -1.0
        return float(hits[min(-(-size // self.step), hits.size - 1)]) / lookups

    def size_for(self, percent: int) -> int:
        """Keys of the smallest cache with so many hits in 100 lookups; -1 if there is none."""
        enough = -(-self.lookups * percent // 100)
        if not self.lookups or self.all[-1] < enough:
            return -1
        return int(np.searchsorted(self.all, enough)) * self.step

    def sizes(self) -> list[int]:
        """1, 2, 4... keys, and as many as there are; of a sample from its step on."""
        powers = [1 << i for i in range(self.keys.bit_length())]
        return sorted({size for size in [*powers, self.keys] if self.step <= size <= self.keys})


def curve_of(s: Stack) -> Curve:
    """What was looked up so far comes to."""
    books = s.books[0]

    def hits(counts: I64, lookups: int, cold: int) -> I64:
        missing = (
            lookups - cold - int(counts.sum())
        )  # 0 where all is exact; below 0 where keys that are hot are sampled
        out: I64 = np.concatenate([[0], np.maximum(np.cumsum(counts) + missing, 0)])
        return out

    lookups, reads, cold = int(books.lookups), int(books.reads), int(books.cold)
    return Curve(
        lookups=lookups,
        reads=reads,
        keys=cold,
        step=1 << int(books.shift),
        all=hits(s.hits.sum(axis=0), lookups, cold),
        of_reads=hits(s.hits[1], reads, int(books.cold_reads)),
    )
