"""Training of a large model: shuffled reads of samples, and every so often a checkpoint in one sequential burst.

Each epoch reads every sample once, in an order of its own. After every so many reads all volumes write the model's
state at once, in long sequential requests that come many times as fast, and flush. The last few checkpoints are kept:
each overwrites the oldest. This is the shape that Mohan, Phanishayee, Chidambaram describe (CheckFreq: frequent,
fine-grained DNN checkpointing, FAST 2021) for one volume, Eisenman et al. (Check-N-Run, NSDI 2022) for many that write
their shards at the same time; the sizes are ours. Samples lie in the first part of each volume, checkpoints in the
last. The volumes take turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Op
from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import F64
from traces.workloads.arrival import new_clock, stretch
from traces.workloads.draws import Shuffle, draw, new_shuffle, shuffled
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
class AiCheckpoint(Shared):
    """Shuffled samples and checkpoints; ``rate`` is the mean over both."""

    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 36
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of a sample; offsets are multiples of it")
    ] = 1 << 17
    reads: Annotated[
        float, Field(ge=0, le=1, description="share of the samples that are read; the others are written (prepared)")
    ] = 1.0
    every: Annotated[int, Field(ge=0, description="samples of each volume between two checkpoints")] = 4096
    checkpoint: Annotated[float, Field(gt=0, lt=1, description="share of a volume that one checkpoint takes")] = 0.05
    keep: Annotated[int, Field(ge=1, description="checkpoints that are kept, overwritten in turn")] = 2
    chunk: Annotated[
        Bytes, Field(ge=512, description="bytes of a checkpoint's requests; rounded down to a multiple of size")
    ] = 1 << 20
    speed: Annotated[float, Field(ge=1, le=1e6, description="how many times as fast a checkpoint's requests come")] = 20

    def __post_init__(self) -> None:
        Shared.__post_init__(self)
        if not 0 < self.checkpoint_places * self.keep < self.places:
            raise ValueError(
                f"checkpoint: {self.keep} of {self.checkpoint_places} places each and the samples do not share "
                f"a volume of {self.places} places"
            )

    @property
    def checkpoint_places(self) -> int:
        """How many places a checkpoint takes."""
        return self.share_of_places(self.checkpoint)


class _Training(NamedTuple):
    """The cycle of one volume, in requests and places."""

    every: int
    writes: int
    cycle: int  # samples, writes and a flush
    samples: int
    checkpoint: int
    keep: int
    chunk: int
    slow: float  # how much longer than on average the gaps between samples are
    fast: float
    orders: Shuffle  # the current epoch's, by volume


def _training(config: AiCheckpoint, plan: Plan) -> _Training:
    chunk = config.in_places(config.chunk)
    writes = -(-config.checkpoint_places // chunk)
    cycle = config.every + writes + 1
    slow = cycle / (config.every + (writes + 1) / config.speed)
    samples = plan.places - config.keep * config.checkpoint_places
    return _Training(
        every=config.every,
        writes=writes,
        cycle=cycle,
        samples=samples,
        checkpoint=config.checkpoint_places,
        keep=config.keep,
        chunk=chunk,
        slow=slow,
        fast=slow / config.speed,
        orders=new_shuffle(0, plan.volumes, samples),
    )


@kernel
def _shuffle(orders: Shuffle, key: np.uint64, epoch: np.uint64) -> None:
    """Take up the orders of another epoch."""
    lane, number = draw(key, epoch), np.uint64(0)
    for volume in range(orders.keys.shape[0]):
        for k in range(orders.keys.shape[1]):
            orders.keys[volume, k] = draw(lane, number)
            number += np.uint64(1)


@kernel
def _place(plan: Plan, training: _Training, begin: int, out: Requests, factor: F64) -> None:
    key = plan.lanes[Lane.ORDER]
    turn, mine = begin % plan.volumes, begin // plan.volumes
    cycle, step = mine // training.cycle, mine % training.cycle
    first = cycle * training.every + min(step, training.every)
    epoch, rank = first // training.samples, first % training.samples
    _shuffle(training.orders, key, np.uint64(epoch))
    for i in range(out.place.size):
        if step < training.every:
            out.place[i] = shuffled(training.orders, turn, np.uint64(rank))
            factor[i] = training.slow
        else:
            done = step - training.every
            factor[i] = training.fast
            if done < training.writes:
                out.op[i] = Op.WRITE
                at = done * training.chunk
                out.place[i] = training.samples + cycle % training.keep * training.checkpoint + at
                out.length[i] = min(training.chunk, training.checkpoint - at) * plan.size
            else:
                out.op[i], out.place[i], out.length[i] = Op.FLUSH, 0, 0
        turn += 1
        if turn == plan.volumes:
            turn = 0
            if step < training.every:
                rank += 1
                if rank == training.samples:
                    rank = 0
                    epoch += 1
                    _shuffle(training.orders, key, np.uint64(epoch))
            step += 1
            if step == training.cycle:
                step = 0
                cycle += 1


def generate(config: AiCheckpoint, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    training, clock = _training(config, plan), new_clock()
    for begin, out in asked(plan, rows):
        factor = np.empty(out.time.size)
        take_turns(plan, begin, out)
        _place(plan, training, begin, out, factor)
        stretch(clock, factor, out.time)
        yield block(plan, out)


def _category(config: AiCheckpoint) -> Category:
    return Category.AI_CHECKPOINT


WORKLOAD = Workload(
    "ai-checkpoint",
    "block",
    "shuffled reads of samples, and checkpoints in sequential bursts",
    AiCheckpoint,
    generate,
    whole("ai-checkpoint", _category),
)
