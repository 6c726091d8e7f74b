"""Traces leave as they are, or the account says what was lost."""

import errno
import os
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.block import Block, Op
from traces.errors import ConfigError, StoreError, TraceError
from traces.export import EXPORTS, export
from traces.export.oracle import RECORD
from traces.info import TraceInfo
from traces.ingest import ingest
from traces.made import Ingested
from traces.making import write
from traces.memory import Memory
from traces.message import Message
from traces.store import Store, read
from traces.table import columns_of, schema_of
from traces.workloads import make

pytestmark = pytest.mark.kernels

Row = tuple[int, int, int, int, int]  # time, op, volume, address, length


def requests(ops: list[Op], grain: int = 512, tick: int = 1000) -> st.SearchStrategy[list[Row]]:
    one = st.tuples(
        st.integers(0, 3).map(lambda n: n * tick),
        st.sampled_from(ops),
        st.integers(0, 2),
        st.integers(0, 9).map(lambda n: n * grain),
        st.integers(1, 3).map(lambda n: n * grain),
    )

    def timed(rows: list[tuple[int, Op, int, int, int]]) -> list[Row]:
        times = np.cumsum([0] + [row[0] for row in rows[1:]]).tolist()
        number = {v: i for i, v in enumerate(dict.fromkeys(row[2] for row in rows))}  # none without a request
        return [(t, op, number[v], a, n) for t, (_, op, v, a, n) in zip(times, rows, strict=True)]

    return st.lists(one, min_size=1, max_size=30).map(timed)


def add(store: Store, name: str, rows: list[Row], **other: Any) -> Ingested:
    whole = [(*row, other.get("latency", -1), other.get("stream", 0), other.get("flags", 0), "x") for row in rows]
    batch = pl.DataFrame(whole, schema=schema_of(Block), orient="row")
    volumes = [f"disk {number}" for number in range(max(row[2] for row in rows) + 1)]
    return write(store, name, TraceInfo(format="toy"), [batch], volumes=volumes)


def kept(made: Ingested) -> list[Any]:
    return pl.concat(read(Block, made.path, ["time", "op", "volume", "address", "length"])).rows()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@given(rows=requests([Op.READ, Op.WRITE, Op.DISCARD, Op.FLUSH]))
def test_fio_iolog__comes_back_as_it_left(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("x")
    store = Store(folder / "store")
    rows = [(t, op, v, 0, 0) if op == Op.FLUSH else (t, op, v, a, n) for t, op, v, a, n in rows]
    add(store, "it", rows)
    done = export(store, "it", "fio-iolog", folder / "it.iolog")
    assert done.written == len(rows)
    (back,) = ingest(store, [folder / "it.iolog"], name="back")
    assert kept(back) == rows
    assert [volume.name for volume in back.info.volumes] == [f"disk_{v}" for v in range(max(r[2] for r in rows) + 1)]
    assert set(done.lost) == {"names of volumes, written without blanks"}


@given(rows=requests([Op.READ, Op.WRITE], tick=7))
def test_mqsim__comes_back_as_it_left(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("x")
    store = Store(folder / "store")
    add(store, "it", rows)
    export(store, "it", "mqsim", folder / "it.trace")
    (back,) = ingest(store, [folder / "it.trace"], format="mqsim", name="back")
    assert kept(back) == rows


@given(rows=requests([Op.READ, Op.WRITE, Op.DISCARD], tick=400_000_000))
def test_oracle__names_every_next_access(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("x")
    store = Store(folder / "store")
    made = add(store, "it", rows)
    carried = [row for row in rows if row[1] != Op.DISCARD]
    if not carried:
        with pytest.raises(
            TraceError, match=r"no room for any of the requests of 'it' .* requests to discard, left out"
        ):
            export(store, "it", "oracle", folder / "it.bin")
        assert not (folder / "it.bin").exists()
        return
    done = export(store, "it", "oracle", folder / "it.bin")
    assert done.written == len(carried)
    apart = max(volume.extent for volume in made.info.volumes) // 512
    ids = [row[3] // 512 + row[2] * apart for row in carried]
    want = [
        (
            row[0] // 10**9,
            ids[i],
            row[4],
            next((j + 1 for j in range(i + 1, len(ids)) if ids[j] == ids[i]), -1),
        )
        for i, row in enumerate(carried)
    ]
    assert np.fromfile(folder / "it.bin", RECORD).tolist() == want
    assert not list(folder.glob(".part*"))


def test_oracle__of_many_accesses_is_recognised_and_read(store: Store, tmp_path: Path) -> None:
    make(store, "zipf", "it", {"requests": 50_000, "capacity": "4MiB", "rate": 1000, "reads": 0.5})
    export(store, "it", "oracle", tmp_path / "it.oracleGeneral.zst")
    (back,) = ingest(store, [tmp_path / "it.oracleGeneral.zst"], name="back")
    assert back.info.format == "oracle"
    whole = pl.concat(read(Block, store.trace_path("block", "it")))
    again = pl.concat(read(Block, back.path))
    assert again["address"].equals(whole["address"])
    assert again["length"].equals(whole["length"])
    assert (again["time"] == whole["time"] // 10**9 * 10**9).all()


def test_oracle__is_what_libcachesim_made_of_the_same_recording(shared: Path, store: Store, tmp_path: Path) -> None:
    folder = shared / "public-traces/cloudphysics"
    ingest(store, [folder / "cloudPhysicsIO.vscsi"], name="it")
    export(store, "it", "oracle", tmp_path / "it.bin")
    mine, theirs = (
        np.fromfile(tmp_path / "it.bin", RECORD),
        np.fromfile(folder / "cloudPhysicsIO.oracleGeneral.bin", RECORD),
    )
    assert (mine["id"] == theirs["id"]).all()
    assert (mine["next"] == theirs["next"]).all()
    assert (abs(mine["time"].astype(int) - (theirs["time"].astype(int) - int(theirs["time"][0]))) <= 1).all()


def messages(store: Store, clock: str = "relative", origin: int = 0, **columns: Any) -> Ingested:
    fixed: dict[str, Any] = {"time": [0, 5, 9], "op": [0, 2, 0], "producer": [1, 0, 1], "receiver": ["b", "", "a"]}
    fixed |= {"ring": [7, 1, 7], "sequence": [3, 0, 4], "address": [64, 0, 0], "length": [9, 8, 1 << 40]}
    fixed |= {"checksum": [1, 0, 2], "seen": [4, -1, 0], "delivered": [6, -1, -1], "outcome": [1, 0, 4]}
    fixed |= {"raw": ["delivered", "full", "lost"]} | columns
    info = TraceInfo(format="toy", kind="message", clock=clock, origin=origin)
    batch = pl.DataFrame(fixed, schema=schema_of(Message))
    return write(store, "it", info, [batch], volumes=["one", "two", "silent"])


@pytest.mark.parametrize(
    ("clock", "origin"), [("relative", 0), ("unix", 1_700_000_000_000_000_000), ("monotonic", 123)]
)
def test_agent__comes_back_as_it_left(store: Store, tmp_path: Path, clock: str, origin: int) -> None:
    made = messages(store, clock, origin)
    done = export(store, "it", "agent", tmp_path / "it.agent.zst")
    assert (done.written, done.lost) == (3, {})
    (back,) = ingest(store, [tmp_path / "it.agent.zst"], name="back")
    assert (back.info.content, back.info.clock, back.info.origin) == (made.info.content, clock, origin)
    assert (back.info.volumes, back.info.refused) == (made.info.volumes, 0)


def test_agent__of_a_generated_trace_comes_back(store: Store, tmp_path: Path) -> None:
    made = make(store, "messages", "it", {"messages": 5000, "torn": 0.1, "unknown": 0.1, "corrupt": 0.1, "rate": 1e6})
    export(store, "it", "agent", tmp_path / "it.agent")
    (back,) = ingest(store, [tmp_path / "it.agent"], name="back")
    assert (back.info.content, back.info.notes) == (made.info.content, made.info.notes)


def test_agent__tells_what_it_does_not_carry(store: Store, tmp_path: Path) -> None:
    messages(store, "ordinal", receiver=["b", "", "x" * 65], raw=["delivered", "FULL", "lost"])
    done = export(store, "it", "agent", tmp_path / "it.agent")
    assert done.written == 2
    assert done.lost == {
        "times, which count records: written as nanoseconds": 3,
        "records of a producer or receiver whose name is longer than 64 bytes, left out": 1,
        "words of the source, for which the format has its own": 1,
    }
    add(store, "other", [(0, Op.READ, 0, 0, 512)])
    with pytest.raises(TraceError, match="agent takes message traces; 'other' is a block trace"):
        export(store, "other", "agent", tmp_path / "other.agent")


def test_csv__has_every_column(store: Store, tmp_path: Path) -> None:
    rows = [(0, 0, 0, 4096, 512), (5, 1, 1, 0, 4096)]
    add(store, "it", rows, stream=7, flags=2)
    done = export(store, "it", "csv", tmp_path / "it.csv")
    assert done.lost == {}
    assert (tmp_path / "it.csv").read_text() == (
        ",".join([*(c.name for c in columns_of(Block)), "volume_name"]) + "\n"
        "0,0,0,4096,512,,7,2,x,disk 0\n"
        "5,1,1,0,4096,,7,2,x,disk 1\n"
    )
    back = pl.read_csv(StringIO((tmp_path / "it.csv").read_text()))
    assert back.select("time", "op", "volume", "address", "length").rows() == rows


def test_csv__of_another_kind(store: Store, tmp_path: Path) -> None:
    schema = schema_of(Memory)
    rows = [{name: "L" if name == "raw" else 0 if name in ("space", "op") else i for name in schema} for i in range(3)]
    write(store, "it", TraceInfo(format="toy", kind="memory"), [pl.DataFrame(rows, schema=schema)], volumes=["a"])
    export(store, "it", "csv", tmp_path / "it.csv")
    back = pl.read_csv(tmp_path / "it.csv")
    assert back.columns == [*schema, "space_name"]
    assert back["address"].to_list() == [0, 1, 2]


def test_what_is_lost_is_told(store: Store, tmp_path: Path) -> None:
    rows: list[Row] = [
        (0, Op.READ, 0, 0, 4096),
        (1, Op.WRITE, 1, 1000, 100),
        (2000, Op.DISCARD, 1, 0, 4096),
        (2001, Op.FLUSH, 1, 0, 0),
        (2002, Op.WRITE, 0, 0, 0),
        (2003, Op.ZONE_APPEND, 0, 0, 512),
        (2004, Op.ZONE_RESET, 0, 0, 0),
        (2005, Op.UNKNOWN, 0, 0, 512),
    ]
    add(store, "it", rows, latency=5, stream=1, flags=4)
    out = tmp_path / "out"
    done = export(store, "it", "mqsim", out)
    assert (done.rows, done.written) == (8, 3)
    assert done.lost == {
        "volumes, which MQSim itself does not tell apart": 2,
        "requests to discard, left out": 1,
        "requests to flush, left out": 1,
        "requests to zone reset, left out": 1,
        "requests to unknown, left out": 1,
        "requests of no bytes, left out": 1,
        "latencies, not carried": 3,
        "streams, not carried": 3,
        "flags, not carried": 3,
        "zone appends, written as writes": 1,
        "requests that are not whole sectors, widened to whole ones": 1,
    }
    assert out.read_text() == "0 0 0 8 1\n1 1 1 2 0\n2003 0 0 1 0\n"
    done = export(store, "it", "fio-iolog", out, replace=True)
    assert done.written == 5
    assert done.lost["times, cut to microseconds"] == 3
    assert out.read_text() == (
        "fio version 3 iolog\n0 disk_0 add\n0 disk_0 open\n0 disk_1 add\n0 disk_1 open\n"
        "0 disk_0 read 0 4096\n0 disk_1 write 1000 100\n2 disk_1 trim 0 4096\n2 disk_1 sync 0 0\n"
        "2 disk_0 write 0 512\n2 disk_0 close\n2 disk_1 close\n"
    )
    done = export(store, "it", "oracle", out, replace=True)
    assert done.lost["operations: the format does not tell reads from writes"] == 3
    assert done.lost["requests that do not begin with a sector"] == 1
    assert done.lost["volumes, put one behind the other, 8 sectors apart"] == 2


def test_names_of_volumes_stay_apart_without_blanks(store: Store, tmp_path: Path) -> None:
    rows = [(i, Op.READ, i, 0, 512) for i in range(4)]
    batch = pl.DataFrame([(*row, -1, 0, 0, "x") for row in rows], schema=schema_of(Block), orient="row")
    write(store, "it", TraceInfo(format="toy"), [batch], volumes=["a b", "a_b", "", "a\tb"])
    export(store, "it", "fio-iolog", tmp_path / "it.iolog")
    (back,) = ingest(store, [tmp_path / "it.iolog"], name="back")
    assert [volume.name for volume in back.info.volumes] == ["a_b", "a_b-1", "volume-2", "a_b-3"]


def test_nothing_half_written_is_left(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "it", [(0, Op.READ, 0, 0, 512)])
    (tmp_path / "out").write_text("what was there")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    broken = EXPORTS["mqsim"].__class__("mqsim", "", "", None, full)
    monkeypatch.setitem(EXPORTS, "mqsim", broken)
    with pytest.raises(StoreError, match="disk is full"):
        export(store, "it", "mqsim", tmp_path / "out", replace=True)
    with pytest.raises(StoreError, match="exists; --replace"):
        export(store, "it", "csv", tmp_path / "out")
    with pytest.raises(ConfigError, match="did you mean 'mqsim'"):
        export(store, "it", "mqsin", tmp_path / "out")
    with pytest.raises(StoreError, match="not a file in a folder that exists"):
        export(store, "it", "csv", tmp_path / "no" / "out")
    assert (tmp_path / "out").read_text() == "what was there"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "store"}
