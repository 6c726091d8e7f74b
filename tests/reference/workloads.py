"""The laws that generators follow, told in plain Python: slow, and plainly right."""

import math
import random
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


def strided(places: int, stride: int, shifted: bool) -> list[int]:
    """The places of one lap."""
    if not shifted:
        return list(range(0, places, stride))
    return [place for first in range(stride) for place in range(first, places, stride)]


def interrupted_poisson(rate: float, burst: float, busy: float, count: int, seed: int) -> list[float]:
    """Gaps between requests that come while a switch is on, watched as they happen; seconds."""
    rng = random.Random(seed)
    inside, silence = rate / busy, burst * (1 - busy) / busy
    now, last, gaps = 0.0, 0.0, list[float]()
    left = rng.expovariate(1 / burst)  # of the burst
    while len(gaps) < count:
        gap = rng.expovariate(inside)
        if gap < left:
            now, left = now + gap, left - gap
            gaps.append(now - last)
            last = now
        else:  # by lack of memory, what was drawn beyond the burst's end counts for nothing
            now += left + rng.expovariate(1 / silence)
            left = rng.expovariate(1 / burst)
    return gaps


def b_model(
    requests: int, bias: float, depth: int, key: int, cell: tuple[int, int] = (0, 0)
) -> list[tuple[float, float, int]]:
    """(begin, end, requests) of every cell that is not halved any more, as shares of the whole."""
    level, index = cell
    if requests == 0:
        return []
    if level == depth or requests == 1:
        return [(index / 2**level, (index + 1) / 2**level, requests)]
    bits = splitmix64((key + (2**level + index) * 0x9E3779B97F4A7C15) % WORD, 1)[0]
    share = requests * bias
    more = math.floor(share)
    more += ((bits >> 12) + 0.5) / 2**52 < share - more
    first = requests - more if bits % 2 else more
    halves = [
        b_model(count, bias, depth, key, (level + 1, 2 * index + side))
        for side, count in ((0, first), (1, requests - first))
    ]
    return halves[0] + halves[1]


class Log:
    """A log in segments on one volume: what may be asked of it next."""

    def __init__(self, places: int, segment: int, discard: bool) -> None:
        self.places, self.segment, self.discard = places // segment * segment, segment, discard
        self.live: list[int] = []  # the newest last
        self.head = 0
        self.discarded = True  # the first lap begins on an empty volume

    def append(self, place: int, length: int) -> None:
        """Write at the head, not beyond the segment's end."""
        assert place == self.head
        assert length <= self.segment - place % self.segment
        if self.discard and place % self.segment == 0:
            assert self.discarded, "a segment was overwritten without a discard"
            self.discarded = False
        for each in range(place, place + length):
            if not self.discard and each in self.live:
                self.live.remove(each)
            assert each not in self.live
            self.live.append(each)
        self.head = (place + length) % self.places
        if self.head % self.segment == 0 and self.head not in self.live:
            self.discarded = True

    def give_up(self, place: int, length: int) -> None:
        """Discard the segment that is to be written next."""
        assert self.discard
        assert not self.discarded
        assert (place, length) == (self.head, self.segment)
        assert place % self.segment == 0
        assert set(range(place, place + length)) <= set(self.live)
        self.live = [each for each in self.live if not place <= each < place + length]
        self.discarded = True

    def age(self, place: int) -> float:
        """Of what is live, the share that is newer than this place."""
        return (len(self.live) - 1 - self.live.index(place)) / len(self.live)


def checkpoints(every: int, writes: int, count: int) -> list[tuple[str, int]]:
    """("sample", n), ("write", n of its checkpoint) or ("flush", checkpoint): what one volume does first."""
    out: list[tuple[str, int]] = []
    sample = checkpoint = 0
    while len(out) < count:
        for _ in range(every):
            out.append(("sample", sample))
            sample += 1
        out += [("write", n) for n in range(writes)]
        out.append(("flush", checkpoint))
        checkpoint += 1
    return out[:count]


def boots(starts: Sequence[float], requests: Sequence[int], gaps: Sequence[float]) -> list[tuple[float, int, int]]:
    """(when, volume, number) of all requests: each volume by itself, then all sorted."""
    out = []
    for volume, (start, count) in enumerate(zip(starts, requests, strict=True)):
        now = start
        for number in range(count):
            if number:
                now += gaps[2 if number >= 0.8 * count else 1 if number >= 0.1 * count else 0]
            out.append((now, volume, number))
    return sorted(out)


def merged(files: Sequence[tuple[int, int, int]]) -> dict[int, float]:
    """The share of each key that files (lo, hi, places) hold together, if each holds its keys independently."""
    shares: dict[int, float] = {}
    for lo, hi, places in files:
        for key in range(lo, hi):
            shares[key] = 1 - (1 - shares.get(key, 0.0)) * (1 - places / (hi - lo))
    return shares
