from itertools import islice

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.memory import stream
from traces.config import configured
from traces.memory import Op
from traces.workloads.memory.streaming import WORKLOAD, Streaming, generate

pytestmark = pytest.mark.kernels

SHARES = {"copy": 1 / 2, "scale": 1 / 2, "add": 1 / 3, "triad": 1 / 3, "all": 4 / 10}


@settings(max_examples=40)
@given(
    kernel=st.sampled_from(sorted(SHARES)),
    elements=st.integers(4, 40),
    cpus=st.integers(1, 4),
    spaces=st.integers(1, 2),
    batch=st.integers(1, 300),
)
def test_streaming__runs_the_loops(kernel: str, elements: int, cpus: int, spaces: int, batch: int) -> None:
    asked = {"footprint": elements * 24, "cpus": cpus, "spaces": spaces, "kernel": kernel, "accesses": 700}
    config = configured(Streaming, asked)
    rows = pl.concat(generate(config, batch))
    part = elements // cpus
    for space in range(spaces):
        for cpu in range(cpus):
            its = rows.filter(space=space, cpu=cpu)
            want = list(islice(stream(kernel, part, cpus, cpu), its.height))
            assert its["raw"].cast(pl.String).to_list() == [word for word, _, _ in want]
            begins = {array: (1 << 32) + i * part * cpus * 8 for i, array in enumerate("abc")}
            assert its["address"].to_list() == [begins[array] + 8 * element for _, array, element in want]


@pytest.mark.parametrize("kernel", SHARES)
def test_a_lap__stores_its_share_and_touches_its_footprint(kernel: str) -> None:
    config = configured(Streaming, {"kernel": kernel, "footprint": "240KB", "accesses": 300_000})
    rows = pl.concat(generate(config))
    assert (rows["op"] == int(Op.STORE)).mean() == pytest.approx(SHARES[kernel])
    arrays = 2 if kernel in ("copy", "scale") else 3
    assert rows["address"].n_unique() == arrays * 10_000
    assert [span.label for span in WORKLOAD.spans(config)] == [f"streaming {kernel}"]
