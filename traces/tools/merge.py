"""Several traces as one, as if their hosts had shared a machine.

How their times stand to each other is declared, never guessed: by their clocks, where all of them read the same kind of
clock, or by letting all of them begin at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from enum import IntEnum
from functools import partial
from itertools import accumulate, zip_longest
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import ByName
from traces.errors import ConfigError, TraceError
from traces.kinds import ROWS
from traces.made import Ingested
from traces.order import merged
from traces.progress import Progress, nobody
from traces.store import Store
from traces.table import U32
from traces.tools.derive import SAMPLED, Parent, Wanted, derive, parent

_ROWS_AT_LEAST = 1 << 14  # of a batch of each trace
_NO_VOLUMES = {
    "config": "their rows name functions by bus and device",
    "dma": "their rows name devices by bus and function",
    "text": "all of their rows are of one kernel",
}


class Align(IntEnum):
    """How the times of several traces stand to each other."""

    START = 0
    CLOCK = 1


class Names(IntEnum):
    """When two volumes of different traces are one."""

    APART = 0
    SHARED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """How several traces become one."""

    align: Annotated[
        ByName[Align],
        Field(description="start: all begin at once; clock: as their clocks say, which must all be unix or monotonic"),
    ]
    volumes: Annotated[
        ByName[Names],
        Field(
            description="apart: every volume is called TRACE:VOLUME and stays one of its own; shared: volumes of one "
            "name are one volume, as of a disk that was recorded in parts (config, dma and text traces: always)"
        ),
    ] = Names.APART


def merge(
    store: Store,
    traces: Sequence[str],
    config: Merge,
    name: str,
    *,
    replace: bool = False,
    progress: Progress = nobody,  # records read, records in all
) -> Ingested:
    """Keep several traces as one; see `traces.tools.derive.derive`.

    Records of one time stand in the order of the traces. ConfigError where fewer than two traces or one of them twice
    is named; TraceError where their clocks cannot be aligned as declared.
    """
    parents = _behind([parent(store, trace, "merge") for trace in traces])
    if len(parents) < 2:
        raise ConfigError(f"merge makes one trace of two or more; {' and '.join(traces) or 'none'} is not enough")
    if len({each.kind for each in parents}) > 1:
        raise TraceError(f"traces of different kinds: {', '.join(f'{each.name} ({each.kind})' for each in parents)}")
    if twice := [name for name, count in Counter(each.name for each in parents).items() if count > 1]:
        raise ConfigError(f"merge takes each trace once; named more than once: {', '.join(twice)}")
    if len({each.info.options.get(SAMPLED, {}).get("rate") for each in parents}) > 1:
        raise TraceError("traces sampled at different rates: no factor would bring the figures of all to the whole")
    kind = parents[0].kind
    if kind in _NO_VOLUMES and config.volumes == Names.APART:
        raise ConfigError(
            f"volumes: {kind} traces have no volumes that could be kept apart: {_NO_VOLUMES[kind]}; "
            "merge them as of one machine: --volumes shared (volumes = shared)"
        )
    clock, origin = _clock(parents, config.align)
    names, numbers = _volumes(parents, config.volumes) if parents[0].place else (None, ())
    later = [each.info.origin - origin if config.align == Align.CLOCK else 0 for each in parents]
    moves = [partial(_plus, offset) for offset in later]
    changes = [[move(pl.col("time"))] for move in moves]
    if config.volumes == Names.APART and parents[0].kind == "message":
        for change, ring in zip(changes, _rings(parents), strict=True):
            change.append(ring)
    rows = max(ROWS // len(parents), _ROWS_AT_LEAST)

    def batches(columns: Iterable[str] | None, tell: Callable[[int], None]) -> Iterator[pl.DataFrame]:
        return merged(
            [
                _moved(each, columns, rows, tell, (change, table))
                for each, change, table in zip_longest(parents, changes, numbers)
            ]
        )

    wanted = Wanted(
        tool="merge",
        parents=parents,
        config=config,
        clock=clock,
        batches=batches,
        volumes=names,
        module=__name__,
        times=moves,
        numbers=numbers,
        origins=lambda time: origin + time,
    )
    return derive(wanted, name, replace=replace, progress=progress)


def _clock(parents: Sequence[Parent], align: Align) -> tuple[str, int]:
    """The clock of all, and its reading at time 0."""
    clocks = {each.info.clock for each in parents}
    told = ", ".join(f"{each.name} has a clock that is {each.info.clock}" for each in parents)
    if "ordinal" in clocks and len(clocks) > 1:
        raise TraceError(f"an order of requests and times cannot be merged: {told}")
    if align == Align.CLOCK:
        if len(clocks) > 1 or not clocks <= {"unix", "monotonic"}:
            raise TraceError(f"these clocks do not say how the traces stand to each other, align them by start: {told}")
        return clocks.pop(), min(each.info.origin for each in parents)
    return "ordinal" if clocks == {"ordinal"} else "relative", 0


def _volumes(parents: Sequence[Parent], how: Names) -> tuple[list[str], list[U32]]:
    """The names of all volumes by number; of each trace [its number] -> number."""
    numbers: dict[str, int] = {}
    tables = []
    for each in parents:
        called = [name if how == Names.SHARED else f"{each.name}:{name}" for name in each.volumes]
        tables.append(np.array([numbers.setdefault(name, len(numbers)) for name in called], np.uint32))
    return list(numbers), tables


def _plus(offset: int, time: pl.Expr) -> pl.Expr:
    return time + offset


def _behind(parents: Sequence[Parent]) -> list[Parent]:
    """The same with their rows numbered one behind the other."""
    bases = accumulate((each.info.rows for each in parents), initial=0)
    return [replaced(each, base=base) for each, base in zip(parents, bases, strict=False)]


def _rings(parents: Sequence[Parent]) -> Iterator[pl.Expr]:
    """Rings behind those of the traces before: producers that are kept apart share none."""
    below = 0
    for each in parents:
        yield (pl.col("ring") + below).cast(pl.UInt32)
        below += 1 + max(int(str(batch["ring"].max())) for batch in each.rows(("ring",)))


def _moved(
    each: Parent,
    columns: Iterable[str] | None,
    rows: int,
    tell: Callable[[int], None],
    where: tuple[Sequence[pl.Expr], U32 | None],
) -> Iterator[pl.DataFrame]:
    """A trace's rows with the times and volumes of the whole."""
    changes, numbers = where
    for batch in each.rows(columns, rows, tell):
        place = each.place
        if place is None or numbers is None:
            yield batch.with_columns(changes)
        else:
            volumes = pl.lit(pl.Series(place, numbers[batch[place].to_numpy()]))
            yield batch.with_columns(*(changes if columns is None else changes[:1]), volumes)
