"""Lines whose fields have no fixed place: what the kernels of such formats read a line with.

`traces.formats.scanner` takes fields by their number. Where a line begins with a process's name, or is made of keys and
values, a kernel walks through it with the functions below; `Lines` shows what it could not use.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from traces.formats.text import Codes
from traces.kernel import lean_kernel
from traces.table import I64, U8

NOWHERE, TOO_LARGE = -1, -2  # of `natural`: 2**64 - 1, which stands for "none"; past 63 bits


@lean_kernel
def past_word(data: U8, i: int) -> int:
    """The first place from ``i`` on that is blank, tab or the line's end."""
    while data[i] != 32 and data[i] != 9 and data[i] != 10 and data[i] != 13:
        i += 1
    return i


@lean_kernel
def natural(data: U8, i: int) -> tuple[Any, int]:
    """The decimal number at ``i`` and where it ends; it ends where it begins if there is none."""
    begin, value = i, np.uint64(0)
    while 48 <= data[i] <= 57:
        value = value * np.uint64(10) + np.uint64(data[i] - 48)
        i += 1
    if i - begin < 19:
        return np.int64(value), i
    if i - begin == 19 and not value >> np.uint64(63):
        return np.int64(value), i
    if i - begin == 20 and data[begin] == 49 and value == np.uint64(0xFFFFFFFFFFFFFFFF):
        return np.int64(NOWHERE), i
    return np.int64(TOO_LARGE), i


@lean_kernel
def number(data: U8, i: int) -> tuple[Any, int]:
    """The decimal or, after 0x, hexadecimal number at ``i`` and where it ends."""
    if data[i] != 48 or (data[i + 1] | 32) != 120:
        return natural(data, i)
    begin, value = i, np.uint64(0)
    i += 2
    while True:
        c = np.int64(data[i])
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= (c | 32) <= 102:
            digit = (c | 32) - 87
        else:
            break
        if value >> np.uint64(59):
            return np.int64(TOO_LARGE), i
        value = (value << np.uint64(4)) | np.uint64(digit)
        i += 1
    return np.int64(value), (i if i > begin + 2 else begin)


@lean_kernel
def seconds(data: U8, i: int) -> tuple[Any, int]:
    """The seconds with decimals at ``i`` as nanoseconds, and where they end; digits past the ninth are cut."""
    begin = i
    whole, i = natural(data, i)
    if i == begin or data[i] != 46 or not 48 <= data[i + 1] <= 57:
        return np.int64(0), begin
    i += 1
    digits = 0
    rest = np.int64(0)
    while 48 <= data[i] <= 57:
        if digits < 9:
            rest = rest * 10 + np.int64(data[i] - 48)
            digits += 1
        i += 1
    while digits < 9:
        rest *= 10
        digits += 1
    if not 0 <= whole < 1 << 32:  # 136 years
        return np.int64(TOO_LARGE), i
    return whole * np.int64(1_000_000_000) + rest, i


class Lines:
    """One chunk's lines; ``first`` is the number of the first in its file."""

    def __init__(self, chunk: memoryview, first: int) -> None:
        self.data: U8 = np.frombuffer(chunk, np.uint8)
        self.end: I64 = np.flatnonzero(self.data == 10)  # [line] -> its newline
        self.start: I64 = np.append(np.int64(0), self.end[:-1] + 1)
        self._chunk, self.first = chunk, first

    @property
    def count(self) -> int:
        """How many lines there are."""
        return int(self.end.size)

    def number(self, row: int) -> int:
        """The line's number in the file, counted from 1."""
        return self.first + row

    def text(self, row: int) -> str:
        """A line without its end."""
        return self.part(int(self.start[row]), int(self.end[row])).rstrip("\r")

    def part(self, begin: int, end: int) -> str:
        """Some bytes of the chunk as text."""
        return bytes(self._chunk[begin:end]).decode("utf-8", "replace")


class Meanings:
    """What words that keep coming mean, by their keys; each is asked about once."""

    def __init__(self, meaning: Callable[[str], int]) -> None:
        self._meaning, self._codes, self._known = meaning, Codes(), np.empty(0, np.int64)

    def values(self, lines: Lines, word: I64, at: I64, end: I64) -> I64:
        """[row] -> the meaning of the word with this key, which stands there in the chunk."""
        codes, fresh = self._codes.encode(word)
        new = [self._meaning(lines.part(int(at[row]), int(end[row]))) for row in fresh]
        self._known = np.append(self._known, np.array(new, np.int64))
        known: I64 = self._known[codes]
        return known
