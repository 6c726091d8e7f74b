"""PCI configuration accesses out of KVM's tracepoints, of both generations.

The older ``kvm_exit: reason X rip 0x.. info a b`` and ``kvm_page_fault: address .. error_code ..`` (hexadecimal
without 0x) or the newer ``kvm_exit: vcpu N reason X rip 0x.. info1 0x.. info2 0x.. intr_info 0x.. error_code 0x..``
and ``kvm_page_fault: vcpu N rip 0x.. address 0x.. error_code 0x..``; ``kvm_pio``, ``kvm_mmio`` and ``kvm_hypercall``
are the same in both. Accesses through the ports 0xCF8 and 0xCFC become records, and those to the ECAM window where it
is declared: ``--format kvm --columns ecam=0xb0000000`` (256 MiB, or ``ecam=0xb0000000:64MiB``). All else is counted.
Whether a function is there is not told. Source: linux, arch/x86/kvm/trace.h of 4.15 and 6.12,
include/trace/events/kvm.h.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.amounts import size
from traces.errors import TraceError
from traces.formats import _events as events
from traces.formats._kvm_log import (
    COUNTS,
    ENTRY,
    EXIT,
    FAULT,
    MEMORY,
    PORT,
    READ,
    UNSATISFIED,
    WRITE,
    Accesses,
    Lines,
    finish,
    follow,
    room,
    start,
)
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.pci_tsv import narrowed
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes, is_text
from traces.pci import Config, Presence
from traces.table import U8, Bool

_HYPERCALL, _COMMENT, _LOST, _OTHER = range(100, 104)
_EVENTS = (
    ("kvm_exit", "vcpu {vcpu:u32} reason {reason:w} {*}", EXIT),
    ("kvm_entry", "vcpu {vcpu:u32}{*}", ENTRY),
    ("kvm_pio", "pio_{way:w} at {address:x16} size {width:u8} count {times:u} val {value:x}{?} {*}", PORT),
    ("kvm_pio", "pio_{way:w} at {address:x16} size {width:u8} count {times:u}", PORT),
    ("kvm_mmio", "mmio {way:w} len {width:u8} gpa {address:x} val {value:x}", MEMORY),
    ("kvm_exit", "reason {reason:w} {*}", EXIT),
    ("kvm_page_fault", "vcpu {vcpu:u32} rip {rip:x} address {address:x} error_code {code:x}", FAULT),
    ("kvm_page_fault", "address {address:x} error_code {code:x}", FAULT),
    ("kvm_hypercall", "nr {number:x} a0 {first:x} {*}", _HYPERCALL),
)
_WAYS = {"read": READ, "write": WRITE, "unsatisfied-read": UNSATISFIED}
_NAMES = np.array([name for name, _, _ in _EVENTS])
_LINE = re.compile(rb"\[\d+\][^\n]* \d+\.\d+: (?:kvm:)?kvm_\w+: ")
_WINDOW = re.compile(r"ecam=(0x[0-9a-fA-F]{1,15})(?::(\w+))?")


def _window(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    found = _WINDOW.fullmatch(text.strip())
    if not found:
        raise TraceError(f"--columns {text}: kvm takes the place of the ECAM window, like ecam=0xb0000000:256MiB")
    try:
        count = size(found[2] or "256MiB")
    except ValueError as error:
        raise TraceError(f"--columns {text}: {error}") from None
    if not 0 < count <= 1 << 28:
        raise TraceError(f"--columns {text}: an ECAM window has at most 256 MiB")
    return int(found[1], 16), int(found[1], 16) + count


class _Trace:
    """One file's lines to accesses."""

    def __init__(self, source: Input, window: tuple[int, int], report: Report) -> None:
        self.report, self.file = report, source.name
        head = source.head()
        before = events.prefix(head)
        names = events.group(head, [f"kvm:{name}" for name, _, _ in _EVENTS])
        records = [f"{before}{name}: {text}" for name, (_, text, _) in zip(names, _EVENTS, strict=True)]
        self.templates = Templates([*records, events.COMMENT, events.LOST, before + events.OTHER])
        self.event = np.array([*(event for _, _, event in _EVENTS), _COMMENT, _LOST, _OTHER], np.uint8)
        self.others = events.Others(report, source.name, "a kernel trace", names)
        self.threads, self.state = Codes(), start(window)

    def add(self, found: Found) -> pl.DataFrame:
        """The accesses of some lines."""
        event = self.event[found.which]
        way, ways = found.words("way")
        op = np.array([_WAYS.get(each, -1) for each in ways] or [-1], np.int64)[way]
        access = (event == PORT) | (event == MEMORY)
        width = found.signed("width")
        bad = access & ((op < 0) | ((event == PORT) & (op == UNSATISFIED)) | (width < 1) | (width > 64))
        found.refuse(self.report, self.file, bad, "neither a read nor a write, or of no width that can be")
        self._note(found, event, ~bad)
        thread, _ = self.threads.encode(found.signed("pid"))
        seen = int(thread.max(initial=0)) + 1
        if seen > self.state.threads.shape[0]:
            wider = np.concatenate([self.state.threads, room(2 * seen - self.state.threads.shape[0])])
            self.state = self.state._replace(threads=wider)
        code = found["code"]
        lines = Lines(
            event=event,
            thread=thread.astype(np.int64),
            time=found.signed("time"),
            vcpu=np.where(self._tells(found, "vcpu"), found.signed("vcpu"), -1),
            op=op,
            address=found.signed("address"),
            width=width,
            value=np.where(
                event == FAULT, ((code & np.uint64(2)) >> np.uint64(1)).view(np.int64), found.signed("value")
            ),
        )
        use = ~bad & (event <= ENTRY)
        lines = Lines(*(column[use] for column in lines))
        out = Accesses(*(np.empty(2 * lines.event.size + 1, np.int64) for _ in Accesses._fields))
        return self._batch(out, follow(lines, self.state, out, 0))

    def rest(self) -> pl.DataFrame:
        """What is left at the end of the file."""
        out = Accesses(*(np.empty(2 * self.state.threads.shape[0], np.int64) for _ in Accesses._fields))
        batch = self._batch(out, finish(self.state, out))
        for key, sentence in COUNTS.items():
            self.report.note(sentence, int(self.state.counted[0][key]))
        return batch

    def _tells(self, found: Found, place: str) -> Bool:
        told: Bool = np.array([f"{{{place}:" in text for _, text, _ in _EVENTS] + [False] * 3)[found.which]
        return told

    def _note(self, found: Found, event: U8, good: Bool) -> None:
        events.comments(found, event == _COMMENT, self.report)
        self.report.note("events lost, as the trace says", int(found["lost"].sum()))
        self.others.note(found, event == _OTHER)
        counts = np.bincount(found.which[good & (event <= _HYPERCALL)], minlength=len(_EVENTS))
        for name, count in zip(_NAMES.tolist(), counts.tolist(), strict=False):
            self.report.note(f"events of {name}", count)
        reason, reasons = found.words("reason")
        exits = np.bincount(reason[event == EXIT], minlength=len(reasons))
        for code in np.flatnonzero(exits).tolist():
            self.report.note(f"exits {reasons[code]}", int(exits[code]))
        several = (event == PORT) & (found["times"] > 1)
        self.report.note("port accesses of strings: the first value is told", int(np.count_nonzero(several)))
        silent = good & (event == PORT) & ~self._tells(found, "value")
        self.report.note("port accesses whose value is not told", int(np.count_nonzero(silent)))

    def _batch(self, out: Accesses, count: int) -> pl.DataFrame:
        out = Accesses(*(column[:count] for column in out))
        return rows(
            Config,
            count,
            time=out.time,
            op=out.op,
            mechanism=out.mechanism,
            cpu=out.cpu & 0xFFFFFFFF,
            bus=out.place >> 20 & 255,
            device=out.place >> 15 & 31,
            function=out.place >> 12 & 7,
            register=out.place & 0xFFF,
            width=out.width,
            value=narrowed(out.value.view(np.uint64), np.where(out.width > 0, out.width, 8)),
            present=int(Presence.NOT_TOLD),
            raw=words(["kvm_pio", "kvm_mmio", "kvm_page_fault"], np.where(out.width == 0, 2, out.mechanism)),
        )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    window = _window(options.columns)
    for source in sources:
        trace = _Trace(source, window, report)
        with source.open() as stream:
            for found in trace.templates.read(stream, source.name, report):
                batch = trace.add(found)
                if batch.height:
                    yield batch
        batch = trace.rest()
        if batch.height:
            yield batch
    seen = sum(count for sentence, count in report.notes.items() if sentence.startswith("events of "))
    if seen:
        ecam = "none to the ECAM window" if window[1] else "no ECAM window was declared (--columns ecam=...)"
        report.nothing = (
            f"no access to PCI configuration space among {seen} events: none of a function through the ports 0xCF8 "
            f"and 0xCFC, and {ecam}"
        )


def _sniff(name: str, head: bytes) -> str | None:
    return "KVM's tracepoints" if is_text(head) and _LINE.search(head) else None


FORMAT = Format(
    name="kvm",
    kind="config",
    doc="KVM tracepoints: PCI accesses of both generations",
    sniff=_sniff,
    read=_read,
    declares=frozenset({"columns"}),
)
