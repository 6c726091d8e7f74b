"""The catalog: what it shows, that it is replaced whole, that packing loses and doubles nothing."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import duckdb
import numpy as np
import polars as pl
import pytest

from traces import catalog
from traces.block import Block
from traces.catalog import STORE_TABLES, Macro, connect, is_current, left_out, pack, publish
from traces.errors import StoreError
from traces.info import TraceInfo, Volume
from traces.ingest import ingest
from traces.ledger import Refused, Runs
from traces.store import Store
from traces.table import F64, U64, Unknown, columns_of, name_of, schema_of
from traces.writer import RunWriter, TraceWriter


class ToySummary(NamedTuple):
    """A run's figures."""

    figure: Annotated[F64, "any number; NULL where not known", Unknown(-1)]


class ToyWindows(NamedTuple):
    """A run over time."""

    at: Annotated[U64, "nanoseconds"]
    events: Annotated[U64, "how many"]


TABLES: list[type[Any]] = [Block, *STORE_TABLES, ToySummary, ToyWindows]
WINDOWS = 3


def add_run(store: Store, run: str, *windows: Any) -> None:
    told: dict[str, Any] = {c.name: run if c.polars == pl.String else 1 for c in columns_of(Runs)}
    with RunWriter(store, run) as writer:
        writer.write(ToySummary(np.array([-1.0])))
        for rows in windows or [ToyWindows(np.arange(WINDOWS, dtype=np.uint64), np.full(WINDOWS, 7, np.uint64))]:
            writer.write(rows)
        writer.write_frame(Runs, pl.DataFrame([told], schema=schema_of(Runs)))
        writer.finish()


def add_trace(store: Store, name: str, rows: int = 4, **told: Any) -> None:
    told = {"volumes": [Volume(name="disk", requests=rows, reads=1, writes=rows - 1)]} | told
    info = TraceInfo(format="toy", **told)
    batch = pl.DataFrame(
        {c.name: ["W"] * rows if c.name == "raw" else range(rows) for c in columns_of(Block)}, schema=schema_of(Block)
    ).with_columns(pl.lit(-1, pl.Int64).alias("latency"))
    with TraceWriter(store, name, info) as writer:
        writer.write(batch)
        writer.refuse(pl.DataFrame([("a.csv", 7, "no number", "x,y")], schema=schema_of(Refused), orient="row"))
        writer.finish()


def content(store: Store) -> list[tuple[Any, ...]]:
    """What the catalog says of every run: its row in `runs`, its summary rows, its windows in order."""
    with connect(store) as db:
        return db.execute(
            "SELECT run, (SELECT count(*) FROM toy_summary s WHERE s.run = r.run), "
            '(SELECT list("at") FROM toy_windows w WHERE w.run = r.run) FROM runs r ORDER BY run'
        ).fetchall()


def expected(runs: list[str]) -> list[tuple[Any, ...]]:
    return [(run, 1, list(range(WINDOWS))) for run in sorted(runs)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store [1] 'a'")


def test_an_empty_store_has_every_table_with_its_types_and_comments(store: Store) -> None:
    publish(store, TABLES)
    with connect(store) as db:
        for table in TABLES:
            have = db.execute(f"DESCRIBE {name_of(table)}").fetchall()
            assert {c.name for c in columns_of(table)} <= {row[0] for row in have}
            assert db.execute(f"SELECT count(*) FROM {name_of(table)}").fetchone() == (int(table is catalog.Published),)
        silent = db.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        )
        assert silent.fetchall() == []
        silent = db.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL "
            "UNION ALL SELECT table_name FROM duckdb_tables() WHERE comment IS NULL"
        )
        assert silent.fetchall() == []


def test_traces_volumes_refused_and_runs_are_shown(store: Store) -> None:
    add_trace(store, "first")
    add_trace(store, "second.half", rows=5)
    add_run(store, "a")
    publish(store, TABLES)
    with connect(store) as db:
        assert db.execute(
            "SELECT trace, count(*), count(latency) FROM block GROUP BY trace ORDER BY trace"
        ).fetchall() == [
            ("first", 4, 0),
            ("second.half", 5, 0),
        ]
        assert db.execute("SELECT trace, kind, rows, refused, writes FROM traces ORDER BY trace").fetchall() == [
            ("first", "block", 4, 1, 3),
            ("second.half", "block", 5, 1, 4),
        ]
        assert db.execute("SELECT trace, volume, name FROM volumes ORDER BY trace").fetchall() == [
            ("first", 0, "disk"),
            ("second.half", 0, "disk"),
        ]
        assert db.execute("SELECT kind, trace, file, line FROM refused ORDER BY trace").fetchall() == [
            ("block", "first", "a.csv", 7),
            ("block", "second.half", "a.csv", 7),
        ]
        assert db.execute("SELECT run, figure FROM toy_summary").fetchall() == [("a", None)]
        assert db.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == [
            ("published",),
            ("runs",),
            ("toy_summary",),
            ("traces",),
            ("volumes",),
        ]


def test_one_trace_is_read_from_its_own_file_only(store: Store) -> None:
    for name in ("first", "second", "third"):
        add_trace(store, name)
    publish(store, TABLES)
    with connect(store) as db:
        plan = db.execute("EXPLAIN ANALYZE SELECT sum(length) FROM block WHERE trace = 'second'").fetchall()[0][1]
    assert "Total Files Read: 1" in plan


def test_the_file_opens_with_the_previous_duckdb(store: Store) -> None:
    publish(store, TABLES)
    with duckdb.connect(store.catalog, read_only=True) as db:
        tags = db.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert "v1.5.0" in str(tags)


def test_a_column_that_came_later_is_null_in_older_runs(store: Store) -> None:
    class ToyWindows(NamedTuple):
        """A run over time."""

        at: Annotated[U64, "nanoseconds"]
        events: Annotated[U64, "how many"]
        added: Annotated[F64, "came later"]

    add_run(store, "old")
    publish(store, [*STORE_TABLES, ToyWindows])
    with connect(store) as db:
        assert db.execute("SELECT run, events, added FROM toy_windows LIMIT 1").fetchall() == [("old", 7, None)]
    add_run(store, "new", ToyWindows(np.zeros(1, np.uint64), np.ones(1, np.uint64), np.full(1, 0.5)))
    assert pack(store) == 2
    publish(store, [*STORE_TABLES, ToyWindows])
    with connect(store) as db:
        rows = db.execute("SELECT run, events, added FROM toy_windows ORDER BY ALL").fetchall()
    assert rows == [("new", 1, 0.5), *[("old", 7, None)] * WINDOWS]


def test_macros_are_made_and_commented(store: Store) -> None:
    one = Macro("twice", "CREATE MACRO twice(x) AS 2 * x", "two times x")
    many = Macro("names", "CREATE MACRO names() AS TABLE SELECT trace FROM traces", "the traces", table=True)
    add_trace(store, "first")
    publish(store, TABLES, [one, many])
    with connect(store) as db:
        assert db.execute("SELECT twice(21)").fetchone() == (42,)
        assert db.execute("FROM names()").fetchall() == [("first",)]
        found = db.execute(
            "SELECT comment FROM duckdb_functions() WHERE function_name IN ('twice', 'names') ORDER BY 1"
        )
        assert found.fetchall() == [("the traces",), ("two times x",)]


def test_the_catalog_knows_when_it_is_out_of_date(store: Store) -> None:
    assert not is_current(store)
    publish(store, TABLES)
    assert is_current(store)
    add_run(store, "a")
    assert not is_current(store)
    publish(store, TABLES)
    assert is_current(store)
    add_trace(store, "first")
    assert not is_current(store)
    publish(store, TABLES)
    add_trace(store, "first", rows=6)  # replaced under the same name
    assert not is_current(store)


def test_a_moved_store_is_out_of_date_and_is_rebuilt(store: Store, tmp_path: Path) -> None:
    add_run(store, "a")
    publish(store, TABLES)
    moved = Store(tmp_path / "moved")
    store.root.rename(moved.root)
    assert not is_current(moved)
    publish(moved, TABLES)
    assert content(moved) == expected(["a"])


def test_what_is_open_goes_on_answering_while_the_catalog_is_replaced(store: Store) -> None:
    add_run(store, "a")
    publish(store, TABLES)
    script = """
import sys, time, duckdb
end, seen = time.monotonic() + 3, set()
while time.monotonic() < end:
    with duckdb.connect(sys.argv[1], read_only=True) as db:
        runs = db.execute("SELECT count(*) FROM runs").fetchone()[0]
        time.sleep(0.01)  # others publish and pack meanwhile
        assert db.execute("SELECT count(DISTINCT run), count(*) FROM toy_windows").fetchone() == (runs, 3 * runs)
        seen.add(runs)
print(len(seen))
"""
    reader = subprocess.Popen([sys.executable, "-c", script, str(store.catalog)], stdout=subprocess.PIPE, text=True)
    try:
        number = 0
        while reader.poll() is None:
            number += 1
            add_run(store, f"run{number}")
            if number % 5 == 0:
                pack(store)
            publish(store, TABLES)
        assert reader.returncode == 0
        assert reader.stdout is not None
        assert int(reader.stdout.read()) > 3
    finally:
        reader.kill()
        reader.communicate()


def test_packing_changes_nothing_that_can_be_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"run{i}" for i in range(7)]
    for name in names:
        add_run(store, name)
    publish(store, TABLES)
    before = content(store)
    assert pack(store) == 7
    assert pack(store) == 0
    assert content(store) == before  # the older catalog still reads the loose folders
    publish(store, TABLES)
    assert content(store) == before == expected(names)
    assert len(list(store.root.glob("runs/run=*"))) == 7
    assert all(store.has_run(name) for name in names)

    monkeypatch.setattr(catalog, "GRACE", -1.0)
    publish(store, TABLES)
    assert content(store) == before
    assert not list(store.root.glob("runs/run=*"))
    assert is_current(store)
    assert all(store.has_run(name) for name in names)
    assert not store.has_run("another")


def test_packs_merge_like_a_counter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "GRACE", -1.0)
    names = []
    sizes = []
    for turn in range(8):
        for i in range(4):
            names.append(f"run{turn}-{i}")
            add_run(store, names[-1])
        pack(store)
        publish(store, TABLES)
        sizes.append(len(list(store.root.glob("runs/pack-*"))))
        assert content(store) == expected(names)
    assert max(sizes) <= 4


def test_publishing_packs_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "LOOSE", 3)
    names = [f"run{i}" for i in range(4)]
    for name in names:
        add_run(store, name)
    publish(store, TABLES)
    assert len(list(store.root.glob("runs/pack-*"))) == 1
    assert content(store) == expected(names)


def test_stores_copied_together_double_nothing(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    for each, names in ((store, "abc"), (other, "bcd")):
        for name in names:
            add_run(each, name)
        pack(each)
    (packed,) = other.root.glob("runs/pack-*")
    shutil.copytree(packed, store.root / "runs" / packed.name)
    shutil.copytree(other.run_path("d"), store.run_path("d"))
    publish(store, TABLES)
    assert content(store) == expected(list("abcd"))
    publish(store, TABLES)
    assert content(store) == expected(list("abcd"))


_KILLED_AT_EVERY_STEP = """
import os, shutil, sys
from pathlib import Path

from tests.traces import test_catalog
from traces import catalog
from traces.store import Store

def dying(function, left):
    def step(*given, **named):
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
        return function(*given, **named)
    return step

catalog.GRACE, catalog.LOOSE = -1.0, 5
whole, folder = Path(sys.argv[1]), Path(sys.argv[2])
for number in range(1000):
    root = folder / f"store{number}"
    shutil.copytree(whole, root)
    if not (child := os.fork()):
        left = [number]
        for name in ("rename", "mkdir", "unlink"):
            setattr(Path, name, dying(getattr(Path, name), left))
        os.utime, shutil.rmtree = dying(os.utime, left), dying(shutil.rmtree, left)
        catalog.publish(Store(root), test_catalog.TABLES)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def test_killed_at_any_step_nothing_is_lost_or_doubled(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GRACE", -1.0)
    names = [f"run{i}" for i in range(8)]
    for name in names[:2]:
        add_run(store, name)
    pack(store)
    publish(store, TABLES)
    for name in names[2:]:
        add_run(store, name)
    monkeypatch.setattr(catalog, "LOOSE", 5)
    copies = tmp_path / "copies"
    subprocess.run(
        [sys.executable, "-c", _KILLED_AT_EVERY_STEP, store.root, copies], check=True, cwd=Path(__file__).parents[2]
    )
    roots = sorted(copies.iterdir())
    assert len(roots) > 10
    for root in roots:
        copy = Store(root)
        publish(copy, TABLES)
        assert content(copy) == expected(names), root
        assert copy.sweep() == 0
        assert not list(root.glob("runs/run=*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_the_disk_refuses(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    add_run(store, "a")
    publish(store, TABLES)
    add_run(store, "b")

    def refuse(*_: Any) -> None:
        raise duckdb.IOException(f'IO Error: Could not write file "x": {os.strerror(code)}')

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "_fill", refuse)
        with pytest.raises(StoreError, match="disk is full" if code == errno.ENOSPC else "no permission"):
            publish(store, TABLES)
    assert content(store) == expected(["a"])
    assert not store.leftovers()
    assert not [file for file in store.root.iterdir() if "part" in file.name]


def test_a_file_stands_where_the_store_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file stands where"):
        publish(Store(tmp_path / "file"), TABLES)


def test_a_damaged_file_is_named(store: Store) -> None:
    add_run(store, "a")
    damaged = store.run_path("a") / "toy_windows.parquet"
    damaged.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(StoreError, match="toy_windows"):
        publish(store, TABLES)


def test_a_trace_that_cannot_be_told_of_does_not_take_the_others_with_it(store: Store) -> None:
    add_trace(store, "good")
    bad = [Volume(name="disk", requests=4, reads=-1)]
    add_trace(store, "negative", volumes=bad)
    add_trace(store, "strange", origin="noon")
    store.trace_path("block", "broken").write_text("nonsense")
    publish(store, TABLES)
    with connect(store) as db:
        assert db.execute("SELECT trace FROM traces").fetchall() == [("good",)]
        assert db.execute("SELECT DISTINCT trace FROM volumes").fetchall() == [("good",)]
        assert db.execute("SELECT DISTINCT trace FROM block").fetchall() == [("good",)]
    told = left_out(store)
    assert list(told) == ["block/broken", "block/negative", "block/strange"]
    assert "not a readable Parquet file" in told["block/broken"]
    assert "-1 is kept of it as 'reads', which cannot be; make the trace anew" in told["block/negative"]
    assert "'noon' is kept of it as 'origin'" in told["block/strange"]
    assert is_current(store)


@pytest.mark.kernels
def test_modifies_read_and_write_and_are_no_others(shared: Path, store: Store) -> None:
    ingest(store, [shared / "public-traces/lackey/cachelab_long_SergeShpak.trace.zst"], name="long")
    publish(store, TABLES)
    with connect(store) as db:
        told = db.execute("SELECT rows, reads, writes, others FROM traces").fetchall()
    assert told == [(267_988, 249_001, 37_963, 0)]


def test_no_catalog_yet(store: Store) -> None:
    with pytest.raises(StoreError, match="doctor --rebuild"):
        connect(store)


def test_publishers_take_turns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    inside: list[int] = []
    fill: Callable[..., None] = catalog._fill

    def watched(*given: Any) -> None:
        inside.append(1)
        assert len(inside) == 1
        fill(*given)
        time.sleep(0.05)
        inside.pop()

    monkeypatch.setattr(catalog, "_fill", watched)
    add_run(store, "a")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(publish, store, TABLES) for _ in range(4)]:
            done.result()
    assert content(store) == expected(["a"])
