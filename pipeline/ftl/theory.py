"""Write amplification in closed form: uniform random page writes on a full drive, in steady state.

Symbols as in the literature: T, U physical and user blocks, alpha = T/U, rho = 1/alpha, spare S_f = 1 - rho, b pages a
block, A write amplification. All functions take the spare as a share in (0, 1) and return A; none is defined
outside, and each says so with a ValueError.

Sources. FIFO, and greedy as b grows: Menon, IBM J. Res. Dev. 39(4), 1995; Desnoyers, "Analytic modeling of SSD write
performance", SYSTOR 2012. Greedy with finite b: compare Bux and Iliadis, Performance Evaluation 67(11), 2010, and
Desnoyers, ACM TOS 10(2), 2014; here in the mean-field form, in which a block with i valid pages loses the next after
a time in proportion to 1/i, and the times add up to harmonic numbers. d-choices: Van Houdt, "A mean field model
for a class of garbage collection algorithms in flash-based solid state drives", SIGMETRICS 2013.
"""

from collections.abc import Callable
from functools import lru_cache
from math import floor, log1p

import numpy as np

from pipeline.ftl.victim import Victim


def _checked(spare: float) -> float:
    if not 0 < spare < 1:
        raise ValueError(f"spare must lie between 0 and 1, got {spare}")
    return spare


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises from below 0 passes it, to the last bits; ``high`` where it stays below.

    False position with the Illinois step (Dowell, Jarratt, BIT 11, 1971), halving where that is slow. SciPy's brentq
    does the same; to import it took 0.4 s of a replay's 2.
    """
    below, above, at, side = f(low), f(high), low, 0
    if above <= 0:
        return high
    for step in range(200):
        at = (low * above - high * below) / (above - below) if step % 4 else (low + high) / 2
        value = f(at)
        if value == 0 or high - low <= 4e-16 * (abs(low) + abs(high)):
            break
        if value < 0:
            low, below = at, value
            above /= 2 if side < 0 else 1
            side = -1
        else:
            high, above = at, value
            below /= 2 if side > 0 else 1
            side = 1
    return at


def fifo(spare: float) -> float:
    """A = alpha / (alpha + W0(-alpha e^-alpha)), for any b: the root of alpha = -A ln(1 - 1/A)."""
    alpha = 1 / (1 - _checked(spare))
    return 1 / _root(lambda x: -log1p(-x) / x - alpha, 1e-15, 1 - 1e-15)


def greedy(spare: float, pages: int) -> float:
    """A = b / (b - x) with x the valid pages of a victim: (b - x) / (b rho) = H_b - H(x), H linear between integers."""
    rho = 1 - _checked(spare)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, pages + 1))])

    def balance(x: float) -> float:
        low = min(floor(x), pages - 1)
        at_x = harmonic[low] + (x - low) * (harmonic[low + 1] - harmonic[low])
        return float((pages - x) / (pages * rho) - (harmonic[pages] - at_x))

    # x = b is always a root and means nothing; the one sought has balance > 0 above it and < 0 below
    high = pages - 1e-9
    if balance(0.0) >= 0:
        return 1.0
    x = _root(balance, 0.0, high) if balance(high) > 0 else high
    return float(pages / (pages - x))


def d_choices(spare: float, pages: int, choices: int) -> float:
    """A = 1 / (c rho), from S_i = S_(i+1) + (1 - S_i^d) / (c i), i = b..1, S_(b+1) = 0, sum over i of S_i = b rho.

    S_i is the share of blocks with at least i valid pages; d = 1 is the random victim.
    """
    rho = 1 - _checked(spare)

    def shortage(c: float) -> float:
        above = total = 0.0
        for i in range(pages, 0, -1):
            s = min(above + 1 / (c * i), 1.0)
            while True:  # Newton from above on a rising convex function: falls to the root and stays
                value = s - above - (1 - s**choices) / (c * i)
                step = value / (1 + choices * s ** (choices - 1) / (c * i))
                s -= step
                if step < 1e-13:
                    break
            above = s
            total += s
        return pages * rho - total

    return 1 / (_root(shortage, 1e-6, 1 / rho) * rho)


def random(spare: float) -> float:
    """A = 1 / S_f."""
    return 1 / _checked(spare)


@lru_cache(maxsize=4096)
def write_amplification(victim: Victim, spare: float, pages: int, choices: int) -> float | None:
    """A of a policy, None where it has no closed form here (cost-benefit, windowed) or the spare is none."""
    if not 0 < spare < 1:
        return None
    match victim:
        case Victim.GREEDY | Victim.GREEDY_FIRST:
            return greedy(spare, pages)
        case Victim.FIFO:
            return fifo(spare)
        case Victim.RANDOM:
            return random(spare)
        case Victim.D_CHOICES:
            return d_choices(spare, pages, choices)
        case _:
            return None
