"""Generators of several traces at once, and how what they emit becomes traces of one name."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import polars as pl

from traces.ahead import ahead
from traces.code import code_hash
from traces.config import configured, plain, to_json
from traces.errors import ConfigError, TraceError, nearest
from traces.info import TraceInfo
from traces.label import Category, TraceLabels
from traces.made import Ingested
from traces.making import Making, kept
from traces.progress import Progress, nobody
from traces.store import Store
from traces.table import schema_of
from traces.workloads import WORKLOADS, make, vm_life
from traces.workloads.workload import Workload
from traces.workloads.world import Era, Part, World

WORLDS: dict[str, World[Any]] = {vm_life.WORLD.name: vm_life.WORLD}
GENERATORS: dict[str, Workload[Any] | World[Any]] = {**WORKLOADS, **WORLDS}


def generate(
    store: Store,
    workload: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    replace: bool = False,
    progress: Progress = nobody,
) -> list[Ingested]:
    """Make the trace of a generator, or all traces of a world: see `traces.workloads.make`, also for what it raises."""
    if workload in WORLDS:
        world = WORLDS[workload]
        return _make(store, world, name, configured(world.config, settings), replace=replace, progress=progress)
    if workload not in WORKLOADS:
        raise ConfigError(f"unknown workload '{workload}'{nearest(workload, GENERATORS)}")
    return [make(store, workload, name, settings, replace=replace, progress=progress)]


def _make(
    store: Store, world: World[Any], name: str, config: Any, *, replace: bool, progress: Progress
) -> list[Ingested]:
    """Generate all traces of a world into the store, or find them kept there already.

    A kind without a row is not kept, and the others' notes say so; a trace of that kind that had the name goes. None is
    put in place before all are complete.
    """
    options = plain(config) | {"code": code_hash(world.emit.__module__)}
    infos = {
        kind: TraceInfo(
            format=f"generated:{world.name}",
            reason="generated",
            kind=kind,
            clock="monotonic",
            options=options,
            version=version("strata"),
        )
        for kind in world.kinds
    }
    found = {kind: kept(store, name, info, replace=replace) for kind, info in infos.items()}
    have = [each for each in found.values() if each]
    without = {kind for kind, each in found.items() if each is None and not store.trace_path(kind, name).exists()}
    told = all(_nothing_of(kind) in each.info.notes for kind in without for each in have)
    if have and told and all(each or kind in without for kind, each in found.items()):
        return have
    with ExitStack() as stack:
        clocks = {kind: _Clock(stack.enter_context(Making(store, name, info))) for kind, info in infos.items()}
        eras: list[Era] = []
        for each in ahead(world.parts(config)):
            if isinstance(each, Era):
                eras.append(each)
            else:
                clocks[each.kind].add(each)
                progress(sum(clock.making.rows for clock in clocks.values()), config.records)
        if not any(clock.making.rows for clock in clocks.values()):
            raise TraceError(f"no trace of '{name}' would hold a record; nothing was kept")
        nothing = [kind for kind, clock in clocks.items() if not clock.making.rows]
        whole = {kind: clock for kind, clock in clocks.items() if kind not in nothing}
        for clock in whole.values():
            clock.making.info.notes |= dict.fromkeys(map(_nothing_of, nothing), 1)
            clock.close(eras, world, to_json(config))
        for kind in nothing:
            store.remove(kind, name)
        return [clock.making.keep() for clock in whole.values()]


def _nothing_of(kind: str) -> str:
    """The note of the other traces where one was not kept."""
    return f"no {kind} trace beside it: it would hold no record"


class _Clock:
    """Moves a trace of a world to its own clock, which begins at its first row."""

    def __init__(self, making: Making) -> None:
        self.making = making
        self.began: int | None = None
        self.ended = 0

    def add(self, part: Part) -> None:
        """Append what is in a part."""
        if part.rows.height:
            if self.began is None:
                self.began = self.making.info.origin = int(part.rows["time"][0])
            self.ended = int(part.rows["time"][-1]) + 1
            self.making.add(part.rows.with_columns((pl.col("time") - self.began).cast(pl.UInt64)))
        for truth, rows in part.truth.items():
            self.making.tell(truth, rows)

    def close(self, eras: Sequence[Era], world: World[Any], settings: str) -> None:
        """Complete the trace, labelled with those eras that it reaches into: a block trace by their categories."""
        origin, kind = self.began or 0, self.making.info.kind
        volumes = world.names.get(kind, ())
        spans = [
            (
                volume,
                max(era.began - origin, 0),
                min(era.ended, self.ended) - origin,
                str(world.categories.get(era.label, Category.UNKNOWN)) if kind == "block" else era.label,
                f"{world.name} {era.label}",
                settings,
            )
            for volume in range(max(1, len(volumes)))
            for era in eras
            if era.began < self.ended and era.ended > origin
        ]
        self.making.tell("labels", pl.DataFrame(spans, schema_of(TraceLabels), orient="row"))
        self.making.close(volumes)
