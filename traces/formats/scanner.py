"""Lines of text to columns of integers, at the speed of memory and without a float.

A scanner is told which fields of a line are wanted and what they hold; a kernel reads each byte once.
Nothing is guessed and nothing lost: every line of a chunk has a row and a status, and a line whose
status is not `GOOD` can be shown to the user as it stands in the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traces.formats._scan import BAD, BIG, EMPTY, FEW, GOOD, MANY, Kind, Lines, Spec, scan
from traces.formats.reader import Report
from traces.formats.text import Codes, count_lines
from traces.table import I64, U8, U32

__all__ = ["BAD", "EMPTY", "FEW", "GOOD", "MANY", "Field", "Kind", "Scanned", "Scanner"]


@dataclass(frozen=True)
class Field:
    """One wanted field of a line: its place (counted from 0) and what it holds.

    A field that is not ``required`` may be missing at the end of a line or empty: then its value is ``missing``.
    An INTEGER or HEX is multiplied by its ``unit``; an ``unsigned`` one may not be negative.
    """

    index: int
    kind: Kind
    scale: int = 0
    required: bool = True
    missing: int = -1
    unit: int = 1
    unsigned: bool = False


class Scanned:
    """One chunk's lines: integer values by wanted field, a status a line."""

    def __init__(self, scanner: "Scanner", chunk: memoryview, first: int, lines: Lines) -> None:
        self._scanner, self._chunk, self._lines = scanner, chunk, lines
        self._encoded: dict[int, U32] = {}
        self.first = first  # number of the first line, counted from 1
        self.status = lines.status

    @property
    def count(self) -> int:
        """How many lines there are."""
        return int(self.status.size)

    @property
    def data(self) -> U8:
        """The chunk's bytes."""
        return np.frombuffer(self._chunk, np.uint8)

    @property
    def ends(self) -> NDArray[np.int32]:
        """[line] -> where its newline stands in `data`."""
        return np.append(self._lines.start[1:], np.int32(len(self._chunk))) - np.int32(1)

    def values(self, wanted: int) -> I64:
        """[line] -> the value of the i-th wanted field; for a word its 64-bit key."""
        values: I64 = self._lines.values[wanted]
        return values

    def words(self, wanted: int) -> tuple[U32, list[str]]:
        """[line] -> code of a word field, and the words by code, kept from chunk to chunk.

        A missing word is the empty string; so are the words of lines that are not `GOOD`.
        """
        if wanted in self._encoded:
            return self._encoded[wanted], self._scanner._words[wanted]
        scanner, lines = self._scanner, self._lines
        codes, dictionary = scanner._codes[wanted], scanner._words[wanted]
        keys = lines.values[wanted]
        encoded, fresh = codes.encode(keys)
        missing = scanner.fields[wanted].missing
        for row in fresh:
            dictionary.append("" if keys[row] == missing else self._field(row, int(lines.at[wanted, row])))
        self._encoded[wanted] = encoded
        return encoded, dictionary

    def _field(self, row: int, begin: int) -> str:
        separator = None if self._scanner.blanks else chr(self._scanner.spec.separator)
        rest = self._text(begin, row)
        return (rest.split(separator, 1) or [""])[0].strip().strip('"')

    def _text(self, begin: int, row: int) -> str:
        """From a place in a line to the line's end."""
        end = int(self._lines.start[row + 1]) if row + 1 < self.count else len(self._chunk)
        return bytes(self._chunk[begin : end - 1]).decode("utf-8", "replace").rstrip("\r")

    def line(self, row: int) -> str:
        """The text of a line, without its end."""
        return self._text(int(self._lines.start[row]), row)

    def number(self, row: int) -> int:
        """The line's number in the file, counted from 1."""
        return self.first + row

    def reason(self, row: int) -> str:
        """Why a line is not `GOOD`."""
        status, scanner = int(self.status[row]), self._scanner
        if status == EMPTY:
            return "empty line"
        if status in (FEW, MANY):
            bound = f"at least {scanner.spec.fewest}" if status == FEW else f"at most {scanner.spec.most}"
            return f"too {'few' if status == FEW else 'many'} fields: {bound} are needed"
        name, field = scanner.names[status - BAD], scanner.fields[status - BAD]
        what = {Kind.INTEGER: "an integer", Kind.HEX: "a hexadecimal number", Kind.DECIMAL: "a number"}
        bound = " between 0 and 2**63 bytes" if field.unsigned else ""
        return f"{name} (field {field.index}) is not {what.get(field.kind, 'there')}{bound}"

    def refuse(self, report: Report, file: str, rows: Iterator[int] | Sequence[int] | I64) -> None:
        """Set lines aside that are not `GOOD`, each with its reason."""
        for row in rows:
            report.refuse(file, self.number(int(row)), self.reason(int(row)), self.line(int(row)))


class Scanner:
    """Scans chunks of one file; words keep their codes from chunk to chunk.

    ``separator`` is one character, or None for runs of blanks. A line has at least ``fewest`` fields (default: up to
    the last required one) and at most ``most`` (0: any number). ``names`` are used in messages, one a wanted field.
    Field ``wide`` may hold separators (a process's name): those after it are counted so that the last is ``most - 1``.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        separator: str | None,
        names: Sequence[str],
        *,
        fewest: int = 0,
        most: int = 0,
        wide: int = -1,
    ) -> None:
        self.fields, self.names, self.blanks = tuple(fields), tuple(names), separator is None
        slot = np.full(max(f.index for f in fields) + 1, -1, np.int32)
        for i, field in enumerate(fields):
            slot[field.index] = i
        self.spec = Spec(
            separator=ord(separator) if separator else 0,
            fewest=fewest or max((f.index + 1 for f in fields if f.required), default=1),
            most=most,
            wide=wide,
            slot=slot,
            kind=np.array([f.kind for f in fields], np.uint8),
            scale=np.array([f.scale for f in fields], np.int64),
            required=np.array([f.required for f in fields], np.uint8),
            missing=np.array([f.missing for f in fields], np.int64),
            unit=np.array([f.unit for f in fields], np.int64),
            most_units=np.array([BIG // f.unit for f in fields], np.int64),
            unsigned=np.array([f.unsigned for f in fields], np.uint8),
        )
        self._codes = [Codes() for _ in fields]
        self._words: list[list[str]] = [[] for _ in fields]
        self._line = 1  # number of the next chunk's first line

    def scan(self, chunk: bytes | memoryview) -> Scanned:
        """Scan the file's next chunk, which ends with a newline."""
        data = np.frombuffer(chunk, np.uint8)
        count = count_lines(data)
        lines = Lines(
            values=np.empty((len(self.fields), count), np.int64),
            at=np.zeros((len(self.fields), count), np.int32),
            start=np.empty(count, np.int32),
            status=np.empty(count, np.uint8),
        )
        scan(data, self.spec, lines)
        first, self._line = self._line, self._line + count
        return Scanned(self, memoryview(chunk), first, lines)
