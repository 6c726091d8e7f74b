"""Traces that are computed: by a generator, or from other traces. The same one is never made twice."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import polars as pl

from traces.ahead import ahead
from traces.errors import TraceError
from traces.info import TraceInfo
from traces.made import Ingested
from traces.store import Store, check_name
from traces.tally import Tally
from traces.writer import TraceWriter

Truth = Mapping[str, Callable[[], Iterable[pl.DataFrame]]]  # table of `TRUTHS` -> its rows, asked for at the end


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


class Making:
    """A trace in the making, counted while it is written; what is not finished is not kept.

    Batches are in time order, the first record at time 0. Raises StoreError where the store cannot be written.
    """

    def __init__(self, store: Store, name: str, info: TraceInfo) -> None:
        self._began = time.perf_counter()
        self._writer = TraceWriter(store, name, info)
        self._tally = Tally(info.kind)
        self.info = info

    def __enter__(self) -> "Making":
        return self

    def __exit__(self, *reason: object) -> None:
        self._writer.__exit__(*reason)

    @property
    def rows(self) -> int:
        """Records so far."""
        return self._writer.rows

    def add(self, batch: pl.DataFrame) -> None:
        """Append records."""
        self._tally.add(batch)
        self._writer.write(batch)

    def tell(self, truth: str, rows: pl.DataFrame) -> None:
        """Append what is known of the trace: rows of a table of `traces.truth.TRUTHS`."""
        self._writer.tell(truth, rows)

    def close(self, volumes: Sequence[str]) -> None:
        """Complete it; ``volumes`` are their names, by number. Raises TraceError where there is no record."""
        if not self.rows:
            raise TraceError(f"'{self._writer.name}' would hold no record; nothing was kept")
        self._tally.finish(self.info, volumes)
        self.info.notes = dict(sorted(self.info.notes.items()))
        self._writer.close()

    def keep(self) -> Ingested:
        """Put what is complete in place."""
        name, info, path = self._writer.name, self.info, self._writer.finish()
        seconds = time.perf_counter() - self._began
        return Ingested(name=name, kind=info.kind, info=info, path=path, fresh=True, seconds=seconds)


def write(
    store: Store,
    name: str,
    info: TraceInfo,
    batches: Iterable[pl.DataFrame],
    *,
    volumes: Sequence[str],  # their names, by number
    progress: Callable[[int], None] = lambda rows: None,  # rows written so far
    truth: Truth = MappingProxyType({}),
) -> Ingested:
    """Write a trace whole: see `Making`."""
    with Making(store, name, info) as making:
        for batch in ahead(batches):
            making.add(batch)
            progress(making.rows)
        for table, told in truth.items():
            for rows in told():
                making.tell(table, rows)
        making.close(volumes)
        return making.keep()


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
