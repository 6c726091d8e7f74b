"""Make a trace of other traces, as a flow."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from traces.made import Ingested
from traces.store import Store


@task(task_run_name="{tool} {label}", cache_policy=NO_CACHE)
def make(
    label: str,
    store: Path,
    tool: str,
    traces: list[str],
    name: str | None,
    settings: dict[str, Any],
    replace: bool,
) -> Ingested:
    """Make the trace and publish it."""
    return jobs.derive(Store(store), tool, traces, name=name, settings=settings, replace=replace, progress=watcher())


@flow(name="derive")
def derive(
    tool: str,
    traces: list[str],
    store: Path = Path("data"),
    name: str | None = None,
    settings: dict[str, Any] | None = None,
    replace: bool = False,
) -> Ingested:
    """Make a trace of others: what ``strata cut``, ``sample``, ``merge`` and ``rescale`` do, each a ``tool``."""
    return make(", ".join(traces), store, tool, traces, name, settings or {}, replace)
