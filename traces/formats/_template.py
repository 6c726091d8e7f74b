"""Lines of text that are described by templates: what stands where, and what each place holds.

``"{gap:u} R {address:x} {ip:x}{?} {cpu:u32}"``: characters stand for themselves, a space for one or more blanks,
``~`` for any number of them. A place is ``{name:kind}``; the kinds are ``x`` (hexadecimal with or without 0x) and
``u`` (decimal) of up to 64 bits, of fewer where a number follows (``u32``), ``t9`` (fixed point, as an integer of
10**-9; digits beyond are cut), ``w`` (a word: up to a blank or the template's next character) and ``s`` (the same,
but only where it stands and its length are of interest). ``{?}``: the line may end here; ``{*}`` skips as little as
it must, at the end of a template the rest of the line. Blanks at the end of a line mean nothing.

One kernel interprets all templates (`traces.formats._fit`): a format needs none of its own, and nothing of it is
compiled anew. It takes 60 ns for a short line, 200 to 500 for one of a long log. Nothing is lost: a line that fits no
template is refused with the place that came furthest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from traces.ahead import ahead
from traces.formats._fit import fit
from traces.formats._program import (
    BLANK,
    BLANKS,
    CHAR,
    DECIMAL,
    END,
    FIXED,
    HEX,
    I32,
    MAY_END,
    REST,
    SKIP,
    SPAN,
    WORD,
    Place,
    program,
)
from traces.formats._stems import Lines, stems_of
from traces.formats.reader import Report
from traces.formats.text import Codes, chunks, count_lines
from traces.table import I64, U8, U64

_CHUNK = 1 << 22  # bytes: lines are short and rows long, 80 bytes

_PLACE = re.compile(r"\{(?:(?P<name>\w+):(?P<kind>[xutws])(?P<number>\d*)|(?P<mark>[*?]))\}")
_KINDS = {"x": (HEX, "a hexadecimal number"), "u": (DECIMAL, "a number"), "t": (FIXED, "a number")}


class Found:
    """The lines of one chunk that fit a template: a row each."""

    def __init__(self, templates: "Templates", chunk: memoryview, first: int, lines: Lines, rows: int) -> None:
        self._templates, self._chunk, self._lines, self._first = templates, chunk, lines, first
        self.count = rows
        self.which = lines.which[:rows]  # [row] -> template

    def signed(self, name: str) -> I64:
        """[row] -> what a place holds; 0 where it is not there."""
        slot = self._templates.slots.get(name)
        return np.zeros(self.count, np.int64) if slot is None else self._lines.values[slot, : self.count]

    def __getitem__(self, name: str) -> U64:
        """[row] -> what a place holds, unsigned."""
        return self.signed(name).view(np.uint64)

    def span(self, name: str) -> tuple[U8, I32, I32]:
        """The chunk's bytes, and [row] where a span (or a word) begins and ends in them."""
        slot = self._templates.slots[name]
        data = np.frombuffer(self._chunk, np.uint8)
        return data, self._lines.begin[slot, : self.count], self._lines.end[slot, : self.count]

    def lines(self) -> tuple[U8, I32]:
        """The chunk's bytes, and [row] where its line begins in them."""
        return np.frombuffer(self._chunk, np.uint8), self._lines.at[: self.count]

    def words(self, name: str) -> tuple[NDArray[np.uint32], list[str]]:
        """[row] -> code of a word, and the words by code, kept from chunk to chunk; "" where it is not there."""
        codes, words = self._templates.dictionary(name)
        slot = self._templates.slots[name]
        keys = self._lines.values[slot, : self.count]
        encoded, fresh = codes.encode(keys)
        for row in fresh:
            begin, end = int(self._lines.begin[slot, row]), int(self._lines.end[slot, row])
            words.append(bytes(self._chunk[begin:end]).decode("utf-8", "replace") if keys[row] else "")
        return encoded, words

    def line(self, row: int) -> str:
        """The text of a row's line."""
        return _text(self._chunk, int(self._lines.at[row]))

    def number(self, row: int) -> int:
        """The number of a row's line in the file, counted from 1."""
        return self._first + int(self._lines.line[row])

    def refuse(self, report: Report, file: str, rows: NDArray[np.bool_], reason: str) -> None:
        """Set rows aside that fit a template and are no record all the same."""
        for row in np.flatnonzero(rows).tolist():
            report.refuse(file, self.number(row), reason, self.line(row))


class Templates:
    """Templates of one file's lines: ``records`` are rows, ``notes`` (template to sentence) are counted only."""

    def __init__(self, records: Sequence[str], notes: Mapping[str, str] | None = None) -> None:
        notes = notes or {}
        self._sentences = list(notes.values())
        self._records = len(records)
        self.slots: dict[str, int] = {}
        self._expected: list[str] = []
        self._words: dict[str, tuple[Codes, list[str]]] = {}
        self._program = program([list(self._compiled(each)) for each in [*records, *notes]], len(records))

    def _compiled(self, template: str) -> Iterator[Place]:
        at = 0
        while at < len(template):
            place = _PLACE.match(template, at)
            if not place:
                char = template[at]
                at += 1
                self._expected.append("no blank" if char == " " else f"no '{char}'")
                yield {" ": BLANKS, "~": BLANK}.get(char, CHAR), ord(char), 0
                continue
            at = place.end()
            if place["mark"]:
                self._expected.append("the line is not as it should be")
                yield (MAY_END if place["mark"] == "?" else REST if at == len(template) else SKIP), 0, 0
                if at == len(template) and place["mark"] == "*":
                    return
                continue
            slot = self.slots.setdefault(place["name"], len(self.slots))
            if place["kind"] in "ws":
                after = template[at : at + 1]
                self._expected.append(f"no {place['name']}")
                op = WORD if place["kind"] == "w" else SPAN
                yield op, ord(after) if after not in ("", " ", "~", "{") else 0, slot
            else:
                op, what = _KINDS[place["kind"]]
                number = int(place["number"] or 64)
                bound = f" of up to {number} bits" if op != FIXED else ""
                self._expected.append(f"{place['name']} is not {what}{bound}")
                yield op, number, slot
        self._expected.append("more than there should be")
        yield END, 0, 0

    def dictionary(self, name: str) -> tuple[Codes, list[str]]:
        """The words seen so far at a place."""
        return self._words.setdefault(name, (Codes(), []))

    def read(self, stream: BinaryIO, file: str, report: Report) -> Iterator[Found]:
        """A file's lines; those that fit no template are refused, empty ones noted.

        The next chunk is fitted in a thread of its own while rows are made of this one: kernels hold no lock.
        """
        first = 1
        for chunk, lines, counts in ahead(map(self._fitted, chunks(stream, report, _CHUNK)), depth=1):
            rows, odd = counts.tolist()
            self._note(lines.odd_why[:odd], report)
            for i in np.flatnonzero(lines.odd_why[:odd] >= 0).tolist():
                line, why = _text(chunk, int(lines.odd_at[i])), self._expected[int(lines.odd_why[i])]
                report.refuse(file, first + int(lines.odd_line[i]), why, line)
            if rows:
                yield Found(self, chunk, first, lines, rows)
            first += lines.which.size

    def _fitted(self, chunk: memoryview) -> tuple[memoryview, Lines, I64]:
        """A chunk with its lines, and how many of them fit and do not."""
        data = np.frombuffer(chunk, np.uint8)
        count = count_lines(data)
        places = max(len(self.slots), 1)
        lines = Lines(
            values=np.zeros((places, count), np.int64),
            begin=np.empty((places, count), np.int32),
            end=np.empty((places, count), np.int32),
            which=np.empty(count, np.uint8),
            line=np.empty(count, np.int32),
            at=np.empty(count, np.int32),
            odd_line=np.empty(count, np.int32),
            odd_at=np.empty(count, np.int32),
            odd_why=np.empty(count, np.int32),
        )
        counts = np.zeros(2, np.int64)
        fit(data, self._program, stems_of(self._program, places), lines, counts)
        return chunk, lines, counts

    def _note(self, why: I32, report: Report) -> None:
        report.note("empty lines", int(np.count_nonzero(why == -1)))
        for i, sentence in enumerate(self._sentences):
            report.note(sentence, int(np.count_nonzero(why == -2 - self._records - i)))


def _text(chunk: memoryview, begin: int) -> str:
    """The line that begins there, as much of it as is ever shown."""
    return bytes(chunk[begin : begin + 1000]).split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
