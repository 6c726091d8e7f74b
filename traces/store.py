"""Where traces and results live: Parquet files that appear whole or not at all.

    <root>/traces/<kind>/<name>.parquet      a trace; what it was read from is in its metadata
    <root>/refused/<kind>/<name>.parquet     the rows of the source that could not be used
    <root>/<truth>/<kind>/<name>.parquet     what the trace is known to be: a folder each of `traces.truth`
    <root>/runs/run=<id>/<table>.parquet     the results of one run
    <root>/runs/pack-<id>/<table>.parquet    the results of many runs, put together (see `traces.catalog`)
    <root>/strata.duckdb                     views and small tables over all of it: can always be rebuilt

Whatever is being written (see `traces.writer`) has a name that no query sees and is renamed when whole: a killed
process leaves nothing half-read, and what it left is swept away by the next writer.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from traces.errors import StoreError, TraceError, nearest
from traces.info import TraceInfo, read_info
from traces.kinds import ROWS
from traces.table import columns_of
from traces.truth import TRUTHS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            full = "the limit for a file's size is reached" if error.errno == errno.EFBIG else "the disk is full"
            raise StoreError(
                f"{path}: {full} while writing {what}, of which nothing is kept; make room and run again"
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

    def truth_path(self, truth: str, kind: str, name: str) -> Path:
        """Where it is kept what a trace is known to be: ``truth`` is a name of `traces.truth.TRUTHS`."""
        return self.root / truth / kind / f"{name}.parquet"

    def beside(self, kind: str, name: str) -> list[Path]:
        """Where all is kept that comes and goes with a trace."""
        return [self.refused_path(kind, name), *(self.truth_path(truth, kind, name) for truth in TRUTHS)]

    def remove(self, kind: str, name: str) -> None:
        """Remove a trace, if there is one, and all that comes and goes with it."""
        path = self.trace_path(kind, name)
        with disk_errors("the store", path):
            for each in (path, *self.beside(kind, name)):
                each.unlink(missing_ok=True)

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


def read(
    table: type[Any], path: Path, columns: Iterable[str] | None = None, rows: int = ROWS
) -> Iterator[pl.DataFrame]:
    """A trace's rows in batches, only the named columns where some are named."""
    names = list(columns) if columns is not None else [c.name for c in columns_of(table)]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield pl.DataFrame(pl.from_arrow(batch))
