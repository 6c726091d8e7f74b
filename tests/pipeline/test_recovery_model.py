import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.recovery.config import Geometry, Merge, Partition, RecoveryConfig
from pipeline.ftl.recovery.model import Controller, Job, journalled, modelled
from pipeline.ftl.recovery.recover import recover
from traces.config import spelled

every_partition = pytest.mark.parametrize("partition", Partition, ids=spelled)
every_merge = pytest.mark.parametrize("merge", Merge, ids=spelled)


@pytest.mark.kernels
@settings(deadline=None)
@given(
    st.builds(
        RecoveryConfig,
        cores=st.integers(1, 8),
        partition=st.sampled_from(Partition),
        merge=st.sampled_from(Merge),
        stripes=st.sampled_from([1, 3, 64]),
        stride=st.sampled_from([1, 16, 300]),
        map_page=st.just(64),
        batch=st.sampled_from([50, 400]),
    ),
    st.integers(0, 3000),
    st.integers(1, 50),
)
def test_counts_are_those_of_the_real_code(config: RecoveryConfig, entries: int, blocksets: int) -> None:
    geometry = Geometry(blocksets=blocksets, pages=64)
    table = np.random.default_rng(entries).integers(0, 64 * blocksets, entries).astype(np.uint32)
    table[::3] = geometry.unmapped
    have = recover(table, geometry, config)
    want = modelled(Job(entries, have.mapped, blocksets), config, Controller())
    assert sum(want.read) == have.read.sum() == entries
    if config.partition != Partition.MAP_PAGE:  # there cores take what they get
        assert list(want.read) == have.read.tolist()
    assert want.increments == have.counts.sum()
    assert want.added == have.added.sum()
    assert want.locks == have.locks.sum()


@every_partition
@every_merge
@pytest.mark.parametrize("entries", [10**6, 10**9])
def test_no_more_is_gained_than_there_are_cores(entries: int, merge: Merge, partition: Partition) -> None:
    job, costs = Job(entries, entries * 3 // 4, 4096), Controller()
    alone = modelled(job, RecoveryConfig(cores=1, merge=merge, partition=partition), costs)
    for cores in (1, 2, 4, 8, 16, 32, 64):
        have = modelled(job, RecoveryConfig(cores=cores, merge=merge, partition=partition), costs)
        assert alone.time / have.time <= cores * 1.001
        assert have.time >= entries * 4 / costs.memory  # the table must be read
        assert 0 <= have.merge_share < 1


def test_a_controller_worked_out_by_hand() -> None:
    costs = Controller(
        memory=1e9, core_memory=1e9, check=1, increment=2, add=1, lock=10, handoff=100, barrier=5, near=1 << 20
    )
    job = Job(entries=1000, mapped=500, blocksets=10)
    for merge, want in {
        Merge.MUTEX: 1000 + 20 + 120,  # two cores count 500 each at 1 + 0.5 * 2; the second finds the lock taken
        Merge.OWNER: 1000 + 5 + 10,
        Merge.TREE: 1000 + 5 + 10 + 5 + 10,
    }.items():
        have = modelled(job, RecoveryConfig(cores=2, merge=merge, partition=Partition.CONTIGUOUS), costs)
        assert have.time == pytest.approx(want, rel=1e-6)
        assert have.scan == 1000


def test_cores_that_share_lines_bring_the_table_again() -> None:
    job, costs = Job(1 << 20, 1 << 20, 256), Controller()
    for stride, cores, times in ((1, 4, 4), (4, 8, 4), (16, 8, 1), (1024, 8, 1)):
        config = RecoveryConfig(cores=cores, partition=Partition.STRIDED, stride=stride)
        assert modelled(job, config, costs).memory == times * 4 << 20


def test_a_lock_for_each_increment_is_the_slowest_and_a_short_journal_the_fastest() -> None:
    job, costs = Job(10**8, 10**8, 4096), Controller()
    times = {merge: modelled(job, RecoveryConfig(cores=8, merge=merge), costs).time for merge in Merge}
    assert max(times, key=times.__getitem__) == Merge.SHARED
    assert journalled(job, 10**5, costs) < min(times.values()) < journalled(job, 10**8, costs)
