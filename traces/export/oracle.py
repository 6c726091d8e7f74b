"""libCacheSim's oracleGeneral: records of u32 seconds, u64 object, u32 size, i64 next access; 24 bytes, little-endian.

The object of a request is its first sector, as in libCacheSim's own conversions of block traces; volumes lie one behind
the other. Reads and writes alike are accesses. Records are counted from 1, and the next access is the number of the
object's next record, -1 where there is none: it is known only from the end, so the accesses go to a file first, which
DuckDB reads back with each object's next number, sorting on disk in `_MEMORY`. Source: libCacheSim, oracleGeneralBin.h;
cache_dataset, README.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from traces.block import Op
from traces.errors import TraceError
from traces.export.exporter import SECTOR, Export, Outgoing
from traces.table import quoted

RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])

_MEMORY = "400MB"
_LONGEST = (1 << 32) - 1  # seconds, bytes
_OPS = (Op.READ, Op.WRITE, Op.ZONE_APPEND)
_COLUMNS = ("time", "op", "volume", "address", "length", "latency", "stream", "flags")
_NEXT = """
SELECT time, id, size, coalesce(lead(number) OVER (PARTITION BY id ORDER BY number), -1) AS next
FROM read_parquet({spool}) ORDER BY number
"""


def _accesses(out: Outgoing) -> Iterator[pl.DataFrame]:
    """Numbered from 1."""
    apart = max(-(-volume.extent // SECTOR) for volume in out.info.volumes)
    if apart * len(out.info.volumes) >= 1 << 64:
        raise TraceError(f"{len(out.info.volumes)} volumes of {apart} sectors are more than 2**64 objects")
    if len(out.info.volumes) > 1:
        out.lose(f"volumes, put one behind the other, {apart} sectors apart", len(out.info.volumes))
    seconds, number = pl.col("time") // 1_000_000_000, 0
    for batch in out.rows(_COLUMNS):
        rows = out.carried(batch, _OPS)
        if not rows.height:
            continue
        out.untold(rows)
        out.lose("operations: the format does not tell reads from writes", rows.height)
        out.lose("times, cut to seconds", int((rows["time"] % 1_000_000_000 != 0).sum()))
        out.lose("requests that do not begin with a sector", int((rows["address"] % SECTOR != 0).sum()))
        out.lose(f"sizes above {_LONGEST} bytes, written as that", int((rows["length"] > _LONGEST).sum()))
        if int(rows["time"][-1]) // 1_000_000_000 > _LONGEST:
            raise TraceError("the trace lasts longer than the 2**32 seconds of the format")
        yield rows.select(
            pl.int_range(number + 1, number + rows.height + 1, dtype=pl.Int64).alias("number"),
            seconds.cast(pl.UInt32).alias("time"),
            (pl.col("address") // SECTOR + pl.col("volume").cast(pl.UInt64) * apart).alias("id"),
            pl.col("length").clip(upper_bound=_LONGEST).cast(pl.UInt32).alias("size"),
        )
        number += rows.height


def _spooled(batches: Iterator[pl.DataFrame], spool: Path) -> int:
    """All accesses into one Parquet file; how many."""
    writer, rows = None, 0
    for batch in batches:
        table = batch.to_arrow()
        writer = writer or pq.ParquetWriter(spool, table.schema, compression="lz4")
        writer.write_table(table)
        rows += batch.height
    if writer is not None:
        writer.close()
    return rows


def _write(out: Outgoing) -> int:
    spool = out.scratch / "accesses.parquet"
    written = _spooled(_accesses(out), spool)
    if not written:
        return 0
    with duckdb.connect() as db:
        db.execute(f"SET memory_limit = {quoted(_MEMORY)}")
        db.execute(f"SET temp_directory = {quoted(str(out.scratch / 'sort'))}")
        for arrow in db.sql(_NEXT.format(spool=quoted(str(spool)))).to_arrow_reader(1 << 19):
            batch = pl.DataFrame(pl.from_arrow(arrow))
            records = np.empty(batch.height, RECORD)
            for name in RECORD.names or ():
                records[name] = batch[name].to_numpy()
            out.file.write(records.tobytes())
    return written


EXPORT = Export("oracle", "libCacheSim oracleGeneral", ".oracleGeneral", frozenset({"block"}), _write)
