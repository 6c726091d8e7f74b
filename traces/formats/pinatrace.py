"""Pin's pinatrace in its four dialects: an instruction's address, R or W, the address it accesses.

``0xip: R 0xaddr`` as Pin's example prints it; the same with size and value, between lines ``RTN: name``; the same
with ``; TID: n``; and ``R 3212859348``: decimal, without the instruction. The last could be anything and must be
declared. Values are not kept. There is no clock. Source: Pin, source/tools/ManualExamples/pinatrace.cpp; the dialects
are those of published recordings, the one with thread ids by description only.
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

_LINES = tuple(
    line.replace("%", op)
    for line in (
        "{ip:x}: % {address:x}{?} {size:u32}{?} {*}",
        "{ip:x}: % {address:x}~;~TID:~{cpu:u32}",
        "% {address:u}",
        "% 0x{address:x}",
    )
    for op in "RW"
)
_NOTES = {"#{*}": "comments", "RTN:{*}": "names of routines"}

_LINE = re.compile(r"0x[0-9a-f]+: [RW] +0x[0-9a-f]+( +\d+ +\S+| *; *TID: *\d+)?\s*$")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 60) if is_text(head) else []
    rest = [line for line in lines if not line.startswith(("#", "RTN:"))]
    if not rest or not all(_LINE.match(line) for line in rest):
        return None
    return "lines of instruction address, colon, R or W and address, as Pin's pinatrace prints them"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    ops = np.array([Op.LOAD, Op.STORE], np.uint8)
    for source in sources:
        first = 0
        with source.open() as stream:
            for found in Templates(_LINES, _NOTES).read(stream, source.name, report):
                word = found.which % 2
                yield frame(
                    found.count,
                    time=ordinals(first, found.count),
                    op=ops[word],
                    space=report.volume(source.label),
                    cpu=found["cpu"],
                    address=found["address"],
                    size=found["size"],
                    ip=found["ip"],
                    raw=words(["R", "W"], word),
                )
                first += found.count


FORMAT = Format(name="pinatrace", kind="memory", doc="Pin pinatrace, four dialects", sniff=_sniff, read=_read)
