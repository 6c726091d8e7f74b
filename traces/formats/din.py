"""Dinero's traces: ``0|1|2 address``, hexadecimal: read, write, instruction fetch; what follows on the line is ignored.

Labels 3 and 4 are escapes (4 flushes the cache) and unknown here. There is no clock and no size. A digit and a number
could be anything: the format must be declared. Checked against the documented layout only, not a recording.
Source: Dinero IV's manual, format ``d``.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, ordinals, words
from traces.formats._template import Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.memory import Op

_OPS = np.array([Op.LOAD, Op.STORE, Op.FETCH, *[Op.UNKNOWN] * 5], np.uint8)
_RAW = [str(label) for label in range(8)]


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    for source in sources:
        first = 0
        with source.open() as stream:
            for found in Templates(["~{label:u3} {address:x}{?} {*}"]).read(stream, source.name, report):
                label = found.signed("label").astype(np.uint32)
                yield frame(
                    found.count,
                    time=ordinals(first, found.count),
                    op=_OPS[label],
                    space=report.volume(source.label),
                    address=found["address"],
                    raw=words(_RAW, label),
                )
                first += found.count


FORMAT = Format(
    name="din",
    kind="memory",
    doc="Dinero din traces",
    sniff=lambda name, head: None,  # a digit and a number: it must be declared
    read=_read,
)
