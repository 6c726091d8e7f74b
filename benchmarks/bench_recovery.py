"""Recovery of validity counts beside a plain parallel sum of the same table: how much of its memory bandwidth is kept.

Tables of 2^28 entries of 4 bytes (``STRATA_BENCH_ENTRIES``: other powers of two), every address once, in order and at
random; blocksets of 64 Ki pages, 256 MiB where a page has 4 KiB. Sum and recovery take turns, and the best of each is
compared, in processor time of their threads: what else the machine does takes no part of it. The share of elapsed time
is told beside it. ``pytest benchmarks/bench_recovery.py`` prints a line for each partition and merge and fails below
the goal, which is for drives that deduplicate. Those that do not keep a bit for each physical address, which costs a
second random write for each entry: told without a goal.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.ftl.fleet import zeros
from pipeline.ftl.recovery.config import Duplicates, Geometry, Merge, Partition, RecoveryConfig
from pipeline.ftl.recovery.recover import Recovery, recover
from traces.config import spelled
from traces.kernel import lean_kernel

ENTRIES = int(os.environ.get("STRATA_BENCH_ENTRIES", str(1 << 28)))
PAGES = 1 << 16
GEOMETRY = Geometry(blocksets=ENTRIES // PAGES, pages=PAGES)
CORES = min(8, len(os.sched_getaffinity(0)))
GOALS = {"sequential": 0.60, "random": 0.40}
ROUNDS = 8
MERGES = [merge for merge in Merge if merge != Merge.SHARED]


@lean_kernel
def add_up(table: NDArray[np.uint64]) -> Any:
    """The sum, whatever it overflows to."""
    total = np.uint64(0)
    for i in range(table.size):
        total += table[i]
    return total


def parallel_sum(table: NDArray[np.uint32]) -> None:
    """All cores read the table, eight bytes at a time: the faster way."""
    parts = np.array_split(table.view(np.uint64), CORES)
    threads = [threading.Thread(target=add_up, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Processor seconds of a core, elapsed seconds, what was returned."""
    used, began = time.process_time(), time.perf_counter()
    out = run()
    return (time.process_time() - used) / CORES, time.perf_counter() - began, out


def mixed(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A permutation of 0 to ENTRIES: odd factors and shifts (after the finalizer of MurmurHash3, Appleby, 2011)."""
    bits = np.uint32(ENTRIES.bit_length() - 1)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        numbers ^= numbers >> (bits // np.uint32(2))
        numbers *= np.uint32(factor)
        numbers &= np.uint32(ENTRIES - 1)
    return numbers ^ (numbers >> (bits // np.uint32(2)))


@pytest.fixture(scope="module", params=list(GOALS))
def table(request: pytest.FixtureRequest) -> tuple[str, NDArray[np.uint32]]:
    out = zeros(ENTRIES, np.uint32)
    for at in range(0, ENTRIES, 1 << 20):
        part = np.arange(at, min(at + (1 << 20), ENTRIES), dtype=np.uint32)
        out[at : at + part.size] = part if request.param == "sequential" else mixed(part)
    return request.param, out


@pytest.mark.parametrize("duplicates", Duplicates, ids=spelled)
@pytest.mark.parametrize("merge", MERGES, ids=spelled)
@pytest.mark.parametrize("partition", Partition, ids=spelled)
def test_recovery(
    table: tuple[str, NDArray[np.uint32]],
    partition: Partition,
    merge: Merge,
    duplicates: Duplicates,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order, entries = table
    config = RecoveryConfig(cores=CORES, partition=partition, merge=merge, duplicates=duplicates)
    alone = RecoveryConfig(cores=1, partition=partition, merge=merge, duplicates=duplicates)
    recover(entries[:4096], GEOMETRY, config)  # compiles
    add_up(entries[:4096].view(np.uint64))
    sums, runs = [], []
    for _ in range(ROUNDS):
        sums.append(timed(lambda: parallel_sum(entries)))
        runs.append(timed(lambda: recover(entries, GEOMETRY, config)))
    single = min(recover(entries, GEOMETRY, alone).seconds for _ in range(2))
    have: Recovery = min((run[2] for run in runs), key=lambda each: each.seconds)
    assert (have.counts == PAGES).all()
    share, elapsed = (min(run[i] for run in sums) / min(run[i] for run in runs) for i in range(2))
    goal = GOALS[order] if duplicates == Duplicates.COUNT else 0.0
    asked = f" (goal {goal:.0%})" if goal else ""
    speed_up = single / have.seconds / CORES
    told = (
        f"{order:10} {spelled(partition):10} {spelled(merge):7} {spelled(duplicates):5}: "
        f"{ENTRIES / have.seconds / 1e9:.2f} G entries/s, {share:.0%} of a sum's bandwidth{asked}, "
        f"{elapsed:.0%} by the clock, speed-up {speed_up:.2f} a core on {CORES}, merging {have.merge_share:.2%}, "
        f"tables {have.table_bytes >> 10} KiB, imbalance {have.imbalance:.3f}"
    )
    with capsys.disabled():
        print(f"\n{told}", end="")
    assert share >= goal, told
