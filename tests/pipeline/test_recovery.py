from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.ftl.recovery.config import Duplicates, Geometry, Merge, Partition, RecoveryConfig, pieces_of
from pipeline.ftl.recovery.recover import PowerLostError, Recovering, Recovery, recover
from tests.reference.recovery import Recovered, recovered
from traces.config import configured, plain, spelled
from traces.errors import ConfigError

pytestmark = pytest.mark.kernels

Table = NDArray[Any]
every_partition = pytest.mark.parametrize("partition", Partition, ids=spelled)
every_merge = pytest.mark.parametrize("merge", Merge, ids=spelled)


def drawn(seed: int, entries: int, geometry: Geometry, dtype: Any = np.uint32) -> Table:
    """Stretches in order, at random, unmapped, out of range, on one address."""
    chance = np.random.default_rng(seed)
    table, at = np.empty(entries, np.uint64), 0
    while at < entries:
        size = int(chance.choice([1, 7, 64, 300, 700]))
        part, kind = table[at : at + size], chance.integers(0, 6)
        low = int(chance.integers(geometry.first, geometry.last + 1))
        if kind <= 1:
            part[:] = np.minimum(np.arange(low, low + part.size), geometry.last)
        elif kind <= 3:
            part[:] = chance.integers(geometry.first, geometry.last + 1, part.size)
        elif kind == 4:
            part[:] = low if chance.random() < 0.3 else geometry.unmapped
        else:
            wild = [geometry.last + 1, geometry.last + 2 + low, max(0, geometry.first - 1), np.iinfo(dtype).max - 1]
            part[:] = chance.choice(np.array([geometry.unmapped, low, *wild], np.uint64), part.size)
        at += size
    return table.astype(dtype)


def clean(geometry: Geometry, share: float = 0.8, seed: int = 1) -> Table:
    """Every address once at most, as a drive's own table."""
    chance = np.random.default_rng(seed)
    blocksets, pages = np.divmod(chance.permutation(geometry.blocksets * geometry.pages), geometry.pages)
    table = (geometry.first + (blocksets << geometry.shift) + pages).astype(np.uint32)
    table[chance.random(table.size) >= share] = geometry.unmapped
    return table


def plainly(table: Table, geometry: Geometry) -> Recovered:
    return recovered(
        table.tolist(), geometry.blocksets, geometry.pages, unmapped=geometry.unmapped, first=geometry.first
    )


def told(have: Recovery) -> Recovered:
    return Recovered(have.counts.tolist(), have.mapped, have.unmapped, have.out_of_range, have.stray, have.duplicates)


geometries = st.builds(
    Geometry,
    blocksets=st.integers(1, 40),
    pages=st.sampled_from([1, 3, 16, 64, 100, 128]),
    first=st.sampled_from([0, 1, 77]),
    unmapped=st.sampled_from([(1 << 32) - 1, 1 << 20]),
) | st.builds(
    Geometry, blocksets=st.integers(1, 40), pages=st.sampled_from([1, 5, 64]), first=st.just(1), unmapped=st.just(0)
)
configs = st.builds(
    RecoveryConfig,
    cores=st.integers(1, 8),
    partition=st.sampled_from(Partition),
    merge=st.sampled_from(Merge),
    stripes=st.sampled_from([1, 3, 64]),
    stride=st.sampled_from([1, 3, 16, 256, 400]),
    map_page=st.sampled_from([64, 4096]),
    batch=st.sampled_from([1, 50, 513, 1 << 20]),
    duplicates=st.just(Duplicates.FLAG),
    shuffle=st.integers(-1, 1 << 20),
)


@settings(deadline=None, max_examples=150)
@given(configs, geometries, st.integers(0, 1 << 32), st.integers(0, 3000), st.sampled_from([np.uint32, np.uint64]))
def test_counts_are_those_of_the_reference(
    config: RecoveryConfig, geometry: Geometry, seed: int, entries: int, dtype: Any
) -> None:
    entries = min(entries, 60 * config.batch)  # a few pieces a core
    table = drawn(seed, entries, geometry, dtype)
    have = recover(table, geometry, config)
    assert told(have) == plainly(table, geometry)
    assert have.read.sum() == have.entries == have.mapped + have.unmapped + have.out_of_range == entries


@every_partition
@every_merge
@pytest.mark.parametrize("cores", range(1, 9))
def test_counts_are_those_of_the_reference_on_every_number_of_cores(
    cores: int, partition: Partition, merge: Merge
) -> None:
    geometry = Geometry(blocksets=37, pages=96)
    table = drawn(cores, 20_000, geometry)
    want = plainly(table, geometry)
    for shuffle in (-1, 5):
        config = RecoveryConfig(cores=cores, partition=partition, merge=merge, stride=40, batch=1000, shuffle=shuffle)
        assert told(recover(table, geometry, config)) == want


@every_partition
def test_the_sum_of_the_counts_is_the_mapped_addresses(partition: Partition) -> None:
    geometry = Geometry(blocksets=50, pages=64)
    table = clean(geometry)
    have = recover(table, geometry, RecoveryConfig(cores=3, partition=partition, batch=100))
    assert have.counts.sum() == have.mapped == np.count_nonzero(table != geometry.unmapped)
    assert have.counts.max() <= geometry.pages
    assert not have.corrupt


@settings(deadline=None)
@given(configs, st.integers(0, 5000), st.sampled_from([4, 8]))
def test_subsets_are_disjoint_and_cover_the_table(config: RecoveryConfig, entries: int, width: int) -> None:
    entries = min(entries, 60 * config.batch)
    pieces, settled = pieces_of(entries, width, config)
    visits = np.zeros(entries, int)
    for begin, end, run, step in pieces:
        for at in range(begin, end, step):
            visits[at : min(at + run, end)] += 1
    assert (visits == 1).all()
    assert ((settled == -1) if config.partition == Partition.MAP_PAGE else (settled >= 0)).all()
    assert (settled < config.cores).all()


@every_partition
def test_each_address_is_checked_once(partition: Partition) -> None:
    geometry = Geometry(blocksets=9, pages=1 << 12)
    table = np.arange(9 << 12, dtype=np.uint32)
    config = RecoveryConfig(cores=4, partition=partition, stride=16, batch=1 << 10, map_page=512)
    have = recover(table, geometry, config)
    assert have.counts.tolist() == [1 << 12] * 9  # one that is read twice would count twice, and be a duplicate
    assert have.duplicates == 0
    if partition != Partition.MAP_PAGE:  # there the cores take what they get
        assert have.read.max() - have.read.min() <= 1024


@settings(deadline=None, max_examples=150)
@given(configs, geometries, st.integers(0, 1 << 32), st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_power_lost_anywhere_changes_nothing(
    config: RecoveryConfig, geometry: Geometry, seed: int, losses: list[int]
) -> None:
    table = drawn(seed, min(2000, 10 * config.batch), geometry)
    recovering = Recovering(table, geometry, config)
    for step in losses:
        try:
            recovering.run(step)
        except PowerLostError:
            continue
    recovering.run()
    want = plainly(table, geometry)
    assert told(recovering.result()) == want
    recovering.run()  # nothing is left to do
    assert told(recovering.result()) == want
    assert recovering.read.sum() == table.size


@pytest.mark.parametrize("merge", [m for m in Merge if m != Merge.SHARED], ids=spelled)
def test_power_lost_in_the_midst_of_a_merge(merge: Merge) -> None:
    geometry = Geometry(blocksets=64, pages=64)
    table = clean(geometry)
    config = RecoveryConfig(cores=4, merge=merge, partition=Partition.CONTIGUOUS, stripes=8)
    scans = 4  # a piece each
    for step in range(scans, scans + 4):
        recovering = Recovering(table, geometry, config)
        with pytest.raises(PowerLostError):
            recovering.run(step)
        assert told(recovering.result()) != plainly(table, geometry)
        recovering.run()
        assert told(recovering.result()) == plainly(table, geometry)


@every_merge
@pytest.mark.parametrize("many", [2, 300])
def test_addresses_on_one_physical_address(merge: Merge, many: int) -> None:
    geometry = Geometry(blocksets=4, pages=256)
    table = np.full(1000, geometry.unmapped, np.uint32)
    table[:many] = 700
    counted = recover(table, geometry, RecoveryConfig(cores=3, merge=merge, duplicates=Duplicates.COUNT, batch=60))
    assert counted.counts.tolist() == [0, 0, many, 0]
    assert not counted.corrupt
    flagged = recover(table, geometry, RecoveryConfig(cores=3, merge=merge, duplicates=Duplicates.FLAG, batch=60))
    assert flagged.duplicates == many - 1
    assert flagged.corrupt


@every_merge
def test_unmapped_and_out_of_range(merge: Merge) -> None:
    geometry = Geometry(blocksets=3, pages=5, first=10, unmapped=0)  # addresses 10 to 33, of each 8 the first 5
    table = np.array([0, 10, 14, 15, 18, 26, 30, 31, 33, 34, 9, 2**32 - 1, 0, 0], np.uint32)
    have = recover(table, geometry, RecoveryConfig(cores=2, merge=merge, batch=4))
    assert have.counts.tolist() == [2, 1, 2]
    assert (have.unmapped, have.out_of_range, have.stray) == (3, 6, 3)
    assert have.corrupt


@pytest.mark.parametrize("many", [(1 << 16) - 1, 1 << 16, 3 * (1 << 16) + 5])
def test_counts_past_two_bytes(many: int) -> None:
    geometry = Geometry(blocksets=2, pages=1 << 18)
    table = np.empty(2 * many, np.uint32)
    table[::2] = np.arange(many)
    table[1::2] = (1 << 18) + np.arange(many)
    have = recover(table, geometry, RecoveryConfig(cores=1))
    assert have.counts.tolist() == [many, many]
    assert have.duplicates == 0


def test_nothing_is_a_table_too() -> None:
    have = recover(np.empty(0, np.uint64), Geometry(blocksets=2, pages=2), RecoveryConfig(cores=3))
    assert told(have) == Recovered([0, 0], 0, 0, 0, -1, 0)


@pytest.mark.parametrize(
    ("table", "geometry", "message"),
    [
        (np.zeros(3, np.int32), {}, "one row of uint32 or uint64, got 1 of int32"),
        (np.zeros((3, 3), np.uint32), {}, "one row of uint32 or uint64, got 2 of uint32"),
        (np.zeros(3, np.uint32), {"unmapped": 1 << 32}, "unmapped is 4294967296, which no entry of uint32 can hold"),
        (np.zeros(3, np.uint32), {"unmapped": 7}, "unmapped is 7, which is an address too"),
        (np.zeros(3, np.uint32), {"blocksets": 0}, "blocksets, pages and first must be 1"),
        (np.zeros(3, np.uint64), {"first": 1 << 64}, "more than 8 bytes hold"),
    ],
)
def test_what_cannot_be_is_refused(table: Table, geometry: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recover(table, Geometry(**{"blocksets": 2, "pages": 4} | geometry), RecoveryConfig())


def test_the_configuration_survives_its_spelling() -> None:
    config = RecoveryConfig(cores=7, partition=Partition.STRIDED, merge=Merge.TREE, shuffle=3)
    assert configured(RecoveryConfig, plain(config)) == config
    with pytest.raises(ConfigError, match="cores"):
        configured(RecoveryConfig, {"cores": 65})
