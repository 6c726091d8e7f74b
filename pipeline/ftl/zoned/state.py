"""The zones of a namespace: states, write pointers, limits, and the commands that read and write.

After NVM Express Zoned Namespace Command Set 1.1 (ZNS; zone random write areas: TP 4076, in 1.2). Two profiles.
``QEMU`` has the habits of QEMU's emulated drive (hw/nvme), against which recordings of it are checked to the last
status. ``NVME`` is the specification's reading; where it leaves a choice, the one that surprises a host least. They
part in:

- *Limits* (ZNS 2.1.1.4.1, Managing Resources: the controller may close implicitly open zones to win resources; which
  and when is left to it). Both close the zone that was implicitly opened longest ago. QEMU closes it before it looks
  at the limits, so that a command refused for too many active zones, or for want of a random write area, still closes
  a zone. NVME looks first: a refused command changes nothing.
- *Open of all closed zones* (ZNS 3.4.3, Select All). QEMU opens one after the other as they were closed, stops at
  the first that is refused, and comes also to zones that it closes on the way. NVME opens those closed at the
  start, all or none.
- *Open with a random write area.* QEMU looks at the write pointer before the state (one that is not a multiple of the
  granularity, from the namespace's start, gives 0x1b7 even on a full zone); opening a zone that is open takes an area
  whether or not one is left and whether or not the zone has one: the count of 32 bits wraps, and areas leak. NVME
  looks at the state first, counts from the zone's start, gives a zone one area, refuses where none is left.
- *Flush of a random write area.* QEMU takes one block more than the area if the granularity allows, and goes past the
  zone's capacity, after which the zone never gets full. NVME refuses both: zone boundary error.

In both: reads above the write pointer and between capacity and size succeed with the value of deallocated blocks
(errors for them are off: DULBE 0); finishing an empty zone takes no resources; a write to a place that is not
allowed is an invalid write even if it also goes past the capacity. A write takes effect when it is given: of writes
under way no more is known than their order.

A finished zone keeps its write pointer, though a report calls it invalid: QEMU looks at it (see above).
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.zoned.status import Status
from traces.kernel import inline_lean_kernel, lean_kernel
from traces.table import I64, U8

Whole = int | np.integer[Any]


class Profile(IntEnum):
    """Whose reading of the specification."""

    NVME = 0
    QEMU = 1


class State(IntEnum):
    """A zone's state, by the specification's numbers (ZNS 1.1, zone descriptor)."""

    EMPTY = 1
    IMPLICITLY_OPEN = 2
    EXPLICITLY_OPEN = 3
    CLOSED = 4
    READ_ONLY = 0xD
    FULL = 0xE
    OFFLINE = 0xF


class Attribute(IntEnum):
    """Zone attributes, added up (ZNS 1.1, zone descriptor); no IntFlag, which kernels do not know."""

    ZRWA = 8
    EXTENSION = 128


HEAD = np.dtype(
    [
        ("open", "i8"),  # zones
        ("active", "i8"),
        ("left", "i8"),  # random write areas that no zone has
        ("evicted", "i8"),  # zones closed for others to open
        ("implicit_flushes", "i8"),  # of random write areas
    ]
)


class Geometry(NamedTuple):
    """What a namespace is made as; in blocks."""

    zones: int
    size: int  # from a zone's start to the next
    capacity: int  # of them can be written
    max_open: int = 0  # zones, 0: no limit
    max_active: int = 0
    profile: Profile = Profile.NVME
    extension: int = 0  # bytes of a zone descriptor extension, 0: none
    cross_read: bool = False  # whether reads may cross from one zone into the next
    zrwa: int = 0  # of a random write area, 0: none
    granularity: int = 1  # by which it is flushed
    zrwas: int = 0  # areas there are
    largest: int = 0  # a command may carry, 0: any
    largest_append: int = 0


class Zones(NamedTuple):
    """One namespace. What is a number here stays; what changes is an array. The numbers are those of `Geometry`."""

    zones: int
    size: int
    capacity: int
    max_open: int
    max_active: int
    profile: Profile
    extension: int
    cross_read: bool
    zrwa: int
    granularity: int
    zrwas: int
    largest: int
    largest_append: int
    state: U8  # [zone] a State
    wp: I64  # [zone] blocks from its start
    attributes: U8  # [zone] Attributes
    # [zone or zones + State, next or previous]: zones implicitly open, explicitly open, closed, as they came to be so
    links: NDArray[np.int32]
    head: NDArray[Any]  # one HEAD


def new_zones(geometry: Geometry) -> Zones:
    """A namespace whose zones are all empty."""
    count = geometry.zones
    rings = np.arange(count + 5, dtype=np.int32)
    rings[:count] = -1
    head = np.zeros(1, HEAD)
    head["left"] = geometry.zrwas
    return Zones(
        *geometry,
        state=np.full(count, State.EMPTY, np.uint8),
        wp=np.zeros(count, np.int64),
        attributes=np.zeros(count, np.uint8),
        links=np.stack([rings, rings], axis=1),
        head=head,
    )


# lists and counts


@inline_lean_kernel
def first(zones: Zones, state: State) -> int:
    """The zone longest in an active state; `zones.zones` or more if none is."""
    return int(zones.links[zones.zones + state, 0])


@lean_kernel
def enter(zones: Zones, zone: Whole, state: State) -> None:
    """A zone comes to a state: it goes from list to list, and gives back what the state does not keep."""
    links, head = zones.links, zones.head[0]
    old = zones.state[zone]
    if State.IMPLICITLY_OPEN <= old <= State.CLOSED:
        after, before = links[zone, 0], links[zone, 1]
        links[before, 0] = after
        links[after, 1] = before
        head.active -= 1
        head.open -= old != State.CLOSED
    if State.IMPLICITLY_OPEN <= state <= State.CLOSED:
        ring = zones.zones + state
        last = links[ring, 1]
        links[last, 0] = zone
        links[zone, 1] = last
        links[zone, 0] = ring
        links[ring, 1] = zone
        head.active += 1
        head.open += state != State.CLOSED
    else:
        if zones.attributes[zone] & Attribute.ZRWA:
            zones.attributes[zone] ^= np.uint8(Attribute.ZRWA)
            if zones.zrwas:
                head.left = (head.left + 1) & 0xFFFFFFFF
        if state == State.EMPTY or state == State.OFFLINE:
            zones.attributes[zone] = 0
    zones.state[zone] = state


@inline_lean_kernel
def is_open(state: Whole) -> bool:
    """Whether a state is one of the two open ones."""
    return state == State.IMPLICITLY_OPEN or state == State.EXPLICITLY_OPEN


@lean_kernel
def lacking(zones: Zones, active: Whole, opened: Whole, zrwa: Whole) -> Status:
    """What is refused to a command that needs so many more active and open zones and random write areas."""
    head = zones.head[0]
    if zones.max_active and head.active + active > zones.max_active:
        return Status.TOO_MANY_ACTIVE_ZONES
    if zones.max_open and head.open + opened > zones.max_open:
        return Status.TOO_MANY_OPEN_ZONES
    if zrwa > head.left:
        return Status.NO_ZRWA_RESOURCES
    return Status.SUCCESS


@lean_kernel
def open_up(zones: Zones, zone: Whole, state: State, zrwa: Whole) -> Status:
    """Open an empty or closed zone, closing another where open zones are at the limit; see the profiles."""
    head = zones.head[0]
    victim = zones.zones
    if zones.max_open and head.open == zones.max_open:
        victim = first(zones, State.IMPLICITLY_OPEN)
    evicts = victim < zones.zones
    opened = 1
    if evicts:
        if zones.profile == Profile.QEMU:
            enter(zones, victim, State.CLOSED)
            head.evicted += 1
        else:
            opened = 0
    status = lacking(zones, zones.state[zone] == State.EMPTY, opened, zrwa)
    if status == Status.SUCCESS:
        if evicts and zones.profile == Profile.NVME:
            enter(zones, victim, State.CLOSED)
            head.evicted += 1
        enter(zones, zone, state)
    return status


def degrade(zones: Zones, zone: int, state: State) -> None:
    """The drive gives a zone up: it becomes read only or offline (ZNS 1.1, zone state machine)."""
    if state != State.READ_ONLY and state != State.OFFLINE:
        raise ValueError(f"a zone is given up as read only or offline, not as {state!r}")
    enter(zones, zone, state)


# writes


@lean_kernel
def check_write(zones: Zones, zone: Whole, at: Whole, blocks: Whole) -> Status:
    """Whether a zone's state and write pointer let a write at block ``at`` of the zone pass; changes nothing."""
    state, wp = zones.state[zone], zones.wp[zone]
    if state >= State.READ_ONLY:
        if state == State.FULL:
            return Status.ZONE_IS_FULL
        return Status.ZONE_IS_READ_ONLY if state == State.READ_ONLY else Status.ZONE_IS_OFFLINE
    zrwa = zones.attributes[zone] & Attribute.ZRWA != 0
    if at != wp and (not zrwa or at < wp):
        return Status.ZONE_INVALID_WRITE
    if zrwa and at + blocks > wp + 2 * zones.zrwa:
        return Status.ZONE_INVALID_WRITE
    if at + blocks > zones.capacity:
        return Status.ZONE_BOUNDARY_ERROR
    return Status.SUCCESS


@inline_lean_kernel
def claim(zones: Zones, zone: Whole) -> Status:
    """Make sure that a zone which may be written is open."""
    if is_open(zones.state[zone]):
        return Status.SUCCESS
    return open_up(zones, zone, State.IMPLICITLY_OPEN, 0)


@lean_kernel
def advance(zones: Zones, zone: Whole, blocks: Whole) -> None:
    """Move the write pointer; a zone written to its capacity is full."""
    wp = zones.wp[zone] + blocks
    zones.wp[zone] = wp
    if wp == zones.capacity:
        enter(zones, zone, State.FULL)


@inline_lean_kernel
def commit(zones: Zones, zone: Whole, at: Whole, blocks: Whole) -> None:
    """Move the write pointer after a write that was let pass: within a random write area it stays.

    A write that ends beyond the area flushes what it pushes out, in multiples of the granularity.
    """
    if zones.attributes[zone] & Attribute.ZRWA:
        excess = at + blocks - zones.wp[zone] - zones.zrwa
        if excess > 0:
            steps = (excess + zones.granularity - 1) // zones.granularity
            zones.head[0].implicit_flushes += 1
            advance(zones, zone, steps * zones.granularity)
    else:
        advance(zones, zone, blocks)


@inline_lean_kernel
def _put(zones: Zones, zone: Whole, at: Whole, blocks: Whole) -> Status:
    status = check_write(zones, zone, at, blocks)
    if status == Status.SUCCESS:
        status = claim(zones, zone)
        if status == Status.SUCCESS:
            commit(zones, zone, at, blocks)
    return status


@inline_lean_kernel
def out_of_range(zones: Zones, slba: Whole, blocks: Whole) -> bool:
    """Whether blocks lie beyond the namespace."""
    return slba + blocks > zones.zones * zones.size


@lean_kernel
def zeroes(zones: Zones, slba: Whole, blocks: Whole) -> Status:
    """Write zeroes: a write that carries no data, however many blocks it has."""
    if out_of_range(zones, slba, blocks):
        return Status.LBA_OUT_OF_RANGE
    zone = slba // zones.size
    return _put(zones, zone, slba - zone * zones.size, blocks)


@lean_kernel
def write(zones: Zones, slba: Whole, blocks: Whole) -> Status:
    """Write ``blocks`` from block ``slba`` of the namespace on."""
    if zones.largest and blocks > zones.largest:
        return Status.INVALID_FIELD
    return zeroes(zones, slba, blocks)


@lean_kernel
def append(zones: Zones, slba: Whole, blocks: Whole) -> tuple[Status, int]:
    """Write at the write pointer of the zone that starts at ``slba``: status, and the first block written or -1."""
    if zones.largest and blocks > zones.largest:
        return Status.INVALID_FIELD, -1
    if out_of_range(zones, slba, blocks):
        return Status.LBA_OUT_OF_RANGE, -1
    zone = slba // zones.size
    if zones.attributes[zone] & Attribute.ZRWA:
        return Status.INVALID_ZONE_OPERATION, -1
    if slba != zone * zones.size or (zones.largest_append and blocks > zones.largest_append):
        return Status.INVALID_FIELD, -1
    at = zones.wp[zone]
    status = _put(zones, zone, at, blocks)
    return status, slba + at if status == Status.SUCCESS else -1


@lean_kernel
def read(zones: Zones, slba: Whole, blocks: Whole) -> Status:
    """Read ``blocks`` from block ``slba`` of the namespace on."""
    if zones.largest and blocks > zones.largest:
        return Status.INVALID_FIELD
    if out_of_range(zones, slba, blocks):
        return Status.LBA_OUT_OF_RANGE
    zone = slba // zones.size
    if zones.state[zone] == State.OFFLINE:
        return Status.ZONE_IS_OFFLINE
    last = (slba + blocks - 1) // zones.size
    if last > zone and not zones.cross_read:
        return Status.ZONE_BOUNDARY_ERROR
    for each in range(zone + 1, last + 1):
        if zones.state[each] == State.OFFLINE:
            return Status.ZONE_IS_OFFLINE
    return Status.SUCCESS
