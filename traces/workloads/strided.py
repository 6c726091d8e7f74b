"""Every so many bytes, from one end of each volume to the other: columns of a matrix in rows, members of a RAID.

A pass visits the places 0, s, 2s... As the next pass begins one place further, after s passes every place has been
visited exactly once; without that, each pass is the same. The volumes take turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.workloads.workload import (
    Plan,
    Requests,
    Shared,
    Workload,
    asked,
    block,
    new_plan,
    take_turns,
    whole,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strided(Shared):
    """Places at equal distances."""

    stride: Annotated[
        Bytes, Field(ge=512, description="bytes from one request's beginning to the next one's: a multiple of size")
    ] = 1 << 16
    shifted: Annotated[
        bool, Field(description="each pass begins one place after the one before; else all passes are the same")
    ] = True

    def __post_init__(self) -> None:
        Shared.__post_init__(self)
        if self.stride % self.size:
            raise ValueError(f"stride ({self.stride} bytes) is not a multiple of size ({self.size} bytes)")
        if self.stride >= self.places * self.size:
            raise ValueError(f"stride ({self.stride} bytes) leaves one place in a volume of {self.capacity} bytes")


@kernel
def _place(plan: Plan, stride: int, shifted: bool, begin: int, out: Requests) -> None:
    steps, longer = plan.places // stride, plan.places % stride  # of a pass; the first passes have a step more
    if shifted:
        step = (begin // plan.volumes) % plan.places  # of a lap over all places
        if step < longer * (steps + 1):
            place, step = step // (steps + 1), step % (steps + 1)
        else:
            step -= longer * (steps + 1)
            place, step = longer + step // steps, step % steps
        place += step * stride
    else:
        steps += 1 if longer else 0
        place = (begin // plan.volumes) % steps * stride
    turn = begin % plan.volumes
    for i in range(out.place.size):
        out.place[i] = place
        turn += 1
        if turn == plan.volumes:
            turn = 0
            place += stride
            if place >= plan.places:
                place = (place % stride + 1) % stride if shifted else 0


def generate(config: Strided, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    for begin, out in asked(plan, rows):
        take_turns(plan, begin, out)
        _place(plan, config.stride // config.size, config.shifted, begin, out)
        yield block(plan, out)


def _category(config: Strided) -> Category:
    """A stride of one place is a sequence; a longer one is still a scan, but no log."""
    writes = Category.SEQ_WRITE_LOG if config.stride == config.size else Category.UNKNOWN
    return config.mostly(writes=writes, reads=Category.READ_SCAN)


WORKLOAD = Workload(
    "strided", "block", "every so many bytes, pass after pass", Strided, generate, whole("strided", _category)
)
