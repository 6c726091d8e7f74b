"""What the reorder buffers of a zoned drive are made of: see `pipeline.ftl.zoned.reorder`.

What a namespace's buffers keep, in bytes: 24 a zone, 8 a group, 56 an extent (those that were never used take no
memory), 1,024 for two histograms, and a tally.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from pipeline.ftl.fleet import zeros
from pipeline.ftl.nand.config import Acknowledge
from pipeline.ftl.victim import NONE
from traces.kernel import inline_lean_kernel
from traces.table import I64

BINS = 64  # of a histogram: bin 0 counts zeros, bin b counts 2 ** (b - 1) <= x < 2 ** b
NEVER = -1  # no deadline
ADDRESSES = (1 << 31) - 1  # extents that a link can name


class Group(IntEnum):
    """Whose quota a buffered write counts against."""

    ZONE = 0
    STREAM = 1
    NAMESPACE = 2
    ERASE_UNIT = 3


class GapAction(IntEnum):
    """What is done with a gap that the timer finds."""

    ERROR = 0
    PAD = 1
    NOTIFY = 2


class Overlap(IntEnum):
    """What is done with a write that reaches into buffered ones."""

    REFUSE = 0
    REPLACE = 1


class Rules(NamedTuple):
    """How a drive buffers. All blocks are logical blocks."""

    window: int  # blocks above the write pointer
    quota: int  # blocks of a group
    group: Group = Group.ZONE
    stream_groups: int = 1
    unit: int = 1  # blocks of an erase unit
    gap_timer: int = 0  # ns; 0: there is none
    gap_action: GapAction = GapAction.ERROR
    acknowledge: Acknowledge = Acknowledge.BUFFER
    overlap: Overlap = Overlap.REFUSE
    page: int = 1  # blocks of a flash page


class Write(NamedTuple):
    """A write to a zone."""

    zone: int
    at: int  # first block, relative to the zone's start
    blocks: int  # 1 or more
    stream: int
    time: int  # ns, never less than that of anything before
    row: int  # of the trace; 0 or more


class Loss(NamedTuple):
    """What a loss of power left of the buffers."""

    kept_writes: int
    kept_blocks: int
    lost_writes: int  # acknowledged
    lost_blocks: int
    absent_writes: int  # not acknowledged
    absent_blocks: int


TALLY = np.dtype(
    [
        (name, "i8")
        for name in (
            "writes",  # offered
            "in_order",  # of them, programmed at arrival
            "early",  # admitted to the buffers
            "refused_state",  # the zone is full, read only or offline
            "refused_boundary",  # past the zone's capacity
            "refused_below",  # below the write pointer
            "refused_window",
            "refused_overlap",
            "refused_quota",
            "refused_pool",  # no extent is left
            "refused_resources",  # too many open or active zones
            "drained",  # writes programmed from the buffers
            "held",  # ns from their arrival to that, added up
            "late_writes",  # refused after they had waited: not acknowledged
            "late_blocks",
            "lost_writes",  # acknowledged and then lost
            "lost_blocks",
            "absent_writes",  # neither acknowledged nor kept when power was lost
            "absent_blocks",
            "discarded_writes",  # in the buffers of a zone that was reset
            "discarded_blocks",
            "replaced_writes",  # of which nothing was left when newer writes took their place
            "replaced_blocks",
            "timeouts",
            "notified",
            "pads",  # gaps padded
            "padded",  # blocks of padding
            "programmed",  # blocks of writes
            "pages",  # flash pages that are full, with data or padding
            "read_blocks",  # blocks that the buffers answered
            "buffered",  # blocks, now
            "buffered_writes",  # now
            "peak",  # most blocks buffered; whoever tells windows sets it to `buffered` when one begins
            "occupancy",  # blocks buffered, over time: block ns, up to `changed`
            "changed",  # ns
        )
    ]
)
HEAD = np.dtype(
    [
        (name, "i8")
        for name in (
            "first",  # zone of the next deadline
            "last",
            "free",  # extent
            "fresh",  # extents from here on were never used
            "vacant",  # extents
            "media",  # pieces programmed; those past the end of the media log are counted only
        )
    ]
)
ZONE = np.dtype(
    [
        ("deadline", "i8"),  # ns, NEVER if it is in no queue
        ("first", "i4"),  # extent
        ("last", "i4"),
        ("before", "i4"),  # zone with the deadline before
        ("after", "i4"),
    ]
)
# A write in the buffers, or a piece of one that newer data cut. `counts` is 2 for a write in one piece; of a cut one's
# pieces 1 for that which is counted as the write, 0 for the others. `serial` numbers the namespace's writes.
EXTENT = np.dtype(
    [
        ("start", "i8"),
        ("time", "i8"),
        ("row", "i8"),
        ("serial", "i8"),
        ("blocks", "i4"),
        ("next", "i4"),
        ("previous", "i4"),
        ("group", "i4"),
        ("counts", "i8"),
    ]
)
MEDIA = np.dtype([("zone", "i8"), ("at", "i8"), ("blocks", "i8"), ("row", "i8")])  # programmed; padding is row -1


class Buffers(NamedTuple):
    """The buffers of one namespace, or of all of a fleet (`buffers_of`)."""

    rules: Rules
    zone: Any  # [zone] ZONE
    used: I64  # [group] blocks
    extent: Any  # EXTENT: the pool
    head: Any  # one HEAD; of a fleet one a namespace
    tally: Any  # one TALLY; of a fleet one a namespace
    distances: I64  # [BINS] of a write's first block from the write pointer
    held: I64  # [BINS] ns of drained writes in the buffers
    media: Any  # MEDIA in the order of programming; empty if nobody asks


class Room(NamedTuple):
    """What a namespace needs of a fleet's arrays."""

    zones: int
    capacity: int  # blocks of a zone that can be written
    extents: int = 0  # 0: as many as quota and window can ever admit (`most_extents`)


class BuffersOfAll(NamedTuple):
    """The buffers of a fleet's namespaces in arrays that they share."""

    start: I64  # [namespace, and one past the last; zone, group, extent, media]
    all: Buffers


def groups_of(rules: Rules, zones: int, capacity: int) -> int:
    """How many groups have a quota of their own."""
    if rules.group == Group.ZONE:
        return zones
    if rules.group == Group.STREAM:
        return rules.stream_groups
    return zones * -(-capacity // rules.unit) if rules.group == Group.ERASE_UNIT else 1


def most_extents(rules: Rules, zones: int, capacity: int) -> int:
    """Extents that suffice always: one for each block that can be buffered, as far as links can tell them apart."""
    return min(groups_of(rules, zones, capacity) * rules.quota, zones * min(rules.window, capacity), ADDRESSES)


def new_buffers(rules: Rules, rooms: Sequence[Room], media: int = 0) -> BuffersOfAll:
    """Empty buffers of so many namespaces; ``media`` pieces of each are noted as they are programmed."""
    sizes = [
        (
            zones,
            groups_of(rules, zones, capacity),
            extents or most_extents(rules, zones, capacity),
            media,
        )
        for zones, capacity, extents in rooms
    ]
    start = np.zeros((len(sizes) + 1, 4), np.int64)
    np.cumsum(sizes, axis=0, out=start[1:])
    zone = np.zeros(start[-1, 0], ZONE).view(np.recarray)
    zone.deadline = NEVER
    zone.first = zone.last = zone.before = zone.after = NONE
    head: Any = np.zeros(len(sizes), HEAD).view(np.recarray)
    head.first = head.last = head.free = NONE
    head.vacant = [size[2] for size in sizes]
    return BuffersOfAll(
        start,
        Buffers(
            rules,
            zone,
            np.zeros(start[-1, 1], np.int64),
            zeros(int(start[-1, 2]), EXTENT).view(np.recarray),
            head,
            np.zeros(len(sizes), TALLY).view(np.recarray),
            np.zeros(len(sizes) * BINS, np.int64),
            np.zeros(len(sizes) * BINS, np.int64),
            np.zeros(start[-1, 3], MEDIA).view(np.recarray),
        ),
    )


@inline_lean_kernel
def buffers_of(fleet: BuffersOfAll, volume: int) -> Buffers:
    """The buffers of a namespace: views. (Outside of kernels it is ``buffers_of.py_func``.)"""
    at, end, every = fleet.start[volume], fleet.start[volume + 1], fleet.all
    return Buffers(
        every.rules,
        every.zone[at[0] : end[0]],
        every.used[at[1] : end[1]],
        every.extent[at[2] : end[2]],
        every.head[volume : volume + 1],
        every.tally[volume : volume + 1],
        every.distances[volume * BINS : (volume + 1) * BINS],
        every.held[volume * BINS : (volume + 1) * BINS],
        every.media[at[3] : end[3]],
    )
