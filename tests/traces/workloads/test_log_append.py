from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from tests.reference.workloads import Log
from traces.block import Op
from traces.config import configured
from traces.workloads.log_append import LogAppend, generate

pytestmark = pytest.mark.kernels


def trace(rows: int = 1 << 20, **settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(LogAppend, settings), rows))


@given(
    requests=st.integers(1, 400),
    volumes=st.integers(1, 3),
    places=st.integers(1, 40),
    segment=st.integers(1, 12),
    longest=st.integers(1, 15),
    reads=st.sampled_from([0.0, 0.3, 0.9]),
    flush=st.integers(0, 4),
    discard=st.booleans(),
)
def test_log_append__does_what_a_log_may(
    requests: int, volumes: int, places: int, segment: int, longest: int, reads: float, flush: int, discard: bool
) -> None:
    rows = trace(
        requests=requests,
        volumes=volumes,
        size=512,
        capacity=places * 512,
        segment=segment * 512,
        longest=longest * 512,
        reads=reads,
        flush=flush,
        discard=discard,
    )
    logs = [Log(places, min(segment, places), discard) for _ in range(volumes)]
    appended = [0] * volumes
    for i, (volume, op, address, length) in enumerate(rows.select("volume", "op", "address", "length").rows()):
        assert volume == i % volumes
        log, place, count = logs[volume], address // 512, length // 512
        if op == Op.WRITE:
            assert count <= longest
            log.append(place, count)
            appended[volume] += 1
        elif op == Op.DISCARD:
            log.give_up(place, count)
        elif op == Op.READ:
            assert count == 1
            assert place in log.live
        else:
            assert (op, place, count) == (Op.FLUSH, 0, 0)
            assert appended[volume] == flush
            appended[volume] = 0
        assert not flush or appended[volume] <= flush


def test_log_append__lengths_are_even() -> None:
    rows = trace(requests=100_000, capacity="1GiB", segment="256MiB", longest="64KiB")
    counts = np.bincount((rows.filter(pl.col("op") == Op.WRITE)["length"] // 4096).to_numpy().astype(np.int64))
    assert counts[0] == 0
    assert chisquare(counts[1:]).pvalue > 1e-3
    assert counts.size == 17


def test_log_append__reads_are_of_all_ages_alike() -> None:
    rows = trace(requests=40_000, size=512, capacity=512 * 200, segment=512 * 20, longest=2048, reads=0.5)
    log, ages = Log(200, 20, True), []
    for op, address, length in rows.select("op", "address", "length").rows():
        if op == Op.WRITE:
            log.append(address // 512, length // 512)
        elif op == Op.DISCARD:
            log.give_up(address // 512, length // 512)
        else:
            ages.append(log.age(address // 512) + 0.5 / len(log.live))
    assert len(ages) == pytest.approx(20_000, rel=0.03)
    assert kstest(ages, "uniform").pvalue > 1e-3
