"""A store with a small trace, the toy stage, and the command line."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from pipeline import STAGES
from tests.flows import toy
from traces.block import Block
from traces.info import TraceInfo, Volume
from traces.store import Store
from traces.table import schema_of
from traces.writer import TraceWriter

Strata = Callable[..., Result]


def add_trace(store: Store, name: str, rows: int = 6) -> None:
    """Every third request reads."""
    columns = {
        "time": range(rows),
        "op": [0 if i % 3 == 0 else 1 for i in range(rows)],
        "volume": [0] * rows,
        "address": range(0, 4096 * rows, 4096),
        "length": [4096] * rows,
        "latency": [-1] * rows,
        "stream": [0] * rows,
        "flags": [0] * rows,
        "raw": ["W"] * rows,
    }
    reads = -(-rows // 3)
    disk = Volume(name="disk", requests=rows, reads=reads, writes=rows - reads, extent=4096 * rows)
    with TraceWriter(store, name, TraceInfo(format="toy", volumes=[disk], notes={"odd": 2})) as writer:
        writer.write(pl.DataFrame(columns, schema=schema_of(Block)))
        writer.finish()


@pytest.fixture(autouse=True)
def _toy_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "toy", toy.STAGE)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("STRATA_STORE", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    add_trace(made, "small")
    return made


@pytest.fixture
def strata(store: Store) -> Strata:
    """Call the command line on the store."""
    from flows.cli import app

    def call(*arguments: str, stdin: str | None = None, where: Path | None = None) -> Result:
        return CliRunner().invoke(app, ["--store", str(where or store.root), *arguments], input=stdin)

    return call
