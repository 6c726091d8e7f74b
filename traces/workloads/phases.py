"""A schedule of the other block generators, with known labels: see `traces.workloads.schedule`.

All phases work on the same volumes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kinds import ROWS
from traces.workloads.parts import PARTS
from traces.workloads.schedule import Kit, PhaseList, Schedule, one_after_the_other, parsed, spans
from traces.workloads.workload import Workload

_DAY = (
    "idle 60s",
    "boot-storm 100000 rate=20000",
    "oltp 200000",
    "zipf 100000 theta=1.1",
    "uniform 100000",
    "log-append 100000",
    "uniform 100000 reads=1",
    "sequential 100000 reads=1 size=128KiB",
    "ai-checkpoint 100000 every=2000",
    "archival 50000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases(Schedule):
    """Phases, one after the other."""

    phases: PhaseList = tuple(parsed(line) for line in _DAY)
    volumes: Annotated[int, Field(ge=1, le=1 << 16, description="volumes, the same for all phases")] = 4
    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 34

    def kit(self) -> Kit:
        """The generators of block traces that are one thing from end to end."""
        return Kit(PARTS, "requests", {"volumes": self.volumes, "capacity": self.capacity}, {})

    @property
    def names(self) -> list[str]:
        """The volumes by number."""
        return [str(volume) for volume in range(self.volumes)]


def generate(config: Phases, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    yield from one_after_the_other(config, rows)


WORKLOAD = Workload("phases", "block", "a schedule of the others, with known labels", Phases, generate, spans)
