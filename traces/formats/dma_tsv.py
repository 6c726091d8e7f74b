"""Events of an IOMMU as a table of tabs, one event a line, under a header line.

``t_us phase kind sid addr result hit domain``: microseconds since the recording began, what the guest was doing, the
event, the device's number in hexadecimal, and by event: ``translate`` with the address, its translation, 1 for a hit
of the IOTLB and the domain; ``inv_iotlb_pages`` with the address and the number of pages; ``inv_dev_iotlb`` with the
address and its size bit (``S=1``: the address says how many pages); ``inv_context_device`` with the device;
``irq_remap`` with the index of the entry and the vector. ``-`` stands where there is nothing. Requests of block
devices between them are counted and left out. Source: the recording D_iommu of the shared captures, its INDEX.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from traces.dma import NOT_TOLD, Dma, Event, Request, Told
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats._vtd import PAGE, range_of
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report

HEADER = "t_us phase kind sid addr result hit domain"
_BDF = "{bus:x8}:{device:x5}.{function:x3}"
_KINDS = (
    ("translate {sid:x16} {address:x} {target:x} {hit:u1} {domain:u16}", Event.ACCESS),
    ("inv_wait - - - - -", Event.WAIT),
    ("inv_iotlb_pages - {address:x} {pages:u40} - {domain:u16}", Event.INVALIDATE_IOTLB_PAGES),
    ("inv_dev_iotlb {sid:x16} {address:x} S={sized:u1} - -", Event.INVALIDATE_DEVICE_TLB),
    ("irq_remap - {index:u} {target:u} - -", Event.INTERRUPT),
    ("inv_iec - - - - -", Event.INVALIDATE_INTERRUPT),
    ("inv_iotlb_domain - - - - {domain:u16}", Event.INVALIDATE_IOTLB_DOMAIN),
    ("inv_iotlb_global - - - - -", Event.INVALIDATE_IOTLB_GLOBAL),
    ("inv_context_device - " + _BDF + " - - -", Event.INVALIDATE_CONTEXT_DEVICE),
    ("inv_context_domain - - - - {domain:u16}", Event.INVALIDATE_CONTEXT_DOMAIN),
    ("inv_context_global - - - - -", Event.INVALIDATE_CONTEXT_GLOBAL),
    ("dmar_enable - enable {target:u1} - - -", Event.SWITCH),
    ("translate {sid:x16} {address:x} {target:x} {hit:u1} -", Event.ACCESS),
    ("translate {sid:x16} {address:x} {target:x} - {domain:u16}", Event.ACCESS),  # let pass: no look-up
    ("translate {sid:x16} {address:x} {target:x} - -", Event.ACCESS),
    ("dmar_fault {sid:x16} {address:x} {fault:u16} - -", Event.FAULT),  # in no recording so far: unchecked
)
_OTHER = "{time:u50} {phase:w} {kind:w} {*}"
_REQUESTS = ("nvme_", "virtio_blk_")


def _batch(found: Found, report: Report) -> pl.DataFrame:
    event = np.array([*(each for _, each in _KINDS), Event.UNKNOWN], np.uint8)[found.which]

    def told(place: str) -> Any:
        return np.array([*(f"{{{place}:" in text for text, _ in _KINDS), False])[found.which]

    phase, phases = found.words("phase")
    kind, kinds = found.words("kind")
    names = [text.split(" ", 1)[0] for text, _ in _KINDS] + kinds
    name = np.where(event == Event.UNKNOWN, kind + len(_KINDS), found.which)
    requests = np.isin(name, [i for i, each in enumerate(names) if each.startswith(_REQUESTS)])
    report.note("requests of block devices", int(np.count_nonzero(requests)))
    report.note("events that are not known", int(np.count_nonzero(~requests & (event == Event.UNKNOWN))))
    device_tlb = event == Event.INVALIDATE_DEVICE_TLB
    first, count = range_of(found["address"], found.signed("sized") == 1)
    address = np.where(event == Event.INTERRUPT, found["index"], np.where(device_tlb, first, found["address"]))
    bdf = found.signed("bus") << 8 | found.signed("device") << 3 | found.signed("function")
    access = event == Event.ACCESS
    made = rows(
        Dma,
        found.count,
        time=found.signed("time") * 1000,
        event=event,
        request=np.where(access, Request.UNTRANSLATED, Request.NOT_TOLD),
        source=np.where(told("sid"), found.signed("sid"), np.where(told("bus"), bdf, NOT_TOLD)),
        domain=np.where(told("domain"), found.signed("domain"), NOT_TOLD),
        address=address,
        size=np.where(device_tlb, count, found["pages"] * np.uint64(PAGE)),
        target=found["target"],
        hit=np.where(access & told("hit"), found.signed("hit"), Told.NOT_TOLD),
        fault=found.signed("fault"),
        phase=words(["" if each == "-" else each for each in phases], phase),
        raw=words(names, name),
    )
    return made.filter(pl.Series(~requests)) if requests.any() else made


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        records = ["{time:u50} {phase:w} " + text for text, _ in _KINDS]
        templates = Templates([*records, _OTHER], {HEADER: "header lines"})
        with source.open() as stream:
            for found in templates.read(stream, source.name, report):
                batch = _batch(found, report)
                if batch.height:
                    yield batch


def _sniff(name: str, head: bytes) -> str | None:
    if head.split(b"\n", 1)[0].decode("utf-8", "replace").split() != HEADER.split():
        return None
    return f"header line '{HEADER}'"


FORMAT = Format(name="dma-tsv", kind="dma", doc="events of an IOMMU, tabs", sniff=_sniff, read=_read)
