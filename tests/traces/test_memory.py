from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.memory import Memory, Op
from traces.store import Store, read
from traces.table import schema_of
from traces.tally import Tally
from traces.writer import TraceWriter

pytestmark = pytest.mark.kernels

access = st.tuples(st.sampled_from(list(Op)), st.integers(0, 2), st.integers(0, 2**48), st.sampled_from([0, 1, 8, 64]))


def accesses(rows: list[tuple[Op, int, int, int]]) -> pl.DataFrame:
    full = [(i // 3, op, space, 0, address, size, 1, 0, 0, 0, "x") for i, (op, space, address, size) in enumerate(rows)]
    return pl.DataFrame(full, schema=schema_of(Memory), orient="row")


@given(st.lists(access, min_size=1, max_size=60), st.integers(1, 20))
def test_tally__counts_a_modify_as_load_and_store(rows: list[tuple[Op, int, int, int]], size: int) -> None:
    whole = accesses(rows)
    tally, info = Tally("memory"), TraceInfo(format="test", kind="memory")
    for i in range(0, whole.height, size):
        tally.add(whole[i : i + size])
    tally.finish(info, ["a", "b", "c"])
    both = {Op.MODIFY}
    assert info.total("requests") == len(rows)
    assert info.total("reads") == sum(op in {Op.LOAD, *both} for op, *_ in rows)
    assert info.total("writes") == sum(op in {Op.STORE, *both} for op, *_ in rows)
    assert info.total("bytes_written") == sum(size for op, _, _, size in rows if op in {Op.STORE, *both})
    assert info.duplicated == 0  # loops, no mistakes
    assert set(info.notes) <= {"accesses of an operation that is not known"}


def test_memory_traces__are_kept_like_any_other(tmp_path: Path) -> None:
    assert KINDS["memory"] is Memory
    store, rows = Store(tmp_path), accesses([(Op.LOAD, 0, 64, 8), (Op.STORE, 0, 72, 8)])
    with TraceWriter(store, "m", TraceInfo(format="test", kind="memory")) as writer:
        writer.write(rows)
        writer.finish()
    assert pl.concat(read(Memory, store.trace_path("memory", "m"))).equals(rows)
    assert store.find("m") == ("memory", "m")
