"""A stage that needs no compiler, for tests of what is above the stages."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field

from pipeline.stage import Stage
from traces.block import Block
from traces.config import ByName, split
from traces.errors import TraceError
from traces.info import TraceInfo
from traces.table import F64, U8, U64, arrays


class Policy(IntEnum):
    """Does nothing."""

    GREEDY = 0
    FIFO = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the toy is asked."""

    scale: Annotated[float, Field(gt=0, lt=100, description="what counts are multiplied with")] = 1.0
    policy: Annotated[ByName[Policy], Field(description="which policy")] = Policy.GREEDY
    limit: Annotated[int, Field(ge=0, description="requests that it can bear; 0: as many as the trace has")] = 0
    depth: Annotated[int, Field(ge=0, description="fifo: how deep")] = 4
    sizes: Annotated[tuple[int, ...], BeforeValidator(split), Field(min_length=2, description="several")] = (1, 2)

    def __post_init__(self) -> None:
        if self.scale == 77 and self.policy == Policy.FIFO:
            raise ValueError("scale 77 does not go with fifo")

    def idle(self) -> dict[str, str]:
        return {} if self.policy == Policy.FIFO else {"depth": "unless policy is fifo"}


class ToySummary(NamedTuple):
    """What the toy counted, one row a run."""

    requests: Annotated[U64, "requests"]
    writes: Annotated[U64, "writes"]
    ratio: Annotated[F64, "writes x scale / requests"]


class Taken(NamedTuple):
    op: Annotated[U8, "see block.op"]


def fit(config: Config, info: TraceInfo, trace: Callable[[], Iterable[pl.DataFrame]]) -> Config:
    return replace(config, limit=config.limit or info.rows)


def run(trace: Iterable[pl.DataFrame], config: Config) -> Iterator[ToySummary]:
    requests = writes = 0
    for batch in trace:
        op = arrays(Taken, batch).op
        requests += op.size
        writes += int((op == 1).sum())
        if requests > config.limit:
            raise TraceError(f"toy: {requests} requests are more than limit = {config.limit}")
    yield ToySummary(
        np.array([requests], np.uint64),
        np.array([writes], np.uint64),
        np.array([writes * config.scale / max(requests, 1)]),
    )


STAGE: Stage[Config] = Stage("toy", "counts", Config, Block, Taken, (ToySummary,), ("ratio",), fit, run)
