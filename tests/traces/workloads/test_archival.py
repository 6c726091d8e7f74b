from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from traces.block import Op
from traces.config import configured
from traces.label import Category
from traces.workloads.archival import WORKLOAD, Archival, generate

pytestmark = pytest.mark.kernels


def trace(rows: int = 1 << 20, **settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(Archival, {"size": 4096, "object_size": 8 * 4096} | settings), rows))


@pytest.mark.parametrize("volumes", [1, 3])
@pytest.mark.parametrize("reads", [0.0, 0.05, 0.6, 1.0])
def test_archival__writes_each_place_once_in_order(volumes: int, reads: float) -> None:
    rows = trace(requests=30_000, volumes=volumes, reads=reads, capacity=3005 * 4096)
    for volume in range(volumes):
        its = rows.filter(pl.col("volume") == volume)
        writes = (its.filter(pl.col("op") == Op.WRITE)["address"] // 4096).to_list()
        assert writes == list(range(len(writes)))
        assert len(writes) <= 3000
        if reads < 0.7:
            assert len(writes) == 3000, "the volume is full of whole objects"
        written, left = 0, list[int]()
        for op, address in its.select("op", "address").rows():
            if op == Op.WRITE:
                assert not left, "a restore is not interrupted"
                written += 1
                continue
            if not left:
                assert address // 4096 % 8 == 0
                left = list(range(address // 4096, address // 4096 + 8))
                assert left[-1] < written, "what is restored is complete"
            assert left.pop(0) == address // 4096


@pytest.mark.parametrize("reads", [0.01, 0.2, 0.7])
def test_archival__reads_have_their_share(reads: float) -> None:
    rows = trace(requests=400_000, capacity="100GiB", reads=reads)
    # restores are of 8 reads each: so many times the variance of independent reads
    deviation = np.sqrt(8 * reads * (1 - reads) / 400_000)
    assert (rows["op"] == Op.READ).mean() == pytest.approx(reads, abs=4 * deviation)


def test_archival__restores_old_and_new_alike() -> None:
    rows = trace(requests=400_000, capacity=8000 * 4096, reads=0.5)
    full = rows.filter(pl.col("op") == Op.READ).tail(300_000)
    objects = (full["address"] // (8 * 4096)).to_numpy().astype(np.int64)[::8]
    assert chisquare(np.bincount(objects, minlength=1000)).pvalue > 1e-3


def test_archival__label() -> None:
    def label(**asked: Any) -> str:
        return WORKLOAD.spans(configured(Archival, asked))[0].label

    assert label() == Category.ARCHIVAL_WORM
    assert label(reads=0.5) == Category.UNKNOWN
    assert label(capacity="1GiB") == Category.UNKNOWN, "full long before the trace ends, it is only read"
