"""``damo report raw``: DAMON's snapshots, each with its times, its target and a line a region.

``start-end ( length) nr_accesses age``, hexadecimal addresses; the age is -1 where it was not told, and is not kept.
Times are written for people (``8 m 59.809 s``): a snapshot's rows stand at ``base_time_absolute`` +
``monitoring_end``, as exactly as that says. Source: damo, tests/report/expects/report-raw.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from traces.formats._accesses import frame, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op
from traces.table import I64, Bool

_REGION, _BASE, _END, _TARGET, _REGIONS = range(5)
_LINES = (
    "~{start:x}-{end:x} ({*}) {accesses:u32} {age:w}",
    "base_time_absolute:{*}",
    "monitoring_end:{*}",
    "target_id: {target:w}",
    "nr_regions: {regions:u32}",
)
_NOTES = {
    "#{*}": "comments",
    **dict.fromkeys(("data source:{*}", "monitoring_start:{*}", "monitoring_duration:{*}"), "headers"),
}
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
_AMOUNT = re.compile(r"\s*(\d[\d,]*)(?:\.(\d{1,9}))? (ns|us|ms|s|m|h|d)(?=\s|$)")


def nanoseconds(text: str) -> int | None:
    """What ``8 m 59.809 s`` says; None where it says nothing."""
    total, at = 0, 0
    while found := _AMOUNT.match(text, at):
        unit, fraction = _UNITS[found[3]], found[2] or ""
        total += int(found[1].replace(",", "")) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = found.end()
    return total if at and not text[at:].strip() and total < 1 << 62 else None


class _Snapshots:
    """What the header lines said last."""

    def __init__(self, source: Input, report: Report) -> None:
        self._source, self._report = source, report
        self._base, self._end, self._target = 0, 0, ""
        self._stated = self._seen = 0

    def settle(self) -> None:
        """Compare the regions of the snapshot that has ended with what it stated."""
        self._report.note("snapshots that do not have the regions they state", int(self._stated != self._seen))
        self._stated = self._seen = 0

    def rows(self, found: Found, good: Bool) -> tuple[I64, I64]:
        """[row] -> time and address space of ``good`` regions; header lines say what holds for those after them."""
        time, space = np.zeros(found.count, np.int64), np.zeros(found.count, np.int64)
        codes, targets = found.words("target")
        heads = [*np.flatnonzero(found.which != _REGION).tolist(), found.count]
        self._fill(time, space, good, slice(0, heads[0]))
        for head, after in pairwise(heads):
            match int(found.which[head]):
                case 1 | 2 as which:
                    value = nanoseconds(found.line(head).partition(":")[2])
                    if value is None:
                        found.refuse(self._report, self._source.name, np.arange(found.count) == head, "not a time")
                    if which == _BASE:
                        self._base = value or 0
                    else:
                        self.settle()
                        self._end = value or 0
                case 3:
                    self.settle()
                    self._target = f"target {targets[codes[head]]}"
                case _:
                    self._stated = int(found["regions"][head])
            self._fill(time, space, good, slice(head + 1, after))
        return time, space

    def _fill(self, time: I64, space: I64, good: Bool, here: slice) -> None:
        time[here] = self._base + self._end
        if good[here].any():
            space[here] = self._report.volume(self._target or self._source.label)
        self._seen += here.stop - here.start


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 12) if is_text(head) else []
    if not lines or not lines[0].startswith("base_time_absolute: ") or not any("monitoring_end:" in x for x in lines):
        return None
    return "begins with base_time_absolute, then monitoring_start and monitoring_end"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    for source in sources:
        snapshots = _Snapshots(source, report)
        with source.open() as stream:
            for found in Templates(_LINES, _NOTES).read(stream, source.name, report):
                backward = (found.which == _REGION) & (found["end"] < found["start"])
                found.refuse(report, source.name, backward, "the region ends before it begins")
                good = (found.which == _REGION) & ~backward
                time, space = snapshots.rows(found, good)
                if good.any():
                    yield frame(
                        found.count,
                        time=time,
                        op=Op.SAMPLED,
                        space=space,
                        address=found["start"],
                        size=found["end"] - found["start"],
                        accesses=found["accesses"],
                        raw=words(["region"], np.zeros(found.count, np.uint32)),
                    ).filter(pl.Series(good))
        snapshots.settle()


FORMAT = Format(name="damo-raw", kind="memory", doc="damo report raw", sniff=_sniff, read=_read)
