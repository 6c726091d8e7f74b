"""The closed forms against the tables of the specification, and the drive against the closed forms."""

from itertools import accumulate
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import lambertw

from pipeline.ftl import theory
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.validate import TOLERANCE, Cell, cells, measure
from pipeline.ftl.victim import Victim

# spare: greedy for b = 16, 32, 64, 128, 256, 1024; FIFO; random
TABLE = {
    0.05: (6.590, 7.823, 8.850, 9.461, 9.798, 10.076, 10.172, 20),
    0.07: (5.154, 6.057, 6.616, 6.945, 7.124, 7.268, 7.318, 14.29),
    0.10: (3.981, 4.508, 4.821, 4.992, 5.083, 5.154, 5.179, 10),
    0.15: (2.968, 3.202, 3.354, 3.434, 3.476, 3.508, 3.519, 6.67),
    0.20: (2.361, 2.514, 2.599, 2.645, 2.668, 2.687, 2.693, 5),
    0.28: (1.813, 1.897, 1.943, 1.967, 1.979, 1.989, 1.992, 3.57),
    0.50: (1.197, 1.223, 1.239, 1.247, 1.251, 1.254, 1.255, 2),
}
D_CHOICES = {2: 3.533, 3: 3.113, 5: 2.832, 10: 2.675, 20: 2.624, 100: 2.602}


@pytest.mark.parametrize("spare", TABLE)
def test_theory__gives_the_table(spare: float) -> None:
    have = [*(theory.greedy(spare, b) for b in (16, 32, 64, 128, 256, 1024)), theory.fifo(spare), theory.random(spare)]
    assert have == pytest.approx(TABLE[spare], rel=0.001)


@pytest.mark.parametrize("choices", D_CHOICES)
def test_theory__gives_the_d_choices(choices: int) -> None:
    assert theory.d_choices(0.20, 64, choices) == pytest.approx(D_CHOICES[choices], abs=0.0006)


@given(spare=st.floats(0.001, 0.999))
def test_fifo__is_lamberts_w(spare: float) -> None:
    alpha = 1 / (1 - spare)
    assert theory.fifo(spare) == pytest.approx(alpha / (alpha + lambertw(-alpha * exp(-alpha)).real), rel=1e-9)


@given(spare=st.floats(0.01, 0.95), pages=st.sampled_from([16, 64, 200]), choices=st.integers(1, 60))
def test_closed_forms__fulfil_their_equations(spare: float, pages: int, choices: int) -> None:
    """What each form is the solution of, put in again."""
    rho = 1 - spare
    x = pages * (1 - 1 / theory.greedy(spare, pages))
    harmonic = [0.0, *accumulate(1 / k for k in range(1, pages + 1))]
    at_x = harmonic[int(x)] + (x - int(x)) * (harmonic[min(int(x) + 1, pages)] - harmonic[int(x)])
    if x > 0:
        assert (pages - x) / (pages * rho) == pytest.approx(harmonic[pages] - at_x, rel=1e-9)
    c = 1 / (theory.d_choices(spare, pages, choices) * rho)
    above = total = 0.0
    for i in range(pages, 0, -1):
        above = brentq(
            lambda s, above=above, i=i: s - above - (1 - s**choices) / (c * i), above - 1e-9, above + 1 / (c * i) + 1e-9
        )
        total += above
    assert total == pytest.approx(pages * rho, rel=1e-6)


def test_theory__limits_meet() -> None:
    assert theory.greedy(0.1, 1 << 16) == pytest.approx(theory.fifo(0.1), rel=0.001)
    assert theory.d_choices(0.1, 64, 1) == pytest.approx(theory.random(0.1))
    assert theory.d_choices(0.2, 64, 2000) == pytest.approx(theory.greedy(0.2, 64), rel=0.002)
    assert theory.greedy(0.99, 64) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("spare", [0.0, 1.0, -0.1])
def test_theory__refuses_spares_that_are_none(spare: float) -> None:
    for form in (theory.fifo, theory.random, lambda s: theory.greedy(s, 64), lambda s: theory.d_choices(s, 64, 2)):
        with pytest.raises(ValueError, match="spare must lie between 0 and 1"):
            form(spare)


REDUCED = [
    *(
        Cell(victim=Victim.GREEDY, spare=s, pages=b, blocks=4096)
        for s, b in ((0.07, 16), (0.10, 64), (0.20, 64), (0.5, 128))
    ),
    *(Cell(victim=v, spare=s, pages=16, blocks=4096) for v in (Victim.FIFO, Victim.RANDOM) for s in (0.10, 0.28)),
    *(Cell(victim=Victim.D_CHOICES, spare=0.20, choices=d, blocks=4096) for d in (2, 10)),
    Cell(victim=Victim.GREEDY, spare=0.20, blocks=1024, reserve=16, measured=10),
    Cell(
        victim=Victim.GREEDY,
        spare=0.20,
        blocks=4096,
        warm=30,
        hot=0.2,
        heat=0.8,
        frontiers=Frontiers.SEPARATE,
        want=2.855,
    ),
]


@pytest.mark.kernels
@pytest.mark.parametrize("cell", REDUCED, ids=str)
def test_drive__agrees_with_theory(cell: Cell) -> None:
    assert abs(measure(cell).deviation) <= TOLERANCE


def test_cells__are_the_whole_of_the_tables() -> None:
    by_policy = [sum(cell.victim == v for cell in cells()) for v in (Victim.FIFO, Victim.RANDOM, Victim.D_CHOICES)]
    assert by_policy == [7, 7, 6]
    assert sum(cell.victim == Victim.GREEDY and cell.reserve == 1 and not cell.hot for cell in cells()) == 42
    assert all(cell.blocks >= 4096 and cell.warm >= 6 for cell in cells() if cell.reserve == 1)
