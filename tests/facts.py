"""Exact facts about published recordings, counted by other programs, against what a reader yields."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats.reader import Report


def facts(shared: Path, name: str) -> dict[str, Any]:
    """What is known of one published recording."""
    known: dict[str, Any] = json.loads((shared / "public-traces/FACTS.json").read_text())[name]
    return known


def pages(rows: pl.DataFrame) -> int:
    """How many pages of 4096 bytes requests touch, volumes apart."""
    some = rows.filter(pl.col("length") > 0)
    first = (some["offset"] // 4096).to_numpy()
    last = ((some["offset"] + some["length"] - 1) // 4096).to_numpy()
    count = (last - first + 1).astype(np.int64)
    start = np.repeat(first, count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    volume = np.repeat(some["volume"].to_numpy(), count).astype(np.uint64)
    return int(np.unique((volume << np.uint64(48)) | (start + step.astype(np.uint64))).size)


def hold(known: dict[str, Any], rows: pl.DataFrame, report: Report) -> None:
    """Check every fact that is about block requests."""
    reads, writes = (rows.filter(pl.col("op") == op) for op in (Op.READ, Op.WRITE))
    odd = known["odd"]
    aligned = pl.col("offset") % 4096 == 0
    have = {
        "records": rows.height,
        "reads": reads.height,
        "writes": writes.height,
        "bytes_read": reads["length"].sum(),
        "bytes_written": writes["length"].sum(),
        "devices": len(report.volumes),
        "max_end_offset": (rows["offset"] + rows["length"]).max(),
        "max_request_bytes": rows["length"].max(),
        "pages4k": pages(rows),
        "pages4k_written": pages(writes),
    }
    assert have == {key: known[key] for key in have}
    span = rows["time"].max() - rows["time"].min()  # type: ignore[operator]
    assert span == round(known["span_s"] * 1e9)
    strange = {
        "malformed": report.refused,
        "timestamp_decreases": (rows["time"].diff().drop_nulls() < 0).sum(),
        "duplicate_consecutive_timestamps": (rows["time"].diff().drop_nulls() == 0).sum(),
        "zero_length": (rows["length"] == 0).sum(),
        "offset_not_512_aligned": (rows["offset"] % 512 != 0).sum(),
        "size_not_512_multiple": (rows["length"] % 512 != 0).sum(),
        "offset_not_4096_aligned": rows.filter(~aligned).height,
        "exact_duplicate_rows": rows.height - rows.n_unique(),
    }
    assert strange == {key: odd.get(key, strange[key]) for key in strange}
