"""The flows on a real Prefect server: what they do is what the plain functions do."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import demo
from flows.orchestra import ENVIRONMENT
from tests.flows.conftest import Strata
from traces.errors import ConfigError
from traces.store import Store


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    """Ends with this module: no other test runs beside a server's threads."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "hm_0.csv"
    path.write_text("128166372003061629,hm,0,Read,8192,4096,151\n")
    return path


def test_ingest(store: Store, recording: Path) -> None:
    from flows.ingest import ingest

    (made,) = ingest([recording], store=store.root, format="msr")
    assert made.fresh
    assert made.path.exists()
    (again,) = ingest([recording], store=store.root, format="msr")
    assert not again.fresh


def test_generate(store: Store) -> None:
    from flows.generate import generate

    made = generate("sequential", store=store.root, settings={"requests": 10})
    assert made.info.rows == 10


def test_replay(store: Store) -> None:
    from flows.replay import replay

    grid = replay("small", "toy", store=store.root, settings={"scale": [1, 2], "policy": ["greedy", "fifo"]})
    assert [each.fresh for each in grid.runs] == [True] * 4
    assert [each.config["scale"] for each in grid.runs] == [1.0, 1.0, 2.0, 2.0]
    assert grid.varied == ("scale", "policy")
    again = replay("small", "toy", store=store.root, settings={"scale": [1, 2], "policy": ["greedy", "fifo"]})
    assert [each.fresh for each in again.runs] == [False] * 4


def test_a_run_that_cannot_be_made_does_not_stop_the_others(store: Store) -> None:
    from flows.replay import replay

    grid = replay("small", "toy", store=store.root, settings={"limit": [2, 50]})
    assert [each.config["limit"] for each in grid.runs] == [50]
    assert grid.failed == [("limit=2", "toy: 6 requests are more than limit = 2")]


def test_a_mistake_ends_the_flow_before_anything_runs(store: Store) -> None:
    from flows.replay import replay

    with pytest.raises(ConfigError, match="did you mean 'scale'"):
        replay("small", "toy", store=store.root, settings={"scal": [1]})
    assert not list(store.root.glob("runs/*"))


def test_prefect_checks_the_parameters(store: Store) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.replay import replay

    with pytest.raises(ParameterTypeError, match="workers"):
        replay("small", "toy", store=store.root, workers="many")  # type: ignore[call-overload]


def test_the_command_line_runs_flows(strata: Strata, store: Store, recording: Path) -> None:
    done = strata("replay", "small", "toy", "--flow", "--set", "scale=1,2")
    assert done.exit_code == 0, done.output
    assert "ratio" in done.stdout
    assert strata("ingest", str(recording), "--format", "msr", "--flow").exit_code == 0
    assert strata("generate", "sequential", "--set", "requests=10", "--flow").exit_code == 0
    failed = strata("replay", "small", "toy", "--flow", "--set", "limit=2")
    assert failed.exit_code == 2
    assert "could not be made" in failed.stderr


def test_the_demo_agrees_with_theory(strata: Strata, tmp_path: Path) -> None:
    done = strata("demo", "--json", where=tmp_path / "demo")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert len(told) == len(demo.SPARE) * len(demo.VICTIM)
    for row in told:
        assert 1 < row["sqlite"] < row["uniform"]
        if row["closed form"] is not None:
            assert row["uniform"] == pytest.approx(row["closed form"], rel=0.01)
    shown = strata("demo", where=tmp_path / "demo")
    assert "closed form" in shown.stdout
    for sql in demo.NEXT:
        assert sql in shown.stdout
        assert strata("sql", sql, where=tmp_path / "demo").exit_code == 0
