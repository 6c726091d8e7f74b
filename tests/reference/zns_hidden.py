"""What a recording of a zoned namespace does not tell, found from what followed.

A table of NVMe commands says neither whether a zone was opened with a random write area nor which block a flush of one
went up to. Every assignment of both that the device could have been given is followed beside the others (`Namespace`);
those under which a command would have been answered otherwise than it was are dropped. What is left at the end explains
the whole recording; an input that is the same in all that is left is certain.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.reference.zns import INVALID_FIELD, Namespace

Key = tuple[Any, ...]  # a state without its count of areas left
AREAS = 1 << 32  # the device counts in 32 bits


@dataclass(frozen=True)
class Told:
    """A command as it was recorded."""

    op: str  # write, append, or an action; "hidden" for management of which nothing is told
    slba: int
    blocks: int
    every: bool
    status: int
    lba: int  # appended, -1 if none
    error: str  # the event that the device noted beside a refusal


@dataclass(frozen=True)
class Hidden:
    """What was found: by the command's number whether it asked for an area, and the block a flush went up to."""

    areas: dict[int, bool]
    flushes: dict[int, int]
    certain: set[int]
    hypotheses: int  # the most at a time


@dataclass(frozen=True)
class Way:
    """How a state came from another one, for some counts of areas left."""

    key: Key
    lefts: set[int]
    more: int  # areas
    choice: int


def _key(space: Namespace) -> Key:
    order = tuple(map(tuple, space.order.values()))
    return tuple(space.state.values()), tuple(space.wp.values()), frozenset(space.random), order


def _copy(space: Namespace, left: int) -> Namespace:
    other = object.__new__(Namespace)
    other.__dict__.update(space.__dict__)
    other.state, other.wp, other.random, other.left = dict(space.state), dict(space.wp), set(space.random), left
    other.order = {state: list(zones) for state, zones in space.order.items()}
    return other


def _choices(space: Namespace, command: Told) -> list[int]:
    """What the hidden input can be: 0 or 1 for an area, the last block of a flush."""
    if command.op == "open":
        return [0, 1]
    if command.op == "hidden" and command.status != INVALID_FIELD:
        most = space.zrwa + 1
        return [zone * space.size + space.wp[zone] + at for zone in sorted(space.random) for at in range(most)]
    return [0]


def _answer(space: Namespace, command: Told, choice: int) -> bool:
    """Give the command; whether it is answered as it was recorded."""
    if command.op == "hidden":
        if command.status == INVALID_FIELD:  # changes nothing, whatever it was
            return True
        return space.manage("flush", choice) == command.status
    zone = command.slba // space.size
    if command.error == "write_not_at_wp" and zone in space.random:
        return False
    if command.error == "zone_invalid_write" and zone not in space.random:
        return False
    if command.op == "write":
        return space.write(command.slba, command.blocks) == command.status
    if command.op == "append":
        return space.append(command.slba, command.blocks) == (command.status, command.lba)
    status = space.manage(command.op, command.slba, every=command.every, zrwa=bool(choice))
    return status == command.status


def find(space: Namespace, commands: list[Told]) -> Hidden | None:
    """The hidden inputs of commands to a namespace as it is; None if no inputs explain the recording."""
    spaces: dict[Key, Namespace] = {_key(space): space}
    lefts: dict[Key, set[int]] = {_key(space): {space.left}}
    steps: list[dict[Key, list[Way]]] = []
    most = 1
    for command in commands:
        came: dict[Key, list[Way]] = defaultdict(list)
        new: dict[Key, Namespace] = {}
        for key, old in spaces.items():
            for some in (lefts[key] - {0}, lefts[key] & {0}):  # all that is ever asked is whether any is left
                for choice in _choices(old, command) if some else []:
                    before = next(iter(some))
                    after = _copy(old, before)
                    if _answer(after, command, choice):
                        to = _key(after)
                        new.setdefault(to, after)
                        came[to].append(Way(key, some, (after.left - before) % AREAS, choice))
        if not new:
            return None
        spaces = new
        lefts = {to: {(left + way.more) % AREAS for way in ways for left in way.lefts} for to, ways in came.items()}
        most = max(most, len(spaces))
        steps.append(came)
    return _traced(commands, steps, lefts, most)


def _traced(commands: list[Told], steps: list[dict[Key, list[Way]]], alive: dict[Key, set[int]], most: int) -> Hidden:
    """One way back from the end, and which of its inputs all ways share."""
    areas: dict[int, bool] = {}
    flushes: dict[int, int] = {}
    certain: set[int] = set()
    at = next(iter(alive))
    left = min(alive[at])
    for number in reversed(range(len(commands))):
        command, came = commands[number], steps[number]
        before: dict[Key, set[int]] = defaultdict(set)
        chosen: set[int] = set()
        for to, ends in alive.items():
            for way in came[to]:
                if starts := {(end - way.more) % AREAS for end in ends} & way.lefts:
                    before[way.key] |= starts
                    chosen.add(way.choice)
        taken = next(way for way in came[at] if (left - way.more) % AREAS in way.lefts)
        if command.op == "open":
            areas[number] = bool(taken.choice)
        elif command.op == "hidden" and command.status != INVALID_FIELD:
            flushes[number] = taken.choice
        if len(chosen) == 1 and (number in areas or number in flushes):
            certain.add(number)
        alive, at, left = before, taken.key, (left - taken.more) % AREAS
    return Hidden(areas, flushes, certain, most)
