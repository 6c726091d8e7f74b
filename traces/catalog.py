"""The DuckDB file that people open: views, small tables and macros over the store's Parquet.

A DuckDB writer locks every other process out, readers included. So nothing ever writes into the catalog that
people have open: `publish` builds a new one beside it and renames it into place. Whoever had the old one open
keeps a consistent answer; whoever opens it next sees the new runs.

A catalog names the files it reads, so that it is exact: its views and its tables tell of the same runs. When
many runs lie about loose, `pack` writes them into one folder. What went into a pack stays on disk for `GRACE`
seconds more, for those who still read an older catalog; no catalog ever reads a run from two places.

    packs, loose runs  --_sources-->  each run from one place, and the folders that are no longer needed
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import duckdb
import polars as pl

from traces.errors import StoreError
from traces.kinds import KINDS
from traces.ledger import Refused, Runs, Traces, Volumes
from traces.profile import PROFILE_TABLES, TraceProfile, kept_profile
from traces.store import Store, disk_errors, packed_runs
from traces.store import part as part_of
from traces.table import U64, Text, columns_of, comments, duckdb_type, name_of, quoted, schema_of, select_list
from traces.truth import TRUTHS
from traces.usable import Infos, trace_row, usable, volume_rows

LOOSE = 256  # `publish` packs when more loose runs than this lie about
GRACE = 3600.0  # seconds that a folder outlives the pack it went into

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
_HOUSE = Path(__file__).parents[1]
_FLOORS = ("traces", "pipeline", "flows")
_RUN = {"run": "the run that this row is a result of (see table runs)"}
_TRACE = {"trace": "the trace's name (see table traces)"}
_KIND = {"kind": "the trace's kind"}


class Published(NamedTuple):
    """What this catalog was built from: one row."""

    time: Annotated[U64, "when, nanoseconds since 1970-01-01 UTC"]
    root: Annotated[Text, "the store's folder: the views read files below it"]
    version: Annotated[Text, "the version of Strata that built it"]
    state: Annotated[Text, "hash of the files that were there and of the code: tells whether the catalog is current"]
    left_out: Annotated[Text, "traces that no table tells of, for they are damaged, as JSON: name to reason"]


STORE_TABLES: tuple[type[Any], ...] = (Runs, Traces, Volumes, Refused, *TRUTHS.values(), Published)


class Macro(NamedTuple):
    """A function that the catalog offers: its whole CREATE MACRO statement and one sentence."""

    name: str
    sql: str
    doc: str
    table: bool = False  # whether it answers rows (`FROM name(...)`) or one value


@dataclass(frozen=True)
class _Source:
    """A folder of results and the runs that are to be read from it."""

    folder: Path
    runs: frozenset[str]
    whole: bool  # False: it holds runs that are read elsewhere

    @property
    def loose(self) -> bool:
        return self.folder.name.startswith("run=")

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir())


@dataclass(frozen=True)
class _Contents:
    """What a catalog is built over."""

    store: Store
    infos: Infos
    left_out: dict[str, str]
    sources: Sequence[_Source]
    state: str


def publish(store: Store, tables: Sequence[type[Any]], macros: Sequence[Macro] = ()) -> Path:
    """Build the catalog over all that the store holds and put it in place of the old one.

    ``tables`` are the trace kinds, the tables of the store and those of every stage. Packs first where more than
    `LOOSE` runs lie about. Of a trace whose metadata is damaged no table tells (see `left_out`).
    Raises StoreError where the store cannot be written or a file in it cannot be read.
    """
    with _locked(store):
        store.sweep()
        sources, spare = _sources(store)
        if sum(source.loose for source in sources) > LOOSE or not all(source.whole for source in sources):
            _pack(store, sources)
            sources, spare = _sources(store)
        gone = [folder for folder in spare if time.time() - folder.stat().st_mtime > GRACE]
        part = part_of(store.catalog)
        try:
            with _told("the catalog", store.catalog), duckdb.connect() as db:
                db.execute(f"ATTACH {quoted(str(part))} AS catalog_ (STORAGE_VERSION 'v1.5.0')")
                db.execute("USE catalog_")
                _fill(db, _Contents(store, *usable(store), sources, state(store, gone)), tables, macros)
                db.execute("USE memory")
                db.execute("DETACH catalog_")
                part.rename(store.catalog)
        finally:
            part.unlink(missing_ok=True)
            part.with_name(part.name + ".wal").unlink(missing_ok=True)
        _remove(gone)
    return store.catalog


def pack(store: Store) -> int:
    """Put all loose runs, and packs no larger than they are, into one folder; how many runs that were.

    A pack is merged only with as much as it holds itself, so that every run is written anew a number of times that
    grows with the logarithm of what the store holds. Raises StoreError.
    """
    with _locked(store):
        return _pack(store, _sources(store)[0])


def is_current(store: Store) -> bool:
    """Whether the catalog tells of everything that the store holds now."""
    if not store.catalog.exists():
        return False
    try:
        with connect(store) as db:
            row = db.execute("SELECT state FROM published").fetchone()
    except (StoreError, duckdb.Error):
        return False
    return row is not None and row[0] == state(store)


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """The catalog, read-only. It is a snapshot: open it again to see what was published since."""
    if not store.catalog.exists():
        raise StoreError(f"{store.root}: no catalog here; `strata doctor --rebuild` makes one")
    with _told("the catalog", store.catalog):
        return duckdb.connect(store.catalog, read_only=True)


def left_out(store: Store) -> dict[str, str]:
    """The traces that the catalog does not tell of, as ``kind/name``, and why; nothing where there is no catalog."""
    if not store.catalog.exists():
        return {}
    with connect(store) as db, _told("the catalog", store.catalog):
        if not any(row[0] == "left_out" for row in db.execute("DESCRIBE published").fetchall()):
            return {}  # of a version that left none out
        row = db.execute("SELECT left_out FROM published").fetchone()
    told: dict[str, str] = json.loads(row[0]) if row else {}
    return told


def state(store: Store, without: Iterable[Path] = ()) -> str:
    """A hash of which files the store holds (but for the folders ``without``), where it stands, and of the code."""
    digest = hashlib.sha256(f"{store.root.resolve()}\0".encode())
    for source in sorted(p for floor in _FLOORS for p in (_HOUSE / floor).rglob("*") if p.suffix in (".py", ".sql")):
        digest.update(source.read_bytes())
    skip = {folder.name for folder in without}
    for name in sorted(p.name for p in store.root.glob("runs/[!.]*")):
        if name not in skip:
            digest.update(f"{name}\0".encode())
    for file in sorted(p for folder in ("traces", "refused", *TRUTHS) for p in store.root.glob(f"{folder}/*/[!.]*")):
        stat = file.stat()
        digest.update(f"{file.parent.name}/{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    for folder in sorted(store.root.glob("profiles/*/*/[!.]*")):
        digest.update(f"{'/'.join(folder.parts[-3:])}\0".encode())
    return digest.hexdigest()[:20]


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """One publisher or packer at a time; a killed one lets go."""
    with disk_errors("the catalog", store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        lock = (store.root / ".publish.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """DuckDB's errors in the store's words."""
    with disk_errors(what, path):
        try:
            yield
        except duckdb.Error as error:
            message = str(error)
            for code in _REFUSALS:
                if os.strerror(code) in message:
                    raise OSError(code, message) from error
            raise StoreError(f"{path}: {message.splitlines()[0]}") from error


def _sources(store: Store) -> tuple[list[_Source], list[Path]]:
    """Where to read each run, exactly once; and the folders whose runs are all read elsewhere."""
    packs = sorted(
        ((path.parent, packed_runs(path)) for path in store.root.glob("runs/pack-*/runs.parquet")),
        key=lambda pack: (-len(pack[1]), pack[0]),
    )
    loose = [
        (path.parent, frozenset([path.parent.name.removeprefix("run=")]))
        for path in sorted(store.root.glob("runs/run=*/runs.parquet"))
    ]
    taken: set[str] = set()
    sources, spare = [], []
    for folder, runs in [*packs, *loose]:
        if new := runs - taken:
            sources.append(_Source(folder, frozenset(new), len(new) == len(runs)))
            taken |= new
        else:
            spare.append(folder)
    return sources, spare


def _pack(store: Store, sources: Sequence[_Source]) -> int:
    chosen = [source for source in sources if source.loose or not source.whole]
    size = sum(source.bytes for source in chosen)
    for source in sorted((s for s in sources if s not in chosen), key=lambda s: s.bytes):
        if source.bytes > size:
            break
        chosen.append(source)
        size += source.bytes
    if len(chosen) < 2:
        return 0
    runs = sorted(frozenset().union(*(source.runs for source in chosen)))
    name = "pack-" + hashlib.sha256("\0".join(runs).encode()).hexdigest()[:20]
    part = part_of(store.root / "runs" / name)
    try:
        with _told("a pack", store.root), duckdb.connect() as db:
            part.mkdir()
            for table in sorted({file.stem for source in chosen for file in source.folder.glob("[!.]*.parquet")}):
                target = quoted(str(part / f"{table}.parquet"))
                db.execute(f"COPY ({_rows(table, chosen)}) TO {target} (FORMAT parquet, COMPRESSION zstd)")
            part.rename(store.root / "runs" / name)
            for source in chosen:
                os.utime(source.folder)  # from now on it is spare, see GRACE
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(runs)


def _remove(folders: Iterable[Path]) -> None:
    """Remove folders so that no query ever sees half of one."""
    for folder in folders:
        part = part_of(folder)
        with disk_errors("packed runs", folder):
            folder.rename(part)
        shutil.rmtree(part, ignore_errors=True)


def _files(paths: Iterable[Path], filename: bool = False) -> str:
    """A reader of exactly these files; what DuckDB would take for a pattern in their names is escaped."""
    names = ("".join(f"[{c}]" if c in "*?[" else c for c in str(path.resolve())) for path in paths)
    options = "union_by_name = true, hive_partitioning = false" + (", filename = true" if filename else "")
    return f"FROM read_parquet([{', '.join(map(quoted, names))}], {options})"


def _rows(table: str, sources: Iterable[_Source]) -> str:
    """SQL for the rows of a table in some sources; an empty text where none has such a table."""
    have = [source for source in sources if (source.folder / f"{table}.parquet").exists()]
    selects = []
    if whole := [source.folder / f"{table}.parquet" for source in have if source.whole]:
        selects.append(f"SELECT * {_files(whole)}")
    for source in have:
        if not source.whole:
            runs = ", ".join(quoted(run) for run in sorted(source.runs))
            selects.append(f"SELECT * {_files([source.folder / f'{table}.parquet'])} WHERE run IN ({runs})")
    return " UNION ALL BY NAME ".join(selects)


def _select(table: type[Any], rows: str, extra: Iterable[str]) -> str:
    """The declared columns over ``rows``: a column that no file has yet is NULL, no file at all is no row."""
    declared = dict.fromkeys(extra, "VARCHAR") | {c.name: duckdb_type(c) for c in columns_of(table)}
    typed = "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in declared.items()) + " WHERE false"
    union = f"{typed} UNION ALL BY NAME {rows}" if rows else typed
    return f"SELECT {''.join(f'{name}, ' for name in extra)}{select_list(table)} FROM ({union})"


def _fill(
    db: duckdb.DuckDBPyConnection,
    contents: _Contents,
    tables: Sequence[type[Any]],
    macros: Sequence[Macro],
) -> None:
    """Make every table, view and macro, with its comments."""
    for table in tables:
        relation, extra, sql = _relation(db, contents, table)
        db.execute(f"CREATE {relation} {name_of(table)} AS {sql}")
        for statement in comments(table, relation, extra):
            db.execute(statement)
    for macro in macros:
        db.execute(macro.sql)
        db.execute(f"COMMENT ON MACRO {'TABLE ' if macro.table else ''}{macro.name} IS {quoted(macro.doc)}")


def _relation(db: duckdb.DuckDBPyConnection, contents: _Contents, table: type[Any]) -> tuple[str, dict[str, str], str]:
    """``VIEW`` or ``TABLE``, the columns that the store adds to the declared ones, and the query."""
    store, infos = contents.store, contents.infos
    kinds = {declared: kind for kind, declared in KINDS.items()}
    rows: Sequence[Sequence[Any]] | None = None
    if table is Traces:
        rows = [trace_row(*each, info) for each, info in infos.items()]
    elif table is Volumes:
        rows = [row for (_, name), info in infos.items() for row in volume_rows(name, info)]
    elif table is Published:
        root, left_out = str(store.root.resolve()), json.dumps(contents.left_out)
        rows = [(time.time_ns(), root, version("strata"), contents.state, left_out)]
    if rows is not None:
        db.register("rows_", pl.DataFrame(rows, schema=schema_of(table), orient="row"))
        return "TABLE", {}, f"SELECT {select_list(table)} FROM rows_"
    if table in kinds:
        paths = [store.trace_path(kind, name) for kind, name in infos if kind == kinds[table]]
        sql = f"SELECT *, parse_filename(filename, true) AS trace {_files(paths, True)}" if paths else ""
        return "VIEW", _TRACE, _select(table, sql, _TRACE)
    if beside := ({Refused: "refused"} | {table: truth for truth, table in TRUTHS.items()}).get(table):
        paths = [path for path in (store.truth_path(beside, *each) for each in infos) if path.exists()]
        told = "parse_filename(filename, true) AS trace, parse_filename(parse_dirpath(filename)) AS kind"
        sql = f"SELECT *, {told} {_files(paths, True)}" if paths else ""
        return "VIEW", _KIND | _TRACE, _select(table, sql, _KIND | _TRACE)
    if table in PROFILE_TABLES:
        kept = (kept_profile(store, *each, info.content) for each, info in infos.items())
        paths = [folder / f"{name_of(table)}.parquet" for folder in kept if folder]
        told = "split_part(filename, '/', -3) AS trace, split_part(filename, '/', -4) AS kind"
        sql = f"SELECT *, {told} {_files(paths, True)}" if paths else ""
        return "TABLE" if table is TraceProfile else "VIEW", _KIND | _TRACE, _select(table, sql, _KIND | _TRACE)
    sql = _rows(name_of(table), contents.sources)
    if table is Runs:
        return "TABLE", {}, _select(table, sql, ()) + " ORDER BY began, run"
    return "TABLE" if name_of(table).endswith("_summary") else "VIEW", _RUN, _select(table, sql, _RUN)
