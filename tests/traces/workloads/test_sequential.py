import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import workloads as reference
from traces.block import Op
from traces.config import configured
from traces.workloads.sequential import Sequential, generate

pytestmark = pytest.mark.kernels


@given(
    requests=st.integers(1, 200),
    volumes=st.integers(1, 4),
    places=st.integers(1, 20),
    discard=st.booleans(),
    rows=st.integers(1, 64),
)
def test_sequential__equals_the_reference(requests: int, volumes: int, places: int, discard: bool, rows: int) -> None:
    settings = {"requests": requests, "volumes": volumes, "capacity": places * 4096 + 100, "discard": discard}
    trace = pl.concat(generate(configured(Sequential, settings), rows))
    have = [
        (volume, "discard" if op == Op.DISCARD else "io", offset, length)
        for volume, op, offset, length in trace.select("volume", "op", "address", "length").rows()
    ]
    assert have == reference.sequential(requests, volumes, places, 4096, discard)


def test_sequential__reads_and_writes_share_one_order() -> None:
    trace = pl.concat(generate(configured(Sequential, {"requests": 1000, "reads": 0.5, "capacity": "1MiB"})))
    assert trace["address"].to_list() == [i % 256 * 4096 for i in range(1000)]
    assert sorted(trace["op"].unique()) == [Op.READ, Op.WRITE]


def test_sequential__says_discard() -> None:
    trace = pl.concat(generate(configured(Sequential, {"requests": 6, "capacity": 2 * 4096, "discard": True})))
    assert trace["raw"].cast(pl.String).to_list() == ["W", "W", "D", "W", "W", "D"]
