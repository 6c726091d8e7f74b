"""Workload generators, one a file."""

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from traces.ahead import ahead
from traces.code import code_hash
from traces.config import configured, plain
from traces.errors import ConfigError, TraceError, nearest
from traces.ingest import Ingested
from traces.store import Store, TraceInfo, TraceWriter, check_name
from traces.tally import Tally
from traces.workloads import hot_cold, sequential, uniform, zipf
from traces.workloads.workload import Workload

_LIST: tuple[Workload[Any], ...] = (
    sequential.WORKLOAD,
    uniform.WORKLOAD,
    zipf.WORKLOAD,
    hot_cold.WORKLOAD,
)

WORKLOADS = {each.name: each for each in _LIST}


def _nobody(done: int, total: int) -> None:
    """Tell nobody how far it has come."""


def make(
    store: Store,
    workload: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] = _nobody,  # requests made, requests in all
) -> Ingested:
    """Generate a trace into the store; nothing is done where the same one is there already (``fresh`` is False).

    Raises ConfigError for an unknown workload, an unknown key or a value out of bounds; TraceError where another trace
    has that name, unless ``replace``; StoreError where the store cannot be written. Then nothing new is kept.
    """
    began = time.perf_counter()
    if workload not in WORKLOADS:
        raise ConfigError(f"unknown workload '{workload}'{nearest(workload, WORKLOADS)}")
    chosen = WORKLOADS[workload]
    config = configured(chosen.config, settings)
    info = TraceInfo(
        format=f"generated:{workload}",
        reason="generated",
        kind=chosen.kind,
        options=plain(config) | {"code": code_hash(chosen.generate.__module__)},
        version=version("strata"),
    )
    target = store.trace_path(chosen.kind, check_name(name))
    if target.exists():
        kept = store.info(chosen.kind, name)
        if (kept.format, kept.options) == (info.format, info.options):
            return Ingested(name=name, kind=chosen.kind, info=kept, path=target, fresh=False, seconds=0.0)
        if not replace and (other := _other(kept, info)):
            raise TraceError(f"trace '{name}' exists, {other}: --replace it or give another name")
    with TraceWriter(store, name, info) as writer:
        tally = Tally()
        for batch in ahead(chosen.generate(config)):
            tally.add(batch)
            writer.write(batch)
            progress(writer.rows, config.requests)
        tally.finish(info, [str(volume) for volume in range(config.volumes)])
        writer.finish()
    return Ingested(
        name=name, kind=chosen.kind, info=info, path=target, fresh=True, seconds=time.perf_counter() - began
    )


def _other(kept: TraceInfo, info: TraceInfo) -> str:
    """What sets a kept trace apart from the one that was asked for; nothing if an older version made the same."""
    if kept.format != info.format:
        return f"made otherwise ({kept.format})"
    differs = [key for key, value in info.options.items() if key != "code" and kept.options.get(key) != value]
    told = ", ".join(f"{key} = {kept.options.get(key)}, not {info.options[key]}" for key in differs)
    return f"made with other settings: {told}" if told else ""
