"""What every generator must keep, asked of every generator."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from traces.block import Block, Op
from traces.config import configured, keys, plain, to_json, to_toml
from traces.errors import ConfigError, TraceError
from traces.store import Store, read, read_info
from traces.table import schema_of
from traces.workloads import WORKLOADS, make
from traces.workloads.workload import Shared, Workload

pytestmark = pytest.mark.kernels

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)

SMALL = {"requests": 20_000, "reads": 0.3, "volumes": 3, "capacity": 4096 * 1000, "seed": 42}

# SHA-256 of the numbers of SMALL's trace. A change here changes every trace that anyone keeps: say so in the change.
GOLDEN = {
    "sequential": "4f92a5abcac02b9d",
    "uniform": "9434b023fe3f18a2",
    "zipf": "87489716effb6246",
    "hot-cold": "77a0b998e71792db",
}


def trace(workload: Workload[Any], asked: Mapping[str, Any], rows: int = 1 << 20) -> pl.DataFrame:
    return pl.concat(workload.generate(configured(workload.config, asked), rows))


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
        "arrival": draw(st.sampled_from(["fixed", "poisson"])),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


def possible(workload: Workload[Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The settings, or with a larger capacity where the workload wants more than two places."""
    try:
        configured(workload.config, asked)
    except ConfigError:
        return asked | {"capacity": asked["size"] * 1000}
    return asked


@every_workload
def test_workload__is_documented(workload: Workload[Any]) -> None:
    assert WORKLOADS[workload.name] is workload
    assert workload.doc
    assert workload.config.__doc__
    assert workload.kind == "block"
    for key in keys(workload.config):
        assert key.doc, key.name


@every_workload
def test_workload__config_is_frozen(workload: Workload[Any]) -> None:
    config = workload.config()
    assert isinstance(config, Shared)
    assert hash(config) == hash(workload.config())
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


@every_workload
def test_workload__config_survives_text(workload: Workload[Any]) -> None:
    config = configured(workload.config, SMALL | {"arrival": "fixed", "capacity": "64MiB", "rate": 1234.5})
    assert configured(workload.config, plain(config)) == config
    assert configured(workload.config, json.loads(to_json(config))) == config
    assert configured(workload.config, tomlkit.parse(to_toml(config))) == config


@every_workload
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
        ({"arrival": "poison"}, "arrival: 'poison' is not one of them; did you mean 'poisson'"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
        ({"sead": 1}, "unknown key 'sead'; did you mean 'seed'"),
    ],
)
def test_workload__refuses_bad_settings(workload: Workload[Any], asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(workload.config, asked)


@every_workload
@given(asked=shared(), rows=st.integers(1, 500))
def test_workload__batch_size_changes_nothing(workload: Workload[Any], asked: dict[str, Any], rows: int) -> None:
    asked = possible(workload, asked)
    batches = list(workload.generate(configured(workload.config, asked), rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(workload, asked))


@every_workload
@given(asked=shared())
def test_workload__stays_within_its_volumes(workload: Workload[Any], asked: dict[str, Any]) -> None:
    asked = possible(workload, asked)
    config = configured(workload.config, asked)
    rows = trace(workload, asked)
    assert rows.height == config.requests
    assert rows["volume"].max() < config.volumes
    assert (rows["address"] % config.size == 0).all()
    assert (rows["length"] % config.size == 0).all()
    assert (rows["length"] >= config.size).all()
    assert (rows["address"] <= config.capacity - rows["length"]).all()


@every_workload
def test_workload__makes_block_rows_in_time_order(workload: Workload[Any]) -> None:
    rows = trace(workload, SMALL)
    assert dict(rows.with_columns(pl.col("raw").cast(pl.String)).schema) == schema_of(Block)
    assert not rows.null_count().row(0).count(1)
    assert rows["time"][0] == 0
    assert rows["time"].is_sorted()
    assert rows["latency"].unique().to_list() == [-1]
    assert rows["flags"].unique().to_list() == [0]
    words = dict(rows.select("op", pl.col("raw").cast(pl.String)).unique().rows())
    assert words.items() <= {Op.READ: "R", Op.WRITE: "W", Op.DISCARD: "D"}.items()


@every_workload
def test_workload__makes_the_same_trace_everywhere(workload: Workload[Any]) -> None:
    rows = trace(workload, SMALL)
    digest = hashlib.sha256()
    for column in ("time", "op", "volume", "address", "length", "stream"):
        digest.update(rows[column].cast(pl.UInt64).to_numpy().astype("<u8").tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[workload.name]


@every_workload
def test_workload__another_seed_is_another_trace(workload: Workload[Any]) -> None:
    one, other = trace(workload, SMALL), trace(workload, SMALL | {"seed": 43})
    assert not one["time"].equals(other["time"])
    assert not one["op"].equals(other["op"])
    if workload.name != "sequential":
        assert not one["address"].equals(other["address"])


@every_workload
def test_make__keeps_rows_and_counts(workload: Workload[Any], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = make(Store(tmp_path), workload.name, "it", SMALL, progress=lambda done, total: told.append((done, total)))
    rows = trace(workload, SMALL)
    kept = pl.concat(read(Block, made.path))
    assert made.fresh
    assert (made.name, made.kind, made.path) == ("it", "block", tmp_path / "traces/block/it.parquet")
    assert kept.with_columns(pl.col("raw").cast(pl.String)).equals(rows.with_columns(pl.col("raw").cast(pl.String)))
    assert told == [(20_000, 20_000)]
    info = read_info(made.path)
    assert info == made.info
    assert (info.format, info.clock, info.rows, info.span) == (
        f"generated:{workload.name}",
        "relative",
        20_000,
        rows["time"][-1],
    )
    assert configured(workload.config, {k: v for k, v in info.options.items() if k != "code"}) == configured(
        workload.config, SMALL
    )
    assert [volume.name for volume in info.volumes] == ["0", "1", "2"]
    for number, volume in enumerate(info.volumes):
        asked = rows.filter(pl.col("volume") == number)
        reads, writes = asked.filter(pl.col("op") == Op.READ), asked.filter(pl.col("op") == Op.WRITE)
        assert (volume.requests, volume.reads, volume.writes) == (asked.height, reads.height, writes.height)
        assert (volume.bytes_read, volume.bytes_written) == (reads["length"].sum(), writes["length"].sum())
        assert volume.extent == (asked["address"] + asked["length"]).max()


@every_workload
def test_make__again_does_nothing(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = make(store, workload.name, "it", SMALL)
    written = made.path.stat().st_mtime_ns
    again = make(store, workload.name, "it", SMALL | {"capacity": "4096000"})
    assert not again.fresh
    assert again.info == made.info
    assert again.path.stat().st_mtime_ns == written


def test_make__does_not_overwrite_another_trace_unasked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "it", SMALL)
    with pytest.raises(TraceError, match="trace 'it' exists, made with other settings: seed = 42, not 7: --replace it"):
        make(store, "uniform", "it", SMALL | {"seed": 7})
    with pytest.raises(TraceError, match=r"trace 'it' exists, made otherwise \(generated:uniform\)"):
        make(store, "zipf", "it", SMALL)
    assert make(store, "zipf", "it", SMALL, replace=True).fresh
    assert store.info("block", "it").format == "generated:zipf"


def test_make__of_a_changed_generator_is_done_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(Store(tmp_path), "uniform", "it", SMALL)
    monkeypatch.setattr("traces.workloads.code_hash", lambda module: "another")
    assert make(Store(tmp_path), "uniform", "it", SMALL).fresh
    assert not make(Store(tmp_path), "uniform", "it", SMALL).fresh


def test_make__refuses_and_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown workload 'zip'; did you mean 'zipf'"):
        make(Store(tmp_path), "zip", "it", {})
    with pytest.raises(TraceError, match="cannot name a trace"):
        make(Store(tmp_path), "zipf", "../it", {})
    with pytest.raises(ConfigError, match="theta: "):
        make(Store(tmp_path), "zipf", "it", {"theta": -0.1})
    assert not list(tmp_path.iterdir())


def test_make__interrupted_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(Store(tmp_path), "uniform", "it", SMALL, progress=stop)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
