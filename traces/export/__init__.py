"""Traces leave the store: as files that other tools read, one format a file."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from traces.errors import ConfigError, StoreError, TraceError, nearest
from traces.export import agent, csv, dramsim, fio_iolog, mqsim, oracle
from traces.export.exporter import Export, Outgoing
from traces.kinds import KINDS
from traces.progress import Progress, nobody
from traces.store import Store, disk_errors, part, read

_LIST: tuple[Export, ...] = (
    fio_iolog.EXPORT,
    mqsim.EXPORT,
    oracle.EXPORT,
    agent.EXPORT,
    dramsim.EXPORT,
    csv.EXPORT,
)

EXPORTS = {each.name: each for each in _LIST}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What became of one export."""

    trace: str
    format: str
    path: Path
    rows: int  # of the trace
    written: int  # requests in the file
    bytes: int
    lost: dict[str, int]  # what the format does not carry: sentence -> how often
    seconds: float


def export(
    store: Store,
    trace: str,
    format: str,  # noqa: A002 - what the command line calls it
    target: Path,
    *,
    replace: bool = False,
    progress: Progress = nobody,
) -> Exported:
    """Write a trace as a file of another format; .gz, .zst, .bz2 and .lz4 compress it.

    ``replace``: in place of a file that stands there. ``progress`` is told the rows read and rows in all. Raises
    ConfigError for an unknown format, TraceError where the format has no room for the trace or nothing of it,
    StoreError where the file exists or cannot be written. Then there is no file, or the one that was there.
    """
    began = time.perf_counter()
    if format not in EXPORTS:
        raise ConfigError(f"unknown format '{format}'{nearest(format, EXPORTS)}")
    chosen = EXPORTS[format]
    kind, name = store.find(trace)
    if chosen.kinds is not None and kind not in chosen.kinds:
        others = [each.name for each in _LIST if each.kinds is None or kind in each.kinds]
        raise TraceError(
            f"{format} takes {' and '.join(sorted(chosen.kinds))} traces; '{name}' is a {kind} trace, which can leave "
            f"as {' or '.join(others)}"
        )
    if not target.parent.is_dir() or target.is_dir():
        raise StoreError(f"{target}: not a file in a folder that exists")
    if target.exists() and not replace:
        raise StoreError(f"{target}: exists; --replace puts the export in its place")
    info = store.info(kind, name)
    done = 0

    def rows(columns: Iterable[str]) -> Iterator[pl.DataFrame]:
        nonlocal done
        for batch in read(KINDS[kind], store.trace_path(kind, name), columns):
            yield batch
            done += batch.height
            progress(done, info.rows)

    whole, scratch = part(target), part(target.with_name(target.name + ".sort"))
    try:
        with disk_errors("the export", target):
            scratch.mkdir()
            with pa.output_stream(str(whole), compression="detect") as file:
                outgoing = Outgoing(info=info, rows=rows, file=file, scratch=scratch)
                written = chosen.write(outgoing)
            if not written:
                told = "; ".join(f"{count} {sentence}" for sentence, count in outgoing.lost.items())
                raise TraceError(f"{format} has no room for any of the requests of '{name}' ({told})")
            size = whole.stat().st_size
            whole.rename(target)
    finally:
        whole.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(
        trace=name,
        format=format,
        path=target,
        rows=info.rows,
        written=written,
        bytes=size,
        lost=outgoing.lost,
        seconds=time.perf_counter() - began,
    )
