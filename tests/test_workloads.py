"""What every generator must keep, asked of every generator."""

import json
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tomlkit

from tests.generated import GOLDEN, PLAIN, SMALL, digest, small, trace
from traces import catalog
from traces.config import configured, keys, plain, to_json, to_toml
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo, read_info
from traces.kinds import KINDS
from traces.label import Category, TraceLabels
from traces.store import Store, read
from traces.table import schema_of
from traces.truth import TRUTHS
from traces.workloads import WORKLOADS, make
from traces.workloads.workload import Workload
from traces.workloads.world import World
from traces.workloads.worlds import GENERATORS
from traces.writer import TraceWriter

pytestmark = pytest.mark.kernels

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
every_generator = pytest.mark.parametrize("workload", GENERATORS.values(), ids=GENERATORS)


def numbers_as_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, as the command line would give them."""
    return {key: str(value) if isinstance(value, int | float) else value for key, value in settings.items()}


def as_kept(rows: pl.DataFrame) -> pl.DataFrame:
    """Text as text, whatever it was encoded as."""
    return rows.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String))


@every_generator
def test_workload__is_documented(workload: Workload[Any] | World[Any]) -> None:
    assert GENERATORS[workload.name] is workload
    assert workload.doc
    assert workload.config.__doc__
    assert set(workload.kind.split(", ")) <= set(KINDS)
    for key in keys(workload.config):
        assert key.doc, key.name


@every_generator
def test_workload__config_is_frozen(workload: Workload[Any] | World[Any]) -> None:
    config = workload.config()
    assert hash(config) == hash(workload.config())
    with pytest.raises(FrozenInstanceError):
        config.seed = 1


@every_generator
def test_workload__config_survives_text(workload: Workload[Any] | World[Any]) -> None:
    more = {"arrival": "fixed", "rate": 1234.5, "capacity": "64MiB"} if workload.name in PLAIN else {}
    config = configured(workload.config, small(workload) | more)
    assert configured(workload.config, plain(config)) == config
    assert configured(workload.config, json.loads(to_json(config))) == config
    assert configured(workload.config, tomlkit.parse(to_toml(config))) == config


@every_workload
@pytest.mark.parametrize("rows", [61, 4096])
def test_workload__small_batches_make_the_same_trace(workload: Workload[Any], rows: int) -> None:
    asked = small(workload)
    batches = list(workload.generate(configured(workload.config, asked), rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(workload, asked))


@every_workload
def test_workload__makes_rows_of_its_kind_in_time_order(workload: Workload[Any]) -> None:
    rows = trace(workload, small(workload))
    assert dict(as_kept(rows).schema) == schema_of(KINDS[workload.kind])
    assert set(rows.null_count().row(0)) == {0}
    assert rows["time"][0] == 0
    assert rows["time"].is_sorted()
    config = configured(workload.config, small(workload))
    assert config.records == pytest.approx(rows.height, rel=0.1)


@every_workload
def test_workload__makes_the_same_trace_everywhere(workload: Workload[Any]) -> None:
    assert digest(trace(workload, small(workload)), workload.kind) == GOLDEN[workload.name]


@every_workload
def test_workload__another_seed_is_another_trace(workload: Workload[Any]) -> None:
    one, other = trace(workload, small(workload)), trace(workload, small(workload) | {"seed": 43})
    assert not one["time"].equals(other["time"])
    still = {"sequential", "strided", "pci-scan", "streaming", "stencil"}  # where they go is not drawn
    if workload.name not in still:
        assert not one["address"].equals(other["address"])


@every_workload
def test_make__keeps_rows_and_counts(workload: Workload[Any], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    asked = small(workload)
    made = make(Store(tmp_path), workload.name, "it", asked, progress=lambda done, total: told.append((done, total)))
    rows = trace(workload, asked)
    kept = pl.concat(read(KINDS[workload.kind], made.path))
    assert made.fresh
    assert (made.name, made.kind, made.path) == ("it", workload.kind, tmp_path / f"traces/{workload.kind}/it.parquet")
    assert as_kept(kept).equals(as_kept(rows))
    config = configured(workload.config, asked)
    assert told[-1] == (rows.height, config.records)
    info = read_info(made.path)
    assert info == made.info
    assert (info.format, info.clock, info.rows, info.span) == (
        f"generated:{workload.name}",
        "relative",
        rows.height,
        rows["time"][-1],
    )
    assert configured(workload.config, {k: v for k, v in info.options.items() if k != "code"}) == config
    assert info.total("requests") == rows.height
    if config.names:
        assert [volume.name for volume in info.volumes] == config.names


@every_workload
def test_make__again_does_nothing(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = make(store, workload.name, "it", small(workload))
    written = made.path.stat().st_mtime_ns
    again = make(store, workload.name, "it", numbers_as_text(small(workload)))
    assert not again.fresh
    assert again.info == made.info
    assert again.path.stat().st_mtime_ns == written


@every_workload
def test_make__labels_every_request_once(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = trace(workload, small(workload))
    make(store, workload.name, "it", small(workload))
    catalog.publish(store, [*KINDS.values(), *catalog.STORE_TABLES])
    place = {"block": "b.volume", "memory": "b.space", "message": "b.producer"}.get(workload.kind, "0")
    with catalog.connect(store) as db:
        hits = db.execute(
            f"SELECT count(*) FROM {workload.kind} b "
            f"JOIN trace_labels l ON b.trace = l.trace AND {place} = l.volume AND began <= b.time AND b.time < ended"
        ).fetchone()
        labels = db.execute(
            "SELECT volume, began, ended, label, maker, settings FROM trace_labels "
            f"WHERE trace = 'it' AND kind = '{workload.kind}' ORDER BY volume, began"
        ).fetchall()
    assert hits
    assert hits[0] == rows.height
    if workload.kind == "block":
        assert {label for _, _, _, label, _, _ in labels} <= set(Category)
    volumes = max(1, len(configured(workload.config, small(workload)).names))
    for volume in range(volumes):
        its = [label for label in labels if label[0] == volume]
        assert its[0][1] == 0
        assert its[-1][2] == rows["time"][-1] + 1
        assert all(one[2] == other[1] for one, other in pairwise(its))
        assert [label[1:] for label in its] == [label[1:] for label in labels if label[0] == 0]
    assert labels[-1][0] == volumes - 1
    for _, _, _, _, maker, settings in labels:
        config = configured(WORKLOADS[maker].config, json.loads(settings))
        assert plain(config) == json.loads(settings)
    if workload.name in PLAIN:
        assert len(labels) == 3


@every_workload
def test_make__keeps_what_is_known_of_the_trace(workload: Workload[Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, workload.name, "it", small(workload))
    told = workload.truth(configured(workload.config, small(workload)))
    for truth, table in TRUTHS.items():
        path = store.truth_path(truth, workload.kind, "it")
        if truth in told and (rows := pl.concat(told[truth])).height:
            assert as_kept(pl.concat(read(table, path))).equals(as_kept(rows))
        elif truth != "labels":
            assert not path.exists()


def test_make__labels_go_with_their_trace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "uniform", "it", SMALL | {"reads": 0})
    make(store, "zipf", "it", SMALL | {"reads": 1}, replace=True)
    labels = pl.concat(read(TraceLabels, store.truth_path("labels", "block", "it")))
    assert labels["label"].unique().to_list() == [Category.READ_RANDOM]
    info = TraceInfo(format="another")
    with TraceWriter(store, "it", info) as writer:
        writer.write(trace(WORKLOADS["zipf"], SMALL))
        writer.finish()
    assert not store.truth_path("labels", "block", "it").exists()


def test_make__without_labels_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TraceWriter, truth: str, rows: pl.DataFrame) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TraceWriter, "tell", fail)
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
