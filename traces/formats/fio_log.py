"""fio's latency, bandwidth and IOPS logs, where they tell offsets (``log_offset=1``).

``time, value, direction, block size, offset[, priority[, issued]]``: milliseconds at which a request was done, or
nanoseconds at which it was issued where ``log_issue_time`` was on; direction 0 read, 1 write, 2 trim; bytes. The value
is a latency in nanoseconds in ``*_lat``, ``*_clat`` and ``*_slat`` logs (fio 2 wrote microseconds: the log does not
say) and tells nothing of one request in the others. Without ``log_offset`` the fifth column is the priority, so that no
trace can be made of it: that is an error. A log is a volume; it cannot be told from other numbers, hence it must be
declared. Source: fio, HOWTO "Log File Formats", iolog.c.
"""

import re
from collections.abc import Iterator, Sequence

import polars as pl

from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines

_LATENCY = re.compile(r"_[cs]?lat(\.\d+)?\.log")
_ISSUED = 6  # column
_OPS = {"0": Op.READ, "1": Op.WRITE, "2": Op.DISCARD, "3": Op.FLUSH}
_LOOKED_AT = 10_000  # lines


def _layout(source: Input, report: Report) -> Layout:
    rows = [[word.strip() for word in line.split(",")] for line in first_lines(source.head(), _LOOKED_AT)]
    fields = len(rows[0]) if rows else 0
    if fields < 4:
        raise TraceError(f"{source.name}: no fio log: its first line has {fields} comma-separated fields of at least 4")
    fifth = {row[4] for row in rows if len(row) > 4}
    if not fifth or all(word in ("0", "1") or word.lower().startswith("0x") for word in fifth):
        what = "there are four columns" if not fifth else "the fifth column is the priority"
        raise TraceError(
            f"{source.name}: the log tells no offsets ({what}): no request can be made of it. Record with log_offset=1 "
            "and without log_avg_msec, or better with write_iolog, blktrace or bpftrace"
        )
    issued = all(len(row) > _ISSUED and row[_ISSUED] not in ("", "0") for row in rows)
    latency = _LATENCY.search(source.label) is not None
    if latency:
        report.note("logs whose latencies were taken to be nanoseconds, as fio 3 writes them")
    else:
        report.note("logs whose values are no latencies")
    if not issued:
        report.note("logs whose times are milliseconds, of a request's end")
    return Layout(
        separator=",",
        time=Clock(_ISSUED) if issued else Clock(0, scale=6),
        latency=Clock(1) if latency else None,
        op=2,
        ops=_OPS,
        length=Amount(3),
        offset=Amount(4),
        fewest=5,
        most=7,
    )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        yield from read_layout(source, _layout(source, report), report)


FORMAT = Format(
    name="fio-log",
    kind="block",
    doc="fio latency, bandwidth or IOPS log with offsets",
    sniff=lambda name, head: None,
    read=_read,
)
