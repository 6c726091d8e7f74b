"""Traces of the replayer that LinnOS, IODA, FlashNet and Heimdall share, and the log that it writes.

The trace is ``time device offset size type``, blank-separated: milliseconds with decimals, bytes, type 1 a read and 0
a write. MQSim, DiskSim and SSDSim have the same five columns in other units: the format must be declared. The log is
``time,latency,type,size,offset[,submitted,done]``: latency in microseconds, measured from when the request was
submitted, hence that is its time where the log tells (both times went through a float of 24 bits). ``done`` is what
the system call returned. Source: huaicheng/replayer, README; Heimdall, io_replayer.c.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from traces.block import Op
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout, reader_of
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines

_OPS = {"0": Op.WRITE, "1": Op.READ}
LAYOUT = Layout(
    separator=None,
    time=Clock(0, scale=6),
    volume=(1,),
    offset=Amount(2),
    length=Amount(3),
    op=4,
    ops=_OPS,
    fewest=5,
    most=5,
)
LOG = Layout(
    separator=",",
    time=Clock(0, scale=6),
    latency=Clock(1, scale=3),
    op=2,
    ops=_OPS,
    length=Amount(3),
    offset=Amount(4),
    fewest=5,
    most=7,
)

_COARSE = 4096
_WINDOW = 104 << 20  # bytes
_SECOND = 1_000_000_000


def _suspected(batches: Iterator[pl.DataFrame], report: Report) -> Iterator[pl.DataFrame]:
    """The same batches; a note where the addresses look like sector numbers that were cut and taken for bytes.

    Published profiles made from Tencent's traces are so: whole seconds, every offset a multiple of 4096, none past
    104 MiB on volumes that are a thousand times larger.
    """
    rows, suspect = 0, True
    for batch in batches:
        rows += batch.height
        suspect = suspect and bool(
            batch.select(
                (pl.col("offset") % _COARSE == 0).all()
                & (pl.col("time") % _SECOND == 0).all()
                & ((pl.col("offset") + pl.col("length")) <= _WINDOW).all()
            ).item()
        )
        yield batch
    if rows and suspect:
        report.note(
            "suspect addresses: all are multiples of 4096 below 104 MiB at whole seconds, as if sectors were "
            "rounded and taken for bytes",
            rows,
        )


def _read_log(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        first = next(iter(first_lines(source.head(), 1)), "")
        submitted = first.count(",") >= 5
        layout = replace(LOG, time=Clock(5, scale=6), fewest=6) if submitted else LOG
        yield from read_layout(source, layout, report)


FORMAT = Format(
    name="replayer",
    kind="block",
    doc="trace of the LinnOS/FlashNet replayer",
    sniff=lambda name, head: None,
    read=reader_of(LAYOUT, _suspected),
)
LOG_FORMAT = Format(
    name="replayer-log",
    kind="block",
    doc="log of the LinnOS/FlashNet replayer",
    sniff=lambda name, head: None,
    read=_read_log,
)
