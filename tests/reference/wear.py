"""The wear of a drive's blocks told in dicts and lists: slow, and plainly right."""

from collections import Counter
from math import cos, exp, floor, log, pi, sqrt

from tests.reference.ftl import SplitMix

DAY = 86_400 * 10**9


def rber(law: tuple[float, ...], cycles: float, days: float, reads: float) -> float:
    """eps + alpha c^k + beta c^m t^n + gamma c^p r^q."""
    eps, alpha, k, beta, m, n, gamma, p, q = law
    return float(eps + alpha * cycles**k + beta * cycles**m * days**n + gamma * cycles**p * reads**q)


class Limits:
    """Cycles that blocks stand, and which of them are bad from the factory."""

    def __init__(self, random: SplitMix, endurance: int, sigma: float, spread: str) -> None:
        self.random, self.endurance, self.sigma, self.spread = random, endurance, sigma, spread

    def normal(self) -> float:
        radius, angle = ((self.random.below(1 << 32) + 0.5) / (1 << 32) for _ in range(2))
        return sqrt(-2 * log(radius)) * cos(2 * pi * angle)

    def draw(self) -> int:
        if not self.sigma:
            return self.endurance
        z = self.normal()
        if self.spread == "lognormal":
            return max(1, floor(self.endurance * exp(self.sigma * z - self.sigma**2 / 2) + 0.5))
        return max(1, floor(self.endurance * (1 + self.sigma * z) + 0.5))

    def drawn(self, total: int, bad: int) -> tuple[list[int], set[int]]:
        """Limits, and so many bad ones of all: each by the chance of those left to find."""
        limits: list[int] = []
        found: set[int] = set()
        for block in range(total):
            if self.random.below(total - block) < bad - len(found):
                found.add(block)
            limits.append(self.draw())
        return limits, found


class Worn:
    """Blocks that are opened, closed, emptied and erased. What they stand (``limits``) and which are bad is given."""

    def __init__(
        self,
        limits: dict[int, int],
        bad: set[int],
        *,
        pages: int,
        logical: int,
        endurance: int,
        age: int = 0,
        levelling: str = "none",
        gap: int = 1,
        every: int = 1,
        retirement: str = "none",
        keep: int = 1,
        held: int = 1,
        law: tuple[float, ...] = (),
        correctable: float = 5e-3,
        retries: int = 0,
        gain: float = 0.5,
        unit: int = DAY,
    ) -> None:
        self.limits, self.pages, self.logical, self.endurance, self.age = limits, pages, logical, endurance, age
        self.levelling, self.gap, self.every = levelling, gap, every
        self.retirement, self.keep, self.held = retirement, keep, held
        self.law, self.correctable, self.retries, self.gain, self.unit = law, correctable, retries, gain, unit
        self.erases = dict.fromkeys(limits, 0)
        self.retired = set(bad)
        self.bad = len(bad)
        self.erased: list[int] = []  # in the order of their erasure
        self.closed: set[int] = set()
        self.opened: dict[int, int] = {}
        self.reads: Counter[int] = Counter()
        self.count: Counter[str] = Counter()
        self.most = self.since = self.hand = self.now = 0
        self.worn_out = False
        for block in limits:
            if block in bad:
                continue
            if age and self.is_worn(block):
                if self.spared(logical):
                    self.retired.add(block)
                    continue
                self.worn_out = True
            self.erased.append(block)

    # what blocks stand

    def cycles(self, block: int) -> int:
        return self.age + self.erases[block]

    def error_rate(self, block: int, days: float, reads: float) -> float:
        return rber(self.law, self.cycles(block) * (self.endurance / self.limits[block]), days, reads)

    def is_worn(self, block: int) -> bool:
        if self.retirement == "none":
            return False
        errs = bool(self.law) and self.error_rate(block, 0, 0) > self.correctable
        return self.cycles(block) >= self.limits[block] or errs

    def good(self) -> int:
        return len(self.limits) - len(self.retired)

    def spared(self, data: int) -> bool:
        """Whether the others hold the data, what is held back and a page to win."""
        return (self.good() - 1 - self.held) * self.pages > data

    def exported(self) -> int:
        if self.retirement != "capacity-variant":
            return self.logical
        return min(self.logical, max(0, (self.good() - self.held) * self.pages - 1))

    # a life

    def open(self) -> int:
        """Of blocks erased as often, the one erased first."""
        block = self.erased[0] if self.levelling == "none" else min(self.erased, key=self.erases.__getitem__)
        self.erased.remove(block)
        self.opened[block] = self.now
        return block

    def close(self, block: int) -> None:
        self.closed.add(block)

    def erase(self, block: int, mapped: int) -> bool:
        """Of a block that is not closed any more; whether it is retired."""
        self.erases[block] += 1
        self.reads[block] = 0
        self.most = max(self.most, self.erases[block])
        self.since += 1
        if self.is_worn(block):
            if not self.spared(mapped if self.retirement == "capacity-variant" else self.logical):
                self.worn_out = True
            elif len(self.erased) < self.keep:
                self.count["deferred"] += 1
            else:
                self.retired.add(block)
                return True
        self.erased.append(block)
        return False

    def read(self, block: int) -> tuple[int, bool]:
        if not self.law:
            return 0, False
        self.reads[block] += 1
        days = (self.now - self.opened.get(block, 0)) / self.unit
        errors, retries = self.error_rate(block, days, self.reads[block] / self.pages), 0
        while errors > self.correctable and retries < self.retries:
            errors, retries = errors * self.gain, retries + 1
        self.count["retries"] += retries
        self.count["lost"] += errors > self.correctable
        return retries, errors > self.correctable

    def coldest(self) -> int | None:
        """Of equals the first from where the last look ended."""
        if self.levelling != "static" or self.since < self.every:
            return None
        self.since = 0
        if not self.closed:
            return None
        least = min(self.erases[block] for block in self.closed)
        if self.most - least <= self.gap:
            return None
        total = len(self.limits)
        order = sorted(self.closed, key=lambda block: (block - self.hand) % total)
        self.hand = next(block for block in order if self.erases[block] == least)
        return self.hand

    def distribution(self) -> list[int]:
        """Erases of the blocks in use, from the least."""
        return sorted(self.erases[block] for block in self.limits if block not in self.retired)
