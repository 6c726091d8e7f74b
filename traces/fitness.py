"""Which stages a trace can feed, and what is missing for the others.

What is known of a trace (its counts, clock and notes, and its profile where there is one) becomes facts, each with the
columns that it spoils. A stage declares the columns that it takes: a fact that spoils one of them speaks against the
stage, whatever the stage is and whoever writes it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np

from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.message import Message, Op
from traces.profile import figures
from traces.store import Store, read
from traces.table import columns_of, name_of
from traces.tools.derive import RECORDED, SAMPLED

_SECOND, _MILLISECOND = 1_000_000_000, 1_000_000
_MANY_REFUSED = 0.01
# recorded where an application asks, not beneath a cache of its host
_ABOVE_CACHES = {"fio-iolog"}
# what a program sees: two processes' address 1 are not one, and two addresses may be one
_VIRTUAL = {
    "lackey",
    "pinatrace",
    "drmemtrace",
    "drmemtrace-view",
    "perf-mem",
    "soft-dirty",
    "champsim",
    "din",
}


class Fit(StrEnum):
    """Whether a trace can feed a stage."""

    YES = "yes"
    CARE = "with care"
    NO = "no"


class Fact(NamedTuple):
    """Something about a trace that whoever uses it should know."""

    fact: str
    meaning: str
    spoils: frozenset[str]  # columns; none: it is good to know, but no stage is worse for it
    grave: bool = False  # what is spoilt cannot be used at all


class Verdict(NamedTuple):
    """Whether a trace can feed one stage, and what speaks against it."""

    stage: str
    fit: Fit
    because: tuple[str, ...]  # names of facts; of another kind of trace: the kind that it wants


class Taker(Protocol):
    """What is asked of a stage: its name, the kind of trace and the columns of it."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def reads(self) -> type[Any]:
        """The table of the kind."""

    @property
    def takes(self) -> type[Any]:
        """The columns."""


@dataclass(frozen=True)
class Look:
    """What the rows themselves tell: of the whole trace where it is profiled, else of its first million rows."""

    tick: int  # ns; the greatest step that all times are multiples of
    latency_known: float | None  # share; None where the kind has none
    seen_known: float | None = None  # share of a message trace's published records; None where there is none


def look(store: Store, kind: str, name: str, info: TraceInfo) -> Look:
    """Look at a trace's profile, or at the rows at its beginning."""
    columns = [c.name for c in columns_of(KINDS[kind]) if c.name in ("time", "latency")]
    seen = _seen(store, name) if kind == "message" else None
    if (kept := figures(store, kind, name, info.content)) is not None:
        whole = kept.row(0, named=True)
        return Look(whole["tick"], whole["latency_known"] if "latency" in columns else None, seen)
    rows = next(read(KINDS[kind], store.trace_path(kind, name), columns))
    known = float((rows["latency"] >= 0).mean()) if "latency" in columns else None  # type: ignore[arg-type]
    return Look(int(np.gcd.reduce(rows["time"].to_numpy())), known, seen)


def _seen(store: Store, name: str) -> float | None:
    """Of the published records at a message trace's beginning, the share of which it is told when they were seen."""
    rows = next(read(Message, store.trace_path("message", name), ["op", "seen"]))
    published = rows.filter(op=int(Op.PUBLISHED))["seen"]
    return float((published >= 0).mean()) if published.len() else None  # type: ignore[arg-type]


def fitness(info: TraceInfo, looked: Look, stages: Iterable[Taker]) -> tuple[list[Fact], list[Verdict]]:
    """What is to be known of a trace, and a verdict a stage."""
    known = [fact for source in _SOURCES for fact in source(info, looked)]
    return known, [_verdict(info, known, stage) for stage in stages]


def _verdict(info: TraceInfo, known: Sequence[Fact], stage: Taker) -> Verdict:
    if KINDS[info.kind] is not stage.reads:
        return Verdict(stage.name, Fit.NO, (f"it replays {name_of(stage.reads)} traces",))
    taken = {column.name for column in columns_of(stage.takes)}
    against = [fact for fact in known if fact.spoils & taken]
    fit = Fit.NO if any(fact.grave for fact in against) else Fit.CARE if against else Fit.YES
    return Verdict(stage.name, fit, tuple(fact.fact for fact in against))


def _fact(name: str, meaning: str, *spoils: str, grave: bool = False) -> Fact:
    return Fact(name, meaning, frozenset(spoils), grave)


def _noted(info: TraceInfo, pattern: str) -> int:
    """How often the notes say something."""
    return sum(count for sentence, count in info.notes.items() if re.search(pattern, sentence))


def _clock(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    if info.clock == "ordinal":
        yield _fact("no times", "the source has none: what stands for time counts its records", "time")
    elif info.span and looked.tick >= _SECOND:
        yield _fact("times in whole seconds", "many records share one instant; their order is the source's", "time")
    elif info.span and looked.tick >= _MILLISECOND:
        yield _fact("times in whole milliseconds", "records that came apart share one instant", "time")
    if count := _noted(info, r"cycles, one kept as a nanosecond"):
        yield _fact("times in cycles", f"one is kept as a nanosecond ({count:,} records)", "time")


def _sizes(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    data = info.total("reads") + info.total("writes")
    size = "length" if info.kind in ("block", "message") else "size"
    empty = _noted(info, r"^requests of no bytes that should have some")
    if data and not info.total("bytes_read") + info.total("bytes_written"):
        yield _fact("no sizes", "the source does not tell how much is read or written", size, grave=True)
    elif empty:
        yield _fact("sizes missing", f"{empty:,} requests have no bytes that should have some", size)
    if _noted(info, r"sizes are those of the object's first request"):
        yield _fact("sizes of another request", "each is the size of its object's first request", size)


def _operations(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    requests, reads, writes = (info.total(what) for what in ("requests", "reads", "writes"))
    unknown = _noted(info, r"^((requests|accesses) of an operation that|records of which it) is not known")
    if unknown:
        told = f"of {unknown:,} of {requests:,} records it is not known what they asked for"
        yield _fact("operations not known", told, "op", grave=unknown == requests)
    elif info.kind == "block" and not reads and writes:
        yield _fact("no reads", "it was recorded, or made, without them")  # a stage that takes writes is none the worse
    elif info.kind == "block" and not writes:
        yield _fact("no writes", "nothing in it changes what is stored", "op")


def _latencies(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    if looked.latency_known == 0:
        yield _fact("no latencies", "the source does not tell when requests were completed", "latency", grave=True)
    elif looked.latency_known is not None and looked.latency_known < 1:
        yield _fact("latencies missing", f"{looked.latency_known:.1%} of the requests have one", "latency")


def _detection(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    if looked.seen_known == 0:
        yield _fact(
            "not told when seen", "the source does not tell what the agent did", "seen", "delivered", grave=True
        )
    elif looked.seen_known is not None and looked.seen_known < 1:
        told = f"of {looked.seen_known:.1%} of the published records it is told when the agent saw them"
        yield _fact("detection times missing", told, "seen", "delivered")


def _losses(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    if lost := _noted(
        info, r"events lost|events were lost|missing in the numbering of (a CPU's events|their ring|the file)"
    ):
        yield _fact("events lost", f"the recorder lost some while it recorded ({lost:,})", "op", "latency")
    if _noted(info, r"files of CPUs are missing"):
        yield _fact("CPU files missing", "what those processors recorded is not there", "op", "latency")
    if _noted(info, r"may have been cut off|cut off, or not closed"):
        yield _fact("perhaps cut off", "its last line has no end: the recording may go on where this file ends")
    if info.refused > _MANY_REFUSED * (info.refused + info.rows):
        share = info.refused / (info.refused + info.rows)
        yield _fact("rows refused", f"{share:.1%} of the source's rows could not be used (table refused)", "op")


def _sampling(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    if sampled := info.options.get(SAMPLED):
        told = f"{sampled['rate']:.3%} of all places: multiply counts and sizes of caches by {sampled['factor']:.6g}"
        yield _fact("sampled", told, "address")
    elif samples := _noted(info, r"^(in .*: )?samples, not every access"):
        yield _fact("sampled", f"a monitor saw {samples:,} accesses, not every one", "address", "op")


def _origins(info: TraceInfo, looked: Look) -> Iterator[Fact]:
    recorded = set(str(info.options.get(RECORDED, info.format)).split("+"))
    generated = all(each.startswith("generated:") for each in recorded)
    if info.kind == "block" and not generated and not recorded <= _ABOVE_CACHES:
        yield _fact("beneath caches", "what the host's caches answered, merged or put off is not in it")
    if info.kind == "memory" and recorded & _VIRTUAL:
        yield _fact("virtual addresses", "which memory stands behind them is not told", "address")
    for sentence in info.notes:
        if found := re.search(r"suspect[^:]*: (.*)", sentence):
            yield _fact("suspect", found[1], "time", "address", "length")


_SOURCES: tuple[Callable[[TraceInfo, Look], Iterator[Fact]], ...] = (
    _clock,
    _sizes,
    _operations,
    _latencies,
    _detection,
    _losses,
    _sampling,
    _origins,
)
