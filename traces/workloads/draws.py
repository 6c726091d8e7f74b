"""Random numbers, logarithms and permutations that are the same bits on every machine.

Number ``n`` of a lane is a function of the lane's key and of ``n`` alone: no state, hence the same draws whatever the
batch size, and loops that the compiler vectorises. The mixing function and the increment are those of SplitMix64
(Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), which passes BigCrush.

`ln` and `exp` use nothing but IEEE 754 additions, multiplications and divisions: a C library's differ in their last
bit from one to the next, and with it which address a draw becomes. They are also vectorised, which a call is not:
a Zipf draw took 31 ns with calls and branches, 9 ns so.
"""

import math
from typing import NamedTuple

import numpy as np

from traces.kernel import kernel
from traces.table import U64

_U11, _U12, _U27, _U30, _U31, _U32 = (np.uint64(bits) for bits in (11, 12, 27, 30, 31, 32))
_ONE, _LOW = np.uint64(1), np.uint64(0xFFFFFFFF)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

SHARE = 1 << 53  # a share of 1, as `chance` takes it


@kernel
def draw(key: np.uint64, number: np.uint64) -> np.uint64:
    """The 64 random bits that stand at ``number`` in the lane of ``key``."""
    z = key + (number + _ONE) * _GAMMA
    z = (z ^ (z >> _U30)) * _M1
    z = (z ^ (z >> _U27)) * _M2
    return z ^ (z >> _U31)


@kernel
def fill(key: np.uint64, out: U64) -> None:
    """The first draws of a lane."""
    for i in range(out.size):
        out[i] = draw(key, np.uint64(i))


def draws(key: int, count: int) -> U64:
    """The first ``count`` draws of the lane of ``key``: keys of lanes below it."""
    out = np.empty(count, np.uint64)
    fill(np.uint64(key), out)
    return out


@kernel
def below(bits: np.uint64, count: np.uint64) -> np.uint64:
    """A number in 0..count-1: the upper half of ``bits * count``. No value is favoured by more than count / 2**64."""
    a, b = bits & _LOW, bits >> _U32
    c, d = count & _LOW, count >> _U32
    middle = b * c + ((a * c) >> _U32)
    return b * d + (middle >> _U32) + ((a * d + (middle & _LOW)) >> _U32)


@kernel
def chance(bits: np.uint64, share: np.uint64) -> bool:
    """True with probability ``share / 2**53``: exactly never for 0 and always for `SHARE`."""
    return bool(bits >> _U11 < share)


@kernel
def unit(bits: np.uint64) -> float:
    """A number strictly between 0 and 1, on a grid of 2**-52."""
    return (np.int64(bits >> _U12) + 0.5) * 2.0**-52


# ln 2 in two parts: a multiple of the first by a small integer is exact
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42p-1"), float.fromhex("0x1.fdf473de6af28p-22")
_PER_LN2 = float.fromhex("0x1.71547652b82fep+0")
_ROOT_HALF = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
_FACTORIAL = tuple(1.0 / math.factorial(k) for k in range(14))
_ODD = tuple(1.0 / (2 * k + 1) for k in range(11))


@kernel
def exp(x: float) -> float:
    """e**x within 2 units in the last place, for x in -708..709; below that 0."""
    n = math.floor(max(x, -708.0) * _PER_LN2 + 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = _FACTORIAL[13]
    for k in range(12, -1, -1):
        p = p * r + _FACTORIAL[k]
    power = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return p * power if x >= -708.0 else 0.0


@kernel
def ln(x: float) -> float:
    """The natural logarithm within 2 units in the last place, for normal positive x."""
    bits = np.float64(x).view(np.int64)
    e = (bits - _ROOT_HALF) >> 52
    m = np.int64(bits - (e << 52)).view(np.float64)  # in sqrt(1/2)..sqrt(2)
    s = (m - 1.0) / (m + 1.0)  # ln m = 2 artanh s
    z = s * s
    p = _ODD[10]
    for k in range(9, 0, -1):
        p = p * z + _ODD[k]
    return (e * _LN2_HIGH) + ((2.0 * s * z * p + e * _LN2_LOW) + 2.0 * s)


@kernel
def ln_1p(x: float) -> float:
    """ln(1 + x) without loss for small x, by the quotient of two equally wrong numbers (Kahan)."""
    w = 1.0 + x
    return ln(w) * (x / (w - 1.0)) if w != 1.0 else x


@kernel
def exp_m1(x: float) -> float:
    """exp(x) - 1 without loss for small x, in the same way."""
    w = exp(x)
    if w == 1.0:
        return x
    return (w - 1.0) * (x / ln(w)) if w > 0.0 else -1.0


class Shuffle(NamedTuple):
    """A permutation of 0..places-1 for each volume, needing no table of addresses."""

    places: int
    bits: int  # of places - 1
    keys: U64  # [volume, two a round]


def new_shuffle(key: int, volumes: int, places: int) -> Shuffle:
    """The permutations that ``key`` stands for."""
    # After 4 rounds the distance between neighbours is visibly uneven among a few dozen places; after 8 it is not.
    bits, rounds = max(1, (places - 1).bit_length()), 8 if places <= 1 << 12 else 4
    return Shuffle(places, bits, draws(key, volumes * rounds * 2).reshape(volumes, rounds * 2))


@kernel
def shuffled(shuffle: Shuffle, volume: int, rank: np.uint64) -> np.uint64:
    """Where ``rank`` goes.

    Adding a key, multiplying by an odd one and folding the upper bits onto the lower each permute the numbers of that
    many bits; a number beyond the last place is sent round again until it falls below (cycle walking: Black, Rogaway,
    Ciphers with Arbitrary Finite Domains, CT-RSA 2002), fewer than two times on average.
    """
    places, half = np.uint64(shuffle.places), np.uint64((shuffle.bits + 1) // 2)
    mask = (_ONE << np.uint64(shuffle.bits)) - _ONE
    keys = shuffle.keys
    x = rank
    while True:
        for k in range(0, keys.shape[1], 2):
            x = ((x + keys[volume, k]) * (keys[volume, k + 1] | _ONE)) & mask
            x ^= x >> half
        if x < places:
            return x
