"""Streaming: the four kernels of STREAM over three arrays, element by element.

Copy is c = a, scale b = q c, add c = a + b, triad a = b + q c; ``all`` runs them in that order, then again. The three
arrays lie one behind the other and have the footprint between them. Each processor has a part of its own of every
array, all of one length; what is left at the end of an array is not used. Source: McCalpin, Memory bandwidth and
machine balance in current high performance computers, IEEE TCCA Newsletter, 1995.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import ByName, spelled
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.table import U8
from traces.workloads.memory.access import Accesses, Batch, Frames, Plan, Site, accessed, new_plan
from traces.workloads.workload import Workload, whole


class Kernel(IntEnum):
    """Which loop runs."""

    COPY = 0
    SCALE = 1
    ADD = 2
    TRIAD = 3
    ALL = 4


_A, _B, _C = range(3)
_LOOPS = {
    Kernel.COPY: ((_A, Site.COPY_A), (_C, Site.COPY_C)),
    Kernel.SCALE: ((_C, Site.SCALE_C), (_B, Site.SCALE_B)),
    Kernel.ADD: ((_A, Site.ADD_A), (_B, Site.ADD_B), (_C, Site.ADD_C)),
    Kernel.TRIAD: ((_B, Site.TRIAD_B), (_C, Site.TRIAD_C), (_A, Site.TRIAD_A)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming(Accesses):
    """Arrays from end to end."""

    kernel: Annotated[
        ByName[Kernel],
        Field(description="copy: c = a; scale: b = q c; add: c = a + b; triad: a = b + q c; all: one after the other"),
    ] = Kernel.ALL

    def __post_init__(self) -> None:
        Accesses.__post_init__(self)
        if not self.part:
            raise ValueError(
                f"footprint ({self.footprint} bytes) is less than three elements of {self.size} bytes a processor"
            )

    @property
    def part(self) -> int:
        """Elements of an array that each processor has."""
        return self.footprint // (3 * self.size) // self.cpus


@kernel
def _stream(plan: Plan, part: int, loops: U8, begin: int, out: Batch) -> None:
    """``loops``: [loop, operand] -> its array and site, 255 where there is none."""
    cpus, threads = plan.cpus, plan.spaces * plan.cpus
    count = np.zeros(loops.shape[0], np.int64)  # operands
    lap = 0
    for k in range(count.size):
        while count[k] < loops.shape[1] and loops[k, count[k], 0] != 255:
            count[k] += 1
        lap += part * count[k]
    rest, loop = begin // threads % lap, 0
    while rest >= part * count[loop]:
        rest -= part * count[loop]
        loop += 1
    element, operand = rest // count[loop], rest % count[loop]
    turn = begin % threads
    cpu = turn % cpus
    address, site = out.address, out.site
    for i in range(address.size):
        place = loops[loop, operand, 0] * part * cpus + cpu * part + element
        address[i] = plan.base + place * plan.size
        site[i] = loops[loop, operand, 1]
        turn += 1
        cpu = cpu + 1 if cpu + 1 < cpus else 0
        if turn == threads:
            turn = 0
            operand += 1
            if operand == count[loop]:
                operand = 0
                element += 1
                if element == part:
                    element = 0
                    loop = loop + 1 if loop + 1 < count.size else 0


def generate(config: Streaming, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan, frames = new_plan(config), Frames(config)
    chosen = [_LOOPS[k] for k in _LOOPS if config.kernel in (k, Kernel.ALL)]
    loops = np.full((len(chosen), 3, 2), 255, np.uint8)
    for number, operands in enumerate(chosen):
        loops[number, : len(operands)] = operands
    for begin, out in accessed(plan, rows):
        _stream(plan, config.part, loops, begin, out)
        yield frames.rows(out)


WORKLOAD = Workload(
    "streaming",
    "memory",
    "the loops of STREAM over three arrays",
    Streaming,
    generate,
    whole("streaming", lambda config: f"streaming {spelled(config.kernel)}"),
)
