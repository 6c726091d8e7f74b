"""A trace's rows of the catalog's tables `traces` and `volumes`, made of what is known of it.

A store outlives versions and disks: a trace of which no such rows can be made is left out, with the reason, so that it
does not take the others with it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.info import TraceInfo
from traces.ledger import Traces, Volumes
from traces.store import Store
from traces.table import Column, columns_of

Infos = dict[tuple[str, str], TraceInfo]  # (kind, name) -> what is known of the trace


def usable(store: Store) -> tuple[Infos, dict[str, str]]:
    """What is known of every trace that rows can be made of; of the others, as ``kind/name``, what is wrong."""
    infos: Infos = {}
    wrong: dict[str, str] = {}
    for kind, name in store.traces():
        try:
            info = store.info(kind, name)
            trace_row(kind, name, info)
            volume_rows(name, info)
            infos[kind, name] = info
        except TraceError as error:
            wrong[f"{kind}/{name}"] = str(error)
    return infos, wrong


def trace_row(kind: str, name: str, info: TraceInfo) -> list[Any]:
    """A row of `Traces`; TraceError where what is known does not fit."""
    values: dict[str, Any] = {
        "trace": name,
        "kind": kind,
        "trace_hash": info.content,
        "others": info.others,
        "volumes": len(info.volumes),
        "notes": json.dumps(info.notes),
        "sources": json.dumps([asdict(source) for source in info.sources]),
    }
    values |= {what: info.total(what) for what in ("reads", "writes", "bytes_read", "bytes_written")}
    same = ("format", "reason", "rows", "refused", "moved", "duplicated", "span", "clock", "origin")
    values |= {what: getattr(info, what) for what in same}
    return _row(f"{kind}/{name}", columns_of(Traces), values)


def volume_rows(trace: str, info: TraceInfo) -> list[list[Any]]:
    """Rows of `Volumes`; TraceError where what is known does not fit."""
    return [
        _row(f"{info.kind}/{trace}", columns_of(Volumes), {"trace": trace, "volume": index, **asdict(volume)})
        for index, volume in enumerate(info.volumes)
    ]


def _row(trace: str, columns: Iterable[Column], values: dict[str, Any]) -> list[Any]:
    row = []
    for column in columns:
        value = values[column.name]
        if not _fits(column, value):
            raise TraceError(
                f"{trace}: {value!r} is kept of it as '{column.name}', which cannot be; make the trace anew with "
                "--replace, or remove its file"
            )
        row.append(value)
    return row


def _fits(column: Column, value: Any) -> bool:
    if column.scalar is np.str_:
        return isinstance(value, str)
    if value is None:
        return column.name == "others"
    bounds = np.iinfo(column.scalar)
    return isinstance(value, int) and bounds.min <= value <= bounds.max
