"""``damo report raw``: DAMON's snapshots, each with its times, its target and a line a region.

``start-end ( length) nr_accesses age``, hexadecimal addresses; the age is -1 where it was not told, and is not kept.
Times are written for people (``8 m 59.809 s``): a snapshot's rows stand at ``base_time_absolute`` +
``monitoring_end``, as exactly as that says. Source: damo, tests/report/expects/report-raw.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, latest, numbered, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op
from traces.table import I64, U32, Bool

_REGION, _BASE, _END, _TARGET, _REGIONS, _ODD_BASE, _ODD_END = range(7)
_AMOUNTS = "{n0:t9} {unit0:w}{?} {n1:t9} {unit1:w}{?} {n2:t9} {unit2:w}"
_LINES = (
    "~{start:x}-{end:x} ({*}) {accesses:u32} {age:w}",
    "base_time_absolute:~" + _AMOUNTS,
    "monitoring_end:~" + _AMOUNTS,
    "target_id: {target:w}",
    "nr_regions: {regions:u32}",
    "base_time_absolute:{*}",
    "monitoring_end:{*}",
)
_NOTES = {
    "#{*}": "comments",
    **dict.fromkeys(("data source:{*}", "monitoring_start:{*}", "monitoring_duration:{*}"), "headers"),
}
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
_SECOND = 10**9
_AMOUNT = re.compile(r"\s*(\d[\d,]*)(?:\.(\d{1,9}))? (ns|us|ms|s|m|h|d)(?=\s|$)")


def nanoseconds(text: str) -> int | None:
    """What ``8 m 59.809 s`` says; None where it says nothing."""
    total, at = 0, 0
    while found := _AMOUNT.match(text, at):
        unit, fraction = _UNITS[found[3]], found[2] or ""
        total += int(found[1].replace(",", "")) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = found.end()
    return total if at and not text[at:].strip() and total < 1 << 62 else None


def _amounts(found: Found, heads: I64) -> I64:
    """[head] -> what its up to three amounts say; -1 where that is for `nanoseconds` to say."""
    total, good = np.zeros(heads.size, np.int64), found.which[heads] < _ODD_BASE
    for i in range(3):
        number, (codes, words) = found.signed(f"n{i}")[heads], found.words(f"unit{i}")
        units = np.array([_UNITS.get(word, 0 if word else 1) for word in words] or [1], np.int64)  # none: 0 of anything
        unit, whole, part = units[codes[heads]], number // _SECOND, number % _SECOND
        good &= (unit > 0) & (number >= 0) & (whole < (1 << 60) // np.maximum(unit, 1))
        good &= (part == 0) | (unit <= _SECOND)
        total += np.where(good, whole * unit + part * unit // _SECOND, 0)
    return np.where(good, total, -1)


class _Snapshots:
    """What the header lines said last."""

    def __init__(self, source: Input, report: Report) -> None:
        self._source, self._report = source, report
        self._base, self._end, self._target = 0, 0, -1
        self._stated = self._seen = 0

    def rows(self, found: Found, good: I64) -> tuple[I64, U32]:
        """[good] -> time and address space of regions; header lines say what holds for those after them."""
        which, report = found.which, self._report
        base, end = (which == _BASE) | (which == _ODD_BASE), (which == _END) | (which == _ODD_END)
        said = self._said(found, base | end)
        bases, ends = latest(said, base, self._base), latest(said, end, self._end)
        codes, targets = found.words("target")
        target = latest(codes.astype(np.int64), which == _TARGET, self._target)
        self._count(found, end | (which == _TARGET))
        self._base, self._end, self._target = int(bases[-1]), int(ends[-1]), int(target[-1])
        space = numbered(
            target[good], lambda code: self._source.label if code < 0 else f"target {targets[code]}", report
        )
        return (bases + ends)[good], space

    def _said(self, found: Found, here: Bool) -> I64:
        """[row] -> nanoseconds that a line with a time says; 0 where it says none, and it is refused."""
        heads, said = np.flatnonzero(here), np.zeros(found.count, np.int64)
        amounts = said[heads] = _amounts(found, heads)
        none = np.zeros(found.count, np.bool_)
        for row in heads[amounts < 0].tolist():
            value = nanoseconds(found.line(row).partition(":")[2])
            said[row], none[row] = value or 0, value is None
        found.refuse(self._report, self._source.name, none, "not a time")
        return said

    def _count(self, found: Found, settles: Bool) -> None:
        """Compare the regions of the snapshots that have ended with what they stated."""
        snapshot = np.cumsum(settles)  # [row] -> of this batch, 0: the one that began before it
        snapshots = int(snapshot[-1]) + 1
        stated = np.zeros(snapshots, np.int64)
        stated[0] = self._stated
        head = np.flatnonzero(found.which == _REGIONS)
        stated[snapshot[head]] = found.signed("regions")[head]  # the last one counts
        seen = np.bincount(snapshot[found.which == _REGION], minlength=snapshots)
        seen[0] += self._seen
        self._tell(int(np.count_nonzero(stated[:-1] != seen[:-1])))
        self._stated, self._seen = int(stated[-1]), int(seen[-1])

    def finish(self) -> None:
        """Settle the last snapshot."""
        self._tell(int(self._stated != self._seen))

    def _tell(self, wrong: int) -> None:
        self._report.note("snapshots that do not have the regions they state", wrong)


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
                good = np.flatnonzero((found.which == _REGION) & ~backward)
                time, space = snapshots.rows(found, good)
                if good.size:
                    start = found["start"][good]
                    yield frame(
                        good.size,
                        time=time,
                        op=Op.SAMPLED,
                        space=space,
                        address=start,
                        size=found["end"][good] - start,
                        accesses=found["accesses"][good],
                        raw=words(["region"], np.zeros(good.size, np.uint32)),
                    )
        snapshots.finish()


FORMAT = Format(name="damo-raw", kind="memory", doc="damo report raw", sniff=_sniff, read=_read)
