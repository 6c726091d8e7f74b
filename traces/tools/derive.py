"""What all tools on traces share: where the rows come from, and what the new trace says of its descent."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from typing import Any

import numpy as np
import polars as pl

from traces.code import code_hash
from traces.config import plain
from traces.errors import TraceError
from traces.info import TraceInfo
from traces.kinds import KINDS, ROWS
from traces.made import Ingested
from traces.making import kept, write
from traces.progress import Progress, nobody
from traces.requests import PLACES
from traces.store import Store, part, read
from traces.table import U32
from traces.tally import COUNTED
from traces.tools.truth import ROW, Heir, Inheritance, digest

SAMPLED = "sampled"  # the option that tells how a trace, or one that it descends from, was sampled
RECORDED = "recorded"  # the option that tells which recorded formats or generators a trace descends from


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A trace that another is made from."""

    store: Store
    kind: str
    name: str
    info: TraceInfo
    base: int = 0  # the number of its first row in the column `ROW`: parents come one behind the other

    def rows(
        self, columns: Iterable[str] | None = None, rows: int = ROWS, progress: Callable[[int], None] | None = None
    ) -> Iterator[pl.DataFrame]:
        """Its rows in batches, with the column `ROW`; ``progress`` is told the rows of each."""
        number = self.base
        for batch in read(KINDS[self.kind], self.store.trace_path(self.kind, self.name), columns, rows):
            yield batch.with_columns(pl.int_range(number, number + batch.height, dtype=pl.UInt64).alias(ROW))
            number += batch.height
            if progress is not None:
                progress(batch.height)

    @property
    def place(self) -> str | None:
        """The column that numbers its volumes; None where rows name their device themselves."""
        return PLACES.get(self.kind)

    @property
    def volumes(self) -> list[str]:
        """Names by number."""
        return [volume.name for volume in self.info.volumes]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A trace to be made of others. Nothing is computed before ``batches`` is called."""

    tool: str
    parents: Sequence[Parent]
    config: Any
    clock: str
    # the rows with the column `ROW`, times not yet counted from the first; where columns are named, these at least
    batches: Callable[[Iterable[str] | None, Callable[[int], None]], Iterator[pl.DataFrame]]
    # names by number; those without a row are left out and the others numbered anew. None where rows name them
    volumes: Sequence[str] | None
    module: str  # whose code makes it
    times: Sequence[Callable[[pl.Expr], pl.Expr]] = ()  # of each parent: its times -> those of ``batches``; none: same
    numbers: Sequence[U32 | None] = ()  # of each parent: [its volume] -> number in ``volumes``; none: same
    same_rows: bool = False  # every row of the one parent is there, under its number
    origins: Callable[[int], int] = lambda time: 0  # the clock's reading at a time that ``batches`` give
    more: dict[str, Any] = field(default_factory=dict)  # options beside those of the configuration
    notes: dict[str, int] = field(default_factory=dict)  # filled while ``batches`` are read


def parent(store: Store, trace: str, tool: str, kinds: Sequence[str] = tuple(KINDS)) -> Parent:
    """The trace; TraceError where it is not of one of the ``kinds``."""
    kind, name = store.find(trace)
    if kind not in kinds:
        raise TraceError(f"{tool} is for {' and '.join(kinds)} traces; '{name}' is a {kind} trace")
    return Parent(store=store, kind=kind, name=name, info=store.info(kind, name))


def reading(info: TraceInfo) -> Callable[[int], int]:
    """What a trace's clock reads at a time of its rows."""
    return lambda time: info.origin + time


def derive(wanted: Wanted, name: str, *, replace: bool = False, progress: Progress = nobody) -> Ingested:
    """Make the trace, or find that it is kept already.

    Raises TraceError where another trace has that name (unless ``replace``) or no row would be in it.
    """
    parents = wanted.parents
    one = len(parents) == 1
    names, contents = [p.name for p in parents], [p.info.content for p in parents]
    told = {
        "of": names[0] if one else names,
        "content": contents[0] if one else contents,
        RECORDED: "+".join(dict.fromkeys(p.info.options.get(RECORDED, p.info.format) for p in parents)),
    }
    heirs = _heirs(wanted)
    sampled = {key: p.info.options[key] for p in parents for key in (SAMPLED,) if key in p.info.options}
    info = TraceInfo(
        format=f"{wanted.tool}:{'+'.join(names)}",
        reason=f"made from {', '.join(names)}",
        kind=parents[0].kind,
        clock=wanted.clock,
        options=told | sampled | plain(wanted.config) | wanted.more | {"code": _code(wanted.module, heirs)},
        version=version("strata"),
    )
    store = parents[0].store
    if have := kept(store, name, info, replace=replace):
        return have
    numbers = _occurring(wanted)
    if not numbers:
        raise TraceError(f"nothing of {', '.join(names)} is left: '{name}' would hold no record")
    total, done = sum(p.info.rows for p in parents), 0

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, total)

    wanted.notes.clear()
    scratch = part(store.trace_path(info.kind, f"{name}-rows"))
    heritage = Inheritance(
        parents=heirs, same_rows=wanted.same_rows, scratch=scratch, info=info, numbers=dict(zip(numbers, count()))
    )
    batches = _settled(wanted, info, _renumbering(numbers), tell, heritage)
    volumes = [wanted.volumes[number] for number in numbers] if wanted.volumes is not None else []
    try:
        return write(store, name, info, batches, volumes=volumes, truth=heritage.truth())
    finally:
        heritage.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _heirs(wanted: Wanted) -> list[Heir]:
    """Whose truth goes over, and how."""
    return [
        Heir(
            store=each.store,
            kind=each.kind,
            name=each.name,
            info=each.info,
            base=each.base,
            time=wanted.times[i] if wanted.times else lambda time: time,
            volumes=wanted.numbers[i] if wanted.numbers else None,
        )
        for i, each in enumerate(wanted.parents)
    ]


def _occurring(wanted: Wanted) -> list[int]:
    """The numbers of the volumes that have rows; 0 alone where rows name them themselves."""
    place = wanted.parents[0].place
    if place is None or wanted.volumes is None or len(wanted.volumes) == 1:
        return [0]
    found: set[int] = set()
    for batch in wanted.batches(("time", place), lambda rows: None):
        found.update(batch[place].unique().to_list())
        if len(found) == len(wanted.volumes):
            break
    return sorted(found)


def _renumbering(numbers: Sequence[int]) -> U32:
    """[old number] -> new number."""
    table = np.zeros(max(numbers) + 1, np.uint32)
    table[list(numbers)] = np.arange(len(numbers))
    return table


def _code(module: str, heirs: Sequence[Heir]) -> str:
    """What the trace is made by, beside settings and rows: where that differs, it is made anew."""
    known = digest(heirs)
    return f"{code_hash(module)}-{known}" if known else code_hash(module)


def _settled(
    wanted: Wanted, info: TraceInfo, numbers: U32, progress: Callable[[int], None], heritage: Inheritance
) -> Iterator[pl.DataFrame]:
    """The rows with times from the first one on; fills in what is known of the trace."""
    first: int | None = None
    place = wanted.parents[0].place
    same = np.array_equal(numbers, np.arange(numbers.size))
    for batch in wanted.batches(None, progress):
        if not batch.height:
            continue
        heritage.follow(batch)
        if first is None:
            first = int(batch["time"][0])
            info.origin = wanted.origins(first)
        changed = [pl.col("time") - first] if first else []
        if place is not None and not same:
            changed.append(pl.lit(pl.Series(place, numbers[batch[place].to_numpy()])))
        yield batch.drop(ROW).with_columns(changed)
    info.notes = {
        f"in {each.name}: {sentence}": count
        for each in wanted.parents
        for sentence, count in each.info.notes.items()
        if sentence not in COUNTED  # counted anew
    } | wanted.notes
