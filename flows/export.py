"""Write a trace as a file that other tools read, as a flow."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from traces.export import Exported
from traces.store import Store


@task(task_run_name="write {trace} as {format}", cache_policy=NO_CACHE)
def write(
    store: Path,
    trace: str,
    format: str,  # noqa: A002 - what the command line calls it
    target: Path,
    replace: bool,
) -> Exported:
    """Write the file; it is renamed into place when whole."""
    return jobs.export(Store(store), trace, format, target, replace=replace, progress=watcher())


@flow(name="export")
def export(
    trace: str,
    format: str,  # noqa: A002
    target: Path,
    replace: bool = False,
    store: Path = Path("data"),
) -> Exported:
    """Write a trace as a file of another format: what ``strata export`` does."""
    return write(store, trace, format, target, replace)
