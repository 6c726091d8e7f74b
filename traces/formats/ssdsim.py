"""SSDSim's ASCII traces: ``time device LSN sectors operation``, blank-separated.

Time in nanoseconds, address and size in sectors of 512 bytes; operation 0 is a write, 1 a read. The device is the
volume. The example that comes with SSDSim went through a float of 24 bits: its times are up to 1.8 us off those of the
trace it was made from in its first half minute, and the error doubles with the time. MQSim, DiskSim and the replayer
have the same five columns: the format must be declared. Source: SSDSim 2.0, ``get_requests`` in ssd.c.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format, Report

LAYOUT = Layout(
    separator=None,
    time=Clock(0),
    volume=(1,),
    offset=Amount(2, unit=512),
    length=Amount(3, unit=512),
    op=4,
    ops={"0": Op.WRITE, "1": Op.READ},
    fewest=5,
)

_ENOUGH = 16  # times that are no whole microseconds, before anything is suspected


def _suspected(batches: Iterator[pl.DataFrame], report: Report) -> Iterator[pl.DataFrame]:
    """The same batches; a note where every time is one of the few that milliseconds in single precision can be."""
    fine, suspect = 0, True
    for batch in batches:
        time = batch["time"].to_numpy()
        fine += int(np.count_nonzero(time % 1000))
        single = (time / 1e6).astype(np.float32).astype(np.float64) * 1e6
        suspect = suspect and bool((np.abs(single - time) < 1).all())
        yield batch
    if suspect and fine >= _ENOUGH:
        report.note("suspect times: all went through a float of 24 bits and are off by microseconds and more", fine)


FORMAT = Format(
    name="ssdsim",
    kind="block",
    doc="SSDSim ASCII trace",
    sniff=lambda name, head: None,
    read=reader_of(LAYOUT, _suspected),
)
