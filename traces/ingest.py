"""Recorded traces into the store: recognise, read, put in time order, count, keep.

Nothing of a source is lost in silence. What cannot be used is kept in the table `refused`; what is odd is a
note; a source of which nothing can be used is an error.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import polars as pl

from traces.ahead import ahead
from traces.code import code_hash
from traces.errors import StrataError, TraceError
from traces.formats import FORMATS
from traces.formats.gather import Gathered, gather
from traces.formats.inputs import Input, apart, inputs
from traces.formats.reader import Format, Options, Report
from traces.formats.recognise import detect
from traces.info import Source, TraceInfo
from traces.kinds import KINDS
from traces.made import Ingested
from traces.order import HELD, Disorder, Moves, in_time_order, merged, sorted_on_disk
from traces.store import Store, check_name, part
from traces.table import Column, columns_of
from traces.tally import Tally
from traces.writer import TraceWriter

Progress = Callable[[int, int], None]  # bytes read, bytes in all

MERGED_AT_ONCE = 16  # files read side by side; more are sorted on disk
_MINIMUM_HELD = 1 << 14  # rows held back of each of several files


def _nobody(done: int, total: int) -> None:
    """Tell nobody how far ingest has come."""


def ingest(
    store: Store,
    paths: Sequence[Path],
    *,
    format: str | None = None,  # noqa: A002 - what the command line calls it
    name: str | None = None,
    options: Options | None = None,
    replace: bool = False,
    progress: Progress = _nobody,
) -> list[Ingested]:
    """Read recordings into the store; one or more traces.

    The per-CPU files of one blktrace recording are one trace, and so are the files of a folder that holds a recording
    of several files. Any other file is a trace of its own, unless a ``name`` is given: then all files together are the
    trace of that name, their volumes kept apart.

    Raises TraceError where a source cannot be read, is not recognised or holds nothing; StoreError where the store
    cannot be written. Then nothing of that trace is kept.
    """
    if not paths:
        raise TraceError("no file was named")
    groups = gather(paths, check_name(name) if name else None, format, options or Options())
    total = sum(path.stat().st_size for each in groups.values() for path in each.files)
    before, done = 0, []
    for trace, gathered in groups.items():

        def tell(read: int, offset: int = before) -> None:
            progress(min(offset + read, total), total)

        try:
            done.append(_ingest_one(store, trace, gathered, (format, options or Options(), replace), tell))
        except StrataError as error:
            if not done:
                raise
            kept = ", ".join(each.name for each in done)
            raise type(error)(f"{error} (kept before it: {kept})") from None
        before += sum(path.stat().st_size for path in gathered.files)
        progress(before, total)
    return done


def _sha256(path: Path) -> Source:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(file=str(path), bytes=path.stat().st_size, sha256=digest)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One trace to be made, recognised and settled."""

    store: Store
    trace: str
    found: Format
    streams: Sequence[Input]
    skipped: Sequence[str]  # what stands beside the recording and is not read
    options: Options
    info: TraceInfo  # as it is before anything is read

    @property
    def groups(self) -> list[list[Input]]:
        """What each call of the reader is given."""
        if self.found.together:
            return [list(self.streams)]
        beside = [stream for stream in self.streams if stream.label == self.found.beside]
        alone = [stream for stream in self.streams if stream not in beside] or beside
        return [[stream, *beside] if stream not in beside else [stream] for stream in alone]


def _ingest_one(
    store: Store,
    trace: str,
    gathered: Gathered,
    asked: tuple[str | None, Options, bool],
    tell: Callable[[int], None],
) -> Ingested:
    declared, options, replace = asked
    files, skipped = gathered
    clock = time.perf_counter()
    read = 0

    def count(more: int) -> None:
        nonlocal read
        read += more
        tell(read)

    streams = apart([each for path in files for each in inputs(path, count)])
    read = 0
    found, reason = detect(streams, declared, options)
    for key, value in (("action", options.action != Options().action), ("columns", options.columns)):
        if value and key not in found.declares:
            takers = " and ".join(name for name, each in FORMATS.items() if key in each.declares)
            raise TraceError(f"--{key} means something to {takers} alone, and {streams[0].name} is {found.name}")
    code = code_hash(found.sniff.__module__)  # the format's own file; `read` may be made elsewhere, of a layout
    info = TraceInfo(
        format=found.name,
        reason=f"{reason}; {len(streams)} files" if len(streams) > 1 else reason,
        kind=found.kind,
        options={"action": str(options.action), "columns": options.columns, "code": code},
        version=version("strata"),
    )
    target = store.trace_path(found.kind, trace)
    with ThreadPoolExecutor(1) as hasher:
        hashes = [hasher.submit(_sha256, path) for path in files]
        if target.exists():
            kept = store.info(found.kind, trace)
            sources = [each.result().sha256 for each in hashes]
            older = info.options | {"code": kept.options.get("code")}
            same = [s.sha256 for s in kept.sources] == sources and (kept.format, kept.options) == (found.name, older)
            if same and kept.options == info.options:
                return Ingested(name=trace, kind=found.kind, info=kept, path=target, fresh=False, seconds=0.0)
            if not replace and not same:  # what an older reader made of the same files is made anew
                whence = ", ".join(s.file for s in kept.sources) or kept.format
                raise TraceError(f"trace '{trace}' exists, made otherwise from {whence}: --replace it or give a --name")
        job = _Job(store=store, trace=trace, found=found, streams=streams, skipped=skipped, options=options, info=info)
        try:
            whole = _write(job, hashes, on_disk=len(job.groups) > MERGED_AT_ONCE)
        except Disorder:
            read = 0
            whole = _write(job, hashes, on_disk=True)
    seconds = time.perf_counter() - clock
    return Ingested(name=trace, kind=found.kind, info=whole, path=target, fresh=True, seconds=seconds)


def _write(job: _Job, hashes: Sequence["Future[Source]"], on_disk: bool) -> TraceInfo:
    info = TraceInfo.from_json(job.info.to_json())
    with TraceWriter(job.store, job.trace, info) as writer:
        report = Report(sink=writer.refuse)
        for each in job.streams:
            if each.odd:
                report.note(each.odd)
        for name in job.skipped:
            report.note(f"beside the recording, not read: {name}")
        moves = [Moves() for _ in job.groups]
        _fill(writer, _ordered(job, report, moves, on_disk), report)
        report.flush()
        if not writer.rows:
            raise TraceError(_nothing(job, report))
        info.clock = report.clock
        info.moved = sum(m.moved for m in moves)
        report.note("steps backward in time", sum(m.backward for m in moves))
        info.notes = dict(sorted((report.notes | info.notes).items()))
        info.sources = [each.result() for each in hashes]
        writer.finish()
    return info


def _ordered(job: _Job, report: Report, moves: Sequence[Moves], on_disk: bool) -> Iterator[pl.DataFrame]:
    readers = [job.found.read(group, job.options, report) for group in job.groups]
    if on_disk:
        one = (batch for reader, each in zip(readers, moves, strict=True) for batch in _watched(reader, each))
        return sorted_on_disk(one, part(job.store.trace_path(job.found.kind, job.trace).with_suffix(".sort")))
    held = max(HELD // len(readers), _MINIMUM_HELD)
    return merged([in_time_order(reader, each, held) for reader, each in zip(readers, moves, strict=True)])


def _watched(batches: Iterator[pl.DataFrame], moves: Moves) -> Iterator[pl.DataFrame]:
    for batch in batches:
        if batch.height:
            moves.count(batch["time"].to_numpy())
            yield batch


_NAMES = {"block": {"address": "offset"}}  # `Block` says it in a word that SQL does not keep for itself


def _kept(column: Column, source: str) -> pl.Expr:
    """A column as it is written: words as codes."""
    kept = pl.col(source).alias(column.name)
    return kept.cast(pl.Categorical) if column.polars == pl.String else kept


def _fill(writer: TraceWriter, batches: Iterator[pl.DataFrame], report: Report) -> None:
    """Write records in time order as rows of the kind's table and count them."""
    tally, info = Tally(writer.info.kind), writer.info
    table = KINDS[info.kind]
    source = _NAMES.get(info.kind, {})
    rest = [_kept(c, source.get(c.name, c.name)) for c in columns_of(table) if c.name != "time"]
    for batch in ahead(batches):
        if not writer.rows:
            info.origin = int(batch["time"][0])
        rows = batch.select(
            (pl.col("time") - info.origin).cast(pl.UInt64).alias("time"),
            *rest,
        )
        tally.add(rows)
        writer.write(rows)
    tally.finish(info, list(report.volumes))


def _nothing(job: _Job, report: Report) -> str:
    why = [f"{report.refused} rows were refused, the first: {report.first}"] if report.first else []
    why += [f"{count} x {sentence}" for sentence, count in report.notes.items()]
    why = [report.nothing, *why] if report.nothing else why
    if "action" in job.found.declares:
        why.append("--action Q, D or C says which events are the requests")
    told_of = "; ".join(why) or "it holds no request"
    return f"{job.streams[0].name}: nothing could be read as {job.found.name} ({told_of}); nothing was kept"
