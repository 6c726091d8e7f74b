"""Zones with reorder buffers, and steps done with them, for the tests of `pipeline.ftl.zoned.reorder`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.zoned.manage import manage
from pipeline.ftl.zoned.reorder import (
    Buffers,
    Room,
    Rules,
    Write,
    buffers_of,
    fire,
    lose_power,
    managed,
    managed_all,
    new_buffers,
    put,
    read,
)
from pipeline.ftl.zoned.state import Geometry, Profile, Zones, new_zones
from traces.kernel import lean_kernel

PUT, READ, POWER, WAIT, ALL = 100, 101, 102, 103, 104  # beside the operations of zone management
Steps = list[tuple[int, int, int, int, int, int]]  # what, zone, at, blocks, stream, time


def zones_of(
    count: int, capacity: int, max_open: int = 0, max_active: int = 0, profile: Profile = Profile.NVME
) -> Zones:
    return new_zones(Geometry(count, capacity + 3, capacity, max_open, max_active, profile))


def buffers_for(rules: Rules, zones: Zones, extents: int = 0, media: int = 0) -> Buffers:
    fleet = new_buffers(rules, [Room(zones.zones, zones.capacity, extents)], media)
    return buffers_of.py_func(fleet, 0)  # type: ignore[attr-defined,no-any-return]


def made(rules: Rules, count: int = 1, capacity: int = 96, extents: int = 0, **limits: int) -> tuple[Zones, Buffers]:
    zones = zones_of(count, capacity, **limits)  # type: ignore[arg-type]
    return zones, buffers_for(rules, zones, extents, media=100)


@lean_kernel
def perform(zones: Zones, buffers: Buffers, steps: Any, out: Any) -> None:
    """Do steps, each with its row as row; fill ``out`` with what came of them."""
    for i in range(steps.shape[0]):
        what, zone, at, blocks, stream, time = steps[i]
        fire(zones, buffers, time)
        if what == PUT:
            out[i] = put(zones, buffers, Write(zone, at, blocks, stream, time, i))
        elif what == READ:
            out[i] = read(buffers, zone, at, blocks)
        elif what == POWER:
            out[i] = lose_power(buffers, blocks > 0, time).kept_blocks
        elif what == ALL:
            managed_all(zones, buffers, time)
        elif what != WAIT:
            out[i] = manage(zones, what, zone * zones.size, False, False)
            managed(zones, buffers, zone, time)


def performed(zones: Zones, buffers: Buffers, steps: Steps | NDArray[np.int64]) -> list[int]:
    table = np.array(steps, np.int64).reshape(-1, 6)
    out = np.zeros(len(table), np.int64)
    perform(zones, buffers, table, out)
    return [int(each) for each in out]


def written(zones: Zones, buffers: Buffers, starts: list[int], blocks: int = 8, every: int = 1) -> list[int]:
    """Write to zone 0, a write each ``every`` ns."""
    return performed(zones, buffers, [(PUT, 0, at, blocks, 0, i * every) for i, at in enumerate(starts)])


def pieces(buffers: Buffers) -> list[tuple[int, int, int, int]]:
    """The media log."""
    return [(int(p.zone), int(p.at), int(p.blocks), int(p.row)) for p in buffers.media[: buffers.head[0].media]]


def stored(buffers: Buffers) -> dict[int, list[tuple[int, int, int]]]:
    """What is buffered of each zone, in the lists' order: first block, blocks and row."""
    out: dict[int, list[tuple[int, int, int]]] = {}
    for zone, place in enumerate(buffers.zone):
        out[zone], each, last = [], int(place.first), -1
        while each >= 0:
            extent = buffers.extent[each]
            assert extent.previous == last
            out[zone].append((int(extent.start), int(extent.blocks), int(extent.row)))
            each, last = int(extent.next), each
        assert place.last == last
    assert buffers.head[0].vacant == buffers.extent.size - sum(map(len, out.values()))
    return out


def waiting(buffers: Buffers) -> list[tuple[int, int]]:
    """Zones and their deadlines, in the order of the queue."""
    out, zone, last = [], int(buffers.head[0].first), -1
    while zone >= 0:
        place = buffers.zone[zone]
        assert place.before == last
        out.append((zone, int(place.deadline)))
        zone, last = int(place.after), zone
    assert buffers.head[0].last == last
    assert [zone for zone, place in enumerate(buffers.zone) if place.deadline >= 0] == sorted(z for z, _ in out)
    return out
