"""A schedule of generators, whatever they generate, and the truth about it: who was used for what, and when.

A phase is a generator with settings of its own. It lasts as many records as are asked for, or as its mean rate gives in
the time asked for; when the last of these comes is left to its arrivals, since labels, bursts and boots are laid out by
the number of records. The list is gone through as often as wanted, in the order given or each time in an order that the
seed chooses. Every occurrence of a phase draws anew: what is hot in it is hot elsewhere the next time. Between two
phases lies one mean gap of the first.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from traces.amounts import duration
from traces.config import ByName, configured, split
from traces.errors import ConfigError, nearest
from traces.label import Span
from traces.workloads.draws import below, draw, draws
from traces.workloads.workload import LONGEST, Workload

_MOST = 1 << 40  # records


class Order(IntEnum):
    """In which order the phases of a round come."""

    GIVEN = 0
    SHUFFLED = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of the schedule: ``zipf 200000 theta=1.1 reads=0.2`` or ``idle 5min``."""

    workload: str
    length: str  # records, or a time
    settings: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.workload, self.length, *(f"{key}={value}" for key, value in self.settings)])


def parsed(value: Any) -> Phase:
    """A phase from its line, or from a table: workload, requests (accesses) or duration, and settings."""
    if isinstance(value, Phase):
        return value
    if isinstance(value, str):
        words = value.split()
        pairs = [each.partition("=") for each in words[2:]]
        if len(words) < 2 or "=" in words[1] or any(not sign or not text for _, sign, text in pairs):
            raise ValueError(f"'{value}' is no phase; write it like 'zipf 200000 theta=1.1' or 'idle 5min'")
        return Phase(words[0], words[1], tuple((key, text) for key, _, text in pairs))
    if isinstance(value, Mapping):
        lengths = [key for key in ("requests", "accesses", "duration") if key in value]
        if len(lengths) == 1 and set(value) - {"settings"} == {"workload", *lengths}:
            length = value[lengths[0]]
            ns = "ns" if lengths == ["duration"] and isinstance(length, int) else ""
            settings = tuple((str(key), _spelled(each)) for key, each in value.get("settings", {}).items())
            return Phase(str(value["workload"]), f"{length}{ns}", settings)
    raise ValueError(f"{value!r} is no phase: its keys are workload, requests or duration, and settings")


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_Phase = Annotated[
    Phase, BeforeValidator(parsed), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]
PhaseList = Annotated[
    tuple[_Phase, ...],
    Field(
        min_length=1,
        description="what comes after what: a list, or a text with semicolons, of phases like "
        "'zipf 200000 theta=1.1': generator, records or time, settings; a time stands for the records that the mean "
        "rate gives in it, and is kept exactly with arrival=fixed, else about: of n poisson records to 1/sqrt(n)",
    ),
    BeforeValidator(split),
]


class Kit(NamedTuple):
    """What a schedule is made of."""

    parts: Mapping[str, Workload[Any]]
    key: str  # the one by which each of them is told how many records to make
    ours: Mapping[str, Any]  # the same for all phases, which cannot set it
    common: Mapping[str, Any]  # the same for all phases that do not set it


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(ABC):
    """Phases, one after the other."""

    phases: PhaseList
    repeat: Annotated[int, Field(ge=1, le=10_000, description="how often the list is gone through")] = 1
    order: Annotated[
        ByName[Order], Field(description="given: as listed; shuffled: each round in an order that the seed chooses")
    ] = Order.GIVEN
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        parts = [config for _, config in self.parts()]
        if self.records > _MOST:
            raise ValueError(f"{self.records} {self.kit().key} in all; {_MOST} at most")
        if self.repeat * sum(config.records / config.rate for config in parts) > LONGEST:
            raise ValueError(f"the phases last over {LONGEST // 86400} days together: raise their rates")

    @abstractmethod
    def kit(self) -> Kit:
        """The generators, and what they share."""

    def parts(self) -> list[tuple[Workload[Any], Any]]:
        """The phases of a round as generators and their configurations, but for the seed."""
        parts, kit = [], self.kit()
        for number, phase in enumerate(self.phases, 1):
            try:
                parts.append(_part(phase, kit))
            except (ConfigError, ValueError) as error:
                raise ValueError(f"phase {number} ({phase}): {error}") from None
        return parts

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        each: list[int] = [config.records for _, config in self.parts()]
        return self.repeat * sum(each)


def _part(phase: Phase, kit: Kit) -> tuple[Workload[Any], Any]:
    if phase.workload not in kit.parts:
        raise ValueError(f"unknown workload '{phase.workload}'{nearest(phase.workload, kit.parts)}")
    settings: dict[str, Any] = dict(phase.settings)
    if taken := [key for key in (kit.key, *kit.ours, "seed") if key in settings]:
        raise ValueError(f"{taken[0]} is set for the whole schedule")
    workload = kit.parts[phase.workload]
    config = configured(workload.config, {**kit.common, **settings, **kit.ours, kit.key: 1})
    records = int(phase.length) if phase.length.isdecimal() else round(config.rate * duration(phase.length) / 1e9)
    if records < 1:
        raise ValueError(f"{phase.length} at a rate of {config.rate:g} is no {kit.key.removesuffix('s')}")
    return workload, replace(config, **{kit.key: records})


def _occurrences(config: Schedule) -> Iterator[tuple[Workload[Any], Any]]:
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


def _joined(config: Schedule, rows: int) -> Iterator[pl.DataFrame]:
    """The phases' own batches, their times after one another."""
    begin = end = 0
    for workload, part in _occurrences(config):
        for batch in workload.generate(part, rows):
            end = begin + int(batch["time"][-1])
            yield batch.with_columns(pl.col("time") + begin)
        begin = end + max(1, round(1e9 / part.rate))


def one_after_the_other(config: Schedule, rows: int) -> Iterator[pl.DataFrame]:
    """The whole trace in batches of ``rows``, the last of what is left."""
    parts: list[pl.DataFrame] = []
    have = 0
    for batch in _joined(config, rows):
        rest = batch
        while have + rest.height >= rows:
            yield pl.concat([*parts, rest[: rows - have]], rechunk=True)
            rest, parts, have = rest[rows - have :], [], 0
        if rest.height:
            parts.append(rest)
            have += rest.height
    if parts:
        yield pl.concat(parts, rechunk=True)


def spans(config: Schedule) -> list[Span]:
    """What each phase was."""
    out, begin = [], 0
    for workload, part in _occurrences(config):
        out += [span._replace(begin=begin + span.begin) for span in workload.spans(part)]
        begin += part.records
    return out
