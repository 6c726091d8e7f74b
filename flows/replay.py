"""Replay a trace through a stage, once for every combination of settings, as a flow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from pipeline.replay import Replayed, passes, plan, replay_together
from traces.config import plain
from traces.errors import StrataError
from traces.store import Store


@task(task_run_name="{stage} on {trace}: {which}", cache_policy=NO_CACHE)
def one_pass(
    store: Path,
    trace: str,
    stage: str,
    which: str,
    runs: list[tuple[str, dict[str, Any]]],
    workers: int,
    tell: Callable[[int], None],
) -> list[Replayed | StrataError]:
    """Make runs that share one reading of the trace; the log says of each what became of it.

    Those that are made are kept, and found again, by their ids. ``runs`` are what sets each apart and its settings;
    ``tell`` is told their rows as they are done.
    """
    plans = [plan(Store(store), trace, stage, settings) for _, settings in runs]
    outcomes = replay_together(plans, workers, tell)
    log = get_run_logger()
    for (name, _), outcome in zip(runs, outcomes, strict=True):
        if isinstance(outcome, StrataError):
            log.error("%s: %s", name, outcome)
        else:
            log.info("%s: %s", name, f"made in {outcome.seconds:.1f} s" if outcome.fresh else "kept already")
    return outcomes


@flow(name="replay")
def replay(
    trace: str,
    stage: str,
    store: Path = Path("data"),
    settings: dict[str, list[Any]] | None = None,
    workers: int | None = None,
    at_once: int | None = None,
) -> jobs.Grid:
    """Replay a trace through a stage side by side: what ``strata replay`` does, a task for each pass over the trace.

    Every mistake in names, keys and bounds ends the flow before anything runs. A combination that cannot be, or a run
    that cannot be made, does not stop the others.
    """
    settings = settings or {}
    planned = jobs.plan_grid(Store(store), trace, stage, settings)
    plans = planned.plans
    tell = jobs.counted(sum(each.info.rows for each in plans), watcher())
    workers = jobs.cores() if workers is None else workers
    outcomes: list[Replayed | StrataError] = []
    with jobs.published(Store(store)):
        for part in passes(plans, workers, at_once):
            runs = [(jobs.told(settings, each), plain(each.config)) for each in part]
            first, last = runs[0][0], runs[-1][0]
            outcomes += one_pass(
                store=store,
                trace=part[0].trace,
                stage=stage,
                which=f"{len(runs)} runs, {first} to {last}" if len(runs) > 1 else first,
                runs=runs,
                workers=workers,
                tell=tell,
            )
    return jobs.grid(settings, planned, outcomes)
