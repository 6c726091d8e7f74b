"""The learned map on its drive. Against its reference it is tested with the other maps."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline.ftl.config import Layout, Prefill
from pipeline.ftl.fleet import drive_in
from pipeline.ftl.l2p.ask import crash, pointer_of, trim, write
from pipeline.ftl.l2p.config import L2pConfig
from pipeline.ftl.l2p.laws import check_content, check_maps, mapped_pages
from pipeline.ftl.l2p.learn import waits
from pipeline.ftl.l2p.learned import predict
from pipeline.ftl.l2p.replay import prepare
from pipeline.ftl.l2p.stage import STAGE, maps_of, memory
from pipeline.ftl.l2p.state import Map, Mapped, Maps, map_with
from pipeline.ftl.laws import BrokenLawError
from pipeline.ftl.replay import Rules
from tests.pipeline.test_l2p import PAGE, Rows, reads, replayed, trace, written

pytestmark = pytest.mark.kernels

DRIVE = L2pConfig(
    page=PAGE,
    block_pages=64,
    spare=0.3,
    layout=Layout.DIRECT,
    capacity=(4096 * PAGE,),
    window=1000,
    prefill=Prefill.NONE,
    maps=(Map.LEARNED,),
)


def writes(pages: list[int]) -> Rows:
    return [(i, 1, 0, page * PAGE, PAGE, 0) for i, page in enumerate(pages)]


def told(config: L2pConfig, rows: Rows) -> tuple[dict[str, float], dict[str, float]]:
    """The summaries of flat and learned."""
    flat, learned = replayed(config, trace(rows))[1].to_dicts()
    return flat, learned


def made(kind: Map) -> tuple[Maps, Mapped]:
    maps = maps_of(DRIVE, kind)
    mapped = map_with.py_func(maps, 0, drive_in(maps.fleet, 0))  # type: ignore[attr-defined]
    prepare(mapped, 1, Rules(window=1000, program_zeroes=False, prefilled=False, fills=0))
    maps.books[0].prepared = 1
    return maps, mapped


@pytest.mark.parametrize("gamma", [0, 1, 4])
def test_behaviour_1__content_is_that_of_a_flat_map(gamma: int) -> None:
    mapped, content = written(Map.LEARNED, gamma=gamma, learn_buffer=12)
    flat, _ = written(Map.FLAT)
    drive, off = mapped.drive, 0
    assert drive.tally[0].gc > 500
    for page in range(400):
        assert pointer_of(mapped, page) == drive.where[page]
        assert (drive.where[page] != 0 or waits(mapped, page)) == (flat.drive.where[page] != 0) == (page in content)
        guess, found, _ = predict(mapped.learned, page)
        assert found == (drive.where[page] != 0)
        off = max(off, abs(guess - int(drive.where[page]) + 1) if found else 0)
    assert off <= gamma
    assert (off > 0) == (gamma > 0)


def test_behaviour_2__a_page_that_is_not_told_exactly_is_one_more_flash_read() -> None:
    mapped, _ = written(Map.LEARNED, learn_buffer=12)
    seen = set()
    for page in range(400):
        guess, found, _ = predict(mapped.learned, page)
        want = (0, 0) if not found or waits(mapped, page) else (int(guess + 1 != mapped.drive.where[page]), 1)
        assert reads(mapped, page) == want
        seen.add((bool(waits(mapped, page)), *want))
    assert seen == {(True, 0, 0), (False, 0, 0), (False, 0, 1), (False, 1, 1)}


def test_buffer__is_programmed_when_it_is_full_in_the_order_of_its_pages() -> None:
    _, mapped = made(Map.LEARNED)
    chance, now = np.random.default_rng(3), mapped.drive.tally[0]
    pages = chance.permutation(4096)[:64].tolist()
    for page in pages[:63]:
        write(mapped, page)
        write(mapped, page)  # the same place
    assert (now.host, mapped.books[0].waiting, mapped.books[0].spared) == (0, 63, 63)
    trim(mapped, pages[0])
    write(mapped, pages[0])
    assert now.host == 0
    write(mapped, pages[63])
    assert (now.host, mapped.books[0].waiting) == (64, 0)
    assert mapped.drive.holds[:64].tolist() == sorted(pages)


@pytest.mark.parametrize("protected", [False, True])
def test_behaviour_8__a_crash_leaves_what_was_programmed(protected: bool) -> None:
    mapped, content = written(Map.LEARNED, learn_buffer=30)
    before = mapped.drive.where.copy()
    waiting = [page for page in range(400) if waits(mapped, page)]
    assert len(waiting) > 5
    crash(mapped, protected)
    books = mapped.books[0]
    assert np.array_equal(mapped.drive.where, before)
    assert [page for page in range(400) if waits(mapped, page)] == (waiting if protected else [])
    assert all(pointer_of(mapped, page) == before[page] for page in range(400))
    back = sum(before[page] != 0 for page in waiting)
    assert (books.reverted, books.gone) == ((0, 0) if protected else (back, len(waiting) - back))
    for page in np.random.default_rng(2).integers(0, 400, 3000).tolist():  # and it goes on
        write(mapped, page)
    assert all(pointer_of(mapped, page) == mapped.drive.where[page] for page in content)


def test_dram__sequential_writes_take_a_segment_for_256_pages() -> None:
    flat, learned = told(DRIVE, writes([*range(4096)] * 2))
    assert (learned["segments"], learned["approximate_segments"]) == (4096 // 64, 0)  # blocks of 64 pages are apart
    assert learned["dram_end_bytes"] == 8 * 64 + 4 * 16 + 20 * 64
    assert learned["wa"] == flat["wa"] == 1
    large = told(replace(DRIVE, block_pages=256, learn_buffer=256), writes([*range(4096)] * 2))[1]
    assert large["segments"] == 16
    assert large["pays"]


def test_dram__random_writes_take_more_and_compaction_takes_some_of_it_back() -> None:
    pages = np.random.default_rng(1).integers(0, 4096, 20_000).tolist()
    rare, often = (told(replace(DRIVE, compact_every=every), writes(pages))[1] for every in (0, 500))
    assert often["dram_end_bytes"] <= often["dram_bytes"]
    assert 8 * 64 < often["segments"] < rare["segments"]
    assert often["mapped_pages"] == rare["mapped_pages"] == len(set(pages))


def test_summary__what_the_write_buffer_spares_is_told_apart_and_no_gain_of_the_map() -> None:
    config = replace(DRIVE, gamma=0)
    rows = [(i, i % 2, 0, i // 8 * PAGE, PAGE, 0) for i in range(8 * 640)]  # each page: four reads, four writes
    flat, learned = told(config, rows)
    assert flat["host_programs"] == 4 * 640
    spared = learned["spared_programs"] + learned["waiting_pages"]
    assert learned["host_programs"] + spared == flat["host_programs"]
    assert learned["host_programs"] == 640
    assert learned["flash_ns"] < flat["flash_ns"] / 3
    times = config.times
    hits = learned["buffer_hits"]
    assert learned["spared_ns"] == spared * times.program + hits * times.read
    assert learned["slowdown"] == pytest.approx(0, abs=1e-9)


def test_windows__tell_dram_over_time() -> None:
    chance = np.random.default_rng(1)
    windows, summary = replayed(DRIVE, trace(writes([*range(4096), *chance.integers(0, 4096, 6000).tolist()])))
    mine = windows.filter(pl.col("map") == Map.LEARNED)["dram_bytes"].to_list()
    assert mine[0] < mine[3] < mine[-1] == summary["dram_end_bytes"][1]
    assert max(mine) == summary["dram_bytes"][1]
    assert set(windows.filter(pl.col("map") == Map.FLAT)["dram_bytes"]) == {4096 * 4}


def test_laws__see_a_lookup_that_goes_astray_and_other_content() -> None:
    (flat, plain), (maps, mapped) = made(Map.FLAT), made(Map.LEARNED)
    for page in range(100):
        write(plain, page)
        write(mapped, page)
    check_maps(maps)
    check_content(flat, maps)
    assert np.count_nonzero(mapped_pages(maps, 0)) == 100
    trim(mapped, 70)
    with pytest.raises(BrokenLawError, match="X9: 1 pages"):
        check_content(flat, maps)
    mapped.learned.segments[0] += 100 << 32
    with pytest.raises(BrokenLawError, match="lookups that are not the drive's: 64"):
        check_maps(maps)
    mapped.learned.segments[0] -= 100 << 32
    mapped.at[80] = 0
    with pytest.raises(BrokenLawError, match="not found: 1"):
        check_maps(maps)


def test_memory__is_that_of_all_maps() -> None:
    config = replace(DRIVE, maps=(Map.TWO_LEVEL, Map.DFTL, Map.LEARNED))
    kept = replayed(config, trace(writes([1])))[1]["state_bytes"].sum()
    assert STAGE.memory is memory
    assert kept <= memory(config) < kept + 200_000
    assert memory(DRIVE) < memory(config)


def test_config__learned_alone_needs_no_room_for_map_pages() -> None:
    assert DRIVE.blocks(0) <= replace(DRIVE, maps=(Map.DFTL,)).blocks(0)
    assert DRIVE.densest == 0
    flat, learned = told(replace(DRIVE, layout=Layout.COMPACT, footprint=(4096 * PAGE,)), writes([*range(200)]))
    assert (learned["map_pages"], learned["flash_bytes"], learned["map_programs"]) == (0, 0, 0)
    assert learned["host_programs"] + learned["waiting_pages"] == flat["host_programs"] == 200
