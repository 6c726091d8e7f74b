"""Where traces and results live: Parquet files that appear whole or not at all.

    <root>/traces/<kind>/<name>.parquet      a trace; what it was read from is in its metadata
    <root>/refused/<kind>/<name>.parquet     the rows of the source that could not be used
    <root>/labels/<kind>/<name>.parquet      what each part of the trace is known to be (see `traces.label`)
    <root>/runs/run=<id>/<table>.parquet     the results of one run
    <root>/runs/pack-<id>/<table>.parquet    the results of many runs, put together (see `traces.catalog`)
    <root>/strata.duckdb                     views and small tables over all of it: can always be rebuilt

Whatever is being written has a name that no query sees and is renamed when whole: a killed
process leaves nothing half-read, and what it left is swept away by the next writer.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from traces.block import Block
from traces.dma import Dma
from traces.errors import StoreError, TraceError, nearest
from traces.label import TraceLabels
from traces.memory import Memory
from traces.patch import Text as Patches
from traces.pci import Config
from traces.table import F64, I64, U64, Text, checked, columns_of, frame, name_of

KINDS: dict[str, type[Any]] = {"block": Block, "memory": Memory, "config": Config, "dma": Dma, "text": Patches}
ROWS = 1 << 20  # rows of a batch and of a Parquet row group

_INFO = b"strata.trace"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Refused(NamedTuple):
    """Rows of a source that could not be used, one row each."""

    file: Annotated[Text, "source file, as it was named at ingest"]
    line: Annotated[U64, "line of the file (counted from 1) or, in a binary file, the byte offset of the record"]
    reason: Annotated[Text, "why it was refused"]
    text: Annotated[Text, "the line itself (the record in hexadecimal), cut to 500 characters"]


class Runs(NamedTuple):
    """Every run that is kept, one row each."""

    run: Annotated[Text, "the run's id: a hash of trace content, stage, configuration and code"]
    trace: Annotated[Text, "the trace's name when the run was made"]
    trace_hash: Annotated[Text, "hash of the trace's content"]
    kind: Annotated[Text, "the trace's kind"]
    stage: Annotated[Text, "the stage that ran"]
    config: Annotated[Text, "the whole configuration, as JSON"]
    code: Annotated[Text, "hash of the source files that compute the stage"]
    version: Annotated[Text, "Strata's version"]
    host: Annotated[Text, "name of the machine that ran it"]
    began: Annotated[U64, "when the run began, nanoseconds since 1970-01-01 UTC"]
    seconds: Annotated[F64, "how long it took, reading and writing included"]
    requests: Annotated[U64, "rows of the trace that were given to the stage"]
    rows: Annotated[U64, "result rows that were written"]


class Traces(NamedTuple):
    """Every trace in the store, one row each."""

    trace: Annotated[Text, "the trace's name"]
    kind: Annotated[Text, "its kind"]
    trace_hash: Annotated[Text, "hash of its content: what runs are identified by"]
    format: Annotated[Text, "the recorded format it was read from, or the generator that made it"]
    reason: Annotated[Text, "how the format was recognised"]
    rows: Annotated[U64, "records"]
    refused: Annotated[U64, "rows of the source that could not be used (table refused)"]
    moved: Annotated[U64, "records that stood after a later one and were sorted into place"]
    duplicated: Annotated[U64, "records that repeat an earlier one exactly (kept; not counted of memory traces)"]
    reads: Annotated[U64, "read requests (memory: loads and modifies)"]
    writes: Annotated[U64, "write requests (memory: stores and modifies)"]
    others: Annotated[U64, "requests that neither read nor write"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    volumes: Annotated[U64, "distinct volumes (memory: address spaces; config, dma: devices)"]
    span: Annotated[U64, "nanoseconds from the first record to the last"]
    clock: Annotated[Text, "what the source's clock counts from: unix, monotonic, relative or ordinal"]
    origin: Annotated[I64, "reading of that clock, in nanoseconds, at the trace's first record"]
    notes: Annotated[Text, "what was odd about the source, as JSON: sentence to count"]
    sources: Annotated[Text, "the files it was read from, with size and SHA-256, as JSON"]


class Volumes(NamedTuple):
    """Every volume (memory: address space; config, dma: device) of every trace, one row each."""

    trace: Annotated[Text, "the trace's name"]
    volume: Annotated[U64, "the volume's number within the trace"]
    name: Annotated[Text, "the source's key of the volume: host and disk, device numbers, file name..."]
    requests: Annotated[U64, "requests"]
    reads: Annotated[U64, "read requests"]
    writes: Annotated[U64, "write requests"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    extent: Annotated[U64, "one past the last byte that any request touches"]


@dataclass(kw_only=True)
class Source:
    """One file that a trace was read from."""

    file: str
    bytes: int
    sha256: str


@dataclass(kw_only=True)
class Volume:
    """One volume of a block trace, counted while the trace was written."""

    name: str
    requests: int = 0
    reads: int = 0
    writes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    extent: int = 0


@dataclass(kw_only=True)
class TraceInfo:
    """What is known of a trace beside its rows; kept as JSON in the Parquet metadata.

    ``span`` and ``origin`` are nanoseconds; ``origin`` is the source clock's reading at the first record.
    """

    format: str
    reason: str = ""
    kind: str = "block"
    content: str = ""
    rows: int = 0
    refused: int = 0
    moved: int = 0
    duplicated: int = 0
    span: int = 0
    clock: str = "relative"
    origin: int = 0
    volumes: list[Volume] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)  # what ingest or the generator was asked for
    version: str = ""

    @classmethod
    def from_json(cls, text: str) -> "TraceInfo":
        """The inverse of `to_json`."""
        data = json.loads(text)
        data["volumes"] = [Volume(**v) for v in data["volumes"]]
        data["sources"] = [Source(**s) for s in data["sources"]]
        return cls(**data)

    def to_json(self) -> str:
        """The whole of it as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def total(self, what: str) -> int:
        """The sum of a `Volume` count over all volumes."""
        return sum(getattr(volume, what) for volume in self.volumes)


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


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(
                f"{path}: the disk is full while writing {what}, of which nothing is kept; free space and run again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"{path}: no permission to write {what}; choose another --store or mend the permissions"
            ) from error
        if error.errno == errno.ENOENT:
            raise StoreError(f"{path}: cannot be made to write {what}; choose another --store") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                f"{path}: a file stands where a folder of the store should be; choose another --store"
            ) from error
        raise


_HERE = f"{zlib.crc32(socket.gethostname().encode()):08x}"  # process ids mean nothing on another machine


def part(path: Path) -> Path:
    """A name beside ``path`` that no query sees and that tells which process writes it."""
    return path.with_name(f".part-{_HERE}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def _left(part: Path) -> bool:
    """Whether nobody writes it any more; of another machine's that is believed after a day."""
    _, here, pid, *_ = [*part.name.split("-"), "", ""]
    if here == _HERE and pid.isdigit():
        return not _alive(int(pid))
    with contextlib.suppress(FileNotFoundError):
        return time.time() - part.stat().st_mtime > 86_400
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True)
class Store:
    """The folder that holds traces and results."""

    root: Path

    def trace_path(self, kind: str, name: str) -> Path:
        """Where a trace's rows are kept."""
        return self.root / "traces" / kind / f"{name}.parquet"

    def refused_path(self, kind: str, name: str) -> Path:
        """Where the rows are kept that could not be used."""
        return self.root / "refused" / kind / f"{name}.parquet"

    def labels_path(self, kind: str, name: str) -> Path:
        """Where it is kept what each part of a trace is known to be."""
        return self.root / "labels" / kind / f"{name}.parquet"

    def run_path(self, run: str) -> Path:
        """The folder of one run's results."""
        return self.root / "runs" / f"run={run}"

    @property
    def catalog(self) -> Path:
        """The DuckDB file."""
        return self.root / "strata.duckdb"

    def sweep(self) -> int:
        """Remove what killed writers left behind; how many things that was."""
        left = self.leftovers()
        for part in left:
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        return len(left)

    def leftovers(self) -> list[Path]:
        """What killed writers left behind: files and folders that no query sees."""
        return [each for each in self.root.glob("**/.part-*") if _left(each)]

    def traces(self) -> list[tuple[str, str]]:
        """(kind, name) of every trace, sorted."""
        return sorted((p.parent.name, p.stem) for p in self.root.glob("traces/*/[!.]*.parquet"))

    def find(self, name: str) -> tuple[str, str]:
        """(kind, name) of a trace given as ``name`` or ``kind/name``; TraceError with the nearest name."""
        have = self.traces()
        hits = [(k, n) for k, n in have if name in (n, f"{k}/{n}")]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise TraceError(
                f"'{name}' is the name of {len(hits)} traces: say {' or '.join(f'{k}/{n}' for k, n in hits)}"
            )
        raise TraceError(f"no trace '{name}' in {self.root}{nearest(name, [n for _, n in have])}")

    def info(self, kind: str, name: str) -> TraceInfo:
        """What is known of a trace beside its rows."""
        return read_info(self.trace_path(kind, name))

    def has_run(self, run: str) -> bool:
        """Whether the run's results are kept, loose or packed."""
        return (self.run_path(run) / "runs.parquet").exists() or run in self.packed()

    def packed(self) -> set[str]:
        """The ids of the runs that are in packs."""
        while True:
            try:
                return set().union(*(packed_runs(path) for path in self.root.glob("runs/pack-*/runs.parquet")))
            except FileNotFoundError:  # that pack went into a larger one, which stands by now
                continue


@cache
def packed_runs(path: Path) -> frozenset[str]:
    """The ids of the runs in one pack, given its ``runs.parquet``. A pack never changes: it is read once."""
    return frozenset(pq.read_table(path, columns=["run"], partitioning=None).column("run").to_pylist())


def check_name(name: str) -> str:
    """The name itself if a trace can be called so."""
    if not _NAME.fullmatch(name):
        raise TraceError(f"'{name}' cannot name a trace: use letters, digits, dot, dash, underscore and plus")
    return name


def read_info(path: Path) -> TraceInfo:
    """The metadata of a trace file; TraceError if it is not one."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise TraceError(f"{path}: no such trace") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise TraceError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    if _INFO not in metadata:
        raise TraceError(f"{path}: a Parquet file, but not a trace of Strata's; `strata ingest` makes one")
    return TraceInfo.from_json(metadata[_INFO].decode())


def read(
    table: type[Any], path: Path, columns: Iterable[str] | None = None, rows: int = ROWS
) -> Iterator[pl.DataFrame]:
    """A trace's rows in batches, only the named columns where some are named."""
    names = list(columns) if columns is not None else [c.name for c in columns_of(table)]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield pl.DataFrame(pl.from_arrow(batch))


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
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, use_dictionary=narrow, column_encoding=wide
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
            self.writer.write_table(batch.to_arrow().cast(self.schema))
            self.rows += batch.height


class TraceWriter:
    """Writes one trace, its refused rows and its labels; all appear when `finish` is called, or none.

    Batches come in time order with ``time`` counted from the first record.
    """

    def __init__(self, store: Store, name: str, info: TraceInfo) -> None:
        self.store, self.name, self.info = store, check_name(name), info
        self._content = Content(KINDS[info.kind])
        self._target = store.trace_path(info.kind, name)
        self._files: dict[Path, _File] = {}

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

    def label(self, rows: pl.DataFrame) -> None:
        """Append rows of the table `TraceLabels`."""
        target = self.store.labels_path(self.info.kind, self.name)
        with disk_errors("labels", target):
            self._file(TraceLabels, target).write(checked(TraceLabels, rows))

    def finish(self) -> Path:
        """Write the metadata and put the files in place."""
        info = self.info
        file = self._file(KINDS[info.kind], self._target)
        info.rows = file.rows
        info.content = self._content.hexdigest(*(v.name for v in info.volumes))
        file.writer.add_key_value_metadata({_INFO.decode(): info.to_json()})
        beside = [path(info.kind, self.name) for path in (self.store.refused_path, self.store.labels_path)]
        with disk_errors("the trace", self._target):
            for each in self._files.values():
                each.writer.close()
            for stale in beside:
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
