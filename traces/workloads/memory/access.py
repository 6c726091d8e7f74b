"""What every generator of memory accesses is: a configuration in, batches of loads and stores in time order out.

Each address space has as many processors as the others; all of them run the same thing side by side and access in
turn, one access each. Every access comes from a place in the program (`Site`), which has an instruction address of its
own and a word. A generator decides where an access goes and from which site; when it comes and who makes it is decided
here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kernel import kernel
from traces.memory import Op
from traces.table import U8, U32, U64
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
from traces.workloads.draws import draws
from traces.workloads.workload import LONGEST

_TEXT = 0x400000  # where the program lies
_APART = 16  # bytes from one site's instruction to the next one's
_LAST = 1 << 57  # addresses of five-level page tables end here


class Site(IntEnum):
    """Places in the program. New ones go to the end: an instruction's address follows from its place in this list."""

    NEXT = 0
    FIELD_LOAD = 1
    FIELD_STORE = 2
    COPY_A = 3
    COPY_C = 4
    SCALE_C = 5
    SCALE_B = 6
    ADD_A = 7
    ADD_B = 8
    ADD_C = 9
    TRIAD_B = 10
    TRIAD_C = 11
    TRIAD_A = 12
    CENTRE = 13
    WEST = 14
    EAST = 15
    NORTH = 16
    SOUTH = 17
    BELOW = 18
    ABOVE = 19
    RESULT = 20
    PAGE_LOAD = 21
    PAGE_STORE = 22


_STORES = (Site.FIELD_STORE, Site.COPY_C, Site.SCALE_B, Site.ADD_C, Site.TRIAD_A, Site.RESULT, Site.PAGE_STORE)
_OP = np.full(len(Site), Op.LOAD, np.uint8)
_OP[list(_STORES)] = Op.STORE
_WORDS = pl.Enum([site.name.lower().replace("_", " ") for site in Site])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """What every generator of memory accesses is asked for."""

    accesses: Annotated[int, Field(ge=1, le=1 << 40, description="accesses to make")] = 1_000_000
    spaces: Annotated[int, Field(ge=1, le=1 << 16, description="address spaces (programs, VMs)")] = 1
    cpus: Annotated[int, Field(ge=1, le=1 << 10, description="processors of each address space")] = 1
    footprint: Annotated[Bytes, Field(ge=64, le=1 << 48, description="bytes of each space's data, at most")] = 1 << 26
    size: Annotated[int, Field(ge=1, le=64, description="bytes of an access: a power of two")] = 8
    base: Annotated[Bytes, Field(ge=0, lt=_LAST, description="where the data begin, the same in all spaces")] = 1 << 32
    rate: Annotated[float, Field(gt=0, le=1e12, description="accesses per second, of all spaces, on average")] = 1e8
    arrival: AsArrival = Arrival.FIXED
    burst: Burst = 10**6
    busy: Busy = 0.1
    bias: Bias = 0.7
    grain: Grain = 1000
    gap: Annotated[
        int, Field(ge=0, le=1 << 32, description="instructions between an access and its processor's next one")
    ] = 2
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        if self.size & (self.size - 1):
            raise ValueError(f"size ({self.size} bytes) is no power of two")
        if self.base % 64:
            raise ValueError(f"base ({self.base}) is not a multiple of 64")
        check_bursts(self, self.arrival)
        if self.base + self.footprint > _LAST:
            raise ValueError(f"base + footprint is {self.base + self.footprint}: past the last address, 2**57 - 1")
        if self.accesses > self.rate * LONGEST:
            raise ValueError(
                f"{self.accesses} accesses at a rate of {self.rate:g} last over {LONGEST // 86400} days: raise rate"
            )

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.accesses

    @property
    def names(self) -> list[str]:
        """The address spaces by number."""
        return [str(space) for space in range(self.spaces)]


class Lane(IntEnum):
    """What a draw is for. New ones go to the end: a place in this list is part of every seed's trace."""

    GAP = 0
    BURST = 1
    ORDER = 2
    STORE = 3
    PAGE = 4
    AGAIN = 5
    WITHIN = 6


class Plan(NamedTuple):
    """What the kernels take of a configuration."""

    accesses: int
    spaces: int
    cpus: int
    size: int
    base: int
    lanes: U64  # [lane] -> its key
    arrivals: Process


class Batch(NamedTuple):
    """One batch, as generators fill it."""

    time: U64
    space: U32
    cpu: U32
    address: U64
    site: U8


def new_plan(config: Accesses) -> Plan:
    """The kernels' view of a configuration, at the trace's beginning."""
    lanes = draws(int(draws(config.seed, 1)[0]), len(Lane))
    bursts = Bursts(config.burst, config.busy, config.bias, config.grain)
    arrivals = new_process(config.arrival, config.accesses, config.rate, bursts, lanes[[Lane.GAP, Lane.BURST]])
    return Plan(config.accesses, config.spaces, config.cpus, config.size, config.base, lanes, arrivals)


@kernel
def _who(plan: Plan, begin: int, out: Batch) -> None:
    """Fill time, space and processor."""
    arrive(plan.arrivals, begin, out.time)
    space_of, cpu_of = out.space, out.cpu
    turn = begin % (plan.spaces * plan.cpus)
    space, cpu = turn // plan.cpus, turn % plan.cpus
    for i in range(space_of.size):
        space_of[i], cpu_of[i] = space, cpu
        cpu += 1
        if cpu == plan.cpus:
            cpu = 0
            space = space + 1 if space + 1 < plan.spaces else 0


def accessed(plan: Plan, rows: int) -> Iterator[tuple[int, Batch]]:
    """Batches, each with the number of its first access, without address and site."""
    for begin in range(0, plan.accesses, rows):
        n = min(rows, plan.accesses - begin)
        out = Batch(*(np.empty(n, kind) for kind in ("u8", "u4", "u4", "u8", "u1")))
        _who(plan, begin, out)
        yield begin, out


class Frames:
    """Makes rows of the table `Memory`: what is the same in all of them is kept from batch to batch."""

    def __init__(self, config: Accesses) -> None:
        self._same = (("size", config.size, pl.UInt64), ("accesses", 1, pl.UInt32), ("gap", config.gap, pl.UInt64))
        self._columns: dict[str, pl.Series] = {}

    def rows(self, batch: Batch) -> pl.DataFrame:
        """A finished batch."""
        n = batch.time.size
        if not self._columns or self._columns["size"].len() < n:
            self._columns = {
                name: pl.Series(name, [value], dtype).new_from_index(0, n)
                for name, value, dtype in (*self._same, ("weight", 0, pl.UInt32))
            }
        same = {name: column[:n] for name, column in self._columns.items()}
        return pl.DataFrame(
            {
                "time": batch.time,
                "op": _OP[batch.site],
                "space": batch.space,
                "cpu": batch.cpu,
                "address": batch.address,
                "size": same["size"],
                "accesses": same["accesses"],
                "ip": np.uint64(_TEXT) + batch.site * np.uint64(_APART),
                "gap": same["gap"],
                "weight": same["weight"],
                "raw": pl.Series(batch.site).cat.to(_WORDS),
            }
        )
