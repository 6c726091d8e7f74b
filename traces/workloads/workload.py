"""What every generator is: a configuration in, batches of block requests in time order out.

A generator decides where a request goes; when it comes, whether it reads and which volume it asks are decided here,
in the same way for all of them, each by draws of its own (`Lane`): changing one changes nothing of the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from traces.block import Op
from traces.config import ByName, Bytes
from traces.kernel import kernel
from traces.store import ROWS
from traces.table import U8, U32, U64
from traces.workloads.draws import SHARE, Shuffle, below, chance, draw, draws, ln, new_shuffle, shuffled, unit

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

_LONGEST = 10**8  # seconds; times then stay below 2**63 ns even if every Poisson gap were the longest there is
_PLACES = 1 << 40  # of a volume: up to there a draw's finite grid favours no place by more than 2**-12 of its share


class Arrival(IntEnum):
    """How requests follow each other."""

    FIXED = 0
    POISSON = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What every generator is asked for."""

    requests: Annotated[int, Field(ge=1, le=1 << 40, description="requests to make")] = 1_000_000
    volumes: Annotated[int, Field(ge=1, le=1 << 16, description="volumes that the requests are spread over")] = 1
    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 30
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of each request; offsets are multiples of it")
    ] = 4096
    reads: Annotated[float, Field(ge=0, le=1, description="share of the requests that read; the others write")] = 0.0
    rate: Annotated[float, Field(gt=0, le=1e9, description="requests per second, over all volumes, on average")] = 1e4
    arrival: Annotated[
        ByName[Arrival],
        Field(description="fixed: equal gaps between requests; poisson: independent, exponentially distributed gaps"),
    ] = Arrival.POISSON
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        if self.capacity < self.size:
            raise ValueError(f"capacity ({self.capacity} bytes) is less than one request ({self.size} bytes)")
        if self.places > _PLACES:
            raise ValueError(
                f"capacity / size is {self.places} places a volume; {_PLACES} at most: lower capacity or raise size"
            )
        if self.requests > self.rate * _LONGEST:
            raise ValueError(
                f"{self.requests} requests at a rate of {self.rate:g} last over {_LONGEST // 86400} days: raise rate"
            )

    @property
    def places(self) -> int:
        """Where a request can go within a volume: every multiple of its size."""
        return self.capacity // self.size


class Generate(Protocol[C_contra]):
    """Makes batches of ``rows`` rows of the table `Block`, ``raw`` as an Enum; the last may be shorter."""

    def __call__(self, config: C_contra, rows: int = ROWS) -> Iterator[pl.DataFrame]:
        """The trace; the same rows whatever ``rows`` is."""


@dataclass(frozen=True, slots=True)
class Workload(Generic[C]):
    """One generator: a line of the list `traces.workloads.WORKLOADS`."""

    name: str
    kind: str
    doc: str
    config: type[C]
    generate: Generate[C]


class Lane(IntEnum):
    """What a draw is for. New ones go to the end: a place in this list is part of every seed's trace."""

    OP = 0
    VOLUME = 1
    GAP = 2
    PLACE = 3
    AGAIN = 4
    ORDER = 5
    HEAT = 6


_CLOCK = np.dtype([("at", "u8"), ("rest", "f8")])  # whole nanoseconds, and the part of one that is left over


class Plan(NamedTuple):
    """What the kernels take of a configuration; only the clock changes."""

    requests: int
    volumes: int
    places: int
    size: int
    reads: int  # of SHARE
    rate: float
    arrival: Arrival
    lanes: U64  # [lane] -> its key
    clock: NDArray[np.void]


class Requests(NamedTuple):
    """One batch, as generators fill it: the columns of `Block` that they decide, the address counted in places."""

    time: U64
    op: U8
    volume: U32
    place: U64
    length: U64
    stream: U32


def new_plan(config: Shared) -> Plan:
    """The kernels' view of a configuration, at the trace's beginning."""
    return Plan(
        requests=config.requests,
        volumes=config.volumes,
        places=config.places,
        size=config.size,
        reads=round(config.reads * SHARE),
        rate=config.rate,
        arrival=config.arrival,
        lanes=draws(int(draws(config.seed, 1)[0]), len(Lane)),
        clock=np.zeros(1, _CLOCK),
    )


def new_scatter(plan: Plan) -> Shuffle:
    """The permutations of places, one a volume, that `scatter` takes."""
    return new_shuffle(int(plan.lanes[Lane.ORDER]), plan.volumes, plan.places)


@kernel
def _arrive(plan: Plan, begin: int, at: U64) -> None:
    """When the requests come: the first at 0, the others as `Arrival` says."""
    if plan.arrival == Arrival.FIXED:
        for i in range(at.size):
            at[i] = np.uint64((begin + i) * 1e9 / plan.rate + 0.5)
        return
    key, mean = plan.lanes[Lane.GAP], -1e9 / plan.rate
    for i in range(at.size):  # apart from the sum below, which cannot be vectorised
        at[i] = np.float64(ln(unit(draw(key, np.uint64(begin + i)))) * mean).view(np.uint64)
    if begin == 0:
        at[0] = np.uint64(0)
    now, rest = plan.clock[0].at, plan.clock[0].rest
    for i in range(at.size):
        rest += np.uint64(at[i]).view(np.float64)
        whole = np.floor(rest)
        rest -= whole
        now += np.uint64(whole)
        at[i] = now
    plan.clock[0].at, plan.clock[0].rest = now, rest


@kernel
def _ask(plan: Plan, begin: int, out: Requests) -> None:
    """Fill everything but the place."""
    _arrive(plan, begin, out.time)
    reads, volumes, size = np.uint64(plan.reads), np.uint64(plan.volumes), np.uint64(plan.size)
    key = plan.lanes[Lane.OP]
    for i in range(out.op.size):
        out.op[i] = Op.READ if chance(draw(key, np.uint64(begin + i)), reads) else Op.WRITE
    key = plan.lanes[Lane.VOLUME]
    for i in range(out.volume.size):
        out.volume[i] = below(draw(key, np.uint64(begin + i)), volumes)
    for i in range(out.length.size):
        out.length[i] = size
        out.stream[i] = 0


def asked(plan: Plan, rows: int) -> Iterator[tuple[int, Requests]]:
    """Batches, each with the number of its first request, complete but for the place."""
    for begin in range(0, plan.requests, rows):
        n = min(rows, plan.requests - begin)
        # polars takes these arrays over without a copy: every batch needs its own
        out = Requests(
            time=np.empty(n, np.uint64),
            op=np.empty(n, np.uint8),
            volume=np.empty(n, np.uint32),
            place=np.empty(n, np.uint64),
            length=np.empty(n, np.uint64),
            stream=np.empty(n, np.uint32),
        )
        _ask(plan, begin, out)
        yield begin, out


@kernel
def scatter(shuffle: Shuffle, out: Requests) -> None:
    """Send every place where its volume's permutation sends it."""
    for i in range(out.place.size):
        out.place[i] = shuffled(shuffle, out.volume[i], out.place[i])


_RAW = pl.Enum(["R", "W", "D"])  # in the order of `Op`


def block(plan: Plan, requests: Requests) -> pl.DataFrame:
    """A finished batch, which is used up, as rows of the table `Block`: latency is not known, no flags."""
    n = requests.time.size
    address = np.multiply(requests.place, np.uint64(plan.size), out=requests.place)
    op = pl.Series("op", requests.op)
    columns: list[Any] = [
        pl.Series("time", requests.time),
        op,
        pl.Series("volume", requests.volume),
        pl.Series("address", address),
        pl.Series("length", requests.length),
        pl.repeat(-1, n, dtype=pl.Int64, eager=True).alias("latency"),
        pl.Series("stream", requests.stream),
        pl.repeat(0, n, dtype=pl.UInt16, eager=True).alias("flags"),
        op.cat.to(_RAW).alias("raw"),
    ]
    return pl.DataFrame(columns)
