"""Exports of every kind: what all of them keep, what is refused, and memory's own format."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.errors import TraceError
from traces.export import EXPORTS, export
from traces.info import TraceInfo
from traces.ingest import ingest
from traces.kinds import KINDS
from traces.making import write
from traces.memory import Memory, Op
from traces.requests import PLACES
from traces.store import Store, read
from traces.table import schema_of

pytestmark = pytest.mark.kernels

# few enough that the first rows have all of them: the agent's capture names rings and receivers as batches bring them
_SMALL = dict.fromkeys(("ring", "op", "volume", "space", "producer", "present"), 2) | dict.fromkeys(
    ("latency", "flags", "outcome"), 1
)


def add(store: Store, kind: str, name: str, count: int, **columns: list[Any]) -> None:
    """A trace of a kind: rows that are all different, of operations that every format has."""
    made = {}
    for column, dtype in schema_of(KINDS[kind]).items():
        values: list[Any] = [i % _SMALL[column] if column in _SMALL else i % 200 for i in range(count)]
        if column in ("time", "address", "length", "size"):
            values = [512 * (i + 1) if column in ("length", "size") else 512 * i for i in range(count)]
        if column == "op" and kind == "message":
            values = [0] * count
        made[column] = columns.get(column, [f"{i % 3:02x}" for i in range(count)] if dtype == pl.String else values)
    frame = pl.DataFrame(made, schema=schema_of(KINDS[kind]))
    write(store, name, TraceInfo(format="toy", kind=kind), [frame], volumes=["one", "two"])


def taken(format_: str) -> str:
    """A kind that a format takes."""
    kinds = EXPORTS[format_].kinds
    return "block" if kinds is None or "block" in kinds else min(kinds)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("format_", EXPORTS)
def test_batches_change_nothing(store: Store, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, taken(format_), "it", 1000)
    told: list[tuple[int, int]] = []
    one = export(store, "it", format_, tmp_path / "one.gz", progress=lambda *at: told.append(at))
    assert told[-1] == (1000, 1000)

    def small(table: type[Any], path: Path, columns: Any = None) -> Any:
        return read(table, path, columns, 170)

    monkeypatch.setattr("traces.export.read", small)
    other = export(store, "it", format_, tmp_path / "other")
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()) == (tmp_path / "other").read_bytes()
    assert one.lost == other.lost
    assert one.written == other.written == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_takes_a_kind_or_says_what_does(store: Store, tmp_path: Path, kind: str) -> None:
    add(store, kind, "it", 3)
    for name, each in EXPORTS.items():
        target = tmp_path / f"it.{name}"
        if each.kinds is None or kind in each.kinds:
            assert export(store, "it", name, target).written
            continue
        with pytest.raises(TraceError, match=f"{name} takes .*; 'it' is a {kind} trace, which can leave as .*csv"):
            export(store, "it", name, target)
        assert not target.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_csv__has_every_column_of_every_kind(store: Store, tmp_path: Path, kind: str) -> None:
    add(store, kind, "it", 4)
    assert export(store, "it", "csv", tmp_path / "it.csv").lost == {}
    back = pl.read_csv(tmp_path / "it.csv", infer_schema=False)
    names = [f"{PLACES[kind]}_name"] if kind in PLACES else []
    assert back.columns == [*schema_of(KINDS[kind]), *names]
    if names:
        assert back[names[0]].to_list() == ["one", "two", "one", "two"]
    assert back["time"].to_list() == ["0", "512", "1024", "1536"]


access = st.tuples(
    st.integers(0, 10**12), st.sampled_from([Op.LOAD, Op.STORE, Op.FETCH, Op.MODIFY]), st.integers(0, (1 << 64) - 1)
)


@settings(max_examples=40)
@given(rows=st.lists(access, min_size=1, max_size=20))
def test_dramsim__comes_back_as_it_left(
    rows: list[tuple[int, Op, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("x")
    store = Store(folder / "store")
    rows = sorted((time if i else 0, op, address) for i, (time, op, address) in enumerate(rows))
    columns = {"time": [r[0] for r in rows], "op": [int(r[1]) for r in rows], "address": [r[2] for r in rows]}
    add(store, "memory", "it", len(rows), **columns)
    want = [
        (time, int(each), address)
        for time, op, address in rows
        for each in ([Op.LOAD, Op.STORE] if op == Op.MODIFY else [op])
    ]
    assert export(store, "it", "dramsim", folder / "it.trace").written == len(want)
    (back,) = ingest(store, [folder / "it.trace"], name="back")
    assert back.info.format == "dramsim"
    assert pl.concat(read(Memory, back.path, ["time", "op", "address"])).rows() == want


def test_dramsim__tells_what_is_lost(store: Store, tmp_path: Path) -> None:
    ops = [Op.LOAD, Op.SAMPLED, Op.DIRTY, Op.UNKNOWN, Op.MODIFY]
    none = [0] * 5
    columns = {"op": [int(op) for op in ops], "size": [64, 1, 1, 1, 65], "address": [255, 0, 0, 0, (1 << 64) - 1]}
    add(store, "memory", "it", 5, cpu=none, gap=none, weight=[1] * 5, ip=none, **columns)
    done = export(store, "it", "dramsim", tmp_path / "it.trace")
    assert (tmp_path / "it.trace").read_text() == (
        "0x00000000000000ff READ 0\n0xffffffffffffffff READ 2048\n0xffffffffffffffff WRITE 2048\n"
    )
    assert done.written == 3
    assert done.lost == {
        "address spaces, which lie upon each other there": 2,
        "requests to sampled, left out": 1,
        "requests to dirty, left out": 1,
        "requests to unknown, left out": 1,
        "accesses of more than 64 bytes, of which the first address is written": 1,
        "sizes, not carried": 2,
        "weights, not carried": 2,
    }
