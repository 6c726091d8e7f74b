"""Ramulator's traces: of a processor, ``bubbles address [writeback]``, and of a memory, ``0xaddress R|W``.

A processor's line is so many instructions that access nothing, a load, and in the same breath the write-back of a
line that had to go: a load with that gap, then a store. Addresses are decimal bytes. There is no clock and no size
(the traces stand behind caches, whose lines have 64 bytes). Numbers alone could be anything: the format must be
declared. Source: CMU-SAFARI/ramulator, README.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, ordinals, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.memory import Op

_LINES = ("{gap:u63} {address:u} {store:u}", "{gap:u63} {address:u}", "0x{address:x} R", "0x{address:x} W")
_BOTH, _LOAD, _READ, _WRITE = range(4)


def _rows(found: Found, first: int, space: int) -> pl.DataFrame:
    """A row a line, and one more where it writes back."""
    line = np.repeat(np.arange(found.count), 1 + (found.which == _BOTH))
    second = np.append(False, line[1:] == line[:-1])
    which = found.which[line]
    store = second | (which == _WRITE)
    return frame(
        line.size,
        time=ordinals(first, line.size),
        op=np.where(store, Op.STORE, Op.LOAD).astype(np.uint8),
        space=space,
        address=np.where(second, found["store"][line], found["address"][line]),
        gap=np.where(second, np.uint64(0), found["gap"][line]),
        raw=words(
            ["load", "writeback", "R", "W"],
            np.where(which >= _READ, which, second).astype(np.uint32),
        ),
    )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    for source in sources:
        first = 0
        with source.open() as stream:
            for found in Templates(_LINES, {"#{*}": "comments"}).read(stream, source.name, report):
                rows = _rows(found, first, report.volume(source.label))
                first += rows.height
                yield rows


FORMAT = Format(
    name="ramulator",
    kind="memory",
    doc="Ramulator CPU and DRAM traces",
    sniff=lambda name, head: None,  # numbers alone: it must be declared
    read=_read,
)
