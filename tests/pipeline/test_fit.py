"""What a drive's sizes are settled by: one reading tells what is written in pages of every size."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ftl import fit as fitting
from pipeline.ftl.config import Config, Layout, Zeroes
from pipeline.ftl.fit import fit
from pipeline.ftl.replay import Request
from traces.block import Op
from traces.errors import TraceError
from traces.info import TraceInfo, Volume
from traces.table import schema_of

Row = tuple[int, int, int, int]  # op, volume, address, length
EXTENTS = (1 << 20, 777_777)


def frame(rows: list[Row]) -> pl.DataFrame:
    given = pl.DataFrame(rows, schema=["op", "volume", "address", "length"], orient="row").with_row_index("time")
    absent = [pl.lit(0).alias(name) for name in schema_of(Request) if name not in given.columns]
    return given.with_columns(absent).select(*schema_of(Request)).cast(schema_of(Request))  # type: ignore[arg-type]


@st.composite
def requests(draw: st.DrawFn) -> Row:
    volume = draw(st.integers(0, 1))
    address = draw(st.integers(0, EXTENTS[volume] - 1))
    most = EXTENTS[volume] - address
    return draw(st.sampled_from(Op)), volume, address, draw(st.integers(0, most) | st.integers(0, min(most, 9000)))


def written(rows: list[Row], page: int, zeroes: Zeroes) -> list[int]:
    """Distinct pages of each volume, by sets."""
    touched: tuple[set[int], set[int]] = set(), set()
    for op, volume, address, length in rows:
        if length and (op == Op.WRITE or (op == Op.WRITE_ZEROES and zeroes == Zeroes.PROGRAM)):
            touched[volume].update(range(address // page, (address + length - 1) // page + 1))
    return [len(each) for each in touched]


@pytest.mark.kernels
@given(
    rows=st.lists(requests(), min_size=1, max_size=12),
    cut=st.integers(0, 12),
    first=st.sampled_from([512, 2048, 4096, 1 << 16]),
)
def test_one_reading_tells_what_is_written_in_pages_of_every_size(rows: list[Row], cut: int, first: int) -> None:
    parts = [frame(part) for part in (rows[:cut], rows[cut:]) if part]
    told = dict(fitting._written(first, list(EXTENTS), parts))
    assert set(told) == {1 << power for power in range(min(first, 4096).bit_length() - 1, 25)}
    for page, pages in told.items():
        for zeroes in Zeroes:
            assert pages[:, int(zeroes == Zeroes.PROGRAM)].tolist() == written(rows, page, zeroes)


@pytest.mark.kernels
def test_a_grid_reads_the_trace_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_footprints", {})
    monkeypatch.setattr(fitting, "_extents_of", {})
    chance = np.random.default_rng(3)
    rows: list[Row] = [
        (int(chance.choice([Op.WRITE, Op.WRITE_ZEROES, Op.READ])), 0, int(at) * 512, 9000)
        for at in chance.integers(0, 1 << 16, 2000)
    ]
    reads = 0

    def reading() -> Iterator[pl.DataFrame]:
        nonlocal reads
        reads += 1
        yield frame(rows)

    extent = max(address + length for _, _, address, length in rows)
    volume = Volume(name="a", requests=len(rows), reads=0, writes=0, extent=extent)
    told = TraceInfo(format="x", content="told", rows=len(rows), span=10, volumes=[volume])
    untold = replace(told, content="untold", volumes=[])
    for info, most in ((told, 1), (untold, 2)):
        reads = 0
        for page in (1 << 14, 4096, 1 << 15):
            for zeroes in Zeroes:
                config = Config(page=page, write_zeroes=zeroes, spare=0.3, layout=Layout.COMPACT)
                settled = fit(config, info, reading)
                assert settled.footprint == (page * written(rows, page, zeroes)[0],)
        assert reads == most
    fit(Config(page=512, spare=0.3), told, reading)
    fit(Config(page=1024, spare=0.3), told, reading)
    assert reads == 3  # smaller pages than were counted: once more


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((Op.WRITE, 2, 0, 1), "volume: 2 is not one of the trace's 2 volumes"),
        ((Op.WRITE_ZEROES, 1, EXTENTS[1] + 20000, 4096), "past the 777777 bytes"),
    ],
)
def test_writes_where_nothing_is_are_refused(row: Row, told: str) -> None:
    with pytest.raises(TraceError, match=told):
        list(fitting._written(4096, list(EXTENTS), [frame([row])]))
