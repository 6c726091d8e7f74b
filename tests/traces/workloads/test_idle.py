from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from traces.config import configured
from traces.label import Category
from traces.workloads.idle import WORKLOAD, Idle, generate

pytestmark = pytest.mark.kernels


def test_idle__asks_for_a_small_part_evenly() -> None:
    rows = pl.concat(generate(configured(Idle, {"requests": 100_000, "capacity": 5000 * 4096, "footprint": 0.01})))
    counts = np.bincount((rows["address"] // 4096).to_numpy().astype(np.int64))
    assert counts.size == 50
    assert chisquare(counts).pvalue > 1e-3


def test_idle__has_one_place_at_least() -> None:
    rows = pl.concat(generate(configured(Idle, {"capacity": 5 * 4096})))
    assert rows["address"].unique().to_list() == [0]


def test_idle__label() -> None:
    def label(**asked: Any) -> str:
        return WORKLOAD.spans(configured(Idle, asked))[0].label

    assert label() == label(rate=40, volumes=4) == Category.IDLE
    assert label(rate=41, volumes=4) == Category.UNKNOWN
