"""Quoted CSV to columns of numbers and words, a chunk at a time.

The scanner of `traces.formats.scanner` takes some fields of any line, as 63-bit integers. This one takes all columns of
a declared table in their own types, 64 bits without a sign among them, and text in quotes with whatever stands in it.
Words are compared whole, never by a hash alone: what left comes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.formats._csv_scan import (
    BAD,
    GOOD,
    MORE,
    PLACE,
    ROW,
    WORD,
    WORDS,
    Columns,
    Rows,
    Words,
    count_quotes,
    past_record,
    place_again,
    scan_csv,
)
from traces.formats.text import Codes, count_lines
from traces.table import I64, U8

__all__ = ["BAD", "GOOD", "MORE", "Scanned", "Table", "count_quotes"]


class Pairs:
    """What pairs of a number and a word's code stand for, for as long as the codes are good."""

    def __init__(self) -> None:
        self.codes, self.meaning = Codes(), np.empty(0, np.uint32)


@dataclass(frozen=True)
class Scanned:
    """One chunk's records, a row each. The table may go on while its consumer looks at them."""

    words: pl.Series  # [code] -> the word
    pairs: Pairs
    data: U8
    columns: dict[str, NDArray[Any]]  # [row] -> the number; of words the code
    start: NDArray[np.int32]
    status: U8
    lines: int
    text: frozenset[str]  # columns of words

    def series(self, name: str, rows: slice | I64) -> pl.Series:
        """A column of some rows, all of them `GOOD`, as it is in frames."""
        values = self.columns[name][rows]
        return (self.words.gather(values) if name in self.text else pl.Series(values)).alias(name)

    def span(self, row: int) -> tuple[int, int]:
        """Where a record that is not `GOOD` begins and ends."""
        begin = int(self.start[row])
        return begin, int(past_record(self.data, begin))


_MANY = 1 << 20  # words: beyond it they are forgotten with every chunk
_NUMPY: dict[pl.DataType, np.dtype[Any]] = {
    t: np.dtype(str(t).lower()) for t in (pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(), pl.Int64())
}
_TEXT = pl.String()


class Table:
    """Scans a file's records chunk by chunk; words keep their codes until there are too many of them."""

    def __init__(self, schema: Mapping[str, pl.DataType], unknown: Mapping[str, int | None]) -> None:
        self._types = {name: np.dtype(np.uint32) if t == _TEXT else _NUMPY[t] for name, t in schema.items()}
        self._text = frozenset(name for name, t in schema.items() if t == _TEXT)
        bounds = [np.iinfo(t) for t in self._types.values()]
        self._spec = Columns(
            kind=np.array(
                [WORD if name in self._text else t.itemsize.bit_length() - 1 for name, t in self._types.items()],
                np.uint8,
            ),
            below=np.array([-int(bound.min) for bound in bounds], np.uint64),
            most=np.array([int(bound.max) for bound in bounds], np.uint64),
            optional=np.array([unknown.get(name) is not None for name in schema], np.uint8),
            missing=np.array([(unknown.get(name) or 0) % (1 << 64) for name in schema], np.uint64),
            base=np.zeros(len(schema), np.int64),
        )
        self._forget()

    def _forget(self) -> None:
        self._at = np.zeros(4, np.int64)
        self._words = Words(
            table=np.zeros(1 << 12, np.uint32),
            hash=np.empty(1 << 11, np.uint64),
            begin=np.zeros((1 << 11) + 1, np.int64),
            text=np.empty(1 << 16, np.uint8),
        )
        self._known, self._pairs = pl.Series([], dtype=pl.Categorical), Pairs()

    def scan(self, data: U8) -> Scanned:
        """Scan the file's next chunk, which ends with a record's newline."""
        if self._known.len() > _MANY:
            self._forget()
        lines = int(count_lines(data))
        columns, spec, rows = self._room(lines)
        self._at[PLACE] = self._at[ROW] = 0
        while True:
            scan_csv(data, spec, rows, self._words, self._at)
            if self._at[PLACE] == data.size:
                break
            self._grow()
        if (known := self._known.len()) < self._at[WORDS]:
            begins = self._words.begin[known : self._at[WORDS] + 1].tolist()
            text = self._words.text[: begins[-1]].tobytes()
            new = [text[begin:end].decode("utf-8", "replace") for begin, end in pairwise(begins)]
            self._known = pl.concat([self._known, pl.Series(new, dtype=pl.Categorical)], rechunk=True)
        count = int(self._at[ROW])
        found = {name: column[:count] for name, column in columns.items()}
        return Scanned(
            words=self._known,
            pairs=self._pairs,
            data=data,
            columns=found,
            start=rows.start[:count],
            status=rows.status[:count],
            lines=lines,
            text=self._text,
        )

    def _room(self, lines: int) -> tuple[dict[str, NDArray[Any]], Columns, Rows]:
        """Columns for as many records as there can be."""
        sizes = [(lines * kind.itemsize + 7) // 8 * 8 for kind in self._types.values()]
        begins = np.cumsum([0, *sizes])
        whole = np.empty(int(begins[-1]), np.uint8)
        columns, base = {}, []
        for (name, kind), begin in zip(self._types.items(), begins.tolist(), strict=False):
            columns[name] = whole[begin : begin + lines * kind.itemsize].view(kind)
            base.append(begin // kind.itemsize)
        rows = Rows(
            one=whole,
            two=whole.view(np.uint16),
            four=whole.view(np.uint32),
            eight=whole.view(np.uint64),
            start=np.empty(lines, np.int32),
            status=np.empty(lines, np.uint8),
        )
        return columns, self._spec._replace(base=np.array(base, np.int64)), rows

    def _grow(self) -> None:
        """Twice the room for words."""
        words, known = self._words, int(self._at[WORDS])
        table = np.zeros(2 * words.table.size, np.uint32)
        place_again(words.hash, known, table)
        self._words = Words(
            table=table,
            hash=np.append(words.hash, np.empty_like(words.hash)),
            begin=np.append(words.begin, np.zeros_like(words.begin[1:])),
            text=np.append(words.text, np.empty_like(words.text)),
        )
