"""Replay a trace through a stage, once for every combination of settings, as a flow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import jobs
from flows.catalog import publish
from flows.orchestra import watcher
from pipeline import replay as replaying
from pipeline.replay import Replayed
from traces.config import plain
from traces.errors import StrataError
from traces.store import Store


@task(task_run_name="{stage} on {trace}: {which}", cache_policy=NO_CACHE)
def one(
    store: Path,
    trace: str,
    stage: str,
    which: str,
    settings: dict[str, Any],
    tell: Callable[[int], None],
) -> Replayed:
    """Make one run; it is kept, and found again, by its id. ``tell`` is told its rows as they are done."""
    return replaying.replay(replaying.plan(Store(store), trace, stage, settings), tell)


@flow(name="replay")
def replay(
    trace: str,
    stage: str,
    store: Path = Path("data"),
    settings: dict[str, list[Any]] | None = None,
    workers: int | None = None,
) -> jobs.Grid:
    """Replay a trace through a stage side by side: what ``strata replay`` does.

    Every mistake in names, keys and bounds ends the flow before anything runs. A run that cannot be made does not stop
    the others.
    """
    settings = settings or {}
    plans = jobs.plan_grid(Store(store), trace, stage, settings)
    tell = jobs.counted(sum(each.info.rows for each in plans), watcher())
    runner: ThreadPoolTaskRunner[Replayed] = ThreadPoolTaskRunner(max_workers=workers or jobs.cores())
    with runner:
        futures: list[PrefectFuture[Replayed]] = [
            runner.submit(
                one,
                {
                    "store": store,
                    "trace": each.trace,
                    "stage": stage,
                    "which": jobs.told(settings, each),
                    "settings": plain(each.config),
                    "tell": tell,
                },
            )
            for each in plans
        ]
        outcomes = [future.result(raise_on_failure=False) for future in futures]
    publish(Store(store))
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, StrataError):
            raise outcome
    return jobs.grid(settings, plans, outcomes)
