"""Writes traces and results so that they appear whole or not at all, and tells them by their content."""

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from traces.info import INFO, TraceInfo
from traces.kinds import KINDS
from traces.ledger import Refused, Runs
from traces.store import Store, check_name, disk_errors, part
from traces.table import checked, columns_of, frame, name_of
from traces.truth import TRUTHS


class Content:
    """A hash of a trace's rows that does not depend on how they were cut into batches."""

    def __init__(self, table: type[Any]) -> None:
        self._columns = {c.name: xxhash.xxh3_128(c.name.encode()) for c in columns_of(table)}
        self._words: dict[str, int] = {}

    def update(self, batch: pl.DataFrame) -> None:
        """Add the rows of a batch, column by column; a word counts as its own 64-bit hash."""
        for name, digest in self._columns.items():
            series = batch[name]
            if series.dtype in (pl.String, pl.Categorical, pl.Enum):
                series = self._hashed(series.cast(pl.Categorical))
            digest.update(np.ascontiguousarray(series.to_numpy()).data)

    def _hashed(self, words: pl.Series) -> pl.Series:
        """[row] -> the word's hash."""
        distinct = words.unique()
        for word in distinct.cast(pl.String):
            if word not in self._words:
                self._words[word] = xxhash.xxh3_64_intdigest(word.encode())
        places = distinct.to_physical().to_numpy()
        table = np.zeros(int(places.max()) + 1, np.uint64)
        table[places] = [self._words[word] for word in distinct.cast(pl.String)]
        return pl.Series(table[words.to_physical().to_numpy()])

    def hexdigest(self, *more: str) -> str:
        """The hash of all columns and of ``more``."""
        whole = xxhash.xxh3_128()
        for digest in self._columns.values():
            whole.update(digest.digest())
        for text in more:
            whole.update(text.encode() + b"\0")
        return str(whole.hexdigest())


def _arrow_schema(table: type[Any]) -> pa.Schema:
    """The Parquet schema: text as dictionaries, each column's sentence in its metadata."""
    fields = []
    for c in columns_of(table):
        kind = (
            pa.dictionary(pa.uint32(), pa.large_string())
            if c.polars == pl.String
            else pa.from_numpy_dtype(np.dtype(c.scalar))
        )
        fields.append(pa.field(c.name, kind, nullable=False, metadata={"comment": c.doc}))
    return pa.schema(fields)


def _parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer: differences for 64-bit integers, dictionaries for the rest, in a third of the defaults' time."""
    wide = {f.name: "DELTA_BINARY_PACKED" for f in schema if f.type in (pa.uint64(), pa.int64())}
    narrow = [f.name for f in schema if f.name not in wide and f.type != pa.float64()]
    # the first and last of a trace's words say nothing, and took a sixteenth of writing; runs are found by theirs
    told = [f.name for f in schema if f.name == "run" or not pa.types.is_dictionary(f.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=narrow,
        column_encoding=wide,
        write_statistics=told,
    )


class _File:
    """One Parquet file in the making."""

    def __init__(self, table: type[Any], path: Path) -> None:
        self.table, self.path = table, path
        self.schema = _arrow_schema(table)
        self.writer = _parquet(path, self.schema)
        self.rows = 0

    def write(self, batch: pl.DataFrame) -> None:
        if batch.height:
            # a cast would load pyarrow.compute first, 50 ms a process
            self.writer.write_table(pa.Table.from_arrays(batch.to_arrow().columns, schema=self.schema))
            self.rows += batch.height


class TraceWriter:
    """Writes one trace, its refused rows and what is known of it; all appear when `finish` is called, or none.

    Of several traces that belong together, `close` all first: what can go wrong has gone wrong before one appears.

    Batches come in time order with ``time`` counted from the first record.
    """

    def __init__(self, store: Store, name: str, info: TraceInfo) -> None:
        self.store, self.name, self.info = store, check_name(name), info
        self._content = Content(KINDS[info.kind])
        self._target = store.trace_path(info.kind, name)
        self._files: dict[Path, _File] = {}
        self._closed = False

    def __enter__(self) -> "TraceWriter":
        return self

    @property
    def rows(self) -> int:
        """Records written so far."""
        return self._files[self._target].rows if self._target in self._files else 0

    def _file(self, table: type[Any], target: Path) -> _File:
        if target not in self._files:
            with disk_errors("the trace", target):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files[target] = _File(table, part(target))
        return self._files[target]

    def write(self, batch: pl.DataFrame) -> None:
        """Append records."""
        table = KINDS[self.info.kind]
        file = self._file(table, self._target)
        self._content.update(batch)
        with disk_errors("the trace", self._target):
            file.write(batch)

    def refuse(self, rows: pl.DataFrame) -> None:
        """Append rows of the table `Refused`."""
        target = self.store.refused_path(self.info.kind, self.name)
        with disk_errors("refused rows", target):
            self._file(Refused, target).write(checked(Refused, rows))
        self.info.refused += rows.height

    def tell(self, truth: str, rows: pl.DataFrame) -> None:
        """Append what is known of the trace: rows of the table of `TRUTHS` that is called so."""
        target, table = self.store.truth_path(truth, self.info.kind, self.name), TRUTHS[truth]
        with disk_errors(truth, target):
            self._file(table, target).write(checked(table, rows))

    def close(self) -> None:
        """Write the metadata; the files are whole then, but not in place."""
        info = self.info
        file = self._file(KINDS[info.kind], self._target)
        info.rows = file.rows
        info.content = self._content.hexdigest(*(v.name for v in info.volumes))
        file.writer.add_key_value_metadata({INFO.decode(): info.to_json()})
        with disk_errors("the trace", self._target):
            for each in self._files.values():
                each.writer.close()
        self._closed = True

    def finish(self) -> Path:
        """Put the files in place, closed before if they are not yet."""
        if not self._closed:
            self.close()
        with disk_errors("the trace", self._target):
            for stale in self.store.beside(self.info.kind, self.name):
                if stale not in self._files:
                    stale.unlink(missing_ok=True)
            for target, each in reversed(self._files.items()):
                each.path.rename(target)
        self._files.clear()
        return self._target

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.writer.close()
            file.path.unlink(missing_ok=True)


_GROUP = 1 << 16  # rows of a result table that wait for a row group of their own


class RunWriter:
    """Writes one run's tables into a folder that appears when `finish` is called, or not at all.

    Every row carries the run's id in the column ``run``.
    """

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self._target = store.run_path(run)
        self._folder = part(self._target)
        self._files: dict[str, tuple[Path, pq.ParquetWriter]] = {}
        self._waiting: dict[str, list[pl.DataFrame]] = {}  # a row group for every few rows would be all footer
        self.rows = 0

    def __enter__(self) -> "RunWriter":
        with disk_errors("results", self._target):
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, rows: Any) -> None:
        """Append rows of a table: a struct of arrays."""
        self.write_frame(type(rows), frame(rows))

    def write_frame(self, table: type[Any], rows: pl.DataFrame) -> None:
        """Append rows of a table, given as a frame."""
        name = name_of(table)
        rows = checked(table, rows)
        with disk_errors("results", self._target):
            if name not in self._files:
                schema = _arrow_schema(table)
                if "run" not in schema.names:
                    schema = schema.insert(
                        0, pa.field("run", pa.dictionary(pa.uint32(), pa.large_string()), nullable=False)
                    )
                path = self._folder / f"{name}.parquet"
                self._files[name] = path, _parquet(path, schema)
            if "run" not in rows.columns:
                rows = rows.select(pl.lit(self.run).alias("run"), pl.all())
            waiting = self._waiting.setdefault(name, [])
            waiting.append(rows)
            if sum(each.height for each in waiting) >= _GROUP:
                self._flush(name)
        self.rows += rows.height if table is not Runs else 0

    def _flush(self, name: str) -> None:
        writer = self._files[name][1]
        if waiting := self._waiting.pop(name, []):
            writer.write_table(pl.concat(waiting).to_arrow().cast(writer.schema))

    def finish(self) -> Path:
        """Put the folder in place; where another process was first, its identical results stay."""
        with disk_errors("results", self._target):
            for name, (_, file) in self._files.items():
                self._flush(name)
                file.close()
            self._files.clear()
            try:
                self._folder.rename(self._target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                shutil.rmtree(self._folder)
        return self._target

    def __exit__(self, *_: object) -> None:
        for __, writer in self._files.values():
            with contextlib.suppress(OSError):
                writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def run_id(trace_hash: str, stage: str, config: Mapping[str, Any], code: str) -> str:
    """The run's id: the same trace, stage, configuration and code give the same id everywhere."""
    text = json.dumps([trace_hash, stage, config, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
