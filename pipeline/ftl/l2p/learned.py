"""A learned logical-to-physical map: lines in place of pointers (LeaFTL: Sun, Li, Liu, Huang, Xu, ASPLOS 2023).

What a drive programs at once (its write buffer sorted by page, or the pages of a collected block) lies in cells that
follow each other, so that lines through (page, cell) replace the pointers (`learned_fit`). Segments of a group of 256
pages stand in levels, the newest on top, and those of a level do not overlap. New ones enter the first level; old ones
in their way lose the pages that were learned anew from their ends, and what still overlaps moves down: into the next
level, or into one of its own where it overlaps there too. A lookup goes down until a segment covers the page.
`compact` drops what newer segments cover and moves the rest as far up as it can go.

With approximate segments (gamma > 0) the guess is within gamma cells of the page and in its block; the caller, who
knows where the page is, counts another flash read where it is not exact. Beyond the paper, pages can be discarded:
`forget` cuts them out of all segments.

A prediction takes 25 to 40 ns in groups of one level, 80 in groups of two, and 400 to 600 where random writes have left
twenty to forty; a page learned 15 to 30 ns in runs, 150 to 250 in such groups.

A group has room for 512 segments and never needs more: after compaction each of them still holds a page of its own.
With the rest that is 20 bytes a logical page, committed group by group as they are written. This is what the emulation
takes; `Figures` says what the map itself does.
"""

from typing import Any, NamedTuple

import numpy as np

from pipeline.ftl.fleet import zeros
from pipeline.ftl.l2p.learned_fit import (
    GROUP,
    SEGMENT_BYTES,
    Whole,
    Work,
    first_of,
    guess_of,
    is_approximate,
    last_of,
    narrowed,
    on_stride,
    stride_of,
)
from pipeline.ftl.l2p.learned_levels import (
    LEVELS,
    ROOM,
    Learned,
    compact_group,
    insert,
    learn_group,
    remove,
    segments_in,
    shrink,
)
from traces.kernel import inline_lean_kernel, lean_kernel


class Figures(NamedTuple):
    """What a learned map comes to."""

    accurate: int  # segments
    approximate: int
    covered: int  # pages that approximate segments cover
    groups: int  # with a segment
    deepest: int  # levels of the group that has most
    levels: int  # of all groups

    @property
    def bytes(self) -> int:
        """DRAM: of segments, and of the lists of pages that approximate ones cover."""
        return int(bytes_of.py_func(self))  # type: ignore[attr-defined]


@inline_lean_kernel
def bytes_of(told: Figures) -> Any:
    """`Figures.bytes`, within kernels."""
    return SEGMENT_BYTES * (told.accurate + told.approximate) + told.covered + told.approximate


def new_learned(logical: int, *, gamma: int, pages: int, shift: int, most: int = 1 << 12) -> Learned:
    """A map of a drive with so many pages that knows none of them; ``most`` are sorted at once.

    Where `learn` is given more, it learns one part after the other.
    """
    groups = -(-logical // GROUP)
    return Learned(
        gamma=gamma,
        pages=pages,
        shift=shift,
        segments=zeros(groups * ROOM, np.int64),
        ends=zeros(groups * LEVELS, np.uint16),
        levels=zeros(groups, np.uint16),
        owner=zeros(groups * GROUP, np.uint16),
        work=Work(
            keys=np.zeros(most, np.int64),
            spare=np.zeros(most, np.int64),
            offset=np.zeros(GROUP, np.int64),
            cell=np.zeros(GROUP, np.int64),
            fresh=np.zeros(GROUP, np.int64),
            segments=np.zeros(2 * ROOM, np.int64),
            level=np.zeros(2 * ROOM, np.int16),
            mark=np.zeros(GROUP, np.int16),
        ),
    )


@inline_lean_kernel
def _covers(seg: Any, offset: Any, name: Any) -> Any:
    """Whether a segment covers a page whose approximate segment, if any, has this name; without a branch."""
    inside = (first_of(seg) <= offset) & (offset <= last_of(seg))
    own = (is_approximate(seg) == 1) & (first_of(seg) + 1 == name)
    return inside & (own | ((is_approximate(seg) == 0) & on_stride(seg, offset)))


@inline_lean_kernel
def predict(m: Learned, page: Whole) -> Any:
    """Where a page is guessed to stand, whether it stands anywhere, and how many levels were looked at."""
    group, offset = page // GROUP, page % GROUP
    base, table = group * ROOM, group * LEVELS
    levels, name = np.int64(m.levels[group]), np.int64(m.owner[page])
    begin = np.int64(0)
    for level in range(levels):
        end = np.int64(m.ends[table + level])
        low, left = begin, end - begin
        while left > 1:  # the last that begins at the page or before it
            half = left >> 1
            low = low + half if first_of(m.segments[base + low + half]) <= offset else low
            left -= half
        seg = m.segments[base + low]
        if _covers(seg, offset, name):
            return guess_of(seg, offset), True, level + 1
        begin = end
    return np.int64(0), False, levels


@lean_kernel
def sort_keys(w: Work, count: int) -> None:
    """Put the first keys in order: runs of 1, 2, 4... merged."""
    width = 1
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            i, j = begin, middle
            for k in range(begin, end):
                if j == end or (i < middle and w.keys[i] <= w.keys[j]):
                    w.spare[k] = w.keys[i]
                    i += 1
                else:
                    w.spare[k] = w.keys[j]
                    j += 1
        for k in range(count):
            w.keys[k] = w.spare[k]
        width *= 2


@lean_kernel
def learn(m: Learned, pages: Any, cells: Any, count: int) -> None:
    """The first ``count`` pages stand in these cells from now on; of a page given twice the latter counts."""
    w = m.work
    for begin in range(0, count, w.keys.size):
        size = min(w.keys.size, count - begin)
        rising = True
        for i in range(size):
            w.keys[i] = np.int64(pages[begin + i]) << 24 | i
            rising &= i == 0 or w.keys[i - 1] < w.keys[i]
        if not rising:
            sort_keys(w, size)
        group, found = np.int64(-1), 0
        for i in range(size):
            page = w.keys[i] >> 24
            if i + 1 < size and w.keys[i + 1] >> 24 == page:
                continue
            if page // GROUP != group:
                if found:
                    learn_group(m, group, found)
                group, found = page // GROUP, 0
            w.offset[found] = page % GROUP
            w.cell[found] = cells[begin + (w.keys[i] & 0xFFFFFF)]
            found += 1
        if found:
            learn_group(m, group, found)


@lean_kernel
def forget(m: Learned, page: int) -> None:
    """A page stands nowhere any more: it is cut out of all segments that cover it, on whatever level."""
    group, offset = page // GROUP, page % GROUP
    if segments_in(m, group) + m.levels[group] > ROOM:
        compact_group(m, group)
    i, owner = 0, m.owner[page]
    m.owner[page] = 0
    while i < segments_in(m, group):
        seg = m.segments[group * ROOM + i]
        first, last = first_of(seg), last_of(seg)
        kept = True
        if is_approximate(seg):
            if owner == first + 1:
                kept = shrink(m, group, i)
        elif first <= offset <= last and on_stride(seg, offset):
            stride = stride_of(seg)
            if first == last:
                remove(m, group, i)
                kept = False
            elif offset == first:
                m.segments[group * ROOM + i] = narrowed(seg, first + stride, last)
            elif offset == last:
                m.segments[group * ROOM + i] = narrowed(seg, first, last - stride)
            else:
                m.segments[group * ROOM + i] = narrowed(seg, first, offset - stride)
                insert(m, group, i, narrowed(seg, offset + stride, last))
        i += kept


@lean_kernel
def compact(m: Learned) -> None:
    """Drop and move up what can be, in all groups."""
    for group in range(m.levels.size):
        if m.levels[group]:
            compact_group(m, group)


@lean_kernel
def figures(m: Learned) -> Figures:
    """Count what there is."""
    segments: Any = 0
    levels: Any = 0
    deepest: Any = 0
    approximate = covered = groups = 0
    for group in range(m.levels.size):
        count, depth = segments_in(m, group), np.int64(m.levels[group])
        segments += count
        groups += count > 0
        levels += depth
        deepest = max(deepest, depth)
        inexact = 0
        for i in range(count):
            inexact += is_approximate(m.segments[group * ROOM + i])
        if inexact:
            approximate += inexact
            for offset in range(GROUP):
                covered += m.owner[group * GROUP + offset] > 0
    return Figures(segments - approximate, approximate, covered, groups, deepest, levels)
