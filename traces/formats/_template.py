"""Lines of text that are described by templates: what stands where, and what each place holds.

``"{gap:u} R {address:x} {ip:x}{?} {cpu:u32}"``: characters stand for themselves, a space for one or more blanks,
``~`` for any number of them. A place is ``{name:kind}``; the kinds are ``x`` (hexadecimal with or without 0x) and
``u`` (decimal) of up to 64 bits, of fewer where a number follows (``u32``), ``t9`` (fixed point, as an integer of
10**-9; digits beyond are cut), ``w`` (a word: up to a blank or the template's next character) and ``s`` (the same,
but only where it stands and its length are of interest). ``{?}``: the line may end here; ``{*}`` skips as little as
it must, at the end of a template the rest of the line. Blanks at the end of a line mean nothing.

One kernel interprets all templates: a format needs none of its own, and nothing of it is compiled anew. It takes 60
to 100 ns a line. Nothing is lost: a line that fits no template is refused with the place that came furthest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.formats.reader import Report
from traces.formats.text import Codes, _count_lines, _word, chunks
from traces.kernel import kernel
from traces.table import I64, U8, U64

I32 = NDArray[np.int32]

_CHUNK = 1 << 22  # bytes: lines are short and rows long, 80 bytes

_END, _CHAR, _BLANKS, _BLANK, _HEX, _DECIMAL, _FIXED, _WORD, _SPAN, _SKIP, _REST, _MAY_END = range(12)


class _Program(NamedTuple):
    """Templates as the kernel takes them, one after the other; each ends with `_END` or `_REST`."""

    op: U8
    argument: I64  # character, most bits, digits of a fraction, or the character that ends a word
    slot: I32
    start: I32  # [template]
    note: U8  # [template] -> whether its lines are counted only


class _Lines(NamedTuple):
    """What the kernel fills: a row a line that fits, in ``odd`` the others."""

    values: I64  # [place, row]; 0 where the line ends before it
    begin: I32  # [place, row]: of words
    end: I32
    which: U8  # [row] -> template
    line: I32  # [row] -> number in the chunk
    at: I32  # [row] -> where the line begins
    odd_line: I32
    odd_at: I32
    odd_why: I32  # place in the program that came furthest; -1: empty; -2 - template: counted only


@kernel
def _fit(data: U8, program: _Program, out: _Lines) -> tuple[int, int]:
    """Lines of a chunk that ends with a newline, each against the templates in turn; how many fit, how many do not."""
    rows, odd, line, i = 0, 0, 0, 0
    while i < data.size:
        begin, furthest, why, fits = i, -1, 0, -1
        last = begin
        while last < data.size and (data[last] == 32 or data[last] == 9 or data[last] == 13):
            last += 1
        if data[last] == 10:
            out.odd_line[odd], out.odd_at[odd], out.odd_why[odd] = line, begin, -1
            odd += 1
            i = last + 1
            line += 1
            continue
        for template in range(program.start.size):
            i, at = begin, int(program.start[template])
            star, star_at = -1, -1
            for slot in range(out.values.shape[0]):
                out.values[slot, rows] = 0
            while True:
                op = program.op[at]
                good: Any = True
                if op == _CHAR:
                    good = data[i] == program.argument[at]
                    i += good
                elif op in (_BLANKS, _BLANK):
                    first = i
                    while data[i] == 32 or data[i] == 9:
                        i += 1
                    good = op == _BLANK or i > first
                elif op == _HEX:
                    if data[i] == 48 and (data[i + 1] | 32) == 120:
                        i += 2
                    first, value = i, np.uint64(0)
                    while True:
                        c = np.uint64(data[i])
                        digit = c - np.uint64(48)
                        if digit > np.uint64(9):
                            digit = (c | np.uint64(32)) - np.uint64(87)
                            if digit < np.uint64(10) or digit > np.uint64(15):
                                break
                        good &= value >> np.uint64(60) == np.uint64(0)
                        value = (value << np.uint64(4)) | digit
                        i += 1
                    bits = program.argument[at]
                    good &= i > first and (bits == 64 or value >> np.uint64(bits) == np.uint64(0))
                    out.values[program.slot[at], rows] = np.int64(value)
                elif op == _DECIMAL:
                    first, value = i, np.uint64(0)
                    while True:
                        digit = np.uint64(data[i]) - np.uint64(48)
                        if digit > np.uint64(9):
                            break
                        if value >= np.uint64(1844674407370955161) and (
                            value > np.uint64(1844674407370955161) or digit > np.uint64(5)
                        ):
                            good = False
                        value = value * np.uint64(10) + digit
                        i += 1
                    bits = program.argument[at]
                    good &= i > first and (bits == 64 or value >> np.uint64(bits) == np.uint64(0))
                    out.values[program.slot[at], rows] = np.int64(value)
                elif op == _FIXED:
                    negative = data[i] == 45
                    i += negative
                    first, digits, fixed, scale = i, -1, np.int64(0), int(program.argument[at])
                    while 48 <= data[i] <= 57 or (data[i] == 46 and digits < 0 and i > first):
                        if data[i] == 46:
                            digits = 0
                        elif digits < scale:
                            good &= fixed <= np.int64(922337203685477579)
                            fixed = fixed * 10 + np.int64(data[i] - 48)
                            digits += digits >= 0
                        i += 1
                    for _ in range(scale - max(digits, 0)):
                        good &= fixed <= np.int64(922337203685477579)
                        fixed *= 10
                    good &= i > first
                    out.values[program.slot[at], rows] = -fixed if negative else fixed
                elif op in (_WORD, _SPAN):
                    first, stop = i, program.argument[at]
                    while data[i] > 32 and data[i] != stop:
                        i += 1
                    good = i > first
                    slot = program.slot[at]
                    out.values[slot, rows] = _word(data, first, i) if op == _WORD else i - first
                    out.begin[slot, rows], out.end[slot, rows] = first, i
                elif op == _SKIP:
                    star, star_at = i, at
                else:
                    if op != _REST:
                        first = i
                        while data[i] == 32 or data[i] == 9 or data[i] == 13:
                            i += 1
                        good = data[i] == 10
                        if op == _MAY_END and not good:
                            i = first
                            at += 1
                            continue
                        while good and op == _MAY_END:  # what a try that failed may have left in the places to come
                            at += 1
                            op = program.op[at]
                            if op in (_END, _REST):
                                break
                            if op in (_HEX, _DECIMAL, _FIXED, _WORD, _SPAN):
                                out.values[program.slot[at], rows] = 0
                            op = np.uint8(_MAY_END)
                    if good:
                        fits = template
                        break
                if good:
                    at += 1
                    continue
                if i > furthest:
                    furthest, why = i, at
                if star < 0 or data[star] == 10:
                    break
                star += 1
                i, at = star, star_at + 1
            if fits >= 0:
                break
        if fits < 0 or program.note[fits]:
            out.odd_line[odd], out.odd_at[odd] = line, begin
            out.odd_why[odd] = why if fits < 0 else -2 - fits
            odd += 1
        else:
            out.which[rows], out.line[rows], out.at[rows] = fits, line, begin
            rows += 1
        while data[i] != 10:
            i += 1
        i += 1
        line += 1
    return rows, odd


_PLACE = re.compile(r"\{(?:(?P<name>\w+):(?P<kind>[xutws])(?P<number>\d*)|(?P<mark>[*?]))\}")
_KINDS = {"x": (_HEX, "a hexadecimal number"), "u": (_DECIMAL, "a number"), "t": (_FIXED, "a number")}


class Found:
    """The lines of one chunk that fit a template: a row each."""

    def __init__(self, templates: "Templates", chunk: memoryview, first: int, lines: _Lines, rows: int) -> None:
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
        code: list[tuple[int, int, int]] = []
        start = []
        for template in [*records, *notes]:
            start.append(len(code))
            code += self._compiled(template)
        self._program = _Program(
            op=np.array([op for op, _, _ in code], np.uint8),
            argument=np.array([argument for _, argument, _ in code], np.int64),
            slot=np.array([slot for _, _, slot in code], np.int32),
            start=np.array(start, np.int32),
            note=np.array([0] * len(records) + [1] * len(notes), np.uint8),
        )

    def _compiled(self, template: str) -> Iterator[tuple[int, int, int]]:
        at = 0
        while at < len(template):
            place = _PLACE.match(template, at)
            if not place:
                char = template[at]
                at += 1
                self._expected.append("no blank" if char == " " else f"no '{char}'")
                yield {" ": _BLANKS, "~": _BLANK}.get(char, _CHAR), ord(char), 0
                continue
            at = place.end()
            if place["mark"]:
                self._expected.append("the line is not as it should be")
                yield (_MAY_END if place["mark"] == "?" else _REST if at == len(template) else _SKIP), 0, 0
                if at == len(template) and place["mark"] == "*":
                    return
                continue
            slot = self.slots.setdefault(place["name"], len(self.slots))
            if place["kind"] in "ws":
                after = template[at : at + 1]
                self._expected.append(f"no {place['name']}")
                op = _WORD if place["kind"] == "w" else _SPAN
                yield op, ord(after) if after not in ("", " ", "~", "{") else 0, slot
            else:
                op, what = _KINDS[place["kind"]]
                number = int(place["number"] or 64)
                bound = f" of up to {number} bits" if op != _FIXED else ""
                self._expected.append(f"{place['name']} is not {what}{bound}")
                yield op, number, slot
        self._expected.append("more than there should be")
        yield _END, 0, 0

    def dictionary(self, name: str) -> tuple[Codes, list[str]]:
        """The words seen so far at a place."""
        return self._words.setdefault(name, (Codes(), []))

    def read(self, stream: BinaryIO, file: str, report: Report) -> Iterator[Found]:
        """A file's lines; those that fit no template are refused, empty ones noted."""
        first = 1
        for chunk in chunks(stream, report, _CHUNK):
            data = np.frombuffer(chunk, np.uint8)
            count = _count_lines(data)
            places = max(len(self.slots), 1)
            lines = _Lines(
                values=np.empty((places, count + 1), np.int64),
                begin=np.empty((places, count + 1), np.int32),
                end=np.empty((places, count + 1), np.int32),
                which=np.empty(count, np.uint8),
                line=np.empty(count, np.int32),
                at=np.empty(count, np.int32),
                odd_line=np.empty(count, np.int32),
                odd_at=np.empty(count, np.int32),
                odd_why=np.empty(count, np.int32),
            )
            rows, odd = _fit(data, self._program, lines)
            self._note(lines.odd_why[:odd], report)
            for i in np.flatnonzero(lines.odd_why[:odd] >= 0).tolist():
                line, why = _text(chunk, int(lines.odd_at[i])), self._expected[int(lines.odd_why[i])]
                report.refuse(file, first + int(lines.odd_line[i]), why, line)
            if rows:
                yield Found(self, chunk, first, lines, rows)
            first += count

    def _note(self, why: I32, report: Report) -> None:
        report.note("empty lines", int(np.count_nonzero(why == -1)))
        for i, sentence in enumerate(self._sentences):
            report.note(sentence, int(np.count_nonzero(why == -2 - self._records - i)))


def _text(chunk: memoryview, begin: int) -> str:
    """The line that begins there, as much of it as is ever shown."""
    return bytes(chunk[begin : begin + 1000]).split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
