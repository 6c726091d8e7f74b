"""Sources as the world leaves them: cut off, overwritten, nonsense."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Action, Format, Options, Records, Report
from traces.table import schema_of


def read(how: Format, paths: Sequence[Path], action: str = "D") -> tuple[pl.DataFrame, Report]:
    """All records of a trace, checked for what every reader owes."""
    report = Report()
    schema = schema_of(Records) | {"raw": pl.Categorical()}
    batches = list(how.read([Input(path, str(path)) for path in paths], Options(action=Action(action)), report))
    for batch in batches:
        assert list(batch.schema.items()) == list(schema.items())
        assert batch.height
        assert not any(batch[name].null_count() for name in batch.columns)
    rows = pl.concat(batches) if batches else pl.DataFrame(schema=schema)
    assert set(rows["volume"].unique()) == set(report.volumes.values())
    return rows.with_columns(pl.col("raw").cast(pl.String)), report


def survives(how: Format, path: Path, data: bytes) -> tuple[pl.DataFrame, Report] | None:
    """Sniff and read whatever it is: records, refused rows or a TraceError, nothing else."""
    how.sniff(str(path), data[: 1 << 16])
    path.write_bytes(data)
    try:
        rows, report = read(how, [path])
    except TraceError:
        return None
    assert report.take_refused().height == report.refused
    return rows, report


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The same bytes cut, some of them overwritten, removed or put in."""
    places = st.integers(0, len(whole) - 1)

    def cut(at: int) -> bytes:
        return whole[:at]

    def overwritten(at: int, new: bytes) -> bytes:
        return whole[:at] + new + whole[at + len(new) :]

    def removed(at: int, count: int) -> bytes:
        return whole[:at] + whole[at + count :]

    def inserted(at: int, new: bytes) -> bytes:
        return whole[:at] + new + whole[at:]

    some = st.binary(min_size=1, max_size=60)
    return st.one_of(
        places.map(cut),
        st.builds(overwritten, places, some),
        st.builds(removed, places, st.integers(1, 200)),
        st.builds(inserted, places, some),
    )
