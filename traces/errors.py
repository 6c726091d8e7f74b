"""What a user is told when something of theirs is wrong."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class StrataError(Exception):
    """Something that the user can put right: the message says what was wrong, where, and what to do."""


class TraceError(StrataError):
    """A recording or a trace cannot be used."""


class ConfigError(StrataError):
    """A configuration names an unknown key or carries a value out of bounds."""


class CombinationError(ConfigError):
    """Keys that are in bounds one by one do not go together, or not with the trace."""


class IdleKeyError(CombinationError):
    """Keys are set that change nothing: what they are of is switched off by another key."""

    def __init__(self, idle: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{key} has no effect {why}" for key, why in idle.items()))
        self.idle = dict(idle)  # key -> why, "unless placement is stream"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied as it was made: another process may be told."""
        return type(self), (self.idle,)


class StoreError(StrataError):
    """The store cannot be read or written."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'greedy'?`` where a known word is near, then the list of all of them."""
    names = sorted(set(known))
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"
