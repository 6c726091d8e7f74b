from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.reference import workloads as reference
from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.ai_checkpoint import AiCheckpoint, generate

pytestmark = pytest.mark.kernels


def trace(rows: int = 1 << 20, **settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(AiCheckpoint, {"size": 4096} | settings), rows))


@given(
    requests=st.integers(1, 400),
    volumes=st.integers(1, 3),
    every=st.integers(0, 30),
    keep=st.integers(1, 3),
    chunk=st.integers(1, 30),
)
def test_ai_checkpoint__equals_the_reference(requests: int, volumes: int, every: int, keep: int, chunk: int) -> None:
    places, checkpoint = 97, 17
    samples = places - keep * checkpoint
    rows = trace(
        requests=requests,
        volumes=volumes,
        every=every,
        keep=keep,
        chunk=chunk * 4096,
        capacity=places * 4096,
        checkpoint=checkpoint / places,
    )
    writes = -(-checkpoint // chunk)
    want = reference.checkpoints(every, writes, requests)
    epochs: dict[tuple[int, int], set[int]] = {}
    done = [0] * volumes  # checkpoints
    for i, (volume, op, address, length) in enumerate(rows.select("volume", "op", "address", "length").rows()):
        assert volume == i % volumes
        what, number = want[i // volumes]
        place, count = address // 4096, length // 4096
        if what == "sample":
            epoch = epochs.setdefault((volume, number // samples), set())
            assert (op, count) == (Op.READ, 1)
            assert place < samples
            assert place not in epoch, "a sample is read once an epoch"
            epoch.add(place)
        elif what == "write":
            first = samples + done[volume] % keep * checkpoint
            assert (op, place) == (Op.WRITE, first + number * chunk)
            assert count == min(chunk, checkpoint - number * chunk)
        else:
            assert (op, place, count) == (Op.FLUSH, 0, 0)
            done[volume] += 1
            assert done[volume] == number + 1


def test_ai_checkpoint__each_epoch_has_an_order_of_its_own() -> None:
    rows = trace(requests=40_000, capacity=1100 * 4096, checkpoint=50 / 1100, keep=2, every=10**9, volumes=2)
    epochs = [
        rows.filter(pl.col("volume") == volume)["address"].to_numpy().astype(np.int64)[:20_000].reshape(20, 1000)
        // 4096
        for volume in range(2)
    ]
    orders = np.concatenate(epochs)
    assert (np.sort(orders, axis=1) == np.arange(1000)).all()
    apart = np.array(np.corrcoef(orders))[np.triu_indices(40, 1)]
    assert abs(apart).max() < 0.16
    assert chisquare(np.bincount(orders[:, 0] // 100, minlength=10)).pvalue > 1e-3


def test_ai_checkpoint__comes_in_bursts() -> None:
    rows = trace(requests=200_000, capacity="1GiB", every=1000, speed=50, rate=1e4, arrival="poisson")
    gaps = rows.select("op", gap=pl.col("time").cast(pl.Int64).diff()).drop_nulls()
    reading, writing = (gaps.filter(pl.col("op") == op)["gap"].mean() for op in (Op.READ, Op.WRITE))
    assert isinstance(reading, float)
    assert isinstance(writing, float)
    assert reading / writing == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize("asked", [{"checkpoint": 0.5}, {"keep": 21}, {"checkpoint": 1e-9}])
def test_ai_checkpoint__refuses_what_has_no_room(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint: .* and the samples do not share a volume"):
        configured(AiCheckpoint, asked)
