"""What is known of a trace goes on to what is made of it: labels, functions, sites, records, causes."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.block import Block, Op
from traces.config import configured
from traces.errors import TraceError
from traces.info import TraceInfo
from traces.made import Ingested
from traces.making import write
from traces.pci import Config
from traces.store import Store, read
from traces.table import columns_of, schema_of
from traces.tools.cut import Cut, cut
from traces.tools.merge import Merge, merge
from traces.tools.rescale import Rescale, rescale
from traces.tools.sample import Sample, sample
from traces.truth import TRUTHS

pytestmark = pytest.mark.kernels

LABELS = ("a", "b", "c")


class Known(NamedTuple):
    """Rows of a block trace (time, volume, address) and what is known of them."""

    rows: list[tuple[int, int, int]]
    labels: list[tuple[int, int, int, str]]  # volume, began, ended, label
    records: list[tuple[int, str]]
    causes: list[tuple[int, str, int]]

    def label(self, row: int) -> str | None:
        time, volume, _ = self.rows[row]
        return next((lab for v, began, ended, lab in self.labels if v == volume and began <= time < ended), None)


@st.composite
def traces(draw: st.DrawFn) -> Known:
    steps = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=25))
    rows, at = [], 0
    for number, (step, volume, place) in enumerate(steps):
        at += step if number else 0
        rows.append((at, volume, place * 4096))
    labels = []
    for volume in range(max(row[1] for row in rows) + 1):
        bounds = sorted({0, at + 1, *draw(st.lists(st.integers(1, at + 1), max_size=3))})
        for began, ended in pairwise(bounds):
            labels.append((volume, began, ended, draw(st.sampled_from(LABELS))))
    row = st.integers(0, len(rows) - 1)
    records = draw(st.lists(st.tuples(row, st.sampled_from(["torn", "odd"])), max_size=8, unique=True))
    causes = draw(st.lists(st.tuples(row, st.sampled_from(["block", "memory"]), row), max_size=8, unique=True))
    return Known(rows, labels, records, causes)


def frame(table: type[Any], rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(table), orient="row")


def add(store: Store, name: str, known: Known, first: int = 0) -> Ingested:
    """A trace whose rows are told apart by their latency, from ``first`` on; empty tables have no file."""
    batch = frame(Block, [(t, Op.WRITE, v, a, 8192, first + i, 0, 0, "W") for i, (t, v, a) in enumerate(known.rows)])
    truth = {
        "labels": [(*each, "maker", "{}") for each in known.labels],
        "records": known.records,
        "causes": known.causes,
    }
    told = {
        name: (lambda name=name, rows=rows: iter([frame(TRUTHS[name], rows)])) for name, rows in truth.items() if rows
    }
    volumes = [f"disk {v}" for v in range(max(row[1] for row in known.rows) + 1)]
    return write(store, name, TraceInfo(format="toy", clock="unix"), [batch], volumes=volumes, truth=told)


def truth(store: Store, name: str, which: str, kind: str = "block") -> list[tuple[Any, ...]]:
    path = store.truth_path(which, kind, name)
    if not path.exists():
        return []
    rows = pl.read_parquet(path)
    assert rows.height
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String)).rows()


def labels(store: Store, made: Ingested, parents: list[Known], *, exact: bool = True) -> None:
    """Spans follow each other, and their labels are of the rows that they were of."""
    rows = pl.concat(read(Block, made.path, ["time", "volume", "latency"])).rows()
    owner = {i: (known, row) for i, (known, row) in enumerate((k, r) for k in parents for r in range(len(k.rows)))}
    spans: dict[int, list[tuple[Any, ...]]] = {}
    for span in truth(store, made.name, "labels"):
        spans.setdefault(span[0], []).append(span)
    for volume, mine in spans.items():
        mine.sort(key=lambda span: span[1])
        assert all(span[1] < span[2] for span in mine)
        assert all(one[2] == other[1] for one, other in pairwise(mine))
        assert volume < len(made.info.volumes)
    for time, volume, latency in rows:
        if volume in spans:
            here = [span[3] for span in spans[volume] if span[1] <= time < span[2]]
            assert len(here) == 1
            known, row = owner[latency]
            assert here == [known.label(row)] or not exact


def check(store: Store, made: Ingested, parents: list[Known]) -> None:
    """Labels are of the rows that they were of; records and causes name the rows that they named."""
    labels(store, made, parents)
    now: dict[int, list[int]] = {}
    rows = pl.concat(read(Block, made.path, ["latency"]))["latency"]
    for number, latency in enumerate(rows):
        now.setdefault(latency, []).append(number)
    bases = [sum(len(known.rows) for known in parents[:i]) for i in range(len(parents))]
    want = [
        (new, told)
        for base, known in zip(bases, parents, strict=True)
        for row, told in known.records
        for new in now.get(base + row, [])
    ]
    assert sorted(truth(store, made.name, "records")) == sorted(want)
    caused = [
        (new, "block", now[base + cause][0])
        for base, known in zip(bases, parents, strict=True)
        for row, kind, cause in known.causes
        for new in now.get(base + row, [])
        if kind == "block" and base + cause in now
    ]
    assert sorted(truth(store, made.name, "causes")) == sorted(caused)
    others = sum(kind == "memory" for known in parents for _, kind, _ in known.causes)
    notes = made.info.notes
    assert notes.get("causes in traces of other kinds, whose rows may have other numbers or times now", 0) == others
    lost = sum(base + row not in now for base, k in zip(bases, parents, strict=True) for row, _ in k.records)
    assert notes.get("records of rows that are not in this trace", 0) == lost
    assert not list(store.root.rglob(".part*"))


@settings(max_examples=25)
@given(
    known=traces(),
    since=st.integers(0, 300),
    skip=st.integers(0, 9),
    take=st.one_of(st.none(), st.integers(1, 9)),
    volume=st.sampled_from([(), ("disk 0",)]),
)
def test_cut__keeps_what_is_known_of_the_rows_left(
    known: Known,
    since: int,
    skip: int,
    take: int | None,
    volume: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    add(store, "whole", known)
    try:
        made = cut(store, "whole", Cut(since=since, skip=skip, take=take, volumes=volume), "part")
    except TraceError as error:
        assert "would hold no record" in str(error)  # noqa: PT017
        assert [name for _, name in store.traces()] == ["whole"]
        return
    check(store, made, [known])
    spans = truth(store, "part", "labels")
    assert {span[0] for span in spans} == set(range(len(made.info.volumes)))
    assert min(span[1] for span in spans) == 0
    assert max(span[2] for span in spans) == made.info.span + 1


@settings(max_examples=25)
@given(known=traces(), rate=st.sampled_from([0.4, 1.0]))
def test_sample__keeps_what_is_known_of_the_parts(
    known: Known, rate: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    add(store, "whole", known)
    try:
        made = sample(store, "whole", Sample(rate=rate), "some")
    except TraceError as error:
        assert "would hold no record" in str(error)  # noqa: PT017
        return
    check(store, made, [known])


@settings(max_examples=25)
@given(known=traces(), factor=st.sampled_from(["1", "3", "7/5", "1/3", "0.01"]))
def test_rescale__scales_the_times_of_labels(
    known: Known, factor: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    add(store, "whole", known)
    made = rescale(store, "whole", Rescale(factor=factor), "other")
    assert truth(store, "other", "records") == known.records
    own = [cause for cause in known.causes if cause[1] == "block"]  # others have times of their own, and came later now
    assert truth(store, "other", "causes") == own
    note = "causes in traces of other kinds, whose rows may have other numbers or times now"
    assert made.info.notes.get(note, 0) == len(known.causes) - len(own)
    labels(store, made, [known], exact=Fraction(factor) >= 1)
    spans = truth(store, "other", "labels")
    assert max(span[2] for span in spans) == made.info.span + 1


@settings(max_examples=25)
@given(one=traces(), two=traces(), shared=st.booleans(), labelled=st.booleans())
def test_merge__keeps_what_is_known_of_each(
    one: Known, two: Known, shared: bool, labelled: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    two = two if labelled else two._replace(labels=[])
    add(store, "one", one)
    add(store, "two", two, first=len(one.rows))
    config = configured(Merge, {"align": "start", "volumes": "shared" if shared else "apart"})
    made = merge(store, ["one", "two"], config, "both")
    check(store, made, [one, two])
    told = {made.info.volumes[span[0]].name for span in truth(store, "both", "labels")}
    have = [{f"disk {row[1]}" for row in known.rows} for known in (one, two)]
    if shared:  # both begin at once: what both have is labelled twice, or by one of them
        assert told == (have[0] - have[1]) | ((have[1] - have[0]) if labelled else set())
    else:
        named = [{f"{name}:{volume}" for volume in mine} for name, mine in zip(("one", "two"), have, strict=True)]
        assert told == named[0] | (named[1] if labelled else set())


def test_merge__of_a_disk_in_two_parts_keeps_both_labels(tmp_path: Path) -> None:
    store = Store(tmp_path)
    whole = Known([(0, 0, 0), (10, 0, 0), (50, 0, 0), (90, 0, 0)], [(0, 0, 20, "a"), (0, 20, 91, "b")], [], [])
    add(store, "whole", whole)
    cut(store, "whole", Cut(take=2), "early")
    cut(store, "whole", Cut(skip=2), "late")
    merge(store, ["late", "early"], configured(Merge, {"align": "clock", "volumes": "shared"}), "again")
    assert [span[:4] for span in truth(store, "again", "labels")] == [(0, 0, 50, "a"), (0, 50, 91, "b")]


def test_the_truth_is_part_of_what_a_trace_is_made_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    known = Known([(0, 0, 0), (9, 0, 0)], [(0, 0, 10, "a")], [], [])
    add(store, "whole", known)
    assert cut(store, "whole", Cut(skip=1), "part").fresh
    assert not cut(store, "whole", Cut(skip=1), "part").fresh
    add(store, "whole", known._replace(labels=[(0, 0, 10, "b")]))
    assert cut(store, "whole", Cut(skip=1), "part").fresh
    assert [span[:4] for span in truth(store, "part", "labels")] == [(0, 0, 1, "b")]


def test_functions_and_sites_go_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [column.name for column in columns_of(Config)]

    def rows(times: list[int]) -> pl.DataFrame:
        whole = [{n: "x" if n in ("phase", "raw") else 0 for n in names} | {"time": t} for t in times]
        return pl.DataFrame(whole, schema=schema_of(Config))

    def function(device: int, began: int, ended: int) -> tuple[Any, ...]:
        return (0, 0, device, 0, began, ended, 1, 2, 0, 0, f"device {device}")

    there = [function(0, 0, 101), function(1, 0, 30), function(2, 60, (1 << 64) - 1)]
    told: dict[str, Callable[[], Any]] = {
        "functions": lambda: [frame(TRUTHS["functions"], there)],
        "sites": lambda: [frame(TRUTHS["sites"], [(64, 5, "kprobe", "90", "cc")])],
        "labels": lambda: [frame(TRUTHS["labels"], [(0, 0, 101, "boot", "m", "{}")])],
    }
    info = {"format": "toy", "kind": "config"}
    for name in ("one", "two"):
        write(store, name, TraceInfo(**info), [rows([0, 50, 100])], volumes=[], truth=told)  # type: ignore[arg-type]
    made = cut(store, "config/one", Cut(skip=1), "part")
    assert truth(store, "part", "functions", "config") == [function(0, 0, 51), function(2, 10, 51)]
    assert made.info.notes["functions that were not there in this time"] == 1
    assert truth(store, "part", "sites", "config") == [(64, 5, "kprobe", "90", "cc")]
    assert truth(store, "part", "labels", "config") == [(0, 0, 51, "boot", "m", "{}")]
    rescale(store, "config/one", Rescale(factor="0.1"), "fast")
    assert truth(store, "fast", "functions", "config") == [function(0, 0, 11), function(1, 0, 3), function(2, 6, 11)]
    both = merge(store, ["one", "two"], configured(Merge, {"align": "start", "volumes": "shared"}), "both")
    assert len(truth(store, "both", "functions", "config")) == 3
    assert len(truth(store, "both", "sites", "config")) == 1
    # the labels of both are of the whole trace, and of one time
    assert truth(store, "both", "labels", "config") == []
    assert sum("labels" in sentence for sentence in both.info.notes) == 1
