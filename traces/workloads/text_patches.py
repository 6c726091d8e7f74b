"""Patches of a running kernel's own text, and attempts to patch it that ought to be refused.

Every row is one write. A patch of five bytes takes three, each followed by a wait until all processors have seen it:
the breakpoint over the first byte, the other four bytes, the first byte (text_poke_bp); a static key's or a tracer's
sites go through the three together. A kprobe writes its one byte, alternatives are written whole while the kernel
starts, a module's text comes whole, has its calls of the tracer turned into no-operations and is given up again.

Patches come as a Poisson process, of each kind at its rate; which key, function or module, is Zipf over those of its
kind. One lock makes a patch wait for the one before. What stands at a site is what was last written there.

An attempt is one row: it is taken to be refused, so that the rows after it find the text as the ordinary patches left
it. The truth beside the trace lists the registered patches, and every attempt with the verdict that it deserves:
``direct-write``, ``unknown-procedure``, ``unknown-site`` (also a breakpoint at an arbitrary address, which a hypervisor
that is in use once let pass), ``bytes-differ`` (also a patch that is too long).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import Bytes, Nanoseconds, to_json
from traces.kinds import ROWS
from traces.label import Span
from traces.table import U32, U64, schema_of
from traces.truth import TraceRecords, TraceSites
from traces.workloads.draws import SHARE, draws
from traces.workloads.kernel_text.kernels import (
    PATHS,
    PROCEDURE_NAMES,
    STEPS,
    Fixed,
    Out,
    Plan,
    fill,
    new_kept,
    new_out,
)
from traces.workloads.kernel_text.sites import LONGER, POOL, PROCEDURES, VARIANTS, Kind, Words, new_sites, room
from traces.workloads.workload import LONGEST, Workload
from traces.workloads.zipf import law_of

VERDICTS = ("", "direct-write", "unknown-procedure", "unknown-site", "bytes-differ", "bytes-differ", "unknown-site")
_RATE = "a second, on average"
_ATTEMPT = "share of the patches that are instead: "


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPatches:
    """A kernel's sites, how often it patches them, and attempts among the patches."""

    writes: Annotated[int, Field(ge=1, le=1 << 36, description="rows to make; the last patch may be cut off")] = (
        1_000_000
    )
    text: Annotated[Bytes, Field(ge=1 << 16, le=1 << 28, description="bytes of kernel text, in whole pages")] = 16 << 20
    jump_labels: Annotated[int, Field(ge=0, le=16384, description="static keys (jump labels)")] = 400
    key_sites: Annotated[int, Field(ge=1, le=64, description="sites of each static key")] = 3
    static_calls: Annotated[int, Field(ge=0, le=16384, description="static calls, each with three targets")] = 100
    tracers: Annotated[int, Field(ge=0, le=16384, description="sets of functions that are traced together")] = 100
    tracer_sites: Annotated[int, Field(ge=1, le=4096, description="functions of each set")] = 16
    trampolines: Annotated[int, Field(ge=0, le=16384, description="functions that BPF trampolines are hung on")] = 50
    kprobes: Annotated[int, Field(ge=0, le=16384, description="places that kprobes are put at")] = 100
    modules: Annotated[int, Field(ge=0, le=4096, description="modules that come and go")] = 10
    module_sites: Annotated[int, Field(ge=1, le=1024, description="traced functions of each module")] = 40
    alternatives: Annotated[int, Field(ge=0, le=32768, description="alternatives, patched while the kernel starts")] = (
        1000
    )
    straddling: Annotated[
        float, Field(ge=0, le=1, description="share of the sites that lie across two pages, as far as pages suffice")
    ] = 0.01
    skew: Annotated[
        float, Field(ge=0, le=16, description="Zipf's exponent over keys, sets, functions and modules of a kind")
    ] = 0.9
    jump_rate: Annotated[float, Field(ge=0, le=1e6, description=f"static keys switched {_RATE}")] = 20.0
    call_rate: Annotated[float, Field(ge=0, le=1e6, description=f"static calls turned to another target {_RATE}")] = 1.0
    tracer_rate: Annotated[float, Field(ge=0, le=1e6, description=f"tracers switched on or off {_RATE}")] = 2.0
    bpf_rate: Annotated[float, Field(ge=0, le=1e6, description=f"trampolines hung up or taken off {_RATE}")] = 2.0
    kprobe_rate: Annotated[float, Field(ge=0, le=1e6, description=f"kprobes set or taken away {_RATE}")] = 5.0
    module_rate: Annotated[float, Field(ge=0, le=1e6, description=f"modules loaded or unloaded {_RATE}")] = 0.2
    direct: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + "a write by no procedure at all")] = 0.0
    strangers: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + "one by a procedure that is not known")] = 0.0
    unlisted: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + "a known procedure where no site is")] = 0.0
    overlong: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + f"{LONGER} bytes longer than registered")] = 0.0
    different: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + "other bytes than those registered")] = 0.0
    breakpoints: Annotated[float, Field(ge=0, le=1, description=_ATTEMPT + "a breakpoint where no site is")] = 0.0
    write_time: Annotated[Nanoseconds, Field(ge=1, le=10**9, description="from one write to the next")] = 1_000
    wait: Annotated[
        Nanoseconds, Field(ge=0, le=10**9, description="until all processors have seen a step of a patch")
    ] = 20_000
    cpus: Annotated[int, Field(ge=1, le=4096, description="processors; each patch is made by one, drawn evenly")] = 8
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        sites, most = sum(self.counts.values()), room(self.text)[0] - POOL
        if sites > most:
            raise ValueError(f"{sites} sites; text of {self.text} bytes has room for {most}: raise text")
        if not any(self.rates):
            raise ValueError("all rates are 0: nothing would be patched")
        for kind, rate in zip(Kind, self.rates, strict=False):
            if rate and not self.groups[kind]:
                raise ValueError(f"{PROCEDURES[kind]}: patched {rate:g} times a second, and has no sites")
        if self.writes > sum(self.rates) * LONGEST:
            raise ValueError(f"{self.writes} rows at {sum(self.rates):g} patches a second last too long: raise rates")
        if sum(self.attempts) > 1:
            raise ValueError(f"attempts are {sum(self.attempts):g} of the patches; 1 at most")
        if any(self.attempts) and not any(self.counts[kind] for kind in Kind if kind <= Kind.BPF):
            raise ValueError("attempts want sites of five bytes: static keys, static calls, tracers or trampolines")

    @property
    def groups(self) -> dict[Kind, int]:
        """What is patched as one, of each kind."""
        counts = (self.jump_labels, self.static_calls, self.tracers, self.trampolines, self.kprobes, self.modules)
        return dict(zip(Kind, (*counts, self.alternatives), strict=True))

    @property
    def together(self) -> dict[Kind, int]:
        """Sites that are patched as one."""
        return dict(zip(Kind, (self.key_sites, 1, self.tracer_sites, 1, 1, self.module_sites, 1), strict=True))

    @property
    def counts(self) -> dict[Kind, int]:
        """Sites of each kind."""
        return {kind: count * self.together[kind] for kind, count in self.groups.items()}

    @property
    def rates(self) -> tuple[float, ...]:
        """Patches a second of each kind, in the order of `Kind`."""
        return (*(self.jump_rate, self.call_rate, self.tracer_rate, self.bpf_rate, self.kprobe_rate, self.module_rate),)

    @property
    def attempts(self) -> tuple[float, ...]:
        """Shares of the attempts, in the order of `Attempt`."""
        return (self.direct, self.strangers, self.unlisted, self.overlong, self.different, self.breakpoints)

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.writes

    @property
    def names(self) -> list[str]:
        """Rows name their symbols themselves."""
        return []


class _Prepared(NamedTuple):
    """Everything that does not change while a trace is made."""

    fixed: Fixed
    bytes: Words
    symbols: Words


def _shares(values: Iterable[float], of: float) -> U64:
    """Bounds for a draw of 53 bits."""
    return np.array([round(min(1.0, each / of) * SHARE) for each in np.cumsum([*values])], np.uint64)


@lru_cache(maxsize=2)
def _prepared(config: TextPatches) -> _Prepared:
    keys = draws(config.seed, 9)
    counts = config.counts
    sites, pool, texts, symbols = new_sites(
        int(keys[8]), counts, config.text, config.straddling, modules=config.module_sites
    )
    chances = _shares(config.rates, sum(config.rates))
    chances[np.flatnonzero(config.rates)[-1] :] = SHARE
    first = np.cumsum([0, *counts.values()])[:-1].astype(np.int64)
    plan = Plan(
        first=first,
        together=np.array([*config.together.values()], np.int64),
        laws=tuple(law_of(float(max(1, count)), config.skew) for count in config.groups.values()),
        chances=chances,
        wrong=np.concatenate([np.zeros(1, np.uint64), _shares(config.attempts, 1.0)]),
        times=(1e9 / sum(config.rates), float(config.write_time), float(config.wait)),
        cpus=config.cpus,
        keys=keys,
    )
    return _Prepared(Fixed(plan, sites, pool), texts, symbols)


def _filled(config: TextPatches, rows: int) -> Iterator[Out]:
    """The trace's batches, texts as codes."""
    whole = _prepared(config)
    kept = new_kept(whole.fixed.sites.address.size, config.alternatives)
    begin = np.uint64(0)
    for done in range(0, config.writes, rows):
        out = new_out(min(rows, config.writes - done))
        fill(whole.fixed, kept, out)
        if not done:
            begin = out.time[0]
        np.subtract(out.time, begin, out=out.time)
        yield out


_PROCEDURE_ENUM, _PATH_ENUM, _STEP_ENUM = (pl.Enum(known) for known in (PROCEDURE_NAMES, PATHS, STEPS))


def _worded(name: str, codes: U32, words: pl.Enum) -> pl.Series:
    """Words from their codes, which an Enum keeps in as few bytes as will do."""
    count = len(words.categories)
    narrow = np.uint8 if count <= 1 << 8 else np.uint16 if count <= 1 << 16 else np.uint32
    return pl.Series(name, codes.astype(narrow)).cat.to(words)


def generate(config: TextPatches, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    whole = _prepared(config)
    texts, symbols = pl.Enum(whole.bytes.texts()), pl.Enum(whole.symbols.texts())
    for out in _filled(config, rows):
        columns: list[Any] = [
            pl.Series("time", out.time),
            pl.Series("address", out.address),
            pl.Series("length", out.length),
            _worded("old", out.old, texts),
            _worded("new", out.new, texts),
            _worded("symbol", out.symbol, symbols),
            pl.Series("procedure", out.procedure).cat.to(_PROCEDURE_ENUM),
            pl.Series("path", out.path).cat.to(_PATH_ENUM),
            pl.Series("cpu", out.cpu),
            pl.Series("pid", out.pid),
            pl.Series("raw", out.step).cat.to(_STEP_ENUM),
        ]
        yield pl.DataFrame(columns)


def spans(config: TextPatches) -> list[Span]:
    """The kernel starts, and runs."""
    told = to_json(config)
    out = [Span(0, "boot", "text-patches", told)] if config.alternatives else []
    if config.alternatives < config.writes:
        out.append(Span(config.alternatives, "patches", "text-patches", told))
    return out


def truth(config: TextPatches) -> Mapping[str, Iterable[pl.DataFrame]]:
    """The registered patches, and the attempts."""
    return {"sites": _sites(config)} | ({"records": _records(config)} if any(config.attempts) else {})


def _sites(config: TextPatches) -> Iterator[pl.DataFrame]:
    """Every step from one variant of a site to another that its procedure may take."""
    whole = _prepared(config)
    texts, sites = whole.bytes.texts(), whole.fixed.sites
    rows = []
    for n in range(sites.address.size):
        kind = Kind(sites.kind[n])
        variants = [texts[code] for code in sites.whole[n, : VARIANTS[kind]]]
        steps = [(a, b) for a in variants for b in variants if a != b]
        if kind == Kind.ALTERNATIVES:
            steps = [(variants[0], variants[1])]
        elif kind == Kind.MODULE:
            steps = [*zip(variants, [*variants[1:], variants[0]], strict=True)]
        rows += [(int(sites.address[n]), int(sites.length[n]), PROCEDURES[kind], *step) for step in steps]
    yield pl.DataFrame(rows, schema=schema_of(TraceSites), orient="row")


def _records(config: TextPatches) -> Iterator[pl.DataFrame]:
    verdicts = pl.Series(VERDICTS, dtype=pl.String)
    begin = 0
    for out in _filled(config, ROWS):
        found = np.flatnonzero(out.wrong)
        if found.size:
            row = (found + begin).astype(np.uint64)
            told = verdicts.gather(out.wrong[found])
            yield pl.DataFrame({"row": row, "truth": told}, schema=schema_of(TraceRecords))
        begin += out.time.size


WORKLOAD = Workload(
    "text-patches",
    "text",
    "a kernel's patches of its own text, and attempts that ought to be refused",
    TextPatches,
    generate,
    spans,
    truth,
)
