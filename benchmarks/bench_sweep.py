"""A sweep over 32 spare factors in one pass of the trace: what a configuration costs, beside what its kernels cost.

Uniform random page writes, all in the store (``STRATA_BENCH_ROWS``, ``STRATA_BENCH_PAGES``). The goal is that a
configuration of the sweep, planning, reading, writing and publishing included, takes no longer than a single replay's
kernels: the mean of ``Stage.run`` for the same 32 configurations over batches that are in memory already. Processor
time may be up to half as much again, as cores share a cache; the old way, a reading of the trace for each run, is told
beside it. ``pytest benchmarks/bench_sweep.py`` prints the figures and fails where the goal is not reached.
"""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.catalog import publish
from flows.jobs import Grid, cores, plan_grid, replay_grid
from pipeline.replay import replay
from traces.store import Store, read
from traces.table import columns_of
from traces.workloads import make

ROWS = int(os.environ.get("STRATA_BENCH_ROWS", str(1 << 22)))
PAGES = int(os.environ.get("STRATA_BENCH_PAGES", str(1 << 18)))
SPARES = [round(float(spare), 4) for spare in np.linspace(0.05, 0.5, 32)]


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Elapsed seconds, processor seconds of all threads, what was returned."""
    used, began = time.process_time(), time.perf_counter()
    out = run()
    return time.perf_counter() - began, time.process_time() - used, out


def test_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "writes", {"requests": ROWS, "capacity": PAGES * 4096})
    settings: dict[str, list[Any]] = {"spare": SPARES, "layout": ["direct"]}
    replay_grid(store, "writes", "ftl.page_mapped", settings | {"spare": [0.6]})  # compiles

    plans = plan_grid(store, "writes", "ftl.page_mapped", settings).plans
    count = len(plans)
    stage = plans[0].stage
    columns = [c.name for c in columns_of(stage.takes)]
    stock = list(read(stage.takes, store.trace_path("block", "writes"), columns))

    def alone() -> None:
        for each in plans:
            for _ in stage.run(iter(stock), each.config):
                pass

    def together() -> Grid:
        return replay_grid(store, "writes", "ftl.page_mapped", settings, at_once=count)

    kernels, kernels_cpu, _ = timed(alone)
    stock.clear()
    shared, shared_cpu, grid = timed(together)
    assert [run.fresh for run in grid.runs] == [True] * count
    own = sum(run.seconds for run in grid.runs) / count

    def each_reads() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(replay, plans))
        publish(store)

    for run in grid.runs:
        shutil.rmtree(run.folder)
    apart, apart_cpu, _ = timed(each_reads)
    figures = [
        ("kernels of a single replay", kernels, kernels_cpu),
        ("one pass for all", shared, shared_cpu),
        ("a reading for each, side by side", apart, apart_cpu),
    ]
    told = [
        f"{count} configurations of {ROWS / 1e6:.1f} M requests, {PAGES} pages, {cores()} cores; each, in ms:",
        *(f"  {what:33} {1e3 * a / count:6.0f} elapsed {1e3 * b / count:6.0f} processor" for what, a, b in figures),
        f"  a run's own work in the pass      {1e3 * own:6.0f} elapsed",
        f"  {kernels_cpu * cores() / shared_cpu:.2f} of the kernels' speed, {kernels / shared:.2f} by the clock",
    ]
    with capsys.disabled():
        print("\n" + "\n".join(told))
    assert shared <= kernels, "\n".join(told)
    assert shared_cpu <= 1.5 * kernels_cpu, "\n".join(told)
