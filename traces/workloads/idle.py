"""A volume that nobody uses: what a mounted file system does by itself.

At long intervals (Linux writes back and commits its journal every five seconds where there is anything to write:
``dirty_writeback_centisecs``, ext4's ``commit``) a short request to a small part of the volume, the journal and a few
blocks of metadata.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.workloads.draws import below, draw
from traces.workloads.workload import Lane, Plan, Requests, Shared, Workload, asked, block, new_plan, whole

_QUIET = 10.0  # requests a second of a volume: more is no idling


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle(Shared):
    """Housekeeping."""

    requests: Annotated[int, Field(ge=1, le=1 << 40, description="requests to make")] = 1000
    reads: Annotated[float, Field(ge=0, le=1, description="share of the requests that read; the others write")] = 0.1
    rate: Annotated[float, Field(gt=0, le=1e9, description="requests per second, over all volumes, on average")] = 0.2
    footprint: Annotated[float, Field(gt=0, le=1, description="share of each volume that is asked for")] = 0.001


@kernel
def _place(plan: Plan, places: int, begin: int, out: Requests) -> None:
    key, count = plan.lanes[Lane.PLACE], np.uint64(places)
    for i in range(out.place.size):
        out.place[i] = below(draw(key, np.uint64(begin + i)), count)


def generate(config: Idle, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    places = max(1, config.share_of_places(config.footprint))
    for begin, out in asked(plan, rows):
        _place(plan, places, begin, out)
        yield block(plan, out)


def _category(config: Idle) -> Category:
    return Category.IDLE if config.rate <= _QUIET * config.volumes else Category.UNKNOWN


WORKLOAD = Workload(
    "idle", "block", "hardly anything: housekeeping of a volume", Idle, generate, whole("idle", _category)
)
