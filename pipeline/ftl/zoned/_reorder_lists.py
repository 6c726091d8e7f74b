"""The lists of the reorder buffers (`pipeline.ftl.zoned.reorder`): a zone's extents, and zones that wait for the timer.

Extents of a zone hang in a list in the order of their blocks; a write that goes behind the last one finds its place at
once. All deadlines are now + the same time, so zones stand in the order of their deadlines if each new one goes last.
"""

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros

from pipeline.ftl.victim import NONE, Whole
from pipeline.ftl.zoned._reorder_state import NEVER, Buffers, Write
from traces.kernel import inline_lean_kernel, lean_kernel

zeros_before: Any = leading_zeros


@inline_lean_kernel
def bin_of(value: Whole) -> Any:
    """How many bits a number takes, which is not negative."""
    return 64 - np.int64(zeros_before(np.uint64(value)))


@inline_lean_kernel
def settle(buffers: Buffers, now: Whole) -> None:
    """Add up how many blocks stood in the buffers until now."""
    tally = buffers.tally[0]
    tally.occupancy += tally.buffered * (now - tally.changed)
    tally.changed = now


@inline_lean_kernel
def begin_gap(buffers: Buffers, zone: Whole, now: Whole) -> None:
    """Put a zone, which is in no queue, at the end of those that wait for the timer."""
    if buffers.rules.gap_timer:
        head, place = buffers.head[0], buffers.zone[zone]
        place.deadline = now + buffers.rules.gap_timer
        place.before, place.after = head.last, NONE
        if head.last == NONE:
            head.first = zone
        else:
            buffers.zone[head.last].after = zone
        head.last = zone


@inline_lean_kernel
def end_gap(buffers: Buffers, zone: Whole) -> None:
    """Take a zone out of the queue, if it is in it."""
    head, place = buffers.head[0], buffers.zone[zone]
    if place.deadline != NEVER:
        place.deadline = NEVER
        if place.before == NONE:
            head.first = place.after
        else:
            buffers.zone[place.before].after = place.after
        if place.after == NONE:
            head.last = place.before
        else:
            buffers.zone[place.after].before = place.before


@inline_lean_kernel
def take(buffers: Buffers) -> Any:
    """An extent for a piece; one must be vacant."""
    head = buffers.head[0]
    head.vacant -= 1
    if head.free == NONE:
        head.fresh += 1
        return head.fresh - 1
    at = head.free
    head.free = buffers.extent[at].next
    return at


@inline_lean_kernel
def give_back(buffers: Buffers, at: Whole) -> None:
    """An extent is no longer needed: its blocks are not in the buffers any more."""
    head, extent = buffers.head[0], buffers.extent[at]
    buffers.used[extent.group] -= extent.blocks
    buffers.tally[0].buffered -= extent.blocks
    extent.next = head.free
    head.free = at
    head.vacant += 1


@inline_lean_kernel
def before(buffers: Buffers, zone: Whole, at: Whole) -> Any:
    """The last extent that ends at or below a block, NONE if there is none.

    Looked for from the end: where writes are displaced at random, most of what waits is near the write pointer and most
    of what comes is not. 10.9 M writes/s displaced by up to 64, 1.6 by up to 512; from the beginning 8.1 and 1.0.
    """
    place = buffers.zone[zone]
    if place.first == NONE:
        return NONE
    found = buffers.extent[place.first]
    if found.start + found.blocks > at:
        return NONE
    each = place.last
    found = buffers.extent[each]
    while found.start + found.blocks > at:
        each = found.previous
        found = buffers.extent[each]
    return each


@inline_lean_kernel
def following(buffers: Buffers, zone: Whole, extent: Whole) -> Any:
    """The extent behind another; the first behind NONE."""
    return buffers.zone[zone].first if extent == NONE else buffers.extent[extent].next


@inline_lean_kernel
def tie(buffers: Buffers, zone: Whole, behind: Whole, ahead: Whole) -> None:
    """Let two extents stand side by side; NONE is the list's beginning or end."""
    place = buffers.zone[zone]
    if behind == NONE:
        place.first = ahead
    else:
        buffers.extent[behind].next = ahead
    if ahead == NONE:
        place.last = behind
    else:
        buffers.extent[ahead].previous = behind


@inline_lean_kernel
def link(buffers: Buffers, zone: Whole, behind: Whole, at: Whole) -> None:
    """Put an extent behind another; first, if that is NONE."""
    tie(buffers, zone, at, following(buffers, zone, behind))
    tie(buffers, zone, behind, at)


@lean_kernel
def reached(buffers: Buffers, zone: Whole, behind: Whole, write: Write, group: Whole) -> tuple[int, int, int]:
    """What a write takes from the extents behind one: blocks, those of a group, and how many extents that sets free.

    That is -1 if it cuts an extent in two.
    """
    at, end = write.at, write.at + write.blocks
    blocks = own = freed = 0
    each = following(buffers, zone, behind)
    while each != NONE:
        extent = buffers.extent[each]
        start, stop = extent.start, extent.start + extent.blocks
        if start >= end:
            break
        taken = min(stop, end) - max(start, at)
        blocks += taken
        if extent.group == group:
            own += taken
        if start < at and stop > end:
            freed -= 1
        elif start >= at and stop <= end:
            freed += 1
        each = extent.next
    return blocks, own, freed


@lean_kernel
def is_gone(buffers: Buffers, zone: Whole, serial: Whole, counts: Whole) -> bool:
    """Whether nothing is left of a write after a piece of it that counted so; if not, another counts from now on."""
    if counts != 1:
        return bool(counts == 2)
    each = buffers.zone[zone].first
    while each != NONE:
        extent = buffers.extent[each]
        if extent.serial == serial:
            extent.counts = 1
            return False
        each = extent.next
    return True


@lean_kernel
def carve(buffers: Buffers, zone: Whole, behind: Whole, at: Whole, end: Whole) -> int:
    """Take the blocks [at, end) out of the extents behind one; the last extent that is left below them."""
    tally = buffers.tally[0]
    each = following(buffers, zone, behind)
    while each != NONE:
        extent = buffers.extent[each]
        start, stop, then = extent.start, extent.start + extent.blocks, extent.next
        if start >= end:
            break
        taken = min(stop, end) - max(start, at)
        tally.replaced_blocks += taken
        if start >= at and stop <= end:
            tie(buffers, zone, behind, then)
            serial, counts = extent.serial, extent.counts
            give_back(buffers, each)
            if is_gone(buffers, zone, serial, counts):
                tally.replaced_writes += 1
                tally.buffered_writes -= 1
            each = then
            continue
        tally.buffered -= taken
        buffers.used[extent.group] -= taken
        extent.blocks -= taken
        if start >= at:
            extent.start = end
            break
        extent.blocks = at - start
        if stop > end:
            right = take(buffers)
            part = buffers.extent[right]
            part.start, part.blocks = end, stop - end
            part.time, part.row, part.serial, part.group = extent.time, extent.row, extent.serial, extent.group
            part.counts = 0
            extent.counts = min(extent.counts, 1)
            link(buffers, zone, each, right)
            return int(each)
        behind, each = each, then
    return int(behind)
