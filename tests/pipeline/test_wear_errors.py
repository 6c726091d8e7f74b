"""Bit errors by hand, and what a configuration of wear refuses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl._cell import Cell
from pipeline.ftl.victim import Phase
from pipeline.ftl.wear.config import TLC_72, Rber, Retirement, Wearing
from pipeline.ftl.wear.model import (
    begin_wear,
    erase_block,
    read_page,
    wants_refresh,
)
from pipeline.ftl.wear.state import new_wear, rber
from tests.pipeline.worn import opened, worn
from tests.reference import wear as reference
from traces.config import configured, keys, plain, to_toml
from traces.errors import ConfigError

pytestmark = pytest.mark.kernels


# by hand: 1000^2.05 = 10^6.15 = 1,412,537.5, times 3.9e-10 = 5.5089e-4; 1000^.14 = 10^.42 = 2.63027, 30^.54 = 6.27578,
# their product times 6.28e-5 = 1.036586e-3; 1000^.33 = 10^.99 = 9.77237, 1000^1.71 = 10^5.13 = 134,896.3, times 3.73e-9
# = 4.917098e-3
HAND = {
    (0, 0, 0): 1.48e-3,
    (1000, 0, 0): 2.03089e-3,
    (1000, 30, 0): 3.067476e-3,
    (1000, 0, 1000): 6.947988e-3,
    (1000, 30, 1000): 7.984574e-3,
}


@pytest.mark.parametrize("at", HAND)
def test_rber__by_hand(at: tuple[int, int, int]) -> None:
    assert rber(np.array(TLC_72), *map(float, at)) == pytest.approx(HAND[at], rel=2e-6)
    assert reference.rber(TLC_72, *at) == pytest.approx(HAND[at], rel=2e-6)


@settings(deadline=None)
@given(st.floats(0, 1e5), st.floats(0, 1e4), st.floats(0, 1e6), st.sampled_from([0, 1, 2]), st.floats(1.0, 100.0))
def test_rber__grows_with_everything(cycles: float, days: float, reads: float, which: int, factor: float) -> None:
    at = [cycles, days, reads]
    more = [each * (factor if i == which else 1.0) for i, each in enumerate(at)]
    law = np.array(TLC_72)
    assert rber(law, *more) >= rber(law, *at) >= TLC_72[0]
    assert rber(law, *at) == pytest.approx(reference.rber(TLC_72, *at))


def test_linear__goes_from_fresh_to_the_limit() -> None:
    config = Wearing(rber=Rber.LINEAR, endurance=2000)
    law = np.array(config.law)
    assert rber(law, 0.0, 9.0, 9.0) == TLC_72[0]
    assert rber(law, 1000.0, 0.0, 0.0) == pytest.approx((TLC_72[0] + 5e-3) / 2)
    assert rber(law, 2000.0, 9.0, 9.0) == pytest.approx(5e-3)


def test_power_law__wears_a_tlc_at_2471_cycles() -> None:
    """Where 1.48e-3 + 3.9e-10 c^2.05 passes 5e-3, though the rating is 3,000."""
    config = Wearing(rber=Rber.POWER_LAW, worn=0.8, retirement=Retirement.FIXED)
    blocks, wear = worn(config, 8, 4)
    begin_wear(blocks, wear)
    erased = config.age
    while not erase_block(blocks, wear, opened(blocks, wear), 0):
        erased += 1
        blocks.erases[:] = erased - config.age
    assert erased + 1 == 2472


def test_read_page__retries_until_it_corrects() -> None:
    """30 days after 1,000 cycles 3.07e-3: no retry under 5e-3, and under 2e-3 the fifth, as .9^5 3.07e-3 = 1.81e-3."""
    for correctable, retries, want in ((5e-3, 8, (0, False)), (2e-3, 8, (5, False)), (2e-3, 4, (4, True))):
        config = Wearing(
            rber=Rber.POWER_LAW, endurance=2000, worn=0.5, correctable=correctable, retries=retries, refresh=4
        )
        blocks, wear = worn(config, 8, 4)
        begin_wear(blocks, wear)
        block = opened(blocks, wear)
        wear.state[0].now = 30 * config.retention_unit
        assert read_page(blocks, wear, block) == want
        assert (wear.state[0].read_retries, wear.state[0].uncorrectable) == (want[0], int(want[1]))
        assert not wants_refresh.py_func(blocks, wear, block, want[0])  # type: ignore[attr-defined]
        blocks.phase[block] = Phase.CLOSED
        assert wants_refresh.py_func(blocks, wear, block, want[0]) == (want[0] >= 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cell": "qlc", "rber": "power-law"}, "the default rber_constants are those of a tlc: give those of a qlc"),
        ({"rber": "linear", "correctable": 1e-3}, "no page could be read"),
        ({"refresh": 9}, "refresh 9 is never reached with retries 8"),
        ({"worn": 0.5}, "worn has no effect"),
        ({"factory_bad": 0.03}, "factory_bad"),
        ({"rber_constants": "1;2"}, "rber_constants"),
        ({"rber_constants": "-1;2;3;4;5;6;7;8;9"}, "rber_constants"),
        ({"retirement": "never"}, "not one of them"),
    ],
)
def test_wearing__refuses(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(Wearing, asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir(Wearing):
    """As the configuration of a drive inherits them."""

    page: int = 1

    def __post_init__(self) -> None:
        Wearing.__post_init__(self)


def test_wearing__is_inherited() -> None:
    asked = {"page": 4, "cell": "mlc", "rber": "power-law", "rber_constants": "1e-4;2;3;4;5;6;7;8;9", "worn": 0.5}
    config = configured(Heir, asked)
    assert config.rber_constants == (1e-4, *map(float, range(2, 10)))
    assert (config.cycles, config.age, config.page) == (10_000, 5000, 4)
    assert configured(Heir, tomlkit.parse(to_toml(config))) == config
    assert all(key.doc for key in keys(Wearing))
    with pytest.raises(ConfigError, match="give those of a mlc"):
        configured(Heir, asked | {"rber_constants": TLC_72})


def test_wearing__is_off_by_itself() -> None:
    config = Wearing()
    assert not config.wears
    assert not config.spared
    assert new_wear(config, 1000, 1, 1, 1) is None
    assert configured(Wearing, plain(config)) == config
    assert {cell: Wearing(cell=cell).cycles for cell in Cell} == {1: 100_000, 2: 10_000, 3: 3_000, 4: 1_000}
    assert Wearing(endurance=7).cycles == 7
