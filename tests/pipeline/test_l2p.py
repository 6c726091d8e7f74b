from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl._power_loss import HALF
from pipeline.ftl.config import Layout, Prefill, Zeroes
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.fleet import drive_in
from pipeline.ftl.l2p.ask import crash, find, pointer_of, trim, write
from pipeline.ftl.l2p.config import L2pConfig
from pipeline.ftl.l2p.replay import FtlL2pWindows, prepare
from pipeline.ftl.l2p.stage import STAGE, maps_of
from pipeline.ftl.l2p.state import Flush, Map, Mapped, SlotPolicy, map_with
from pipeline.ftl.l2p.summary import FtlL2pSummary
from pipeline.ftl.replay import Request, Rules
from pipeline.ftl.victim import Victim
from tests.reference import l2p as reference
from traces.config import configured, idle_keys, spelled
from traces.errors import ConfigError
from traces.info import TraceInfo, Volume
from traces.table import empty, frame, schema_of

pytestmark = pytest.mark.kernels

PAGE = 512
Rows = list[tuple[int, int, int, int, int, int]]
VICTIMS = [victim for victim in Victim if victim.name != "GREEDY_FIRST"]  # the reference knows no such order


def trace(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(Request), orient="row")


def fitted(config: L2pConfig, rows: Rows) -> L2pConfig:
    extents = dict.fromkeys(range(max((row[2] for row in rows), default=0) + 1), 0)
    for _, op, volume, address, length, _ in rows:
        if op in (0, 1, 2, 4):
            extents[volume] = max(extents[volume], address + length)
    info = TraceInfo(
        format="test",
        rows=len(rows),
        span=rows[-1][0] if rows else 0,
        volumes=[Volume(name="", extent=each) for each in extents.values()],
    )
    return STAGE.fit(replace(config, crash_at=min(config.crash_at, len(rows))), info, lambda: [trace(rows)])


def replayed(config: L2pConfig, *batches: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The windows and the summaries."""
    out = [frame(empty(FtlL2pWindows, 0))]
    summaries: list[pl.DataFrame] = []
    for rows in STAGE.run(batches, config):
        (summaries if isinstance(rows, FtlL2pSummary) else out).append(frame(rows))
    return pl.concat(out), pl.concat(summaries)


def plainly(config: L2pConfig, kind: Map, rows: Rows) -> list[dict[str, int]]:
    volumes = {volume: slow(config, kind, volume) for volume in sorted({row[2] for row in rows})}
    reference.replay(volumes, spelled(config.prefill), rows, config.crash_at or -1, config.power_loss_protection)
    told = [{"volume": volume, "map": int(kind)} | reference.summary(each) for volume, each in volumes.items()]
    for volume in volumes.values():
        known = volume.map
        assert all(known.pointer(page) == known.drive.where.get(page) for page in range(known.drive.bound))
    return told


def slow(config: L2pConfig, kind: Map, volume: int) -> reference.Volume:
    logical = config.logical(volume)
    drive = reference.Bound(
        config.blocks(volume),
        config.block_pages,
        logical + config.map_pages(kind, volume),
        logical,
        victim=spelled(config.victim),
        choices=config.choices,
        window=config.window_blocks,
        frontiers=spelled(config.frontiers),
        reserve=config.reserve,
        seed=config.seed + volume,
    )
    targets, flush = config.targets(kind), spelled(config.flush)
    made: reference.Flat = reference.Flat(drive)
    if kind == Map.TWO_LEVEL:
        policy, batch = spelled(config.slot_policy), config.dirty_batch
        made = reference.TwoLevel(drive, cached=config.slots, policy=policy, targets=targets, batch=batch, flush=flush)
    elif kind == Map.DFTL:
        entries = config.entries(volume)
        safe = int(config.protected_share * entries)
        made = reference.Dftl(drive, entries=entries, protected=safe, targets=targets, flush=flush)
    elif kind == Map.LEARNED:
        made = reference.Learned(
            drive,
            gamma=config.gamma,
            shift=(config.block_pages - 1).bit_length(),
            buffer=config.learn_buffer or config.block_pages,
            compact_every=config.compact_every,
        )
    return reference.Volume(
        made,
        config.page,
        compact=config.layout == Layout.COMPACT,
        program_zeroes=config.write_zeroes == Zeroes.PROGRAM,
    )


@st.composite
def requests(draw: st.DrawFn, most: int = 250) -> Rows:
    """Requests of up to three volumes, most of them small; long enough for collection to begin."""
    extent = PAGE * draw(st.integers(8, 90))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    volumes = draw(st.integers(1, 3))
    weights = draw(st.sampled_from([(5, 9, 1, 1, 1, 1), (1, 30, 0, 0, 0, 0), (3, 8, 4, 1, 4, 1)]))
    at, out = 0, []
    for _ in range(draw(st.integers(0, most))):
        at += int(chance.choice([0, 1, 3, 40]))
        op = int(chance.choice([0, 1, 2, 3, 4, 77], p=np.array(weights) / sum(weights)))
        address = int(chance.integers(0, extent))
        length = int(min(chance.choice([0, 100, PAGE, 2 * PAGE, 9 * PAGE]), extent - address))
        if chance.random() < 0.7:
            address, length = address // PAGE * PAGE, length // PAGE * PAGE
        out.append((at, op, int(chance.integers(0, volumes)), address, length, 0))
    return out


configs = st.builds(
    L2pConfig,
    page=st.just(PAGE),
    block_pages=st.sampled_from([2, 3, 8, 70]),
    spare=st.sampled_from([0.3, 0.6]),
    layout=st.sampled_from(Layout),
    victim=st.sampled_from(VICTIMS),
    choices=st.integers(1, 4),
    window_blocks=st.integers(1, 12),
    frontiers=st.sampled_from(Frontiers),
    reserve=st.integers(1, 2),
    prefill=st.sampled_from(Prefill),
    write_zeroes=st.sampled_from(Zeroes),
    window=st.sampled_from([1, 25, 1000]),
    seed=st.integers(0, 1 << 40),
    fanout=st.sampled_from([6, 16, 0]),
    slots=st.integers(0, 5),
    slot_policy=st.sampled_from(SlotPolicy),
    dirty_batch=st.sampled_from([1, 2, 7, 50]),
    flush=st.sampled_from(Flush),
    cache_entries=st.sampled_from([1, 2, 9, 30]),
    protected_share=st.sampled_from([0.0, 0.5]),
    gamma=st.sampled_from([0, 1, 4]),
    learn_buffer=st.sampled_from([0, 1, 5, 30]),
    compact_every=st.sampled_from([0, 20, 1000]),
    crash_at=st.sampled_from([0, 0, 1, 40, HALF]),
    power_loss_protection=st.booleans(),
)


@settings(deadline=None, max_examples=150)
@given(configs, requests(), st.sampled_from([1, 997]))
def test_l2p__is_the_reference(config: L2pConfig, rows: Rows, spread: int) -> None:
    if config.layout == Layout.COMPACT:  # spread wide, where the numbers are hashed
        rows = [(at, op, v, a // PAGE * spread * PAGE + a % PAGE, n, s) for at, op, v, a, n, s in rows]
    config = fitted(config, rows)
    _, summaries = replayed(config, trace(rows))
    have = {(row["volume"], row["map"]): row for row in summaries.to_dicts()}
    want = [row for kind in (Map.FLAT, *config.maps) for row in plainly(config, kind, rows)]
    assert len(have) == len(want)
    for expected in want:
        mine = have[expected["volume"], expected["map"]]
        expected["gc_data_programs"] = expected.pop("gc_programs") - expected["gc_map_programs"]
        assert {name: mine[name] for name in expected} == expected


def written(kind: Map, *, rows: int = 4000, **how: Any) -> tuple[Mapped, dict[int, int]]:
    """A map after random writes and discards with much collection, and in which order its pages were written last."""
    settings = {
        "page": PAGE,
        "block_pages": 8,
        "spare": 0.3,
        "fanout": 16,
        "slots": 2,
        "dirty_batch": 20,
        "cache_entries": 30,
        "layout": "direct",
        "capacity": 400 * PAGE,
        "window": 100,
        **how,
    }
    config = configured(L2pConfig, settings)
    maps = maps_of(config, kind)
    drive = drive_in(maps.fleet, 0)
    mapped: Mapped = map_with.py_func(maps, 0, drive)  # type: ignore[attr-defined]
    prepare(mapped, 1, Rules(window=100, program_zeroes=False, prefilled=False, fills=0))
    chance = np.random.default_rng(1)
    content: dict[int, int] = {}
    for i, page in enumerate(chance.integers(0, 400, rows).tolist()):
        if i % 9 == 8 and page in content:
            assert trim(mapped, page)
            del content[page]
        else:
            assert write(mapped, page)
            content[page] = i
    return mapped, content


IN_FLASH = pytest.mark.parametrize("kind", [Map.TWO_LEVEL, Map.DFTL], ids=spelled)


def reads(mapped: Mapped, page: int) -> tuple[int, int]:
    """Map pages and pages of data that a read of one page takes from flash."""
    before = mapped.books[0].copy()
    assert find(mapped, page)
    return mapped.books[0].map_reads - before.map_reads, mapped.books[0].data_reads - before.data_reads


def in_slot(mapped: Mapped, page: int) -> bool:
    first = page // mapped.fanout * mapped.slots
    return page % mapped.fanout + 1 in mapped.slot_page[first : first + mapped.slots]


def is_stale(mapped: Mapped, page: int) -> bool:
    word, bit = page // mapped.fanout * mapped.words + page % mapped.fanout // 64, page % mapped.fanout % 64
    return bool(int(mapped.dirty[word]) >> bit & 1)


@IN_FLASH
def test_behaviour_1__lookups_are_those_of_a_flat_map(kind: Map) -> None:
    flat, content = written(Map.FLAT)
    mapped, same = written(kind)
    assert content == same
    assert mapped.drive.tally[0].gc > 1000
    for page in range(400):
        assert pointer_of(mapped, page) == mapped.drive.where[page]
        assert (pointer_of(mapped, page) != 0) == (pointer_of(flat, page) != 0) == (page in content)


@pytest.mark.parametrize("policy", SlotPolicy, ids=spelled)
def test_behaviour_2__uncached_is_one_more_flash_read_and_cached_is_none(policy: SlotPolicy) -> None:
    mapped, content = written(Map.TWO_LEVEL, slot_policy=spelled(policy))
    seen = set()
    for page in [*content, *content]:
        known = in_slot(mapped, page) or is_stale(mapped, page)
        assert reads(mapped, page) == (0 if known else 1, 1)
        seen.add(known)
    assert seen == {True, False}


def test_behaviour_2__dftl_reads_a_map_page_for_what_is_not_cached() -> None:
    mapped, content = written(Map.DFTL)
    for page in [*content, *content]:
        known = mapped.at[page] != 0
        assert reads(mapped, page) == (0 if known else 1, 1)


@pytest.mark.parametrize("slots", [0, 1, 2, 5, 15])
@pytest.mark.parametrize("policy", SlotPolicy, ids=spelled)
def test_behaviour_3__no_more_pointers_are_cached_than_there_are_slots(slots: int, policy: SlotPolicy) -> None:
    mapped, content = written(Map.TWO_LEVEL, slots=slots, slot_policy=spelled(policy))
    for page in content:
        find(mapped, page)
    cached = {t: sum(in_slot(mapped, page) for page in range(t * 16, min(t * 16 + 16, 400))) for t in range(25)}
    assert max(cached.values()) == slots
    assert mapped.slot_page.size == 25 * slots


@IN_FLASH
def test_behaviour_4__collection_that_moves_a_target_mends_both_copies_of_its_pointer(kind: Map) -> None:
    mapped, content = written(kind)
    drive, cached, in_flash = mapped.drive, 0, 0
    for page in content:
        if kind == Map.TWO_LEVEL and in_slot(mapped, page):
            slots = slice(page // 16 * mapped.slots, (page // 16 + 1) * mapped.slots)
            at = mapped.slot_page[slots].tolist().index(page % 16 + 1)
            assert mapped.slot_pointer[slots][at] == drive.where[page]
            cached += 1
        if kind == Map.DFTL and mapped.at[page]:
            assert mapped.entry_pointer[mapped.at[page] - 1] == drive.where[page]
            cached += 1
        if is_stale(mapped, page):
            assert mapped.fresh[page] == drive.where[page]
        else:
            assert mapped.second[page] == drive.where[page]
            in_flash += 1
    assert drive.tally[0].gc - mapped.books[0].gc_map > 1000
    assert min(cached, in_flash) > 20


@IN_FLASH
def test_behaviour_5__collection_that_moves_a_map_page_mends_the_pointer_to_it(kind: Map) -> None:
    mapped, content = written(kind)
    drive = mapped.drive
    assert mapped.books[0].gc_map > 20
    for page in range(drive.bound, drive.logical):
        cell = int(drive.where[page]) - 1
        assert drive.holds[(cell >> drive.shift) * drive.pages + cell % (1 << drive.shift)] == page
    assert all(pointer_of(mapped, page) == drive.where[page] for page in content)


def test_behaviour_6__dram_does_not_depend_on_what_is_written() -> None:
    rows = [(i, 1, 0, i * 7 % 300 * PAGE, PAGE, 0) for i in range(2000)]
    config = L2pConfig(page=PAGE, block_pages=8, spare=0.3, layout=Layout.DIRECT, capacity=(300 * PAGE,), window=100)
    config = replace(config, maps=(Map.TWO_LEVEL, Map.DFTL))
    told = [
        replayed(replace(config, prefill=prefill), trace(rows[:count]))[1]
        for prefill, count in ((Prefill.NONE, 1), (Prefill.NONE, 2000), (Prefill.RANDOM, 2000))
    ]
    sizes = ["dram_bytes", "directory_bytes", "cache_bytes", "buffer_bytes", "flash_bytes"]
    assert told[0]["mapped_pages"][0] == 1 < told[1]["mapped_pages"][0]
    assert told[0].select(sizes).equals(told[1].select(sizes))
    assert told[0].select(sizes).equals(told[2].select(sizes))


@IN_FLASH
def test_behaviour_7__what_is_unmapped_reads_no_data(kind: Map) -> None:
    mapped, content = written(kind)
    gone = [page for page in range(400) if page not in content]
    assert len(gone) > 5
    assert all(reads(mapped, page)[1] == 0 for page in gone)
    empty_map, _ = written(kind, rows=0)
    assert all(reads(empty_map, page) == (0, 0) for page in range(400))


@IN_FLASH
@pytest.mark.parametrize("protected", [False, True])
def test_behaviour_8__a_crash_leaves_what_was_durable(kind: Map, protected: bool) -> None:
    mapped, content = written(kind)
    drive = mapped.drive
    before = {page: int(drive.where[page]) for page in range(400)}
    durable = {page: int(mapped.second[page]) for page in range(400)}
    waiting = [page for page in range(400) if is_stale(mapped, page)]
    assert len(waiting) >= 10
    crash(mapped, protected)
    books = mapped.books[0]
    assert not any(in_slot(mapped, page) for page in range(400 if kind == Map.TWO_LEVEL else 0))
    for page in range(400):
        assert pointer_of(mapped, page) == drive.where[page]
        if protected or page not in waiting:
            assert drive.where[page] == before[page]
        else:
            assert drive.where[page] in (0, durable[page])
    lost = books.reverted + books.gone + books.lost
    assert lost == 0 if protected else 0 < lost <= len(waiting)
    for page in np.random.default_rng(2).integers(0, 400, 3000).tolist():  # and it goes on
        assert write(mapped, page)
    assert all(pointer_of(mapped, page) == drive.where[page] != 0 for page in content)


@settings(deadline=None, max_examples=60)
@given(configs, requests(), st.lists(st.integers(0, 250), max_size=3))
def test_l2p__cutting_the_trace_changes_nothing(config: L2pConfig, rows: Rows, cuts: list[int]) -> None:
    config = fitted(config, rows)
    whole = trace(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [whole[start:stop] for start, stop in pairwise(edges)]
    for have, want in zip(replayed(config, *parts), replayed(config, whole), strict=True):
        assert have.equals(want)


@settings(deadline=None, max_examples=40)
@given(configs, requests())
def test_l2p__figures_add_up_and_maps_have_the_same_content(config: L2pConfig, rows: Rows) -> None:
    config = replace(fitted(config, rows), crash_at=0)
    windows, summaries = replayed(config, trace(rows))
    for have in summaries.iter_rows(named=True):
        mine = windows.filter((pl.col("volume") == have["volume"]) & (pl.col("map") == have["map"]))
        for column in ("requests", "host_programs", "map_programs", "erases", "pages_read", "lookups", "map_reads"):
            assert mine[column].sum() == have[column]
        copies = have["gc_data_programs"] + have["gc_map_programs"]
        assert mine["gc_programs"].sum() == copies
        assert have["programs"] == have["host_programs"] + have["map_programs"] + copies
        known = have["cached_hits"] + have["buffer_hits"] + have["absent"] + have["map_reads"]
        assert known == have["lookups"] or have["map"] == Map.FLAT
        assert have["dram_bytes"] == have["directory_bytes"] + have["cache_bytes"] + have["buffer_bytes"]
        assert have["buffer_peak"] <= config.waiting(Map(have["map"]))
        flat = summaries.filter((pl.col("volume") == have["volume"]) & (pl.col("map") == Map.FLAT)).row(0, named=True)
        if not have["unserved"]:
            for column in ("requests", "pages_read", "unmapped_read", "mapped_pages", "trimmed_pages"):
                assert have[column] == flat[column]
            buffered = have["buffer_hits"] if have["map"] == Map.LEARNED else 0
            assert have["data_reads"] + buffered == flat["data_reads"]
            spared = have["spared_programs"] + have["waiting_pages"]
            assert have["host_programs"] + spared == flat["host_programs"]
            assert spared == 0 or have["map"] == Map.LEARNED
        assert mine["dram_bytes"].max() in (None, have["dram_bytes"]) or have["map"] == Map.LEARNED
        assert (mine["dram_bytes"].max() or 0) <= have["dram_bytes"]
        assert mine.is_empty() or mine["dram_bytes"][-1] == have["dram_end_bytes"]
    for volume in summaries["volume"].unique():
        asked = summaries.filter(pl.col("volume") == volume).select(pl.col("requests") + pl.col("unserved"))
        assert set(asked["requests"]) == {sum(row[2] == volume for row in rows)}


@settings(deadline=None, max_examples=25)
@given(configs, requests(), st.lists(st.sampled_from([Map.TWO_LEVEL, Map.DFTL, Map.LEARNED]), min_size=1, unique=True))
def test_l2p__keys_that_are_said_to_change_nothing_change_nothing(config: L2pConfig, rows: Rows, maps: Any) -> None:
    config = fitted(replace(config, maps=tuple(maps)), rows)
    tidy = replace(config, **{key: getattr(L2pConfig(), key) for key in idle_keys(config)})
    for have, want in zip(replayed(tidy, trace(rows)), replayed(config, trace(rows)), strict=True):
        assert have.equals(want)


def crashed(rows: Rows, *batches: pl.DataFrame, **how: Any) -> pl.DataFrame:
    keys = {"page": PAGE, "block_pages": 8, "spare": 0.3, "fanout": 16, "dirty_batch": 50, "learn_buffer": 30}
    config = fitted(configured(L2pConfig, keys | how), rows)
    return replayed(config, *(batches or (trace(rows),)))[1]


def test_power_fails_for_all_volumes_at_once_and_what_is_lost_is_no_gain() -> None:
    chance = np.random.default_rng(3)
    pages = chance.integers(0, 400, 3000).tolist()
    rows = [(i, int(i % 5 != 0), i % 2, page * PAGE, PAGE, 0) for i, page in enumerate(pages)]
    whole = crashed(rows)
    kept = crashed(rows, crash_at=2000)
    assert kept["cached_hits"].to_list() != whole["cached_hits"].to_list()  # what was cached is lost in any case
    lost = crashed(rows, crash_at=2000, power_loss_protection=False)
    assert lost.equals(
        crashed(rows, trace(rows[:2000]), trace(rows[2000:]), crash_at=2000, power_loss_protection=False)
    )
    undone = ["reverted_pages", "gone_pages", "lost_pages"]
    assert kept.select(pl.sum_horizontal(undone)).to_series().to_list() == [0] * 8
    for row in lost.to_dicts():
        has_lost = sum(row[key] for key in undone) > 0
        assert has_lost == (row["map"] != Map.FLAT)  # of both volumes
        assert (row["wa_over_flat"] == -1000) == (row["slowdown"] == -1000) == has_lost
        assert not (has_lost and row["pays"])
    assert (kept["slowdown"] > -1000).all()
    half = crashed(rows, crash_at=-1, power_loss_protection=False)
    assert half.equals(crashed(rows, crash_at=1500, power_loss_protection=False))
    assert set(undone) < set(STAGE.alerts)
    last = crashed(rows, crash_at=3000, power_loss_protection=False)
    assert last["host_programs"].equals(whole["host_programs"])
    assert last.filter(pl.col("map") != Map.FLAT).select(pl.sum_horizontal(undone) > 0).to_series().all()


def test_power_does_not_fail_behind_the_trace() -> None:
    rows = [(i, 1, 0, i * PAGE, PAGE, 0) for i in range(100)]
    with pytest.raises(ConfigError, match="crash_at is 101; the trace has 100 requests"):
        STAGE.fit(L2pConfig(crash_at=101), TraceInfo(format="test", rows=100), lambda: [trace(rows)])
    with pytest.raises(ConfigError, match="crash_at must be settled by the trace"):
        replayed(L2pConfig(crash_at=HALF), trace(rows))


def test_write_through_rewrites_a_map_page_for_every_write() -> None:
    rows = [(i, 1, 0, i * 37 % 300 * PAGE, PAGE, 0) for i in range(250)]
    config = L2pConfig(page=PAGE, block_pages=8, spare=0.5, layout=Layout.DIRECT, capacity=(300 * PAGE,), window=100)
    config = replace(config, prefill=Prefill.NONE, dirty_batch=1, fanout=16)
    told = replayed(config, trace(rows))[1]
    assert told["map_programs"].to_list()[:2] == [0, 250]
    assert told["gc_data_programs"].to_list()[:2] == [0, 0]
    gathered = replayed(replace(config, dirty_batch=100), trace(rows))[1]
    assert 0 < gathered["map_programs"][1] < 50


def test_a_drive_that_cannot_go_on_says_where_and_keeps_its_figures() -> None:
    rows = [(i, 1, 0, i * 37 % 160 * PAGE, PAGE, 0) for i in range(900)]
    config = L2pConfig(
        page=PAGE,
        block_pages=8,
        spare=0.3,
        layout=Layout.DIRECT,
        capacity=(160 * PAGE,),
        window=100,
        prefill=Prefill.NONE,
        victim=Victim.FIFO,
        maps=(Map.TWO_LEVEL,),
        dirty_batch=1,
        fanout=4,
    )
    windows, summaries = replayed(config, trace(rows))
    flat, ended = summaries.to_dicts()
    assert (flat["requests"], flat["unserved"]) == (900, 0)
    assert ended["requests"] + ended["unserved"] == 900
    assert ended["unserved"] > 0
    assert ended["host_programs"] >= ended["requests"] > 100
    assert windows.filter(pl.col("map") == Map.TWO_LEVEL)["requests"].sum() == ended["requests"]
    assert (ended["slowdown"], ended["pays"]) == (-1000, False)
