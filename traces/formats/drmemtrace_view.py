"""What drmemtrace's ``view`` tool prints: ``record instruction: thread read 8 byte(s) @ 0x... by PC 0x...``.

Older versions print ``T`` and the thread alone before the record, newer ones ``W0.T1234`` with the workload. The time
of a record is that of the latest ``<marker: timestamp N>`` before it, microseconds since 1601, whichever thread it
belongs to. Instructions that were not fetched look like those that were. Threads are kept as ``cpu``, a workload is
an address space. Checked against the documented layout only, not a recording. Source: DynamoRIO,
clients/drcachesim/tools/view.cpp; docs, "sec_tool_view".
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, latest, numbered, ordinals, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op
from traces.table import I64

EPOCH_US = 11_644_473_600_000_000  # 1970-01-01 in microseconds since 1601-01-01
LAST_US = EPOCH_US + (1 << 62) // 1000

_WHO = ("~{record:u} {instr:u}: {tid:u32}", "~{record:u} {instr:u}: W{workload:u32}.T{tid:u32}", "~T{tid:u32}")
_SAYS = (
    " {kind:w} {size:u32} byte(s) @ {address:x} by PC {ip:x}",
    " {kind:w} {size:u32} byte(s) @ {address:x}{*}",
    " <marker: timestamp {stamp:u63}>",
)
_STAMP = len(_SAYS) - 1
_NOTES = {f"{who} <marker:{{*}}": "markers other than times" for who in _WHO} | {
    f"{who} {{*}}": "records that are neither accesses nor markers" for who in _WHO
}
_FRAME = {"Output format:{*}": "lines of the tool's own", "<--record{*}": "lines of the tool's own"}
_FRAME |= {"------{*}": "lines of the tool's own", "View tool results:{*}": "lines of the tool's own"}
_FRAME |= {"~{n:u} : total {*}": "lines of the tool's own"}
_OPS = {"read": Op.LOAD, "write": Op.STORE, "ifetch": Op.FETCH}

_LINE = re.compile(r"\s*(\d+\s+\d+:\s+(W\d+\.T)?\d+|T\d+)\s+(ifetch|read|write)\s+\d+ byte\(s\) @ 0x[0-9a-f]+")
_MARKER = re.compile(r"\s*(\d+\s+\d+:\s+(W\d+\.T)?\d+|T\d+)\s+<marker: ")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 400) if is_text(head) else []
    if not any(_LINE.match(line) or _MARKER.match(line) for line in lines):
        return None
    return "records with their thread, as drmemtrace's view tool prints them"


def _batch(found: Found, stamp: I64, label: str, report: Report) -> Iterator[pl.DataFrame]:
    kind = found.which % len(_SAYS)
    access = kind != _STAMP
    if not access.any():
        return
    codes, known = found.words("kind")
    ops = np.array([_OPS.get(word, Op.UNKNOWN) for word in known], np.uint8)[codes]
    ip = np.where(ops == Op.FETCH, found["address"], found["ip"])
    told = found.which // len(_SAYS) == 1
    workload = np.where(told, found.signed("workload"), -1)
    space = np.zeros(found.count, np.uint32)
    space[access] = numbered(workload[access], lambda n: label if n < 0 else f"workload {n}", report)
    yield frame(
        found.count,
        time=stamp,
        op=ops,
        space=space,
        cpu=found["tid"],
        address=found["address"],
        size=found["size"],
        ip=ip,
        raw=words(known, codes),
    ).filter(pl.Series(access))


def _read_one(source: Input, report: Report, timed: bool) -> Iterator[pl.DataFrame]:
    templates = Templates([who + says for who in _WHO for says in _SAYS], _NOTES | _FRAME)
    before, seen = np.int64(-1), 0
    with source.open() as stream:
        for found in templates.read(stream, source.name, report):
            marker = found.which % len(_SAYS) == _STAMP
            odd = marker & ((found.signed("stamp") < EPOCH_US) | (found.signed("stamp") > LAST_US))
            found.refuse(report, source.name, odd, "a time before 1970 or past the largest there is")
            marker &= ~odd
            report.note("times", int(np.count_nonzero(marker)))
            time = (found.signed("stamp") - EPOCH_US) * 1000
            if not timed:
                stamp = ordinals(seen, found.count)
            else:
                if before < 0 and marker.any():
                    before = time[np.flatnonzero(marker)[0]]
                stamp = np.maximum(latest(time, marker, before), 0)
                before = stamp[-1]
            seen += found.count
            yield from _batch(found, stamp, source.label, report)


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    timed = all(b"<marker: timestamp " in source.head() for source in sources)
    report.clock = "unix" if timed else "ordinal"
    for source in sources:
        yield from _read_one(source, report, timed)


FORMAT = Format(name="drmemtrace-view", kind="memory", doc="text of drmemtrace's view tool", sniff=_sniff, read=_read)
