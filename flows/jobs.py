"""What can be asked of Strata, as plain functions: no orchestrator, no terminal."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from flows.catalog import publish
from flows.settings import brief
from pipeline.replay import Plan, Replayed, passes, plan, replay_together
from traces import profile as profiling
from traces.catalog import is_current
from traces.config import configured, idle_keys, plain
from traces.errors import CombinationError, ConfigError, IdleKeyError, StoreError, StrataError, nearest
from traces.export import Exported
from traces.export import export as write_file
from traces.formats.reader import Options
from traces.ingest import ingest as read_recordings
from traces.made import Ingested
from traces.profile import Profiled
from traces.progress import Progress, nobody
from traces.store import Store
from traces.tools import TOOLS
from traces.workloads import worlds

Settings = Mapping[str, Sequence[Any]]  # a configuration key and each value it is to take


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What became of many replays, in the order of the settings."""

    varied: tuple[str, ...]  # the keys that took more than one value
    runs: list[Replayed]
    failed: list[tuple[str, str]]  # settings of a run that could not be made, and why
    idle: dict[str, str]  # keys that change nothing in some of the runs, which have them at their defaults, and when


def ingest(
    store: Store,
    paths: Sequence[Path],
    *,
    format: str | None = None,  # noqa: A002 - what the command line calls it
    name: str | None = None,
    options: Options | None = None,
    replace: bool = False,
    progress: Progress = nobody,
) -> list[Ingested]:
    """Read recordings into the store and publish; see `traces.ingest.ingest`. ``progress`` counts bytes."""
    with published(store):
        return read_recordings(
            store, paths, format=format, name=name, options=options, replace=replace, progress=progress
        )


def generate(
    store: Store,
    workload: str,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    replace: bool = False,
    progress: Progress = nobody,
) -> list[Ingested]:
    """Make a trace, or several of one world, by a generator and publish. ``progress`` counts rows."""
    with published(store):
        return worlds.generate(store, workload, name or workload, settings or {}, replace=replace, progress=progress)


def derive(
    store: Store,
    tool: str,
    traces: Sequence[str],
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    replace: bool = False,
    progress: Progress = nobody,
) -> Ingested:
    """Make a trace of other traces and publish; see `traces.tools`. ``progress`` counts rows."""
    if tool not in TOOLS:
        raise ConfigError(f"unknown tool '{tool}'{nearest(tool, TOOLS)}")
    chosen = TOOLS[tool]
    if not traces or (len(traces) > 1 and not chosen.many):
        raise ConfigError(
            f"{tool} makes a trace of {'two or more' if chosen.many else 'one'}, {len(traces)} were given"
        )
    names = [store.find(trace)[1] for trace in traces]
    called = name or ("+".join(names) if chosen.many else f"{names[0]}-{tool}")
    config = configured(chosen.config, settings or {})
    with published(store):
        given = list(traces) if chosen.many else traces[0]
        return chosen.make(store, given, config, called, replace=replace, progress=progress)


def profile(store: Store, trace: str, *, progress: Progress = nobody) -> Profiled:
    """Characterise a trace and publish; see `traces.profile.profile`. ``progress`` counts rows."""
    with published(store):
        return profiling.profile(store, trace, progress)


def export(
    store: Store,
    trace: str,
    format: str,  # noqa: A002 - what the command line calls it
    target: Path,
    *,
    replace: bool = False,
    progress: Progress = nobody,
) -> Exported:
    """Write a trace as a file of another format; see `traces.export.export`. ``progress`` counts rows."""
    return write_file(store, trace, format, target, replace=replace, progress=progress)


def combinations(settings: Settings) -> list[dict[str, Any]]:
    """Every combination of the values, the last key varying fastest."""
    if empty := [key for key, values in settings.items() if not values]:
        raise ConfigError(f"{empty[0]}: no value was given")
    return [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]


class Planned(NamedTuple):
    """The runs of a grid before any of them is made."""

    plans: list[Plan]
    refused: list[tuple[str, str]]  # settings of a combination that cannot be, and why
    idle: dict[str, str]  # as of `Grid`


def plan_grid(store: Store, trace: str, stage: str, settings: Settings) -> Planned:
    """Settle every combination of the values before anything runs; two that settle alike are one run.

    A key that changes nothing in a combination, because of what another key has there, is at its default in it; one
    that changes nothing in any is a mistake. Combinations that cannot be do not stop the others, as long as there are.
    Raises ConfigError or TraceError for the first mistake in names, keys or bounds.
    """
    plans: dict[str, Plan] = {}
    refused: dict[str, CombinationError] = {}
    idle: dict[str, str] = {}
    works: set[str] = set()  # keys that change something in a combination
    for each in combinations(settings):
        asked = each
        while True:
            try:
                settled = plan(store, trace, stage, asked)
            except IdleKeyError as error:
                idle = error.idle | idle
                asked = {key: value for key, value in asked.items() if key not in error.idle}
            except CombinationError as error:
                refused.setdefault(_named(settings, each), error)
                break
            else:
                works |= asked.keys() - idle_keys(settled.config).keys()
                plans.setdefault(settled.run, settled)
                break
    if plans and (vain := {key: why for key, why in idle.items() if key not in works}):
        raise IdleKeyError(vain)
    if refused and not plans:
        raise next(iter(refused.values()))
    return Planned(list(plans.values()), [(which, str(error)) for which, error in refused.items()], idle)


def replay_grid(
    store: Store,
    trace: str,
    stage: str,
    settings: Settings,
    *,
    workers: int | None = None,
    at_once: int | None = None,
    progress: Progress = nobody,
) -> Grid:
    """Replay a trace through a stage once for every combination of the values, side by side, and publish.

    Runs that are kept already are not made again. A run that cannot be made (a trace that does not fit a drive) does
    not stop the others. ``progress`` counts trace rows; ``workers`` runs are at work at a time (default: one a core)
    of those ``at_once`` that share a reading of the trace (default: see `pipeline.replay.passes`).
    """
    planned = plan_grid(store, trace, stage, settings)
    with published(store):
        outcomes = run_all(planned.plans, workers=workers, at_once=at_once, progress=progress)
    return grid(settings, planned, outcomes)


def cores() -> int:
    """Runs that are at work at a time unless told otherwise."""
    return os.cpu_count() or 1


def told(settings: Settings, each: Plan) -> str:
    """What sets a run of a grid apart: ``spare=0.1, victim=greedy``; its id where nothing varies."""
    return _named(settings, plain(each.config)) or each.run[:8]


def _named(settings: Settings, values: Mapping[str, Any]) -> str:
    """The keys that vary, each with its value."""
    return ", ".join(f"{key}={brief(values[key])}" for key, many in settings.items() if len(many) > 1)


def grid(settings: Settings, planned: Planned, outcomes: Sequence[Replayed | StrataError]) -> Grid:
    """Sort outcomes into runs and failures."""
    varied = tuple(key for key, values in settings.items() if len(values) > 1)
    failed = [
        (told(settings, each), str(outcome))
        for each, outcome in zip(planned.plans, outcomes, strict=True)
        if isinstance(outcome, StrataError)
    ]
    runs = [outcome for outcome in outcomes if isinstance(outcome, Replayed)]
    return Grid(varied=varied, runs=runs, failed=planned.refused + failed, idle=planned.idle)


def counted(total: int, progress: Progress) -> Callable[[int], None]:
    """A function to be told of rows as they are done, from any thread; ``progress`` is told how many so far."""
    lock, done = threading.Lock(), 0

    def tell(rows: int) -> None:
        nonlocal done
        with lock:
            done += rows
            progress(done, total)

    return tell


def run_all(
    plans: Sequence[Plan], *, workers: int | None = None, at_once: int | None = None, progress: Progress = nobody
) -> list[Replayed | StrataError]:
    """Make planned runs, many in each pass over their trace; an outcome for each, in order.

    An interrupt or an unexpected error ends every run of the pass after its batch, and none of those is kept.
    """
    tell = counted(sum(each.info.rows for each in plans), progress)
    workers = cores() if workers is None else workers
    return [one for part in passes(plans, workers, at_once) for one in replay_together(part, workers, tell)]


@contextmanager
def published(store: Store) -> Iterator[None]:
    """Publish what was kept inside, also where it ended in an error or an interrupt: what is kept is to be seen."""
    try:
        yield
    except BaseException:
        with suppress(StrataError):  # the first error is the one to tell
            _publish(store)
        raise
    _publish(store)


def _publish(store: Store) -> None:
    if store.root.exists() and not is_current(store):
        try:
            publish(store)
        except StoreError as error:
            raise StoreError(f"traces and results are kept, but the catalog could not be renewed: {error}") from None


class Job(NamedTuple):
    """One thing that can be asked, by a verb at once or as the flow ``flows.<name>.<name>``: a line of `JOBS`."""

    name: str
    run: Callable[..., Any]  # takes the store first, and ``progress``
    doing: str  # what is said while it goes on
    unit: str  # what ``progress`` counts: bytes or rows


_LIST = (
    Job("ingest", ingest, "reading", "bytes"),
    Job("generate", generate, "generating", "rows"),
    Job("derive", derive, "making", "rows"),
    Job("profile", profile, "characterising", "rows"),
    Job("replay", replay_grid, "replaying", "rows"),
    Job("export", export, "writing", "rows"),
)

JOBS = {each.name: each for each in _LIST}
