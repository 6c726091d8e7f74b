"""Text eight bytes at a time: numbers, words and the places of characters, in words of 64 bits.

A byte at a time every step waits for a branch that nothing foretells: where a number ends, a word, a line. Eight at a
time there is one for all. Sources: D. Lemire, "Quickly parsing eight digits" (2018); S. E. Anderson, "Bit Twiddling
Hacks" (bytes less than n, zero bytes), of which only the lowest byte found is exact.
"""

from typing import Any

import numpy as np

from traces.kernel import eight_bytes, lean_kernel, trailing_zeros
from traces.table import U8

POWERS = 10 ** np.arange(19)
_EIGHT = np.uint64(8)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_SEVENS = np.uint64(0x7F7F7F7F7F7F7F7F)
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)


@lean_kernel
def eight(data: U8, i: int) -> Any:
    """The eight bytes from ``i`` on, the first lowest; zeros past the end."""
    if i + 8 <= data.size:
        return eight_bytes(data, i)  # type: ignore[call-arg]
    value = np.uint64(0)
    for k in range(data.size - i):
        value |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return value


@lean_kernel
def first_of(word: Any, count: int) -> Any:
    """The first bytes of a word, the rest zero."""
    return word if count >= 8 else word & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))


@lean_kernel
def _lowest(found: Any) -> Any:
    """The lowest byte that is not zero; 8 if all are."""
    return np.int64(trailing_zeros(found)) >> 3  # type: ignore[call-arg]


@lean_kernel
def alike(one: Any, other: Any) -> Any:
    """How many of their lowest bytes two words share."""
    return _lowest(one ^ other)


@lean_kernel
def line_end(data: U8, i: int) -> int:
    """Where the line ends that ``i`` is in: at its newline."""
    while True:
        other = eight(data, i) ^ _NEWLINES
        found = (other - _ONES) & ~other & _HIGHS
        if found:
            return i + int(_lowest(found))
        i += 8


@lean_kernel
def next_byte(data: U8, i: int, byte: int) -> int:
    """The first place from ``i`` on where a byte stands or the line ends."""
    wanted = np.uint64(byte) * _ONES
    while True:
        word = eight(data, i)
        other, newline = word ^ wanted, word ^ _NEWLINES
        found = (((other - _ONES) & ~other) | ((newline - _ONES) & ~newline)) & _HIGHS
        if found:
            return i + int(_lowest(found))
        i += 8


@lean_kernel
def word_end(data: U8, i: int, ender: int) -> int:
    """The first place from ``i`` on that is no printed character, or is ``ender``."""
    wanted = np.uint64(ender) * _ONES
    while True:
        word = eight(data, i)
        other = word ^ wanted
        found = (((word - np.uint64(0x2121212121212121)) & ~word) | ((other - _ONES) & ~other)) & _HIGHS
        if found:
            return i + int(_lowest(found))
        i += 8


@lean_kernel
def past_blanks(data: U8, i: int) -> int:
    """The first place from ``i`` on that is neither blank nor tab."""
    while True:
        word = eight(data, i)
        blank, tab = word ^ np.uint64(0x2020202020202020), word ^ np.uint64(0x0909090909090909)
        found = (((blank & _SEVENS) + _SEVENS) | blank) & (((tab & _SEVENS) + _SEVENS) | tab) & _HIGHS
        if found:
            return i + int(_lowest(found))
        i += 8


@lean_kernel
def digits(data: U8, i: int, value: Any) -> tuple[Any, int]:
    """The digits at ``i`` behind those that ``value`` has already, and where they end; wraps past 63 bits."""
    while i + 8 <= data.size:
        word = eight_bytes(data, i) ^ np.uint64(0x3030303030303030)  # type: ignore[call-arg]
        other = ((word + np.uint64(0x7676767676767676)) | word) & _HIGHS
        count = trailing_zeros(other) >> np.uint64(3)
        if count == 0:
            return value, i
        word <<= (_EIGHT - count) << np.uint64(3)
        word = (word * np.uint64(2561)) >> _EIGHT
        word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
        word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
        value = value * POWERS[count] + np.int64(word)
        i += np.int64(count)
        if count < 8:
            return value, i
    digit = np.uint8(data[i] - np.uint8(48))
    while digit <= 9:
        value = value * 10 + np.int64(digit)
        i += 1
        digit = np.uint8(data[i] - np.uint8(48))
    return value, i


@lean_kernel
def hex_digits(data: U8, i: int) -> tuple[Any, int]:
    """The hexadecimal digits at ``i`` as a uint64, and where they end; wraps past 64 bits."""
    value = np.uint64(0)
    while True:
        word = eight(data, i)
        seven = word & _SEVENS
        lower = seven | np.uint64(0x2020202020202020)
        digit = (seven + np.uint64(0x5050505050505050)) & ~(seven + np.uint64(0x4646464646464646))
        letter = (lower + np.uint64(0x1F1F1F1F1F1F1F1F)) & ~(lower + np.uint64(0x1919191919191919))
        other = ~((digit | letter) & ~word) & _HIGHS
        count = trailing_zeros(other) >> np.uint64(3)  # type: ignore[call-arg]
        if count == 0:
            return value, i
        word = (seven & np.uint64(0x0F0F0F0F0F0F0F0F)) + ((seven >> np.uint64(6)) & _ONES) * np.uint64(9)
        word <<= (_EIGHT - count) << np.uint64(3)
        word = ((word * np.uint64(4097)) >> _EIGHT) & np.uint64(0x00FF00FF00FF00FF)
        word = ((word * np.uint64(16777217)) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
        word = (word * np.uint64(281474976710657)) >> np.uint64(32)
        value = (value << (count << np.uint64(2))) | word
        i += np.int64(count)
        if count < 8:
            return value, i
