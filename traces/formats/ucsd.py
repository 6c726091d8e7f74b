"""Address traces as the University of California, San Diego, publishes them: ``l|s 0xaddress gap``.

l is a load, s a store; the third column counts the instructions between (whether the access itself is one of them,
nothing says). Variants for teaching write r and w, without 0x or without a gap: they are read where the format is
declared. There is no clock and no size. Source: caffeine, simulator, AddressTraceReader; its resources name the set.
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

_OPS = {"l": Op.LOAD, "r": Op.LOAD, "s": Op.STORE, "w": Op.STORE}
_LINE = re.compile(r"[ls] 0x[0-9a-f]{1,16} \d+\s*$")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 40) if is_text(head) else []
    if not lines or not all(_LINE.match(line) for line in lines):
        return None
    return "lines of l or s, hexadecimal address and gap"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    for source in sources:
        first = 0
        with source.open() as stream:
            for found in Templates(["{op:w} {address:x}{?} {gap:u63}"]).read(stream, source.name, report):
                codes, known = found.words("op")
                ops = np.array([_OPS.get(word.lower(), Op.UNKNOWN) for word in known], np.uint8)
                yield frame(
                    found.count,
                    time=ordinals(first, found.count),
                    op=ops[codes],
                    space=report.volume(source.label),
                    address=found["address"],
                    gap=found["gap"],
                    raw=words(known, codes),
                )
                first += found.count


FORMAT = Format(name="ucsd", kind="memory", doc="UCSD address traces", sniff=_sniff, read=_read)
