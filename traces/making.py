"""Traces that are computed: by a generator, or from other traces. The same one is never made twice."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from traces.ahead import ahead
from traces.errors import TraceError
from traces.ingest import Ingested
from traces.store import Store, TraceInfo, TraceWriter, check_name
from traces.tally import Tally


def kept(store: Store, name: str, info: TraceInfo, *, replace: bool) -> Ingested | None:
    """The trace itself where it stands in the store already, None where it is still to be made.

    ``info`` is as it is before anything is written: format and options say what the trace is. Raises TraceError where
    another trace has that name, unless ``replace``. What an older version of the code made is made anew.
    """
    target = store.trace_path(info.kind, check_name(name))
    if not target.exists():
        return None
    have = store.info(info.kind, name)
    if (have.format, have.options) == (info.format, info.options):
        return Ingested(name=name, kind=info.kind, info=have, path=target, fresh=False, seconds=0.0)
    if not replace and (other := _other(have, info)):
        raise TraceError(f"trace '{name}' exists, {other}: --replace it or give another name")
    return None


def write(
    store: Store,
    name: str,
    info: TraceInfo,
    batches: Iterable[pl.DataFrame],
    *,
    volumes: Sequence[str],  # their names, by number
    progress: Callable[[int], None] = lambda rows: None,  # rows written so far
    labels: Callable[[], pl.DataFrame] | None = None,  # rows of `TraceLabels`, asked for at the end
) -> Ingested:
    """Write and count a trace; ``batches`` are in time order, the first record at time 0.

    Raises TraceError where there is no record, StoreError where the store cannot be written. Then nothing is kept.
    """
    began = time.perf_counter()
    with TraceWriter(store, name, info) as writer:
        tally = Tally(info.kind)
        for batch in ahead(batches):
            tally.add(batch)
            writer.write(batch)
            progress(writer.rows)
        if not writer.rows:
            raise TraceError(f"'{name}' would hold no record; nothing was kept")
        tally.finish(info, volumes)
        info.notes = dict(sorted(info.notes.items()))
        if labels is not None:
            writer.label(labels())
        path = writer.finish()
    seconds = time.perf_counter() - began
    return Ingested(name=name, kind=info.kind, info=info, path=path, fresh=True, seconds=seconds)


def _other(have: TraceInfo, info: TraceInfo) -> str:
    """What sets a kept trace apart from the one that was asked for; nothing if an older version made the same."""
    if have.format != info.format:
        return f"made otherwise ({have.format})"
    keys = [key for key in dict.fromkeys([*info.options, *have.options]) if key != "code"]
    differs = [key for key in keys if have.options.get(key) != info.options.get(key)]
    told = ", ".join(f"{key} = {_shown(have.options, key)}, not {_shown(info.options, key)}" for key in differs)
    return f"made with other settings: {told}" if told else ""


def _shown(options: dict[str, Any], key: str) -> str:
    return str(options.get(key, "none"))
