from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chisquare

from tests.reference.workloads import zipf
from traces.config import configured
from traces.memory import Op
from traces.workloads.memory.zipf_pages import ZipfPages, generate

pytestmark = pytest.mark.kernels

N, PAGES = 500_000, 200


def made(**settings: Any) -> pl.DataFrame:
    asked = {"accesses": N, "footprint": PAGES * 4096} | settings
    return pl.concat(generate(configured(ZipfPages, asked)))


def pages(rows: pl.DataFrame, page: int = 4096) -> Any:
    return ((rows["address"] - (1 << 32)) // page).to_numpy().astype(np.int64)


@pytest.mark.parametrize("theta", [0.0, 0.7, 0.99, 1.3])
def test_pages__follow_the_law(theta: float) -> None:
    counts = np.bincount(pages(made(theta=theta, scattered=False)), minlength=PAGES)
    expected = np.array(zipf(PAGES, theta)) * N
    assert chisquare(counts, expected).pvalue > 1e-3
    other = np.array(zipf(PAGES, theta + 0.02)) * N
    assert chisquare(counts, other).pvalue < 1e-6


def test_places_within_a_page__are_all_alike() -> None:
    rows = made(size=64)
    within = ((rows["address"] % 4096) // 64).to_numpy()
    assert chisquare(np.bincount(within, minlength=64)).pvalue > 1e-3


def test_stores__have_their_share_whatever_the_page() -> None:
    rows = made(stores=0.2)
    stores = rows["op"] == int(Op.STORE)
    assert binom.ppf(1e-6, N, 0.2) <= stores.sum() <= binom.ppf(1 - 1e-6, N, 0.2)
    assert (rows["raw"].cast(pl.String) == "page store").equals(stores)
    hottest = np.bincount(pages(rows)).argmax()
    its = stores.filter(pl.Series(pages(rows) == hottest))
    assert binom.ppf(1e-6, its.len(), 0.2) <= its.sum() <= binom.ppf(1 - 1e-6, its.len(), 0.2)


def test_scattering__moves_pages_in_each_space_and_keeps_their_popularity() -> None:
    plain, moved = (made(scattered=scattered, spaces=2) for scattered in (False, True))
    hot = []
    for space in (0, 1):
        counts, scattered = (np.bincount(pages(rows.filter(space=space)), minlength=PAGES) for rows in (plain, moved))
        assert np.array_equal(np.sort(counts), np.sort(scattered))
        assert not np.array_equal(counts, scattered)
        hot.append(np.argsort(scattered)[::-1][:10].tolist())
    assert hot[0] != hot[1]


def test_pages__may_be_large() -> None:
    rows = made(page="2MiB", footprint="1GiB", theta=0)
    assert set(pages(rows, 2 << 20)) == set(range(512))
