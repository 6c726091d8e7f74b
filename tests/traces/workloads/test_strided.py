from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import workloads as reference
from traces.config import configured
from traces.errors import ConfigError
from traces.label import Category
from traces.workloads.strided import WORKLOAD, Strided, generate

pytestmark = pytest.mark.kernels


@given(
    requests=st.integers(1, 200),
    volumes=st.integers(1, 4),
    places=st.integers(2, 30),
    shifted=st.booleans(),
    rows=st.integers(1, 64),
    data=st.data(),
)
def test_strided__equals_the_reference(
    requests: int, volumes: int, places: int, shifted: bool, rows: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, places - 1))
    asked = {"requests": requests, "volumes": volumes, "capacity": places * 4096 + 100, "stride": stride * 4096}
    trace = pl.concat(generate(configured(Strided, asked | {"shifted": shifted}), rows))
    lap = reference.strided(places, stride, shifted)
    want = [(i % volumes, lap[i // volumes % len(lap)] * 4096) for i in range(requests)]
    assert trace.select("volume", "address").rows() == want


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"stride": 6000}, r"stride \(6000 bytes\) is not a multiple of size \(4096 bytes\)"),
        ({"stride": "1MiB", "capacity": "1MiB"}, r"stride \(1048576 bytes\) leaves one place"),
    ],
)
def test_strided__refuses(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(Strided, asked)


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ({"reads": 1}, Category.READ_SCAN),
        ({}, Category.UNKNOWN),
        ({"stride": 4096}, Category.SEQ_WRITE_LOG),
        ({"stride": 4096, "reads": 0.5}, Category.UNKNOWN),
    ],
)
def test_strided__label(asked: dict[str, Any], label: Category) -> None:
    assert WORKLOAD.spans(configured(Strided, asked))[0].label == label
