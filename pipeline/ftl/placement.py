"""Which data lies together: the class of a page, and so the frontier that it is programmed at.

Pages that will be overwritten at about the same time should share blocks: then whole blocks die and little is copied.
Who tells them apart is a `Placement`: nobody, the host (the streams of NVMe's directives, NVM Express Base
Specification 2.0, 8.7, or what a generator knows of its data), or the drive by what it has seen.

- recency: how long ago a page was written before, in host page writes. Class 0 has been written within as many writes
  as the drive exports pages, the next classes within 4, 16, 64... times as many, and the last holds all else. A page
  that is copied is judged by how long it has stood.
- frequency: how often a page was written, halved whenever the host has written as many pages as the drive exports.
  Three times or more are a class above the last, six or more the next, and so on.

Both are ours, as simple as such rules can be: one number of four bytes a page. Published ones (Chang, Kuo, Lo: ACM TECS
4(4), 2005, with two LRU lists; Hsieh, Kuo, Chang: ACM TOS 2(1), 2006, with hashed counters) save memory, not copies.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel

if TYPE_CHECKING:
    from pipeline.ftl.drive import Drive

MOST_CLASSES = 16
UNITS = 256  # of the clock that recency remembers, in one writing of all exported pages
APART = 2  # bits: a class spans four times the age of the one before
OFTEN = 3  # times within about one writing of all exported pages
MOST_OFTEN = 255
MOST_COUNTED = 8  # classes of frequency: OFTEN * 2 ** 7 is more than MOST_OFTEN


class Placement(IntEnum):
    """How data is told apart."""

    NONE = 0
    STREAM = 1
    RECENCY = 2
    FREQUENCY = 3
    BOUND = 4  # by number: what lies behind the exported pages is the drive's own


HOST_PLACEMENTS = (Placement.NONE, Placement.STREAM, Placement.RECENCY, Placement.FREQUENCY)


@inline_lean_kernel
def unit_of(drive: "Drive") -> Any:
    """Of the clock that recency remembers, in host page writes."""
    return max(drive.logical // UNITS, 1)


@inline_lean_kernel
def class_of_age(drive: "Drive", age: Whole) -> int:
    """``age`` in units."""
    klass, limit = 0, UNITS
    while age > limit and klass < drive.classes - 1:
        klass += 1
        limit <<= APART
    return klass


@inline_lean_kernel
def class_of_count(drive: "Drive", count: Whole) -> int:
    """The more often, the lower."""
    klass, limit = drive.classes - 1, OFTEN
    while count >= limit and klass > 0:
        klass -= 1
        limit *= 2
    return klass


@inline_lean_kernel
def count_now(drive: "Drive", page: Whole) -> tuple[Any, Any]:
    """How often a page was written, halved once an epoch; the present epoch."""
    epoch = drive.blocks.head[0].clock // drive.logical
    have = np.int64(drive.heat[page])
    return (have & MOST_OFTEN) >> min(epoch - (have >> 8), 8), epoch


@lean_kernel
def class_of(drive: "Drive", page: Whole, stream: Whole) -> int:
    """The class of a page that the host writes, which is remembered."""
    if drive.placement == Placement.STREAM:
        return int(np.int64(stream) % drive.classes)
    if drive.placement == Placement.RECENCY:
        now = drive.blocks.head[0].clock // unit_of(drive) + 1  # 0: never written
        before = np.int64(drive.heat[page])
        drive.heat[page] = now
        return class_of_age(drive, now - before) if before else drive.classes - 1
    if drive.placement == Placement.FREQUENCY:
        count, epoch = count_now(drive, page)
        count = min(count + 1, MOST_OFTEN)
        drive.heat[page] = epoch << 8 | count
        return class_of_count(drive, count)
    return int(page >= drive.bound)


@lean_kernel
def class_of_copy(drive: "Drive", page: Whole, block: Whole) -> int:
    """The class of a page that is copied out of a block."""
    if drive.placement == Placement.STREAM:
        return int(drive.kind[block])
    if drive.placement == Placement.RECENCY:
        now = drive.blocks.head[0].clock // unit_of(drive) + 1
        before = np.int64(drive.heat[page])
        return class_of_age(drive, now - before) if before else drive.classes - 1
    if drive.placement == Placement.FREQUENCY:
        return class_of_count(drive, count_now(drive, page)[0])
    return int(page >= drive.bound)
