"""Tencent's cloud block storage traces: ``Timestamp,Offset,Size,IOType,VolumeID``, without a header.

Unix seconds, 0 a read and 1 a write, the virtual disk is the volume. Two copies circulate that no reader can tell apart
for sure: the original, whose offsets and sizes are sectors of 512 bytes (``tencent``), and libCacheSim's, whose offsets
were made bytes while its sizes stayed sectors (``tencent-bytes``). Hence the format must be declared, and what does not
look like what was declared is noted. Thousands of requests share each second. Source: SNIA IOTTA trace 27917; Zhang et
al., "OSCA", USENIX ATC 2020; cache_dataset, README.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import polars as pl

from traces.block import Op
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report

LAYOUT = Layout(
    separator=",",
    time=Clock(0, tick=1_000_000_000, kind="unix"),
    offset=Amount(1, unit=512),
    length=Amount(2, unit=512),
    op=3,
    ops={"0": Op.READ, "1": Op.WRITE},
    volume=(4,),
    fewest=5,
    most=5,
)
BYTES = replace(LAYOUT, offset=Amount(1))

_ENOUGH = 16  # requests past the first sector that it takes to suspect anything
_TOO_EVEN = 512 * 512  # sector numbers that are all multiples of 512 are bytes


def _sectors_suspected(batches: Iterator[pl.DataFrame], report: Report) -> Iterator[pl.DataFrame]:
    """The same batches; a note where the sectors look like bytes."""
    rows, even = 0, True
    for batch in batches:
        if even:
            offset = batch["offset"].filter(batch["offset"] > 0)
            rows += len(offset)
            even = bool((offset % _TOO_EVEN == 0).all())
        yield batch
    if even and rows >= _ENOUGH:
        report.note("suspect: every sector number is a multiple of 512, as if offsets were bytes (tencent-bytes)", rows)


def _bytes_suspected(batches: Iterator[pl.DataFrame], report: Report) -> Iterator[pl.DataFrame]:
    """The same batches; notes where the bytes look like sectors, or the sectors of the sizes like bytes."""
    rows, even = 0, True
    for batch in batches:
        odd = int((batch["offset"] % 512 != 0).sum())
        report.note("suspect: offsets that are no whole sectors, as if they were sector numbers (tencent)", odd)
        if even:
            length = batch["length"].filter(batch["length"] > 0)
            rows += len(length)
            even = bool((length % _TOO_EVEN == 0).all())
        yield batch
    if even and rows >= _ENOUGH:
        report.note("suspect: every size is a multiple of 512 sectors, as if sizes were bytes", rows)


def _reader(
    layout: Layout, suspected: Callable[[Iterator[pl.DataFrame], Report], Iterator[pl.DataFrame]]
) -> Callable[[Sequence[Input], Options, Report], Iterator[pl.DataFrame]]:
    def read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
        for source in sources:
            yield from suspected(read_layout(source, layout, report), report)

    return read


FORMAT = Format(
    name="tencent",
    kind="block",
    doc="Tencent CBS, offsets in sectors (SNIA IOTTA 27917)",
    sniff=lambda name, head: None,
    read=_reader(LAYOUT, _sectors_suspected),
)
IN_BYTES = Format(
    name="tencent-bytes",
    kind="block",
    doc="Tencent CBS as libCacheSim has it, offsets in bytes",
    sniff=lambda name, head: None,
    read=_reader(BYTES, _bytes_suspected),
)
