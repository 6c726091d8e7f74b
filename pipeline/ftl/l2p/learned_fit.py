"""Segments of a learned map: lines through the cells of logical pages, and how they are fitted.

A segment takes eight bytes as in LeaFTL (Sun, Li, Liu, Huang, Xu, ASPLOS 2023): first and last of its pages, one byte
each, a slope K of 15 bits with one that says whether it is approximate, and an intercept of four. The cell of a page
at ``offset`` in its group of 256 is ``intercept + round(K * offset)``, K = k / 2**15 in (0, 1]; the paper has K in half
precision, whose 11 binary digits tell fewer strides apart.

An accurate segment's pages are a stride of at most 127 apart, their cells one apart, and all cells are told exactly.
So the pages follow from the slope: ``(offset - first) * k`` is within 127 of a multiple of 2**15 for them, and at least
130 away for all others, which saves a division. An approximate one's cells are told within gamma; the flash page at a
cell that was guessed wrongly knows its neighbours' pages (in its out-of-band area), so that one more read finds it.
Hence every guess lies in its page's block. Which pages it covers is kept beside it, a byte each and one to end the
list.

The paper takes the longest line. Here an approximate segment is taken where it saves bytes over the accurate ones in
its place: a line through 200 pages in a row and one odd one takes 209 bytes, two accurate ones 16.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import I64

Whole = int | np.integer[Any]

GROUP = 256  # logical pages
SEGMENT_BYTES = 8
STRIDE = 127  # pages: the farthest that those of an accurate segment stand apart
POINT = 15  # binary digits of a slope behind the point
FLAT = 1 << POINT  # a slope of 1
HALF = FLAT >> 1
CELLS = 0xFFFFFFFF


class Work(NamedTuple):
    """Room to learn in; nothing in it outlives a call."""

    keys: I64  # [page] of those that are learned at once
    spare: I64  # [page]
    offset: I64  # [page of a group] those that are learned, in order
    cell: I64  # [page of a group] where they stand
    fresh: I64  # [page of a group] the segments through them
    segments: I64  # [segment of a group]
    level: NDArray[np.int16]  # [segment of a group]
    mark: NDArray[np.int16]  # [page of a group] zeros


@inline_lean_kernel
def segment(first: Any, last: Any, slope: Any, approximate: Any, intercept: Any) -> Any:
    """Eight bytes; ``slope`` counts in 2**-15."""
    return first | last << 8 | (slope - 1) << 16 | approximate << 31 | (intercept & CELLS) << 32


@inline_lean_kernel
def first_of(seg: Any) -> Any:
    """The first page's offset in the group."""
    return seg & 0xFF


@inline_lean_kernel
def last_of(seg: Any) -> Any:
    """The last page's offset in the group."""
    return seg >> 8 & 0xFF


@inline_lean_kernel
def slope_of(seg: Any) -> Any:
    """K in 2**-15."""
    return (seg >> 16 & 0x7FFF) + 1


@inline_lean_kernel
def is_approximate(seg: Any) -> Any:
    """Whether its guesses may be wrong."""
    return seg >> 31 & 1


@inline_lean_kernel
def stride_of(seg: Any) -> Any:
    """Pages from one to the next of an accurate segment."""
    slope = slope_of(seg)
    return (FLAT + (slope >> 1)) // slope


@inline_lean_kernel
def narrowed(seg: Any, first: Whole, last: Whole) -> Any:
    """The same line between two other pages."""
    return seg >> 16 << 16 | first | last << 8


@inline_lean_kernel
def on_stride(seg: Any, offset: Any) -> Any:
    """Whether a page between its first and last is one of an accurate segment's."""
    return ((offset - first_of(seg)) * slope_of(seg) + STRIDE) & (FLAT - 1) <= 2 * STRIDE


@inline_lean_kernel
def rise(slope: Any, offset: Any) -> Any:
    """Cells from a line's intercept to an offset."""
    return (slope * offset + HALF) >> POINT


@inline_lean_kernel
def guess_of(seg: Any, offset: Any) -> Any:
    """The cell in which a page is guessed to stand."""
    return ((seg >> 32) + rise(slope_of(seg), offset)) & CELLS


@inline_lean_kernel
def _accurate(w: Work, begin: Whole, end: Whole) -> Any:
    """How many pages from ``begin`` on an accurate segment takes, and its slope."""
    i = begin + 1
    if i == end or w.offset[i] - w.offset[begin] > STRIDE or w.cell[i] != w.cell[begin] + 1:
        return 1, FLAT
    stride = w.offset[i] - w.offset[begin]
    slope = (FLAT + (stride >> 1)) // stride
    intercept = w.cell[begin] - rise(slope, w.offset[begin])
    while (
        i < end
        and w.offset[i] - w.offset[i - 1] == stride
        and w.cell[i] == w.cell[i - 1] + 1
        and w.cell[i] - rise(slope, w.offset[i]) == intercept
    ):
        i += 1
    return (i - begin, slope) if i > begin + 1 else (1, FLAT)


@lean_kernel
def _approximate(w: Work, begin: int, end: int, gamma: int, block: tuple[int, int]) -> tuple[int, int, int]:
    """How many pages from ``begin`` on a line tells within gamma, its slope and intercept; ``block``: shift, pages.

    The slopes that come within gamma of each page, seen from the first, are narrowed until none is left; the middle
    of them is taken (the cone of Xie, Pang, Zhou, Zhang, Deng, VLDB Journal 23(6), 2014, and others).
    """
    shift, pages = block
    low, high = 0.0, 1.0
    i = begin + 1
    while i < end and w.cell[i] >> shift == w.cell[begin] >> shift:
        across, up = np.float64(w.offset[i] - w.offset[begin]), w.cell[i] - w.cell[begin]
        least, most = max(low, (up - gamma) / across), min(high, (up + gamma) / across)
        if least > most:
            break
        low, high = least, most
        i += 1
    slope = max(1, int((low + high) * 0.5 * FLAT + 0.5))
    base = w.cell[begin] >> shift << shift
    while True:  # what was rounded may have gone too far for the last ones
        below = above = w.cell[begin] - rise(slope, w.offset[begin])
        for j in range(begin + 1, i):
            error = w.cell[j] - rise(slope, w.offset[j])
            below, above = min(below, error), max(above, error)
        intercept = (below + above) >> 1
        good = above - below <= 2 * gamma
        for j in range(begin, i):
            place = intercept + rise(slope, w.offset[j]) - base
            good &= 0 <= place < pages
        if good:
            return i - begin, slope, intercept
        i -= 1


@lean_kernel
def fit(w: Work, count: int, gamma: int, block: tuple[int, int]) -> int:
    """Segments through the first ``count`` of ``w.offset`` and ``w.cell``, into ``w.fresh``; how many."""
    made = i = 0
    while i < count:
        taken, slope = _accurate(w, i, count)
        approximate, intercept = 0, w.cell[i] - rise(slope, w.offset[i])
        if gamma > 0:
            length, along, base = _approximate(w, i, count, gamma, block)
            instead, j = 0, i
            while j < i + length:
                j += _accurate(w, j, count)[0]
                instead += 1
            if SEGMENT_BYTES + length + 1 < SEGMENT_BYTES * instead:
                taken, slope, approximate, intercept = length, along, 1, base
        w.fresh[made] = segment(w.offset[i], w.offset[i + taken - 1], slope, approximate, intercept)
        made += 1
        i += taken
    return made
