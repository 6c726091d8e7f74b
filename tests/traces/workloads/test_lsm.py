from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.reference import workloads as reference
from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError
from traces.label import Category
from traces.workloads._tree import File, Job, Tree, merged
from traces.workloads.lsm import WORKLOAD, Lsm, generate

pytestmark = pytest.mark.kernels

SMALL = {"capacity": 2000 * 4096, "memtable": 4 * 4096, "io": 2 * 4096, "fanout": 4, "level0": 3, "data": 0.5}


def config(**settings: Any) -> Lsm:
    return configured(Lsm, SMALL | settings)


def jobs(asked: Lsm, key: int = 1) -> Iterator[tuple[Tree, Job]]:
    tree = Tree(asked.shape, 0, key)
    for job in tree.jobs():
        yield tree, job


@st.composite
def inputs(draw: st.DrawFn) -> list[File]:
    """Some files that overlap, and a run of some that do not."""
    files = []
    for _ in range(draw(st.integers(1, 3))):
        lo = draw(st.integers(0, 100))
        hi = lo + draw(st.integers(1, 100))
        files.append(File(lo, hi, draw(st.integers(1, hi - lo))))
    edges = sorted(draw(st.sets(st.integers(0, 200), max_size=8)))
    files += [File(lo, hi, draw(st.integers(1, hi - lo))) for lo, hi in pairwise(edges)]
    return files


@given(files=inputs(), most=st.integers(1, 50))
def test_merged__holds_what_its_files_hold_together(files: list[File], most: int) -> None:
    out = merged(files, most)
    shares = reference.merged([file[:3] for file in files])
    total = sum(shares.values())
    assert sum(file.places for file in out) == pytest.approx(total, abs=0.5 + 1e-6)
    assert len(out) == -(-sum(file.places for file in out) // most)
    assert max(file.places for file in out) - min(file.places for file in out) <= 1
    assert (out[0].lo, out[-1].hi) == (min(file.lo for file in files), max(file.hi for file in files))
    assert all(one.hi == other.lo for one, other in pairwise(out))
    for file in out:
        assert 1 <= file.places <= min(most, file.hi - file.lo)
    passed = 0
    for file in out[:-1]:  # cut where its places are, within a key and the rounding of the pieces
        passed += file.places
        before = sum(share for key, share in shares.items() if key < file.hi)
        assert passed == pytest.approx(before, abs=2.5)


@pytest.mark.parametrize("fanout", [2, 4, 10])
@pytest.mark.parametrize("level0", [1, 3])
def test_tree__keeps_its_levels(fanout: int, level0: int) -> None:
    asked = config(fanout=fanout, level0=level0, capacity=4000 * 4096, data=0.3)
    levels = 0
    for tree, job in islice(jobs(asked), 5000):
        live: set[int] = set()
        for number, files in enumerate(tree.levels):
            slots = [file.slot for file in files]
            assert not live & set(slots)
            live |= set(slots)
            levels = max(levels, number if files else 0)
            if number:
                assert all(one.hi <= other.lo for one, other in pairwise(files)), "files of a level do not overlap"
            assert all(0 <= file.lo < file.hi <= asked.keys for file in files)
        assert not live & {file.slot for file in job.writes}, "nothing live is overwritten"
        assert {file.slot for file in (*job.upper, *job.lower)} <= live
        assert not live & {file.slot for file in job.dead}, "what is discarded has been replaced"
        if job.level == 0 and job.writes:
            assert len(tree.levels[0]) < level0
            for number, target in enumerate(asked.targets, 1):
                assert sum(file.places for file in tree.levels[number]) <= target, "all is in order before a flush"
            places = {file.slot: file.places for files in tree.levels for file in files}
            assert {slot: int(tree.live[slot]) for slot in np.flatnonzero(tree.live)} == places
    assert levels == len(asked.targets)


def test_tree__takes_files_round_the_keys() -> None:
    asked = config(capacity=20_000 * 4096, data=0.3)
    last = len(asked.targets)
    taken = [job.upper[0].lo for _, job in islice(jobs(asked), 20_000) if job.upper and job.level == last]
    back = sum(other < one for one, other in pairwise(taken))
    assert len(taken) > 500
    assert back < len(taken) / 20


@pytest.mark.parametrize("fanout", [4, 10])
def test_tree__rewrites_half_its_fanout(fanout: int) -> None:
    """A level's keys fill up evenly, from where a file was just given away to where one is given next.

    There the level is twice as dense as on average: a file spans half as many keys, and half as much of the next level,
    as it would if all keys were alike. Files at both ends, of which it overlaps a part, add one file together.
    """
    asked = config(capacity=40_000 * 4096, fanout=fanout, level0=4, data=0.45)
    upper = lower = held = merges = 0
    for tree, job in islice(jobs(asked), 40_000, 80_000):
        if job.level == len(asked.targets) and job.writes:
            upper += sum(file.places for file in job.upper)
            lower += sum(file.places for file in job.lower)
            held += sum(file.places for file in tree.levels[-1])
            merges += 1
    full = held / merges / asked.keys
    assert 0.6 < full <= 1
    assert full * fanout / 2 < lower / upper < full * fanout / 2 + 1


def test_tree__stays_within_its_slots() -> None:
    for fanout, level0, data in ((2, 12, 0.3), (10, 12, 0.4), (3, 1, 0.4), (30, 4, 0.2)):
        asked = config(fanout=fanout, level0=level0, data=data, capacity=8000 * 4096)
        for _ in islice(jobs(asked), 20_000):
            pass


@pytest.mark.parametrize("volumes", [1, 3])
@pytest.mark.parametrize("reads", [0.0, 0.4])
def test_lsm__reads_what_it_has_written_and_discards_it_whole(volumes: int, reads: float) -> None:
    rows = pl.concat(generate(config(requests=30_000, volumes=volumes, reads=reads, seed=3)))
    written: list[set[int]] = [set() for _ in range(volumes)]
    unflushed = [False] * volumes
    for i, (volume, op, address, length, stream) in enumerate(
        rows.select("volume", "op", "address", "length", "stream").rows()
    ):
        assert volume == i % volumes
        places = set(range(address // 4096, (address + length) // 4096))
        live = written[volume]
        if op == Op.WRITE:
            assert not live & places
            assert 1 <= len(places) <= 2
            live |= places
            unflushed[volume] = True
        elif op == Op.READ:
            assert places <= live
            assert len(places) == 1 or stream > 0
        elif op == Op.DISCARD:
            assert not unflushed[volume], "what replaces it is durable"
            assert places <= live
            live -= places
        else:
            assert (op, address, length) == (Op.FLUSH, 0, 0)
            unflushed[volume] = False
    lookups = rows.filter((pl.col("op") == Op.READ) & (pl.col("stream") == 0))
    assert lookups.height / rows.height == pytest.approx(reads, abs=0.015)


def test_lsm__requests_are_those_of_its_jobs() -> None:
    asked = config(requests=20_000, seed=8)
    rows = pl.concat(generate(asked))
    want = dict.fromkeys((Op.READ, Op.WRITE), 0)
    for _, job in islice(jobs(asked, key=5), 300):  # whatever the key: sizes do not depend on where a level begins
        want[Op.READ] += sum(file.places for file in (*job.upper, *job.lower))
        want[Op.WRITE] += sum(file.places for file in job.writes)
    flushes = rows.with_row_index().filter(pl.col("op") == Op.FLUSH)["index"]
    assert flushes.len() > 300
    have = rows.group_by("op").agg(pl.col("length").sum() // 4096)
    sizes = dict(have.rows())
    assert sizes[Op.WRITE] / sizes[Op.READ] == pytest.approx(want[Op.WRITE] / want[Op.READ], rel=0.1)
    assert sizes[Op.DISCARD] == pytest.approx(sizes[Op.READ], rel=0.05)


def test_lsm__merges_read_by_key_and_write_as_they_go() -> None:
    rows = pl.concat(generate(config(requests=30_000, io=4096)))
    ends = rows.with_row_index().filter(pl.col("op") == Op.FLUSH)["index"].to_list()
    largest = max(pairwise(ends), key=lambda pair: pair[1] - pair[0])
    job = rows[largest[0] + 1 : largest[1]].filter(pl.col("op") != Op.DISCARD)
    reads, writes = (job["op"] == Op.READ).cum_sum(), (job["op"] == Op.WRITE).cum_sum()
    ahead = reads / reads[-1] - writes / writes[-1]
    assert ahead.min() > -0.05
    assert ahead.max() < 0.05


def test_lsm__lookups_are_of_all_live_data_alike() -> None:
    rows = pl.concat(
        generate(config(requests=400_000, reads=0.9, data=0.3, memtable=40 * 4096, capacity=10_000 * 4096))
    )
    lookups = rows.filter((pl.col("op") == Op.READ) & (pl.col("stream") == 0))
    within = (lookups["address"] // 4096 % 40).to_numpy().astype(np.int64)
    assert chisquare(np.bincount(within, minlength=40)[:20]).pvalue > 1e-3


def test_lsm__refuses_what_has_no_room() -> None:
    with pytest.raises(ConfigError, match=r"capacity: a volume has room for 20 files of 100 places; this tree wants"):
        config(memtable=100 * 4096)
    with pytest.raises(ConfigError, match="data: 1e-09 of a volume's 2000 places is none"):
        config(data=1e-9)


def test_lsm__is_none_of_the_categories() -> None:
    assert WORKLOAD.spans(config())[0].label == Category.UNKNOWN
