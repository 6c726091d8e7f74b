"""Tools on traces of every kind: what each kind is cut, merged and sampled by, and what is refused."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.config import configured
from traces.dma import NOT_TOLD
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.made import Ingested
from traces.making import write
from traces.memory import Op
from traces.requests import PLACES
from traces.store import Store, read
from traces.table import schema_of
from traces.tools.cut import Cut, cut
from traces.tools.merge import Merge, merge
from traces.tools.rescale import Rescale, rescale
from traces.tools.sample import Sample, sample

pytestmark = pytest.mark.kernels

every_kind = pytest.mark.parametrize("kind", KINDS)
START = {"align": "start"}


def frame(kind: str, **columns: list[Any]) -> pl.DataFrame:
    """Rows of a kind; columns that are not given are 0 or empty."""
    height = len(next(iter(columns.values())))
    made = {
        name: columns.get(name, ["" if dtype == pl.String else 0] * height)
        for name, dtype in schema_of(KINDS[kind]).items()
    }
    return pl.DataFrame(made, schema=schema_of(KINDS[kind]))


def add(store: Store, kind: str, name: str, rows: int = 6, **columns: list[Any]) -> Ingested:
    """Every second row is of the second volume; times go by tens."""
    second = [i % 2 for i in range(rows)]
    by = {"config": "device", "dma": "source"}.get(kind) or PLACES.get(kind)
    given_ = {"time": [10 * i for i in range(rows)], "address": list(range(rows))} | ({by: second} if by else {})
    given_ = {key: value for key, value in given_.items() if key in schema_of(KINDS[kind])}
    batch = frame(kind, **(given_ | columns))
    return write(store, name, TraceInfo(format="toy", kind=kind), [batch], volumes=["a", "b"])


def kept(made: Ingested) -> pl.DataFrame:
    return pl.concat(read(KINDS[made.kind], made.path))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@every_kind
def test_cut_by_time_and_rows_and_rescale(store: Store, kind: str) -> None:
    whole = kept(add(store, kind, "whole"))
    part = cut(store, "whole", Cut(since=20, take=5), "part")
    assert kept(part).equals(whole[2:5].with_columns(pl.col("time") - 20))
    other = rescale(store, "whole", Rescale(factor="1/2"), "other")
    assert kept(other).equals(whole.with_columns(pl.col("time") // 2))
    assert [v.name for v in other.info.volumes] == [v.name for v in store.info(kind, "whole").volumes]


@every_kind
def test_cut_by_volume(store: Store, kind: str) -> None:
    made = add(store, kind, "whole")
    whole, names = kept(made), [volume.name for volume in made.info.volumes]
    part = cut(store, "whole", Cut(volumes=(names[-1],)), "part")
    assert [volume.name for volume in part.info.volumes] == [names[-1]]
    assert part.info.volumes[0].requests == made.info.volumes[-1].requests
    left = whole if len(names) == 1 else whole.filter(pl.int_range(6) % 2 == 1).with_columns(pl.col("time") - 10)
    if kind in PLACES:
        left = left.with_columns(pl.lit(0, pl.UInt32).alias(PLACES[kind]))
    assert kept(part).equals(left)
    with pytest.raises(ConfigError, match="no volume 'c'"):
        cut(store, "whole", Cut(volumes=("c",)), "none")


@every_kind
def test_merge_of_two(store: Store, kind: str) -> None:
    one, two = kept(add(store, kind, "one")), kept(add(store, kind, "two", 4))
    both = merge(store, ["one", "two"], configured(Merge, START | {"volumes": "shared"}), "both")
    assert kept(both).equals(pl.concat([one, two]).sort("time", maintain_order=True))
    assert both.info.rows == 10
    assert [v.name for v in both.info.volumes] == [v.name for v in store.info(kind, "one").volumes]
    if kind not in PLACES:
        with pytest.raises(ConfigError, match=f"{kind} traces have no volumes .*: .*; .* --volumes shared"):
            merge(store, ["one", "two"], configured(Merge, START), "apart")
        return
    apart = merge(store, ["one", "two"], configured(Merge, START), "apart")
    assert {v.name: v.requests for v in apart.info.volumes} == {"one:a": 3, "one:b": 3, "two:a": 2, "two:b": 2}
    assert kept(apart)[PLACES[kind]].to_list() == [0, 2, 1, 3, 0, 2, 1, 3, 0, 1]


def test_merge__of_producers_kept_apart_keeps_their_rings_apart(store: Store) -> None:
    add(store, "message", "one", 2, ring=[0, 3])
    add(store, "message", "two", 2, ring=[0, 1])
    apart = merge(store, ["one", "two"], configured(Merge, START), "apart")
    assert kept(apart)["ring"].to_list() == [0, 4, 3, 5]
    shared = merge(store, ["one", "two"], configured(Merge, START | {"volumes": "shared"}), "shared")
    assert kept(shared)["ring"].to_list() == [0, 0, 3, 1]


def test_cut__by_device_where_none_is_told(store: Store) -> None:
    add(store, "dma", "whole", 4, source=[NOT_TOLD, 8, 24, NOT_TOLD])
    assert kept(cut(store, "whole", Cut(volumes=("no device",)), "none"))["address"].to_list() == [0, 3]
    assert kept(cut(store, "whole", Cut(volumes=("0000:00:01.0", "no device")), "some"))["time"].to_list() == [
        0,
        10,
        30,
    ]
    add(store, "config", "boot", 4, device=[1, 2, 1, 2], present=[1, 0, 0, 1])
    assert kept(cut(store, "boot", Cut(volumes=("absent functions",)), "gone"))["device"].to_list() == [2, 1]


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([Op.LOAD, Op.STORE, Op.FETCH, Op.MODIFY, Op.DIRTY, Op.UNKNOWN]),
            st.integers(0, 1),
            st.integers(0, 9 * 4096),
            st.sampled_from([0, 1, 64, 4096, 10_000]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_sample__of_memory_keeps_whole_pages(
    rows: list[tuple[int, int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    op, space, address, size = map(list, zip(*rows, strict=True))
    add(store, "memory", "whole", len(rows), op=op, space=space, address=address, size=size, ip=list(range(len(rows))))
    try:
        made = sample(store, "whole", Sample(rate=0.5), "some")
    except TraceError as error:
        assert "would hold no record" in str(error)  # noqa: PT017
        return

    def touched(each: pl.DataFrame, names: list[str]) -> dict[tuple[str, int], set[tuple[int, int]]]:
        """Space and page -> which row, of which operation, used it."""
        found: dict[tuple[str, int], set[tuple[int, int]]] = {}
        for what, where, at, length, row in each.select("op", "space", "address", "size", "ip").iter_rows():
            for page in range(at // 4096, (at + max(length, 1) - 1) // 4096 + 1):
                found.setdefault((names[where], page), set()).add((row, what))
        return found

    before = touched(kept(store_made(store, "whole")), ["a", "b"])
    after = touched(kept(made), [volume.name for volume in made.info.volumes])
    assert after
    assert all(before[key] == uses for key, uses in after.items())


def store_made(store: Store, name: str) -> Ingested:
    kind, _ = store.find(name)
    path = store.trace_path(kind, name)
    return Ingested(name=name, kind=kind, info=store.info(kind, name), path=path, fresh=False, seconds=0.0)


def test_sample__takes_its_share_of_pages(store: Store) -> None:
    count = 50_000
    add(store, "memory", "whole", count, address=[i * 4096 for i in range(count)], gap=[1] * count)
    made = sample(store, "whole", Sample(rate=0.1), "some")
    assert made.info.rows == pytest.approx(5000, rel=0.05)
    assert made.info.notes["gaps, which count from accesses that may not be sampled"] == made.info.rows
    assert made.info.options["sampled"]["factor"] == pytest.approx(10)


def test_sample__does_not_cut_what_a_monitor_counted(store: Store) -> None:
    columns: dict[str, list[Any]] = {
        "op": [Op.SAMPLED] * 64,
        "size": [1 << 20] * 64,
        "address": [n << 20 for n in range(64)],
    }
    add(store, "memory", "whole", 64, **columns)
    with pytest.raises(TraceError, match=r"counted accesses in a region of 1048576 bytes, .* raise grain"):
        sample(store, "whole", Sample(rate=0.5), "some")
    made = sample(store, "whole", Sample(rate=0.5, grain=1 << 20), "some")
    assert set(kept(made)["size"]) == {1 << 20}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"block", "memory"}))
def test_sample__of_what_has_no_places_is_refused(store: Store, kind: str) -> None:
    add(store, kind, "whole")
    with pytest.raises(TraceError, match=f"sample is for block and memory traces; 'whole' is a {kind} trace"):
        sample(store, "whole", Sample(), "some")
