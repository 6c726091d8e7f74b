"""Requests spread evenly over each volume: the workload that closed forms of write amplification are about."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.workloads.draws import below, draw
from traces.workloads.workload import Lane, Plan, Requests, Shared, Workload, asked, block, new_plan, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(Shared):
    """Every place of a volume is as likely as any other."""


@kernel
def _place(plan: Plan, begin: int, out: Requests) -> None:
    key, places = plan.lanes[Lane.PLACE], np.uint64(plan.places)
    for i in range(out.place.size):
        out.place[i] = below(draw(key, np.uint64(begin + i)), places)


def generate(config: Uniform, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    for begin, out in asked(plan, rows):
        _place(plan, begin, out)
        yield block(plan, out)


def _category(config: Uniform) -> Category:
    return config.mostly(writes=Category.RAND_WRITE_UNIFORM, reads=Category.READ_RANDOM)


WORKLOAD = Workload("uniform", "block", "uniformly random requests", Uniform, generate, whole("uniform", _category))
