"""DAMON's ``damon_aggregated`` events, in the text of perf script, trace-cmd or ftrace.

``target_id=T nr_regions=N start-end: nr_accesses [age]``, decimal bytes; kernels before 5.18 tell no age, and their
target is a kernel pointer. A region a row: how many of the checks of one aggregation interval saw it accessed, not
how many accesses there were. The processor that is printed is the monitor's and is not kept, nor is the age: how many
intervals the region has been so. Source: Linux, include/trace/events/damon.h;
Documentation/admin-guide/mm/damon/usage.rst.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, numbered, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op

_REGION = (
    "{*} {time:t9}: {*}damon_aggregated: target_id={target:w} nr_regions={regions:u32} "
    "{start:u}-{end:u}: {accesses:u32}"
)
_LINES = (_REGION, _REGION + " {age:u32}", "CPU:{cpu:u32} [LOST {lost:u32} EVENTS]")
_LOST = 2
_NOTES = {"#{*}": "comments", "{*} {time:t9}: {*}": "events other than damon_aggregated", "cpus={*}": "headers"}

_LINE = re.compile(r" \d+\.\d{6,9}: +(damon:)?damon_aggregated: +target_id=\d+ nr_regions=\d+ \d+-\d+: \d+( \d+)?\s*$")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 100) if is_text(head) else []
    if not any(_LINE.search(line) for line in lines):
        return None
    return "damon_aggregated events with target and region, as perf script and trace-cmd print them"


def _batch(found: Found, source: Input, report: Report) -> Iterator[pl.DataFrame]:
    region = found.which != _LOST
    report.note("events lost, as the recording says", int(found["lost"].sum()))
    report.note("regions with an age, which is not kept", int(np.count_nonzero(found.which == 1)))
    backward = region & (found["end"] < found["start"])
    found.refuse(report, source.name, backward, "the region ends before it begins")
    keep = region & ~backward
    codes, targets = found.words("target")
    space = np.zeros(found.count, np.uint32)
    space[keep] = numbered(codes[keep], lambda code: f"target {targets[code]}", report)
    if keep.any():
        rows = frame(
            found.count,
            time=found.signed("time"),
            op=Op.SAMPLED,
            space=space,
            address=found["start"],
            size=found["end"] - found["start"],
            accesses=found["accesses"],
            raw=words(["damon_aggregated"], np.zeros(found.count, np.uint32)),
        )
        yield rows if keep.all() else rows.filter(pl.Series(keep))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    for source in sources:
        with source.open() as stream:
            for found in Templates(_LINES, _NOTES).read(stream, source.name, report):
                yield from _batch(found, source, report)


FORMAT = Format(name="damon", kind="memory", doc="DAMON damon_aggregated events", sniff=_sniff, read=_read)
