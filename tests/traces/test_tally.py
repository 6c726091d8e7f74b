import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import memory
from traces.block import Block, Op
from traces.info import TraceInfo, Volume
from traces.table import schema_of
from traces.tally import Tally

pytestmark = pytest.mark.kernels

request = st.tuples(
    st.integers(0, 3),  # step in time
    st.sampled_from([0, 1, 2, 3, 4, 255]),
    st.integers(0, 2),
    st.integers(0, 2).map(lambda n: n * 4096 + 100 * (n == 2)),
    st.sampled_from([0, 512, 4096]),
)


def block(requests: list[tuple[int, int, int, int, int]]) -> pl.DataFrame:
    at = 0
    rows = []
    for step, op, volume, offset, length in requests:
        at += step
        rows.append((at, op, volume, offset, length, -1, 0, 0, "x"))
    return pl.DataFrame(rows, schema=schema_of(Block), orient="row")


@given(st.lists(request, min_size=1, max_size=80), st.integers(1, 30))
def test_tally__is_a_plain_count(requests: list[tuple[int, int, int, int, int]], size: int) -> None:
    whole = block(requests)
    tally, info = Tally(), TraceInfo(format="test")
    for i in range(0, whole.height, size):
        tally.add(whole[i : i + size])
    tally.finish(info, ["a", "b", "c"])

    assert info.duplicated == whole.height - whole.n_unique()
    assert info.span == whole["time"].max()
    for number, volume in enumerate(info.volumes):
        mine = whole.filter(pl.col("volume") == number)
        assert volume.requests == mine.height
        assert volume.reads == mine.filter(pl.col("op") == Op.READ).height
        assert volume.others == volume.requests - volume.reads - volume.writes
        assert volume.bytes_written == mine.filter(pl.col("op") == Op.WRITE)["length"].sum()
        ends = mine.filter(pl.col("length") > 0).select(pl.col("address") + pl.col("length")).to_series()
        assert volume.extent == (ends.max() or 0)
    odd = whole.filter((pl.col("address") % 512 != 0) | (pl.col("length") % 512 != 0)).height
    assert info.notes.get("requests that are not whole 512-byte sectors", 0) == odd
    empty = whole.filter((pl.col("length") == 0) & pl.col("op").is_in([0, 1, 2, 4])).height
    assert info.notes.get("requests of no bytes that should have some", 0) == empty


@pytest.mark.parametrize(
    ("op", "address", "size", "extent"),
    [
        (memory.Op.LOAD, 0x1234, 0, 0x1235),  # its size is not told: a byte at least
        (memory.Op.FETCH, 0x1234, 0, 0x1235),
        (memory.Op.STORE, 0x1234, 8, 0x123C),
        (memory.Op.STORE, (1 << 64) - 1, 0, (1 << 64) - 1),  # one past the last there is has no number
    ],
)
def test_tally__extent_of_accesses_of_any_size(op: int, address: int, size: int, extent: int) -> None:
    row = dict.fromkeys(memory.Memory._fields, 0) | {"op": op, "address": address, "size": size, "raw": "x"}
    tally, info = Tally("memory"), TraceInfo(format="test", kind="memory")
    tally.add(pl.DataFrame([row], schema=schema_of(memory.Memory)))
    tally.finish(info, ["a"])
    assert info.volumes[0].extent == extent


def test_tally__finds_repeats_in_one_long_instant() -> None:
    one = block([(0, 1, 0, 4096 * (i % 1000), 4096) for i in range(3000)])
    tally, info = Tally(), TraceInfo(format="test")
    for i in range(0, 3000, 700):
        tally.add(one[i : i + 700])
    tally.finish(info, ["a"])
    assert info.duplicated == 2000


def test_tally__of_accesses_that_read_and_write_at_once() -> None:
    ops = [memory.Op.LOAD, memory.Op.MODIFY, memory.Op.MODIFY, memory.Op.MODIFY, memory.Op.FETCH]
    rows = [(i, op, 0, 0, 64 * i, 8, 1, 0, 0, 0, "x") for i, op in enumerate(ops)]
    tally, info = Tally("memory"), TraceInfo(format="test", kind="memory")
    tally.add(pl.DataFrame(rows, schema=schema_of(memory.Memory), orient="row"))
    tally.finish(info, ["a"])
    assert [info.total(what) for what in ("requests", "reads", "writes")] == [5, 4, 3]
    assert info.others == 1


def test_others__of_traces_of_older_versions() -> None:
    def older(kind: str) -> int | None:
        volume = Volume(name="a", requests=5, reads=2, writes=1)
        told = json.loads(TraceInfo(format="test", kind=kind, volumes=[volume]).to_json())
        del told["volumes"][0]["others"]
        return TraceInfo.from_json(json.dumps(told)).others

    assert older("block") == 2
    assert older("memory") is None
