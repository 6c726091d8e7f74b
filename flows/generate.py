"""Make a trace by a workload generator, as a flow."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from traces.made import Ingested
from traces.store import Store


@task(task_run_name="make {name}", cache_policy=NO_CACHE)
def make(store: Path, workload: str, name: str, settings: dict[str, Any], replace: bool) -> list[Ingested]:
    """Make the trace, or the traces, and publish."""
    return jobs.generate(Store(store), workload, name=name, settings=settings, replace=replace, progress=watcher())


@flow(name="generate")
def generate(
    workload: str,
    store: Path = Path("data"),
    name: str | None = None,
    settings: dict[str, Any] | None = None,
    replace: bool = False,
) -> list[Ingested]:
    """Make a trace by a workload generator: what ``strata generate`` does."""
    return make(store, workload, name or workload, settings or {}, replace)
