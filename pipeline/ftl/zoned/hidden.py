"""What a recording of zones with random write areas does not tell, found from what followed.

A table of NVMe commands says neither whether a zone was opened with a random write area nor which block a flush of one
went up to: they stand in dwords that it leaves out. But each answer that was recorded rules some of them out. Every
assignment that the device could have been given is followed beside the others; those under which a command would have
been answered otherwise than it was are dropped. What is left at the end explains the whole recording; an input that is
the same in all that is left is certain.

Assignments that lead to the same zones are one from there on, so that there are some hundreds at a time. How many
areas are left is no part of that: all that is ever asked is whether there are any, and so a set of numbers goes with
each state of the zones.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.zoned.manage import command
from pipeline.ftl.zoned.state import Attribute, Geometry, Zones, new_zones
from pipeline.ftl.zoned.status import Status
from traces.block import Flag, Op
from traces.kernel import lean_kernel
from traces.nvme import NOT_TOLD
from traces.table import I64, U8, U16

MOST = 100_000  # states of the zones followed at a time
_AREAS = 1 << 32  # QEMU counts those that are left in 32 bits
_NONE = -1

_Lefts = list[frozenset[int]]  # of each state of the zones: how many areas can be left


class Inputs(NamedTuple):
    """Commands to one namespace, in their order; one element each."""

    op: U8
    slba: I64
    blocks: I64
    flags: U16
    recorded: U16  # status, NOT_TOLD where it is not


class Found(NamedTuple):
    """Inputs that explain a recording."""

    inputs: Inputs  # those given, with what was found put in
    found: int  # commands of which something was not told
    certain: int  # of them, those of which all explanations say the same
    unexplained: int  # the first command whose answer no inputs explain: nothing was put in; -1 if there is none


class _Spaces(NamedTuple):
    """Many states of one namespace's zones: what is an array of `Zones`, stacked."""

    state: U8
    wp: I64
    attributes: U8
    links: NDArray[np.int32]
    head: NDArray[Any]


class _Step(NamedTuple):
    """How a command led from states to states; one element a way."""

    origin: I64  # state before
    some: NDArray[np.bool_]  # it goes from those counts of areas left that are not 0, or from 0
    choice: I64
    more: I64  # areas left than before
    to: I64  # state after


def find(geometry: Geometry, given: Inputs) -> Found:
    """Inputs to an empty namespace under which every answer is the recorded one.

    Of management that is not told and was refused nothing is asked, since it changed nothing; nor of commands whose
    status is not told.
    """
    zones = new_zones(geometry)
    spaces = _Spaces._make(getattr(zones, name)[np.newaxis] for name in _Spaces._fields)
    spaces = spaces._replace(head=zones.head)
    lefts: _Lefts = [frozenset({geometry.zrwas})]
    steps: list[tuple[_Step, _Lefts]] = []
    rows = np.flatnonzero(_matters(given))
    for row in rows.tolist():
        step, spaces = _followed(zones, spaces, lefts, given, row)
        if not 0 < len(spaces.state) <= MOST:
            return Found(given, 0, 0, row)
        steps.append((step, lefts))
        after: list[set[int]] = [set() for _ in spaces.state]
        for origin, some, more, to in zip(step.origin, step.some, step.more.tolist(), step.to, strict=True):
            after[to].update((left + more) % _AREAS for left in _part(lefts[origin], some))
        lefts = [frozenset(each) for each in after]
    return _traced(given, rows, steps, lefts)


def _matters(given: Inputs) -> NDArray[np.bool_]:
    """[row] -> whether a command can change zones, and says something of them."""
    looks = np.isin(given.op, [Op.READ, Op.ZONE_REPORT, Op.FLUSH, Op.DISCARD]) | (given.op > Op.ZONE_MANAGE)
    refused = (given.op == Op.ZONE_MANAGE) & (given.recorded != Status.SUCCESS)
    out: NDArray[np.bool_] = ~looks & ~refused & (given.recorded != NOT_TOLD)
    return out


def _part(lefts: frozenset[int], some: bool) -> frozenset[int]:
    return lefts - {0} if some else lefts & {0}


def _choices(zones: Zones, spaces: _Spaces, given: Inputs, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the hidden input can be in each state: its number, and whether an area is asked for or a flush's end."""
    states = np.arange(len(spaces.state))
    if given.op[row] == Op.ZONE_OPEN and not given.flags[row] & Flag.ZRWA:
        return np.repeat(states, 2), np.tile(np.arange(2), states.size)
    if given.op[row] == Op.ZONE_MANAGE:
        state, zone = np.nonzero(spaces.attributes & Attribute.ZRWA)
        ends = (zone * zones.size + spaces.wp[state, zone])[:, np.newaxis] + np.arange(zones.zrwa + 1)
        return np.repeat(state, zones.zrwa + 1), ends.ravel()
    return states, np.full(states.size, _NONE)


def _with(given: Inputs, row: int, choice: int) -> tuple[int, int, int]:
    """A command as it is once its hidden input is chosen: op, slba, flags."""
    op, slba, flags = int(given.op[row]), int(given.slba[row]), int(given.flags[row])
    if op == Op.ZONE_MANAGE:
        return Op.ZONE_FLUSH_ZRWA, choice, flags
    return op, slba, flags | (Flag.ZRWA if choice == 1 else 0)


def _followed(zones: Zones, spaces: _Spaces, lefts: _Lefts, given: Inputs, row: int) -> tuple[_Step, _Spaces]:
    """Give a command to all states with all that its hidden input can be; those that answered as was recorded."""
    origin, choice = _choices(zones, spaces, given, row)
    origin, choice = np.tile(origin, 2), np.tile(choice, 2)
    some = np.arange(origin.size) < origin.size // 2
    least = [(min(_part(each, False), default=_NONE), min(_part(each, True), default=_NONE)) for each in lefts]
    left = np.array(least)[origin, some.astype(np.int64)]
    can = left != _NONE
    origin, choice, some, left = origin[can], choice[can], some[can], left[can]
    after = _Spaces._make(each[origin] for each in spaces)
    after.head["left"] = left
    inputs = np.array([_with(given, row, each) for each in choice.tolist()], np.int64).reshape(-1, 3)
    status = np.zeros(origin.size, np.uint16)
    answers(zones, after, inputs, int(given.blocks[row]), status)
    same = status == given.recorded[row]
    after = _Spaces._make(each[same] for each in after)
    places: dict[bytes, int] = {}
    to = np.zeros(len(after.state), np.int64)
    for i in range(to.size):
        key = b"".join(each[i].tobytes() for each in after[:-1])
        to[i] = places.setdefault(key, len(places))
    firsts = np.unique(to, return_index=True)[1]
    more = (after.head["left"] - left[same]) % _AREAS
    step = _Step(origin[same], some[same], choice[same], more, to)
    return step, _Spaces._make(each[firsts] for each in after)


@lean_kernel
def answers(zones: Zones, spaces: _Spaces, inputs: I64, blocks: int, status: U16) -> None:
    """Give a command to each state of the zones, whose other numbers are those of ``zones``; fill in the status."""
    for i in range(status.size):
        one = Zones(
            zones.zones,
            zones.size,
            zones.capacity,
            zones.max_open,
            zones.max_active,
            zones.profile,
            zones.extension,
            zones.cross_read,
            zones.zrwa,
            zones.granularity,
            zones.zrwas,
            zones.largest,
            zones.largest_append,
            spaces.state[i],
            spaces.wp[i],
            spaces.attributes[i],
            spaces.links[i],
            spaces.head[i : i + 1],
        )
        status[i], _ = command(one, inputs[i, 0], inputs[i, 1], blocks, inputs[i, 2])


def _traced(given: Inputs, rows: NDArray[np.int64], steps: list[tuple[_Step, _Lefts]], lefts: _Lefts) -> Found:
    """One way back from the end, and how many of its inputs all ways share."""
    op, slba, flags = given.op.copy(), given.slba.copy(), given.flags.copy()
    found = certain = 0
    alive: dict[int, set[int]] = {at: set(each) for at, each in enumerate(lefts)}
    at, left = 0, min(lefts[0])
    for row, (step, before) in zip(rows[::-1].tolist(), reversed(steps), strict=True):
        came: dict[int, set[int]] = defaultdict(set)
        chosen: set[int] = set()
        taken = None
        ways = zip(*(each.tolist() for each in step), strict=True)
        for origin, some, choice, more, to in ways:
            starts = {(end - more) % _AREAS for end in alive.get(to, ())} & _part(before[origin], some)
            if starts:
                came[origin] |= starts
                chosen.add(choice)
            if taken is None and to == at and (left - more) % _AREAS in starts:
                taken = origin, choice, (left - more) % _AREAS
        assert taken is not None
        at, choice, left = taken
        if choice != _NONE:
            op[row], slba[row], flags[row] = _with(given, row, choice)
            found += 1
            certain += len(chosen) == 1
        alive = came
    return Found(given._replace(op=op, slba=slba, flags=flags), found, certain, _NONE)
