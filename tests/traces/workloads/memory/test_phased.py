from itertools import pairwise

import polars as pl
import pytest

from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.memory.phased import PARTS, WORKLOAD, MemoryPhases, generate

pytestmark = pytest.mark.kernels

THREE = "streaming 3000 kernel=triad; zipf-pages 20us footprint=1MiB base=8GiB; pointer-chase 1000 fields=1 stores=1"


@pytest.mark.parametrize("rows", [100, 2999, 1 << 20])
def test_phases__are_their_generators_one_after_the_other(rows: int) -> None:
    config = configured(MemoryPhases, {"phases": THREE, "repeat": 2, "seed": 9, "cpus": 2, "footprint": "64KiB"})
    trace = pl.concat(generate(config, rows))
    assert trace.height == config.records == 2 * (3000 + 2000 + 1000)
    spans = WORKLOAD.spans(config)
    assert [span.label for span in spans] == ["streaming triad", "zipf-pages", "pointer-chase"] * 2
    ends = [*(span.begin for span in spans[1:]), trace.height]
    for span, end in zip(spans, ends, strict=True):
        workload = PARTS[span.maker]
        part = configured(workload.config, pl.Series([span.settings]).str.json_decode(infer_schema_length=1)[0])
        alone = pl.concat(workload.generate(part))
        its = trace[span.begin : end]
        assert its.with_columns(pl.col("time") - its["time"][0]).equals(alone)
    assert all(trace["time"][other.begin] == trace["time"][other.begin - 1] + 10 for _, other in pairwise(spans)), (
        "one mean gap"
    )


def test_phases__have_their_own_data_where_they_say_so() -> None:
    config = configured(MemoryPhases, {"phases": THREE, "base": "2GiB", "footprint": "64KiB"})
    trace = pl.concat(generate(config))
    where = [
        (trace["address"][part].min(), trace["address"][part].max()) for part in (slice(0, 3000), slice(3000, 5000))
    ]
    assert 2 << 30 <= where[0][0] <= where[0][1] < (2 << 30) + (64 << 10)  # type: ignore[operator]
    assert 8 << 30 <= where[1][0] <= where[1][1] < (8 << 30) + (1 << 20)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ("streaming 100 cpus=3", "cpus is set for the whole schedule"),
        ("streaming 100 accesses=3", "accesses is set for the whole schedule"),
        ("zipf 100", r"phase 1 \(zipf 100\): unknown workload 'zipf'; did you mean 'zipf-pages'"),
        ("stencil 1ns", "is no access"),
        ([{"workload": "stencil", "accesses": 5, "duration": 6}], "is no phase"),
    ],
)
def test_impossible_phases__are_refused(phases: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(MemoryPhases, {"phases": phases})


def test_a_table__is_a_phase_as_well() -> None:
    one = configured(
        MemoryPhases, {"phases": [{"workload": "stencil", "accesses": 500, "settings": {"dimensions": 3}}]}
    )
    assert one == configured(MemoryPhases, {"phases": "stencil 500 dimensions=3"})
