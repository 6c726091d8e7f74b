"""How long drives last, against the figures of the specification and by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ftl import theory
from pipeline.ftl.victim import Blocks
from pipeline.ftl.wear import life
from pipeline.ftl.wear.config import DAY, Retirement, Wearing
from pipeline.ftl.wear.model import begin_wear, erase_block
from pipeline.ftl.wear.state import Wear
from tests.pipeline.worn import worn
from traces.table import columns_of

GIB = 1 << 30
PHYSICAL, ENDURANCE, DAILY = 1024.0, 3000, 953.67  # GiB, cycles, GiB a day
# exported GiB: write amplification of a full drive under uniform random writes (FIFO), days
ORACLE = {953.67: (7.455, 432), 800.0: (2.481, 1298), 700.0: (1.793, 1797), 600.0: (1.441, 2236)}


@pytest.mark.parametrize("exported", ORACLE)
def test_days__are_the_oracles(exported: float) -> None:
    wa, days = ORACLE[exported]
    have = theory.fifo(1 - exported / PHYSICAL)
    assert have == pytest.approx(wa, abs=0.0006)
    assert life.days(PHYSICAL * GIB, ENDURANCE, DAILY * GIB, have) == pytest.approx(days, abs=0.6)


def test_days__without_amplification() -> None:
    assert life.days(PHYSICAL * GIB, ENDURANCE, DAILY * GIB, 1.0) == pytest.approx(3221, abs=0.6)


def test_bytes_written__by_hand() -> None:
    """1 TB of TLC, 3,000 cycles, WA 3: 1,000 TB."""
    assert life.bytes_written(1e12, 3000, 3.0) == 1e15


def test_writes_per_day__by_hand() -> None:
    """3,000 cycles, an eighth more than exported, WA 2.25, five years: 3,000 * 1.125 / (1,825 * 2.25) = .8219."""
    assert life.writes_per_day(1 - 1 / 1.125, 3000, 2.25, 5) == pytest.approx(0.821918, abs=1e-6)


@given(st.floats(1e6, 1e15), st.floats(0, 0.9), st.integers(1, 100_000), st.floats(1, 50), st.floats(0.5, 10))
def test_life__agrees_with_itself(physical: float, spare: float, endurance: int, wa: float, years: float) -> None:
    """TBW is DWPD times exported bytes times days; writing DWPD each day lasts exactly the years."""
    exported = physical * (1 - spare)
    daily = life.writes_per_day(spare, endurance, wa, years) * exported
    assert life.bytes_written(physical, endurance, wa) == pytest.approx(daily * 365 * years)
    assert life.days(physical, endurance, daily, wa) == pytest.approx(365 * years)


@given(st.floats(600, 1000), st.floats(1, 20))
def test_life__is_longer_the_less_is_exported(exported: float, less: float) -> None:
    days = [life.days(PHYSICAL, ENDURANCE, DAILY, theory.fifo(1 - e / PHYSICAL)) for e in (exported, exported - less)]
    assert days[0] < days[1] < life.days(PHYSICAL, ENDURANCE, DAILY, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: life.bytes_written(1.0, 1.0, 0.9),
        lambda: life.bytes_written(1.0, 1.0, float("nan")),
        lambda: life.days(1.0, 1.0, 0.0, 1.0),
        lambda: life.writes_per_day(1.0, 1.0, 1.0, 5),
        lambda: life.writes_per_day(0.1, 1.0, 1.0, 0),
    ],
)
def test_life__refuses(call: Any) -> None:
    with pytest.raises(ValueError, match=r"must|is at least"):
        call()


def drive(config: Wearing, total: int, logical: int) -> tuple[Blocks, Wear]:
    blocks, wear = worn(config, total, logical)
    begin_wear(blocks, wear)
    return blocks, wear


@pytest.mark.kernels
def test_life_of__by_hand() -> None:
    """Ten blocks of 4 pages of 1,000 bytes at half of 100 cycles; three were erased, one of them most often."""
    config = Wearing(endurance=100, worn=0.5, retirement=Retirement.FIXED)
    blocks, wear = drive(config, 10, 20)
    blocks.erases[:3] = (2, 4, 10)
    have = life.life_of(blocks, wear, life.Served(host=80, wa=2.0, wl_programs=3, page=1000, span=DAY // 2, years=5.0))
    assert have["erases_left"] == 10 * 50 - 16
    assert have["written_left"] == 484 * 4000 / 2
    assert have["days_left"] == pytest.approx(484 * 4000 / 2 / 160_000)  # 80,000 bytes in half a day
    assert have["days_to_first"] == pytest.approx(40 / 10 / 2)  # ten erases in half a day, forty left
    assert have["tbw"] == pytest.approx(40_000 * 100 / 2 / 1e12)
    assert have["dwpd"] == pytest.approx(100 * 2 / (365 * 5 * 2))
    assert (have["worn_out"], have["worn_out_request"], have["wl_programs"]) == (False, -1, 3)
    assert (have["endurance"], have["cycles_before"], have["physical_pages"], have["exported_pages"]) == (
        100,
        50,
        40,
        20,
    )


@pytest.mark.kernels
def test_life_of__tells_what_is_not_known() -> None:
    """Nothing was written, in no time."""
    blocks, wear = drive(Wearing(endurance=100, retirement=Retirement.FIXED), 10, 20)
    have = life.life_of(blocks, wear, life.Served(host=0, wa=-1.0, wl_programs=0, page=512, span=0, years=5.0))
    columns = columns_of(life.FtlLife)
    assert {"volume", *have} == {column.name for column in columns}
    assert {name for name, value in have.items() if value == -1} == {
        column.name for column in columns if column.unknown is not None
    }
    assert have["erases_left"] == 1000


@pytest.mark.kernels
def test_life_of__ends_with_the_drive() -> None:
    """Other blocks stand many erases yet; the drive takes no byte more."""
    blocks, wear = drive(Wearing(endurance=1, retirement=Retirement.FIXED), 10, 31)
    assert not erase_block(blocks, wear, 0, 0)
    have = life.life_of(blocks, wear, life.Served(host=9, wa=1.5, wl_programs=0, page=512, span=DAY, years=5.0))
    assert have["worn_out"]
    assert (have["erases_left"], have["written_left"], have["days_left"]) == (9, 0.0, 0.0)
