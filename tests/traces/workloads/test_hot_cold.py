from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chisquare

from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.hot_cold import Heat, HotCold, generate

pytestmark = pytest.mark.kernels

N = 400_000


def trace(**settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(HotCold, {"requests": N, "capacity": 1000 * 4096} | settings)))


@pytest.mark.parametrize(("data", "share"), [(0.2, 0.8), (0.1, 0.9), (0.5, 0.5), (0.3, 0.0), (0.3, 1.0)])
@pytest.mark.parametrize("reads", [0.0, 0.4])
def test_hot_cold__hot_data_gets_its_share(data: float, share: float, reads: float) -> None:
    rows = trace(hot_data=data, hot_requests=share, reads=reads)
    hot = pl.col("address") < round(data * 1000) * 4096
    assert rows.filter(hot)["stream"].unique().to_list() == ([Heat.HOT] if share else [])
    assert rows.filter(~hot)["stream"].unique().to_list() == ([Heat.COLD] if share < 1 else [])
    for op in (Op.READ, Op.WRITE):
        some = rows.filter(pl.col("op") == op)
        have = some.filter(hot).height
        assert binom.ppf(1e-5, some.height, share) <= have <= binom.ppf(1 - 1e-5, some.height, share)


def test_hot_cold__each_part_is_uniform() -> None:
    counts = np.bincount((trace()["address"] // 4096).to_numpy().astype(np.int64), minlength=1000)
    assert chisquare(counts[:200]).pvalue > 1e-3
    assert chisquare(counts[200:]).pvalue > 1e-3
    assert chisquare(counts).pvalue < 1e-6


def test_hot_cold__scattered_keeps_the_parts_apart() -> None:
    plain, rows = trace(volumes=2), trace(volumes=2, scattered=True)
    assert rows.drop("address").equals(plain.drop("address"))
    for volume in range(2):
        asked = rows.filter(pl.col("volume") == volume)
        hot, cold = (set(asked.filter(pl.col("stream") == heat)["address"].to_list()) for heat in Heat)
        assert (len(hot), len(cold)) == (200, 800)
        assert not hot & cold
        assert max(hot) > 900 * 4096


@pytest.mark.parametrize("data", [0.0004, 0.9999])
def test_hot_cold__refuses_a_part_without_a_place(data: float) -> None:
    with pytest.raises(ConfigError, match=r"of a volume's 1000 places is .* of them: some must be hot and some cold"):
        trace(hot_data=data)
