from itertools import product
from typing import Any

import numpy as np
import pytest

from pipeline.ftl._page_mapped_config import PageMappedConfig
from pipeline.ftl.drive import CapacityError, Frontiers, blocks_for, prepare
from pipeline.ftl.fleet import Fleet, drive_in, new_fleet, state_bytes
from pipeline.ftl.laws import BrokenLawError, check_laws
from pipeline.ftl.nand.model import Loop
from pipeline.ftl.victim import Victim
from pipeline.ftl.wear.config import Retirement

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize(
    ("victim", "pages"),
    [
        (victim, pages)
        for victim in Victim
        for pages in (16, 17, 32, 33, 64, 100, 256, 1024, 65536)
        if victim != Victim.COST_BENEFIT or pages >= 32
    ],
)
def test_fleet__state_is_small(pages: int, victim: Victim) -> None:
    for logical, spare, frontiers in product((1, 5 * pages, 70 * pages + 1, 1 << 22), (0.001, 0.07, 0.5), Frontiers):
        try:
            blocks = blocks_for(logical, pages, spare, 1, frontiers)
        except CapacityError as error:
            blocks = error.blocks
        # direct; the trace's address space as large as the drive, larger, about where arrays give way to hashes, huge
        for space in (0, logical, 3 * logical // 2, 5 * logical // 3, 2 * logical, (1 << 32) - 1):
            fleet = _fleet([logical], blocks, pages, victim=victim, numbered=space, frontiers=frontiers)
            assert state_bytes(fleet, 0) <= 16 * blocks * pages + 3072


def test_fleet__nothing_is_kept_beside_the_drives() -> None:
    fleet = _fleet([100, 3000, 7], 60, 64, numbered=5000)
    arrays_of = [each for each in fleet if isinstance(each, np.ndarray)]
    assert (
        sum(each.nbytes for each in arrays_of) == sum(state_bytes(fleet, v) for v in range(3)) + fleet.start[0].nbytes
    )


def _fleet(
    logical: list[int],
    blocks: int,
    pages: int,
    *,
    victim: Victim = Victim.GREEDY,
    numbered: int = 0,
    frontiers: Frontiers = Frontiers.ONE,
) -> Fleet:
    return new_fleet(
        logical,
        [blocks] * len(logical),
        [numbered] * len(logical),
        pages,
        page=4096,
        reserve=1,
        frontiers=frontiers,
        victim=victim,
        choices=1,
        window=1,
        seed=0,
    )


@pytest.mark.parametrize(
    ("break_it", "law"),
    [
        (lambda d: d.tally[0].__setattr__("gc", 1), "X1"),
        (lambda d: d.blocks.erases.__setitem__(3, 9), "X2"),
        (lambda d: d.blocks.valid.__setitem__(0, 3), "sum of validity counts"),
        (lambda d: d.where.__setitem__(5, 0), "recount of the map"),
        (lambda d: d.where.__setitem__(5, d.where[6]), "not answer"),
        (lambda d: d.counts.__setitem__(0, 0), "not answer"),
    ],
)
def test_laws__a_broken_one_is_told(break_it: Any, law: str) -> None:
    fleet = _fleet([1 << 12], 80, 64)
    drive = drive_in(fleet, 0)
    prepare(drive, 0, True, 0)
    check_laws(fleet)
    break_it(drive)
    with pytest.raises(BrokenLawError, match=law):
        check_laws(fleet)


def test_drive_in__is_a_view_of_its_own_volume() -> None:
    config = PageMappedConfig(timing=Loop.OPEN, retirement=Retirement.FIXED)
    fleet = new_fleet(
        [4096, 4096],
        [80, 80],
        [0, 0],
        64,
        page=4096,
        reserve=1,
        frontiers=Frontiers.ONE,
        victim=Victim.GREEDY,
        choices=1,
        window=1,
        seed=0,
        timing=config,
        wearing=config,
        time=1,
    )
    assert fleet.wear is not None
    assert fleet.nands is not None
    for volume in range(2):
        drive = drive_in(fleet, volume)
        assert drive.wear is not None
        assert drive.nand is not None
        for mine, all_of_them in (
            (drive.wear.state, fleet.wear.state),
            (drive.nand.moment, fleet.nands.moment),
            (drive.tally, fleet.tally[2 * volume :]),
        ):
            assert np.shares_memory(mine, all_of_them)
        assert drive.wear.state.ctypes.data == fleet.wear.state[volume:].ctypes.data
        assert drive.nand.moment.ctypes.data == fleet.nands.moment[volume:].ctypes.data
