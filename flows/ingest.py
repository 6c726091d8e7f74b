"""Read recordings into the store, as a flow."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from traces.formats.reader import Options
from traces.made import Ingested
from traces.store import Store


@task(task_run_name="read {label}", cache_policy=NO_CACHE)
def read(
    label: str,
    store: Path,
    paths: list[Path],
    format: str | None,  # noqa: A002 - what the command line calls it
    name: str | None,
    options: Options,
    replace: bool,
) -> list[Ingested]:
    """Read files into one trace or more and publish them."""
    return jobs.ingest(
        Store(store), paths, format=format, name=name, options=options, replace=replace, progress=watcher()
    )


@flow(name="ingest")
def ingest(
    paths: list[Path],
    store: Path = Path("data"),
    format: str | None = None,  # noqa: A002
    name: str | None = None,
    options: Options | None = None,
    replace: bool = False,
) -> list[Ingested]:
    """Read recordings into the store: what ``strata ingest`` does."""
    label = name or ", ".join(path.name for path in paths)
    return read(label, store, paths, format, name, options or Options(), replace)
