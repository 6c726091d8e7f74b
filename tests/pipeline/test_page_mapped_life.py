"""A page-mapped drive whose flash wears and takes time: whatever is asked of it, its books balance."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl._page_mapped_config import PageMappedConfig
from pipeline.ftl.config import Layout, Prefill
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.nand.model import Acknowledge, Cell, Loop
from pipeline.ftl.page_mapped import STAGE
from pipeline.ftl.placement import HOST_PLACEMENTS
from pipeline.ftl.replay import Request
from pipeline.ftl.victim import Victim
from pipeline.ftl.wear.config import Levelling, Rber, Retirement, Spread
from traces.config import configured, idle_keys, plain, spelled
from traces.errors import ConfigError, IdleKeyError
from traces.info import TraceInfo, Volume
from traces.table import frame, name_of, schema_of

pytestmark = pytest.mark.kernels

PAGE = 512
PAGES = 400
DAY = 86_400_000_000_000
Tables = dict[str, pl.DataFrame]


def trace(many: int, volumes: int = 1, seed: int = 1, step: int = 50_000) -> pl.DataFrame:
    """Skewed overwrites, a tenth of reads, some discards, flushes and parts of pages."""
    chance = np.random.default_rng(seed)
    page = (chance.random(many) ** 2 * PAGES).astype(np.uint64)
    op = chance.choice([0, 1, 2, 3, 4], many, p=[0.1, 0.84, 0.03, 0.02, 0.01])
    part = chance.random(many) < 0.1
    rows = {
        "time": np.arange(many) * step,
        "op": op,
        "volume": chance.integers(0, volumes, many),
        "address": page * np.uint64(PAGE) + np.where(part, 100, 0).astype(np.uint64),
        "length": np.where(part, 200, PAGE),
        "stream": page % np.uint64(5),
    }
    return pl.DataFrame({name: pl.Series(column, dtype=schema_of(Request)[name]) for name, column in rows.items()})


def fitted(config: PageMappedConfig, rows: pl.DataFrame, volumes: int = 1) -> PageMappedConfig:
    info = TraceInfo(
        format="test",
        rows=rows.height,
        span=int(rows["time"][-1]),
        volumes=[Volume(name="", extent=PAGES * PAGE)] * volumes,
    )
    return STAGE.fit(config, info, lambda: [rows])


def run(config: PageMappedConfig, *batches: pl.DataFrame) -> Tables:
    out: dict[str, list[pl.DataFrame]] = {}
    for part in STAGE.run(iter(batches), config):
        out.setdefault(name_of(type(part)), []).append(frame(part))
    return {name: pl.concat(parts) for name, parts in out.items()}


def drive(**keys: Any) -> PageMappedConfig:
    asked = {"page": PAGE, "block_pages": 8, "spare": 0.25, "layout": Layout.DIRECT, "window": 5_000_000}
    return PageMappedConfig(**asked | keys)


def tidy(config: PageMappedConfig) -> PageMappedConfig:
    """With the keys that change nothing at their defaults."""
    defaults = PageMappedConfig()
    return replace(config, **{key: getattr(defaults, key) for key in idle_keys(config)})


WORN: dict[str, Any] = {"retirement": Retirement.FIXED, "endurance": 60, "endurance_spread": 0.2}
TIMED: dict[str, Any] = {"timing": Loop.OPEN, "channels": 2, "dies": 2, "planes": 2}


@pytest.mark.parametrize("victim", Victim, ids=spelled)
def test_flash_that_does_not_wear_out_changes_nothing(victim: Victim) -> None:
    rows = trace(6000)
    plainly = run(fitted(drive(victim=victim), rows), rows)
    worn = run(fitted(drive(victim=victim, retirement=Retirement.CAPACITY_VARIANT, reserve=2), rows), rows)
    spared = run(fitted(drive(victim=victim, reserve=3), rows), rows)
    assert spared["ftl_windows"].equals(worn["ftl_windows"])  # one block more is kept for retirement
    assert plainly.keys() == {"ftl_windows", "ftl_summary"}
    life = worn["ftl_life"].row(0, named=True)
    assert (life["worn_out"], life["retired_blocks"], life["worn_out_request"]) == (False, 0, -1)


@pytest.mark.parametrize("loop", [Loop.OPEN, Loop.CLOSED], ids=spelled)
@pytest.mark.parametrize("acknowledge", Acknowledge, ids=spelled)
def test_time_changes_no_figure_but_its_own(loop: Loop, acknowledge: Acknowledge) -> None:
    rows = trace(6000, volumes=2)
    config = fitted(drive(), rows, 2)
    without = run(config, rows)
    timed = run(replace(config, **TIMED | {"timing": loop, "acknowledge": acknowledge}), rows)
    own = ["state_bytes", "requests_per_s", "read_p99", "write_p99", "overload"]
    for name in ("ftl_windows", "ftl_summary"):
        assert without[name].drop(own, strict=False).equals(timed[name].drop(own, strict=False))
    assert (without["ftl_summary"]["read_p99"] == -1).all()
    latency, load = timed["ftl_latency"], timed["ftl_load"]
    both = timed["ftl_summary"]
    kinds = dict(zip(["reads", "writes", "flushes"], [0, 1, 3], strict=True))
    for row in both.iter_rows(named=True):
        for column, kind in {"read_p99": 0, "write_p99": 1}.items():
            p99 = latency.filter((pl.col("volume") == row["volume"]) & (pl.col("kind") == kind))["p99"].item()
            assert p99 == row[column] > 0
        mine = latency.filter(pl.col("volume") == row["volume"])
        for column, kind in kinds.items():
            assert mine.filter(pl.col("kind") == kind)["requests"].item() == row[column]
        assert mine.filter(pl.col("kind") == 4)["requests"].item() == row["requests"]
        assert load.filter(pl.col("volume") == row["volume"])["requests"].sum() == row["requests"]
    assert load.select("time", "volume").equals(timed["ftl_windows"].select("time", "volume"))


@pytest.mark.parametrize(("step", "over"), [(1_000_000, False), (50_000, True)])
def test_requests_that_come_faster_than_they_are_served_are_told(step: int, over: bool) -> None:
    rows = trace(4000, volumes=2, step=step)
    told = run(fitted(drive(**TIMED), rows, 2), rows)
    first, last = rows["time"][0], rows["time"][-1]
    assert told["ftl_summary"].select(pl.col("overload") > 0).to_series().to_list() == [over, over]
    assert "overload" in STAGE.alerts
    if over:
        assert (told["ftl_summary"]["overload"] > (last - first) // 20).all()
        early = run(fitted(drive(**TIMED), rows[:1000], 2), rows[:1000])
        assert early["ftl_summary"]["overload"].to_list() == [0, 0]  # of fewer than 1,000 requests each
        closed = run(fitted(drive(**TIMED | {"timing": Loop.CLOSED}), rows, 2), rows)
        assert closed["ftl_summary"]["overload"].to_list() == [0, 0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"worn": 0.5}, "^worn has no effect while retirement and rber are none$"),
        ({"endurance": 5}, "^endurance has no effect unless retirement, rber, levelling or factory_bad"),
        ({"retirement": "fixed", "spread": "normal"}, "^spread has no effect unless endurance_spread"),
        ({"levelling": "dynamic", "levelling_gap": 3}, "^levelling_gap has no effect unless levelling is static$"),
        ({"rber": "linear", "retention_unit": "1h"}, "^retention_unit has no effect unless rber is power-law$"),
        ({"retries": 3, "choices": 2}, "^choices has no effect unless .*; retries has no effect while rber is none$"),
        ({"cell": "qlc"}, "^cell has no effect while timing is off and nothing asks for wear$"),
        ({"timing": "open", "queue_depth": 3}, "^queue_depth has no effect unless timing is closed$"),
        ({"factory_bad": 0.01, "refresh": 3}, "^refresh has no effect while rber is none$"),
    ],
)
def test_keys_of_what_is_switched_off_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(IdleKeyError, match=message):
        configured(PageMappedConfig, keys)


def test_a_read_that_waits_for_nothing_takes_its_own_time() -> None:
    """And one of an unmapped page takes what the controller takes."""
    requests = [(0, 1, 0, 0, PAGE, 0), (DAY, 0, 0, 0, PAGE, 0), (2 * DAY, 0, 0, PAGE, PAGE, 0)]
    rows = pl.DataFrame(requests, schema=schema_of(Request), orient="row")
    config = drive(prefill=Prefill.NONE, window=DAY, read_time=60_000, bus=1_000_000, overhead=700, **TIMED)
    load = run(fitted(config, rows), rows)["ftl_load"]
    moved = PAGE * 1000  # ns at 1 MB/s
    assert load["read_p50"].to_list() == [-1, 700 + 60_000 + moved, 700]


def test_a_worn_out_drive_serves_the_request_under_way_and_no_other() -> None:
    rows = trace(60_000)
    config = fitted(drive(**WORN), rows)
    have = run(config, rows)
    row, life = (have[name].row(0, named=True) for name in ("ftl_summary", "ftl_life"))
    assert life["worn_out"]
    assert row["requests"] + row["refused_requests"] == rows.height
    assert row["worn_out_request"] == life["worn_out_request"] == row["requests"] - 1
    assert row["refused_requests"] > 0
    assert have["ftl_windows"]["requests"].sum() == row["requests"]
    for column in ("host_programs", "gc_programs", "wl_programs", "erases"):
        assert have["ftl_windows"][column].sum() == row[column]
    assert (life["days_left"], life["written_left"]) == (0, 0)
    last = have["ftl_wear"].row(-1, named=True)
    assert last["retired_blocks"] == life["retired_blocks"] > 0
    assert last["physical_pages"] == life["physical_pages"] == row["physical_pages"] - row["bad_pages"]
    # the same trace, shorter, wears it as far
    shorter = run(config, rows[: row["requests"]])["ftl_summary"].row(0, named=True)
    assert {**shorter, "refused_requests": row["refused_requests"]} == row


def test_a_drive_that_shrinks_lives_longer_than_one_that_must_not() -> None:
    rows = trace(120_000).filter(pl.col("address") < PAGES // 2 * PAGE)
    keys = {"prefill": Prefill.NONE, "spare": 0.15, **WORN}
    fixed, variant = (
        run(fitted(drive(**keys | {"retirement": how}), rows), rows)["ftl_summary"].row(0, named=True)
        for how in (Retirement.FIXED, Retirement.CAPACITY_VARIANT)
    )
    assert fixed["worn_out_request"] > 0
    assert variant["worn_out_request"] == -1 or variant["worn_out_request"] > fixed["worn_out_request"]
    assert variant["bad_pages"] > fixed["bad_pages"]


def test_static_levelling_evens_wear_out_at_the_cost_of_copies() -> None:
    rows = trace(30_000).filter(pl.col("address") < PAGES // 8 * PAGE)
    keys = {"endurance": 10_000, "retirement": Retirement.FIXED}
    none, static = (
        run(fitted(drive(levelling=how, levelling_gap=8, **keys), rows), rows)
        for how in (Levelling.NONE, Levelling.STATIC)
    )
    have, want = static["ftl_summary"].row(0, named=True), none["ftl_summary"].row(0, named=True)
    assert (have["wl_programs"] > 0, want["wl_programs"]) == (True, 0)
    assert have["programs"] == have["host_programs"] + have["gc_programs"] + have["wl_programs"]
    assert have["erases_std"] < want["erases_std"] / 2
    assert static["ftl_life"]["wl_programs"].item() == have["wl_programs"]


def test_old_data_is_read_again_and_moved() -> None:
    requests = [(i * DAY, 0, 0, i % PAGES * PAGE, PAGE, 0) for i in range(3000)]
    rows = pl.DataFrame(requests, schema=schema_of(Request), orient="row")
    asked: dict[str, Any] = {"rber": Rber.POWER_LAW, "worn": 0.5, "refresh": 2, "window": 100 * DAY}
    have = run(fitted(drive(**asked), rows), rows)
    life = have["ftl_life"].row(0, named=True)
    assert life["read_retries"] > 0 < life["refreshed_blocks"]
    assert life["refresh_programs"] == have["ftl_summary"]["wl_programs"].item() > 0
    never = run(fitted(drive(**asked | {"refresh": 0}), rows), rows)["ftl_life"].row(0, named=True)
    assert never["refreshed_blocks"] == 0
    assert never["read_retries"] > life["read_retries"]
    timed = run(fitted(drive(**asked | TIMED), rows), rows)
    fresh = run(fitted(drive(**TIMED | {"window": 100 * DAY}), rows), rows)
    mean = [each["ftl_latency"].filter(pl.col("kind") == 0)["mean"].item() for each in (fresh, timed)]
    assert mean[0] < mean[1]


def test_factory_bad_blocks_are_never_used() -> None:
    rows = trace(3000)
    have = run(fitted(drive(factory_bad=0.02, spare=0.3), rows), rows)
    row = have["ftl_summary"].row(0, named=True)
    assert row["bad_pages"] == row["physical_blocks"] * 2 // 100 * 8 > 0
    with pytest.raises(ConfigError, match=r"factory_bad 0\.02 leaves .* raise spare"):
        fitted(drive(factory_bad=0.02, spare=0.038), rows)


@settings(deadline=None, max_examples=40)
@given(
    st.fixed_dictionaries(
        {
            "victim": st.sampled_from(Victim),
            "frontiers": st.sampled_from(Frontiers),
            "placement": st.sampled_from(HOST_PLACEMENTS),
            "retirement": st.sampled_from(Retirement),
            "levelling": st.sampled_from(Levelling),
            "levelling_gap": st.integers(1, 20),
            "levelling_every": st.integers(1, 20),
            "endurance": st.sampled_from([20, 40, 1000]),
            "endurance_spread": st.sampled_from([0.0, 0.3]),
            "factory_bad": st.sampled_from([0.0, 0.02]),
            "rber": st.sampled_from([Rber.NONE, Rber.LINEAR, Rber.POWER_LAW]),
            "correctable": st.sampled_from([0.00149, 0.005]),
            "refresh": st.sampled_from([0, 1]),
            "streams": st.integers(2, 4),
            "spare": st.sampled_from([0.3, 0.5]),
            "timing": st.sampled_from(Loop),
            "choices": st.integers(1, 4),
            "window_blocks": st.integers(1, 12),
            "prefill": st.sampled_from(Prefill),
            "cell": st.sampled_from([Cell.TLC, Cell.TLC, Cell.SLC]),
            "seed": st.integers(0, 1 << 40),
            "queue_depth": st.integers(1, 9),
            "spread": st.sampled_from(Spread),
            "retries": st.integers(1, 9),
            "retention_unit": st.sampled_from([1_000_000, DAY]),
        }
    ),
    st.integers(0, 1 << 20),
    st.lists(st.integers(0, 4000), max_size=3),
)
def test_laws_hold_wherever_the_trace_is_cut(keys: dict[str, Any], seed: int, cuts: list[int]) -> None:
    """`run` checks X1, X2, X3 and X7 of the whole state, and that requests served and refused are those given.

    Keys that are said to change nothing change nothing.
    """
    rows = trace(4000, volumes=2, seed=seed)
    shape = TIMED | {"timing": keys["timing"]} if keys["timing"] else {}
    if keys["rber"] == Rber.POWER_LAW:
        shape["cell"] = Cell.TLC  # whose constants are given
    config = fitted(drive(**keys | shape), rows, 2)
    whole = run(config, rows)
    edges = [0, *sorted(cuts), rows.height]
    cut = run(config, *(rows[begin:end] for begin, end in pairwise(edges)))
    assert whole.keys() == cut.keys()
    assert all(whole[name].equals(cut[name]) for name in whole)
    bare = tidy(config)
    assert configured(PageMappedConfig, plain(bare)) == bare
    without = run(bare, rows)
    assert whole.keys() == without.keys()
    assert all(whole[name].equals(without[name]) for name in whole)
