from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from tests.reference.kernel_text import KernelText, Registry
from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.text_patches import TextPatches, generate, spans, truth

pytestmark = pytest.mark.kernels

ATTEMPTS = ("direct", "strangers", "unlisted", "overlong", "different", "breakpoints")
QUIET = dict.fromkeys(("jump_rate", "call_rate", "tracer_rate", "bpf_rate", "kprobe_rate", "module_rate"), 0)
SMALL = {"text": "1MiB", "tracers": 20, "tracer_sites": 4, "module_sites": 6, "jump_labels": 50}


def trace(**asked: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(TextPatches, {"writes": 30_000} | asked)))


def told(**asked: Any) -> tuple[pl.DataFrame, dict[int, str]]:
    tables = truth(configured(TextPatches, {"writes": 30_000} | asked))
    records = {row: word for rows in tables.get("records", ()) for row, word in rows.rows()}
    return pl.concat(tables["sites"]), records


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    return SMALL | {
        "writes": draw(st.integers(1, 2000)),
        "key_sites": draw(st.integers(1, 5)),
        "alternatives": draw(st.integers(0, 60)),
        "straddling": draw(st.sampled_from([0, 0.3, 1])),
        "skew": draw(st.floats(0, 3)),
        "module_rate": draw(st.sampled_from([0, 20])),
        "kprobe_rate": draw(st.sampled_from([0, 20])),
        **{each: draw(st.sampled_from([0, 0.05])) for each in ATTEMPTS},
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


@given(asked=asked())
@settings(max_examples=60)
def test_text__old_is_what_was_written_there_last(asked: dict[str, Any]) -> None:
    sites, records = told(**asked)
    text, registry = KernelText(), Registry(sites.iter_rows(named=True))
    for number, row in enumerate(trace(**asked).iter_rows(named=True)):
        assert row["length"] == max(len(row["old"]), len(row["new"])) // 2
        assert text.matches(row["address"], row["length"], row["old"])
        assert registry.verdict(row) == records.get(number, "")
        if number not in records:
            text.put(row["address"], row["length"], row["new"])


@given(asked=asked(), rows=st.integers(1, 500))
@settings(max_examples=30)
def test_text__batch_size_changes_nothing(asked: dict[str, Any], rows: int) -> None:
    batches = list(generate(configured(TextPatches, asked), rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(**asked))


def test_text__five_bytes_are_written_in_three_steps() -> None:
    rows = trace(**QUIET | {"jump_rate": 50}, key_sites=2, alternatives=0, wait="30us", write_time="1us")
    for begin in range(0, 29_994, 6):
        patch = rows[begin : begin + 6]
        one, two = patch["address"][:2].to_list()
        assert patch["address"].to_list() == [one, two, one + 1, two + 1, one, two]
        assert patch["length"].to_list() == [1, 1, 4, 4, 1, 1]
        assert patch["raw"].cast(pl.String).to_list() == [
            *("breakpoint", "breakpoint", "tail", "tail", "first", "first"),
        ]
        assert patch["new"].cast(pl.String)[:2].to_list() == ["cc", "cc"]
        assert patch["cpu"].n_unique() == patch["pid"].n_unique() == 1
        gaps = np.diff(patch["time"].to_numpy()).astype(float)
        assert np.abs(gaps - [1000, 31_000, 1000, 31_000, 1000]).max() <= 1
    whole = set(rows["new"].cast(pl.String).to_list())
    assert {"1f440000", "0f", "e9", "cc"} <= whole


def test_text__patches_come_at_their_rates() -> None:
    rates = {"jump_rate": 30, "call_rate": 20, "tracer_rate": 5, "bpf_rate": 10, "kprobe_rate": 25, "module_rate": 2}
    rows = trace(writes=400_000, alternatives=0, tracer_sites=2, module_sites=3, wait=0, write_time=1, **rates)
    begins = rows.filter(
        (pl.col("cpu") != pl.col("cpu").shift(1))
        | (pl.col("pid") != pl.col("pid").shift(1))
        | (pl.int_range(pl.len()) == 0)
    )
    counts = dict(begins["procedure"].cast(pl.String).value_counts().rows())
    names = ("jump_label", "static_call", "ftrace", "bpf_trampoline", "kprobe", "module")
    have = np.array([counts[name] for name in names])
    want = np.array([*rates.values()]) / 92
    assert chisquare(have, want * have.sum()).pvalue > 1e-3
    gaps = np.diff(begins["time"].to_numpy()[:20_000]).astype(float)
    assert kstest(gaps, "expon", args=(0, 1e9 / 92)).pvalue > 1e-3
    assert chisquare(begins["cpu"].value_counts()["count"].to_numpy()).pvalue > 1e-3


def test_text__sites_are_patched_by_zipf() -> None:
    rows = trace(
        **QUIET | {"kprobe_rate": 100},
        writes=200_000,
        kprobes=200,
        skew=1.0,
        alternatives=0,
        wait=0,
    )
    have = rows["address"].value_counts()["count"].sort(descending=True).to_numpy()
    law = 1 / np.arange(1, 201)
    assert chisquare(have[:100], law[:100] / law[:100].sum() * have[:100].sum()).pvalue > 1e-4


def test_text__boot_patches_every_alternative_once_in_order() -> None:
    rows = trace(alternatives=700)
    boot = rows[:700]
    assert set(boot["procedure"].cast(pl.String)) == {"alternatives"}
    assert boot["address"].is_sorted()
    assert boot["address"].n_unique() == 700
    assert "alternatives" not in set(rows["procedure"][700:].cast(pl.String))
    lengths = boot["length"]
    assert (lengths.min(), lengths.max()) == (2, 15)
    config = configured(TextPatches, {"alternatives": 700})
    assert [(span.begin, span.label) for span in spans(config)] == [(0, "boot"), (700, "patches")]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_text__so_many_sites_straddle_pages(share: float) -> None:
    sites = told(straddling=share, kprobes=0, kprobe_rate=0, text="64MiB")[0].unique("address")
    across = (sites["address"] % 4096 + sites["length"] > 4096).mean()
    assert across == pytest.approx(share, abs=0.02)


def test_text__sites_do_not_overlap() -> None:
    sites = told(straddling=0.3)[0].unique("address").sort("address")
    ends = sites["address"] + sites["length"]
    assert (ends[:-1] <= sites["address"][1:]).all()
    assert sites.height == 400 * 3 + 100 + 1600 + 50 + 100 + 400 + 1000


def test_text__attempts_have_their_shares_and_verdicts() -> None:
    shares = dict(zip(ATTEMPTS, (0.01, 0.02, 0.03, 0.04, 0.05, 0.06), strict=True))
    asked = {"writes": 300_000, "alternatives": 0, "tracer_rate": 0, "module_rate": 0, "key_sites": 1} | shares
    _, records = told(**asked)
    rows = trace(**asked)
    begins = rows.filter(pl.col("raw").cast(pl.String).is_in(["tail", "first"]).not_()).height
    special = rows[list(records)].with_columns(verdict=pl.Series(list(records.values())))
    counts = dict(special["verdict"].value_counts().rows())
    want = {"direct-write": 0.01, "unknown-procedure": 0.02, "unknown-site": 0.03 + 0.06, "bytes-differ": 0.04 + 0.05}
    for verdict, share in want.items():
        assert counts[verdict] / begins == pytest.approx(share, rel=0.05)
    kprobes = special.filter(pl.col("raw").cast(pl.String) == "breakpoint")
    assert set(kprobes["new"].cast(pl.String)) == {"cc"}
    assert set(kprobes["verdict"]) == {"unknown-site"}
    longer = special.filter(pl.col("raw").cast(pl.String) == "overlong")
    assert set(longer["length"]) == {8}


def test_text__modules_come_and_go_whole() -> None:
    rows = trace(**QUIET | {"module_rate": 5}, modules=3, module_sites=4, alternatives=0)
    paths = rows["path"].cast(pl.String).to_list()
    assert paths[:8] == ["module_alloc"] * 4 + ["text_poke_early"] * 4
    assert set(rows.filter(pl.col("path") == "module_alloc")["old"].cast(pl.String)) == {""}
    assert set(rows.filter(pl.col("path") == "module_memfree")["new"].cast(pl.String)) == {""}
    assert rows["symbol"].cast(pl.String).str.starts_with("module_").all()


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"text": "64KiB"}, "sites; text of 65536 bytes has room for 736: raise text"),
        (QUIET, "all rates are 0: nothing would be patched"),
        ({"kprobes": 0}, "kprobe: patched 5 times a second, and has no sites"),
        ({"direct": 0.7, "unlisted": 0.7}, "attempts are 1.4 of the patches; 1 at most"),
        ({"writes": 1 << 36, "jump_rate": 1}, "last too long: raise rates"),
        ({"skew": -1}, "skew: "),
    ],
)
def test_text__refuses_what_cannot_be(asked: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        configured(TextPatches, asked)
