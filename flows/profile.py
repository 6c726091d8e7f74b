"""Characterise a trace, as a flow."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import jobs
from flows.orchestra import watcher
from traces.profile import Profiled
from traces.store import Store


@task(task_run_name="characterise {trace}", cache_policy=NO_CACHE)
def characterise(store: Path, trace: str) -> Profiled:
    """Make the profile and publish it; the one that is kept of the same trace is not made again."""
    return jobs.profile(Store(store), trace, progress=watcher())


@flow(name="profile")
def profile(trace: str, store: Path = Path("data")) -> Profiled:
    """Characterise a trace: what ``strata profile`` does."""
    return characterise(store, trace)
