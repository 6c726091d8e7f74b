"""Buffers of a zoned drive for writes that come too early, so that each zone is programmed in order.

What becomes of a write to ``[at, at + n)`` of a zone whose write pointer is at ``wp``; the first that holds:

    the zone is full, read only or offline      refused, with the status of that
    at < wp                                     refused: invalid write; nothing is programmed twice
    at > wp, and at + n > wp + window           refused: invalid write
    at + n > capacity                           refused: boundary error
    it reaches into buffered writes             refused: invalid write, as the next two (overlap = refuse)
    at > wp, and its group's quota exceeded     refused
    at > wp, and no extent of the pool left     refused
    too many open or active zones               refused, with the status of that
    at > wp                                     admitted to the buffers
    at = wp                                     programmed; then all that is buffered and now contiguous is drained

With a window of 0 that is what the zones' state machine answers. A refused write changes nothing but what the state
machine changes where it has no open zone left (an implicit close); each cause is counted apart. A zone is opened,
implicitly, when a write is admitted: it then waits for its data. Zones with a random write area are not for these
buffers.

``overlap = replace``: newer data takes the place of the buffered data that it covers; the rest stays. Quota is given
back for what was replaced, before it is asked for the newer write. A write at ``wp`` replaces too.

Whose quota a write counts against: its zone's, that of its stream (``stream % stream_groups``), the namespace's, or
that of the erase unit of its zone in which it begins. It stays that group's if its beginning is replaced. Where the
pool has as many extents as `most_extents` says it never refuses, so no group refuses another's writes.

Gap timer. There is a gap while something is buffered and nothing at the write pointer. It begins with the first early
write, or when a drain stops before what is buffered further up; it ends when a write at the write pointer reaches the
first buffered block. A write that only makes it smaller does not wind the timer. What is due at the time of a command
comes before it (`fire`), at its own time and in that order, of equal ones the older gap first. Once for each gap:

    error     all that is buffered of the zone is dropped: late errors, or losses of what was acknowledged
    pad       the gap is programmed with padding, then what became contiguous is drained; the next gap has its own
              timer. If the zone was closed meanwhile it is opened again; if it can not be opened: as error
    notify    it is counted; the writes stay

Acknowledgement. ``buffer``: at arrival; the host waits for nothing, and what is dropped later is lost to it.
``program``: a write waits until it is drained, and what is dropped is refused late, with an invalid write; nothing that
was acknowledged is ever lost.

Zone management (`managed`, after the command). A reset discards what is buffered: the host wanted the zone's data gone,
so nothing is lost. A finish makes the zone full, whose write pointer never comes to what is buffered, and a zone that
turns offline or read only takes no more writes: this is dropped like what the timer finds. Close leaves buffers and
timer: the next write at the write pointer opens the zone again.

Loss of power (`lose_power`). With power-loss protection what was acknowledged stays in the buffers and is readable;
without it is lost. What was not acknowledged is gone in both cases, and told apart.

Reads (`read`) are answered from the buffers where they hold a block.

Figures stand in a record (`TALLY`) and two histograms of 64 bins, of which bin 0 counts zeros and bin b the numbers of
b bits: how long drained writes were held, which is what the host waits if writes are acknowledged on program; and how
far above the write pointer writes begin, those that are refused included. All are of the run so far; what a window of
time saw is a difference, with `settle` at its end. ``in_order + drained`` commands made ``pages`` pages.

Statuses are those of the NVM Express Zoned Namespace Command Set 1.1, which knows no buffers: there, all that is not at
the write pointer is an invalid write. Linux keeps the order in the host: zone write plugging, one write of a zone under
way (block/blk-zoned.c, commit dd291d77cc90).
"""

from pipeline.ftl.nand.config import Acknowledge
from pipeline.ftl.victim import NONE, Whole
from pipeline.ftl.zoned._reorder_lists import (
    before,
    begin_gap,
    bin_of,
    carve,
    following,
    link,
    reached,
    settle,
    take,
)
from pipeline.ftl.zoned._reorder_program import drain, drop, expire, fail, note, program
from pipeline.ftl.zoned._reorder_state import (
    BINS,
    MEDIA,
    TALLY,
    Buffers,
    BuffersOfAll,
    GapAction,
    Group,
    Loss,
    Overlap,
    Room,
    Rules,
    Write,
    buffers_of,
    groups_of,
    most_extents,
    new_buffers,
)
from pipeline.ftl.zoned.state import State, Zones, check_write, claim
from pipeline.ftl.zoned.status import Status
from traces.kernel import inline_lean_kernel, lean_kernel

__all__ = [
    "BINS",
    "MEDIA",
    "TALLY",
    "Acknowledge",
    "Buffers",
    "BuffersOfAll",
    "GapAction",
    "Group",
    "Loss",
    "Overlap",
    "Room",
    "Rules",
    "Write",
    "buffers_of",
    "fire",
    "groups_of",
    "lose_power",
    "managed",
    "managed_all",
    "most_extents",
    "new_buffers",
    "put",
    "read",
    "settle",
]


@inline_lean_kernel
def fire(zones: Zones, buffers: Buffers, now: Whole) -> None:
    """Do what is due up to a time: to be called before every command, with its time."""
    head = buffers.head[0]
    while head.first != NONE and buffers.zone[head.first].deadline <= now:
        expire(zones, buffers, head.first)


@inline_lean_kernel
def group_of(buffers: Buffers, capacity: Whole, write: Write) -> int:
    """Whose quota a write counts against."""
    rules = buffers.rules
    if rules.group == Group.ZONE:
        return write.zone
    if rules.group == Group.STREAM:
        return write.stream % rules.stream_groups
    if rules.group == Group.ERASE_UNIT:
        return write.zone * ((capacity + rules.unit - 1) // rules.unit) + write.at // rules.unit
    return 0


@lean_kernel
def put_at_pointer(zones: Zones, buffers: Buffers, write: Write) -> int:
    """A write at the write pointer of a zone with something buffered."""
    tally = buffers.tally[0]
    zone, end = write.zone, write.at + write.blocks
    gap = buffers.extent[buffers.zone[zone].first].start
    if end > gap and buffers.rules.overlap == Overlap.REFUSE:
        tally.refused_overlap += 1
        return Status.ZONE_INVALID_WRITE
    status = claim(zones, zone)
    if status != Status.SUCCESS:
        tally.refused_resources += 1
        return status
    settle(buffers, write.time)
    tally.in_order += 1
    if end > gap:
        carve(buffers, zone, NONE, write.at, end)
    note(buffers, zone, write.at, write.blocks, write.row)
    tally.programmed += write.blocks
    program(zones, buffers, zone, write.blocks)
    if end >= gap:
        drain(zones, buffers, zone, write.time)
    return Status.SUCCESS


@lean_kernel
def put_early(zones: Zones, buffers: Buffers, write: Write) -> int:
    """A write above the write pointer."""
    tally, rules = buffers.tally[0], buffers.rules
    zone, at, end = write.zone, write.at, write.at + write.blocks
    if end > zones.wp[zone] + rules.window:
        tally.refused_window += 1
        return Status.ZONE_INVALID_WRITE
    if end > zones.capacity:
        tally.refused_boundary += 1
        return Status.ZONE_BOUNDARY_ERROR
    behind = before(buffers, zone, at)
    ahead = following(buffers, zone, behind)
    group = group_of(buffers, zones.capacity, write)
    taken = own = freed = 0
    if ahead != NONE and buffers.extent[ahead].start < end:
        if rules.overlap == Overlap.REFUSE:
            tally.refused_overlap += 1
            return Status.ZONE_INVALID_WRITE
        taken, own, freed = reached(buffers, zone, behind, write, group)
    if buffers.used[group] - own + write.blocks > rules.quota:
        tally.refused_quota += 1
        return Status.ZONE_INVALID_WRITE
    if buffers.head[0].vacant + freed < 1:
        tally.refused_pool += 1
        return Status.ZONE_INVALID_WRITE
    status = claim(zones, zone)
    if status != Status.SUCCESS:
        tally.refused_resources += 1
        return status
    settle(buffers, write.time)
    if taken:
        behind = carve(buffers, zone, behind, at, end)
    elif buffers.zone[zone].first == NONE:
        begin_gap(buffers, zone, write.time)
    each = take(buffers)
    extent = buffers.extent[each]
    extent.start, extent.blocks, extent.time, extent.row = at, write.blocks, write.time, write.row
    extent.serial, extent.group, extent.counts = tally.writes, group, 2
    link(buffers, zone, behind, each)
    buffers.used[group] += write.blocks
    tally.early += 1
    tally.buffered_writes += 1
    tally.buffered += write.blocks
    tally.peak = max(tally.peak, tally.buffered)
    return Status.SUCCESS


@lean_kernel
def put(zones: Zones, buffers: Buffers, write: Write) -> int:
    """Write; the status. `fire` must have been called with the write's time."""
    tally = buffers.tally[0]
    zone, above = write.zone, write.at - zones.wp[write.zone]
    tally.writes += 1
    status: int = check_write(zones, zone, write.at, write.blocks)
    if zones.state[zone] >= State.READ_ONLY:
        tally.refused_state += 1
        return status
    if above < 0:
        tally.refused_below += 1
        return status
    buffers.distances[bin_of(above)] += 1
    if above > 0:
        return put_early(zones, buffers, write)
    if status != Status.SUCCESS:
        tally.refused_boundary += 1
        return status
    if buffers.zone[zone].first != NONE:
        return put_at_pointer(zones, buffers, write)
    status = claim(zones, zone)
    if status != Status.SUCCESS:
        tally.refused_resources += 1
        return status
    tally.in_order += 1
    note(buffers, zone, write.at, write.blocks, write.row)
    tally.programmed += write.blocks
    program(zones, buffers, zone, write.blocks)
    return Status.SUCCESS


@lean_kernel
def read(buffers: Buffers, zone: Whole, at: Whole, blocks: Whole) -> int:
    """How many blocks of a read the buffers answer; the others are on the medium if below the write pointer."""
    found, end = 0, at + blocks
    each = buffers.zone[zone].first
    while each != NONE:
        extent = buffers.extent[each]
        if extent.start >= end:
            break
        found += max(min(extent.start + extent.blocks, end) - max(extent.start, at), 0)
        each = extent.next
    buffers.tally[0].read_blocks += found
    return found


@lean_kernel
def managed(zones: Zones, buffers: Buffers, zone: Whole, now: Whole) -> None:
    """A command, or the drive, changed a zone's state: to be called after it."""
    state = zones.state[zone]
    if buffers.zone[zone].first == NONE:
        return
    settle(buffers, now)
    if state == State.EMPTY:
        writes, blocks = drop(buffers, zone)
        buffers.tally[0].discarded_writes += writes
        buffers.tally[0].discarded_blocks += blocks
    elif state >= State.READ_ONLY:
        fail(buffers, zone)


@lean_kernel
def managed_all(zones: Zones, buffers: Buffers, now: Whole) -> None:
    """A command changed the state of many zones."""
    if buffers.tally[0].buffered:
        for zone in range(buffers.zone.size):
            managed(zones, buffers, zone, now)


@lean_kernel
def lose_power(buffers: Buffers, protected: bool, now: Whole) -> Loss:
    """Keep of the buffers what was acknowledged, if power-loss protection is there, and nothing else."""
    tally, acknowledged = buffers.tally[0], buffers.rules.acknowledge == Acknowledge.BUFFER
    settle(buffers, now)
    writes, blocks = tally.buffered_writes, tally.buffered
    if acknowledged and protected:
        return Loss(writes, blocks, 0, 0, 0, 0)
    for zone in range(buffers.zone.size):
        drop(buffers, zone)
    if acknowledged:
        tally.lost_writes += writes
        tally.lost_blocks += blocks
        return Loss(0, 0, writes, blocks, 0, 0)
    tally.absent_writes += writes
    tally.absent_blocks += blocks
    return Loss(0, 0, 0, 0, writes, blocks)
