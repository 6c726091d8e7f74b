"""Replay one trace through one stage, or find that this was done before."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import STAGES
from pipeline.stage import Stage
from traces.code import code_hash
from traces.config import configured, plain, to_json
from traces.errors import ConfigError, TraceError, nearest
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.ledger import Runs
from traces.store import Store, read
from traces.table import columns_of, name_of
from traces.writer import RunWriter, run_id


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
    """Settle a run before it starts: every mistake in names, keys and bounds is found here."""
    stage = stage_named(stage_name)
    kind, name = store.find(trace)
    if KINDS[kind] is not stage.reads:
        raise TraceError(f"{stage.name} replays {name_of(stage.reads)} traces; '{name}' is a {kind} trace")
    info = store.info(kind, name)
    columns = [c.name for c in columns_of(stage.takes)]

    def rows() -> Iterator[pl.DataFrame]:
        return read(stage.takes, store.trace_path(kind, name), columns)

    config = stage.fit(configured(stage.config, settings), info, rows)
    code = code_hash(stage.run.__module__)
    run = run_id(info.content, stage.name, plain(config), code)
    return Plan(store=store, kind=kind, trace=name, info=info, stage=stage, config=config, run=run, code=code)


def replay(todo: Plan, progress: Callable[[int], None] = lambda rows: None) -> Replayed:
    """Run what was planned and keep its tables; ``progress`` is told the rows of each batch."""
    store, stage, info = todo.store, todo.stage, todo.info

    def done(fresh: bool, seconds: float) -> Replayed:
        return Replayed(
            run=todo.run,
            trace=todo.trace,
            stage=stage.name,
            config=plain(todo.config),
            fresh=fresh,
            seconds=seconds,
            requests=info.rows,
            folder=store.run_path(todo.run),
        )

    if store.has_run(todo.run):
        progress(info.rows)
        return done(False, 0.0)
    began, clock = time.time_ns(), time.perf_counter()
    given = 0

    def batches() -> Iterable[pl.DataFrame]:
        nonlocal given
        for batch in read(stage.takes, store.trace_path(todo.kind, todo.trace)):
            given += batch.height
            yield batch
            progress(batch.height)

    with RunWriter(store, todo.run) as writer:
        for rows in stage.run(batches(), todo.config):
            writer.write(rows)
        seconds = time.perf_counter() - clock
        if given != info.rows:
            raise TraceError(
                f"{todo.trace}: {given} of {info.rows} rows were replayed; the file is damaged, ingest it again"
            )
        told = {
            "run": todo.run,
            "trace": todo.trace,
            "trace_hash": info.content,
            "kind": todo.kind,
            "stage": stage.name,
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
    return done(True, seconds)
