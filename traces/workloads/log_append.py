"""Append-only segments: what a log-structured store, a message broker or a journal writes.

Records of varying length are appended to the current segment of each volume; what does not fit is cut at the segment's
end and the next one begins. The log goes round the volume. Before a segment is written again it is discarded in one
piece: its records are the oldest there are. (Rosenblum, Ousterhout: The design and implementation of a log-structured
file system, ACM TOCS 10(1), 1992, with the cleaning left out: here everything dies in order.)

Lengths are uniform between one place and the longest record; reads ask for one place that is live, all ages alike. The
volumes take turns.
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
from traces.workloads.draws import below, draw
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAppend(Shared):
    """A log in segments that goes round each volume."""

    segment: Annotated[
        Bytes, Field(ge=512, description="bytes of a segment; rounded down to a multiple of size, one at least")
    ] = 1 << 24
    longest: Annotated[
        Bytes,
        Field(ge=512, description="bytes of the longest record; rounded down to a multiple of size, one at least"),
    ] = 1 << 16
    discard: Annotated[bool, Field(description="discard a segment before it is written again")] = True
    flush: Annotated[
        int,
        Field(ge=0, description="requests of a volume that are appends between one flush and the next; 0: no flush"),
    ] = 0

    @property
    def segment_places(self) -> int:
        """How many places a segment has."""
        return self.in_places(self.segment)

    @property
    def log_places(self) -> int:
        """How many places the log has: whole segments."""
        return self.places // self.segment_places * self.segment_places


# What a volume's log stands at: rows of the array `state`, a column a volume.
_HEAD, _LAPPED, _READY, _DIRTY, _STATES = 0, 1, 2, 3, 4


@kernel
def _append(plan: Plan, log: tuple[int, int, int, bool, int], state: U64, begin: int, out: Requests) -> None:
    places, segment, longest = np.uint64(log[0]), np.uint64(log[1]), np.uint64(log[2])
    discard, flush = log[3], np.uint64(log[4])
    size, one, none = np.uint64(plan.size), np.uint64(1), np.uint64(0)
    where, lengths = plan.lanes[Lane.PLACE], plan.lanes[Lane.LENGTH]
    for i in range(out.place.size):
        v, number = out.volume[i], np.uint64(begin + i)
        head, lapped = state[_HEAD, v], state[_LAPPED, v] != none
        left = segment - head % segment
        # where segments are discarded, nothing ahead is live from then on
        dead = left if discard and (state[_READY, v] != none or left != segment) else none
        live = places - dead if lapped else head
        if out.op[i] == Op.READ and live > none:
            age = below(draw(where, number), live)
            out.place[i] = head - one - age if age < head else head + places - one - age
            continue
        if flush > none and state[_DIRTY, v] == flush:
            out.op[i], out.place[i], out.length[i] = Op.FLUSH, none, none
            state[_DIRTY, v] = none
            continue
        if lapped and discard and left == segment and state[_READY, v] == none:
            out.op[i], out.place[i], out.length[i] = Op.DISCARD, head, segment * size
            state[_READY, v] = one
            continue
        length = min(one + below(draw(lengths, number), longest), left)
        out.op[i], out.place[i], out.length[i] = Op.WRITE, head, length * size
        state[_READY, v] = none
        state[_DIRTY, v] += one
        head += length
        if head == places:
            head = none
            state[_LAPPED, v] = one
        state[_HEAD, v] = head


def generate(config: LogAppend, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    longest = min(config.in_places(config.longest), config.segment_places)
    log = (config.log_places, config.segment_places, longest, config.discard, config.flush)
    state = np.zeros((_STATES, plan.volumes), np.uint64)
    for begin, out in asked(plan, rows):
        take_turns(plan, begin, out)
        _append(plan, log, state, begin, out)
        yield block(plan, out)


def _category(config: LogAppend) -> Category:
    return config.mostly(writes=Category.SEQ_WRITE_LOG, reads=Category.READ_RANDOM)


WORKLOAD = Workload(
    "log-append",
    "block",
    "append-only segments that go round each volume",
    LogAppend,
    generate,
    whole("log-append", _category),
)
