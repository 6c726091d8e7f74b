import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.block import Block, Op
from traces.info import TraceInfo
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
        assert volume.bytes_written == mine.filter(pl.col("op") == Op.WRITE)["length"].sum()
        ends = mine.filter(pl.col("length") > 0).select(pl.col("address") + pl.col("length")).to_series()
        assert volume.extent == (ends.max() or 0)
    odd = whole.filter((pl.col("address") % 512 != 0) | (pl.col("length") % 512 != 0)).height
    assert info.notes.get("requests that are not whole 512-byte sectors", 0) == odd
    empty = whole.filter((pl.col("length") == 0) & pl.col("op").is_in([0, 1, 2, 4])).height
    assert info.notes.get("requests of no bytes that should have some", 0) == empty


def test_tally__finds_repeats_in_one_long_instant() -> None:
    one = block([(0, 1, 0, 4096 * (i % 1000), 4096) for i in range(3000)])
    tally, info = Tally(), TraceInfo(format="test")
    for i in range(0, 3000, 700):
        tally.add(one[i : i + 700])
    tally.finish(info, ["a"])
    assert info.duplicated == 2000
