"""When requests come: a process on its own, the same for every generator.

Fixed gaps, independent exponential ones (Poisson), and two kinds of bursts.

On-off: bursts of Poisson requests with silence between, both of exponentially distributed length. It is the interrupted
Poisson process, whose gaps are independent and follow a mixture of two exponentials (Kuczura: The interrupted Poisson
process as an overflow process, Bell System Technical Journal 52(3), 1973): sampled as such, exactly and without state.
Its bursts have one time scale; seen from far away the requests look smooth.

B-model: bursts at all time scales (self-similar), one parameter. The span of the trace is halved, one half, which a
coin chooses, gets the share ``bias`` of the requests, and so on in each half (Wang, Madhyastha, Chan, Papadimitriou,
Faloutsos: Data mining meets performance evaluation: fast algorithms for modeling bursty traffic, ICDE 2002). Our
choices: shares that are no whole number of requests are rounded up with the probability of their fraction, and
intervals of less than ``grain`` are not halved; requests lie in them independently and evenly.
"""

import math
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from traces.config import ByName, Nanoseconds, spelled, without_effect
from traces.kernel import kernel
from traces.table import F64, U64
from traces.workloads.draws import SHARE, chance, draw, exp, ln, unit


class Arrival(IntEnum):
    """How requests follow each other."""

    FIXED = 0
    POISSON = 1
    ON_OFF = 2
    B_MODEL = 3


# What a generator's configuration says of it, in the same words whatever it is that arrives.
AsArrival = Annotated[
    ByName[Arrival],
    Field(
        description="fixed: equal gaps between requests; poisson: independent, exponentially distributed gaps; "
        "on-off: bursts of one time scale; b-model: bursts on all time scales (self-similar)"
    ),
]
Burst = Annotated[
    Nanoseconds, Field(ge=1000, le=86400 * 10**9, description="on-off: how long a burst lasts on average")
]
Busy = Annotated[
    float, Field(ge=0.01, le=0.99, description="on-off: share of the time that is burst; the rest is silence")
]
Bias = Annotated[
    float, Field(ge=0.5, le=0.95, description="b-model: share of an interval's requests in one half of it")
]
Grain = Annotated[Nanoseconds, Field(ge=1, description="b-model: within intervals of this length requests come evenly")]


def check_bursts(config: Any, arrival: Arrival) -> None:
    """ValueError where a configuration says what bursts are like, and its arrival has none that are so."""
    for keys, of in ((("burst", "busy"), Arrival.ON_OFF), (("bias", "grain"), Arrival.B_MODEL)):
        if arrival != of:
            without_effect(config, keys, f"where arrival is {spelled(arrival)}; it is for {spelled(of)}")


_CLOCK = np.dtype(
    [
        ("at", "u8"),  # whole nanoseconds...
        ("rest", "f8"),  # ... and the part of one that is left over
        ("seen", "u8"),  # b-model: nanoseconds of the last request; `stretch`: of the process that is stretched
        ("origin", "u8"),  # b-model: where the first request fell
        ("top", "i8"),  # b-model: cells on the stack
        ("left", "u8"),  # b-model: requests yet to come in the current cell...
        ("point", "f8"),  # ... which has been used up to here...
        ("end", "f8"),  # ... and ends here
    ]
)
_CELL = np.dtype([("level", "u8"), ("index", "u8"), ("count", "u8")])
_DEEPEST = 62  # halvings: the number of a cell must fit in 63 bits


class Process(NamedTuple):
    """One arrival process; only the clock and the stack change."""

    kind: Arrival
    requests: int
    rate: float  # a second
    gap: np.uint64  # keys of the lanes it draws from
    which: np.uint64
    share: int  # on-off: of SHARE, the gaps of the kind ``within``
    within: float  # on-off: mean gap of either kind, in nanoseconds
    between: float
    bias: float
    depth: int  # b-model: halvings
    clock: NDArray[np.void]
    stack: NDArray[np.void]


class Bursts(NamedTuple):
    """What bursts are like; which of these count depends on the `Arrival`."""

    burst: int = 10**9  # mean length of a burst, nanoseconds
    busy: float = 0.1  # share of the time that is burst
    bias: float = 0.7
    grain: int = 10**6  # nanoseconds


def new_process(kind: Arrival, requests: int, rate: float, bursts: Bursts, keys: U64) -> Process:
    """A process at its beginning; ``rate`` is its mean, silence included, ``keys`` are those of two lanes."""
    mean = 1e9 / rate
    inside = 1.0 / (mean * bursts.busy)  # requests a nanosecond while the burst lasts
    ends = 1.0 / bursts.burst  # bursts end at this rate, and silence at the next
    begins = ends * bursts.busy / (1.0 - bursts.busy)
    total = inside + begins + ends
    fast = (total + math.sqrt(total * total - 4.0 * inside * begins)) / 2.0
    slow = inside * begins / fast
    share = (inside - slow) / (fast - slow)
    halvings = (math.ceil(requests * mean / bursts.grain) - 1).bit_length()  # the fewest that leave a grain or less
    stack = np.zeros(_DEEPEST + 2, _CELL)
    stack[0]["count"] = requests
    clock = np.zeros(1, _CLOCK)
    clock["top"] = 1
    return Process(
        kind=kind,
        requests=requests,
        rate=rate,
        gap=keys[0],
        which=keys[1],
        share=round(share * SHARE),
        within=1.0 / fast,
        between=1.0 / slow,
        bias=bursts.bias,
        depth=min(halvings, _DEEPEST),
        clock=clock,
        stack=stack,
    )


@kernel
def _renewal(process: Process, begin: int, at: U64) -> None:
    """Independent gaps."""
    key = process.gap
    if process.kind == Arrival.POISSON:
        mean = -1e9 / process.rate
        for i in range(at.size):  # apart from the sum below, which cannot be vectorised
            at[i] = np.float64(ln(unit(draw(key, np.uint64(begin + i)))) * mean).view(np.uint64)
    else:
        within, between, share = -process.within, -process.between, np.uint64(process.share)
        which = process.which
        for i in range(at.size):
            number = np.uint64(begin + i)
            mean = within if chance(draw(which, number), share) else between
            at[i] = np.float64(ln(unit(draw(key, number))) * mean).view(np.uint64)
    if begin == 0:
        at[0] = np.uint64(0)
    now, rest = process.clock[0].at, process.clock[0].rest
    for i in range(at.size):
        rest += np.uint64(at[i]).view(np.float64)
        whole = np.floor(rest)
        rest -= whole
        now += np.uint64(whole)
        at[i] = now
    process.clock[0].at, process.clock[0].rest = now, rest


@kernel
def _next_cell(process: Process) -> None:
    """Go down to the next cell that is not halved any more."""
    clock, stack = process.clock[0], process.stack
    one, depth, bias = np.uint64(1), np.uint64(process.depth), process.bias
    span = process.requests * 1e9 / process.rate
    top = clock.top
    while True:
        top -= 1
        level, index, count = stack[top].level, stack[top].index, stack[top].count
        if level == depth or count == one:  # a single request is anywhere in its cell: coins would say the same
            width = span / np.float64(np.int64(one << level))
            clock.point = np.float64(np.int64(index)) * width
            clock.end = np.float64(np.int64(index + one)) * width
            clock.left = count
            break
        bits = draw(process.which, (one << level) + index)
        share = np.float64(np.int64(count)) * bias
        more = np.floor(share)
        more += 1.0 if unit(bits) < share - more else 0.0
        first = np.uint64(np.int64(more))
        if bits & one:
            first = count - first
        if count > first:
            stack[top].level, stack[top].index, stack[top].count = level + one, index + index + one, count - first
            top += 1
        if first > np.uint64(0):
            stack[top].level, stack[top].index, stack[top].count = level + one, index + index, first
            top += 1
    clock.top = top


@kernel
def _b_model(process: Process, begin: int, at: U64) -> None:
    """Cells in order of time, requests in order within each: of k that are left the next is the least of k."""
    clock, key = process.clock[0], process.gap
    step, start, end = np.empty(at.size), np.empty(at.size), np.empty(at.size)
    for i in range(at.size):
        if clock.left == np.uint64(0):
            _next_cell(process)
        step[i], start[i], end[i] = np.float64(np.int64(clock.left)), clock.point, clock.end
        clock.left -= np.uint64(1)
        clock.point = -1.0  # only the first request of a cell begins at its beginning
    for i in range(at.size):
        step[i] = exp(ln(unit(draw(key, np.uint64(begin + i)))) / step[i])  # of the rest of the cell, what stays
    point, last = clock.rest, clock.seen
    for i in range(at.size):
        point = start[i] if start[i] >= 0.0 else point
        point = end[i] - (end[i] - point) * step[i]
        last = max(last, np.uint64(np.int64(point)))  # ends of neighbouring cells may differ by a rounding
        at[i] = last
    if begin == 0:
        clock.origin = at[0]
    clock.rest, clock.seen = point, last
    for i in range(at.size):
        at[i] -= clock.origin


@kernel
def arrive(process: Process, begin: int, at: U64) -> None:
    """The times of requests ``begin`` and after, in nanoseconds, the first request's being 0. Batches go in order."""
    if process.kind == Arrival.FIXED:
        for i in range(at.size):
            at[i] = np.uint64((begin + i) * 1e9 / process.rate + 0.5)
    elif process.kind == Arrival.B_MODEL:
        _b_model(process, begin, at)
    else:
        _renewal(process, begin, at)


def new_clock() -> NDArray[np.void]:
    """What `stretch` keeps between batches."""
    return np.zeros(1, _CLOCK)


@kernel
def stretch(clock: NDArray[np.void], factor: F64, at: U64) -> None:
    """Make the gap before each request ``factor`` times as long, in place. Batches go in order."""
    now, rest, seen = clock[0].at, clock[0].rest, clock[0].seen
    for i in range(at.size):
        rest += np.float64(np.int64(at[i] - seen)) * factor[i]
        seen = at[i]
        whole = np.floor(rest)
        rest -= whole
        now += np.uint64(whole)
        at[i] = now
    clock[0].at, clock[0].rest, clock[0].seen = now, rest, seen
