"""The flows on a real Prefect server: what they do is what the plain functions do."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows import demo, orchestra
from flows.orchestra import ENVIRONMENT
from flows.terminal import Output
from pipeline.replay import Plan, replay_together
from tests.flows.conftest import Strata
from traces.errors import ConfigError
from traces.progress import Progress, nobody
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

    (made,) = generate("sequential", store=store.root, settings={"requests": 10})
    assert made.info.rows == 10


def test_replay(store: Store) -> None:
    from flows.replay import replay

    grid = replay("small", "toy", store=store.root, settings={"scale": [1, 2], "policy": ["greedy", "fifo"]})
    assert [each.fresh for each in grid.runs] == [True] * 4
    assert [each.config["scale"] for each in grid.runs] == [1.0, 1.0, 2.0, 2.0]
    assert grid.varied == ("scale", "policy")
    again = replay("small", "toy", store=store.root, settings={"scale": [1, 2], "policy": ["greedy", "fifo"]})
    assert [each.fresh for each in again.runs] == [False] * 4


def test_a_replay_has_a_task_for_each_pass(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.replay import replay

    passes: list[int] = []

    def counted(plans: Sequence[Plan], *more: Any) -> Any:
        passes.append(len(plans))
        return replay_together(plans, *more)

    monkeypatch.setattr("flows.replay.replay_together", counted)
    grid = replay("small", "toy", store=store.root, settings={"scale": [1, 2, 3], "limit": [2, 6]}, at_once=4)
    assert passes == [4, 2]
    assert [each.config["scale"] for each in grid.runs] == [1.0, 2.0, 3.0]
    assert [which for which, _ in grid.failed] == [f"scale={scale}, limit=2" for scale in (1.0, 2.0, 3.0)]
    with pytest.raises(ConfigError, match="at least one run must go at a time"):
        replay("small", "toy", store=store.root, workers=0)


def test_derive(store: Store) -> None:
    from flows.derive import derive

    made = derive("cut", ["small"], store=store.root, settings={"take": 2, "volumes": ["disk"]})
    assert (made.name, made.info.rows) == ("small-cut", 2)
    with pytest.raises(ConfigError, match="unknown tool 'cot'; did you mean 'cut'"):
        derive("cot", ["small"], store=store.root)
    with pytest.raises(ConfigError, match="cut makes a trace of one, 2 were given"):
        derive("cut", ["small", "small"], store=store.root)


@pytest.mark.kernels
def test_profile(store: Store) -> None:
    from flows.profile import profile

    assert profile("small", store=store.root).fresh
    assert not profile("small", store=store.root).fresh


def test_export(store: Store, tmp_path: Path) -> None:
    from flows.export import export

    done = export("small", "csv", tmp_path / "small.csv", store=store.root)
    assert done.written == 6
    assert len((tmp_path / "small.csv").read_text().splitlines()) >= 6


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


@pytest.mark.kernels
def test_the_tools_run_as_flows(strata: Strata, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run = orchestra.run

    def kept(name: str, out: Output, /, **given: Any) -> Any:
        ran.append(name)
        return run(name, out, **given)

    monkeypatch.setattr(orchestra, "run", kept)
    for arguments in (
        ("cut", "small", "--take", "2"),
        ("sample", "small", "--rate", "1"),
        ("rescale", "small", "1/2"),
        ("merge", "small", "small-cut", "--align", "start"),
        ("profile", "small"),
        ("export", "small", "csv", str(tmp_path / "small.csv")),
    ):
        done = strata(*arguments, "--flow")
        assert done.exit_code == 0, done.output
    assert ran == ["derive"] * 4 + ["profile", "export"]
    assert store.info("block", "small+small-cut").rows == 8


def test_a_flow_run_tells_the_terminal_how_far_it_is(
    strata: Strata, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def progress(out: Output, what: str, unit: str, before: str = "") -> Iterator[Progress]:
        yield lambda done, total: told.setdefault(before, []).append((done, total))

    monkeypatch.setattr(Output, "progress", progress)
    for arguments in (
        ("replay", "small", "toy", "--set", "scale=1,2"),
        ("ingest", str(recording), "--format", "msr"),
        ("generate", "sequential", "--set", "requests=10"),
        ("rescale", "small", "2"),
        ("export", "small", "csv", str(tmp_path / "small.csv")),
    ):
        assert strata(*arguments, "--flow").exit_code == 0
    flows = ("replay", "ingest", "generate", "derive", "export")
    assert list(told) == [f"flow run: {name}" for name in flows]
    assert told["flow run: replay"] == [(6, 12), (12, 12)]
    assert all(calls == sorted(calls) and calls[-1][0] > 0 for calls in told.values())
    assert orchestra.watcher() is nobody


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
