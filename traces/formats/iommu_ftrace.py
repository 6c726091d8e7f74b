"""Linux's own events of DMA remapping, as the kernel's tracers print them.

``map: IOMMU: iova=0x.. - 0x.. paddr=0x.. size=n`` and ``unmap`` (older kernels leave the end out), ``qi_submit: type
unit: 0x.. 0x.. 0x.. 0x..`` with an invalidation descriptor, ``io_page_fault``, and ``map_single`` and its like of
kernels 5.4 to 5.10. A mark ``PHASE name`` (``tracing_mark_write``) begins a phase. Times are those of the trace's
clock, since the machine started unless another was chosen. Source: linux, include/trace/events/iommu.h,
intel_iommu.h.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from traces.dma import NOT_TOLD, Dma, Event, Told
from traces.formats import _events as events
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats._vtd import decoded
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import is_text

_DESCRIPTOR, _MARK, _COMMENT, _LOST, _OTHER = range(100, 105)
_RANGE = "IOMMU: iova={address:x} - {end:x} "
_DEVICE = "dev={device:w} {*}dev_addr={address:x} "
_EVENTS = (
    ("intel_iommu:qi_submit", "{type:w} {unit:w}: {low:x} {high:x} {third:x} {fourth:x}", _DESCRIPTOR),
    ("iommu:map", _RANGE + "paddr={target:x} size={size:u}", Event.MAP),
    ("iommu:unmap", _RANGE + "size={asked:u} unmapped_size={size:u}", Event.UNMAP),
    ("iommu:map", "IOMMU: iova={address:x} paddr={target:x} size={size:u}", Event.MAP),
    ("iommu:unmap", "IOMMU: iova={address:x} size={asked:u} unmapped_size={size:u}", Event.UNMAP),
    ("iommu:io_page_fault", "IOMMU:{driver:w} {device:w} iova={address:x} flags={flags:x}", Event.FAULT),
    *(
        (f"intel_iommu:{name}", _DEVICE + "phys_addr={target:x} size={size:u}", Event.MAP)
        for name in ("map_single", "map_sg", "bounce_map_single")
    ),
    *(
        (f"intel_iommu:{name}", _DEVICE + "size={size:u}", Event.UNMAP)
        for name in ("unmap_single", "unmap_sg", "bounce_unmap_single")
    ),
    ("ftrace:tracing_mark_write", "PHASE {mark:w}", _MARK),
)
_PLACE = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_LINE = re.compile(
    rb"\[\d+\][^\n]* \d+\.\d+: (?:iommu:|intel_iommu:)?"
    rb"(?:(?:un)?map: +IOMMU: |qi_submit: +\w+ \w+: 0x|io_page_fault: +IOMMU:"
    rb"|(?:bounce_)?(?:un)?map_(?:sg|single): +dev=)"
)


def _source(device: str) -> int:
    place = _PLACE.fullmatch(device)
    if not place:
        return NOT_TOLD
    segment, bus, number, function = (int(each or "0", 16) for each in place.groups())
    return (segment << 16 | bus << 8 | number << 3 | function) if segment < 1 << 16 else NOT_TOLD


class _Trace:
    """One file's lines to events."""

    def __init__(self, source: Input, report: Report) -> None:
        self.report = report
        head = source.head()
        before = events.prefix(head)
        names = events.group(head, [name for name, _, _ in _EVENTS])
        records = [f"{before}{name}: {text}" for name, (_, text, _) in zip(names, _EVENTS, strict=True)]
        self.templates = Templates([*records, events.COMMENT, events.LOST, before + events.OTHER])
        self.event = np.array([*(event for _, _, event in _EVENTS), _COMMENT, _LOST, _OTHER], np.uint8)
        self.raw = [*names, "", "", ""]
        self.others = events.Others(report, source.name, "a kernel trace", names[:-1])
        self.phases, self.now = [""], 0

    def add(self, found: Found) -> pl.DataFrame:
        """The events of some lines."""
        event = self.event[found.which]
        events.comments(found, event == _COMMENT, self.report)
        self.report.note("events lost, as the trace says", int(found["lost"].sum()))
        self.others.note(found, event == _OTHER)
        phase = self._phase(found, event == _MARK)
        device, devices = found.words("device")
        source = np.array([_source(each) for each in devices] or [NOT_TOLD], np.int64)[device]
        unmap = event == Event.UNMAP
        short = unmap & (found["asked"] > found["size"])
        self.report.note("unmaps of which less was unmapped than asked", int(np.count_nonzero(short)))
        faults = event == Event.FAULT
        columns: dict[str, Any] = {
            "event": event.copy(),
            "source": source,
            "domain": np.full(found.count, NOT_TOLD, np.int64),
            "pasid": np.full(found.count, NOT_TOLD, np.int64),
            "address": found["address"].copy(),
            "size": found["size"].copy(),
            "target": found["target"].copy(),
        }
        at = np.flatnonzero(event == _DESCRIPTOR)
        for name, values in decoded(found["low"][at], found["high"][at]).items():
            columns[name][at] = values
        made = rows(
            Dma,
            found.count,
            time=found.signed("time"),
            write=np.where(faults, found.signed("flags") & 1, Told.NOT_TOLD),
            phase=words(self.phases, phase),
            raw=words(self.raw, found.which),
            **columns,
        )
        return made.filter(pl.Series(event <= _DESCRIPTOR))

    def _phase(self, found: Found, marks: Any) -> Any:
        phase = np.full(found.count, self.now, np.int64)
        mark, names = found.words("mark")
        for row in np.flatnonzero(marks).tolist():
            name = names[mark[row]]
            if name not in self.phases:
                self.phases.append(name)
            phase[row:] = self.now = self.phases.index(name)
        return phase


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    for source in sources:
        trace = _Trace(source, report)
        with source.open() as stream:
            for found in trace.templates.read(stream, source.name, report):
                batch = trace.add(found)
                if batch.height:
                    yield batch


def _sniff(name: str, head: bytes) -> str | None:
    return "the kernel's events of DMA remapping (iommu, intel_iommu)" if is_text(head) and _LINE.search(head) else None


FORMAT = Format(name="iommu-ftrace", kind="dma", doc="Linux iommu and intel_iommu events", sniff=_sniff, read=_read)
