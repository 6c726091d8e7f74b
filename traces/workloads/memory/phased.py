"""A schedule of the other memory generators, with known labels: see `traces.workloads.schedule`.

All phases run on the same processors of the same address spaces, in the same data where they do not say how much or
where: a working set that grows, moves or changes its pattern.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kinds import ROWS
from traces.workloads.memory import pointer_chase, stencil, streaming, zipf_pages
from traces.workloads.schedule import Kit, PhaseList, Schedule, one_after_the_other, parsed, spans
from traces.workloads.workload import Workload

_LIST: tuple[Workload[Any], ...] = (
    pointer_chase.WORKLOAD,
    streaming.WORKLOAD,
    stencil.WORKLOAD,
    zipf_pages.WORKLOAD,
)

PARTS = {each.name: each for each in _LIST}

_PROGRAM = (
    "streaming 200000 kernel=copy",
    "zipf-pages 300000",
    "stencil 200000",
    "zipf-pages 300000 footprint=4MiB",
    "pointer-chase 200000",
    "streaming 200000 kernel=triad",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPhases(Schedule):
    """Phases, one after the other."""

    phases: PhaseList = tuple(parsed(line) for line in _PROGRAM)
    spaces: Annotated[int, Field(ge=1, le=1 << 16, description="address spaces, the same for all phases")] = 1
    cpus: Annotated[int, Field(ge=1, le=1 << 10, description="processors of each address space")] = 1
    footprint: Annotated[
        Bytes, Field(ge=64, le=1 << 48, description="bytes of each space's data in phases that do not set it")
    ] = 1 << 26
    base: Annotated[Bytes, Field(ge=0, description="where the data begin in phases that do not set it")] = 1 << 32

    def kit(self) -> Kit:
        """The generators of memory accesses that are one thing from end to end."""
        ours = {"spaces": self.spaces, "cpus": self.cpus}
        return Kit(PARTS, "accesses", ours, {"footprint": self.footprint, "base": self.base})

    @property
    def names(self) -> list[str]:
        """The address spaces by number."""
        return [str(space) for space in range(self.spaces)]


def generate(config: MemoryPhases, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    yield from one_after_the_other(config, rows)


WORKLOAD = Workload(
    "memory-phases",
    "memory",
    "a schedule of the other memory generators, with known labels",
    MemoryPhases,
    generate,
    spans,
)
