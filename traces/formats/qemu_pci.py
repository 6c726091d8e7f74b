"""QEMU's log of PCI configuration accesses: events ``memory_region_ops_read/_write`` and ``pci_cfg_read/_write``.

``memory_region_ops_read cpu 0 mr 0x5621aa07d610 addr 0xcfc value 0x8086 size 2 name 'pci-conf-data'`` is an access of
the guest: to the address port (``pci-conf-idx``), the data port (``pci-conf-data``) or the ECAM window
(``pcie-mmcfg-mmio``, its address absolute). ``pci_cfg_read mch 00:00.0 @0x0 -> 0x8086`` fires where a function is
there, and only there. A log of the latter alone is read too: then way and width are not told. Older versions of QEMU
name no region: the ports are known by their numbers. Source: QEMU, softmmu/trace-events, hw/pci/trace-events,
hw/pci/pci_host.c (pci_host_config_write).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats import _qemu as qemu
from traces.formats._events import Others
from traces.formats._pci_log import (
    ABOUT,
    ABSENT,
    COUNTS,
    DATA,
    IDX,
    NOTHING,
    READING,
    REGION_WRITE,
    ROW,
    WINDOW,
    WRITING,
    Accesses,
    Lines,
    alone,
    follow,
    known,
    wider,
)
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.pci_tsv import narrowed
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes
from traces.pci import Config, Presence
from traces.table import I64

_CFG = "{name:w} {bus:x8}:{device:x5}.{function:x3} @{register:x12}"
_EVENTS = {
    "memory_region_ops_read": (0, (qemu.ACCESS, qemu.BARE)),
    "memory_region_ops_write": (1, (qemu.ACCESS, qemu.BARE)),
    "pci_cfg_read": (2, (_CFG + " -> {value:x}",)),
    "pci_cfg_write": (3, (_CFG + " <- {value:x}",)),
}
_COMMENT, _OTHER = 4, 5
_REGIONS = {"pci-conf-idx": IDX, "pci-conf-data": DATA, "pcie-mmcfg-mmio": WINDOW}
_HELD = 1 << 16  # rows that may wait for the event that says whether a write's function is there


class _Log:
    """One file's lines to accesses."""

    def __init__(self, source: Input, report: Report) -> None:
        self.report, self.file = report, source.name
        before = qemu.prefix(source.head())
        templates, codes = [], []
        for name, (event, texts) in _EVENTS.items():
            templates += [f"{before}{name} {text}" for text in texts]
            codes += [event] * len(texts)
        self.templates = Templates([*templates, qemu.COMMENT, before + qemu.OTHER])
        self.event = np.array([*codes, _COMMENT, _OTHER], np.uint8)
        self.clocked = bool(before)
        known_of = qemu.contents(source, (b"pci_cfg_",))
        self.phases = qemu.Phases(known_of, report)
        self.others = Others(report, source.name, "QEMU's log", _EVENTS)
        self.threads, self.state = Codes(), known()
        self.state.machine[ABSENT] = Presence.ABSENT if known_of.words else Presence.NOT_TOLD
        self.held = Accesses(*(np.empty(0, np.int64) for _ in Accesses._fields))
        self.seen = 0  # rows of the log
        self.names: list[str] = []

    def lines(self, found: Found) -> Lines:
        """What the kernel is given."""
        event = self.event[found.which]
        access = event <= REGION_WRITE
        region, regions = found.words("region")
        kind = qemu.region_of(regions, _REGIONS)[region]
        address = found.signed("address")
        nameless = access & (np.array([name == "" for name in regions] or [False])[region])
        kind[nameless & (address == 0xCF8)] = IDX
        kind[nameless & (address & ~np.int64(3) == 0xCFC)] = DATA
        kind[~access] = 0
        marks = (event == REGION_WRITE) & (kind == 0) & (address == qemu.DEBUG_PORT)
        phase = self.phases.codes(found, event == _COMMENT, marks)
        self.others.note(found, event == _OTHER)
        elsewhere = np.bincount(region[access & (kind == 0) & ~marks], minlength=len(regions))
        for code in np.flatnonzero(elsewhere).tolist():
            self.report.note(f"accesses to region '{regions[code] or 'without a name'}'", int(elsewhere[code]))
        name, self.names = found.words("name")
        thread, _ = self.threads.encode(found.signed("thread"))
        time = found.signed("time") if self.clocked else np.arange(self.seen, self.seen + found.count)
        self.seen += found.count
        width = found.signed("width")
        bdf = found.signed("bus") << 8 | found.signed("device") << 3 | found.signed("function")
        return Lines(
            event=event, region=kind.astype(np.uint8), thread=thread.astype(np.int64), time=time,
            cpu=found.signed("cpu"), address=address, value=found.signed("value"), width=width, bdf=bdf,
            register=found.signed("register"), name=name.astype(np.int64), phase=phase,
        )  # fmt: skip

    def add(self, found: Found) -> pl.DataFrame:
        """The accesses that are known for good after some more lines."""
        lines = self.lines(found)
        keep = lines.event != _COMMENT
        if not keep.all():
            lines = Lines(*(column[keep] for column in lines))
        self.state = wider(self.state, int(lines.thread.max(initial=0)) + 1)
        threads = self.state.threads
        room, have = 2 * lines.event.size, self.held.time.size
        out = Accesses(*(np.concatenate([held, np.empty(room, np.int64)]) for held in self.held))
        end = follow(lines, self.state, out, have)
        writing = threads[:, ABOUT] == WRITING
        done = int(threads[writing, ROW].min(initial=end))
        if end - done > _HELD:
            threads[writing, ABOUT], done = NOTHING, end
        threads[writing, ROW] -= done
        self.held = Accesses(*(column[done:end].copy() for column in out))
        return self.batch(Accesses(*(column[:done] for column in out)))

    def rest(self) -> pl.DataFrame:
        """What is left at the end of the file."""
        reading = np.flatnonzero(self.state.threads[:, ABOUT] == READING)
        have = self.held.time.size
        out = Accesses(*(np.concatenate([held, np.empty(reading.size, np.int64)]) for held in self.held))
        for i, thread in enumerate(reading.tolist()):
            alone(self.state.threads[thread], 0, out, have + i)
        self.state.counted["alone"] += reading.size
        for key, sentence in COUNTS.items():
            self.report.note(sentence, int(self.state.counted[0][key]))
        return self.batch(out)

    def batch(self, out: Accesses) -> pl.DataFrame:
        """Accesses as rows of the kind."""
        names, name = [*self.names, ""], np.where(out.name < 0, len(self.names), out.name)
        width: I64 = np.where(out.width > 0, out.width, 4)
        return rows(
            Config, out.time.size, time=out.time, op=out.op, mechanism=out.mechanism, cpu=out.cpu,
            bus=out.bdf >> 8 & 255, device=out.bdf >> 3 & 31, function=out.bdf & 7, register=out.register,
            width=out.width, value=narrowed(out.value.view(np.uint64), width), present=out.present,
            phase=words(self.phases.names, out.phase), raw=words(names, name),
        )  # fmt: skip


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        log = _Log(source, report)
        report.clock = "unix" if log.clocked else "ordinal"
        with source.open() as stream:
            for found in log.templates.read(stream, source.name, report):
                batch = log.add(found)
                if batch.height:
                    yield batch
        batch = log.rest()
        if batch.height:
            yield batch


def _sniff(name: str, head: bytes) -> str | None:
    wanted = [f" name '{region}'".encode() for region in _REGIONS]
    if qemu.events(head, ("pci_cfg_read", "pci_cfg_write")):
        return "QEMU's events pci_cfg_read or pci_cfg_write"
    if qemu.events(head, ("memory_region_ops_read", "memory_region_ops_write")) and any(w in head for w in wanted):
        return "QEMU's events memory_region_ops_* of the regions of PCI configuration space"
    return None


FORMAT = Format(name="qemu-pci", kind="config", doc="QEMU log of PCI accesses", sniff=_sniff, read=_read)
