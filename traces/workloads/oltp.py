"""Online transactions: small skewed reads and writes of pages, and a log that every commit waits for.

Two streams, mixed at random. Data: pages by Zipf's law, scattered over the volume; that few pages get most accesses is
what Leutenegger and Dias derive for TPC-C (A modeling study of the TPC-C benchmark, SIGMOD 1993). Log: appends to the
last part of the volume, round and round, each of one to ``group`` pages (group commit). A commit is durable either
because its append forces unit access (FUA), or by a flush, which is the volume's next request that is no append: then
one flush covers all appends since the last.

With a share p of appends, flushes are p(1 - p) of the requests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Flag, Op
from traces.config import ByName, Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import U8, U64
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
from traces.workloads.zipf import draw_ranks, law_of


class Commit(IntEnum):
    """How an append becomes durable."""

    FUA = 0
    FLUSH = 1


class Stream(IntEnum):
    """What a request belongs to: its ``stream``."""

    DATA = 1
    LOG = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Oltp(Shared):
    """Pages and a log."""

    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 34
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of a page; offsets and lengths are multiples of it")
    ] = 1 << 13
    reads: Annotated[float, Field(ge=0, le=1, description="share of the data requests that read; the others write")] = (
        0.7
    )
    theta: Annotated[
        float,
        Field(ge=0, le=64, description="skew of the data: the page of rank k gets a share in proportion to k**-theta"),
    ] = 0.9
    log: Annotated[float, Field(ge=0, le=1, description="share of the requests that append to the log")] = 0.15
    log_data: Annotated[float, Field(gt=0, lt=1, description="share of each volume, its last part, that is log")] = 0.02
    group: Annotated[
        int, Field(ge=1, le=1 << 20, description="pages that an append has at most; from 1 on all alike")
    ] = 4
    commit: Annotated[
        ByName[Commit],
        Field(description="fua: every append forces unit access; flush: a flush follows the appends of a volume"),
    ] = Commit.FUA

    def __post_init__(self) -> None:
        Shared.__post_init__(self)
        if not 0 < self.log_places < self.places:
            raise ValueError(
                f"log_data: {self.log_data:g} of a volume's {self.places} places is {self.log_places} of them: "
                "some must be log and some data"
            )

    @property
    def log_places(self) -> int:
        """How many places of a volume are log."""
        return self.share_of_places(self.log_data)


@kernel
def _kinds(plan: Plan, log: int, begin: int, out: U8) -> None:
    """1 for an append, apart from `_log`, which cannot be vectorised."""
    key, share = plan.lanes[Lane.KIND], np.uint64(log)
    for i in range(out.size):
        out[i] = chance(draw(key, np.uint64(begin + i)), share)


class _Log(NamedTuple):
    """The logs of all volumes."""

    places: int
    group: int
    commit: Commit
    at: U64  # [volume] -> where it goes on
    unflushed: U64  # [volume] -> appends since the last flush


@kernel
def _log(plan: Plan, log: _Log, appends: U8, begin: int, out: Requests) -> None:
    """Put the log's requests in."""
    places, group, flushes = np.uint64(log.places), np.uint64(log.group), log.commit == Commit.FLUSH
    first, size, one, none = np.uint64(plan.places) - places, np.uint64(plan.size), np.uint64(1), np.uint64(0)
    key = plan.lanes[Lane.LENGTH]
    for i in range(out.place.size):
        v = out.volume[i]
        out.stream[i] = Stream.LOG if appends[i] else Stream.DATA
        if appends[i]:
            at = log.at[v]
            length = min(one + below(draw(key, np.uint64(begin + i)), group), places - at)
            out.op[i], out.place[i], out.length[i] = Op.WRITE, first + at, length * size
            log.at[v] = at + length if at + length < places else none
            log.unflushed[v] += one
        elif flushes and log.unflushed[v] > none:
            out.op[i], out.place[i], out.length[i], out.stream[i] = Op.FLUSH, none, none, Stream.LOG
            log.unflushed[v] = none


def generate(config: Oltp, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    data = plan.places - config.log_places
    law, shuffle = law_of(float(data), config.theta), new_scatter(plan, data)
    key, again = plan.lanes[Lane.PLACE], plan.lanes[Lane.AGAIN]
    at, unflushed = np.zeros((2, plan.volumes), np.uint64)
    log = _Log(config.log_places, config.group, config.commit, at, unflushed)
    for begin, out in asked(plan, rows):
        appends = np.empty(out.op.size, np.uint8)
        draw_ranks(law, key, again, begin, out.place)
        scatter(shuffle, out)
        _kinds(plan, round(config.log * SHARE), begin, appends)
        _log(plan, log, appends, begin, out)
        yield block(plan, out, appends * np.uint16(Flag.FUA) if config.commit == Commit.FUA else None)


def _category(config: Oltp) -> Category:
    """What is nearly all log or nearly all data is neither."""
    return Category.OLTP_MIXED if 0.02 <= config.log <= 0.5 and config.reads < 1 else Category.UNKNOWN


WORKLOAD = Workload(
    "oltp", "block", "skewed pages and a log that commits wait for", Oltp, generate, whole("oltp", _category)
)
