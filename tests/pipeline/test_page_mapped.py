import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl._page_mapped_config import PageMappedConfig as Config
from pipeline.ftl.config import Layout, Prefill, Zeroes
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.page_mapped import STAGE, by_volume
from pipeline.ftl.placement import HOST_PLACEMENTS, Placement
from pipeline.ftl.replay import FtlWindows, Request
from pipeline.ftl.summary import FtlSummary, steady_since
from pipeline.ftl.theory import write_amplification
from pipeline.ftl.victim import Victim
from tests.reference import ftl as reference
from traces.config import configured, idle_keys, plain, spelled, to_json, to_toml
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo, Volume
from traces.table import U64, arrays, empty, frame, schema_of

pytestmark = pytest.mark.kernels

PAGE = 512
Rows = Sequence[tuple[int, ...]]  # time, op, volume, address, length, and a stream if any


def trace(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(padded(rows), schema=schema_of(Request), orient="row")


def padded(rows: Rows) -> list[reference.Request]:
    """With a stream."""
    return [(*row, 0)[:6] for row in rows]  # type: ignore[misc]


def told(rows: Rows) -> TraceInfo:
    extents = dict.fromkeys(range(max((r[2] for r in rows), default=0) + 1), 0)
    for _, op, volume, offset, length, *_ in rows:
        if op in (0, 1, 2, 4):
            extents[volume] = max(extents[volume], offset + length)
    span = rows[-1][0] if rows else 0
    return TraceInfo(
        format="test", rows=len(rows), span=span, volumes=[Volume(name="", extent=e) for e in extents.values()]
    )


def fitted(config: Config, rows: Rows) -> Config:
    return STAGE.fit(config, told(rows), lambda: [trace(rows)])


def replayed(config: Config, *batches: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The windows and the summaries."""
    out = [frame(empty(FtlWindows, 0))]
    summaries: list[pl.DataFrame] = []
    for rows in STAGE.run(batches, config):
        (summaries if isinstance(rows, FtlSummary) else out).append(frame(rows))
    return pl.concat(out), pl.concat(summaries) if summaries else pl.DataFrame()


def plainly(config: Config, rows: Rows) -> reference.Replay:
    volumes = {}
    for volume in {row[2] for row in rows}:
        drive = reference.PageMapped(
            config.blocks(volume),
            config.block_pages,
            config.logical(volume),
            victim=spelled(config.victim),
            choices=config.choices,
            window=config.window_blocks,
            frontiers=spelled(config.frontiers),
            reserve=config.reserve,
            seed=config.seed + volume,
            placement=spelled(config.placement),
            streams=config.classes,
        )
        compact, zeroes = config.layout == Layout.COMPACT, config.write_zeroes == Zeroes.PROGRAM
        volumes[volume] = reference.Volume(drive, config.page, compact, zeroes)
    out = reference.Replay(volumes, config.window, spelled(config.prefill))
    out.replay(padded(rows))
    return out


@st.composite
def requests(draw: st.DrawFn, most: int = 250) -> Rows:
    """Requests of up to three volumes, most of them small overwrites; long enough for collection to begin."""
    extent = PAGE * draw(st.integers(8, 60))
    seed = draw(st.integers(0, 1 << 32))
    volumes, weights = (
        draw(st.integers(1, 3)),
        draw(st.sampled_from([(2, 12, 1, 1, 1, 1), (1, 30, 0, 0, 0, 0), (1, 8, 4, 1, 4, 1)])),
    )
    chance = np.random.default_rng(seed)
    at, out = 0, []
    for _ in range(draw(st.integers(0, most))):
        at += int(chance.choice([0, 1, 3, 40]))
        op = int(
            chance.choice([0, 1, 2, 3, 4, int(chance.choice([5, 9, 11, 77, 255]))], p=np.array(weights) / sum(weights))
        )
        offset = int(chance.integers(0, extent))
        length = int(
            min(chance.choice([0, 100, PAGE, 2 * PAGE, 5 * PAGE], p=[0.03, 0.07, 0.6, 0.2, 0.1]), extent - offset)
        )
        if chance.random() < 0.7:
            offset, length = offset // PAGE * PAGE, length // PAGE * PAGE
        out.append((at, op, int(chance.integers(0, volumes)), offset, length, int(chance.integers(0, 6))))
    return out


configs = st.builds(
    Config,
    page=st.just(PAGE),
    block_pages=st.sampled_from([2, 3, 4, 8, 70]),
    spare=st.sampled_from([0.12, 0.3, 0.6]),
    layout=st.sampled_from(Layout),
    victim=st.sampled_from(Victim),
    choices=st.integers(1, 4),
    window_blocks=st.integers(1, 12),
    frontiers=st.sampled_from(Frontiers),
    placement=st.sampled_from([*HOST_PLACEMENTS, Placement.NONE]),
    streams=st.integers(2, 4),
    reserve=st.integers(1, 2),
    prefill=st.sampled_from(Prefill),
    write_zeroes=st.sampled_from(Zeroes),
    window=st.sampled_from([1, 25, 1000]),
    seed=st.integers(0, 1 << 40),
)


@settings(deadline=None, max_examples=120)
@given(configs, requests(), st.sampled_from([1, 997]))
def test_page_mapped__is_the_reference(config: Config, rows: Rows, spread: int) -> None:
    if config.layout == Layout.COMPACT:  # spread wide, where the numbers are hashed
        rows = [(at, op, v, a // PAGE * spread * PAGE + a % PAGE, *rest) for at, op, v, a, *rest in rows]
    config = fitted(config, rows)
    windows, summaries = replayed(config, trace(rows))
    want = plainly(config, rows)
    assert windows.rows() == want.windows()
    for have, expected in zip(summaries.to_dicts(), want.summaries(), strict=True):
        assert {name: have[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("victim", Victim, ids=spelled)
@pytest.mark.parametrize("frontiers", Frontiers, ids=spelled)
def test_page_mapped__is_the_reference_where_much_is_collected(victim: Victim, frontiers: Frontiers) -> None:
    chance = np.random.default_rng(victim)
    pages = chance.permutation(400)[(chance.random(4000) ** 3 * 400).astype(int)]
    rows = [(i, 2 if i % 7 == 0 else 1, 0, int(page) * PAGE, PAGE) for i, page in enumerate(pages)]
    config = Config(page=PAGE, block_pages=8, victim=victim, frontiers=frontiers, window_blocks=9, choices=3, window=50)
    config = fitted(replace(config, capacity=(400 * PAGE,)), rows)
    windows, summaries = replayed(config, trace(rows))
    want = plainly(config, rows)
    assert windows.rows() == want.windows()
    assert summaries["gc_programs"][0] == want.summaries()[0]["gc_programs"] > 1000


@pytest.mark.parametrize("placement", HOST_PLACEMENTS, ids=spelled)
@pytest.mark.parametrize("frontiers", Frontiers, ids=spelled)
@pytest.mark.parametrize("streams", [2, 5])
def test_page_mapped__is_the_reference_where_data_is_told_apart(
    placement: Placement, frontiers: Frontiers, streams: int
) -> None:
    chance = np.random.default_rng(streams)
    pages = chance.permutation(400)[(chance.random(6000) ** 3 * 400).astype(int)]
    rows = [(i, 2 if i % 9 == 0 else 1, 0, int(page) * PAGE, PAGE, int(page) % 7) for i, page in enumerate(pages)]
    config = Config(
        page=PAGE, block_pages=8, spare=0.25, placement=placement, streams=streams, frontiers=frontiers, window=50
    )
    config = fitted(replace(config, capacity=(400 * PAGE,)), rows)
    windows, summaries = replayed(config, trace(rows))
    want = plainly(config, rows)
    assert windows.rows() == want.windows()
    assert summaries["gc_programs"][0] == want.summaries()[0]["gc_programs"] > 1000


@settings(deadline=None, max_examples=60)
@given(configs, requests(), st.lists(st.integers(0, 250), max_size=3))
def test_page_mapped__cutting_the_trace_changes_nothing(config: Config, rows: Rows, cuts: list[int]) -> None:
    config = fitted(config, rows)
    whole = trace(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [whole[start:stop] for start, stop in pairwise(edges)]
    for have, want in zip(replayed(config, *parts), replayed(config, whole), strict=True):
        assert have.equals(want)


@settings(deadline=None, max_examples=40)
@given(configs, requests())
def test_page_mapped__sums_of_the_windows_are_the_summary(config: Config, rows: Rows) -> None:
    windows, summaries = replayed(fitted(config, rows), trace(rows))
    for have in summaries.iter_rows(named=True):
        mine = windows.filter(pl.col("volume") == have["volume"])
        for column in ("requests", "host_programs", "gc_programs", "erases", "pages_read", "trimmed_pages"):
            assert mine[column].sum() == have[column]
        assert mine["mapped_pages"][-1] == have["mapped_pages"]
        by_op = ("reads", "writes", "discards", "flushes", "write_zeroes", "zone_requests", "unknown_requests")
        assert sum(have[op] for op in by_op) == have["requests"]
    assert windows["requests"].sum() == len(rows)


def test_page_mapped__sequential_overwrite_amplifies_nothing() -> None:
    rows = [(i, 1, 0, i % 64 * 8 * PAGE, 8 * PAGE) for i in range(64 * 20)]
    config = fitted(Config(page=PAGE, block_pages=16, spare=0.1), rows)
    have = replayed(config, trace(rows))[1].row(0, named=True)
    assert (have["wa"], have["steady"], have["wa_steady"]) == (1.0, True, 1.0)
    assert have["erases"] > 500
    assert have["erases_max"] - have["erases_min"] <= 1


def test_page_mapped__compact_numbers_pages_by_first_write() -> None:
    far = 1 << 40
    rows = [(0, 1, 0, far, PAGE), (1, 1, 0, 0, PAGE), (2, 1, 0, far, PAGE), (3, 0, 0, far // 2, PAGE)]
    config = fitted(Config(page=PAGE, block_pages=4, spare=0.5, prefill=Prefill.NONE), rows)
    assert config.capacity == (far + PAGE,)
    assert config.footprint[0] < 64 * PAGE
    have = replayed(config, trace(rows))[1].row(0, named=True)
    assert (have["host_programs"], have["mapped_pages"], have["unmapped_read"]) == (3, 2, 1)


def test_page_mapped__counts_partial_pages() -> None:
    rows = [
        (0, 1, 0, 100, 50),  # inside one page, never written
        (1, 1, 0, PAGE - 1, 2),  # the ends of two pages, the first mapped
        (2, 2, 0, 1, 2 * PAGE),  # one whole page: the second
        (3, 4, 0, 0, 10),  # zeroes into a mapped page
        (4, 0, 0, 0, 3 * PAGE),
        (5, 1, 0, 0, 0),
    ]
    config = fitted(Config(page=PAGE, block_pages=4, spare=0.5, prefill=Prefill.NONE, layout=Layout.DIRECT), rows)
    have = replayed(config, trace(rows))[1].row(0, named=True)
    names = (
        "host_programs",
        "partial_pages",
        "rmw_pages",
        "trimmed_pages",
        "pages_read",
        "unmapped_read",
        "zero_length",
    )
    assert [have[name] for name in names] == [4, 4, 2, 1, 3, 2, 1]


def test_page_mapped__keeps_volumes_apart() -> None:
    rows = [(i, 1, i % 3, i // 3 % 40 * PAGE, PAGE) for i in range(3000)]
    config = fitted(Config(page=PAGE, block_pages=4, spare=0.3, window=100), rows)
    together = replayed(config, trace(rows))[1]
    for volume in range(3):
        alone = replayed(config, trace([row for row in rows if row[2] == volume]))[1]
        assert alone.equals(together.filter(pl.col("volume") == volume))


def test_page_mapped__many_volumes_are_the_reference() -> None:
    chance = np.random.default_rng(1)
    rows = [
        (i, 1, int(v), int(p) * PAGE, PAGE)
        for i, v, p in zip(
            range(9000), chance.integers(0, 70, 9000) ** 2 // 16, chance.integers(0, 30, 9000), strict=True
        )
    ]
    config = fitted(Config(page=PAGE, block_pages=4, spare=0.3, window=2000, prefill=Prefill.NONE), rows)
    windows, summaries = replayed(config, trace(rows[:4000]), trace(rows[4000:]))
    want = plainly(config, rows)
    assert windows.rows() == want.windows()
    assert summaries["volume"].to_list() == sorted({row[2] for row in rows})
    for have, expected in zip(summaries.to_dicts(), want.summaries(), strict=True):
        assert {name: have[name] for name in expected} == pytest.approx(expected)


def test_page_mapped__same_seed_same_rows() -> None:
    rows = [(i, 1, 0, i * 7919 % 500 * PAGE, PAGE) for i in range(4000)]
    first, again, other = (
        replayed(
            fitted(Config(page=PAGE, block_pages=8, spare=0.2, victim=Victim.RANDOM, seed=s), rows),
            trace(rows),
        )[1]
        for s in (5, 5, 6)
    )
    assert first.equals(again)
    assert first["gc_programs"][0] != other["gc_programs"][0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            (9, 1, 1, 4000, 97),
            r"block row 3: address 4000 \+ length 97 = 4097 is past the end of volume 1, whose .* 4096 bytes",
        ),
        ((9, 2, 0, 0, 8193), "length 8193 = 8193 is past the end of volume 0"),
        ((9, 0, 0, (1 << 64) - 1, 9), "is past the end of volume 0"),
        ((9, 1, 2, 0, 1), "block row 3: volume 2 is beyond the 2 volumes"),
        ((0, 1, 0, 0, 1), "block row 3: at 0 is before the row that precedes it"),
    ],
)
def test_page_mapped__refuses_rows(row: tuple[int, int, int, int, int], message: str) -> None:
    config = Config(page=PAGE, block_pages=2, spare=0.5, layout=Layout.DIRECT, capacity=(8192, 4096), window=10)
    good = [(0, 1, 0, 0, 100), (1, 3, 0, 1 << 60, 9), (2, 255, 1, 1 << 60, 9)]
    with pytest.raises(TraceError, match=message):
        replayed(config, trace(good[:2]), trace([good[2], row]))


def test_page_mapped__refuses_more_data_than_the_footprint() -> None:
    config = Config(page=PAGE, block_pages=2, spare=0.5, capacity=(1 << 30,), footprint=(8 * PAGE,), window=10)
    rows = [(i, 1, 0, i * 4096, PAGE) for i in range(9)]
    with pytest.raises(
        TraceError, match=r"the write at 32768 \(volume 0, 8 ns\) needs more pages than the footprint of 8"
    ):
        replayed(config, trace(rows))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"page": "3000"}, "page must be a power of two"),
        ({"spare": 1}, "spare"),
        ({"victim": "gredy"}, "did you mean 'greedy'"),
        ({"layout": "direct", "footprint": "1MiB"}, "footprint is for the compact layout"),
        ({"layout": "direct", "capacity": "32TiB"}, "must have 1 to 4294967295 pages"),
        ({"footprint": ["1MiB"], "capacity": ["1MiB", "2MiB"]}, "capacity names 2 volumes, footprint 1"),
        ({"reserve": 0}, "reserve"),
        ({"spares": 0.2}, "unknown key 'spares'"),
        ({"choices": 3}, "^choices has no effect unless victim is d-choices$"),
        ({"window_blocks": 3, "victim": "fifo"}, "^window_blocks has no effect unless victim is windowed$"),
        ({"streams": 3}, "^streams has no effect while placement is none$"),
        ({"seed": 3}, "^seed has no effect unless victim is random or d-choices, or prefill random"),
        ({"placement": "bound"}, "'bound' is not one of them \\(known: frequency, none, recency, stream\\)"),
        ({"capacity": "1MiB;2MiB", "layout": "direct", "spare": 0.001}, "too small for volume 0"),
    ],
)
def test_config__refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(Config, given)


@pytest.mark.parametrize("frontiers", ["one", "separate"])
@pytest.mark.parametrize("pages", [640, 655, 1])
def test_config__names_the_smallest_spare_that_works(frontiers: str, pages: int) -> None:
    settings = {"layout": "direct", "capacity": pages * 4096, "reserve": 2, "frontiers": frontiers}
    with pytest.raises(ConfigError, match="is too small for volume 0") as refused:
        configured(Config, settings | {"spare": 0.001})
    found = re.search(r"works is ([0-9.]+)", str(refused.value))
    assert found
    least = float(found[1])
    with pytest.raises(ConfigError):
        configured(Config, settings | {"spare": least - 3e-6})
    config = configured(Config, settings | {"spare": least, "window": "1us"})
    rows = [(i, 1, 0, i * 7919 % pages * 4096, 4096) for i in range(3000)]
    assert replayed(config, trace(rows))[1]["erases"][0] > 0


@settings(deadline=None, max_examples=60)
@given(configs, requests(most=30))
def test_config__survives_toml_and_json(config: Config, rows: Rows) -> None:
    import json
    import tomllib

    config = replace(config, **{key: getattr(Config(), key) for key in idle_keys(config)})
    for each in (config, fitted(config, rows)):
        assert configured(Config, plain(each)) == each
        assert configured(Config, json.loads(to_json(each))) == each
        assert configured(Config, tomllib.loads(to_toml(each))) == each


def test_fit__settles_what_the_trace_decides() -> None:
    rows = [(i * 1000, 1, i % 2, i % 50 * 4096, 4096) for i in range(3001)]
    direct = fitted(Config(spare=0.5, block_pages=8, layout=Layout.DIRECT), rows)
    assert direct.capacity == (49 * 4096, 50 * 4096)
    assert direct.window == 20_000
    compact = fitted(Config(spare=0.5, block_pages=8), rows)
    assert compact.footprint == (25 * 4096, 25 * 4096)
    assert fitted(compact, rows) == compact
    bare = STAGE.fit(Config(spare=0.5, block_pages=8), TraceInfo(format="x", span=3_000_000), lambda: [trace(rows)])
    assert bare == compact
    assert fitted(replace(direct, capacity=(1 << 20,)), rows).capacity == (1 << 20, 1 << 20)
    scalar = fitted(Config(spare=0.5, block_pages=8, footprint=(1 << 20,)), rows)
    assert scalar.footprint == (1 << 20, 1 << 20)


def test_fit__gives_small_volumes_what_the_spare_needs_and_the_summary_tells() -> None:
    rows = [(i, 1, 0, 0, 4096) for i in range(500)]
    for layout in Layout:
        config = fitted(Config(layout=layout), rows)
        assert config.logical(0) == config.least == 1701
        told = replayed(config, trace(rows[:300]), trace(rows[300:]))[1]
        assert told["host_programs"][0] == 500
        assert told["grown_to"][0] == 1701
        assert "grown_to" in STAGE.alerts
        wide = [*rows, (500, 1, 0, 0, 1701 * 4096)]
        assert replayed(fitted(Config(layout=layout), wide), trace(wide))[1]["grown_to"][0] == 0
        assert replayed(fitted(Config(layout=layout, spare=0.5), wide), trace(wide))[1]["grown_to"][0] == 0


def test_fit__a_volume_that_cannot_grow_so_far_is_told_what_to_do() -> None:
    rows = [(i, 1, 0, 0, 4096) for i in range(5)]
    with pytest.raises(ConfigError, match="for it: raise spare, lower block_pages or give the drive's size"):
        fitted(Config(spare=0.001), rows)
    with pytest.raises(ConfigError, match="for it: lower reserve, raise spare"):
        fitted(Config(spare=0.001, reserve=2), rows)


def test_fit__refuses() -> None:
    rows = [(0, 1, 0, 0, 4096), (1, 1, 1, 0, 4096)]
    with pytest.raises(ConfigError, match="capacity: 3 values for the trace's 2 volumes"):
        fitted(Config(capacity=(4096, 4096, 4096)), rows)
    with pytest.raises(ConfigError, match="must be settled by the trace"):
        replayed(Config(), trace(rows))
    info = told(rows)
    info.volumes[1].extent = 0
    with pytest.raises(TraceError, match="a write ends at 36864, past the 0 bytes"):
        STAGE.fit(Config(), info, lambda: [trace([*rows[:1], (1, 1, 1, 0, 4096 * 9)]), trace(rows)])


def test_page_mapped__takes_an_empty_trace() -> None:
    config = fitted(Config(), [])
    windows, summaries = replayed(config, trace([]))
    assert (windows.height, summaries.height) == (0, 0)


FOOTPRINT = 1 << 17  # pages; a table of so many has 30 bits of each hash


def unmixed(hashes: U64) -> U64:
    """The pages that have these hashes (see `pipeline.ftl.numbering.mixed`)."""
    low, x = np.uint64(0xFFFFFFFF), hashes
    x = x ^ x >> np.uint64(16)
    x = x * np.uint64(pow(0xC2B2AE35, -1, 1 << 32)) & low
    x = x ^ x >> np.uint64(13) ^ x >> np.uint64(26)
    x = x * np.uint64(pow(0x85EBCA6B, -1, 1 << 32)) & low
    pages: U64 = x ^ x >> np.uint64(16)
    return pages


def pagewise(op: int, pages: U64) -> pl.DataFrame:
    """A request for each page, all at once."""
    rows = pl.DataFrame({"address": pages * np.uint64(PAGE)})
    others = {"time": 0, "op": op, "volume": 0, "length": PAGE, "stream": 0}
    return rows.with_columns(pl.lit(value, schema_of(Request)[name]).alias(name) for name, value in others.items())


HASHED = Config(
    page=PAGE,
    capacity=(((1 << 32) - 1) * PAGE,),
    footprint=(FOOTPRINT * PAGE,),
    prefill=Prefill.NONE,
    window=1,
)


def test_numbering__tells_pages_apart_whose_hashes_look_alike() -> None:
    chance = np.random.default_rng(1)
    kept = chance.choice(1 << 30, FOOTPRINT // 2, replace=False).astype(np.uint64)
    rest = chance.permuted(np.tile(np.arange(4, dtype=np.uint64), (kept.size, 1)), axis=1).T
    alike = rest << np.uint64(30) | kept  # four hashes for each 30 bits that are kept
    written, absent = unmixed(alike[:2].ravel()), unmixed(alike[2:].ravel())
    _, summaries = replayed(
        HASHED, pagewise(1, written), pagewise(0, absent), pagewise(0, written), pagewise(1, written)
    )
    have = summaries.row(0, named=True)
    assert have["mapped_pages"] == FOOTPRINT
    assert have["unmapped_read"] == FOOTPRINT
    assert have["host_programs"] == 2 * FOOTPRINT


def test_numbering__refuses_what_no_slot_near_its_home_is_free_for() -> None:
    crowd = unmixed(np.arange(FOOTPRINT // 2, dtype=np.uint64))  # all of them at home in one slot or two
    with pytest.raises(TraceError, match="finds no place in the crowded map of what was written; use layout=direct"):
        replayed(HASHED, pagewise(1, crowd))


def test_by_volume__keeps_order() -> None:
    rows, begins = by_volume(arrays(Request, trace([(i, 1, i * 7 % 5, i, 1) for i in range(100)])))
    assert begins.tolist() == [0, 20, 40, 60, 80, 100]
    assert rows.volume.tolist() == sorted(rows.volume)
    for begin, end in pairwise(begins):
        assert list(rows.time[begin:end]) == sorted(rows.time[begin:end])


def test_steady_since__finds_the_end_of_the_rise() -> None:
    chance = np.random.default_rng(1)
    rise = np.concatenate([np.linspace(1, 3, 20), np.full(60, 3.0)]) + chance.normal(0, 0.01, 80)
    assert 18 <= (steady_since(rise) or 0) <= 40
    assert steady_since(np.linspace(1, 3, 80)) is None
    assert steady_since(np.ones(7)) is None
    assert steady_since(np.ones(8)) == 0


def test_theory_has_nothing_for_others() -> None:
    assert write_amplification(Victim.COST_BENEFIT, 0.2, 64, 1) is None
    assert write_amplification(Victim.WINDOWED, 0.2, 64, 1) is None
    assert write_amplification(Victim.GREEDY, 0.0, 64, 1) is None
