"""PCI configuration accesses as a table of tabs, one access a line, under a header line.

``t_us vcpu mech op bus dev fn reg size value present qemu_dev phase``: microseconds since the recording began, the
way (``cf8`` or ``ecam``), ``R`` or ``W``, decimal numbers, the value in hexadecimal (of an absent function as the bus
gave it, not cut to the access's width), 0 or 1 for presence, the emulator's name of the device (``-`` if absent), and
what the guest was doing. Source: the recordings A_pci of the shared captures, their INDEX.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._rows import meanings, rows, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.pci import Config, Mechanism, Op
from traces.table import I64, U64

HEADER = "t_us vcpu mech op bus dev fn reg size value present qemu_dev phase"
_LINE = (
    "{time:u50} {cpu:u32} {mech:w} {op:w} {bus:u8} {device:u5} {function:u3} {register:u12} {width:u8} {value:x} "
    "{present:u1} {name:w} {phase:w}"
)
_MECHANISMS = {"cf8": int(Mechanism.PORTS), "ecam": int(Mechanism.ECAM)}
_OPS = {"R": int(Op.READ), "W": int(Op.WRITE)}


def narrowed(value: U64, width: I64) -> U64:
    """Values cut to as many bytes as the accesses are wide."""
    bits = np.clip(8 * width, 1, 64).astype(np.uint64)
    return value & (np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - bits))


def _batch(found: Found, file: str, report: Report) -> pl.DataFrame:
    (mech, mechs), (op, ops), (name, names), (phase, phases) = map(found.words, ("mech", "op", "name", "phase"))
    op_of, width = meanings(ops, _OPS, -1)[op], found.signed("width")
    bad = (op_of < 0) | ~np.isin(width, (1, 2, 4, 8))
    found.refuse(report, file, bad, "the operation is not R or W, or the size not 1, 2, 4 or 8")
    mechanism = meanings(mechs, _MECHANISMS, int(Mechanism.OTHER))[mech]
    report.note("ways that are neither cf8 nor ecam", int(np.count_nonzero(~bad & (mechanism == Mechanism.OTHER))))
    made = rows(
        Config,
        found.count,
        time=found.signed("time") * 1000,
        op=np.maximum(op_of, 0),
        mechanism=mechanism,
        value=narrowed(found["value"], width),
        phase=words(["" if each == "-" else each for each in phases], phase),
        raw=words(["" if each == "-" else each for each in names], name),
        **{each: found.signed(each) for each in ("cpu", "bus", "device", "function", "register", "width", "present")},
    )
    return made.filter(pl.Series(~bad)) if bad.any() else made


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        templates = Templates([_LINE], {HEADER: "header lines"})
        with source.open() as stream:
            for found in templates.read(stream, source.name, report):
                batch = _batch(found, source.name, report)
                if batch.height:
                    yield batch


def _sniff(name: str, head: bytes) -> str | None:
    if head.split(b"\n", 1)[0].decode("utf-8", "replace").split() != HEADER.split():
        return None
    return "header line 't_us vcpu mech op bus dev fn reg ...'"


FORMAT = Format(name="pci-tsv", kind="config", doc="PCI configuration accesses, tabs", sniff=_sniff, read=_read)
