"""When accesses to configuration space are made: each lasts its cost, part of which is drawn."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel
from traces.table import U64
from traces.workloads.draws import draw, ln, unit

_WINDOW = np.uint64(2)  # the bit of an access's word that tells the way: see `pci.machine`
_CLOCK = np.dtype([("now", "u8"), ("rest", "f8"), ("row", "u8")])


class Costs(NamedTuple):
    """Nanoseconds of an access through the ports and through the window."""

    fixed: tuple[float, float]
    varying: tuple[float, float]  # the mean of what is exponentially distributed
    key: np.uint64


def new_clock() -> NDArray[np.void]:
    """At the trace's beginning."""
    return np.zeros(1, _CLOCK)


@lean_kernel
def tell(costs: Costs, clock: NDArray[np.void], stretch: tuple[U64, int, int], position: int, at: U64) -> None:
    """The times of some accesses of a stretch (keys, start, interval), from ``position`` of its rounds on.

    A round begins once the one before is done and its own time has come.
    """
    keys, start, interval = stretch
    c = clock[0]
    turn, place = position // keys.size, position % keys.size
    for i in range(at.size):  # apart from the sum below, which cannot be vectorised
        at[i] = np.float64(-ln(unit(draw(costs.key, c.row + np.uint64(i))))).view(np.uint64)
    c.row += np.uint64(at.size)
    now, rest = c.now, c.rest
    for i in range(at.size):
        if place == 0:
            now = max(now, np.uint64(start + turn * interval))
        drawn = np.uint64(at[i]).view(np.float64)
        at[i] = now
        window = keys[place] & _WINDOW != np.uint64(0)
        rest += costs.fixed[1] + costs.varying[1] * drawn if window else costs.fixed[0] + costs.varying[0] * drawn
        whole = np.floor(rest)
        rest -= whole
        now += np.uint64(whole)
        place += 1
        if place == keys.size:
            place, turn = 0, turn + 1
    c.now, c.rest = now, rest
