"""Records in time order, whatever order they stand in, within bounded memory.

A source that is nearly sorted is sorted through a window of rows held back. One that is not (days
concatenated in the wrong order) overflows the window: `Disorder`, and `sorted_on_disk` takes over.
"""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from traces.table import I64, quoted

HELD = 1 << 18  # rows held back: they are written only when the source has ended, while one core idles


class Disorder(Exception):
    """A record stands further from its place than the rows held back."""


@dataclass
class Moves:
    """How far a source was from time order."""

    moved: int = 0  # records that stood after a later one
    backward: int = 0  # steps backward from one record to the next
    latest: int = -(1 << 63)
    last: int = -(1 << 63)

    def count(self, time: I64) -> None:
        """Add a batch's times, in the source's order."""
        latest = np.maximum.accumulate(np.maximum(time, self.latest))
        self.moved += int(np.count_nonzero(time < latest))
        self.backward += int(np.count_nonzero(time[1:] < time[:-1])) + int(time[0] < self.last)
        self.latest, self.last = int(latest[-1]), int(time[-1])


def _times(batch: pl.DataFrame) -> I64:
    return batch["time"].to_numpy()


def in_time_order(batches: Iterable[pl.DataFrame], moves: Moves, held: int = HELD) -> Iterator[pl.DataFrame]:
    """The same records, stably sorted by ``time``; Disorder where ``held`` rows do not suffice."""
    waiting: deque[pl.DataFrame] = deque()  # sorted, and sorted among themselves
    rows, given = 0, -(1 << 63)
    for batch in batches:
        if not batch.height:
            continue
        time = _times(batch)
        before = moves.moved, moves.latest
        moves.count(time)
        if moves.moved == before[0]:
            waiting.append(batch)
        else:
            if int(time.min()) < given:
                raise Disorder
            overlap = [batch]
            least = int(time.min())
            while waiting and int(waiting[-1]["time"][-1]) > least:
                overlap.insert(0, waiting.pop())
            waiting.append(pl.concat(overlap).sort("time", maintain_order=True))
        rows += batch.height
        while waiting and rows - waiting[0].height >= held:
            ready = waiting.popleft()
            rows -= ready.height
            given = int(ready["time"][-1])
            yield ready
    yield from waiting


def merged(streams: Sequence[Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """Streams that are each in time order as one; equal times keep the order of the streams."""
    if len(streams) == 1:
        yield from streams[0]
        return
    heads = [pl.DataFrame() for _ in streams]
    live = set(range(len(streams)))
    short = set(live)  # streams of which more must be seen before anything can be said
    while True:
        for i in sorted(short):
            more = next(streams[i], None)
            if more is None:
                live.discard(i)
            else:
                heads[i] = pl.concat([heads[i], more]) if heads[i].height else more
        # up to the last time seen of a stream, exclusive, nothing more can come from it
        lasts = {i: int(heads[i]["time"][-1]) for i in live}
        if not lasts:
            yield from _joined(heads)
            return
        bound = min(lasts.values())
        cuts = [int(np.searchsorted(_times(head), bound, "left")) if head.height else 0 for head in heads]
        yield from _joined([head[:cut] for head, cut in zip(heads, cuts, strict=True)])
        heads = [head[cut:] for head, cut in zip(heads, cuts, strict=True)]
        short = {i for i, last in lasts.items() if last == bound}


def _joined(parts: Sequence[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    filled = [part for part in parts if part.height]
    if filled:
        yield pl.concat(filled).sort("time", maintain_order=True) if len(filled) > 1 else filled[0]


def sorted_on_disk(batches: Iterable[pl.DataFrame], folder: Path, memory: str = "400MB") -> Iterator[pl.DataFrame]:
    """The same records, stably sorted by ``time`` with files in ``folder``, which is removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        spool = folder / "spool.parquet"
        writer, seen = None, 0
        for batch in batches:
            table = batch.with_columns(
                pl.int_range(seen, seen + batch.height, dtype=pl.Int64).alias("seen"), pl.col("raw").cast(pl.String)
            ).to_arrow()
            seen += batch.height
            writer = writer or pq.ParquetWriter(spool, table.schema, compression="lz4")
            writer.write_table(table)
        if writer is None:
            return
        writer.close()
        with duckdb.connect() as db:
            db.execute(f"SET memory_limit = {quoted(memory)}")
            db.execute(f"SET temp_directory = {quoted(str(folder / 'sort'))}")
            db.execute("SET preserve_insertion_order = true")
            whole = f"SELECT * EXCLUDE (seen) FROM read_parquet({quoted(str(spool))}) ORDER BY time, seen"
            for arrow in db.sql(whole).to_arrow_reader(1 << 19):
                yield pl.DataFrame(pl.from_arrow(arrow)).with_columns(pl.col("raw").cast(pl.Categorical))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
