import json
from collections import Counter
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from scipy.stats import chisquare

from traces.block import Op
from traces.config import configured, plain
from traces.errors import ConfigError
from traces.label import Category, Clocked, Span
from traces.workloads.parts import PARTS
from traces.workloads.phases import WORKLOAD, Phases, generate

pytestmark = pytest.mark.kernels

FOUR = "oltp 3000 size=4KiB; idle 100s rate=1; sequential 2000 reads=1; zipf 500ms theta=1.1"


def config(phases: Any, **settings: Any) -> Phases:
    return configured(Phases, {"phases": phases, "capacity": "64MiB"} | settings)


@pytest.mark.parametrize("rows", [100, 2999, 1 << 20])
def test_phases__are_their_generators_one_after_the_other(rows: int) -> None:
    asked = config(FOUR, repeat=2, seed=9)
    batches = list(generate(asked, rows))
    trace = pl.concat(batches)
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert trace.height == asked.records == 2 * (3000 + 100 + 2000 + 5000)
    spans = WORKLOAD.spans(asked)
    assert [span.maker for span in spans] == ["oltp", "idle", "sequential", "zipf"] * 2
    ends = [*(span.begin for span in spans[1:]), trace.height]
    previous = -1
    for span, end in zip(spans, ends, strict=True):
        its = PARTS[span.maker]
        alone = pl.concat(its.generate(configured(its.config, json.loads(span.settings))))
        part = trace[span.begin : end]
        begin = int(part["time"][0])
        assert begin > previous
        previous = int(part["time"][-1])
        assert part.with_columns(pl.col("time") - begin).equals(alone)


def test_phases__last_as_long_as_asked() -> None:
    asked = config(FOUR)
    rows = pl.concat(generate(asked))
    spans = WORKLOAD.spans(asked)
    begins = [int(rows["time"][span.begin]) / 1e9 for span in spans] + [int(rows["time"][-1]) / 1e9]
    lasted = [other - one for one, other in pairwise(begins)]
    assert lasted == pytest.approx([0.3, 100, 0.2, 0.5], rel=0.3)


def test_phases__last_exactly_as_long_as_asked_where_arrivals_are_fixed() -> None:
    asked = config("idle 100s rate=1 arrival=fixed; zipf 500ms arrival=fixed; uniform 10")
    rows = pl.concat(generate(asked))
    assert [int(rows["time"][span.begin]) for span in WORKLOAD.spans(asked)] == [0, 100 * 10**9, 100_500_000_000]


def test_phases__occurrences_differ() -> None:
    asked = config("uniform 1000", repeat=3)
    rows = pl.concat(generate(asked))
    first, second, third = (rows[k * 1000 : (k + 1) * 1000]["address"] for k in range(3))
    assert not first.equals(second)
    assert not second.equals(third)


def test_phases__shuffled_rounds_are_permutations_all_alike() -> None:
    asked = config("uniform 1; zipf 1; oltp 1", repeat=3000, order="shuffled")
    makers = [span.maker for span in WORKLOAD.spans(asked)]
    rounds = [tuple(makers[k : k + 3]) for k in range(0, len(makers), 3)]
    counts = Counter(rounds)
    assert all(sorted(each) == ["oltp", "uniform", "zipf"] for each in counts)
    assert len(counts) == 6
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_phases__labels_are_those_of_the_generators() -> None:
    asked = config(
        "uniform 10; uniform 10 reads=1; sequential 10; sequential 10 reads=1; zipf 10; hot-cold 10; oltp 10; "
        "idle 10s; log-append 10; ai-checkpoint 10; boot-storm 30; archival 10; zipf 10 reads=0.5; "
        "zipf 10 theta=0; strided 10",
        capacity="64GiB",
    )
    assert [span.label for span in WORKLOAD.spans(asked)] == [
        Category.RAND_WRITE_UNIFORM,
        Category.READ_RANDOM,
        Category.SEQ_WRITE_LOG,
        Category.READ_SCAN,
        Category.RAND_WRITE_SKEWED,
        Category.RAND_WRITE_SKEWED,
        Category.OLTP_MIXED,
        Category.IDLE,
        Category.SEQ_WRITE_LOG,
        Category.AI_CHECKPOINT,
        Category.BOOT_STORM,
        Category.ARCHIVAL_WORM,
        Category.UNKNOWN,
        Category.RAND_WRITE_UNIFORM,
        Category.UNKNOWN,
    ]


def test_phases__default_has_every_category() -> None:
    assert {span.label for span in WORKLOAD.spans(Phases())} == set(Category) - {Category.UNKNOWN}
    rows = pl.concat(generate(Phases()))
    assert rows.height == Phases().records
    assert set(rows["op"].unique()) == {Op.READ, Op.WRITE, Op.FLUSH}


def test_phases__are_written_in_three_ways() -> None:
    text = config("zipf 200 theta=1.1 scattered=false; idle 5min")
    lines = config(["zipf 200 theta=1.1 scattered=false", "idle 5min"])
    tables = config(
        [
            {"workload": "zipf", "requests": 200, "settings": {"theta": 1.1, "scattered": False}},
            {"workload": "idle", "duration": "5min"},
        ]
    )
    assert text == lines == tables
    assert plain(text)["phases"] == ["zipf 200 theta=1.1 scattered=false", "idle 5min"]
    assert config([{"workload": "idle", "duration": 60 * 10**9}]).records == 12


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ("", "phases: .*at least 1 item"),
        ("zipf", "^phases: 'zipf' is no phase; write it like 'zipf 200000 theta=1.1' or 'idle 5min'$"),
        ("zipf theta=1.1", "'zipf theta=1.1' is no phase"),
        ("zipf 100 theta", "'zipf 100 theta' is no phase"),
        ("zip 100", r"phase 1 \(zip 100\): unknown workload 'zip'; did you mean 'zipf'"),
        ("phases 100", r"phase 1 \(phases 100\): unknown workload 'phases'"),
        ("zipf 100; uniform 5 theta=1", r"phase 2 \(uniform 5 theta=1\): unknown key 'theta'"),
        ("zipf 100 theta=-1", "phase 1 .*theta: .*greater than or equal to 0"),
        ("zipf 100 seed=4", "phase 1 .*seed is set for the whole schedule"),
        ("zipf 0", "phase 1 .*0 at a rate of 10000 is no request"),
        ("zipf 1us", "phase 1 .*1us at a rate of 10000 is no request"),
        ("zipf soon", "phase 1 .*'soon' is no amount"),
        ("lsm 100", "phase 1 .*capacity: a volume has room for 1 files"),
        ("idle 800d rate=0.001; idle 800d rate=0.001", "the phases last over 1157 days together: raise their rates"),
        ([{"workload": "zipf"}], "its keys are workload, requests or duration, and settings"),
        ([7], "7 is no phase"),
    ],
)
def test_phases__refuses(phases: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(phases)


def test_clocked__finds_the_spans_whatever_the_batches() -> None:
    times = pl.DataFrame({"time": pl.Series([0, 3, 4, 9, 10, 10, 20], dtype=pl.UInt64)})
    spans = [Span(begin, Category.IDLE, "toy", "{}") for begin in (0, 2, 4, 6)]
    for rows in range(1, 8):
        clocked = Clocked(spans, 2)
        assert pl.concat(clocked.watch(times.iter_slices(rows))).equals(times)
        (labels,) = clocked.rows()
        assert labels["began"].to_list() == [0, 0, 4, 4, 10, 10, 20, 20]
        assert labels["ended"].to_list() == [4, 4, 10, 10, 20, 20, 21, 21]
        assert labels["volume"].to_list() == [0, 1] * 4
