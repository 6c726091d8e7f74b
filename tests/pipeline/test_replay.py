"""Many runs in one pass over their trace: each is what it would be alone, and the trace is read once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.jobs import plan_grid, replay_grid, run_all
from pipeline import STAGES
from pipeline import replay as replaying
from pipeline.replay import MOST, RESULTS, Plan, Replayed, free_memory, passes, replay, replay_together
from tests.flows import toy
from tests.flows.conftest import add_trace
from traces import store as storing
from traces.errors import ConfigError, StrataError, TraceError
from traces.store import Store
from traces.table import U8, U64
from traces.workloads import make

Reads = list[list[str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setitem(STAGES, "toy", replace(toy.STAGE, memory=lambda _: 1 << 20))
    made = Store(tmp_path / "data")
    add_trace(made, "small", rows=100)
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The columns of every reading of a trace, which comes ten rows at a time."""
    told: Reads = []

    def read(table: type[Any], path: Path, columns: Iterable[str]) -> Iterator[pl.DataFrame]:
        told.append(list(columns))
        return storing.read(table, path, columns, rows=10)

    monkeypatch.setattr(replaying, "read", read)
    return told


def tables(outcome: Replayed | StrataError) -> dict[str, pl.DataFrame]:
    """All that was kept of a run but when it was made and how long that took."""
    assert isinstance(outcome, Replayed)
    kept = {path.stem: pl.read_parquet(path) for path in outcome.folder.glob("*.parquet")}
    return kept | {"runs": kept["runs"].drop("began", "seconds")}


def apart(plans: Iterable[Plan], elsewhere: Store) -> list[Replayed]:
    """Each run by itself, in another store."""
    elsewhere.root.mkdir()
    (elsewhere.root / "traces").symlink_to(next(iter(plans)).store.root / "traces")
    return [replay(replace(each, store=elsewhere)) for each in plans]


def same(plans: list[Plan], outcomes: list[Replayed | StrataError], elsewhere: Store) -> None:
    for one, other in zip(outcomes, apart(plans, elsewhere), strict=True):
        assert isinstance(one, Replayed)
        assert one.run == other.run
        have, want = tables(one), tables(other)
        assert have.keys() == want.keys()
        for name, rows in want.items():
            assert_frame_equal(have[name], rows, check_exact=True)


def test_runs_of_one_pass_are_what_they_are_alone(store: Store, reads: Reads, tmp_path: Path) -> None:
    plans = plan_grid(store, "small", "toy", {"scale": range(1, 12), "policy": ["greedy", "fifo"]}).plans
    counted: list[int] = []
    outcomes = replay_together(plans, 3, counted.append)
    assert reads == [["op"]]
    assert counted == [10] * 10 * len(plans)
    assert [each.config for each in outcomes if isinstance(each, Replayed)] == [
        {
            "scale": each.config.scale,
            "policy": each.config.policy.name.lower(),
            "limit": 100,
            "depth": 4,
            "sizes": [1, 2],
        }
        for each in plans
    ]
    same(plans, outcomes, Store(tmp_path / "apart"))


@pytest.mark.kernels
@pytest.mark.parametrize("workers", [1, 3])
def test_drives_of_one_pass_are_what_they_are_alone(store: Store, reads: Reads, tmp_path: Path, workers: int) -> None:
    make(store, "uniform", "writes", {"requests": 95, "capacity": "1MiB", "volumes": 2, "reads": 0.1, "seed": workers})
    settings: dict[str, list[Any]] = {
        "spare": [0.2, 0.3, 0.4],
        "victim": ["greedy", "fifo"],
        "layout": ["direct", "compact"],
    }
    plans = plan_grid(store, "writes", "ftl.page_mapped", settings).plans
    assert len(reads) == 1  # what the trace writes: once for all
    outcomes = replay_together(plans, workers)
    assert len(reads) == 2
    same(plans, outcomes, Store(tmp_path / "apart"))


class Lengths(NamedTuple):
    length: Annotated[U64, "bytes"]
    op: Annotated[U8, "see block.op"]


def test_stages_that_take_other_columns_share_a_reading(store: Store, reads: Reads, tmp_path: Path) -> None:
    def run(trace: Iterable[pl.DataFrame], config: toy.Config) -> Iterator[toy.ToySummary]:
        yield from toy.run((batch for batch in trace if batch["length"].sum() == 4096 * batch.height), config)

    (plain,) = plan_grid(store, "small", "toy", {}).plans
    other = replace(plain, stage=replace(plain.stage, takes=Lengths, run=run), run="another")
    outcomes = replay_together([plain, other], 2)
    assert reads == [["op", "length"]]
    same([plain, other], outcomes, Store(tmp_path / "apart"))


def test_a_run_that_cannot_be_made_does_not_stop_the_others(store: Store, reads: Reads, tmp_path: Path) -> None:
    plans = plan_grid(store, "small", "toy", {"limit": [200, 5, 100, 55, 300]}).plans
    outcomes = replay_together(plans, 2)
    wrong = {each.config.limit: str(got) for each, got in zip(plans, outcomes, strict=True) if not fresh(got)}
    assert wrong == {
        5: "toy: 10 requests are more than limit = 5",
        55: "toy: 60 requests are more than limit = 55",
    }
    assert len(list(store.root.glob("runs/*"))) == 3
    assert not list(store.root.glob("runs/.part-*"))
    good = [each for each in plans if each.config.limit >= 100]
    same(good, [each for each in outcomes if fresh(each)], Store(tmp_path / "apart"))


def fresh(outcome: Replayed | StrataError) -> bool:
    return isinstance(outcome, Replayed) and outcome.fresh


def test_nobody_reads_on_where_no_run_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    given = 0

    def read(table: type[Any], path: Path, columns: Iterable[str]) -> Iterator[pl.DataFrame]:
        nonlocal given
        for batch in storing.read(table, path, columns, rows=1):
            given += 1
            yield batch

    monkeypatch.setattr(replaying, "read", read)
    outcomes = replay_together(plan_grid(store, "small", "toy", {"limit": [1, 2, 3]}).plans, 2)
    assert all(isinstance(each, TraceError) for each in outcomes)
    assert given < 20


def test_what_is_kept_is_found_and_the_rest_is_made(store: Store, reads: Reads) -> None:
    first = replay_grid(store, "small", "toy", {"scale": [2, 4]})
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("runs/run=*/*")}
    told: list[tuple[int, int]] = []
    grid = replay_grid(
        store, "small", "toy", {"scale": [1, 2, 3, 4]}, progress=lambda done, total: told.append((done, total))
    )
    assert [each.fresh for each in first.runs] == [True, True]
    assert [(each.config["scale"], each.fresh) for each in grid.runs] == [
        (1.0, True),
        (2.0, False),
        (3.0, True),
        (4.0, False),
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert told[-1] == (400, 400)
    assert len(reads) == 2
    replay_grid(store, "small", "toy", {"scale": [1, 2, 3, 4]})
    assert len(reads) == 2


def test_an_interrupt_ends_all_and_nothing_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(table: type[Any], path: Path, columns: Iterable[str]) -> Iterator[pl.DataFrame]:
        for at, batch in enumerate(storing.read(table, path, columns, rows=10)):
            if at == 4:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(replaying, "read", read)
    with pytest.raises(KeyboardInterrupt):
        run_all(plan_grid(store, "small", "toy", {"scale": [1, 2, 3, 4, 5]}).plans, workers=2)
    assert not list(store.root.glob("runs/*"))
    assert not list(store.root.glob("runs/.part-*"))


def test_an_unexpected_error_ends_all_and_nothing_is_kept(
    store: Store, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(trace: Iterable[pl.DataFrame], config: toy.Config) -> Iterator[toy.ToySummary]:
        for at, batch in enumerate(trace):
            if at == 3 and config.scale == 4:
                raise ZeroDivisionError("of nothing")
            yield from toy.run([batch], config)

    monkeypatch.setitem(STAGES, "toy", replace(STAGES["toy"], run=run))
    plans = plan_grid(store, "small", "toy", {"scale": [1, 2, 3, 4, 5]}).plans
    with pytest.raises(ZeroDivisionError, match="of nothing"):
        run_all(plans, workers=2)
    assert not list(store.root.glob("runs/*"))
    assert not list(store.root.glob("runs/.part-*"))


def test_a_trace_that_ends_early_is_told_of_every_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(table: type[Any], path: Path, columns: Iterable[str]) -> list[pl.DataFrame]:
        return list(storing.read(table, path, columns, rows=10))[:7]

    monkeypatch.setattr(replaying, "read", read)
    outcomes = replay_together(plan_grid(store, "small", "toy", {"scale": [1, 2]}).plans, 2)
    assert [str(each) for each in outcomes] == [
        "small: 70 of 100 rows were replayed; the file is damaged, ingest it again"
    ] * 2
    assert not list(store.root.glob("runs/*"))


def sizes(plans: list[Plan], *given: Any) -> list[int]:
    cut = list(passes(plans, *given))
    assert [each for part in cut for each in part] == plans
    return [len(part) for part in cut]


def with_memory(plans: list[Plan], memory: Callable[[Any], int] | None) -> list[Plan]:
    return [replace(each, stage=replace(each.stage, memory=memory)) for each in plans]


def test_as_many_runs_share_a_reading_as_memory_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = plan_grid(store, "small", "toy", {"scale": [1 + i / 10 for i in range(150)]}).plans
    assert sizes(plans, 2) == [MOST, MOST, 150 - 2 * MOST]
    assert sizes(plans, 2, 40) == [40, 40, 40, 30]
    assert sizes(plans, 2, 100) == [MOST, MOST, 150 - 2 * MOST]  # open files are few
    assert sizes(plans[:5], 2, 1) == [1] * 5
    assert sizes(with_memory(plans[:5], None), 2) == [2, 2, 1]
    monkeypatch.setattr(replaying, "free_memory", lambda: 2 * (30 + 2 * RESULTS))  # half of it is for the runs
    assert sizes(with_memory(plans[:7], lambda _: 15), 2) == [2, 2, 2, 1]
    assert sizes(with_memory(plans[:7], lambda _: 16), 2) == [1] * 7
    assert sizes(with_memory(plans[:4], lambda config: round(config.scale * 10) + 4), 2) == [2, 1, 1]  # 14, 15, ...
    assert sizes(with_memory(plans[:3], lambda _: 1 << 40), 2) == [1, 1, 1]  # at the worst one after the other
    assert sizes(with_memory(plans[:3], lambda _: 1 << 40), 2, 3) == [3]
    replay_together(plans[:100], 2)
    assert sizes(with_memory(plans[:104], None), 2) == [102, 2]  # what is kept takes no memory
    add_trace(store, "other", rows=50)
    assert sizes([*plans[100:102], *plan_grid(store, "other", "toy", {"scale": [1, 2]}).plans], 2, 10) == [2, 2]


@pytest.mark.parametrize(("workers", "at_once"), [(0, None), (-1, 5), (2, 0), (2, -3)])
def test_at_least_one_run_goes_at_a_time(store: Store, workers: int, at_once: int | None) -> None:
    with pytest.raises(ConfigError, match="at least one run must go at a time"):
        replay_grid(store, "small", "toy", {"scale": [1, 2]}, workers=workers, at_once=at_once)


def test_some_memory_is_free() -> None:
    assert 1 << 20 < free_memory() < 1 << 50


@pytest.mark.parametrize("at_once", [1, 2, 3, None])
def test_passes_change_nothing(store: Store, reads: Reads, tmp_path: Path, at_once: int | None) -> None:
    plans = plan_grid(store, "small", "toy", {"scale": [1, 2, 3, 4, 5], "policy": ["fifo"]}).plans
    outcomes = run_all(plans, workers=2, at_once=at_once)
    assert len(reads) == -(-5 // (at_once or 5))
    same(plans, outcomes, Store(tmp_path / "apart"))
