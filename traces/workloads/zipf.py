"""Popularity that falls with a power of the rank: place k of n is asked for in proportion to k**-theta.

Sampled exactly and without a table for any theta >= 0, 1 and above included, by rejection-inversion (Hörmann,
Derflinger: Rejection-inversion to generate variates from monotone discrete distributions, ACM TOMACS 6(3), 1996):
the integral of x**-theta is inverted, the result rounded to the nearest rank, and refused in that part of the rank's
unit interval by which the integral over it exceeds what the rank is due. Of a hundred draws about two need that closer
look; the others are accepted at first sight.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.kernel import inline_kernel, kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import U64
from traces.workloads.draws import draw, exp, exp_m1, ln, ln_1p, unit
from traces.workloads.workload import Lane, Shared, Workload, asked, block, new_plan, new_scatter, scatter, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Zipf(Shared):
    """Places by popularity, the most popular first."""

    theta: Annotated[
        float, Field(ge=0, le=64, description="skew: the place of rank k gets a share in proportion to k**-theta")
    ] = 0.99
    scattered: Annotated[
        bool, Field(description="popular places lie all over the volume, in a seeded order; else in order of rank")
    ] = True


class Law(NamedTuple):
    """The constants of rejection-inversion, named as in the paper where it has a name."""

    n: float
    theta: float
    a: float  # 1 - theta
    low: float  # H(x_1) - h(1): where the inverted interval begins
    span: float  # its length
    s: float  # a rank that is no further above x than this needs no closer look


@kernel
def _area(x: float, a: float) -> float:
    """H(x): the integral of t**(a - 1) from 1 to x."""
    return exp_m1(a * ln(x)) / a


@inline_kernel  # only then is the loop over draws vectorised: 120 instead of 32 million ranks a second
def _inverse(y: float, a: float) -> float:
    """The x of which `_area` is y."""
    return exp(ln_1p(a * y) / a)


@kernel
def law_of(n: float, theta: float) -> Law:
    """The law of ``n`` ranks."""
    # 2**-60 stands for 0: exp_m1(a*x)/a is then x to the last bit, and the logarithm needs no branch of its own
    a = 1.0 - theta if theta != 1.0 else 2.0**-60
    low = _area(1.5, a) - 1.0
    return Law(n, theta, a, low, _area(n + 0.5, a) - low, 2.0 - _inverse(_area(2.5, a) - exp(-theta * ln(2.0)), a))


@inline_kernel
def _rank(law: Law, bits: np.uint64) -> tuple[float, bool, float]:
    """A rank, whether it is accepted at first sight, and the point of the interval it comes from."""
    u = law.low + law.span * unit(bits)
    x = _inverse(u, law.a)
    k = min(max(np.floor(x + 0.5), 1.0), law.n)
    return k, k - x <= law.s, u


@kernel
def draw_ranks(law: Law, key: np.uint64, again: np.uint64, begin: int, out: U64) -> None:
    """Ranks counted from 0. The first loop, which is vectorised, leaves n where a closer look is needed."""
    n = np.uint64(law.n)
    for i in range(out.size):
        k, accepted, _ = _rank(law, draw(key, np.uint64(begin + i)))
        out[i] = np.uint64(np.int64(k) - 1) if accepted else n
    for i in range(out.size):
        if out[i] != n:
            continue
        bits, tries = draw(key, np.uint64(begin + i)), draw(again, np.uint64(begin + i))
        attempt = np.uint64(0)
        while True:
            k, accepted, u = _rank(law, bits)
            if accepted or u >= _area(k + 0.5, law.a) - exp(-law.theta * ln(k)):
                break
            bits = draw(tries, attempt)
            attempt += np.uint64(1)
        out[i] = np.uint64(np.int64(k) - 1)


def generate(config: Zipf, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan, law = new_plan(config), law_of(float(config.places), config.theta)
    shuffle = new_scatter(plan) if config.scattered else None
    key, again = plan.lanes[Lane.PLACE], plan.lanes[Lane.AGAIN]
    for begin, out in asked(plan, rows):
        draw_ranks(law, key, again, begin, out.place)
        if shuffle is not None:
            scatter(shuffle, out)
        yield block(plan, out)


def skewed_writes(theta: float) -> Category:
    """What random writes of this skew are: from 0.5 on the first tenth of a million places gets over three tenths."""
    if theta >= 0.5:
        return Category.RAND_WRITE_SKEWED
    return Category.RAND_WRITE_UNIFORM if theta <= 0.1 else Category.UNKNOWN


def _category(config: Zipf) -> Category:
    return config.mostly(writes=skewed_writes(config.theta), reads=Category.READ_RANDOM)


WORKLOAD = Workload(
    "zipf",
    "block",
    "popularity that falls with a power of the rank",
    Zipf,
    generate,
    whole("zipf", _category),
)
