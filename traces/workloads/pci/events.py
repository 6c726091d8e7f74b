"""What comes to a running machine and goes from it: lines like ``15s unplug 07:00.0``, ``25s plug 07:00.0 nvme``."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from traces.amounts import duration
from traces.workloads.pci.topology import MODELS, Place, checked, functions, parsed, place_of, virtual


class Event(NamedTuple):
    """One of them."""

    at: int  # nanoseconds since the trace began
    bus: int
    slot: int
    model: str  # of what comes; empty where it goes
    places: tuple[Place, ...]  # the functions that come or go, virtual ones among them


@lru_cache(maxsize=8)
def events(lines: Sequence[str], places: Sequence[Place]) -> tuple[Event, ...]:
    """The events in order of time. Raises ValueError where a line cannot be read, or cannot happen."""
    there, out = list(places), []
    read = sorted((_read(line) for line in lines), key=lambda each: each[0])
    for at, word, rest, line in read:
        if word == "plug":
            place = parsed(rest)
            if MODELS[place.model].bridge or place.vfs:
                raise ValueError(f"'{line}': no bridges and no vfs= come to a running machine")
            there.append(place)
            try:
                checked(there)
            except ValueError as error:
                raise ValueError(f"'{line}': {error}") from None
            out.append(Event(at, place.bus, place.slot, place.model, (place, *functions(place)[1:])))
        else:
            bus, slot = place_of(rest)
            own = [each for each in there if (each.bus, each.slot >> 3) == (bus, slot >> 3)]
            if not own or any(MODELS[each.model].bridge for each in own) or (bus, slot >> 3) == (0, 0):
                raise ValueError(f"'{line}': there is nothing then that could go: no bridge and no host bridge can")
            there = [each for each in there if each not in own]
            gone = [each for line in own for each in (*functions(line), *virtual(line))]
            out.append(Event(at, bus, slot, "", tuple(gone)))
    return tuple(out)


def _read(line: str) -> tuple[int, str, str, str]:
    words = line.split(maxsplit=2)
    if len(words) != 3 or words[1] not in ("plug", "unplug"):
        raise ValueError(f"'{line}' is no event; write it like '15s unplug 07:00.0' or '25s plug 07:00.0 nvme'")
    return int(duration(words[0])), words[1], words[2], line
