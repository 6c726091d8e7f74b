from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.order import Disorder, Moves, in_time_order, merged, sorted_on_disk

times = st.lists(st.integers(0, 30), max_size=60)


def batches(values: list[int], size: int, start: int = 0) -> list[pl.DataFrame]:
    whole = pl.DataFrame(
        {"time": values, "offset": range(start, start + len(values)), "raw": [str(v) for v in values]},
        schema={"time": pl.Int64, "offset": pl.UInt64, "raw": pl.Categorical},
    )
    return [whole[i : i + size] for i in range(0, len(values), size)]


def rows(frames: list[pl.DataFrame]) -> list[tuple[int, int]]:
    return [row for f in frames for row in f.select("time", "offset").rows()]


def in_order(values: list[int], start: int = 0) -> list[tuple[int, int]]:
    return sorted(((t, start + i) for i, t in enumerate(values)), key=lambda row: row[0])


@given(times, st.integers(1, 9))
def test_in_time_order__is_a_stable_sort(values: list[int], size: int) -> None:
    moves = Moves()
    assert rows(list(in_time_order(batches(values, size), moves, held=1000))) == in_order(values)
    assert moves.backward == sum(b < a for a, b in pairwise(values))
    assert moves.moved == sum(t < max(values[:i], default=t) for i, t in enumerate(values))


@given(times, st.integers(1, 9), st.integers(0, 20))
def test_in_time_order__sorts_within_the_window_or_says_so(values: list[int], size: int, held: int) -> None:
    try:
        have = rows(list(in_time_order(batches(values, size), Moves(), held)))
    except Disorder:
        assert values != sorted(values)
    else:
        assert have == in_order(values)


def test_in_time_order__streams() -> None:
    source = iter(batches(list(range(100)), 10))
    first = next(in_time_order(source, Moves(), held=20))
    assert first["time"].to_list() == list(range(10))
    assert sum(f.height for f in source) >= 60


@given(st.lists(times, min_size=1, max_size=5), st.integers(1, 7))
def test_merged__is_one_sorted_stream(streams: list[list[int]], size: int) -> None:
    sorted_streams = [sorted(values) for values in streams]
    parts = [iter(batches(values, size, 1000 * i)) for i, values in enumerate(sorted_streams)]
    want = sorted((row for i, values in enumerate(sorted_streams) for row in in_order(values, 1000 * i)))
    assert rows(list(merged(parts))) == want


@settings(max_examples=60)
@given(values=times, run=st.integers(1, 70), fan=st.integers(2, 4))
def test_sorted_on_disk__is_the_same_sort(
    values: list[int], run: int, fan: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sort") / "spool"
    have = list(sorted_on_disk(batches(values, 7), folder, run, fan))
    assert rows(have) == in_order(values)
    assert not folder.exists()
    assert all(f["raw"].dtype == pl.Categorical for f in have)


def test_in_time_order__holds_no_more_than_twice_the_window() -> None:
    source = iter(batches(list(range(1000, 0, -1)), 10))
    with pytest.raises(Disorder):
        list(in_time_order(source, Moves(), held=50))
    assert sum(batch.height for batch in source) >= 880, "the source was read to its end before it was given up"


def test_sorted_on_disk__cleans_up_when_abandoned(tmp_path: Path) -> None:
    stream = sorted_on_disk(batches([3, 1, 2], 1), tmp_path / "spool")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "spool").exists()
