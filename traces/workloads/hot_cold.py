"""Two temperatures: a part of the data gets more than its part of the requests.

The simplest skew, and the one for which the gain of separating hot from cold data has been computed; `Heat` in the
column ``stream`` tells a drive with streams what an oracle would.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.workloads.draws import SHARE, below, chance, draw
from traces.workloads.workload import (
    Lane,
    Plan,
    Requests,
    Shared,
    Workload,
    asked,
    block,
    new_plan,
    new_scatter,
    scatter,
    whole,
)


class Heat(IntEnum):
    """What a request's data is: its ``stream``."""

    HOT = 1
    COLD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HotCold(Shared):
    """Hot and cold data, each uniform in itself."""

    hot_data: Annotated[float, Field(gt=0, lt=1, description="share of each volume that is hot")] = 0.2
    hot_requests: Annotated[
        float, Field(ge=0, le=1, description="share of the requests, writes as well as reads, that go to hot data")
    ] = 0.8
    scattered: Annotated[
        bool, Field(description="hot data lies all over the volume, in a seeded order; else at its beginning")
    ] = False

    def __post_init__(self) -> None:
        Shared.__post_init__(self)
        if not 0 < self.hot_places < self.places:
            raise ValueError(
                f"hot_data: {self.hot_data:g} of a volume's {self.places} places is {self.hot_places} of them: "
                "some must be hot and some cold"
            )

    @property
    def hot_places(self) -> int:
        """How many places of a volume are hot."""
        return round(self.hot_data * self.places)


@kernel
def _place(plan: Plan, hot_places: int, hot_requests: int, begin: int, out: Requests) -> None:
    heat, place, share = plan.lanes[Lane.HEAT], plan.lanes[Lane.PLACE], np.uint64(hot_requests)
    hot, cold = np.uint64(hot_places), np.uint64(plan.places - hot_places)
    for i in range(out.place.size):
        number = np.uint64(begin + i)
        is_hot = chance(draw(heat, number), share)
        out.stream[i] = Heat.HOT if is_hot else Heat.COLD
        out.place[i] = below(draw(place, number), hot if is_hot else cold) + (np.uint64(0) if is_hot else hot)


def generate(config: HotCold, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    shuffle = new_scatter(plan) if config.scattered else None
    share = round(config.hot_requests * SHARE)
    for begin, out in asked(plan, rows):
        _place(plan, config.hot_places, share, begin, out)
        if shuffle is not None:
            scatter(shuffle, out)
        yield block(plan, out)


def _category(config: HotCold) -> Category:
    """Skewed from where a hot place gets thrice what a cold one gets; without skew up to a tenth more."""
    hot = config.hot_requests / config.hot_data
    cold = (1 - config.hot_requests) / (1 - config.hot_data)
    more, less = max(hot, cold), min(hot, cold)
    writes = Category.RAND_WRITE_SKEWED if more >= 3 * less else Category.UNKNOWN
    if more <= 1.1 * less:
        writes = Category.RAND_WRITE_UNIFORM
    return config.mostly(writes=writes, reads=Category.READ_RANDOM)


WORKLOAD = Workload(
    "hot-cold",
    "block",
    "a hot part and a cold part of each volume",
    HotCold,
    generate,
    whole("hot-cold", _category),
)
