"""USIMM's traces: ``gap R 0xaddress 0xpc`` and ``gap W 0xaddress``; forks add a column of domains.

The gap is that of instructions which do not access memory. A domain is who accesses, not another memory: it is kept
as ``cpu``. There is no clock, and no size (the traces stand behind caches). Source: Chatterjee et al., "USIMM: the
Utah SImulated Memory Module", UUCS-12-002, section 2.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, ordinals, words
from traces.formats._template import Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op

_LINES = ("{gap:u63} R {address:x} {ip:x}{?} {cpu:u32}", "{gap:u63} W {address:x}{?} {cpu:u32}")

_LINE = re.compile(r"\d+ +(R +0x[0-9a-fA-F]+ +0x[0-9a-fA-F]+|W +0x[0-9a-fA-F]+)( +\d+)?\s*$")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 200) if is_text(head) else []
    if not lines or not all(_LINE.match(line) for line in lines) or not any(" R " in line for line in lines):
        return None
    return "lines of gap, R with address and program counter or W with address"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    ops = np.array([Op.LOAD, Op.STORE], np.uint8)
    for source in sources:
        first = 0
        with source.open() as stream:
            for found in Templates(_LINES).read(stream, source.name, report):
                yield frame(
                    found.count,
                    time=ordinals(first, found.count),
                    op=ops[found.which],
                    space=report.volume(source.label),
                    cpu=found["cpu"],
                    address=found["address"],
                    ip=found["ip"],
                    gap=found["gap"],
                    raw=words(["R", "W"], found.which),
                )
                first += found.count


FORMAT = Format(name="usimm", kind="memory", doc="USIMM traces", sniff=_sniff, read=_read)
