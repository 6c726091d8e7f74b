"""What happens at a zone's write pointer: programming, draining, dropping; see `pipeline.ftl.zoned.reorder`."""

from pipeline.ftl.nand.config import Acknowledge
from pipeline.ftl.victim import NONE, Whole
from pipeline.ftl.zoned._reorder_lists import begin_gap, bin_of, end_gap, give_back, settle, tie
from pipeline.ftl.zoned._reorder_state import Buffers, GapAction
from pipeline.ftl.zoned.state import Zones, advance, claim
from pipeline.ftl.zoned.status import Status
from traces.kernel import inline_lean_kernel, lean_kernel

PADDING = -1  # row


@inline_lean_kernel
def note(buffers: Buffers, zone: Whole, at: Whole, blocks: Whole, row: Whole) -> None:
    """Tell what is programmed, where somebody asks."""
    if buffers.media.size:
        head = buffers.head[0]
        if head.media < buffers.media.size:
            piece = buffers.media[head.media]
            piece.zone, piece.at, piece.blocks, piece.row = zone, at, blocks, row
        head.media += 1


@inline_lean_kernel
def program(zones: Zones, buffers: Buffers, zone: Whole, blocks: Whole) -> None:
    """Move a zone's write pointer, and count the pages that this fills; the last one of a zone may be a short one."""
    page, wp = buffers.rules.page, zones.wp[zone]
    end = wp + blocks
    full = end // page - wp // page
    if end == zones.capacity and end % page:
        full += 1
    buffers.tally[0].pages += full
    advance(zones, zone, blocks)


@lean_kernel
def drain(zones: Zones, buffers: Buffers, zone: Whole, now: Whole) -> None:
    """Program what is contiguous to the write pointer; what is left stands above another gap."""
    tally, place = buffers.tally[0], buffers.zone[zone]
    end_gap(buffers, zone)
    wp = end = zones.wp[zone]
    while place.first != NONE:
        each = place.first
        extent = buffers.extent[each]
        if extent.start != end:
            break
        note(buffers, zone, end, extent.blocks, extent.row)
        end += extent.blocks
        if extent.counts:
            held = now - extent.time
            tally.drained += 1
            tally.buffered_writes -= 1
            tally.held += held
            buffers.held[bin_of(held)] += 1
        place.first = extent.next
        give_back(buffers, each)
    tie(buffers, zone, NONE, place.first)
    if place.first != NONE:
        begin_gap(buffers, zone, now)
    if end > wp:
        tally.programmed += end - wp
        program(zones, buffers, zone, end - wp)


@lean_kernel
def drop(buffers: Buffers, zone: Whole) -> tuple[int, int]:
    """Forget what is buffered of a zone; writes and blocks."""
    tally, place = buffers.tally[0], buffers.zone[zone]
    end_gap(buffers, zone)
    writes, blocks = tally.buffered_writes, tally.buffered
    while place.first != NONE:
        each = place.first
        place.first = buffers.extent[each].next
        if buffers.extent[each].counts:
            tally.buffered_writes -= 1
        give_back(buffers, each)
    place.last = NONE
    return writes - tally.buffered_writes, blocks - tally.buffered


@lean_kernel
def fail(buffers: Buffers, zone: Whole) -> None:
    """Drop what is buffered of a zone, as an error."""
    tally = buffers.tally[0]
    writes, blocks = drop(buffers, zone)
    if buffers.rules.acknowledge == Acknowledge.BUFFER:
        tally.lost_writes += writes
        tally.lost_blocks += blocks
    else:
        tally.late_writes += writes
        tally.late_blocks += blocks


@lean_kernel
def expire(zones: Zones, buffers: Buffers, zone: Whole) -> None:
    """Do at its own time what the timer does with a zone's gap."""
    tally, place = buffers.tally[0], buffers.zone[zone]
    now = place.deadline
    settle(buffers, now)
    end_gap(buffers, zone)
    tally.timeouts += 1
    if buffers.rules.gap_action == GapAction.NOTIFY:
        tally.notified += 1
    elif buffers.rules.gap_action == GapAction.PAD and claim(zones, zone) == Status.SUCCESS:
        wp = zones.wp[zone]
        gap = buffers.extent[place.first].start - wp
        note(buffers, zone, wp, gap, PADDING)
        program(zones, buffers, zone, gap)
        tally.pads += 1
        tally.padded += gap
        drain(zones, buffers, zone, now)
    else:
        fail(buffers, zone)
