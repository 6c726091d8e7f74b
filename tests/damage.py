"""Sources as the world leaves them: cut off, overwritten, nonsense."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.reader import Action, Format, Options, Records, Report, records
from traces.kinds import KINDS
from traces.table import schema_of

NUMBER = {"block": "volume", "memory": "space"}  # column that counts a report's volumes


def read(how: Format, paths: Sequence[Path | Input], action: str = "D") -> tuple[pl.DataFrame, Report]:
    """All records of a trace, checked for what every reader owes."""
    report = Report()
    table = schema_of(Records) if how.kind == "block" else records(KINDS[how.kind])
    schema = {name: pl.Categorical() if dtype == pl.String else dtype for name, dtype in table.items()}
    sources = [path if isinstance(path, Input) else Input(path, str(path)) for path in paths]
    batches = list(how.read(sources, Options(action=Action(action)), report))
    for batch in batches:
        assert list(batch.schema.items()) == list(schema.items())
        assert batch.height
        assert not any(batch[name].null_count() for name in batch.columns)
    rows = pl.concat(batches) if batches else pl.DataFrame(schema=schema)
    if how.kind in NUMBER:
        assert set(rows[NUMBER[how.kind]].unique()) == set(report.volumes.values())
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String)), report


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


def accounted(done: tuple[pl.DataFrame, Report] | None, data: bytes) -> None:
    """Every line of a text is a record, refused, or noted as a header."""
    if done is not None:
        rows, report = done
        lines = data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
        assert rows.height + report.refused + report.notes.get("header lines", 0) == lines


def costs_few(how: Format, path: Path, whole: bytes, harmed: bytes, rows: int) -> None:
    """Damage in a recognised source that is not cut off costs at most so many rows."""
    assert how.sniff("x", whole) is not None
    done = survives(how, path, harmed)
    assert done is not None
    path.write_bytes(whole)
    if not whole.startswith(harmed):
        assert done[0].height >= read(how, [path])[0].height - rows
