"""What a trace is known to be, told by whoever made it: the truth that a classifier is judged by.

The categories say what a volume is used for, as it bears on the drive beneath. A label comes from what a trace was made
by, never from what is measured on it: a model that is tested on features of its own making is tested on nothing.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import polars as pl

from traces.table import U32, U64, Text, schema_of


class Category(StrEnum):
    """What a volume is used for. New ones are words of their own: models know them by their names."""

    SEQ_WRITE_LOG = "seq_write_log"
    RAND_WRITE_UNIFORM = "rand_write_uniform"
    RAND_WRITE_SKEWED = "rand_write_skewed"
    OLTP_MIXED = "oltp_mixed"
    READ_RANDOM = "read_random"
    READ_SCAN = "read_scan"
    ARCHIVAL_WORM = "archival_worm"
    BOOT_STORM = "boot_storm"
    AI_CHECKPOINT = "ai_checkpoint"
    IDLE = "idle"
    UNKNOWN = "unknown"  # none of these, or between two of them


class TraceLabels(NamedTuple):
    """What each volume of a trace was used for, one row a volume and time span, as told by what made the trace.

    The spans of a volume follow each other without a gap or an overlap, and every request lies in one.
    """

    volume: Annotated[U32, "the number of the volume (memory: address space; message: producer) within the trace"]
    began: Annotated[U64, "the span's first nanosecond, in the trace's time"]
    ended: Annotated[U64, "one past the span's last nanosecond: where the next span begins, or the trace has ended"]
    label: Annotated[
        Text,
        "of a block trace its category: seq_write_log, rand_write_uniform, rand_write_skewed, oltp_mixed, read_random, "
        "read_scan, archival_worm, boot_storm, ai_checkpoint, idle; unknown where it is none of these or between two "
        "of them; of other kinds the maker's word for what was done",
    ]
    maker: Annotated[
        Text,
        "the workload generator that made the span, or whoever gave the label; of vm-life with what the guest was at",
    ]
    settings: Annotated[Text, "that generator's whole configuration, as JSON"]


class Span(NamedTuple):
    """Requests that follow each other and have one label, up to where the next span begins."""

    begin: int  # number of its first request, counted from 0
    label: str  # a `Category` where the trace is a block trace
    maker: str
    settings: str


class Clocked:
    """Watches the batches of a trace go by for the times at which its spans begin."""

    def __init__(self, spans: Sequence[Span], volumes: int) -> None:
        self._spans, self._volumes = spans, volumes
        self._times: list[int] = []
        self._rows = self._end = 0

    def watch(self, batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The same batches, of rows in time order."""
        for batch in batches:
            while len(self._times) < len(self._spans):
                row = self._spans[len(self._times)].begin - self._rows
                if row >= batch.height:
                    break
                self._times.append(int(batch["time"][row]))
            self._rows += batch.height
            self._end = int(batch["time"][-1]) + 1
            yield batch

    def rows(self) -> Iterator[pl.DataFrame]:
        """Rows of the table `TraceLabels`, once all batches have gone by: for each span, in order, all volumes."""
        ends = [*self._times[1:], self._end]
        rows = [
            (volume, began, ended, str(span.label), span.maker, span.settings)
            for span, began, ended in zip(self._spans, self._times, ends, strict=False)
            for volume in range(self._volumes)
        ]
        yield pl.DataFrame(rows, schema=schema_of(TraceLabels), orient="row")
