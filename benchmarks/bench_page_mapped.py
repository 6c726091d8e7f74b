"""Host pages a second of a page-mapped drive, through the stage on batches of one Mi requests.

Uniform random page writes on a full drive in steady state, greedy, 64 pages a block, one Mi logical pages, windows
included; feeding arrays, no Parquet. ``pytest benchmarks/bench_page_mapped.py`` prints the figures beside their goals
and fails where one is not reached. Sparse is the compact layout on a volume 1,000 times the drive, whose pages are
hashed, and its goal half of the others' one.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.ftl._page_mapped_config import PageMappedConfig as Config
from pipeline.ftl.config import Layout, Prefill
from pipeline.ftl.page_mapped import STAGE
from traces.block import Op

PAGES = int(os.environ.get("STRATA_BENCH_PAGES", "1048576"))
ROWS = 1 << 20
GOALS = {0.20: 15.0, 0.07: 8.0}  # M host pages a second
# layout, how far apart the pages stand that are written, share of the goal
CASES = {"direct": (Layout.DIRECT, 1, 1.0), "compact": (Layout.COMPACT, 1, 1.0), "sparse": (Layout.COMPACT, 1000, 0.5)}


def batches(spread: int) -> Iterator[pl.DataFrame]:
    """Writes of pages that stand ``spread`` pages apart."""
    chance = np.random.default_rng(1)
    at = 0
    while True:
        yield pl.DataFrame(
            {
                "time": np.arange(at, at + ROWS, dtype=np.uint64) * 1000,
                "op": np.full(ROWS, Op.WRITE, np.uint8),
                "volume": np.zeros(ROWS, np.uint32),
                "address": chance.integers(0, PAGES, ROWS).astype(np.uint64) * 4096 * spread,
                "length": np.full(ROWS, 4096, np.uint64),
                "stream": np.zeros(ROWS, np.uint32),
            }
        )
        at += ROWS


@pytest.mark.benchmark(timer=time.thread_time)  # of one core: what else the machine does takes no part of it
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spare", GOALS)
def test_page_mapped(benchmark: Any, spare: float, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    layout, spread, share = CASES[case]
    config = Config(
        spare=spare,
        layout=layout,
        capacity=(PAGES * spread * 4096,),
        footprint=(PAGES * 4096,) if layout == Layout.COMPACT else (),
        prefill=Prefill.RANDOM,
        window=ROWS * 1000 // 20,  # a row of windows for every 52,000 requests; each batch ends one at least
    )
    source = batches(spread)
    stock = [next(source) for _ in range(12)]
    stage = STAGE.run(iter(stock), config)
    next(stage)  # compiles, fills the drive and serves the first batch
    benchmark.pedantic(next, args=(stage,), rounds=10, iterations=1)
    rate, goal = ROWS / benchmark.stats.stats.min / 1e6, GOALS[spare] * share
    reached = "reached" if rate >= goal else "not reached"
    told = f"{case} S_f {spare:.2f}: {rate:.1f} M host pages/s, goal {goal:.1f}: {reached}"
    with capsys.disabled():
        print(f"\n{told}")
    assert rate >= goal, told
