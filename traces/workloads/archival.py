"""Write once, read rarely: an archive. Each volume is written from its beginning to its end and never again.

Objects follow each other without a gap; now and then one that is complete is restored, all of it, in order. That each
is as likely as any other is our choice, as are the sizes. Until the first object is complete there is nothing to
restore, and a volume that is full is only read. The volumes take turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Op
from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import U64
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
    take_turns,
    whole,
)

_RARELY = 0.2  # of the requests: what is read more often is no archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Archival(Shared):
    """Volumes that are filled once."""

    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 40
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of each request; offsets are multiples of it")
    ] = 1 << 18
    reads: Annotated[
        float,
        Field(
            ge=0, le=1, description="share of the requests that read, once an object is complete; of a full volume all"
        ),
    ] = 0.01
    object_size: Annotated[
        Bytes, Field(ge=512, description="bytes of an object; rounded down to a multiple of size, one at least")
    ] = 1 << 26

    @property
    def object_places(self) -> int:
        """How many places an object has."""
        return self.in_places(self.object_size)

    @property
    def archive_places(self) -> int:
        """How many places of a volume are used: whole objects."""
        return self.places // self.object_places * self.object_places


# Where a volume stands: rows of the array `state`, a column a volume.
_WRITTEN, _NEXT, _LEFT, _STATES = 0, 1, 2, 3


@kernel
def _archive(plan: Plan, sizes: tuple[int, int, int], state: U64, begin: int, out: Requests) -> None:
    places, whole_object, restores = np.uint64(sizes[0]), np.uint64(sizes[1]), np.uint64(sizes[2])
    one, none = np.uint64(1), np.uint64(0)
    where, again = plan.lanes[Lane.PLACE], plan.lanes[Lane.KIND]
    for i in range(out.place.size):
        v, number = out.volume[i], np.uint64(begin + i)
        written = state[_WRITTEN, v]
        objects = written // whole_object
        if state[_LEFT, v] == none and objects > none and (written == places or chance(draw(again, number), restores)):
            state[_NEXT, v] = below(draw(where, number), objects) * whole_object
            state[_LEFT, v] = whole_object
        if state[_LEFT, v] > none:
            out.op[i], out.place[i] = Op.READ, state[_NEXT, v]
            state[_NEXT, v] += one
            state[_LEFT, v] -= one
        else:
            out.op[i], out.place[i] = Op.WRITE, written
            state[_WRITTEN, v] = written + one


def generate(config: Archival, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    # a restore makes k reads: where one begins with probability q, the share of reads is qk / (qk + 1 - q)
    begins = config.reads / (config.reads + config.object_places * (1 - config.reads))
    sizes = (config.archive_places, config.object_places, round(begins * SHARE))
    state = np.zeros((_STATES, plan.volumes), np.uint64)
    for begin, out in asked(plan, rows):
        take_turns(plan, begin, out)
        _archive(plan, sizes, state, begin, out)
        yield block(plan, out)


def _category(config: Archival) -> Category:
    """An archive while it is being filled."""
    filled = config.requests * (1 - config.reads) > config.archive_places * config.volumes
    return Category.ARCHIVAL_WORM if config.reads <= _RARELY and not filled else Category.UNKNOWN


WORKLOAD = Workload(
    "archival",
    "block",
    "volumes written once from end to end, rarely read",
    Archival,
    generate,
    whole("archival", _category),
)
