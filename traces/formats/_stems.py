"""What the kernel of `traces.formats._fit` fills and what it knows of a line; which templates that rules out."""

from typing import Any, NamedTuple

import numpy as np

from traces.formats._eight import next_byte
from traces.formats._program import I32, MASKED, Program
from traces.kernel import lean_kernel, trailing_zeros
from traces.table import I64, U8

UNKNOWN, NO, YES = range(3)  # whether a stem can end elsewhere too


class Lines(NamedTuple):
    """What the kernel fills: a row a line that fits, in ``odd`` the others."""

    values: I64  # [place, row]; 0 where the line ends before it
    begin: I32  # [place, row]: of words
    end: I32
    which: U8  # [row] -> template
    line: I32  # [row] -> number in the chunk
    at: I32  # [row] -> where the line begins
    odd_line: I32
    odd_at: I32
    odd_why: I32  # place in the program that came furthest; -1: empty; -2 - template: counted only


class Stems(NamedTuple):
    """What is known of the stems in the line at hand."""

    seen: I64  # [stem] -> the line that the rest is about
    ended: I64  # [stem] -> where; -1: it does not fit
    star: I64  # [stem] -> how far its latest skip had come, -1: it has none
    star_at: I64  # [stem] -> the place of that skip
    again: I64  # [stem] -> see `UNKNOWN`
    word_of: I64  # [stem] -> the template whose word was looked at last, -1 none
    matched: I64  # [stem] -> how many characters of it stood there
    kept: I64  # [stem, slot, what]: value, begin and end of its places
    value: I64  # [slot] of the try at hand
    begin: I64
    end: I64


def stems_of(program: Program, slots: int) -> Stems:
    """Room for what is known of stems."""
    count = program.stem_end.size
    columns: list[Any] = [np.full(count, -1, np.int64) for _ in range(7)]
    columns.append(np.zeros((count, slots, 3), np.int64))
    return Stems(*columns, *(np.zeros(slots, np.int64) for _ in range(3)))


@lean_kernel
def anchor_of(data: U8, i: int, wanted: int, before: int, classes: U8) -> int:
    """The first place from ``i`` on where a character stands behind one of its class, or the line ends."""
    while True:
        i = next_byte(data, i, wanted)
        if data[i] == 10 or classes[data[i - 1]] & before:
            return i
        i += 1


@lean_kernel
def next_of(excluded: Any, template: int) -> Any:
    """The first template from one on that is not excluded."""
    if template >= MASKED:
        return template
    return min(template + np.int64(trailing_zeros(~excluded >> np.uint64(template))), MASKED)  # type: ignore[call-arg]


@lean_kernel
def elsewhere(data: U8, program: Program, stems: Stems, stem: int, exact: bool) -> Any:
    """Templates whose word does not follow a stem: what the word looked at last tells of them, and two characters."""
    excluded = program.apart[stems.word_of[stem], stems.matched[stem]]
    for n in range(program.probe.shape[1]):
        at = stems.ended[stem] + program.probe[stem, n]
        if not exact and at < data.size:
            excluded |= program.probed[stem, n, data[at]]
    return excluded
