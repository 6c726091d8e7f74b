"""PCI configuration accesses of a machine that starts, works and is changed: firmware, kernel, rescans, hot-plug.

Firmware and kernel are followed rule by rule on registers that answer (`pci.firmware`, `pci.linux`, `pci.machine`),
so that what is read follows from what is there; of the topologies nothing is drawn but those made from numbers
(`pci.topology`). What is drawn is time: an access lasts its cost, of which the share ``jitter`` is exponentially
distributed; rescans and hot-plug begin at their times, or once what is under way is done. One processor makes all
accesses.

The truth beside the trace tells which functions were there, from when to when.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field

from traces.config import ByName, Nanoseconds, split, to_json, without_effect
from traces.kinds import ROWS
from traces.label import Span
from traces.table import U64, schema_of
from traces.truth import TraceFunctions
from traces.workloads.draws import draws
from traces.workloads.pci.clock import Costs, new_clock, tell
from traces.workloads.pci.events import Event, events
from traces.workloads.pci.firmware import FIRMWARES
from traces.workloads.pci.linux import Linux
from traces.workloads.pci.machine import NAMES, Accesses, Machine, new_columns, unpack
from traces.workloads.pci.topology import MODELS, Place, checked, drawn, functions, parsed
from traces.workloads.workload import Workload


class Firmware(IntEnum):
    """What runs before the kernel."""

    NONE = 0
    SEABIOS = 1
    OVMF = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PciScan:
    """A machine's functions, and who looks for them when."""

    topology: Annotated[
        tuple[str, ...],
        Field(
            description="the functions, as a list or a text with semicolons of lines like '00:05.0 root-port bus=1': "
            "bus:device.function, model (" + ", ".join([*MODELS][:-1]) + "), and bus= of bridges, ari= and "
            "vfs= of a nic; empty: drawn from the numbers below"
        ),
        BeforeValidator(split),
    ] = ()
    buses: Annotated[int, Field(ge=1, le=256, description="drawn: buses, the root bus among them")] = 8
    devices: Annotated[
        float, Field(ge=0, le=31, description="drawn: devices on the root bus, on average, ports not counted")
    ] = 6.0
    nested: Annotated[
        float, Field(ge=0, le=1, description="drawn: share of the ports that hang behind another port")
    ] = 0.2
    several: Annotated[
        float, Field(ge=0, le=1, description="drawn: share of the devices that have two to eight functions")
    ] = 0.1
    firmware: Annotated[
        ByName[Firmware],
        Field(
            description="seabios: ports, then the window; ovmf: the window alone; none: the kernel finds nothing done"
        ),
    ] = Firmware.SEABIOS
    ecam: Annotated[
        bool, Field(description="the machine has the memory window (ECAM); else it has the ports alone")
    ] = True
    ports: Annotated[
        bool, Field(description="the kernel goes through the ports for registers below 256; else the window for all")
    ] = True
    last_bus: Annotated[
        int, Field(ge=0, le=255, description="the kernel asks buses that no bridge led to up to this one; 0: none")
    ] = 255
    dumps: Annotated[
        int, Field(ge=0, le=1_000_000, description="times that all registers of all functions are read, as lspci does")
    ] = 0
    rescans: Annotated[int, Field(ge=0, le=100_000_000, description="rescans asked for after the start")] = 4
    interval: Annotated[
        Nanoseconds, Field(ge=1000, le=86400 * 10**9, description="from one rescan to the next; the first is so late")
    ] = 10 * 10**9
    hotplug: Annotated[
        tuple[str, ...],
        Field(
            description="what comes and goes: a list, or a text with semicolons, of lines like '15s unplug 07:00.0' "
            "and '25s plug 07:00.0 nvme', times from the trace's beginning; no bridges"
        ),
        BeforeValidator(split),
    ] = ()
    port_cost: Annotated[
        Nanoseconds, Field(ge=1, le=10**9, description="an access through the ports: two exits to the hypervisor")
    ] = 12_000
    window_cost: Annotated[Nanoseconds, Field(ge=1, le=10**9, description="an access through the window: one exit")] = (
        6_000
    )
    jitter: Annotated[
        float, Field(ge=0, le=1, description="share of an access's cost that is exponentially distributed")
    ] = 0.2
    cpu: Annotated[int, Field(ge=0, le=65535, description="the processor that makes the accesses")] = 0
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        if not self.ecam and not self.ports:
            raise ValueError("ecam and ports: without the window the ports are the only way")
        if self.firmware == Firmware.OVMF and not self.ecam:
            raise ValueError("firmware: ovmf wants the window (ecam)")
        if self.topology:
            without_effect(self, ("buses", "devices", "nested", "several"), "where the topology is given")
        events(self.hotplug, self.places)

    @property
    def places(self) -> tuple[Place, ...]:
        """The topology at the beginning."""
        if self.topology:
            return checked(map(parsed, self.topology))
        return drawn(int(draws(self.seed, 2)[1]), self.buses, self.devices, self.nested, self.several)

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return sum(each.rows for each in _planned(self))

    @property
    def names(self) -> list[str]:
        """Rows name their functions themselves."""
        return []


class Stretch(NamedTuple):
    """Accesses that are made one after the other, a number of times."""

    label: str
    accesses: Accesses
    rounds: int = 1
    start: int = 0  # the first round is not before, in nanoseconds...
    interval: int = 0  # ... and each further one not before so much more
    came: tuple[Place, ...] = ()  # functions that are there from its beginning
    gone: tuple[Place, ...] = ()  # ... and not any more from its end

    @property
    def rows(self) -> int:
        """Accesses in all."""
        return self.accesses.keys.size * self.rounds


LABELS = ("firmware", "kernel-scan", "virtual-functions", "dump", "rescan", "plug", "unplug")


@lru_cache(maxsize=2)
def _planned(config: PciScan) -> list[Stretch]:
    """Everything that is done, in order. The machine is followed once; repeats are kept once."""
    machine, out = Machine(config.places, ecam=config.ecam), []
    linux = Linux(machine, ports=config.ports, last_bus=config.last_bus)

    def did(label: str, **more: Any) -> None:
        if (taken := machine.taken()).keys.size:
            out.append(Stretch(label, taken, **more))

    if config.firmware:
        FIRMWARES[config.firmware.name.lower()](machine).run()
        did("firmware")
    linux.boot()
    did("kernel-scan")
    for place in config.places:
        if place.vfs:
            made = linux.enable(place)
            did("virtual-functions", came=tuple(made))
    if config.dumps:
        linux.dump()
        did("dump", rounds=config.dumps)
    todo = events(config.hotplug, config.places)
    done = 0
    for event in [*todo, None]:
        until = config.rescans if event is None else min(config.rescans, max(0, -(-event.at // config.interval) - 1))
        for rounds in (min(1, until - done), until - done - 1):  # what the first finds differs: something came or went
            if rounds > 0:
                linux.rescan()
                did("rescan", rounds=rounds, start=(done + 1) * config.interval, interval=config.interval)
                done += rounds
        if event is not None:
            _change(machine, linux, event)
            did(
                "plug" if event.model else "unplug",
                start=event.at,
                came=event.places if event.model else (),
                gone=() if event.model else event.places,
            )
    return out


def _change(machine: Machine, linux: Linux, event: Event) -> None:
    """A device comes or goes."""
    if event.model:
        machine.plug(event.places[0])
        linux.plug(event.places[0])
        return
    linux.unplug(event.bus, event.slot >> 3)
    for place in event.places:
        machine.unplug(place.bdf)


def _timed(config: PciScan, rows: int) -> Iterator[tuple[Stretch, int, U64]]:
    """Stretches in pieces of at most ``rows`` rows: the stretch, how many of its rows went before, and times."""
    jitter, both = config.jitter, (float(config.port_cost), float(config.window_cost))
    fixed, varying = ((share * both[0], share * both[1]) for share in (1 - jitter, jitter))
    costs = Costs(fixed, varying, draws(config.seed, 2)[0])
    clock = new_clock()
    room = rows
    for stretch in _planned(config):
        position = 0
        while position < stretch.rows:
            count = min(room, stretch.rows - position)
            at = np.empty(count, np.uint64)
            tell(costs, clock, (stretch.accesses.keys, stretch.start, stretch.interval), position, at)
            yield stretch, position, at
            position += count
            room = room - count or rows


_PHASES, _NAMES = pl.Enum(LABELS), pl.Enum(NAMES)


def generate(config: PciScan, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    pieces: list[tuple[Stretch, int, U64]] = []
    held = 0
    for piece in _timed(config, rows):
        pieces.append(piece)
        held += piece[2].size
        if held == rows:
            yield _rows(config, pieces)
            pieces, held = [], 0
    if pieces:
        yield _rows(config, pieces)


def _rows(config: PciScan, pieces: list[tuple[Stretch, int, U64]]) -> pl.DataFrame:
    """A batch as rows of the table `Config`."""
    count = sum(at.size for _, _, at in pieces)
    out, phases = new_columns(count), np.empty(count, np.uint8)
    row = 0
    for stretch, position, at in pieces:
        unpack(stretch.accesses, position % stretch.accesses.keys.size, row, row + at.size, out)
        phases[row : row + at.size] = LABELS.index(stretch.label)
        row += at.size
    columns: list[Any] = [
        pl.Series("time", np.concatenate([at for _, _, at in pieces])),
        pl.Series("op", out.op),
        pl.Series("mechanism", out.mechanism),
        pl.repeat(config.cpu, count, dtype=pl.UInt32, eager=True).alias("cpu"),
        pl.repeat(0, count, dtype=pl.UInt16, eager=True).alias("segment"),
        pl.Series("bus", out.bus),
        pl.Series("device", out.device),
        pl.Series("function", out.function),
        pl.Series("register", out.register),
        pl.Series("width", out.width),
        pl.Series("value", out.value),
        pl.Series("present", out.present),
        pl.Series("phase", phases).cat.to(_PHASES),
        pl.Series("raw", out.name).cat.to(_NAMES),
    ]
    return pl.DataFrame(columns)


def spans(config: PciScan) -> list[Span]:
    """What was done, from which row on."""
    out: list[Span] = []
    row = 0
    for stretch in _planned(config):
        if not out or out[-1].label != stretch.label:
            out.append(Span(row, stretch.label, "pci-scan", to_json(config)))
        row += stretch.rows
    return out


def truth(config: PciScan) -> Mapping[str, Iterable[pl.DataFrame]]:
    """The functions, and from when to when they were there."""
    return {"functions": _functions(config)}


def _functions(config: PciScan) -> Iterator[pl.DataFrame]:
    began: dict[int, tuple[Place, int]] = {each.bdf: (each, 0) for place in config.places for each in functions(place)}
    header = {bdf: f.space[0x0E] for bdf, f in Machine(config.places, ecam=config.ecam).functions.items()}
    done: list[tuple[Any, ...]] = []
    last = 0
    for stretch, position, at in _timed(config, ROWS):
        last = int(at[-1]) + 1
        if position == 0:
            for place in stretch.came:
                began[place.bdf] = (place, int(at[0]))
        if position + at.size == stretch.rows:
            done += [_told(*began.pop(place.bdf), last, header) for place in stretch.gone]
    done += [_told(*each, last, header) for each in began.values()]
    yield pl.DataFrame(sorted(done), schema=schema_of(TraceFunctions), orient="row")


def _told(place: Place, began: int, ended: int, header: Mapping[int, int]) -> tuple[Any, ...]:
    model, virtual = MODELS[place.model], place.model == "nic-vf"
    ids = 0xFFFFFFFF if virtual else model.id
    kind = header.get(place.bdf, 0x80 if place.ari > 1 else 0)
    at = (0, place.bus, place.slot >> 3, place.slot & 7, began, ended)
    return (*at, ids & 0xFFFF, ids >> 16, kind, int(virtual), place.model)


WORKLOAD = Workload(
    "pci-scan",
    "config",
    "firmware and Linux finding a machine's PCI functions, rescans and hot-plug",
    PciScan,
    generate,
    spans,
    truth,
)
