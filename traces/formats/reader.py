"""What every recorded format is: files in, records with the source's own clock out.

A reader never drops anything in silence: what it cannot use it refuses, with line and reason, and
what is odd it counts as a note. It streams: batches of at most `ROWS` records, whatever the file's size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import polars as pl

from traces.formats.inputs import Input
from traces.ledger import Refused
from traces.table import I64, U8, U16, U32, U64, Text, schema_of

ROWS = 1 << 19  # records of a batch


class Records(NamedTuple):
    """Block requests as a reader yields them, in the source's order; ``raw`` is a Categorical."""

    time: Annotated[I64, "nanoseconds on the source's clock"]
    op: Annotated[U8, "see block.op"]
    volume: Annotated[U32, "index into the report's volumes"]
    offset: Annotated[U64, "bytes"]
    length: Annotated[U64, "bytes"]
    latency: Annotated[I64, "nanoseconds; -1 where not known"]
    stream: Annotated[U32, "process or stream id; 0 where not told"]
    flags: Annotated[U16, "see block.flags"]
    raw: Annotated[Text, "the source's word"]


def records(table: type[Any]) -> dict[str, pl.DataType]:
    """What a reader of another kind yields: the kind's columns with ``time`` on the source's clock (int64 ns).

    ``raw`` is a Categorical in the frames.
    """
    return schema_of(table) | {"time": pl.Int64()}


class Action(StrEnum):
    """Which event of a block-layer trace counts as the request."""

    QUEUE = "Q"
    ISSUE = "D"
    COMPLETE = "C"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user declared about the source; `Format.declares` says to which formats it means something."""

    action: Action = Action.ISSUE  # blktrace, blkparse
    columns: str = ""  # delimited: the column mapping; kvm: where the ECAM window is; nvme-tsv: bytes of a block


_CUT = 500  # characters of a refused row that are kept
_FLUSH = 8192  # refused rows that may wait


@dataclass
class Report:
    """What a reader found beside the records: filled while it reads."""

    clock: str = "relative"  # unix, monotonic, relative or ordinal
    volumes: dict[str, int] = field(default_factory=dict)  # the source's key -> index
    notes: dict[str, int] = field(default_factory=dict)  # sentence -> how often
    refused: int = 0
    first: str = ""  # the first refused row, for a message
    nothing: str = ""  # why a source of good rows may hold no record all the same, for a message
    sink: Callable[[pl.DataFrame], None] | None = None  # takes refused rows as they come, so that they never pile up
    _waiting: list[tuple[str, int, str, str]] = field(default_factory=list)

    def volume(self, key: str) -> int:
        """The index of a volume, a new one at its first appearance."""
        return self.volumes.setdefault(key, len(self.volumes))

    def note(self, sentence: str, times: int = 1) -> None:
        """Count something odd; zero times is no note."""
        if times:
            self.notes[sentence] = self.notes.get(sentence, 0) + times

    def refuse(self, file: str, line: int, reason: str, text: str | bytes) -> None:
        """Set one row aside. ``text`` as bytes is shown in hexadecimal."""
        shown = text.hex() if isinstance(text, bytes) else text
        self._waiting.append((file, line, reason, shown[:_CUT]))
        self.first = self.first or f"line {line}: {reason}: {shown[:80]!r}"
        self.refused += 1
        if self.sink and len(self._waiting) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hand all waiting rows to the sink."""
        if self.sink and self._waiting:
            self.sink(self.take_refused())

    def take_refused(self) -> pl.DataFrame:
        """The rows set aside since the last call, as the table `Refused`."""
        rows, self._waiting = self._waiting, []
        return pl.DataFrame(rows, schema=schema_of(Refused), orient="row")


@dataclass(frozen=True)
class Format:
    """One recorded format: a line of the list `traces.formats.FORMATS`.

    ``sniff`` is given the first file's name and the first 64 KiB of its (decompressed) bytes and answers why it is this
    format ("magic number 0x65617407, little-endian"), or None. ``read`` is given one file, or all the files of the
    trace where the format is ``together`` (per-CPU files whose events must be matched across files). A file of the name
    ``beside`` is no recording itself: it is handed to ``read`` after each of those it comes with. Files that match
    ``companions`` (patterns of names, without what compression adds) come with recordings too, and are not read.
    """

    name: str
    kind: str
    doc: str
    sniff: Callable[[str, bytes], str | None]
    read: Callable[[Sequence[Input], Options, Report], Iterator[pl.DataFrame]]
    together: bool = False
    beside: str = ""
    companions: tuple[str, ...] = ()
    declares: frozenset[str] = frozenset()  # the `Options` that mean something to it
