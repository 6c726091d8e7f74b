import math
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.reference import workloads as reference
from traces.kernel import kernel
from traces.table import F64, U64
from traces.workloads.draws import (
    SHARE,
    Shuffle,
    below,
    chance,
    draw,
    draws,
    exp,
    exp_m1,
    ln,
    ln_1p,
    new_shuffle,
    shuffled,
    unit,
)

pytestmark = pytest.mark.kernels

words = st.integers(0, 2**64 - 1)
ULP = 2.0**-52


@kernel
def _shuffle_all(shuffle: Shuffle, volume: int, out: U64) -> None:
    for i in range(out.size):
        out[i] = shuffled(shuffle, volume, np.uint64(i))


@kernel
def _shuffle_one(shuffle: Shuffle, rank: int, out: U64) -> None:
    for volume in range(out.size):
        out[volume] = shuffled(shuffle, volume, np.uint64(rank))


@kernel
def _four(x: F64, out: F64) -> None:
    for i in range(x.size):
        out[0, i], out[1, i], out[2, i], out[3, i] = exp(x[i]), ln(x[i]), ln_1p(x[i]), exp_m1(x[i])


def order(places: int, *, key: int = 7, volume: int = 0, volumes: int = 1) -> list[int]:
    out = np.empty(places, np.uint64)
    _shuffle_all(new_shuffle(key, volumes, places), volume, out)
    return [int(x) for x in out]


def test_draws__are_splitmix64() -> None:
    # the paper's Java gives these for the seed 1234567
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert draws(1234567, 5).tolist() == known == reference.splitmix64(1234567, 5)


@given(key=words, number=st.integers(0, 2**40))
def test_draw__needs_no_draw_before_it(key: int, number: int) -> None:
    start = (key + number * 0x9E3779B97F4A7C15) % 2**64
    assert draw(np.uint64(key), np.uint64(number)) == reference.splitmix64(start, 1)[0]


@given(bits=words, count=words)
def test_below__is_the_upper_half_of_the_product(bits: int, count: int) -> None:
    assert below(np.uint64(bits), np.uint64(count)) == bits * count >> 64


@given(bits=words)
def test_chance__never_and_always(bits: int) -> None:
    assert not chance(np.uint64(bits), np.uint64(0))
    assert chance(np.uint64(bits), np.uint64(SHARE))


@pytest.mark.parametrize("bits", [0, 1, 2**63, 2**64 - 1])
def test_unit__lies_between_0_and_1(bits: int) -> None:
    assert 0 < unit(np.uint64(bits)) < 1


@pytest.mark.parametrize(
    "x",
    [
        np.linspace(1e-3, 700, 100_000),
        np.linspace(0.5, 2, 100_000),
        1 + np.linspace(-1e-6, 1e-6, 10_000),
        np.geomspace(1e-300, 1e2, 10_000),
    ],
    ids=["wide", "around 1", "close to 1", "small"],
)
def test_ln_and_exp__equal_the_library_s_nearly(x: F64) -> None:
    out = np.empty((4, x.size))
    _four(x, out)
    for mine, true in zip(out, (np.exp(x), np.log(x), np.log1p(x), np.expm1(x)), strict=True):
        np.testing.assert_allclose(mine, true, rtol=4 * ULP)


@given(x=st.floats(2.0**-1000, 700))
def test_ln_and_exp__compile_to_the_arithmetic_they_spell(x: float) -> None:
    """No fused multiply-add, no reordering: then no machine can differ."""
    for function in (exp, ln, ln_1p, exp_m1):
        assert function(x) == cast(Any, function).py_func(x)


def test_exp__of_what_is_too_small_is_0() -> None:
    assert exp(-709.0) == 0.0 == exp(-1e300)
    assert exp(-700.0) == pytest.approx(math.exp(-700), rel=4 * ULP)
    assert exp_m1(-1e9) == -1.0


@pytest.mark.parametrize("places", [*range(1, 70), 1000, 4096, 4097, 100_003])
def test_shuffle__is_a_permutation(places: int) -> None:
    assert sorted(order(places)) == list(range(places))


@given(key=words, places=st.integers(1, 2**40), volume=st.integers(0, 2), data=st.data())
def test_shuffle__equals_the_reference(key: int, places: int, volume: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, places - 1))
    shuffle = new_shuffle(key, 3, places)
    keys = [int(k) for k in shuffle.keys[volume]]
    assert shuffled(shuffle, volume, np.uint64(rank)) == reference.shuffled(rank, places, keys)


def test_shuffle__differs_by_key_and_volume() -> None:
    one = order(1000, volumes=2)
    assert one != order(1000, key=8, volumes=2)
    assert one != order(1000, volume=1, volumes=2)
    assert one == order(1000)  # more volumes leave the first as it is


@pytest.mark.parametrize("places", [2, 3, 5, 8, 10, 16, 17, 64, 100, 1000, 5000])
def test_shuffle__sends_neighbours_anywhere(places: int) -> None:
    shuffle = new_shuffle(11, 1 << 16, places)
    first, second = np.empty(1 << 16, np.uint64), np.empty(1 << 16, np.uint64)
    _shuffle_one(shuffle, 0, first)
    _shuffle_one(shuffle, 1, second)
    assert chisquare(np.bincount(first.astype(np.int64), minlength=places)).pvalue > 1e-4
    apart = Counter(((second.astype(np.int64) - first.astype(np.int64)) % places).tolist())
    assert 0 not in apart
    if places > 2:
        assert chisquare([apart[d] for d in range(1, places)]).pvalue > 1e-4


def test_shuffle__leaves_no_trace_of_the_order() -> None:
    where = np.array(order(100_003), float)
    assert abs(np.corrcoef(where, np.arange(where.size))[0, 1]) < 0.015
    assert abs(np.corrcoef(where[1:], where[:-1])[0, 1]) < 0.015
