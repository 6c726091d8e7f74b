"""Comma-separated values: a header, then every column of the trace's table, NULL as nothing, and the volume's name."""

from io import BytesIO

import polars as pl

from traces.export.exporter import Export, Outgoing
from traces.kinds import KINDS
from traces.requests import PLACES
from traces.table import columns_of


def _write(out: Outgoing) -> int:
    columns = columns_of(KINDS[out.info.kind])
    place = PLACES.get(out.info.kind)
    names = pl.Series([volume.name for volume in out.info.volumes], dtype=pl.String)
    written = 0
    for batch in out.rows([column.name for column in columns]):
        unknown = [
            pl.when(pl.col(c.name) != c.unknown).then(pl.col(c.name)).alias(c.name)
            for c in columns
            if c.unknown is not None
        ]
        rows = batch.with_columns(*unknown, *([names.gather(batch[place]).alias(f"{place}_name")] if place else []))
        buffer = BytesIO()
        rows.write_csv(buffer, include_header=not written)
        out.file.write(buffer.getvalue())
        written += batch.height
    return written


EXPORT = Export("csv", "comma-separated values with a header, all columns", ".csv", None, _write)
