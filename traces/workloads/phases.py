"""A schedule of the other generators, and the truth about it: which volume was used for what, and from when to when.

A phase is another generator with settings of its own; all phases work on the same volumes. It lasts as many requests as
are asked for, or as its mean rate gives in the time asked for. The list is gone through as often as wanted, in the
order given or each time in an order that the seed chooses. Every occurrence of a phase draws anew: what is hot in it is
hot elsewhere the next time. Between two phases lies one mean gap of the first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from traces.config import ByName, Bytes, configured, duration
from traces.errors import ConfigError, nearest
from traces.kinds import ROWS
from traces.label import Span
from traces.workloads.draws import below, draw, draws
from traces.workloads.parts import PARTS
from traces.workloads.workload import LONGEST, Shared, Workload

_OURS = ("requests", "volumes", "capacity", "seed")  # a phase cannot set these: the schedule does
_MOST = 1 << 40  # requests


class Order(IntEnum):
    """In which order the phases of a round come."""

    GIVEN = 0
    SHUFFLED = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of the schedule: ``zipf 200000 theta=1.1 reads=0.2`` or ``idle 5min``."""

    workload: str
    length: str  # requests, or a time
    settings: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.workload, self.length, *(f"{key}={value}" for key, value in self.settings)])


def _parsed(value: Any) -> Phase:
    """A phase from its line, or from a table with the keys workload, requests or duration, and settings."""
    if isinstance(value, Phase):
        return value
    if isinstance(value, str):
        words = value.split()
        pairs = [each.partition("=") for each in words[2:]]
        if len(words) < 2 or "=" in words[1] or any(not sign or not text for _, sign, text in pairs):
            raise ValueError(f"'{value}' is no phase; write it like 'zipf 200000 theta=1.1' or 'idle 5min'")
        return Phase(words[0], words[1], tuple((key, text) for key, _, text in pairs))
    if isinstance(value, Mapping) and set(value) - {"settings"} in ({"workload", "requests"}, {"workload", "duration"}):
        length = value.get("requests", value.get("duration"))
        ns = "ns" if "duration" in value and isinstance(length, int) else ""
        settings = tuple((str(key), _spelled(each)) for key, each in value.get("settings", {}).items())
        return Phase(str(value["workload"]), f"{length}{ns}", settings)
    raise ValueError(f"{value!r} is no phase: its keys are workload, requests or duration, and settings")


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split(value: Any) -> Any:
    return [each.strip() for each in value.split(";") if each.strip()] if isinstance(value, str) else value


_Phase = Annotated[
    Phase, BeforeValidator(_parsed), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]

_DAY = (
    "idle 60s",
    "boot-storm 100000 rate=20000",
    "oltp 200000",
    "zipf 100000 theta=1.1",
    "uniform 100000",
    "log-append 100000",
    "uniform 100000 reads=1",
    "sequential 100000 reads=1 size=128KiB",
    "ai-checkpoint 100000 every=2000",
    "archival 50000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Phases, one after the other."""

    phases: Annotated[
        tuple[_Phase, ...],
        Field(
            min_length=1,
            description="what comes after what: a list, or a text with semicolons, of phases like "
            "'zipf 200000 theta=1.1': generator, requests or time, settings",
        ),
        BeforeValidator(_split),
    ] = tuple(_parsed(line) for line in _DAY)
    repeat: Annotated[int, Field(ge=1, le=10_000, description="how often the list is gone through")] = 1
    order: Annotated[
        ByName[Order], Field(description="given: as listed; shuffled: each round in an order that the seed chooses")
    ] = Order.GIVEN
    volumes: Annotated[int, Field(ge=1, le=1 << 16, description="volumes, the same for all phases")] = 4
    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 34
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        parts = [config for _, config in self.parts()]
        if self.requests > _MOST:
            raise ValueError(f"{self.requests} requests in all; {_MOST} at most")
        if self.repeat * sum(config.requests / config.rate for config in parts) > LONGEST:
            raise ValueError(f"the phases last over {LONGEST // 86400} days together: raise their rates")

    def parts(self) -> list[tuple[Workload[Any], Shared]]:
        """The phases of a round as generators and their configurations, but for the seed."""
        parts = []
        for number, phase in enumerate(self.phases, 1):
            try:
                parts.append(self._part(phase))
            except (ConfigError, ValueError) as error:
                raise ValueError(f"phase {number} ({phase}): {error}") from None
        return parts

    def _part(self, phase: Phase) -> tuple[Workload[Any], Shared]:
        if phase.workload not in PARTS:
            raise ValueError(f"unknown workload '{phase.workload}'{nearest(phase.workload, PARTS)}")
        settings: dict[str, Any] = dict(phase.settings)
        if taken := [key for key in _OURS if key in settings]:
            raise ValueError(f"{taken[0]} is set for the whole schedule")
        workload = PARTS[phase.workload]
        config: Shared = configured(
            workload.config, settings | {"requests": 1, "volumes": self.volumes, "capacity": self.capacity}
        )
        requests = int(phase.length) if phase.length.isdecimal() else round(config.rate * duration(phase.length) / 1e9)
        if requests < 1:
            raise ValueError(f"{phase.length} at a rate of {config.rate:g} is no request")
        return workload, replace(config, requests=requests)

    @property
    def requests(self) -> int:
        """How many requests the trace has."""
        return self.repeat * sum(config.requests for _, config in self.parts())

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.requests

    @property
    def names(self) -> list[str]:
        """The volumes by number."""
        return [str(volume) for volume in range(self.volumes)]


def _occurrences(config: Phases) -> Iterator[tuple[Workload[Any], Shared]]:
    """All phases in order, each with its seed."""
    parts = config.parts()
    seeds, orders = draws(config.seed, 2)
    for lap in range(config.repeat):
        order = list(range(len(parts)))
        if config.order == Order.SHUFFLED:
            for i in range(len(parts) - 1, 0, -1):
                bits = np.uint64(draw(orders, np.uint64(lap * len(parts) + i)))
                k = int(below(bits, np.uint64(i + 1)))
                order[i], order[k] = order[k], order[i]
        for place, number in enumerate(order):
            workload, part = parts[number]
            seed = int(draw(seeds, np.uint64(lap * len(parts) + place))) >> 1
            yield workload, replace(part, seed=seed)


def _joined(config: Phases, rows: int) -> Iterator[pl.DataFrame]:
    """The phases' own batches, their times after one another."""
    begin = end = 0
    for workload, part in _occurrences(config):
        for batch in workload.generate(part, rows):
            end = begin + int(batch["time"][-1])
            yield batch.with_columns(pl.col("time") + begin)
        begin = end + max(1, round(1e9 / part.rate))


def _cut(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in batches of ``rows``, the last of what is left."""
    parts: list[pl.DataFrame] = []
    have = 0
    for batch in batches:
        rest = batch
        while have + rest.height >= rows:
            yield pl.concat([*parts, rest[: rows - have]], rechunk=True)
            rest, parts, have = rest[rows - have :], [], 0
        if rest.height:
            parts.append(rest)
            have += rest.height
    if parts:
        yield pl.concat(parts, rechunk=True)


def generate(config: Phases, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    yield from _cut(_joined(config, rows), rows)


def _spans(config: Phases) -> list[Span]:
    spans, begin = [], 0
    for workload, part in _occurrences(config):
        spans += [span._replace(begin=begin + span.begin) for span in workload.spans(part)]
        begin += part.requests
    return spans


WORKLOAD = Workload("phases", "block", "a schedule of the others, with known labels", Phases, generate, _spans)
