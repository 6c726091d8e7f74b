"""The validity counts of a logical-to-physical table, told in dicts: one entry after the other."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


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
