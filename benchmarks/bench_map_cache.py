"""Lookups a second of the map cache of all sizes, and of the learned map.

The cache: reads of one page, evenly drawn from one Mi, every one of them followed. The stack of one granularity by
itself, and the stage on batches of one Mi requests, which looks each page up as an entry and as a part of a map page;
feeding arrays, no Parquet. The learned map by itself: one Mi pages written in order, then in runs of 16 or as single
pages, evenly drawn, looked up at random. ``pytest benchmarks/bench_map_cache.py`` prints the figures beside their goals
and fails where one is not reached.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.ftl.l2p.learned import Figures, compact, figures, learn, new_learned, predict
from pipeline.ftl.l2p.learned_levels import Learned
from pipeline.ftl.l2p.map_cache import STAGE, Config
from pipeline.ftl.l2p.mrc import Stack, look_for, new_stack, touch
from traces.block import Op
from traces.kernel import lean_kernel
from traces.table import I64

ROWS = PAGES = 1 << 20
STACK_GOAL, STAGE_GOAL = 5.0, 3.0  # M lookups a second
FLUSHED = 4096  # pages at a time
# how far the learned map's pages are written: ns of a lookup. Random writes leave tens of levels in a group
CASES = {"sequential": 100.0, "runs": 200.0, "random": 1000.0}


def batches(count: int) -> Iterator[pl.DataFrame]:
    chance = np.random.default_rng(1)
    for _ in range(count):
        yield pl.DataFrame(
            {
                "op": np.full(ROWS, Op.READ, np.uint8),
                "volume": np.zeros(ROWS, np.uint32),
                "address": chance.integers(0, PAGES, ROWS).astype(np.uint64) * 4096,
                "length": np.full(ROWS, 4096, np.uint64),
            }
        )


@lean_kernel
def _touch_all(s: Stack, keys: I64) -> None:
    for i in range(keys.size):
        if i + 16 < keys.size:
            look_for(s, keys[i + 16])
        touch(s, keys[i], True)


def judged(what: str, lookups: int, seconds: float, goal: float, capsys: pytest.CaptureFixture[str]) -> None:
    rate = lookups / seconds / 1e6
    told = f"{what}: {rate:.1f} M lookups/s, goal {goal:.1f}: {'reached' if rate >= goal else 'not reached'}"
    with capsys.disabled():
        print(f"\n{told}")
    assert rate >= goal, told


@pytest.mark.benchmark(timer=time.thread_time)  # of one core: what else the machine does takes no part of it
def test_stack(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack, keys = new_stack(PAGES, PAGES), np.random.default_rng(1).integers(0, PAGES, 4 * ROWS)
    _touch_all(stack, keys)  # compiles, and all keys are there
    benchmark.pedantic(_touch_all, args=(stack, keys), rounds=3, iterations=1)
    judged("stack of entries", keys.size, benchmark.stats.stats.min, STACK_GOAL, capsys)


@pytest.mark.benchmark(timer=time.thread_time)
def test_map_cache(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stock = list(batches(12))
    list(STAGE.run(stock[:1], Config()))  # compiles
    benchmark.pedantic(lambda: list(STAGE.run(stock, Config())), rounds=3, iterations=1)
    judged("stage of both caches", len(stock) * ROWS, benchmark.stats.stats.min, STAGE_GOAL, capsys)


@lean_kernel
def _wrong(m: Learned, pages: I64, cells: I64) -> int:
    """How many pages are not where they are guessed to be."""
    wrong = 0
    for page in pages:
        guess, _, _ = predict(m, page)
        wrong += guess != cells[page]
    return wrong


def written(case: str, gamma: int) -> tuple[Learned, I64]:
    """A learned map, and where its pages are."""
    chance = np.random.default_rng(2)
    m, cells, programmed = new_learned(PAGES, gamma=gamma, pages=64, shift=6), np.zeros(PAGES, np.int64), 0
    flushes = [np.arange(begin, begin + FLUSHED) for begin in range(0, PAGES, FLUSHED)]
    for _ in range(256 if case != "sequential" else 0):
        runs = 16 if case == "runs" else 1
        begins = chance.integers(0, PAGES - runs, FLUSHED // runs)
        flushes.append(np.unique(begins[:, None] + np.arange(runs)))
    for pages in flushes:
        cells[pages] = np.arange(programmed, programmed + pages.size)
        learn(m, pages, cells[pages], pages.size)
        programmed += pages.size
    compact(m)
    return m, cells


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("gamma", [0, 4])
@pytest.mark.parametrize("case", CASES)
def test_learned(benchmark: Any, case: str, gamma: int, capsys: pytest.CaptureFixture[str]) -> None:
    m, cells = written(case, gamma)
    asked = np.random.default_rng(3).integers(0, PAGES, PAGES)
    wrong = _wrong(m, asked, cells)
    benchmark.pedantic(_wrong, args=(m, asked, cells), rounds=5, iterations=1)
    took, goal, told = benchmark.stats.stats.min / PAGES * 1e9, CASES[case], Figures(*figures(m))
    shape = f"{told.bytes / PAGES:.2f} bytes a page, {told.levels / told.groups:.1f} levels a group"
    extra = f"{wrong / PAGES:.3f} extra reads a read"
    reached = f"{case}, gamma {gamma}: {took:.0f} ns a lookup, goal {goal:.0f}: {'' if took <= goal else 'not '}reached"
    with capsys.disabled():
        print(f"\n{reached}; {shape}, {extra}")
    assert took <= goal, reached
