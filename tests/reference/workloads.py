"""The laws that generators follow, told in plain Python: slow, and plainly right."""

import math
from collections.abc import Sequence

WORD = 1 << 64


def splitmix64(seed: int, count: int) -> list[int]:
    """The first numbers of Java's SplittableRandom, as its paper gives it."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) % WORD
        z = seed
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
        out.append(z ^ (z >> 31))
    return out


def shuffled(rank: int, places: int, keys: Sequence[int]) -> int:
    """Where a rank goes, given two keys a round."""
    bits = max(1, (places - 1).bit_length())
    while True:
        for add, multiply in zip(keys[::2], keys[1::2], strict=True):
            rank = (rank + add) * (multiply | 1) % 2**bits
            rank = rank ^ (rank >> ((bits + 1) // 2))
        if rank < places:
            return rank


def harmonic(n: int, theta: float, exact: int = 100_000) -> float:
    """The sum of k**-theta for k = 1..n; beyond the first terms by Euler and Maclaurin's formula."""
    total = float(sum(k**-theta for k in range(1, min(n, exact) + 1)))
    if n <= exact:
        return total
    a, b = float(exact), float(n)
    area = math.log(b / a) if theta == 1 else (b ** (1 - theta) - a ** (1 - theta)) / (1 - theta)
    return float(total + area + (b**-theta - a**-theta) / 2 - theta * (b ** (-theta - 1) - a ** (-theta - 1)) / 12)


def zipf(n: int, theta: float) -> list[float]:
    """The probability of each rank, the most popular first."""
    weights = [k**-theta for k in range(1, n + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def sequential(requests: int, volumes: int, places: int, size: int, discard: bool) -> list[tuple[int, str, int, int]]:
    """(volume, what, offset, length) of each request: "io" or "discard"."""
    laps: list[list[tuple[str, int, int]]] = [[] for _ in range(volumes)]  # what is left of each volume's lap
    begun = [False] * volumes
    out = []
    for i in range(requests):
        volume = i % volumes
        if not laps[volume]:
            laps[volume] = [("io", place * size, size) for place in range(places)]
            if discard and begun[volume]:
                laps[volume].insert(0, ("discard", 0, places * size))
            begun[volume] = True
        out.append((volume, *laps[volume].pop(0)))
    return out
