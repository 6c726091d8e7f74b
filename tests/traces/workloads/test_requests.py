"""What every generator of block requests must keep."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.generated import PLAIN, small, trace
from traces.block import Flag, Op
from traces.config import configured
from traces.errors import ConfigError
from traces.store import Store
from traces.workloads import WORKLOADS, make
from traces.workloads.workload import Shared, Workload

pytestmark = pytest.mark.kernels

BLOCK = {name: each for name, each in WORKLOADS.items() if each.kind == "block"}
BURSTING = {name: each for name, each in PLAIN.items() if issubclass(each.config, Shared)}
every_block_workload = pytest.mark.parametrize("workload", BLOCK.values(), ids=BLOCK)
every_plain_workload = pytest.mark.parametrize("workload", PLAIN.values(), ids=PLAIN)


@st.composite
def shared(draw: st.DrawFn) -> dict[str, Any]:
    size = 512 * draw(st.integers(1, 40))
    places = draw(st.one_of(st.integers(2, 50), st.integers(2, 2**40)))
    return {
        "requests": draw(st.integers(1, 400)),
        "volumes": draw(st.integers(1, 5)),
        "size": size,
        "capacity": min(places * size + draw(st.integers(0, 511)), 1 << 60),
        "reads": draw(st.floats(0, 1)),
        "rate": draw(st.floats(0.01, 1e9)),
        "arrival": draw(st.sampled_from(["fixed", "poisson", "on-off", "b-model"])),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


def possible(workload: Workload[Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The settings, or with a larger capacity and lengths that fit where the workload wants more than two places."""
    size = asked["size"]
    fits: dict[str, dict[str, Any]] = {
        "strided": {"stride": 3 * size},
        "lsm": {"memtable": 4 * size, "io": 2 * size, "fanout": 3, "level0": 2, "data": 0.3},
        "log-append": {"segment": 7 * size, "longest": 3 * size, "flush": 2},
        "archival": {"object_size": 5 * size},
        "ai-checkpoint": {"every": 10},
        "boot-storm": {"arrival": "fixed" if asked["arrival"] == "fixed" else "poisson"},
    }
    asked = asked | fits.get(workload.name, {})
    try:
        configured(workload.config, asked)
    except ConfigError:
        return asked | {"capacity": size * 1000}
    return asked


@every_plain_workload
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"capacity": "1KiB"}, r"capacity \(1024 bytes\) is less than one request \(4096 bytes\)"),
        ({"capacity": 100}, "capacity: .*greater than or equal to 512, got 100"),
        ({"capacity": "1000000GiB", "size": 512}, "2097152000000 places a volume; 1099511627776 at most"),
        ({"size": 1000}, "size: .*multiple of 512, got 1000"),
        ({"reads": 1.01}, "reads: .*less than or equal to 1, got 1.01"),
        ({"reads": float("nan")}, "reads: "),
        ({"requests": 0}, "requests: .*greater than or equal to 1"),
        ({"volumes": 0}, "volumes: .*greater than or equal to 1"),
        ({"rate": 0}, "rate: .*greater than 0"),
        ({"rate": float("inf")}, "rate: "),
        ({"rate": 1e-9, "requests": 10}, "10 requests at a rate of 1e-09 last over 1157 days: raise rate"),
        ({"rate": "nan"}, "^rate: 'nan' is no number$"),
        ({"arrival": "poison"}, "arrival: 'poison' is not one of them; did you mean 'poisson'"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
        ({"sead": 1}, "unknown key 'sead'; did you mean 'seed'"),
    ],
)
def test_workload__refuses_bad_settings(workload: Workload[Any], asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(workload.config, {"size": 4096} | asked)


@pytest.mark.parametrize("workload", BURSTING.values(), ids=BURSTING)
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"busy": 1.0}, "busy: .*less than or equal to 0.99, got 1.0"),
        ({"bias": 0.4}, "bias: .*greater than or equal to 0.5, got 0.4"),
        ({"burst": "1ns"}, "burst: .*greater than or equal to 1000, got '1ns'"),
        ({"grain": 0}, "grain: .*greater than or equal to 1, got 0"),
        ({"burst": "2s"}, "^burst has no effect where arrival is poisson; it is for on-off$"),
        ({"arrival": "on-off", "busy": 0.2, "bias": 0.6}, "^bias has no effect where arrival is on-off"),
    ],
)
def test_workload__refuses_bursts_that_cannot_be(workload: Workload[Any], asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(workload.config, {"size": 4096} | asked)


@every_plain_workload
@given(asked=shared(), rows=st.integers(1, 500))
def test_workload__batch_size_changes_nothing(workload: Workload[Any], asked: dict[str, Any], rows: int) -> None:
    asked = possible(workload, asked)
    batches = list(workload.generate(configured(workload.config, asked), rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(workload, asked))


@every_plain_workload
@given(asked=shared())
def test_workload__stays_within_its_volumes(workload: Workload[Any], asked: dict[str, Any]) -> None:
    asked = possible(workload, asked)
    config = configured(workload.config, asked)
    rows = trace(workload, asked)
    assert rows.height == config.requests
    assert rows["volume"].max() < config.volumes
    assert (rows["address"] % config.size == 0).all()
    assert (rows["length"] % config.size == 0).all()
    assert ((rows["length"] == 0) == (rows["op"] == Op.FLUSH)).all()
    assert (rows["address"] <= config.capacity - rows["length"]).all()


@every_plain_workload
@pytest.mark.parametrize("volumes", [1, 3, 40])
@pytest.mark.parametrize("arrival", ["fixed", "poisson"])
def test_workload__has_the_rate(workload: Workload[Any], volumes: int, arrival: str) -> None:
    rows = trace(workload, small(workload) | {"volumes": volumes, "rate": 5e3, "arrival": arrival})
    assert (rows.height - 1) / (int(rows["time"][-1]) / 1e9) == pytest.approx(5e3, rel=0.04)


@every_block_workload
def test_workload__says_what_is_done_in_words(workload: Workload[Any]) -> None:
    rows = trace(workload, small(workload))
    assert rows["latency"].unique().to_list() == [-1]
    words = set(rows.select("op", "flags", pl.col("raw").cast(pl.String)).unique().rows())
    assert words <= {
        (Op.READ, 0, "R"),
        (Op.WRITE, 0, "W"),
        (Op.WRITE, Flag.FUA, "WF"),
        (Op.DISCARD, 0, "D"),
        (Op.FLUSH, 0, "F"),
    }


@every_block_workload
def test_workload__another_seed_reads_at_other_times(workload: Workload[Any]) -> None:
    one, other = trace(workload, small(workload)), trace(workload, small(workload) | {"seed": 43})
    assert not one["op"].equals(other["op"])


@every_block_workload
def test_make__counts_each_volume(workload: Workload[Any], tmp_path: Path) -> None:
    rows = trace(workload, small(workload))
    made = make(Store(tmp_path), workload.name, "it", small(workload))
    assert [volume.name for volume in made.info.volumes] == ["0", "1", "2"]
    for number, volume in enumerate(made.info.volumes):
        its = rows.filter(pl.col("volume") == number)
        reads, writes = its.filter(pl.col("op") == Op.READ), its.filter(pl.col("op") == Op.WRITE)
        assert (volume.requests, volume.reads, volume.writes) == (its.height, reads.height, writes.height)
        assert (volume.bytes_read, volume.bytes_written) == (reads["length"].sum(), writes["length"].sum())
        assert volume.extent == (its["address"] + its["length"]).max()
