"""DRAMSim2's and DRAMSim3's traces: ``0xaddress COMMAND cycle``.

The commands of DRAMSim2's mase traces are IFETCH, READ and WRITE, of its k6 traces P_FETCH, P_MEM_RD, P_LOCK_RD,
P_MEM_WR, P_LOCK_WR and BOFF; DRAMSim3 has READ and WRITE. How long a cycle is, the trace does not say: one cycle is
kept as one nanosecond, and the clock is called ordinal. Sizes are those of the simulated bus and not told. BOFF (a
bus back-off, which DRAMSim2 takes for a write) is unknown here. Source: DRAMSim2, TraceBasedSim.cpp
(parseTraceFileLine); DRAMSim3, README.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, words
from traces.formats._template import Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op

_OPS = {
    **dict.fromkeys(("READ", "P_MEM_RD", "P_LOCK_RD"), Op.LOAD),
    **dict.fromkeys(("WRITE", "P_MEM_WR", "P_LOCK_WR"), Op.STORE),
    **dict.fromkeys(("IFETCH", "P_FETCH"), Op.FETCH),
}
_LINE = re.compile(r"0x[0-9a-fA-F]+\s+(READ|WRITE|IFETCH|P_(FETCH|(MEM|LOCK)_(RD|WR))|BOFF)\s+\d+\s*$")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 40) if is_text(head) else []
    if not lines or not all(_LINE.match(line) for line in lines):
        return None
    return "lines of hexadecimal address, a command as READ, WRITE or P_MEM_RD, and a cycle"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    for source in sources:
        with source.open() as stream:
            for found in Templates(["{address:x} {command:w} {cycle:u62}"]).read(stream, source.name, report):
                codes, commands = found.words("command")
                ops = np.array([_OPS.get(word.upper(), Op.UNKNOWN) for word in commands], np.uint8)
                report.note("times that are cycles, one kept as a nanosecond", found.count)
                yield frame(
                    found.count,
                    time=found.signed("cycle"),
                    op=ops[codes],
                    space=report.volume(source.label),
                    address=found["address"],
                    raw=words(commands, codes),
                )


FORMAT = Format(name="dramsim", kind="memory", doc="DRAMSim2 and DRAMSim3 traces", sniff=_sniff, read=_read)
