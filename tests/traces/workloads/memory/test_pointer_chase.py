from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from tests.reference.memory import cycle
from traces.config import configured
from traces.memory import Op
from traces.workloads.memory.pointer_chase import PointerChase, generate

pytestmark = pytest.mark.kernels


def chased(**settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(PointerChase, settings)))


def places(rows: pl.DataFrame, node: int = 64) -> list[int]:
    return ((rows["address"] - (1 << 32)) // node).to_list()


@settings(max_examples=40)
@given(nodes=st.integers(1, 300), seed=st.integers(0, 9))
def test_ring__is_a_single_cycle_of_all_nodes(nodes: int, seed: int) -> None:
    rows = chased(accesses=2 * nodes + 1, footprint=nodes * 64, seed=seed)
    walk = places(rows)
    following = dict(pairwise(walk))
    assert len(following) == nodes
    assert all(following[here] == there for here, there in pairwise(walk)), "one way on, always"
    assert cycle([following[node] for node in range(nodes)], walk[0]) == walk[:nodes]
    assert set(rows["raw"].cast(pl.String)) == {"next"}


def test_processors__walk_one_ring_from_equal_distances() -> None:
    rows = chased(accesses=4 * 3 * 1000, footprint=1000 * 64, cpus=4, spaces=3)
    for space in range(3):
        walks = [places(rows.filter(space=space, cpu=cpu)) for cpu in range(4)]
        for cpu, walk in enumerate(walks):
            assert sorted(walk) == list(range(1000))
            assert walk == walks[0][250 * cpu :] + walks[0][: 250 * cpu]
    orders = [places(rows.filter(space=space, cpu=0)) for space in range(3)]
    assert orders[0] != orders[1] != orders[2]


def test_order__has_no_pattern_that_a_prefetcher_could_follow() -> None:
    n = 100_000
    walk = np.array(places(chased(accesses=n, footprint=n * 64)))
    step = np.diff(walk)
    _, often = np.unique(step, return_counts=True)
    assert often.max() < 20, "no stride comes often: 100,000 steps, 200,000 strides"
    # the distance of two places of a random order: triangular on -n..n
    assert kstest(step / n, "triang", args=(0.5, -1, 2)).pvalue > 1e-3


def test_fields__follow_their_pointer() -> None:
    rows = chased(accesses=40_000, footprint="1MiB", fields=3, node=128, size=16, stores=0.25)
    offset = ((rows["address"] - (1 << 32)) % 128).to_list()
    assert offset == [0, 16, 32, 48] * 10_000
    nodes = places(rows, 128)
    assert all(len(set(nodes[i : i + 4])) == 1 for i in range(0, 40_000, 4))
    assert rows["raw"].cast(pl.String)[::4].unique().to_list() == ["next"]
    stores = int((rows["op"] == int(Op.STORE)).sum())
    assert binom.ppf(1e-6, 30_000, 0.25) <= stores <= binom.ppf(1 - 1e-6, 30_000, 0.25)
    assert (rows["raw"].cast(pl.String) == "field store").sum() == stores


def test_a_huge_ring__needs_no_memory_of_its_size() -> None:
    rows = chased(accesses=10_000, footprint=1 << 48, rate=1e9)
    assert rows["address"].n_unique() == 10_000
    assert kstest(np.array(places(rows)) / (1 << 42), "uniform").pvalue > 1e-3
