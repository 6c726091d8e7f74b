"""A part of a trace: some of its time, of its rows, of its volumes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import Nanoseconds
from traces.errors import ConfigError, nearest
from traces.made import Ingested
from traces.progress import Progress, nobody
from traces.requests import KINDS
from traces.store import Store
from traces.tools.derive import Parent, Wanted, derive, parent, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is to be left; what is not said is not cut."""

    since: Annotated[Nanoseconds, Field(ge=0, description="leave out what came earlier after the first record")] = 0
    until: Annotated[
        Nanoseconds | None, Field(ge=0, description="leave out what came at that time after the first record, or later")
    ] = None
    skip: Annotated[int, Field(ge=0, description="records to leave out at the beginning")] = 0
    take: Annotated[int | None, Field(ge=1, description="records to take after those, before other cuts")] = None
    volumes: Annotated[
        tuple[str, ...],
        Field(
            description="names of the volumes to take (memory: address spaces; messages: producers; config, dma: "
            "devices); none: all"
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.since:
            raise ValueError(f"until ({self.until} ns) must be later than since ({self.since} ns)")


def cut(
    store: Store,
    trace: str,
    config: Cut,
    name: str,
    *,
    replace: bool = False,
    progress: Progress = nobody,  # records read, records in all
) -> Ingested:
    """Keep a part of a trace as a trace of its own; see `traces.tools.derive.derive`."""
    whole = parent(store, trace, "cut")
    chosen = _chosen(whole, config)

    def batches(columns: Iterable[str] | None, tell: Callable[[int], None]) -> Iterator[pl.DataFrame]:
        return _part(whole, config, chosen, columns, tell)

    wanted = Wanted(
        tool="cut",
        parents=(whole,),
        config=config,
        clock=whole.info.clock,
        batches=batches,
        volumes=whole.volumes if whole.place else None,
        module=__name__,
        origins=reading(whole.info),
    )
    return derive(wanted, name, replace=replace, progress=progress)


def _chosen(whole: Parent, config: Cut) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """What takes the rows of the volumes."""
    names = whole.volumes
    for each in config.volumes:
        if each not in names:
            raise ConfigError(f"volumes: '{whole.name}' has no volume '{each}'{nearest(each, names[:1000])}")
    if not config.volumes:
        return lambda batch: batch
    kind = KINDS[whole.kind]
    if kind.key is None:
        numbers = [number for number, each in enumerate(names) if each in config.volumes]
        return lambda batch: batch.filter(pl.col(str(kind.place)).is_in(numbers))
    key = kind.key.alias("key")

    def named(batch: pl.DataFrame) -> pl.DataFrame:
        keys = batch.with_columns(key)["key"]
        return batch.filter(keys.is_in([each for each in keys.unique() if kind.name(each) in config.volumes]))

    return named


def _part(
    whole: Parent,
    config: Cut,
    chosen: Callable[[pl.DataFrame], pl.DataFrame],
    columns: Iterable[str] | None,
    tell: Callable[[int], None],
) -> Iterator[pl.DataFrame]:
    last = whole.info.rows if config.take is None else config.skip + config.take
    seen = 0
    for batch in whole.rows(columns, progress=tell):
        begin, seen = seen, seen + batch.height
        part = batch[max(config.skip - begin, 0) : max(last - begin, 0)]
        time = part["time"].to_numpy()
        low = int(np.searchsorted(time, np.uint64(config.since), "left"))
        high = time.size if config.until is None else int(np.searchsorted(time, np.uint64(config.until), "left"))
        yield chosen(part[low:high])
        if seen >= last or high < time.size:
            return
