"""Stencil: sweeps over a grid in which every inner cell is computed anew from itself and its neighbours.

Two dimensions take five points, three take seven (Jacobi's method for Poisson's equation): loads of the cell and its
neighbours, then a store into a second grid of the same form; after each sweep the grids change places. Cells are stored
row by row; the footprint is that of both grids. Rows (in three dimensions planes) are divided among the processors, as
many to each, which bounds their number; the border is read and never written.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.kernel import kernel
from traces.kinds import ROWS
from traces.table import I64, U8
from traces.workloads.memory.access import Accesses, Batch, Frames, Plan, Site, accessed, new_plan
from traces.workloads.workload import Workload, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Stencil(Accesses):
    """A grid, sweep after sweep."""

    dimensions: Annotated[int, Field(ge=2, le=3, description="2: five points; 3: seven points")] = 2

    def __post_init__(self) -> None:
        Accesses.__post_init__(self)
        if self.share < 1 or self.side < 3:
            raise ValueError(
                f"footprint ({self.footprint} bytes) leaves a grid of {self.side} cells a side, of which "
                f"{self.cpus} processors need an inner row or plane each"
            )

    @property
    def side(self) -> int:
        """Cells of a row, and in three dimensions rows of a plane."""
        cells = self.footprint // (2 * self.size)
        if self.dimensions == 2:
            return math.isqrt(cells)
        side: int = round(cells ** (1 / 3))
        return side if side * side * side <= cells else side - 1

    @property
    def share(self) -> int:
        """Inner rows (planes) of each processor."""
        rows = self.footprint // (2 * self.size) // self.plane if self.side else 0
        return (rows - 2) // self.cpus

    @property
    def plane(self) -> int:
        """Cells of a plane; in two dimensions of a row."""
        return self.side if self.dimensions == 2 else self.side * self.side

    @property
    def cells(self) -> int:
        """Of one grid, its border included."""
        return (2 + self.share * self.cpus) * self.plane


class _Grid(NamedTuple):
    """The form of the grids. In two dimensions rows stand for planes: one row each, without a border of its own."""

    share: int  # planes of a processor
    rows: int  # inner ones of a plane
    cells: int  # inner ones of a row
    row: int  # bytes
    plane: int  # bytes
    steps: I64  # [point] -> bytes from a cell to it; the last for the result
    sites: U8  # [point]


@kernel
def _sweep(plan: Plan, form: _Grid, begin: int, out: Batch) -> None:
    cpus, threads, steps, sites = plan.cpus, plan.spaces * plan.cpus, form.steps, form.sites
    share, inner, cells, row, plane, points = form.share, form.rows, form.cells, form.row, form.plane, form.steps.size
    rest = begin // threads
    point = rest % points
    rest //= points
    x = rest % cells
    rest //= cells
    y = rest % inner
    rest //= inner
    z = rest % share
    back = rest // share % 2  # odd sweeps go from the second grid to the first
    turn = begin % threads
    cpu = turn % cpus
    grid = steps[points - 1]
    address, site = out.address, out.site
    for i in range(address.size):
        at = (1 + cpu * share + z) * plane + (1 + x) * plan.size + (1 + y) * row
        step = steps[point]
        if back:
            step = 0 if point == points - 1 else step + grid
        address[i] = plan.base + at + step
        site[i] = sites[point]
        turn += 1
        cpu = cpu + 1 if cpu + 1 < cpus else 0
        if turn == threads:
            turn = 0
            point += 1
            if point == points:
                point = 0
                x += 1
                if x == cells:
                    x = 0
                    y += 1
                    if y == inner:
                        y = 0
                        z += 1
                        if z == share:
                            z = 0
                            back = 1 - back


def generate(config: Stencil, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan, frames = new_plan(config), Frames(config)
    size, row, plane = config.size, config.side * config.size, config.plane * config.size
    near = {Site.CENTRE: 0, Site.WEST: -size, Site.EAST: size, Site.NORTH: -row, Site.SOUTH: row}
    if config.dimensions == 3:
        near |= {Site.BELOW: -plane, Site.ABOVE: plane}
    near |= {Site.RESULT: config.cells * size}
    form = _Grid(
        share=config.share,
        rows=1 if config.dimensions == 2 else config.side - 2,
        cells=config.side - 2,
        row=0 if config.dimensions == 2 else row,
        plane=plane,
        steps=np.array(list(near.values())),
        sites=np.array(list(near), np.uint8),
    )
    for begin, out in accessed(plan, rows):
        _sweep(plan, form, begin, out)
        yield frames.rows(out)


WORKLOAD = Workload(
    "stencil",
    "memory",
    "sweeps over a grid, each cell from its neighbours",
    Stencil,
    generate,
    whole("stencil", lambda config: f"stencil {config.dimensions}d"),
)
