"""Host pages a second through each logical-to-physical map, on batches of one Mi requests.

Uniform random page writes and reads, half of each, on a full drive of one Mi pages, greedy, 64 pages a block, spare
0.20, windows included; feeding arrays, no Parquet. The two-level map keeps one pointer a first structure; DFTL has the
same DRAM. Each map is measured alone, through its kernel.
``pytest benchmarks/bench_l2p.py`` prints the figures and fails where the two-level map does not reach its goal.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.ftl.config import Layout
from pipeline.ftl.l2p.config import L2pConfig
from pipeline.ftl.l2p.replay import FtlL2pWindows, serve
from pipeline.ftl.l2p.stage import maps_of
from pipeline.ftl.l2p.state import Map
from pipeline.ftl.page_mapped import by_volume
from pipeline.ftl.replay import Request, Rules
from traces.config import spelled
from traces.table import arrays, empty

PAGES = int(os.environ.get("STRATA_BENCH_PAGES", "1048576"))
ROWS = 1 << 20
GOALS = {Map.TWO_LEVEL: 5.0}  # M pages of the host a second


def batches() -> Iterator[pl.DataFrame]:
    chance, at = np.random.default_rng(1), 0
    while True:
        yield pl.DataFrame(
            {
                "time": np.arange(at, at + ROWS, dtype=np.uint64) * 1000,
                "op": chance.integers(0, 2, ROWS).astype(np.uint8),
                "volume": np.zeros(ROWS, np.uint32),
                "address": chance.integers(0, PAGES, ROWS).astype(np.uint64) * 4096,
                "length": np.full(ROWS, 4096, np.uint64),
                "stream": np.zeros(ROWS, np.uint32),
            }
        )
        at += ROWS


@pytest.mark.benchmark(timer=time.thread_time)  # of one core: what else the machine does takes no part of it
@pytest.mark.parametrize("kind", Map, ids=spelled)
def test_l2p(benchmark: Any, kind: Map, capsys: pytest.CaptureFixture[str]) -> None:
    config = L2pConfig(spare=0.20, layout=Layout.DIRECT, capacity=(PAGES * 4096,), window=ROWS * 1000 // 20)
    maps, out = maps_of(config, kind), empty(FtlL2pWindows, 64)
    rules = Rules(window=config.window, program_zeroes=False, prefilled=True, fills=0)
    source = (by_volume(arrays(Request, batch)) for batch in batches())
    stock = [next(source) for _ in range(9)]
    for rows, begins in stock[:4]:  # compiles, fills the drive and brings it near its steady state
        serve(maps, rows, begins, rules, out)
    rest = iter(stock[4:])
    benchmark.pedantic(lambda: serve(maps, *next(rest), rules, out), rounds=5, iterations=1)
    rate, goal = ROWS / benchmark.stats.stats.min / 1e6, GOALS.get(kind)
    told = f"{spelled(kind)}: {rate:.1f} M host pages/s" + (f", goal {goal:.1f}" if goal else "")
    with capsys.disabled():
        print(f"\n{told}")
    assert not maps.books[0].stopped
    assert goal is None or rate >= goal, told
