from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, chisquare

from tests.reference import workloads as reference
from traces.block import Flag, Op
from traces.config import configured
from traces.errors import ConfigError
from traces.label import Category
from traces.workloads.oltp import WORKLOAD, Oltp, Stream, generate

pytestmark = pytest.mark.kernels

N = 400_000


def trace(**settings: Any) -> pl.DataFrame:
    asked = {"requests": N, "size": 4096, "capacity": 1000 * 4096, "log_data": 0.1}
    return pl.concat(generate(configured(Oltp, asked | settings)))


@pytest.mark.parametrize("volumes", [1, 3])
@pytest.mark.parametrize("commit", ["fua", "flush"])
def test_oltp__the_log_goes_round_its_part_of_the_volume(volumes: int, commit: str) -> None:
    rows = trace(volumes=volumes, commit=commit, log=0.3, group=5).head(30_000)
    for volume in range(volumes):
        head, open_ = 900, False
        its = rows.filter(pl.col("volume") == volume).select("op", "address", "length", "stream", "flags")
        for op, address, length, stream, flags in its.rows():
            place, count = address // 4096, length // 4096
            if stream == Stream.DATA:
                assert op in (Op.READ, Op.WRITE)
                assert (count, flags) == (1, 0)
                assert place < 900
                assert not open_ or commit == "fua", "the flush goes before any other request"
            elif op == Op.FLUSH:
                assert (commit, place, count) == ("flush", 0, 0)
                assert open_, "nothing was to be flushed"
                open_ = False
            else:
                assert (op, flags) == (Op.WRITE, Flag.FUA if commit == "fua" else 0)
                assert place == head
                assert 1 <= count <= min(5, 1000 - head)
                head = head + count if head + count < 1000 else 900
                open_ = True


def test_oltp__shares_are_as_asked() -> None:
    rows = trace(log=0.2, reads=0.7, commit="flush")
    data = rows.filter(pl.col("stream") == Stream.DATA)
    reads = int((data["op"] == Op.READ).sum())
    appends = int(((rows["op"] == Op.WRITE) & (rows["stream"] == Stream.LOG)).sum())
    assert binom.ppf(1e-5, data.height, 0.7) <= reads <= binom.ppf(1 - 1e-5, data.height, 0.7)
    assert binom.ppf(1e-5, N, 0.2) <= appends <= binom.ppf(1 - 1e-5, N, 0.2)
    assert (rows["op"] == Op.FLUSH).mean() == pytest.approx(0.2 * 0.8, abs=0.003)


def test_oltp__appends_are_of_all_lengths_alike() -> None:
    rows = trace(log=0.5, group=6, capacity=100_000 * 4096)
    counts = np.bincount((rows.filter(pl.col("stream") == Stream.LOG)["length"] // 4096).to_numpy().astype(np.int64))
    assert chisquare(counts[1:]).pvalue > 1e-3


def test_oltp__data_are_as_popular_as_zipf_says() -> None:
    rows = trace(theta=0.8, log=0.1).filter(pl.col("stream") == Stream.DATA)
    counts = np.sort(np.bincount((rows["address"] // 4096).to_numpy().astype(np.int64), minlength=900))[::-1]
    law = np.array(reference.zipf(900, 0.8)) * rows.height
    tens = np.arange(900) // 10  # sorted by count, not by rank: neighbours may have changed places
    np.testing.assert_allclose(np.bincount(tens, counts)[:60], np.bincount(tens, law)[:60], rtol=0.04)
    assert counts.size == 900


def test_oltp__data_are_scattered() -> None:
    rows = trace(volumes=2).filter(pl.col("stream") == Stream.DATA)
    tops = [
        rows.filter(pl.col("volume") == volume)["address"].value_counts(sort=True)["address"].head(20).to_list()
        for volume in range(2)
    ]
    assert len(set(tops[0]) & set(tops[1])) < 6
    assert max(tops[0]) > 600 * 4096


@pytest.mark.parametrize("share", [0.0004, 0.9999])
def test_oltp__refuses_a_part_without_a_place(share: float) -> None:
    with pytest.raises(ConfigError, match=r"log_data: .* some must be log and some data"):
        trace(log_data=share)


def test_oltp__label() -> None:
    def label(**asked: Any) -> str:
        return WORKLOAD.spans(configured(Oltp, asked))[0].label

    assert label() == Category.OLTP_MIXED
    assert label(log=0.9) == label(log=0) == label(reads=1) == Category.UNKNOWN
