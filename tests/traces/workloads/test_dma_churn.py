from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare, kstest

from tests.reference.dma import PAGE, Mappings
from traces.config import configured
from traces.errors import ConfigError
from traces.workloads.dma_churn import DmaChurn, generate, spans, truth

pytestmark = pytest.mark.kernels


def trace(**asked: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(DmaChurn, {"events": 40_000} | asked)))


def records(**asked: Any) -> dict[int, str]:
    told = truth(configured(DmaChurn, {"events": 40_000} | asked))
    return {row: word for rows in told.get("records", ()) for row, word in rows.rows()}


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    devices = draw(st.integers(1, 6))
    orders = sorted((draw(st.integers(0, 4)), draw(st.integers(0, 4))))
    strategy = draw(st.sampled_from(["strict", "lazy", "pool", "passthrough"]))
    unmaps = strategy in {"strict", "lazy"}
    return {
        "events": draw(st.integers(1, 3000)),
        "devices": devices,
        "domains": draw(st.integers(1, devices)),
        "depth": draw(st.integers(1, 5)),
        "strategy": strategy,
        "smallest": PAGE << orders[0],
        "largest": PAGE << orders[1],
        "access": 64 << draw(st.integers(0, 11)),
        "batch": draw(st.integers(1, 12)),
        "patience": draw(st.sampled_from(["2us", "1ms", "1s"])),
        "ats": draw(st.floats(0, 1)) if strategy != "passthrough" else 0,
        "interrupts": draw(st.booleans()),
        "stale": draw(st.sampled_from([0, 0.2])) if unmaps else 0,
        "false_translated": draw(st.sampled_from([0, 0.2])),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


@given(asked=asked())
@settings(max_examples=60)
def test_dma__accesses_are_covered_when_they_are_made(asked: dict[str, Any]) -> None:
    special = records(**asked)
    live, seen = Mappings(), set()
    for number, row in enumerate(trace(**asked).iter_rows(named=True)):
        live.step(row)
        if row["event"] != 0:
            assert number not in special
            continue
        seen.add(row["raw"])
        if number not in special:
            if asked["strategy"] == "passthrough":
                assert row["address"] == row["target"]
            elif row["raw"] == "translated":
                assert row["address"] == row["target"]
                assert live.holds(row)
            else:
                assert live.covers(row)
        elif special[number] == "stale-window":
            assert live.left(row)
        elif special[number] == "use-after-unmap":
            assert not live.left(row)
            assert (row["domain"], row["address"] // PAGE) not in live.live
            assert row["target"] == 0
        else:
            assert row["raw"] == "translated"
    assert set(special) <= set(range(asked["events"]))
    assert seen <= {"access", "translation", "translated"}


@given(asked=asked(), rows=st.integers(1, 500))
@settings(max_examples=30)
def test_dma__batch_size_changes_nothing(asked: dict[str, Any], rows: int) -> None:
    config = configured(DmaChurn, asked)
    batches = list(generate(config, rows))
    assert [batch.height for batch in batches[:-1]] == [rows] * (len(batches) - 1)
    assert pl.concat(batches).equals(trace(**asked))


def test_dma__strict_invalidates_and_waits_for_every_unmap() -> None:
    rows = trace(strategy="strict", devices=4, ats=0.5)
    words = rows["raw"].cast(pl.String).to_list()[:-4]
    sources = rows["source"].to_list()
    unmaps = [n for n, word in enumerate(words) if word == "unmap"]
    assert len(unmaps) > 500
    for n in unmaps:
        follow = ["iotlb-pages", "device-tlb", "wait"] if sources[n] in {256, 264} else ["iotlb-pages", "wait"]
        assert words[n + 1 : n + 1 + len(follow)] == follow
    assert rows.filter(pl.col("raw") == "iotlb-domain").is_empty()


def test_dma__lazy_flushes_by_number_or_by_age() -> None:
    many = trace(strategy="lazy", devices=2, domains=1, batch=50, patience="100s")
    words = many.filter(pl.col("raw").is_in(["unmap", "iotlb-domain"]))["raw"].cast(pl.String).to_list()
    flushes = [n for n, word in enumerate(words) if word == "iotlb-domain"]
    assert len(flushes) > 5
    assert np.diff([-1, *flushes]).tolist() == [51] * len(flushes)
    old = trace(strategy="lazy", devices=2, domains=1, batch=5000, patience="1ms")
    unmapped, waited = 0, []
    for row in old.filter(pl.col("raw").is_in(["unmap", "iotlb-domain"])).iter_rows(named=True):
        if row["raw"] == "unmap":
            unmapped = unmapped or row["time"]
        else:
            waited.append(row["time"] - unmapped)
            unmapped = 0
    assert len(waited) > 10
    assert min(waited) >= 0.999e6
    assert np.median(waited) < 1.2e6


def test_dma__pool_maps_once() -> None:
    rows = trace(strategy="pool", devices=3, domains=2, depth=7)
    assert rows["raw"].cast(pl.String).to_list()[:21] == ["map"] * 21
    assert set(rows["raw"][21:].cast(pl.String)) == {"access"}
    assert rows["phase"].cast(pl.String).to_list() == ["setup"] * 21 + ["churn"] * (40_000 - 21)
    config = configured(DmaChurn, {"strategy": "pool", "devices": 3, "domains": 2, "depth": 7})
    assert [(span.begin, span.label) for span in spans(config)] == [(0, "setup"), (21, "churn")]


def test_dma__addresses_are_given_out_from_the_top() -> None:
    rows = trace(strategy="strict", devices=1, domains=1, depth=8, smallest=PAGE, largest=PAGE, access=PAGE)
    maps = rows.filter(pl.col("raw") == "map")["address"].to_list()
    assert max(maps) == (1 << 32) - PAGE
    assert set(maps) == {(1 << 32) - PAGE * n for n in range(1, 9)}  # those given back are taken again
    large = trace(devices=16, depth=4096, domains=1, smallest="2MiB", largest="2MiB", events=70_000)
    maps = large.filter(pl.col("raw") == "map")["address"].to_list()
    assert max(maps) == (1 << 47) - (1 << 21)
    assert all(address % (1 << 21) == 0 for address in maps)


def test_dma__shares_are_those_asked_for() -> None:
    rows = trace(events=400_000, writes=0.3, smallest=PAGE, largest="16KiB", devices=5, access=PAGE)
    maps = rows.filter(pl.col("raw") == "map")
    sizes = maps["size"].value_counts().sort("size")
    assert sizes["size"].to_list() == [4096, 8192, 16384]
    assert chisquare(sizes["count"].to_numpy()).pvalue > 1e-3
    assert chisquare(maps["source"].value_counts()["count"].to_numpy()).pvalue > 1e-3
    first = rows.filter((pl.col("raw") == "access") & (pl.col("size") == PAGE))
    whole = first.group_by("target").agg(pl.col("write").first())
    n = whole.height
    assert binom.ppf(1e-6, n, 0.3) <= whole["write"].sum() <= binom.ppf(1 - 1e-6, n, 0.3)
    places = (maps["target"] - (1 << 32)) / (16 << 30)
    assert kstest(places.to_numpy(), "uniform").pvalue > 1e-3


def test_dma__steps_come_at_the_rate() -> None:
    rows = trace(events=300_000, strategy="passthrough", rate=1e6, command=1)
    accesses = rows.filter(pl.col("event") == 0)
    assert accesses.height / (int(rows["time"][-1]) / 1e9) == pytest.approx(1e6, rel=0.02)
    long = trace(strategy="passthrough", smallest="2MiB", largest="2MiB", rate=1e4, command=1)  # 512 accesses each
    gaps = np.diff(long["time"].to_numpy()[:20_000]).astype(np.float64)
    assert kstest(gaps, "expon", args=(0, 1e5 * 512 / 514)).pvalue > 1e-3


def test_dma__a_command_lasts_as_told() -> None:
    rows = trace(strategy="strict", command=700)
    n = rows["raw"].cast(pl.String).to_list().index("unmap")
    times = rows["time"].to_list()
    assert times[n + 1] - times[n] in {699, 700, 701}
    assert times[n + 2] - times[n + 1] in {699, 700, 701}


def test_dma__wrong_accesses_have_their_shares() -> None:
    asked = {"events": 300_000, "stale": 0.05, "false_translated": 0.1, "devices": 4, "ats": 0.5, "domains": 4}
    special, rows = records(**asked), trace(**asked)
    accesses = rows.filter((pl.col("event") == 0) & (pl.col("raw") != "translation"))
    words = list(special.values())
    stale = words.count("use-after-unmap") + words.count("stale-translated")
    assert stale / accesses.height == pytest.approx(0.05, rel=0.1)
    without = accesses.filter(pl.col("source") >= 272).height
    assert words.count("false-translated") / without == pytest.approx(0.095, rel=0.1)
    false = rows[[row for row, word in special.items() if word == "false-translated"]]
    assert false["source"].min() == 272
    assert words.count("stale-translated") > 1000
    lazy = records(**asked | {"strategy": "lazy", "ats": 0})
    assert "stale-window" in lazy.values()


def test_dma__devices_with_ats_ask_once_a_page() -> None:
    rows = trace(ats=1, access=1024, smallest="8KiB", largest="8KiB", devices=1, domains=1, depth=1)
    words = [word for word in rows["raw"].cast(pl.String) if word in {"translation", "translated", "map"}]
    assert words[:11] == ["map", *(["translation", *["translated"] * 4] * 2)]


def test_dma__interrupts_end_transfers() -> None:
    rows = trace(interrupts=True, devices=3)
    interrupts = rows.filter(pl.col("raw") == "interrupt")
    assert interrupts.height == rows.filter(pl.col("raw") == "unmap").height
    assert set(interrupts.select("source", "address", "target").rows()) == {
        (256, 0, 0x30),
        (264, 1, 0x31),
        (272, 2, 0x32),
    }
    assert trace(interrupts=False).filter(pl.col("raw") == "interrupt").is_empty()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"access": 1000}, "access is 1000 bytes: not a power of two"),
        ({"smallest": "64KiB", "largest": "8KiB"}, r"smallest \(65536 bytes\) is more than largest \(8192 bytes\)"),
        ({"devices": 2, "domains": 3}, "3 domains are more than 2 devices"),
        ({"devices": 1024, "depth": 4096}, r"devices \* depth is 65536 at most"),
        ({"strategy": "pool", "stale": 0.1}, "stale: the strategy pool unmaps nothing"),
        ({"strategy": "passthrough", "ats": 1}, "ats: with passthrough there is nothing to translate"),
        ({"strategy": "lasy"}, "did you mean 'lazy'"),
        ({"events": 1 << 40, "rate": 1}, "last too long: raise rate"),
    ],
)
def test_dma__refuses_what_cannot_be(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(DmaChurn, asked)
