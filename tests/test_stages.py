"""What every stage must keep, asked of every stage."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from pipeline import STAGES
from pipeline.stage import Stage
from traces.block import Block
from traces.config import configured, keys, plain, schema, to_toml
from traces.errors import ConfigError
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.table import columns_of, frame, name_of, schema_of
from traces.tally import Tally
from traces.workloads import WORKLOADS

every_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
every_block_stage = pytest.mark.parametrize(
    "stage", [stage for stage in STAGES.values() if stage.reads is Block], ids=lambda stage: stage.name
)

ROWS = 3000


@cache
def trace() -> tuple[pl.DataFrame, TraceInfo]:
    """Requests of two volumes, some of them reads."""
    workload = WORKLOADS["uniform"]
    asked = {"requests": ROWS, "volumes": 2, "capacity": 4096 * 400, "reads": 0.2, "seed": 7}
    rows = pl.concat(workload.generate(configured(workload.config, asked)))
    info, tally = TraceInfo(format="generated:uniform", rows=rows.height, span=int(rows["time"][-1])), Tally()
    tally.add(rows)
    tally.finish(info, ["a", "b"])
    return rows, info


def settled(stage: Stage[Any]) -> Any:
    rows, info = trace()
    return stage.fit(stage.config(), info, lambda: [rows.select(*schema_of(stage.takes))])


def replayed(stage: Stage[Any], config: Any, cuts: list[int]) -> dict[str, pl.DataFrame]:
    """Every table of a run over the trace cut at these rows."""
    rows, _ = trace()
    edges = [0, *sorted(cuts), rows.height]

    def batches() -> Iterator[pl.DataFrame]:
        for begin, end in pairwise(edges):
            yield rows[begin:end].select(*schema_of(stage.takes))

    out: dict[str, list[pl.DataFrame]] = {}
    for part in stage.run(batches(), config):
        assert type(part) in stage.writes
        out.setdefault(name_of(type(part)), []).append(frame(part))
    measured = [column.name for table in stage.writes for column in columns_of(table) if column.measured]
    return {name: pl.concat(parts).drop(measured, strict=False) for name, parts in out.items()}


@every_stage
def test_it_takes_a_part_of_what_it_reads(stage: Stage[Any]) -> None:
    assert stage.reads in KINDS.values()
    have = schema_of(stage.reads)
    for column in columns_of(stage.takes):
        assert have.get(column.name) == column.polars


@every_stage
def test_it_names_and_describes_itself_and_a_summary(stage: Stage[Any]) -> None:
    assert STAGES[stage.name] is stage
    assert stage.doc
    assert any(name_of(table).endswith("_summary") for table in stage.writes)
    assert all("run" not in schema_of(table) for table in stage.writes)
    summaries = [schema_of(table) for table in stage.writes if name_of(table).endswith("_summary")]
    assert stage.headline
    assert all(any(figure in summary for summary in summaries) for figure in stage.headline)


@every_stage
def test_its_configuration_is_frozen_and_has_defaults(stage: Stage[Any]) -> None:
    config = stage.config()
    assert is_dataclass(config)
    assert hash(config) == hash(stage.config())
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, None)


@every_stage
def test_every_key_has_a_sentence(stage: Stage[Any]) -> None:
    assert [key.name for key in keys(stage.config)] == [field.name for field in fields(stage.config)]
    for key in keys(stage.config):
        assert key.doc, key.name
    assert set(schema(stage.config)["properties"]) == {key.name for key in keys(stage.config)}


@every_block_stage
@pytest.mark.kernels
def test_its_configuration_survives_toml_and_json_and_is_settled_once(stage: Stage[Any]) -> None:
    rows, info = trace()
    for config in (stage.config(), settled(stage)):
        assert configured(stage.config, plain(config)) == config
        assert configured(stage.config, tomlkit.parse(to_toml(config)).unwrap()) == config
    again = stage.fit(settled(stage), info, lambda: [rows.select(*schema_of(stage.takes))])
    assert again == settled(stage)


@every_stage
def test_it_refuses_keys_that_it_does_not_have(stage: Stage[Any]) -> None:
    first = fields(stage.config)[0].name
    with pytest.raises(ConfigError, match=f"unknown key '{first}x'; did you mean '{first}'"):
        configured(stage.config, {first + "x": 1})
    with pytest.raises(ConfigError, match=first):
        configured(stage.config, {first: object()})


@every_block_stage
@pytest.mark.kernels
@given(cuts=st.lists(st.integers(0, ROWS), max_size=4))
def test_a_trace_cut_anywhere_gives_the_same_rows(stage: Stage[Any], cuts: list[int]) -> None:
    config = settled(stage)
    whole, cut = replayed(stage, config, []), replayed(stage, config, cuts)
    assert whole.keys() == cut.keys()
    for name, rows in whole.items():
        assert rows.equals(cut[name]), name


@every_block_stage
@pytest.mark.kernels
def test_an_empty_trace_is_no_mistake(stage: Stage[Any]) -> None:
    nothing = TraceInfo(format="generated:uniform")
    empty = pl.DataFrame(schema=schema_of(stage.takes))
    config = stage.fit(stage.config(), nothing, lambda: [empty])
    for part in stage.run([empty], config):
        frame(part)
