"""What every generator is: a configuration in, batches of block requests in time order out.

A generator decides where a request goes; when it comes, whether it reads and which volume it asks are decided here,
in the same way for all of them, each by draws of its own (`Lane`): changing one changes nothing of the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Flag, Op
from traces.config import Bytes, to_json
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category, Span
from traces.table import U8, U16, U32, U64
from traces.workloads.arrival import (
    Arrival,
    AsArrival,
    Bias,
    Burst,
    Bursts,
    Busy,
    Grain,
    Process,
    arrive,
    check_bursts,
    new_process,
)
from traces.workloads.draws import SHARE, Shuffle, below, chance, draw, draws, new_shuffle, shuffled

A = TypeVar("A", bound="Asked")
C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

LONGEST = 10**8  # seconds; times then stay below 2**63 ns even if every Poisson gap were the longest there is
_PLACES = 1 << 40  # of a volume: up to there a draw's finite grid favours no place by more than 2**-12 of its share
_MOSTLY = 0.8  # of the requests alike: one category; less: between two of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every generator is asked for."""

    requests: Annotated[int, Field(ge=1, le=1 << 40, description="requests to make")] = 1_000_000
    volumes: Annotated[int, Field(ge=1, le=1 << 16, description="volumes that the requests are spread over")] = 1
    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 30
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of each request; offsets are multiples of it")
    ] = 4096
    reads: Annotated[float, Field(ge=0, le=1, description="share of the requests that read; the others write")] = 0.0
    rate: Annotated[float, Field(gt=0, le=1e9, description="requests per second, over all volumes, on average")] = 1e4
    arrival: AsArrival = Arrival.POISSON
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        if self.capacity < self.size:
            raise ValueError(f"capacity ({self.capacity} bytes) is less than one request ({self.size} bytes)")
        if self.places > _PLACES:
            raise ValueError(
                f"capacity / size is {self.places} places a volume; {_PLACES} at most: lower capacity or raise size"
            )
        if self.requests > self.rate * LONGEST:
            raise ValueError(
                f"{self.requests} requests at a rate of {self.rate:g} last over {LONGEST // 86400} days: raise rate"
            )

    @property
    def places(self) -> int:
        """Where a request can go within a volume: every multiple of its size."""
        return self.capacity // self.size

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.requests

    @property
    def names(self) -> list[str]:
        """The volumes by number."""
        return [str(volume) for volume in range(self.volumes)]

    def in_places(self, length: int) -> int:
        """Bytes as a number of places: rounded down, one at least, a whole volume at most."""
        return min(max(1, length // self.size), self.places)

    def share_of_places(self, share: float) -> int:
        """A share of a volume as the nearest number of places."""
        return round(share * self.places)

    def mostly(self, *, writes: Category, reads: Category) -> Category:
        """The one where four of five requests write, the other where as many read, else unknown."""
        if self.reads >= _MOSTLY:
            return reads
        return writes if 1.0 - self.reads >= _MOSTLY else Category.UNKNOWN

    @property
    def bursts(self) -> Bursts:
        """What bursts are like, where it is asked for."""
        return Bursts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(Common):
    """What a generator is asked for besides whose requests come by themselves."""

    burst: Burst = Bursts().burst
    busy: Busy = Bursts().busy
    bias: Bias = Bursts().bias
    grain: Grain = Bursts().grain

    def __post_init__(self) -> None:
        Common.__post_init__(self)
        check_bursts(self, self.arrival)

    @property
    def bursts(self) -> Bursts:
        """What bursts are like, as far as the arrival has any."""
        return Bursts(self.burst, self.busy, self.bias, self.grain)


class Generate(Protocol[C_contra]):
    """Makes batches of ``rows`` rows of the kind's table, text as an Enum; the last may be shorter."""

    def __call__(self, config: C_contra, rows: int = ROWS) -> Iterator[pl.DataFrame]:
        """The trace; the same rows whatever ``rows`` is."""


class Asked(Protocol):
    """What every generator's configuration tells of the trace before it is made."""

    @property
    def records(self) -> int:
        """Rows that the trace will have: of some generators about so many."""

    @property
    def names(self) -> list[str]:
        """Its volumes (address spaces, producers) by number; of kinds whose rows name them, none."""


def _nothing(config: Any) -> dict[str, Iterable[pl.DataFrame]]:
    return {}


@dataclass(frozen=True, slots=True)
class Workload(Generic[A]):
    """One generator: a line of the list `traces.workloads.WORKLOADS`."""

    name: str
    kind: str
    doc: str
    config: type[A]
    generate: Generate[A]
    spans: Callable[[A], list[Span]]  # the truth about the trace, known before it is made
    truth: Callable[[A], Mapping[str, Iterable[pl.DataFrame]]] = _nothing  # further tables of `traces.truth.TRUTHS`


def whole(maker: str, label: Callable[[C], str]) -> Callable[[C], list[Span]]:
    """The spans of a trace that is one thing from end to end."""
    return lambda config: [Span(0, label(config), maker, to_json(config))]


class Lane(IntEnum):
    """What a draw is for. New ones go to the end: a place in this list is part of every seed's trace."""

    OP = 0
    VOLUME = 1
    GAP = 2
    PLACE = 3
    AGAIN = 4
    ORDER = 5
    HEAT = 6
    BURST = 7
    KIND = 8
    LENGTH = 9
    START = 10


class Plan(NamedTuple):
    """What the kernels take of a configuration."""

    requests: int
    volumes: int
    places: int
    size: int
    reads: int  # of SHARE
    lanes: U64  # [lane] -> its key
    arrivals: Process


class Requests(NamedTuple):
    """One batch, as generators fill it: the columns of `Block` that they decide, the address counted in places."""

    time: U64
    op: U8
    volume: U32
    place: U64
    length: U64
    stream: U32


def new_plan(config: Common) -> Plan:
    """The kernels' view of a configuration, at the trace's beginning."""
    lanes = draws(int(draws(config.seed, 1)[0]), len(Lane))
    keys = lanes[[Lane.GAP, Lane.BURST]]
    return Plan(
        requests=config.requests,
        volumes=config.volumes,
        places=config.places,
        size=config.size,
        reads=round(config.reads * SHARE),
        lanes=lanes,
        arrivals=new_process(config.arrival, config.requests, config.rate, config.bursts, keys),
    )


def new_scatter(plan: Plan, places: int = 0) -> Shuffle:
    """The permutations of all places, or of the first ``places``, one a volume, that `scatter` takes."""
    return new_shuffle(int(plan.lanes[Lane.ORDER]), plan.volumes, places or plan.places)


@kernel
def _ask(plan: Plan, begin: int, out: Requests) -> None:
    """Fill everything but the place."""
    arrive(plan.arrivals, begin, out.time)
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
def take_turns(plan: Plan, begin: int, out: Requests) -> None:
    """Give the requests to the volumes in turn, so that each of them sees an order."""
    volume = begin % plan.volumes
    for i in range(out.volume.size):
        out.volume[i] = volume
        volume = volume + 1 if volume + 1 < plan.volumes else 0


@kernel
def scatter(shuffle: Shuffle, out: Requests) -> None:
    """Send every place where its volume's permutation sends it."""
    for i in range(out.place.size):
        out.place[i] = shuffled(shuffle, out.volume[i], out.place[i])


_RAW = pl.Enum(["R", "W", "D", "F", "WF"])  # the block layer's words, in the order of `Op`; a write with FUA
_WITH_FUA = 4


def block(plan: Plan, requests: Requests, flags: U16 | None = None) -> pl.DataFrame:
    """A finished batch, which is used up, as rows of the table `Block`: latency is not known.

    Of the flags only FUA, and only on writes, has a word.
    """
    n = requests.time.size
    address = np.multiply(requests.place, np.uint64(plan.size), out=requests.place)
    op = words = pl.Series("op", requests.op)
    if flags is not None:
        words = pl.Series("op", np.where(flags == Flag.FUA, np.uint8(_WITH_FUA), requests.op))
    columns: list[Any] = [
        pl.Series("time", requests.time),
        op,
        pl.Series("volume", requests.volume),
        pl.Series("address", address),
        pl.Series("length", requests.length),
        pl.repeat(-1, n, dtype=pl.Int64, eager=True).alias("latency"),
        pl.Series("stream", requests.stream),
        pl.repeat(0, n, dtype=pl.UInt16, eager=True).alias("flags") if flags is None else pl.Series("flags", flags),
        words.cat.to(_RAW).alias("raw"),
    ]
    return pl.DataFrame(columns)
