"""QEMU's log of its Intel IOMMU: events ``vtd_*``.

An access is ``vtd_dmar_translate``; on the same thread, just before it, stands ``vtd_iotlb_page_hit`` or (a miss)
``vtd_iotlb_page_update`` with the whole address. Where neither stands the IOMMU let it pass: a hit is not told. A log
without ``vtd_dmar_translate`` is read from those two alone. Invalidations have an event of their own each, beside
``vtd_inv_desc`` with the bare descriptor, which is read where there is none (device TLBs). Writes to port 0xE9 mark
phases. Source: QEMU, hw/i386/trace-events, hw/i386/intel_iommu.c (vtd_iommu_translate, vtd_process_inv_desc).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from traces.dma import NOT_TOLD, Dma, Event, Request, Told
from traces.formats import _qemu as qemu
from traces.formats._events import Others
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats._vtd import decoded, pages
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes
from traces.kernel import lean_kernel
from traces.table import I64, U8, U64

_BDF = "{bus:x8}:{device:x8}.{function:x8}"
_LOOKUP = "sid {sid:x16} iova {address:x} slpte {entry:x} domain {domain:x16}{?} {*}"
_INVALIDATE = "iotlb invalidate domain {domain:x16}"
_ON = 32  # more events, beside those of the kind
_HIT, _MISS, _PASS, _DESCRIPTOR, _WALK, _OFF = range(_ON, _ON + 6)
_COUNTED = 100  # and those that are only counted: see _NOTES
_EVENTS = (  # in the order in which they are tried: the frequent ones first
    ("vtd_iotlb_page_hit IOTLB page hit " + _LOOKUP, _HIT),
    ("vtd_dmar_translate dev " + _BDF + " iova {address:x} -> gpa {target:x} mask {mask:x}{?} {*}", Event.ACCESS),
    ("vtd_inv_desc invalidate desc type {type:w} high {high:x} low {low:x}{?} {*}", _DESCRIPTOR),
    ("vtd_inv_desc_wait_sw wait invalidate status write addr {address:x} data {target:x}", Event.WAIT),
    ("vtd_inv_desc_iotlb_pages " + _INVALIDATE + " addr {address:x} mask {mask:x8}", Event.INVALIDATE_IOTLB_PAGES),
    ("vtd_iotlb_page_update IOTLB page update " + _LOOKUP, _MISS),
    ("vtd_inv_qi_{*}", _COUNTED),
    ("vtd_reg_{*}", _COUNTED + 1),
    ("vtd_iotlb_cc_hit {*}", _COUNTED + 2),
    ("vtd_ir_remap index {address:u} {*}vector {target:u} {*}", Event.INTERRUPT),
    ("vtd_ir_{*}", _COUNTED + 3),
    ("vtd_iotlb_cc_update {*}", _COUNTED + 4),
    ("vtd_inv_desc_cc_devices {*}", _COUNTED + 5),
    ("vtd_iotlb_reset {*}", _COUNTED + 6),
    ("vtd_page_walk_one domain {domain:x16} iova {address:x} -> gpa {target:x} mask {mask:x} perm {perm:u8}", _WALK),
    ("vtd_as_unmap_whole Device " + _BDF + " start {address:x} size {size:x}", Event.UNMAP),
    ("vtd_translate_pt source id {sid:x16}, iova {address:x}", _PASS),
    ("vtd_inv_desc_iec granularity {perm:x8} index {address:x} mask {mask:x8}", Event.INVALIDATE_INTERRUPT),
    ("vtd_inv_desc_cc_device context invalidate device " + _BDF, Event.INVALIDATE_CONTEXT_DEVICE),
    ("vtd_inv_desc_cc_domain context invalidate domain {domain:x16}", Event.INVALIDATE_CONTEXT_DOMAIN),
    ("vtd_inv_desc_cc_global context invalidate globally", Event.INVALIDATE_CONTEXT_GLOBAL),
    ("vtd_inv_desc_iotlb_domain iotlb invalidate whole domain {domain:x16}", Event.INVALIDATE_IOTLB_DOMAIN),
    ("vtd_inv_desc_iotlb_global iotlb invalidate global", Event.INVALIDATE_IOTLB_GLOBAL),
    (
        "vtd_inv_desc_iotlb_pasid_pages " + _INVALIDATE + " addr {address:x} mask {mask:x8} pasid {pasid:x32}",
        Event.INVALIDATE_IOTLB_PAGES,
    ),
    ("vtd_inv_desc_iotlb_pasid " + _INVALIDATE + " pasid {pasid:x32}", Event.INVALIDATE_IOTLB_PASID),
    ("vtd_inv_desc_wait_irq{?} {*}", Event.WAIT),
    ("vtd_dmar_fault sid {sid:x16} fault {fault:u16} addr {address:x} write {perm:u1}", Event.FAULT),
    ("vtd_dmar_enable enable {target:u1}", Event.SWITCH),
    ("memory_region_ops_write " + qemu.ACCESS, _OFF),
    ("memory_region_ops_write " + qemu.BARE, _OFF),
)
_COMMENT, _OTHER = 250, 251
_NOTES = (
    "events of the invalidation queue",
    "events of registers",
    "context cache hits",
    "events of interrupt remapping beside vtd_ir_remap",
    "context cache fills",
    "descriptors that invalidate the contexts of devices: each device is told by itself",
    "IOTLB resets",
)
_TWINS = (1, 2, 4, 5, 6)  # types of descriptors that have events of their own
_WORDS = tuple(text.split()[0].split("{")[0] for text, _ in _EVENTS)

_LOOKED, _ADDRESS, _DOMAIN = range(3)  # what is known of a thread


class _Rows(NamedTuple):
    """Columns of events that a look-up on the same thread completes."""

    event: U8
    thread: I64  # code
    address: U64
    domain: I64
    hit: U8


@lean_kernel
def _pair(rows: _Rows, threads: I64) -> None:
    """Give accesses the address, domain and hit or miss of the look-up before them on their thread."""
    for i in range(rows.event.size):
        known, event = threads[rows.thread[i]], rows.event[i]
        if 32 <= event <= 34:
            known[_LOOKED], known[_ADDRESS], known[_DOMAIN] = event - 31, np.int64(rows.address[i]), rows.domain[i]
        elif event == 0:
            looked = known[_LOOKED]
            if looked:
                rows.address[i], rows.domain[i] = np.uint64(known[_ADDRESS]), known[_DOMAIN]
                rows.hit[i] = 1 if looked == 1 else 0 if looked == 2 else 2
            known[_LOOKED] = 0
        elif event == 15:
            known[_LOOKED] = 0


class _Log:
    """One file's lines to events."""

    def __init__(self, source: Input, report: Report) -> None:
        self.report = report
        before = qemu.prefix(source.head())
        records = [*(before + text for text, _ in _EVENTS), qemu.COMMENT, before + qemu.OTHER]
        self.templates, self.records = Templates(records), records
        self.event = np.array([*(event for _, event in _EVENTS), _COMMENT, _OTHER], np.uint8)
        self.raw = [*_WORDS, "", ""]
        self.clocked = bool(before)
        known = qemu.contents(source, (b"vtd_dmar_translate", b"vtd_inv_desc_"))
        self.translates, self.told = b"vtd_dmar_translate" in known.words, b"vtd_inv_desc_" in known.words
        self.phases, self.others = qemu.Phases(known, report), Others(report, source.name, "QEMU's log", _WORDS)
        self.threads, self.known = Codes(), np.zeros((8, 3), np.int64)
        self.seen = 0

    def add(self, found: Found) -> pl.DataFrame:
        """The events of some lines."""
        event = self.event[found.which]
        marks = (event == _OFF) & (found["address"] == np.uint64(qemu.DEBUG_PORT))
        self.report.note("accesses to memory regions", int(np.count_nonzero((event == _OFF) & ~marks)))
        phase = self.phases.codes(found, event == _COMMENT, marks)
        self.others.note(found, event == _OTHER)
        counts = np.bincount(event, minlength=256)
        for i, sentence in enumerate(_NOTES):
            self.report.note(sentence, int(counts[_COUNTED + i]))
        time = found.signed("time") if self.clocked else np.arange(self.seen, self.seen + found.count)
        self.seen += found.count
        at, columns = self._columns(found, event)
        named = {"phase": words(self.phases.names, phase[at]), "raw": words(self.raw, found.which[at])}
        return rows(Dma, at.size, time=time[at], **named, **columns)

    def _columns(self, found: Found, event: U8) -> tuple[I64, dict[str, Any]]:
        """The rows that are kept, and their columns."""
        every, domains = found["address"].copy(), found.signed("domain").copy()
        thread, _ = self.threads.encode(found.signed("thread"))
        threads = int(thread.max(initial=0)) + 1
        if threads > self.known.shape[0]:
            self.known = np.concatenate([self.known, np.zeros((2 * threads - self.known.shape[0], 3), np.int64)])
        hits = np.full(found.count, Told.NOT_TOLD, np.uint8)
        domains[~self._tells(found, "domain")] = NOT_TOLD
        _pair(_Rows(event, thread.astype(np.int64), every, domains, hits), self.known)
        bare = event == _DESCRIPTOR
        if self.told:  # read where their event does not stand beside them
            bare &= ~np.isin(found["low"] & np.uint64(15), _TWINS)
        keep = (event < _ON) | (event == _WALK) | bare
        if not self.translates:
            keep |= (event >= _HIT) & (event <= _PASS)
        at = np.flatnonzero(keep)  # a third of all lines: as columns of all and a filter it was a third slower

        def told(name: str) -> U64:
            return found[name][at]

        event, address, hit, target, mask = event[at], every[at], hits[at], told("target"), told("mask")
        perm = told("perm")
        page = np.where(event == Event.ACCESS, mask + np.uint64(1), np.uint64(0))
        looked = (event >= _HIT) & (event <= _PASS)
        if not self.translates:
            hit[looked] = np.where(event == _HIT, Told.YES, np.where(event == _MISS, Told.NO, Told.NOT_TOLD))[looked]
            target[looked] = told("entry")[looked] & np.uint64(0x000FFFFFFFFFF000)
            event[looked] = Event.ACCESS
        size = told("size")
        by_page = event == Event.INVALIDATE_IOTLB_PAGES
        size[by_page] = pages(mask)[by_page]
        entries = (event == Event.INVALIDATE_INTERRUPT) & (perm == 1)
        size[entries] = np.uint64(1) << np.minimum(mask, np.uint64(31))[entries]
        walk = event == _WALK
        size[walk] = mask[walk] + np.uint64(1)
        event[walk] = np.where(perm > 0, Event.MAP, Event.UNMAP)[walk]
        bdf = told("bus") << 8 | (told("device") & 31) << 3 | told("function") & 7
        source = np.where(self._tells(found, "sid")[at], told("sid"), NOT_TOLD)
        source = np.where(self._tells(found, "bus")[at], bdf, source)
        columns: dict[str, Any] = {
            "event": event,
            "request": np.where(event == Event.ACCESS, Request.UNTRANSLATED, Request.NOT_TOLD),
            "source": source,
            "domain": domains[at],
            "pasid": np.where(self._tells(found, "pasid")[at], told("pasid"), NOT_TOLD),
            "address": address,
            "size": size,
            "page": page,
            "target": target,
            "write": np.where(event == Event.FAULT, perm, Told.NOT_TOLD),
            "hit": hit,
            "fault": told("fault"),
        }
        here = np.flatnonzero(bare[at])
        for name, values in decoded(told("low")[here], told("high")[here]).items():
            columns[name][here] = values
        return at, columns

    def _tells(self, found: Found, place: str) -> Any:
        """[row] -> whether the event tells something."""
        return np.array([f"{{{place}:" in text for text in self.records])[found.which]


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        log = _Log(source, report)
        report.clock = "unix" if log.clocked else "ordinal"
        with source.open() as stream:
            for found in log.templates.read(stream, source.name, report):
                batch = log.add(found)
                if batch.height:
                    yield batch


def _sniff(name: str, head: bytes) -> str | None:
    found = qemu.events(head, [word for word in _WORDS if word.startswith("vtd_")] + ["vtd_context_cache_reset"])
    return "QEMU's events vtd_*" if found else None


FORMAT = Format(name="qemu-vtd", kind="dma", doc="QEMU log of its Intel IOMMU", sniff=_sniff, read=_read)
