"""The kinds beside block: kept, counted, shown to SQL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.dma import NOT_TOLD, Dma, Event
from traces.formats._rows import rows
from traces.info import TraceInfo
from traces.ingest import ingest
from traces.kinds import KINDS
from traces.message import Message
from traces.message import Op as Written
from traces.patch import Text
from traces.pci import Config, Op, Presence
from traces.store import Store, read
from traces.table import columns_of, name_of, schema_of
from traces.tally import Tally

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[1] / "golden"


def kept(table: type[Any], **columns: Any) -> pl.DataFrame:
    """Rows as they are in the store."""
    made = rows(table, len(next(iter(columns.values()))), **columns)
    return made.with_columns(pl.col("time").cast(pl.UInt64))


def tallied(kind: str, whole: pl.DataFrame, size: int, names: Sequence[str] = ()) -> TraceInfo:
    tally, info = Tally(kind), TraceInfo(format="test", kind=kind)
    for i in range(0, whole.height, size):
        tally.add(whole[i : i + size])
    tally.finish(info, names)
    return info


def test_kinds__are_called_as_their_tables() -> None:
    assert {"config", "dma", "text", "message"} <= set(KINDS)
    for kind, table in KINDS.items():
        assert name_of(table) == kind


@pytest.mark.parametrize("table", [Config, Dma, Text, Message])
def test_columns__can_be_written_in_sql_as_they_are_called(table: type[Any]) -> None:
    with duckdb.connect() as db:
        frame = pl.DataFrame(schema=schema_of(table)).to_arrow()
        db.execute(f"CREATE VIEW {name_of(table)} AS SELECT * FROM frame")
        for column in columns_of(table):
            db.execute(f"SELECT {column.name} FROM {name_of(table)} WHERE {column.name} IS NOT NULL GROUP BY ALL")
        assert frame.num_rows == 0


config = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.sampled_from([0, 1, 255]), st.integers(0, 1), st.integers(0, 2)
)


@given(st.lists(config, min_size=1, max_size=60), st.integers(1, 20))
def test_config__is_counted_by_function(given_: list[tuple[int, ...]], size: int) -> None:
    op, width, bus, device, present = map(list, zip(*given_, strict=True))
    time = [i // 3 for i in range(len(op))]
    whole = kept(Config, time=time, op=op, width=width, bus=bus, device=device, present=present)
    info = tallied("config", whole, size)
    assert info.total("requests") == whole.height
    assert info.total("reads") == op.count(Op.READ)
    assert info.total("bytes_written") == sum(w for o, w in zip(op, width, strict=True) if o == Op.WRITE)
    assert info.duplicated == whole.height - whole.n_unique()
    absent = pl.col("present") == Presence.ABSENT
    found = {volume.name: volume.requests for volume in info.volumes}
    assert found.pop("absent functions", 0) == whole.filter(absent).height
    others = whole.filter(~absent).group_by("bus", "device").len()
    assert found == {f"0000:{b:02x}:{d:02x}.0": n for b, d, n in others.iter_rows()}


dma = st.tuples(
    st.sampled_from([Event.ACCESS, Event.MAP]), st.sampled_from([0x18, 0x10100, NOT_TOLD]), st.integers(0, 2)
)


@given(st.lists(dma, min_size=1, max_size=60), st.integers(1, 20))
def test_dma__is_counted_by_device(given_: list[tuple[int, ...]], size: int) -> None:
    event, source, write = map(list, zip(*given_, strict=True))
    time = [i // 3 for i in range(len(event))]
    whole = kept(Dma, time=time, event=event, source=source, write=write, size=[512] * len(event))
    info = tallied("dma", whole, size)
    writes = whole.filter(pl.col("event") == Event.ACCESS, pl.col("write") == 1).height
    assert (info.total("writes"), info.total("bytes_written")) == (writes, 512 * writes)
    assert info.total("requests") == whole.height
    assert info.duplicated == whole.height - whole.n_unique()
    names = {0x18: "0000:00:03.0", 0x10100: "0001:01:00.0", NOT_TOLD: "no device"}
    counts = dict(whole.group_by("source").len().iter_rows())
    assert {volume.name: volume.requests for volume in info.volumes} == {names[s]: n for s, n in counts.items()}


message = st.tuples(st.sampled_from([0, 1, 2, 255]), st.integers(0, 2), st.integers(0, 1), st.integers(0, 1))


@given(st.lists(message, min_size=1, max_size=60), st.integers(1, 20))
def test_message__is_counted_by_producer(given_: list[tuple[int, ...]], size: int) -> None:
    op, producer, ring, sequence = map(list, zip(*given_, strict=True))
    time = [i // 3 for i in range(len(op))]
    columns = {"op": op, "producer": producer, "ring": ring, "sequence": sequence, "length": [100] * len(op)}
    whole = kept(Message, time=time, **columns)
    info = tallied("message", whole, size, ["a", "b", "c"])
    counts = dict(whole.group_by("producer").len().iter_rows())
    assert {v.name: v.requests for v in info.volumes if v.requests} == {"abc"[p]: n for p, n in counts.items()}
    published = op.count(Written.PUBLISHED)
    assert (info.total("requests"), info.total("reads")) == (whole.height, 0)
    assert (info.total("writes"), info.total("bytes_written")) == (published, 100 * published)
    assert info.duplicated == whole.height - whole.n_unique()
    odd = {"records of which it is not known whether they were published": op.count(Written.UNKNOWN)}
    assert info.notes == {sentence: count for sentence, count in odd.items() if count}


def test_text__is_counted_as_writes() -> None:
    whole = kept(
        Text,
        time=[0, 0, 0],
        address=[16, 16, 16],
        length=[5, 5, 5],
        new=pl.Series(["a", "b", "b"], dtype=pl.Categorical),
    )
    info = tallied("text", whole, 2)
    assert [(v.name, v.writes, v.bytes_written, v.extent) for v in info.volumes] == [("kernel text", 3, 15, 21)]
    assert info.duplicated == 1


@pytest.mark.parametrize("name", ["q35-ovmf-none.qemu.log.zst", "q35-ovmf-none.tsv.zst"])
def test_a_recording__is_kept_and_found(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    (one,) = ingest(store, [GOLDEN / name], name="boot")
    assert (one.kind, one.info.rows, one.info.total("reads"), one.info.total("writes")) == ("config", 5515, 4768, 747)
    assert store.find("boot") == ("config", "boot")
    back = pl.concat(read(Config, store.trace_path("config", "boot")))
    assert dict(back.with_columns(pl.col(pl.Categorical).cast(pl.String)).schema) == schema_of(Config)
    assert back["phase"].cast(pl.String).unique().to_list() == ["firmware"]
    names = {volume.name: volume.requests for volume in one.info.volumes}
    assert names["absent functions"] == 426
    assert len(names) == 1 + 11


def test_a_recording_in_disorder__keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"7@{9000 - i}.000001:pci_cfg_read d{i % 3} 00:00.0 @0x0 -> 0x1\n" for i in range(3000)))
    monkeypatch.setattr("traces.ingest.HELD", 1 << 4)
    monkeypatch.setattr("traces.ingest._MINIMUM_HELD", 1 << 4)
    monkeypatch.setattr("traces.formats._template._CHUNK", 1000)
    (one,) = ingest(Store(tmp_path), [path])
    back = pl.concat(read(Config, one.path))
    assert back["time"].is_sorted()
    assert back["raw"].cast(pl.String)[:4].to_list() == ["d2", "d1", "d0", "d2"]
    assert one.info.moved == 2999
