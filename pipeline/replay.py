"""Replay a trace through a stage, or find that this was done before; many runs share one reading of the trace."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import STAGES
from pipeline.broadcast import Broadcast, Stopped
from pipeline.stage import Stage
from traces.code import code_hash
from traces.config import configured, plain, to_json
from traces.errors import CombinationError, ConfigError, StrataError, TraceError, nearest
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.ledger import Runs
from traces.store import Store, read
from traces.table import columns_of, name_of
from traces.writer import RunWriter, run_id

MOST = 64  # runs of a pass: of each some files are open, and shells allow 1,024
RESULTS = 8 << 20  # bytes that a run's results take until they are written, about: 64 Ki rows of each of its tables
SHARE = 0.5  # of the free memory, for the runs of a pass


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of one replay."""

    run: str
    trace: str
    stage: str
    config: dict[str, Any]
    fresh: bool  # False: the same run was kept already and nothing was done
    seconds: float
    requests: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, settled: what it will be called and what it will do."""

    store: Store
    kind: str
    trace: str
    info: TraceInfo
    stage: Stage[Any]
    config: Any
    run: str
    code: str


def stage_named(name: str) -> Stage[Any]:
    """The stage; ConfigError with the nearest name."""
    if name not in STAGES:
        raise ConfigError(f"unknown stage '{name}'{nearest(name, STAGES)}")
    return STAGES[name]


def plan(store: Store, trace: str, stage_name: str, settings: Mapping[str, Any]) -> Plan:
    """Settle a run before it starts: every mistake in names, keys and bounds is found here.

    CombinationError where keys do not go together, or not with the trace.
    """
    stage = stage_named(stage_name)
    kind, name = store.find(trace)
    if KINDS[kind] is not stage.reads:
        raise TraceError(f"{stage.name} replays {name_of(stage.reads)} traces; '{name}' is a {kind} trace")
    info = store.info(kind, name)
    columns = [c.name for c in columns_of(stage.takes)]

    def rows() -> Iterator[pl.DataFrame]:
        return read(stage.takes, store.trace_path(kind, name), columns)

    asked = configured(stage.config, settings)
    try:
        config = stage.fit(asked, info, rows)
    except ConfigError as error:
        raise CombinationError(str(error)) from None
    code = code_hash(stage.run.__module__)
    run = run_id(info.content, stage.name, plain(config), code)
    return Plan(store=store, kind=kind, trace=name, info=info, stage=stage, config=config, run=run, code=code)


def passes(plans: Sequence[Plan], workers: int, at_once: int | None = None) -> Iterator[list[Plan]]:
    """Cut planned runs, in their order, into those that share one reading of their trace.

    That is ``at_once`` of them where it is given; else as many as half of the free memory holds by what their stages
    tell, and no more than ``workers`` of a stage that does not tell; in no case more than `MOST`. ConfigError for fewer
    than one.
    """
    if workers < 1 or (at_once is not None and at_once < 1):
        raise ConfigError(f"at least one run must go at a time: workers {workers}, at once {at_once}")
    part: list[Plan] = []
    made: list[Plan] = []  # those of the part that are not kept already
    free, taken = int(SHARE * free_memory()), 0
    for each in plans:
        if not each.store.has_run(each.run):
            tells = each.stage.memory
            size = tells(each.config) + RESULTS if tells and not at_once else 0
            most = min(at_once or (MOST if tells else workers), MOST)
            if made and (len(made) >= most or taken + size > free or source(each) != source(made[0])):
                yield part
                part, made, taken = [], [], 0
            made.append(each)
            taken += size
        part.append(each)
    if part:
        yield part


def source(todo: Plan) -> Path:
    """The file that a run reads."""
    return todo.store.trace_path(todo.kind, todo.trace)


def free_memory() -> int:
    """Bytes that can be had without swapping, no more than the control group allows."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    free = next(int(row[1]) << 10 for row in rows if row[0] == "MemAvailable:")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else ""
    return min(free, int(allowed)) if allowed.isdigit() else free


def replay(todo: Plan, progress: Callable[[int], None] = lambda rows: None) -> Replayed:
    """Make one run, as `replay_together` does; raises what kept it from being made."""
    (outcome,) = replay_together([todo], 1, progress)
    if isinstance(outcome, StrataError):
        raise outcome
    return outcome


def replay_together(
    plans: Sequence[Plan], workers: int, progress: Callable[[int], None] = lambda rows: None
) -> list[Replayed | StrataError]:
    """Make runs of one trace, reading it once, ``workers`` of them at work at a time; an outcome for each, in order.

    Those that are kept already are not made again. A run that cannot be made does not stop the others. An interrupt or
    an unexpected error ends every run after its batch, and none of those is kept. ``progress`` is told the rows of
    each run's batches, from any thread.
    """
    outcomes: dict[str, Replayed | StrataError] = {}
    todo: dict[str, Plan] = {}
    for each in plans:
        if each.store.has_run(each.run):
            outcomes[each.run] = _done(each, fresh=False, seconds=0.0)
            progress(each.info.rows)
        else:
            todo[each.run] = each
    if todo:
        outcomes |= zip(todo, _one_pass(list(todo.values()), workers, progress), strict=True)
    return [outcomes[each.run] for each in plans]


def _one_pass(todo: Sequence[Plan], workers: int, progress: Callable[[int], None]) -> list[Replayed | StrataError]:
    """Read the trace and hand its batches to a thread for each run."""
    feed = Broadcast(len(todo), 1 if any(each.stage.alone for each in todo) else workers)
    futures: list[Future[Replayed | StrataError]] = []
    pool = ThreadPoolExecutor(len(todo), thread_name_prefix="replay")
    try:
        futures.extend(pool.submit(_run, each, feed, at, progress) for at, each in enumerate(todo))
        columns = dict.fromkeys(c.name for each in todo for c in columns_of(each.stage.takes))
        for batch in read(todo[0].stage.reads, source(todo[0]), columns):
            if not feed.offer(batch):
                break
        feed.end()
        # in steps: polars leaves signals such that a wait without an end is not interrupted by Ctrl-C
        while wait(futures, timeout=0.1).not_done:
            pass
    finally:
        feed.stop()  # where all went well nobody is left to be stopped
        pool.shutdown(wait=True)
    for error in [future.exception() for future in futures]:
        if error and not isinstance(error, Stopped):
            raise error
    return [future.result() for future in futures]


def _run(todo: Plan, feed: Broadcast, at: int, progress: Callable[[int], None]) -> Replayed | StrataError:
    """Make one run of a pass, in its thread."""
    try:
        feed.turn(at)
        return _made(todo, feed, at, progress)
    except StrataError as error:
        return error
    except BaseException:
        feed.stop()
        raise
    finally:
        feed.leave(at)


def _made(todo: Plan, feed: Broadcast, at: int, progress: Callable[[int], None]) -> Replayed:
    """Run what was planned over the batches of the pass, and keep its tables."""
    began, given = time.time_ns(), 0

    def batches() -> Iterable[pl.DataFrame]:
        nonlocal given
        for batch in feed.batches(at):
            given += batch.height
            yield batch
            progress(batch.height)

    with RunWriter(todo.store, todo.run) as writer:
        for rows in todo.stage.run(batches(), todo.config):
            writer.write(rows)
        seconds = feed.worked(at)
        if given != todo.info.rows:
            raise TraceError(
                f"{todo.trace}: {given} of {todo.info.rows} rows were replayed; the file is damaged, ingest it again"
            )
        told = {
            "run": todo.run,
            "trace": todo.trace,
            "trace_hash": todo.info.content,
            "kind": todo.kind,
            "stage": todo.stage.name,
            "config": to_json(todo.config),
            "code": todo.code,
            "version": version("strata"),
            "host": socket.gethostname(),
            "began": began,
            "seconds": seconds,
            "requests": given,
            "rows": writer.rows,
        }
        schema = {c.name: c.polars for c in columns_of(Runs)}
        writer.write_frame(Runs, pl.DataFrame([told], schema=schema))
        writer.finish()
    return _done(todo, fresh=True, seconds=seconds)


def _done(todo: Plan, *, fresh: bool, seconds: float) -> Replayed:
    return Replayed(
        run=todo.run,
        trace=todo.trace,
        stage=todo.stage.name,
        config=plain(todo.config),
        fresh=fresh,
        seconds=seconds,
        requests=todo.info.rows,
        folder=todo.store.run_path(todo.run),
    )
