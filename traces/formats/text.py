"""Lines of text, whatever stands in them: a stream in chunks of whole lines, and words as numbers.

The scanner of `traces.formats.scanner` takes fields by their place; formats whose fields have no fixed place have
kernels of their own, and `traces.formats._lines`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from traces.formats._eight import eight, first_of
from traces.formats.reader import Report
from traces.kernel import kernel, lean_kernel
from traces.table import I64, U8, U32

CHUNK = 1 << 23  # bytes scanned at once
LONGEST = 1 << 20  # a line beyond this is no line of a trace
_MIXED = np.uint64(0x9E3779B97F4A7C15)


def chunks(stream: BinaryIO, report: Report, size: int = CHUNK) -> Iterator[memoryview]:
    """A stream in chunks that end with a newline.

    A last line without a newline is given one and noted: a download that broke off ends so. So is a "line" of
    more than 1 MiB cut: it is no line of a trace.
    """
    rest = b""
    while True:
        block = stream.read(size)
        if not block:
            break
        block = rest + block if rest else block
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) < LONGEST:
            rest = block
            continue
        if not cut:
            report.note("lines longer than 1 MiB, cut")
            block, cut = block + b"\n", len(block) + 1
        rest = block[cut:]
        yield memoryview(block)[:cut]  # no copy: another 8 % of the whole
    if rest:
        report.note("last line without an end: the file may have been cut off")
        yield memoryview(rest + b"\n")


def is_text(head: bytes) -> bool:
    """Whether bytes can be lines of text: no NUL, hardly any control characters."""
    control = sum(1 for byte in head[:4096] if byte < 32 and byte not in (9, 10, 13))
    return bool(head) and b"\0" not in head and control == 0


def first_lines(head: bytes, count: int = 10) -> list[str]:
    """The first whole, non-empty lines of a head."""
    lines = head.decode("utf-8", "replace").splitlines()
    if len(lines) > 1 and not head.endswith(b"\n"):
        lines.pop()
    return [line for line in lines if line.strip()][:count]


@kernel
def count_lines(data: U8) -> int:
    """How many lines end in the bytes."""
    lines = 0
    for byte in data:
        lines += byte == 10
    return lines


@lean_kernel
def key(data: U8, begin: int, end: int) -> Any:
    """A word as a number: up to seven bytes as they are under their count, more as a 56-bit hash under 255.

    The hash takes eight bytes at a time: multiplied, the upper half mixed into the lower.
    """
    if end - begin <= 7:
        return np.int64(first_of(eight(data, begin), end - begin) | np.uint64(end - begin) << np.uint64(56))
    long = np.uint64(end - begin)
    for i in range(begin, end, 8):
        long = (long ^ first_of(eight(data, i), end - i)) * _MIXED
        long ^= long >> np.uint64(32)
    return np.int64((long & np.uint64(0x00FFFFFFFFFFFFFF)) | np.uint64(0xFF00000000000000))


def keys(words: Sequence[str]) -> I64:
    """What `key` makes of words; without a kernel, of which the first that is called takes a third of a second."""
    return np.array([_key(word.encode()) for word in words], np.uint64).view(np.int64)


def _key(word: bytes) -> int:
    if len(word) <= 7:
        return len(word) << 56 | int.from_bytes(word, "little")
    long = len(word)
    for i in range(0, len(word), 8):
        long = (long ^ int.from_bytes(word[i : i + 8], "little")) * int(_MIXED) & 0xFFFFFFFFFFFFFFFF
        long ^= long >> 32
    return long & 0x00FFFFFFFFFFFFFF | 0xFF00000000000000


@kernel
def _encode(keys: I64, table: NDArray[np.int64], used: NDArray[np.int32], codes: U32, new: I64) -> int:
    """Dense codes of 64-bit keys through an open-addressing table; rows where a key first appears go to ``new``.

    ``used[0]`` counts the codes given so far; the table keeps [key, code + 1]. Stops where the table is half full.
    """
    mask, found = table.shape[0] - 1, 0
    last, code = np.int64(0), np.int64(-1)
    for i in range(keys.size):
        key = keys[i]
        if code >= 0 and key == last:
            codes[i] = code
            continue
        spread = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        place = np.int64(spread) & mask
        while table[place, 1] != 0 and table[place, 0] != key:
            place = (place + 1) & mask
        if table[place, 1] == 0:
            if 2 * used[0] >= table.shape[0]:
                new[found] = -1
                return i
            table[place, 0] = key
            used[0] += 1
            table[place, 1] = used[0]
            new[found] = i
            found += 1
        last, code = key, table[place, 1] - 1
        codes[i] = code
    new[found] = -1
    return keys.size


class Codes:
    """Dense codes for 64-bit keys, given in the order of first appearance and kept from batch to batch."""

    def __init__(self) -> None:
        self._table = np.zeros((1024, 2), np.int64)
        self._used = np.zeros(1, np.int32)

    def encode(self, keys: I64) -> tuple[U32, list[int]]:
        """The code of each key, and the rows at which keys appear for the first time."""
        codes = np.empty(keys.size, np.uint32)
        new = np.empty(keys.size + 1, np.int64)
        fresh: list[int] = []
        done = 0
        while done < keys.size:
            count = _encode(keys[done:], self._table, self._used, codes[done:], new)
            fresh.extend(int(row) + done for row in new[: np.flatnonzero(new == -1)[0]])
            done += count
            if done < keys.size:
                self._grow()
        return codes, fresh

    def _grow(self) -> None:
        old = self._table[self._table[:, 1] > 0]
        self._table = np.zeros((2 * self._table.shape[0], 2), np.int64)
        self._used[0] = 0
        order = np.argsort(old[:, 1])
        keys = np.ascontiguousarray(old[order, 0])
        _encode(keys, self._table, self._used, np.empty(keys.size, np.uint32), np.empty(keys.size + 1, np.int64))
