from itertools import islice

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.memory import stencil2, stencil3
from traces.config import configured
from traces.errors import ConfigError
from traces.memory import Op
from traces.workloads.memory.stencil import WORKLOAD, Stencil, generate

pytestmark = pytest.mark.kernels


@settings(max_examples=40)
@given(
    dimensions=st.sampled_from([2, 3]),
    cells=st.integers(120, 400),
    cpus=st.integers(1, 2),
    spaces=st.integers(1, 2),
    batch=st.integers(20, 900),
)
def test_stencil__sweeps(dimensions: int, cells: int, cpus: int, spaces: int, batch: int) -> None:
    asked = {"footprint": cells * 16, "cpus": cpus, "spaces": spaces, "dimensions": dimensions, "accesses": 4000}
    config = configured(Stencil, asked)
    rows = pl.concat(generate(config, batch))
    inner = config.cells // config.plane - 2
    assert inner == config.share * cpus
    for space in range(spaces):
        for cpu in range(cpus):
            its = rows.filter(space=space, cpu=cpu)
            mine = range(1 + cpu * config.share, 1 + (cpu + 1) * config.share)
            sweep = stencil2(mine, config.side) if dimensions == 2 else stencil3(mine, config.side)
            want = list(islice(sweep, its.height))
            assert its["raw"].cast(pl.String).to_list() == [word for word, _, _ in want]
            assert its["address"].to_list() == [(1 << 32) + (grid * config.cells + cell) * 8 for _, grid, cell in want]


@pytest.mark.parametrize(("dimensions", "points"), [(2, 5), (3, 7)])
def test_a_sweep__stores_each_inner_cell_once(dimensions: int, points: int) -> None:
    config = configured(Stencil, {"dimensions": dimensions, "footprint": "64KiB", "accesses": 1})
    inner = (config.cells // config.plane - 2) * (config.side - 2) ** (dimensions - 1)
    config = configured(Stencil, {"dimensions": dimensions, "footprint": "64KiB", "accesses": inner * (points + 1)})
    rows = pl.concat(generate(config))
    stores = rows.filter(op=int(Op.STORE))
    assert stores.height == stores["address"].n_unique() == inner
    assert rows["address"].to_numpy().max() < (1 << 32) + 2 * config.cells * 8 <= (1 << 32) + (64 << 10)
    assert config.cells * 16 > 0.9 * (64 << 10)
    assert WORKLOAD.spans(config)[0].label == f"stencil {dimensions}d"


@given(cells=st.integers(1, 1 << 44))
def test_a_side__is_the_root_rounded_down(cells: int) -> None:
    config = Stencil.__new__(Stencil)
    for dimensions in (2, 3):
        for name, value in (("footprint", cells * 16), ("size", 8), ("dimensions", dimensions)):
            object.__setattr__(config, name, value)
        assert config.side**dimensions <= cells < (config.side + 1) ** dimensions


def test_too_small_a_grid__is_refused() -> None:
    for settings_ in ({"footprint": 64}, {"footprint": 1024, "cpus": 8}, {"footprint": 256, "dimensions": 3}):
        with pytest.raises(ConfigError, match="leaves a grid of"):
            configured(Stencil, settings_)
