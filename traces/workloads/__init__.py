"""Workload generators, one a file."""

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

from traces.code import code_hash
from traces.config import configured, plain
from traces.errors import ConfigError, nearest
from traces.info import TraceInfo
from traces.label import Clocked
from traces.made import Ingested
from traces.making import kept, write
from traces.progress import Progress, nobody
from traces.store import Store
from traces.workloads import dma_churn, messages, pci_scan, phases, text_patches
from traces.workloads.memory import phased, pointer_chase, stencil, streaming, zipf_pages
from traces.workloads.parts import PARTS
from traces.workloads.workload import Workload

# beside the parts of a schedule of block workloads
_LIST: tuple[Workload[Any], ...] = (
    phases.WORKLOAD,
    pointer_chase.WORKLOAD,
    streaming.WORKLOAD,
    stencil.WORKLOAD,
    zipf_pages.WORKLOAD,
    phased.WORKLOAD,
    messages.WORKLOAD,
    pci_scan.WORKLOAD,
    text_patches.WORKLOAD,
    dma_churn.WORKLOAD,
)

WORKLOADS: dict[str, Workload[Any]] = PARTS | {each.name: each for each in _LIST}


def make(
    store: Store,
    workload: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    replace: bool = False,
    progress: Progress = nobody,  # requests made, requests in all
) -> Ingested:
    """Generate a trace into the store, and its labels; nothing is done where the same one is there already.

    Raises ConfigError for an unknown workload, an unknown key or a value out of bounds; TraceError where another trace
    has that name, unless ``replace``; StoreError where the store cannot be written. Then nothing new is kept.
    """
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
    if have := kept(store, name, info, replace=replace):
        return have
    clocked = Clocked(chosen.spans(config), max(1, len(config.names)))
    return write(
        store,
        name,
        info,
        clocked.watch(chosen.generate(config)),
        volumes=config.names,
        progress=lambda rows: progress(rows, config.records),
        truth={"labels": clocked.rows} | {table: partial(iter, rows) for table, rows in chosen.truth(config).items()},
    )
