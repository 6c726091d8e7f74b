"""Commands that manage the zones of a namespace, the report of them, and any command by its number.

Source: NVM Express Zoned Namespace Command Set 1.1, Zone Management Send and Receive (3.4.2, 3.4.3). Where the two
profiles part: `pipeline.ftl.zoned.state`.
"""

from typing import NamedTuple

import numpy as np

from pipeline.ftl.zoned.state import (
    Attribute,
    Profile,
    State,
    Whole,
    Zones,
    advance,
    append,
    claim,
    enter,
    first,
    is_open,
    lacking,
    open_up,
    out_of_range,
    read,
    write,
    zeroes,
)
from pipeline.ftl.zoned.status import Status
from traces.block import Flag, Op
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import I64, U8

_ALL_ZONES, _ZRWA = int(Flag.ALL_ZONES), int(Flag.ZRWA)
INVALID = -1  # a write pointer that means nothing


@lean_kernel
def open_zone(zones: Zones, zone: Whole, zrwa: bool) -> Status:
    """Open a zone until it is closed, finished or reset; with a random write area if asked for."""
    state, head, qemu = zones.state[zone], zones.head[0], zones.profile == Profile.QEMU
    can = state <= State.CLOSED
    if not can and not qemu:
        return Status.INVALID_ZONE_STATE_TRANSITION
    takes = zrwa and (qemu or not zones.attributes[zone] & Attribute.ZRWA)
    if zrwa and not zones.zrwa:
        return Status.INVALID_ZONE_OPERATION
    if takes:
        start = zone * zones.size if qemu else 0
        if (start + zones.wp[zone]) % zones.granularity:
            return Status.NO_ZRWA_RESOURCES
        if not qemu and not head.left and is_open(state):
            return Status.NO_ZRWA_RESOURCES
    if not can:
        return Status.INVALID_ZONE_STATE_TRANSITION
    if state == State.EMPTY or state == State.CLOSED:
        status = open_up(zones, zone, State.EXPLICITLY_OPEN, np.int64(takes))
        if status != Status.SUCCESS:
            return status
    elif state == State.IMPLICITLY_OPEN:
        enter(zones, zone, State.EXPLICITLY_OPEN)
    if takes:
        head.left = (head.left - 1) & 0xFFFFFFFF
        zones.attributes[zone] |= np.uint8(Attribute.ZRWA)
    return Status.SUCCESS


@lean_kernel
def close_zone(zones: Zones, zone: Whole) -> Status:
    """Close an open zone: it stays active."""
    if is_open(zones.state[zone]):
        enter(zones, zone, State.CLOSED)
    return Status.SUCCESS if zones.state[zone] == State.CLOSED else Status.INVALID_ZONE_STATE_TRANSITION


@lean_kernel
def finish_zone(zones: Zones, zone: Whole) -> Status:
    """Make a zone full."""
    if zones.state[zone] <= State.CLOSED:
        enter(zones, zone, State.FULL)
    return Status.SUCCESS if zones.state[zone] == State.FULL else Status.INVALID_ZONE_STATE_TRANSITION


@lean_kernel
def reset_zone(zones: Zones, zone: Whole) -> Status:
    """Make a zone empty."""
    state = zones.state[zone]
    if state == State.READ_ONLY or state == State.OFFLINE:
        return Status.INVALID_ZONE_STATE_TRANSITION
    if state != State.EMPTY:
        enter(zones, zone, State.EMPTY)
        zones.wp[zone] = 0
    return Status.SUCCESS


@lean_kernel
def offline_zone(zones: Zones, zone: Whole) -> Status:
    """Take a read only zone offline."""
    if zones.state[zone] == State.READ_ONLY:
        enter(zones, zone, State.OFFLINE)
    return Status.SUCCESS if zones.state[zone] == State.OFFLINE else Status.INVALID_ZONE_STATE_TRANSITION


@lean_kernel
def extend_zone(zones: Zones, zone: Whole) -> Status:
    """Set the descriptor extension of an empty zone, which so becomes closed."""
    if not zones.extension:
        return Status.INVALID_FIELD
    if zones.state[zone] != State.EMPTY:
        return Status.INVALID_ZONE_STATE_TRANSITION
    status = lacking(zones, 1, 0, 0)
    if status == Status.SUCCESS:
        enter(zones, zone, State.CLOSED)
        zones.attributes[zone] |= np.uint8(Attribute.EXTENSION)
    return status


@lean_kernel
def flush_zone(zones: Zones, zone: Whole, last: Whole) -> Status:
    """Flush a zone's random write area up to block ``last`` of the zone, which then lies below the write pointer."""
    qemu = zones.profile == Profile.QEMU
    wp = zones.wp[zone]
    blocks = last - wp + 1
    if not zones.zrwa:
        return Status.INVALID_ZONE_OPERATION
    if not zones.attributes[zone] & Attribute.ZRWA:
        return Status.INVALID_FIELD
    most = zones.zrwa + 1 if qemu else min(zones.zrwa, zones.capacity - wp)
    if blocks < 1 or blocks > most:
        return Status.ZONE_BOUNDARY_ERROR
    if blocks % zones.granularity:
        return Status.INVALID_FIELD
    status = claim(zones, zone)
    if status == Status.SUCCESS:
        advance(zones, zone, blocks)
    return status


@lean_kernel
def _open_all(zones: Zones, zrwa: bool) -> Status:
    links, head = zones.links, zones.head[0]
    zone = first(zones, State.CLOSED)
    last = links[zones.zones + State.CLOSED, 1]  # of those closed now
    if zones.profile == Profile.NVME:
        closed = wanted = 0
        aligned = True
        while zone < zones.zones:
            closed += 1
            if zrwa and not zones.attributes[zone] & Attribute.ZRWA:
                wanted += 1
                aligned = aligned and zones.wp[zone] % zones.granularity == 0
            zone = links[zone, 0]
        explicit = 0
        zone = first(zones, State.EXPLICITLY_OPEN)
        while zone < zones.zones:
            explicit += 1
            zone = links[zone, 0]
        if zrwa and closed and not zones.zrwa:
            return Status.INVALID_ZONE_OPERATION
        if wanted > head.left or not aligned:
            return Status.NO_ZRWA_RESOURCES
        if zones.max_open and explicit + closed > zones.max_open:
            return Status.TOO_MANY_OPEN_ZONES
        zone = first(zones, State.CLOSED)
    while zone < zones.zones:
        after = links[zone, 0] if zones.profile == Profile.QEMU or zone != last else zones.zones
        status = open_zone(zones, zone, zrwa)
        if status != Status.SUCCESS:
            return status
        zone = after
    return Status.SUCCESS


@lean_kernel
def _all_of(zones: Zones, op: Whole, state: State) -> None:
    """Close or finish all zones in an active state, in the order in which they came to it."""
    zone = first(zones, state)
    while zone < zones.zones:
        if op == Op.ZONE_CLOSE:
            close_zone(zones, zone)
        else:
            finish_zone(zones, zone)
        zone = first(zones, state)


@lean_kernel
def _manage_all(zones: Zones, op: Whole, zrwa: bool) -> Status:
    if op == Op.ZONE_OPEN:
        return _open_all(zones, zrwa)
    if op == Op.ZONE_CLOSE or op == Op.ZONE_FINISH:
        if op == Op.ZONE_FINISH:
            _all_of(zones, op, State.CLOSED)
        _all_of(zones, op, State.IMPLICITLY_OPEN)
        _all_of(zones, op, State.EXPLICITLY_OPEN)
    elif op == Op.ZONE_RESET:
        for zone in range(zones.zones):
            reset_zone(zones, zone)
    elif op == Op.ZONE_OFFLINE:
        for zone in range(zones.zones):
            offline_zone(zones, zone)
    else:
        return Status.INVALID_FIELD
    return Status.SUCCESS


@lean_kernel
def manage(zones: Zones, op: Whole, slba: Whole, all_zones: bool, zrwa: bool) -> Status:
    """Open, close, finish, reset, take offline, extend or flush the zone that starts at ``slba``, or all that can be.

    For a flush ``slba`` is the last block to flush. An ``op`` that does none of these is an invalid field.
    """
    if all_zones:
        return _manage_all(zones, op, zrwa)
    if out_of_range(zones, slba, 1):
        return Status.LBA_OUT_OF_RANGE
    zone = slba // zones.size
    at = slba - zone * zones.size
    if op == Op.ZONE_FLUSH_ZRWA:
        return flush_zone(zones, zone, at)
    if at:
        return Status.INVALID_FIELD
    if op == Op.ZONE_OPEN:
        return open_zone(zones, zone, zrwa)
    if op == Op.ZONE_CLOSE:
        return close_zone(zones, zone)
    if op == Op.ZONE_FINISH:
        return finish_zone(zones, zone)
    if op == Op.ZONE_RESET:
        return reset_zone(zones, zone)
    if op == Op.ZONE_OFFLINE:
        return offline_zone(zones, zone)
    if op == Op.ZONE_SET_EXTENSION:
        return extend_zone(zones, zone)
    return Status.INVALID_FIELD


@inline_lean_kernel
def command(zones: Zones, op: Whole, slba: Whole, blocks: Whole, flags: Whole) -> tuple[Status, int]:
    """Any command of a trace (`traces.block.Op`, `Flag`): status, and the block an append wrote first or -1.

    Flushes and deallocations succeed and change no zone (ZNS 1.1, 3.3.3).
    """
    status, lba = Status.SUCCESS, -1
    if op == Op.WRITE:
        status = write(zones, slba, blocks)
    elif op == Op.ZONE_APPEND:
        status, lba = append(zones, slba, blocks)
    elif op == Op.READ:
        status = read(zones, slba, blocks)
    elif op == Op.WRITE_ZEROES:
        status = zeroes(zones, slba, blocks)
    elif op == Op.ZONE_REPORT:
        if out_of_range(zones, slba, 1):
            status = Status.LBA_OUT_OF_RANGE
    elif Op.ZONE_OPEN <= op <= Op.ZONE_MANAGE:
        status = manage(zones, op, slba, flags & _ALL_ZONES != 0, flags & _ZRWA != 0)
    return status, lba


class Descriptors(NamedTuple):
    """What a report says of zones; one element each, addresses in blocks from the namespace's start."""

    start: I64
    state: U8  # a State
    pointer: I64  # next block to write; INVALID of a zone that is full, read only or offline
    attributes: U8  # Attributes


def report(zones: Zones, slba: int = 0, states: tuple[State, ...] = tuple(State)) -> tuple[Status, Descriptors]:
    """The zones from the one with block ``slba`` on that are in one of the states (Zone Management Receive)."""
    if out_of_range(zones, slba, 1):
        none = np.empty(0, np.int64)
        return Status.LBA_OUT_OF_RANGE, Descriptors(none, none.astype(np.uint8), none, none.astype(np.uint8))
    rows = np.flatnonzero(np.isin(zones.state, states))
    rows = rows[rows >= slba // zones.size]
    start, state = rows * zones.size, zones.state[rows]
    pointer = np.where(state >= State.READ_ONLY, INVALID, start + zones.wp[rows])
    return Status.SUCCESS, Descriptors(start, state, pointer, zones.attributes[rows])
