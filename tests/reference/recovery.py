"""The validity counts of a logical-to-physical table, told in dicts: one entry after the other.

And a drive that loses what stands in its write buffer, told in lists.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tests.reference.ftl import DISCARD, FLUSH, WRITE, WRITE_ZEROES, Volume


class Recovered(NamedTuple):
    counts: list[int]
    mapped: int
    unmapped: int
    out_of_range: int
    stray: int
    duplicates: int


def recovered(table: Iterable[int], blocksets: int, pages: int, *, unmapped: int, first: int = 0) -> Recovered:
    apart = 1
    while apart < pages:
        apart *= 2
    addresses = {first + blockset * apart + page: blockset for blockset in range(blocksets) for page in range(pages)}
    holders: Counter[int] = Counter()
    nowhere, strays = 0, []
    for logical, address in enumerate(table):
        if address == unmapped:
            nowhere += 1
        elif address in addresses:
            holders[address] += 1
        else:
            strays.append(logical)
    counts = dict.fromkeys(range(blocksets), 0)
    for address, many in holders.items():
        counts[addresses[address]] += many
    mapped = sum(holders.values())
    stray = strays[0] if strays else -1
    return Recovered(list(counts.values()), mapped, nowhere, len(strays), stray, mapped - len(holders))


class Buffered:
    """A volume behind a write buffer of so many pages. It is never interrupted: what is lost it never gets."""

    def __init__(self, volume: Volume, size: int, prefill: str) -> None:
        self.volume, self.size = volume, size
        self.waiting: list[tuple[int, int, int, int]] = []  # op, offset, length, stream: of a page each
        self.lost = 0
        self.victims: list[int] = []
        volume.drive.prefill(prefill)
        pick = volume.drive.pick

        def noted() -> int:
            self.victims.append(pick())
            return self.victims[-1]

        volume.drive.pick = noted  # type: ignore[method-assign]

    def serve(self, op: int, offset: int, length: int, stream: int) -> None:
        programs = op == WRITE or (op == WRITE_ZEROES and self.volume.program_zeroes)
        if programs and length and self.size:
            end = offset + length
            while offset < end:
                part = min(self.volume.page - offset % self.volume.page, end - offset)
                self.waiting.append((op, offset, part, stream))
                offset += part
            self.program(len(self.waiting) - self.size)
            return
        if op in (FLUSH, DISCARD, WRITE_ZEROES) and not programs:
            self.program(len(self.waiting))
        self.volume.serve(op, offset, length, stream)

    def program(self, pages: int) -> None:
        for _ in range(pages):
            self.volume.serve(*self.waiting.pop(0))

    def lose(self) -> None:
        self.lost += len(self.waiting)
        self.waiting = []


def hashed(victims: Iterable[int]) -> int:
    """FNV-1a, a block at a time."""
    out = 0
    for block in victims:
        out = ((out ^ block) * 0x100000001B3) % 2**64
    return out
