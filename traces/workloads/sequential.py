"""Every volume from its first byte to its last, again and again: logs, backups, streaming writes.

The volumes take turns, so that each of them is sequential. A drive that is overwritten in this order has nothing to
copy: its write amplification is exactly 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from pydantic import Field

from traces.block import Op
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.workloads.workload import Plan, Requests, Shared, Workload, asked, block, new_plan, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential(Shared):
    """Each volume in the order of its addresses, from the beginning again at its end."""

    discard: Annotated[
        bool, Field(description="begin every lap but the first with one request that discards the whole volume")
    ] = False


@kernel
def _place(plan: Plan, discard: bool, begin: int, out: Requests) -> None:
    ahead = 1 if discard else 0  # steps of a lap before its first place
    lap = plan.places + ahead
    volume, step = begin % plan.volumes, (begin // plan.volumes + ahead) % lap
    for i in range(out.place.size):
        out.volume[i] = volume
        if step < ahead:
            out.op[i] = Op.DISCARD
            out.place[i] = 0
            out.length[i] = plan.places * plan.size
        else:
            out.place[i] = step - ahead
        volume += 1
        if volume == plan.volumes:
            volume = 0
            step += 1
            if step == lap:
                step = 0


def generate(config: Sequential, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    for begin, out in asked(plan, rows):
        _place(plan, config.discard, begin, out)
        yield block(plan, out)


def _category(config: Sequential) -> Category:
    return config.mostly(writes=Category.SEQ_WRITE_LOG, reads=Category.READ_SCAN)


WORKLOAD = Workload(
    "sequential",
    "block",
    "each volume from end to end, again and again",
    Sequential,
    generate,
    whole("sequential", _category),
)
