"""How long a question takes over 1,000 runs, loose and packed: over their windows, one run's, their summary table.

A run has 150 windows, as the page-mapped drive's have, and one summary row.
"""

import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from traces import catalog
from traces.catalog import STORE_TABLES, connect, pack, publish
from traces.ledger import Runs
from traces.store import Store
from traces.table import F64, U64, columns_of, schema_of
from traces.writer import RunWriter

RUNS, WINDOWS = 1000, 150
WELL_UNDER_A_SECOND = 0.5


class BenchSummary(NamedTuple):
    """A run's figures."""

    figure: Annotated[F64, "any number"]
    programs: Annotated[U64, "any count"]


class BenchWindows(NamedTuple):
    """A run over time."""

    second: Annotated[U64, "when the window begins"]
    programs: Annotated[U64, "any count"]
    erases: Annotated[U64, "any count"]
    figure: Annotated[F64, "any number"]


TABLES: list[type[Any]] = [*STORE_TABLES, BenchSummary, BenchWindows]
WINDOWS_SQL = "SELECT run, sum(programs), max(figure) FROM bench_windows GROUP BY run ORDER BY 3 DESC LIMIT 10"
ONE_SQL = "SELECT count(*), sum(programs) FROM bench_windows WHERE run = 'run0500'"
SUMMARY_SQL = "SELECT trace, avg(figure) FROM bench_summary JOIN runs USING (run) GROUP BY trace"


@pytest.fixture(scope="module", params=["loose", "packed"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """1,000 runs, published: a folder each, or in one pack."""
    store = Store(tmp_path_factory.mktemp("store"))
    draw = np.random.default_rng(1)
    for number in range(RUNS):
        name = f"run{number:04}"
        told: dict[str, Any] = {c.name: name if c.polars == pl.String else 1 for c in columns_of(Runs)}
        with RunWriter(store, name) as writer:
            writer.write(BenchSummary(draw.random(1), draw.integers(1, 1000, 1).astype(np.uint64)))
            counts = draw.integers(1, 1000, (2, WINDOWS)).astype(np.uint64)
            writer.write(BenchWindows(np.arange(WINDOWS, dtype=np.uint64), counts[0], counts[1], draw.random(WINDOWS)))
            writer.write_frame(Runs, pl.DataFrame([told | {"trace": f"trace{number % 10}"}], schema=schema_of(Runs)))
            writer.finish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "LOOSE", RUNS)
        if request.param == "packed":
            began = time.perf_counter()
            assert pack(store) == RUNS
            print(f"\npacking {RUNS} runs: {time.perf_counter() - began:.2f} s")
        publish(store, TABLES)
        yield store


def ask(store: Store, sql: str) -> list[Any]:
    with connect(store) as db:
        return db.execute(sql).fetchall()


def test_publish(store: Store, benchmark: BenchmarkFixture) -> None:
    """The catalog over 1,000 runs built anew."""
    benchmark.pedantic(publish, (store, TABLES), rounds=3)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("sql", [WINDOWS_SQL, ONE_SQL, SUMMARY_SQL], ids=["windows", "one-run", "summary"])
def test_query(store: Store, benchmark: BenchmarkFixture, sql: str) -> None:
    """A question, the opening of the catalog included."""
    rows = benchmark.pedantic(ask, (store, sql), rounds=10, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert rows
    assert benchmark.stats is not None
    assert benchmark.stats.stats.median < WELL_UNDER_A_SECOND
