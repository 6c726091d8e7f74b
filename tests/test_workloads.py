"""What every generator must keep, asked of every generator."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from traces import catalog
from traces.block import Block, Flag, Op
from traces.config import configured, keys, plain, to_json, to_toml
from traces.errors import ConfigError, TraceError
from traces.label import Category, TraceLabels
from traces.store import KINDS, Store, TraceInfo, TraceWriter, read, read_info
from traces.table import schema_of
from traces.workloads import WORKLOADS, make
from traces.workloads.workload import Shared, Workload

pytestmark = pytest.mark.kernels

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
PLAIN = {name: each for name, each in WORKLOADS.items() if issubclass(each.config, Shared)}
every_plain_workload = pytest.mark.parametrize("workload", PLAIN.values(), ids=PLAIN)

SMALL = {"requests": 20_000, "reads": 0.3, "volumes": 3, "capacity": 4096 * 1000, "seed": 42}

# What some want besides, for so few places.
BESIDES: dict[str, dict[str, Any]] = {
    "oltp": {"size": 4096, "commit": "flush"},
    "log-append": {"segment": "128KiB", "longest": "32KiB", "flush": 5},
    "lsm": {"memtable": "16KiB", "io": "8KiB", "fanout": 4},
    "ai-checkpoint": {"size": 4096, "every": 200, "chunk": "32KiB"},
    "boot-storm": {"size": 4096, "extent": "16KiB", "footprint": 0.2},
    "idle": {"footprint": 0.1},
    "archival": {"size": 4096, "object_size": "64KiB", "reads": 0.7},
}

PHASES = {
    "phases": ["zipf 5000 theta=1.2", "idle 50s", "oltp 3000 size=4096", "sequential 1990 reads=1", "uniform 10ms"],
    "repeat": 2,
    "order": "shuffled",
}

# SHA-256 of the numbers of SMALL's trace. A change here changes every trace that anyone keeps: say so in the change.
GOLDEN = {
    "sequential": "4f92a5abcac02b9d",
    "strided": "acc8f952a25840e8",
    "uniform": "9434b023fe3f18a2",
    "zipf": "87489716effb6246",
    "hot-cold": "77a0b998e71792db",
    "oltp": "461000ef5dd2c06a",
    "log-append": "53ae89a3cddb5b4a",
    "lsm": "5bcd4d0acf6952cc",
    "ai-checkpoint": "7a09afea4424214f",
    "boot-storm": "840e4a5b7474ca2f",
    "archival": "927b27bafdc4e3f6",
    "idle": "9a2c71902fde89ba",
    "phases": "4591f2fe48547df0",
}


def small(workload: Workload[Any]) -> dict[str, Any]:
    """Settings of a small trace."""
    if workload.name not in PLAIN:
        return {key: SMALL[key] for key in ("volumes", "capacity", "seed")} | PHASES
    return SMALL | BESIDES.get(workload.name, {})


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
    assert hash(config) == hash(workload.config())
    with pytest.raises(FrozenInstanceError):
        config.seed = 1


@every_workload
def test_workload__config_survives_text(workload: Workload[Any]) -> None:
    more = {"arrival": "fixed", "rate": 1234.5} if workload.name in PLAIN else {}
    config = configured(workload.config, small(workload) | {"capacity": "64MiB"} | more)
    assert configured(workload.config, plain(config)) == config
    assert configured(workload.config, json.loads(to_json(config))) == config
    assert configured(workload.config, tomlkit.parse(to_toml(config))) == config


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
        ({"busy": 1.0}, "busy: .*less than or equal to 0.99, got 1.0"),
        ({"bias": 0.4}, "bias: .*greater than or equal to 0.5, got 0.4"),
        ({"burst": "1ns"}, "burst: .*greater than or equal to 1000, got '1ns'"),
        ({"grain": 0}, "grain: .*greater than or equal to 1, got 0"),
        ({"arrival": "poison"}, "arrival: 'poison' is not one of them; did you mean 'poisson'"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
        ({"sead": 1}, "unknown key 'sead'; did you mean 'seed'"),
    ],
)
def test_workload__refuses_bad_settings(workload: Workload[Any], asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(workload.config, {"size": 4096} | asked)


@every_plain_workload
@given(asked=shared(), rows=st.integers(1, 500))
def test_workload__batch_size_changes_nothing(workload: Workload[Any], asked: dict[str, Any], rows: int) -> None:
    asked = possible(workload, asked)
    batches = list(workload.generate(configured(workload.config, asked), rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(workload, asked))


@every_workload
@pytest.mark.parametrize("rows", [7, 777, 4096])
def test_workload__small_batches_make_the_same_trace(workload: Workload[Any], rows: int) -> None:
    asked = small(workload)
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


@every_workload
def test_workload__makes_block_rows_in_time_order(workload: Workload[Any]) -> None:
    rows = trace(workload, small(workload))
    assert dict(rows.with_columns(pl.col("raw").cast(pl.String)).schema) == schema_of(Block)
    assert not rows.null_count().row(0).count(1)
    assert rows["time"][0] == 0
    assert rows["time"].is_sorted()
    assert rows["latency"].unique().to_list() == [-1]
    words = set(rows.select("op", "flags", pl.col("raw").cast(pl.String)).unique().rows())
    assert words <= {
        (Op.READ, 0, "R"),
        (Op.WRITE, 0, "W"),
        (Op.WRITE, Flag.FUA, "WF"),
        (Op.DISCARD, 0, "D"),
        (Op.FLUSH, 0, "F"),
    }


@every_plain_workload
@pytest.mark.parametrize("volumes", [1, 3, 40])
@pytest.mark.parametrize("arrival", ["fixed", "poisson"])
def test_workload__has_the_rate(workload: Workload[Any], volumes: int, arrival: str) -> None:
    rows = trace(workload, small(workload) | {"volumes": volumes, "rate": 5e3, "arrival": arrival})
    assert (rows.height - 1) / (int(rows["time"][-1]) / 1e9) == pytest.approx(5e3, rel=0.04)


@every_workload
def test_workload__makes_the_same_trace_everywhere(workload: Workload[Any]) -> None:
    rows = trace(workload, small(workload))
    digest = hashlib.sha256()
    for column in ("time", "op", "volume", "address", "length", "stream"):
        digest.update(rows[column].cast(pl.UInt64).to_numpy().astype("<u8").tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[workload.name]


@every_workload
def test_workload__another_seed_is_another_trace(workload: Workload[Any]) -> None:
    one, other = trace(workload, small(workload)), trace(workload, small(workload) | {"seed": 43})
    assert not one["time"].equals(other["time"])
    assert not one["op"].equals(other["op"])
    if workload.name not in ("sequential", "strided"):
        assert not one["address"].equals(other["address"])


@every_workload
def test_make__keeps_rows_and_counts(workload: Workload[Any], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    asked = small(workload)
    made = make(Store(tmp_path), workload.name, "it", asked, progress=lambda done, total: told.append((done, total)))
    rows = trace(workload, asked)
    kept = pl.concat(read(Block, made.path))
    assert made.fresh
    assert (made.name, made.kind, made.path) == ("it", "block", tmp_path / "traces/block/it.parquet")
    assert kept.with_columns(pl.col("raw").cast(pl.String)).equals(rows.with_columns(pl.col("raw").cast(pl.String)))
    assert told == [(rows.height, rows.height)]
    info = read_info(made.path)
    assert info == made.info
    assert (info.format, info.clock, info.rows, info.span) == (
        f"generated:{workload.name}",
        "relative",
        rows.height,
        rows["time"][-1],
    )
    assert configured(workload.config, {k: v for k, v in info.options.items() if k != "code"}) == configured(
        workload.config, asked
    )
    assert [volume.name for volume in info.volumes] == ["0", "1", "2"]
    for number, volume in enumerate(info.volumes):
        its = rows.filter(pl.col("volume") == number)
        reads, writes = its.filter(pl.col("op") == Op.READ), its.filter(pl.col("op") == Op.WRITE)
        assert (volume.requests, volume.reads, volume.writes) == (its.height, reads.height, writes.height)
        assert (volume.bytes_read, volume.bytes_written) == (reads["length"].sum(), writes["length"].sum())
        assert volume.extent == (its["address"] + its["length"]).max()


@every_workload
def test_make__again_does_nothing(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = make(store, workload.name, "it", small(workload))
    written = made.path.stat().st_mtime_ns
    again = make(store, workload.name, "it", small(workload) | {"capacity": "4096000"})
    assert not again.fresh
    assert again.info == made.info
    assert again.path.stat().st_mtime_ns == written


@every_workload
def test_make__labels_every_request_once(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = trace(workload, small(workload))
    make(store, workload.name, "it", small(workload))
    catalog.publish(store, [*KINDS.values(), *catalog.STORE_TABLES])
    with catalog.connect(store) as db:
        hits = db.execute(
            "SELECT count(*) FROM block b "
            "JOIN trace_labels l ON (b.trace, b.volume) = (l.trace, l.volume) AND began <= b.time AND b.time < ended"
        ).fetchone()
        labels = db.execute(
            "SELECT volume, began, ended, label, maker, settings FROM trace_labels "
            "WHERE trace = 'it' AND kind = 'block' ORDER BY volume, began"
        ).fetchall()
    assert hits
    assert hits[0] == rows.height
    assert {label for _, _, _, label, _, _ in labels} <= set(Category)
    for volume in range(3):
        its = [label for label in labels if label[0] == volume]
        assert its[0][1] == 0
        assert its[-1][2] == rows["time"][-1] + 1
        assert all(one[2] == other[1] for one, other in pairwise(its))
        assert [label[1:] for label in its] == [label[1:] for label in labels if label[0] == 0]
    assert labels[-1][0] == 2
    for _, _, _, _, maker, settings in labels:
        config = configured(WORKLOADS[maker].config, json.loads(settings))
        assert plain(config) == json.loads(settings)
    if workload.name in PLAIN:
        assert len(labels) == 3


def test_make__labels_go_with_their_trace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "it", SMALL | {"reads": 0})
    make(store, "zipf", "it", SMALL | {"reads": 1}, replace=True)
    labels = pl.concat(read(TraceLabels, store.labels_path("block", "it")))
    assert labels["label"].unique().to_list() == [Category.READ_RANDOM]
    info = TraceInfo(format="another")
    with TraceWriter(store, "it", info) as writer:
        writer.write(trace(WORKLOADS["zipf"], SMALL))
        writer.finish()
    assert not store.labels_path("block", "it").exists()


def test_make__without_labels_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TraceWriter, rows: pl.DataFrame) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TraceWriter, "label", fail)
    with pytest.raises(OSError, match="No space"):
        make(Store(tmp_path), "uniform", "it", SMALL)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


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
