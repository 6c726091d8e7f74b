"""Tools on traces: what is kept, what the new trace says of itself, that the same one is not made twice."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.block import Block, Op
from traces.config import configured
from traces.errors import ConfigError, StrataError, TraceError
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.made import Ingested
from traces.making import write
from traces.store import Store, read
from traces.table import schema_of
from traces.tools.cut import Cut, cut
from traces.tools.merge import Merge, merge
from traces.tools.rescale import Rescale, rescale
from traces.tools.sample import Sample, sample
from traces.workloads import make

pytestmark = pytest.mark.kernels

Row = tuple[int, int, int, int, int]  # time, op, volume, address, length

request = st.tuples(
    st.integers(0, 50),  # step in time
    st.sampled_from([Op.READ, Op.WRITE, Op.DISCARD, Op.FLUSH, Op.ZONE_RESET, Op.UNKNOWN]),
    st.integers(0, 3),
    st.integers(0, 40).map(lambda n: n * 512),
    st.sampled_from([0, 512, 4096, 20_480]),
)


def in_time(steps: list[tuple[int, Op, int, int, int]]) -> list[Row]:
    at = 0
    rows: list[Row] = []
    for step, op, volume, address, length in steps:
        at += step if rows else 0
        rows.append((at, op, volume, address, length))
    return rows


traces = st.lists(request, min_size=1, max_size=40).map(in_time)


def frame(rows: list[Row]) -> pl.DataFrame:
    whole = [(t, o, v, a, n, 7 * i - 1, i % 3, i % 2, f"w{o}") for i, (t, o, v, a, n) in enumerate(rows)]
    return pl.DataFrame(whole, schema=schema_of(Block), orient="row").with_columns(pl.col("raw").cast(pl.Categorical))


def plain(batches: Iterable[pl.DataFrame]) -> list[tuple[Any, ...]]:
    return list(pl.concat(batches).with_columns(pl.col("raw").cast(pl.String)).iter_rows())


def add(store: Store, name: str, rows: list[Row], **info: Any) -> Ingested:
    volumes = [f"disk {number}" for number in range(max(row[2] for row in rows) + 1)]
    return write(store, name, TraceInfo(format="toy", **info), [frame(rows)], volumes=volumes)


def kept(made: Ingested) -> list[tuple[Any, ...]]:
    """The rows with the names of their volumes."""
    names = [volume.name for volume in made.info.volumes]
    table = KINDS[made.kind]
    rows = pl.concat(read(table, made.path)).with_columns(pl.col("raw").cast(pl.String))
    assert rows["time"][0] == 0
    assert made.info.rows == rows.height
    assert made.info.span == rows["time"][-1]
    assert all(volume.requests for volume in made.info.volumes)
    return [(*row[:2], names[row[2]], *row[3:]) for row in rows.iter_rows()]


def rebased(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(row[0] - rows[0][0], *row[1:]) for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@given(
    rows=traces,
    since=st.integers(0, 300),
    length=st.one_of(st.none(), st.integers(1, 300)),
    skip=st.integers(0, 20),
    take=st.one_of(st.none(), st.integers(1, 20)),
    volumes=st.sets(st.integers(0, 3)),
)
def test_cut__is_what_it_says(
    rows: list[Row],
    since: int,
    length: int | None,
    skip: int,
    take: int | None,
    volumes: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    whole = add(store, "whole", rows, clock="unix", origin=1000)
    have = {volume for _, _, volume, _, _ in rows}
    names = tuple(f"disk {volume}" for volume in volumes & have)
    until = None if length is None else since + length
    config = Cut(since=since, until=until, skip=skip, take=take, volumes=names)
    source = plain(read(Block, whole.path))
    want = [
        (*row[:2], f"disk {row[2]}", *row[3:])
        for i, row in enumerate(source)
        if skip <= i < (len(rows) if take is None else skip + take)
        and since <= row[0] < (1 << 60 if until is None else until)
        and (not names or f"disk {row[2]}" in names)
    ]
    if not want:
        with pytest.raises(TraceError, match="would hold no record"):
            cut(store, "whole", config, "part")
        assert store.traces() == [("block", "whole")]
        return
    made = cut(store, "whole", config, "part")
    assert kept(made) == rebased(want)
    assert made.info.origin == 1000 + want[0][0]
    assert made.info.clock == "unix"


@given(rows=traces, factor=st.sampled_from(["0.5", "3", "1/3", "7/5", "1e-3", "1"]))
def test_rescale__multiplies_every_time(rows: list[Row], factor: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from fractions import Fraction

    store = Store(tmp_path_factory.mktemp("store"))
    whole = kept(cut(store, add(store, "whole", rows, clock="unix", origin=5).name, Cut(), "same"))
    made = rescale(store, "whole", Rescale(factor=factor), "other")
    assert kept(made) == [(int(row[0] * Fraction(factor)), *row[1:]) for row in whole]
    assert (made.info.clock, made.info.origin) == ("relative", 0)


def test_rescale__of_long_times_is_exact(store: Store) -> None:
    last = (1 << 61) + 12345
    add(store, "whole", [(0, 1, 0, 0, 512), (last, 1, 0, 0, 512)], clock="ordinal")
    made = rescale(store, "whole", Rescale(factor="1000000000/999999999"), "other")
    assert made.info.span == last * 10**9 // (10**9 - 1)
    assert made.info.clock == "ordinal"
    with pytest.raises(TraceError, match="more than"):
        rescale(store, "whole", Rescale(factor="5"), "longer")


@given(one=traces, two=traces, shared=st.booleans(), clock=st.booleans())
def test_merge__keeps_both_in_time_order(
    one: list[Row], two: list[Row], shared: bool, clock: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    origins = {"one": 1_000_000, "two": 1_000_040}
    rows = []
    for name, given_rows in (("one", one), ("two", two)):
        made = add(store, name, given_rows, clock="unix", origin=origins[name])
        cut(store, name, Cut(), f"{name}-whole")  # without volumes that have no row
        for row in plain(read(Block, made.path)):
            late = origins[name] - origins["one"] if clock else 0
            volume = f"disk {row[2]}" if shared else f"{name}:disk {row[2]}"
            rows.append((row[0] + late, row[1], volume, *row[3:]))
    config = configured(Merge, {"align": "clock" if clock else "start", "volumes": "shared" if shared else "apart"})
    both = merge(store, ["one", "two"], config, "both")
    assert kept(both) == rebased(sorted(rows, key=lambda row: row[0]))
    assert (both.info.clock, both.info.origin) == (("unix", 1_000_000) if clock else ("relative", 0))


@given(rows=traces, rate=st.sampled_from([0.02, 0.3, 0.7, 1.0]), grain=st.sampled_from([512, 1536, 4096]))
def test_sample__keeps_whole_places(
    rows: list[Row], rate: float, grain: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    add(store, "whole", rows)
    try:
        made = sample(store, "whole", Sample(rate=rate, grain=grain, seed=3), "some")
    except TraceError as error:
        assert "would hold no record" in str(error)  # noqa: PT017
        return
    have = kept(made)

    def sectors(rows: list[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
        return Counter(
            (row[1], row[2], *row[5:], sector)
            for row in rows
            for sector in range(row[3] // 512, max(-(-(row[3] + row[4]) // 512), row[3] // 512 + 1))
        )

    source = [(*row[:2], f"disk {row[2]}", *row[3:]) for row in plain([frame(rows)])]
    before, after = sectors(source), sectors(have)
    assert after <= before
    # a place is there with all its requests or with none
    placed = {key for key in before if key[0] not in (Op.FLUSH, Op.ZONE_RESET)}
    chosen = {(key[1], key[-1] * 512 // grain) for key in after if key in placed}
    for key in placed:
        if (key[1], key[-1] * 512 // grain) in chosen:
            assert after[key] == before[key]
    for key in before.keys() - placed:
        assert after[key] == before[key]
    if rate == 1:
        assert [row[1:] for row in have] == [row[1:] for row in source]
    left = made.info.notes.get("requests that were not sampled", 0)
    assert left == len(rows) - len({row[-4] for row in have})  # the latency tells requests apart


def test_sample__takes_the_share_it_was_asked_for(store: Store) -> None:
    make(store, "uniform", "whole", {"requests": 200_000, "volumes": 2, "capacity": "400MiB", "size": "16KiB"})
    made = sample(store, "whole", Sample(rate=0.1), "some")
    assert made.info.options["sampled"] == {"rate": pytest.approx(0.1), "factor": pytest.approx(10), "seeds": [0]}
    assert made.info.total("bytes_written") == pytest.approx(0.1 * 200_000 * 16384, rel=0.02)
    again = sample(store, "some", Sample(rate=0.5, seed=1), "fewer")
    assert again.info.options["sampled"] == {
        "rate": pytest.approx(0.05),
        "factor": pytest.approx(20),
        "seeds": [0, 1],
    }
    assert again.info.total("bytes_written") == pytest.approx(0.05 * 200_000 * 16384, rel=0.03)
    assert again.info.options["recorded"] == "generated:uniform"
    with pytest.raises(ConfigError, match="sampled with seed 1 already"):
        sample(store, "fewer", Sample(rate=0.5, seed=1), "none")
    # the sample of a part is the part of the sample
    part = cut(store, "some", Cut(volumes=("1",)), "part-of-sample")
    other = sample(store, cut(store, "whole", Cut(volumes=("1",)), "one").name, Sample(rate=0.1), "sample-of-part")
    assert [row[1:] for row in kept(part)] == [row[1:] for row in kept(other)]


def test_sample__of_a_request_of_too_many_places_is_refused(store: Store) -> None:
    add(store, "whole", [(0, Op.DISCARD, 0, 0, 1 << 40)])
    with pytest.raises(TraceError, match="more than 16777216 places of 4096 bytes; raise grain"):
        sample(store, "whole", Sample(), "some")
    sample(store, "whole", Sample(rate=0.5, grain=1 << 24), "some")


def test_the_same_trace_is_not_made_twice(store: Store) -> None:
    add(store, "whole", [(i, 1, 0, 4096 * i, 4096) for i in range(100)], clock="unix")
    add(store, "other", [(i, 0, 0, 4096 * i, 4096) for i in range(100)], clock="unix")
    tools: dict[str, Callable[[], Ingested]] = {
        "cut": lambda: cut(store, "whole", Cut(take=7), "cut"),
        "sample": lambda: sample(store, "whole", Sample(rate=0.5), "sample"),
        "merge": lambda: merge(store, ["whole", "other"], configured(Merge, {"align": "clock"}), "merge"),
        "rescale": lambda: rescale(store, "whole", Rescale(factor="2"), "rescale"),
    }
    for name, tool in tools.items():
        made = tool()
        stamp = made.path.stat().st_mtime_ns
        again = tool()
        assert made.fresh, name
        assert not again.fresh, name
        assert again.info == made.info == store.info("block", name)
        assert made.path.stat().st_mtime_ns == stamp
    assert store.info("block", "cut").format == "cut:whole"
    assert store.info("block", "merge").options["of"] == ["whole", "other"]
    assert store.info("block", "cut").options["content"] == store.info("block", "whole").content
    with pytest.raises(TraceError, match="made with other settings: take = 7, not 8: --replace it"):
        cut(store, "whole", Cut(take=8), "cut")
    assert cut(store, "whole", Cut(take=8), "cut", replace=True).info.rows == 8


def test_what_was_odd_about_the_source_is_not_forgotten(store: Store) -> None:
    rows = [(0, 1, 0, 1, 4096), (1, 1, 0, 0, 4096), (2, 1, 0, 0, 4096)]
    info = {"notes": {"events lost": 3}}
    add(store, "whole", rows, **info)
    made = cut(store, "whole", Cut(skip=1), "part")
    assert made.info.notes == {"in whole: events lost": 3}
    assert cut(store, "whole", Cut(take=1), "odd").info.notes == {
        "in whole: events lost": 3,
        "requests that are not whole 512-byte sectors": 1,
    }


@pytest.mark.parametrize(
    ("tool", "settings", "told"),
    [
        (Cut, {"since": "5s", "until": "5s"}, "until .5000000000 ns. must be later"),
        (Cut, {"since": "-1s"}, "is no amount"),
        (Cut, {"take": 0}, "take: "),
        (Sample, {"rate": 0}, "rate: "),
        (Sample, {"rate": 1e-17}, "less than 2"),
        (Sample, {"grain": 1000}, "grain: .*multiple of 512"),
        (Rescale, {"factor": "0"}, "must be above 0"),
        (Rescale, {"factor": "fast"}, "'fast' is no factor"),
        (Rescale, {"factor": "1/0"}, "is no factor"),
        (Merge, {"align": "clocks"}, "did you mean 'clock'"),
    ],
)
def test_bad_settings_are_refused(tool: type[Any], settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(tool, settings)


def test_what_cannot_be_done_is_refused(store: Store) -> None:
    add(store, "one", [(0, 1, 0, 0, 512)], clock="unix")
    add(store, "two", [(0, 1, 0, 0, 512)], clock="relative")
    add(store, "order", [(0, 1, 0, 0, 512)], clock="ordinal")
    add(store, "sampled", [(0, 1, 0, 0, 512)], options={"sampled": {"rate": 0.5, "factor": 2, "seeds": [0]}})
    start, clock = (configured(Merge, {"align": how}) for how in ("start", "clock"))
    mistakes: list[tuple[str, Callable[[], Any]]] = [
        ("no volume 'disk 1'; did you mean 'disk 0'", lambda: cut(store, "one", Cut(volumes=("disk 1",)), "x")),
        ("did you mean 'one'", lambda: cut(store, "on", Cut(), "x")),
        ("one trace of two or more; one is not enough", lambda: merge(store, ["one"], start, "x")),
        ("each trace once; named more than once: one$", lambda: merge(store, ["one", "one"], start, "x")),
        ("two has a clock that is relative", lambda: merge(store, ["one", "two"], clock, "x")),
        ("an order of requests and times cannot be merged", lambda: merge(store, ["one", "order"], start, "x")),
        ("sampled at different rates", lambda: merge(store, ["one", "sampled"], start, "x")),
        ("exists, made otherwise", lambda: cut(store, "one", Cut(), "two")),
    ]
    for told, tool in mistakes:
        with pytest.raises(StrataError, match=told):
            tool()
    assert len(store.traces()) == 4
    assert not store.leftovers()


def test_cutting_by_batches_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(store, "uniform", "whole", {"requests": 5000, "volumes": 3, "capacity": "1MiB", "reads": 0.5})
    make(store, "uniform", "other", {"requests": 4000, "volumes": 2, "capacity": "1MiB", "size": "16KiB"})
    start = configured(Merge, {"align": "start"})

    def contents(tag: str) -> list[str]:
        return [
            cut(store, "whole", Cut(since=10**7, skip=100), f"cut-{tag}").info.content,
            sample(store, "other", Sample(rate=0.4), f"sample-{tag}").info.content,
            merge(store, ["whole", "other"], start, f"merge-{tag}").info.content,
        ]

    whole = contents("a")
    monkeypatch.setattr("traces.tools.merge.ROWS", 700)
    monkeypatch.setattr("traces.tools.merge._ROWS_AT_LEAST", 10)
    monkeypatch.setattr("traces.tools.sample._ROWS", 333)
    monkeypatch.setattr("traces.tools.sample._PARTS", 50)
    assert contents("b") == whole
