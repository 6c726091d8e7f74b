"""The segments of a learned map's group, level over level: how new ones enter, old ones move down and leave.

What the levels are for stands in `learned`.
"""

from typing import Any, NamedTuple

import numpy as np

from pipeline.ftl.l2p.learned_fit import (
    GROUP,
    Whole,
    Work,
    first_of,
    fit,
    is_approximate,
    last_of,
    narrowed,
    stride_of,
)
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import I64, U16

ROOM = 2 * GROUP  # segments of a group
LEVELS = GROUP + 2  # a chain of overlapping segments has no more, each with a page of its own, and the newest on top


class Learned(NamedTuple):
    """The map of one drive. What is a number here stays; what changes is an array."""

    gamma: int  # cells that a guess may be off
    pages: int  # in a block
    shift: int  # blocks stand 2**shift cells apart
    segments: I64  # [group * ROOM + segment] level after level, by first page
    ends: U16  # [group * LEVELS + level] one past its last segment
    levels: U16  # [group]
    owner: U16  # [page] first page's offset + 1 of the approximate segment that covers it, 0 where none does
    work: Work


@inline_lean_kernel
def segments_in(m: Learned, group: Whole) -> Any:
    """Segments of a group."""
    levels = np.int64(m.levels[group])
    return np.int64(m.ends[group * LEVELS + levels - 1]) if levels else np.int64(0)


@lean_kernel
def remove(m: Learned, group: Whole, index: Whole) -> None:
    """Take out a segment; a level that has no other goes with it."""
    base, table = group * ROOM, group * LEVELS
    for i in range(index, segments_in(m, group) - 1):
        m.segments[base + i] = m.segments[base + i + 1]
    kept = begin = 0
    for level in range(m.levels[group]):
        end = np.int64(m.ends[table + level]) - (m.ends[table + level] > index)
        if end > begin:
            m.ends[table + kept] = end
            kept += 1
        begin = end
    m.levels[group] = kept


@lean_kernel
def insert(m: Learned, group: Whole, index: Whole, seg: Any) -> None:
    """Put in a segment behind the one at an index, in its level."""
    base, table = group * ROOM, group * LEVELS
    for i in range(segments_in(m, group), index + 1, -1):
        m.segments[base + i] = m.segments[base + i - 1]
    m.segments[base + index + 1] = seg
    for level in range(m.levels[group]):
        m.ends[table + level] += m.ends[table + level] > index


@lean_kernel
def shrink(m: Learned, group: Whole, index: Whole) -> bool:
    """Fit first and last page of an approximate segment to those that it still covers; whether there are any."""
    seg, pages = m.segments[group * ROOM + index], group * GROUP
    name = first_of(seg) + 1
    first, last = first_of(seg), last_of(seg)
    while first <= last and m.owner[pages + first] != name:
        first += 1
    if first > last:
        remove(m, group, index)
        return False
    while m.owner[pages + last] != name:
        last -= 1
    for offset in range(first, last + 1):
        if m.owner[pages + offset] == name:
            m.owner[pages + offset] = first + 1
    m.segments[group * ROOM + index] = narrowed(seg, first, last)
    return True


@lean_kernel
def disown(m: Learned, group: Whole, count: Whole) -> None:
    """Take the pages that are to be learned from the approximate segments that cover them, on whatever level."""
    mark, any_marked = m.work.mark, False
    for i in range(count):
        at = group * GROUP + m.work.offset[i]
        if m.owner[at]:
            mark[m.owner[at] - 1] = 1
            m.owner[at] = 0
            any_marked = True
    if any_marked:
        i = 0
        while i < segments_in(m, group):
            seg = m.segments[group * ROOM + i]
            kept = True
            if is_approximate(seg) and mark[first_of(seg)]:
                kept = shrink(m, group, i)
            i += kept
        mark[:] = 0


@lean_kernel
def learn_group(m: Learned, group: Whole, count: int) -> None:
    """Learn the first ``count`` pages of ``work.offset``, which are in order."""
    w, base, table, pages = m.work, group * ROOM, group * LEVELS, group * GROUP
    if segments_in(m, group) + count > ROOM or m.levels[group] + 1 >= LEVELS:
        compact_group(m, group)
    disown(m, group, count)
    made = fit(w, count, m.gamma, (m.shift, m.pages))
    j = 0
    for i in range(count):
        w.mark[w.offset[i]] = 1
        if w.offset[i] > last_of(w.fresh[j]):
            j += 1
        if is_approximate(w.fresh[j]):
            m.owner[pages + w.offset[i]] = first_of(w.fresh[j]) + 1
    # the first level: the fresh ones and those out of their way; the others are victims, which wait behind ROOM
    levels, total = np.int64(m.levels[group]), segments_in(m, group)
    top = np.int64(m.ends[table]) if levels else 0
    second = np.int64(m.ends[table + 1]) if levels > 1 else top
    out, j, victims = 0, 0, ROOM
    for i in range(top):
        seg = m.segments[base + i]
        first, last = first_of(seg), last_of(seg)
        if not is_approximate(seg):
            stride = stride_of(seg)
            while first <= last and w.mark[first]:
                first += stride
            if first > last:
                continue
            while w.mark[last]:
                last -= stride
            seg = narrowed(seg, first, last)
        while j < made and last_of(w.fresh[j]) < first:
            w.segments[out] = w.fresh[j]
            out, j = out + 1, j + 1
        if j < made and first_of(w.fresh[j]) <= last:
            w.segments[victims] = seg
            victims += 1
        else:
            w.segments[out] = seg
            out += 1
    while j < made:
        w.segments[out] = w.fresh[j]
        out, j = out + 1, j + 1
    for i in range(count):
        w.mark[w.offset[i]] = 0
    move_down(m, group, out, victims, (top, second, total))


@inline_lean_kernel
def in_the_way(m: Learned, group: Whole, span: tuple[Whole, Whole], seg: Any) -> Any:
    """Whether a segment overlaps one of those between two places of the group."""
    found = False
    for i in range(span[0], span[1]):
        other = m.segments[group * ROOM + i]
        found |= first_of(other) <= last_of(seg) and first_of(seg) <= last_of(other)
    return found


@lean_kernel
def move_down(m: Learned, group: Whole, out: Any, victims: Whole, old: tuple[Whole, Whole, Whole]) -> None:
    """Behind a new first level, which ``work`` holds, the victims (from ROOM on) and the levels that there were.

    ``old`` says where those ended: the first, the second, all.
    """
    w, base, table = m.work, group * ROOM, group * LEVELS
    top, second, total = old
    levels = np.int64(m.levels[group])
    new: Any = 0  # levels
    w.level[new] = out
    new += 1
    for i in range(ROOM, victims):  # a level of their own for those that overlap the second one too
        if in_the_way(m, group, (top, second), w.segments[i]):
            w.segments[out] = w.segments[i]
            out += 1
    if out > w.level[new - 1]:
        w.level[new] = out
        new += 1
    at: Any = top
    begin = out
    for j in range(ROOM, victims):
        if in_the_way(m, group, (top, second), w.segments[j]):
            continue
        while at < second and first_of(m.segments[base + at]) < first_of(w.segments[j]):
            w.segments[out] = m.segments[base + at]
            out, at = out + 1, at + 1
        w.segments[out] = w.segments[j]
        out += 1
    while at < second:
        w.segments[out] = m.segments[base + at]
        out, at = out + 1, at + 1
    if out > begin:
        w.level[new] = out
        new += 1
    moved = out - second
    for level in range(2, levels):
        w.level[new] = m.ends[table + level] + moved
        new += 1
    for i in range(second, total):
        w.segments[out] = m.segments[base + i]
        out += 1
    for i in range(out):
        m.segments[base + i] = w.segments[i]
    for level in range(new):
        m.ends[table + level] = w.level[level]
    m.levels[group] = new


@lean_kernel
def compact_group(m: Learned, group: Whole) -> None:
    """Drop the segments whose pages newer ones cover, and move the others up as far as they can go."""
    w, base, table = m.work, group * ROOM, group * LEVELS
    kept = deepest = 0
    for i in range(segments_in(m, group)):
        seg = m.segments[base + i]
        first, last = first_of(seg), last_of(seg)
        if not is_approximate(seg):  # pages of others are their own: `disown`
            stride = stride_of(seg)
            while first <= last and w.mark[first]:
                first += stride
            if first > last:
                continue
            while w.mark[last]:
                last -= stride
            for offset in range(first, last + 1, stride):
                w.mark[offset] = 1
            seg = narrowed(seg, first, last)
        else:
            for offset in range(first, last + 1):
                w.mark[offset] |= m.owner[group * GROUP + offset] == first + 1
        level = 0
        for j in range(kept):
            other = w.segments[j]
            if first_of(other) <= last and first <= last_of(other):
                level = max(level, w.level[j] + 1)
        w.segments[kept], w.level[kept] = seg, level
        kept += 1
        deepest = max(deepest, level + 1)
    w.mark[:] = 0
    out = 0
    for level in range(deepest):
        begin = out
        for i in range(kept):
            if w.level[i] == level:
                j = out
                while j > begin and first_of(m.segments[base + j - 1]) > first_of(w.segments[i]):
                    m.segments[base + j] = m.segments[base + j - 1]
                    j -= 1
                m.segments[base + j] = w.segments[i]
                out += 1
        m.ends[table + level] = out
    m.levels[group] = deepest
