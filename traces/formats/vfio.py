"""QEMU's log of devices passed through: ``vfio_pci_read_config (0000:04:00.0, @0x3d, len=0x1) 0x0`` and its write.

The place is the device's on the host, its name there. All other events (regions, interrupts, resets) are counted.
Source: QEMU, hw/vfio/trace-events.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats import _qemu as qemu
from traces.formats._events import Others
from traces.formats._rows import rows, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.pci_tsv import narrowed
from traces.formats.reader import Format, Options, Report
from traces.pci import Config, Op, Presence

_EVENTS = {
    "vfio_pci_read_config": "({name:w}, @{register:x12}, len={width:x8}) {value:x}",
    "vfio_pci_write_config": "({name:w}, @{register:x12}, {value:x}, len={width:x8})",
}
_OPS = (Op.READ, Op.WRITE)
_COMMENT, _OTHER = 2, 3
_NOTES = {
    "~size: {*}": "continuation lines without prefix",
    "memory_region_ops_{*}": "accesses to memory regions",
}
_PLACE = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


def _place(name: str) -> int:
    """Segment << 16 | bus << 8 | device << 3 | function; 0 where the name is no place."""
    found = _PLACE.fullmatch(name)
    if not found:
        return 0
    segment, bus, device, function = (int(each, 16) for each in found.groups())
    return segment << 16 | bus << 8 | (device & 31) << 3 | function


def _batch(found: Found, clock: np.ndarray[tuple[int], np.dtype[np.int64]], file: str, report: Report) -> pl.DataFrame:
    name, names = found.words("name")
    which, width = found.which, found.signed("width")
    access = which < _COMMENT
    bad = access & ~np.isin(width, (1, 2, 4, 8))
    found.refuse(report, file, bad, "the length is not 1, 2, 4 or 8")
    unplaced = np.array([_PLACE.fullmatch(each) is None for each in names] or [True])[name]
    report.note("accesses to devices whose name is no PCI address", int(np.count_nonzero(access & unplaced)))
    place = np.array([_place(each) for each in names] or [0], np.int64)[name]
    made = rows(
        Config,
        found.count,
        time=clock,
        op=np.array([*_OPS, 0, 0])[which],
        segment=place >> 16,
        bus=place >> 8 & 255,
        device=place >> 3 & 31,
        function=place & 7,
        register=found.signed("register"),
        width=width,
        value=narrowed(found["value"], width),
        present=int(Presence.PRESENT),
        raw=words([*_EVENTS, "", ""], which),
    )
    return made.filter(pl.Series(access & ~bad))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        before = qemu.prefix(source.head())
        report.clock = "unix" if before else "ordinal"
        records = [f"{before}{name} {text}" for name, text in _EVENTS.items()]
        notes = {text if text[0] == "~" else before + text: sentence for text, sentence in _NOTES.items()}
        templates = Templates([*records, qemu.COMMENT, before + qemu.OTHER], notes)
        others, seen = Others(report, source.name, "QEMU's log", _EVENTS), 0
        with source.open() as stream:
            for found in templates.read(stream, source.name, report):
                clock = found.signed("time") if before else np.arange(seen, seen + found.count)
                seen += found.count
                comments = int(np.count_nonzero(found.which == _COMMENT))
                report.note("lines of the recording's own that begin with #", comments)
                others.note(found, found.which == _OTHER)
                batch = _batch(found, clock, source.name, report)
                if batch.height:
                    yield batch


def _sniff(name: str, head: bytes) -> str | None:
    return "QEMU's events vfio_pci_*_config" if qemu.events(head, tuple(_EVENTS)) else None


FORMAT = Format(name="vfio", kind="config", doc="QEMU log of VFIO configuration accesses", sniff=_sniff, read=_read)
