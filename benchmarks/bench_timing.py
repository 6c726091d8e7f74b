"""Requests a second with time modelled: the flash alone, and the whole page-mapped drive through its stage.

Requests of 4 KiB, half of them random reads, half random writes, on a full drive in steady state, greedy, 64 pages a
block, one Mi logical pages, eight channels of four dies of two planes, windows included. The flash alone does one page
for each request, without a drive. ``pytest benchmarks/bench_timing.py`` prints the figures beside their goals and fails
where one is not reached.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.ftl._page_mapped_config import PageMappedConfig
from pipeline.ftl.config import Layout, Prefill
from pipeline.ftl.nand.model import FtlLoad, Loop, Nand, Timing, begin, end, nand_of, new_nands, program, read
from pipeline.ftl.page_mapped import STAGE
from traces.block import Op
from traces.kernel import lean_kernel

PAGES = int(os.environ.get("STRATA_BENCH_PAGES", "1048576"))
ROWS = 1 << 20
GAP = 400_000  # ns between requests, open loop: the drive keeps up with it (at spare 0.07 it needs 300,000)
SHAPE: dict[str, Any] = {"channels": 8, "dies": 4, "planes": 2}
GOALS = {0.20: 3.0, 0.07: 3.0}  # M requests a second
ALONE = 10.0


def batches() -> Iterator[pl.DataFrame]:
    chance = np.random.default_rng(1)
    at = 0
    while True:
        yield pl.DataFrame(
            {
                "time": np.arange(at, at + ROWS, dtype=np.uint64) * GAP,
                "op": chance.choice(np.array([Op.READ, Op.WRITE], np.uint8), ROWS),
                "volume": np.zeros(ROWS, np.uint32),
                "address": chance.integers(0, PAGES, ROWS).astype(np.uint64) * 4096,
                "length": np.full(ROWS, 4096, np.uint64),
                "stream": np.zeros(ROWS, np.uint32),
            }
        )
        at += ROWS


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("loop", [Loop.OPEN, Loop.CLOSED])
@pytest.mark.parametrize("spare", GOALS)
def test_drive(benchmark: Any, spare: float, loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    config = PageMappedConfig(
        spare=spare,
        layout=Layout.DIRECT,
        capacity=(PAGES * 4096,),
        prefill=Prefill.RANDOM,
        window=ROWS * GAP // 20,
        timing=loop,
        **SHAPE,
    )
    source = batches()
    stock = [next(source) for _ in range(7)]
    stage = STAGE.run(iter(stock), config)
    batch(stage)  # compiles, fills the drive and serves the first
    benchmark.pedantic(batch, args=(stage,), rounds=5, iterations=1)
    _tell(f"S_f {spare:.2f} {loop.name.lower()}", ROWS / benchmark.stats.stats.min / 1e6, GOALS[spare], capsys)


def batch(stage: Iterator[Any]) -> None:
    """Serve one batch, which ends windows."""
    while not isinstance(next(stage), FtlLoad):
        pass


@lean_kernel
def serve(nand: Nand, cells: Any, writes: Any) -> int:
    """A request of a page for each cell; their latencies added up."""
    total = 0
    for i in range(cells.size):
        begin(nand, i * GAP)
        if writes[i]:
            program(nand, cells[i])
            total += end(nand, Op.WRITE, 4096)
        else:
            read(nand, cells[i])
            total += end(nand, Op.READ, 4096)
    return total


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("loop", [Loop.OPEN, Loop.CLOSED])
def test_flash_alone(benchmark: Any, loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    chance = np.random.default_rng(1)
    nands = new_nands(Timing(timing=loop, **SHAPE), 1, page=4096, block_pages=64, window=1)
    assert nands is not None
    writes = chance.random(ROWS) < 0.5
    cells = np.where(writes, PAGES + np.cumsum(writes), chance.integers(0, PAGES, ROWS))
    nand = nand_of.py_func(nands, 0)  # type: ignore[attr-defined]
    serve(nand, cells[:1], writes[:1])
    nands.moment[0].first = -1
    benchmark.pedantic(serve, args=(nand, cells, writes), rounds=1, iterations=1)
    _tell(f"flash alone {loop.name.lower()}", ROWS / benchmark.stats.stats.min / 1e6, ALONE, capsys)


def _tell(what: str, rate: float, goal: float, capsys: pytest.CaptureFixture[str]) -> None:
    told = f"{what}: {rate:.1f} M requests/s, goal {goal:.1f}: {'reached' if rate >= goal else 'not reached'}"
    with capsys.disabled():
        print(f"\n{told}")
    assert rate >= goal, told
