"""The map cache under block traces, against LRU caches of each size."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ftl.l2p.map_cache import FEWEST, FOLLOWED, STAGE, Config, FtlMapCacheSummary, FtlMapMrc, Granularity
from tests.reference.mrc import Looked, lru
from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo, Volume
from traces.table import frame, schema_of

pytestmark = pytest.mark.kernels

PAGE = 512
Rows = list[tuple[int, int, int, int]]  # operation, volume, address, length


def trace(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(STAGE.takes), orient="row")


def replayed(config: Config, *batches: pl.DataFrame) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The curves, and the summary's rows."""
    curves, summary = STAGE.run(batches, config)
    assert isinstance(curves, FtlMapMrc)
    assert isinstance(summary, FtlMapCacheSummary)
    return frame(curves), frame(summary).to_dicts()


def pages_of(row: tuple[int, int, int, int], discards: bool) -> range:
    """The pages that a request looks up."""
    op, _, address, length = row
    if op not in (Op.READ, Op.WRITE, Op.DISCARD, Op.WRITE_ZEROES) or not length or (op == Op.DISCARD and not discards):
        return range(0)
    if op == Op.DISCARD:
        return range(-(-address // PAGE), (address + length) // PAGE)
    return range(address // PAGE, (address + length - 1) // PAGE + 1)


def lookups(rows: Rows, volume: int, config: Config) -> dict[Granularity, Looked]:
    mine = [row for row in rows if row[1] == volume]
    pages = [(page, row[0] == Op.READ) for row in mine for page in pages_of(row, config.discards)]
    return {
        Granularity.ENTRY: pages,
        Granularity.MAP_PAGE: [(page // config.fanout, read) for page, read in pages],
    }


requests = st.tuples(
    st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3, 4, 6, 255]),
    st.integers(0, 2),
    st.integers(0, 60 * PAGE),
    st.sampled_from([0, 1, PAGE, 2 * PAGE, 9 * PAGE]),
)
configs = st.builds(
    Config,
    page=st.just(PAGE),
    fanout=st.integers(2, 9),
    pointer=st.sampled_from([4, 8]),
    cache=st.integers(1, 400),
    discards=st.booleans(),
)


@given(configs, st.lists(requests, max_size=60))
def test_map_cache__is_that_of_lru_caches(config: Config, rows: Rows) -> None:
    curves, summaries = replayed(config, trace(rows))
    assert [row["volume"] for row in summaries] == sorted({row[1] for row in rows})
    for have in summaries:
        volume = have["volume"]
        for granularity, looked in lookups(rows, volume, config).items():
            reads = sum(read for _, read in looked)
            one = "entry" if granularity == Granularity.ENTRY else "map_page"
            many = "entries" if granularity == Granularity.ENTRY else "map_pages"
            bytes_each = config.pointer * (2 if granularity == Granularity.ENTRY else config.fanout + 1)
            distinct = len({key for key, _ in looked})

            def ratios(size: int, looked: Looked = looked, reads: int = reads) -> tuple[float, float]:
                hits, of_reads = lru(looked, size)
                return hits / len(looked) if looked else -1, of_reads / reads if reads else -1

            chosen = config.cache // bytes_each
            powers = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= distinct]
            sizes = sorted({*powers, distinct, chosen} - {0})
            mine = curves.filter(volume=volume, granularity=int(granularity))
            assert mine.drop("volume", "granularity").rows() == [
                (size, size * bytes_each, *ratios(size), True) for size in sizes
            ]
            assert (have["lookups"], have["read_lookups"]) == (len(looked), reads)
            assert (have[many], have[many + "_exact"]) == (distinct, True)
            assert (have[one + "_hit_ratio"], have[one + "_read_hit_ratio"]) == ratios(chosen)
            assert have[one + "_most"] == ratios(distinct)[0]
            for percent in (90, 99):
                enough = [n for n in range(distinct + 1) if looked and 100 * lru(looked, n)[0] >= percent * len(looked)]
                assert have[f"{one}_bytes_{percent}"] == (enough[0] * bytes_each if enough else -1)
        assert have["requests"] == sum(row[1] == volume for row in rows)
        touched = [page for row in rows if row[1] == volume for page in pages_of(row, config.discards)]
        assert have["flat_bytes"] == (max(touched, default=-1) + 1) * config.pointer


def test_map_cache__grows_within_a_request() -> None:
    """One request of more pages than a new stack has room for, thrice."""
    rows = [(1, 0, PAGE, 5000 * PAGE)] * 3
    curves, (have,) = replayed(Config(page=PAGE, followed=1 << 20), trace(rows))
    assert (have["lookups"], have["entries"], have["map_pages"]) == (15_000, 5000, 5)
    assert have["entry_most"] == 2 / 3
    ratios = dict(curves.filter(granularity=0).select("cache_entries", "hit_ratio").iter_rows())
    assert (ratios[4096], ratios[5000]) == (0, 2 / 3)


def test_map_cache__says_where_it_samples() -> None:
    chance = np.random.default_rng(3)
    rows = [(0, 0, int(page) * PAGE, PAGE) for page in chance.integers(0, 4000, 20_000)]
    config = Config(page=PAGE, fanout=8, cache=500 * 8, followed=1024)
    sampled, exact = (replayed(replace(config, followed=most), trace(rows)) for most in (1024, 4096))
    have, want = sampled[1][0], exact[1][0]
    assert (have["entries_exact"], have["map_pages_exact"]) == (False, True)
    assert (want["entries_exact"], want["entries"]) == (True, len({row[2] for row in rows}))
    assert have["map_page_hit_ratio"] == want["map_page_hit_ratio"]
    assert have["entry_hit_ratio"] == pytest.approx(want["entry_hit_ratio"], abs=0.05)
    assert have["entries"] == pytest.approx(want["entries"], rel=0.1)
    assert sampled[0].filter(granularity=0)["exact"].any() is False
    assert replayed(replace(config, cache=8), trace(rows[:1]))[1][0]["entry_hit_ratio"] == 0
    assert replayed(replace(config, cache=8), trace(rows))[1][0]["entry_hit_ratio"] == -1  # one entry: below the step


def test_fit__shares_what_is_followed_among_volumes() -> None:
    def followed(volumes: int, config: Config) -> int:
        info = TraceInfo(format="x", volumes=[Volume(name=str(i)) for i in range(volumes)])
        return STAGE.fit(config, info, list).followed

    assert followed(1, Config()) == followed(0, Config()) == FOLLOWED
    assert followed(4, Config()) == FOLLOWED // 4
    assert followed(1 << 20, Config()) == FEWEST
    assert followed(4, Config(followed=99)) == 99


@pytest.mark.parametrize(
    "row", [(1, 0, (1 << 32) * PAGE, 1), (0, 0, (1 << 32) * PAGE - 9, 10), (0, 0, (1 << 64) - 1, 9), (2, 0, 9, 1 << 63)]
)
def test_map_cache__refuses_what_pointers_cannot_reach(row: tuple[int, int, int, int]) -> None:
    good = [(1, 0, (1 << 32) * PAGE - 10, 10), (255, 0, 1 << 63, 1 << 62)]
    with pytest.raises(TraceError, match=rf"block row 2: address {row[2]} .* reaches past the 4294967296 pages of 512"):
        replayed(Config(page=PAGE), trace(good), trace([row]))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"page": 3000}, "page must be a power of two"), ({"followed": 5}, "followed must be 0"), ({"cache": 0}, "cache")],
)
def test_config__refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(Config, given)
