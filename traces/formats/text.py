"""Lines of text to columns of integers, at the speed of memory and without a float.

A scanner is told which fields of a line are wanted and what they hold; a kernel reads each byte once.
Nothing is guessed and nothing lost: every line of a chunk has a row and a status, and a line whose
status is not `GOOD` can be shown to the user as it stands in the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.formats.reader import Report
from traces.kernel import kernel
from traces.table import I64, U8, U32

CHUNK = 1 << 23  # bytes scanned at once
LONGEST = 1 << 20  # a line beyond this is no line of a trace

GOOD, EMPTY, FEW, MANY, BAD = 0, 1, 2, 3, 4  # BAD + i: the i-th wanted field


class Kind(IntEnum):
    """What a field holds."""

    INTEGER = 0  # decimal, with or without a sign
    HEX = 1  # with or without 0x
    DECIMAL = 2  # fixed point or with an exponent, as an integer: value * 10**scale, digits beyond are cut
    WORD = 3  # any text; becomes a code


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


class _Spec(NamedTuple):
    """What the kernel knows of the wanted fields."""

    separator: int  # 0: runs of blanks
    fewest: int  # fields of a line
    most: int  # 0: any number
    wide: int  # the field that may hold blanks, or -1
    slot: NDArray[np.int32]  # [field] -> wanted field, or -1
    kind: U8
    scale: I64
    required: U8
    missing: I64
    unit: I64
    most_units: I64  # the largest value that its unit leaves within 63 bits
    unsigned: U8


class _Lines(NamedTuple):
    """What the kernel fills: a row a line."""

    values: NDArray[np.int64]  # [wanted field, line]
    at: NDArray[np.int32]  # [wanted field, line] -> where the field begins in the chunk
    start: NDArray[np.int32]  # [line] -> where the line begins
    status: NDArray[np.uint8]


_BIG = (1 << 63) - 1


@kernel
def _number(data: U8, begin: int, end: int, kind: int, scale: int) -> tuple[Any, bool]:
    """The field's value; False if it is none or does not fit."""
    i, negative = begin, False
    if kind != 1 and i < end and (data[i] == 45 or data[i] == 43):
        negative = data[i] == 45
        i += 1
    value = np.int64(0)
    if kind == 1:
        if i + 1 < end and data[i] == 48 and (data[i + 1] | 32) == 120:
            i += 2
        if i >= end:
            return np.int64(0), False
        while i < end:
            c = np.int64(data[i])
            if 48 <= c <= 57:
                digit = c - 48
            elif 97 <= (c | 32) <= 102:
                digit = (c | 32) - 87
            else:
                return np.int64(0), False
            if value >> 59:
                return np.int64(0), False
            value = (value << 4) | digit
            i += 1
        return value, True
    digits, shift, point = 0, np.int64(0), False
    while i < end:
        c = np.int64(data[i])
        if 48 <= c <= 57:
            digits += 1
            if point and shift == scale:  # finer than is kept
                i += 1
                continue
            if value > _BIG // 10 or (value == _BIG // 10 and c - 48 > _BIG % 10):
                return np.int64(0), False
            value = value * 10 + (c - 48)
            if point:
                shift += 1
        elif c == 46 and kind == 2 and not point:
            point = True
        else:
            break
        i += 1
    if digits == 0:
        return np.int64(0), False
    exponent = np.int64(0)
    if i < end:
        if kind != 2 or (data[i] | 32) != 101:
            return np.int64(0), False
        i += 1
        below = False
        if i < end and (data[i] == 45 or data[i] == 43):
            below = data[i] == 45
            i += 1
        if i >= end:
            return np.int64(0), False
        while i < end:
            c = np.int64(data[i])
            if not 48 <= c <= 57 or exponent > 99:
                return np.int64(0), False
            exponent = exponent * 10 + (c - 48)
            i += 1
        if below:
            exponent = -exponent
    power = (scale if kind == 2 else np.int64(0)) - shift + exponent
    while power > 0:
        if value > _BIG // 10:
            return np.int64(0), False
        value *= 10
        power -= 1
    while power < 0 and value != 0:
        value //= 10
        power += 1
    return (-value if negative else value), True


@kernel
def _word(data: U8, begin: int, end: int) -> Any:
    """Up to seven bytes as they are, more as a 56-bit FNV-1a hash: the length or 255 in the top byte."""
    if end - begin <= 7:
        key = np.uint64(end - begin) << np.uint64(56)
        for i in range(begin, end):
            key |= np.uint64(data[i]) << np.uint64(8 * (i - begin))
        return np.int64(key)
    key = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):
        key = (key ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    return np.int64((key & np.uint64(0x00FFFFFFFFFFFFFF)) | np.uint64(0xFF00000000000000))


@kernel
def _count_lines(data: U8) -> int:
    lines = 0
    for byte in data:
        lines += byte == 10
    return lines


@kernel
def _scan(data: U8, spec: _Spec, out: _Lines) -> None:
    """Fill ``out`` from a chunk whose last byte is a newline."""
    i, line, wanted, skip = 0, 0, spec.kind.size, 0
    blanks = spec.separator == 0
    separator = spec.separator
    while i < data.size:
        out.start[line] = i
        field, status = 0, GOOD
        for slot in range(wanted):
            out.values[slot, line] = spec.missing[slot]
        while blanks and (data[i] == 32 or data[i] == 9):
            i += 1
        if data[i] == 10 or (data[i] == 13 and data[i + 1] == 10):
            while data[i] != 10:
                i += 1
            out.status[line] = EMPTY
            i += 1
            line += 1
            continue
        while True:
            begin = i
            column = field
            if skip and field > spec.wide:
                column = field - skip if field - skip > spec.wide else spec.slot.size
            slot = spec.slot[column] if column < spec.slot.size else -1
            if slot >= 0 and (spec.kind[slot] == 0 or spec.kind[slot] == 2):
                # plain digits up to the separator: one pass instead of two, a third off the whole scan
                value, scale = np.int64(0), np.int64(0)
                digit = np.uint8(data[i] - np.uint8(48))
                while digit <= 9:
                    value = value * 10 + np.int64(digit)
                    i += 1
                    digit = np.uint8(data[i] - np.uint8(48))
                digits = i - begin
                if spec.kind[slot] == 2:
                    scale = spec.scale[slot]
                    more = scale
                    if data[i] == 46:
                        i += 1
                        digit = np.uint8(data[i] - np.uint8(48))
                        while digit <= 9:
                            if more > 0:
                                value = value * 10 + np.int64(digit)
                                more -= 1
                            i += 1
                            digit = np.uint8(data[i] - np.uint8(48))
                    while more > 0:
                        value *= 10
                        more -= 1
                ended = data[i] == 10 or ((data[i] == 32 or data[i] == 9) if blanks else data[i] == separator)
                if ended and digits > 0 and digits + scale < 19 and value <= spec.most_units[slot]:
                    out.values[slot, line] = value * spec.unit[slot]
                    field += 1
                    if blanks:
                        while data[i] == 32 or data[i] == 9 or (data[i] == 13 and data[i + 1] == 10):
                            i += 1
                    if data[i] == 10:
                        break
                    if not blanks:
                        i += 1
                    continue
                i = begin
            if blanks:
                while data[i] != 32 and data[i] != 9 and data[i] != 10:
                    i += 1
            else:
                while data[i] != separator and data[i] != 10:
                    i += 1
            if slot >= 0:
                end = i
                while end > begin and (data[end - 1] == 13 or data[end - 1] == 32 or data[end - 1] == 9):
                    end -= 1
                if not blanks:
                    while begin < end and (data[begin] == 32 or data[begin] == 9):
                        begin += 1
                    if end - begin >= 2 and data[begin] == 34 and data[end - 1] == 34:
                        begin += 1
                        end -= 1
                out.at[slot, line] = begin
                if begin == end:
                    if spec.required[slot] and status == GOOD:
                        status = BAD + slot
                elif spec.kind[slot] == 3:
                    out.values[slot, line] = _word(data, begin, end)
                else:
                    value, good = _number(data, begin, end, spec.kind[slot], spec.scale[slot])
                    good &= value <= spec.most_units[slot] and not (spec.unsigned[slot] and value < 0)
                    if good:
                        out.values[slot, line] = value * spec.unit[slot]
                    elif status == GOOD:
                        status = BAD + slot
            field += 1
            if blanks:
                while data[i] == 32 or data[i] == 9 or (data[i] == 13 and data[i + 1] == 10):
                    i += 1
            if data[i] == 10:
                break
            if not blanks:
                i += 1
        if spec.wide >= 0 and field > spec.most and not skip:  # once more, now that it is known how wide it is
            skip = field - spec.most
            i = out.start[line]
            continue
        if field < spec.fewest:
            status = FEW
        elif spec.most and field - skip > spec.most:
            status = MANY
        skip = 0
        out.status[line] = status
        i += 1
        line += 1


@kernel
def _encode(keys: I64, table: NDArray[np.int64], used: NDArray[np.int32], codes: U32, new: I64) -> int:
    """Dense codes of 64-bit keys through an open-addressing table; rows where a key first appears go to ``new``.

    ``used[0]`` counts the codes given so far; the table keeps [key, code + 1]. Stops where the table is half full.
    """
    mask, found = table.shape[0] - 1, 0
    last, code = np.int64(0), np.int64(-1)
    for i in range(keys.size):
        key = keys[i]
        if code >= 0 and key == last:
            codes[i] = code
            continue
        spread = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        place = np.int64(spread) & mask
        while table[place, 1] != 0 and table[place, 0] != key:
            place = (place + 1) & mask
        if table[place, 1] == 0:
            if 2 * used[0] >= table.shape[0]:
                new[found] = -1
                return i
            table[place, 0] = key
            used[0] += 1
            table[place, 1] = used[0]
            new[found] = i
            found += 1
        last, code = key, table[place, 1] - 1
        codes[i] = code
    new[found] = -1
    return keys.size


class Codes:
    """Dense codes for 64-bit keys, given in the order of first appearance and kept from batch to batch."""

    def __init__(self) -> None:
        self._table = np.zeros((1024, 2), np.int64)
        self._used = np.zeros(1, np.int32)

    def encode(self, keys: I64) -> tuple[U32, list[int]]:
        """The code of each key, and the rows at which keys appear for the first time."""
        codes = np.empty(keys.size, np.uint32)
        new = np.empty(keys.size + 1, np.int64)
        fresh: list[int] = []
        done = 0
        while done < keys.size:
            count = _encode(keys[done:], self._table, self._used, codes[done:], new)
            fresh.extend(int(row) + done for row in new[: np.flatnonzero(new == -1)[0]])
            done += count
            if done < keys.size:
                self._grow()
        return codes, fresh

    def _grow(self) -> None:
        old = self._table[self._table[:, 1] > 0]
        self._table = np.zeros((2 * self._table.shape[0], 2), np.int64)
        self._used[0] = 0
        order = np.argsort(old[:, 1])
        keys = np.ascontiguousarray(old[order, 0])
        _encode(keys, self._table, self._used, np.empty(keys.size, np.uint32), np.empty(keys.size + 1, np.int64))


class Scanned:
    """One chunk's lines: integer values by wanted field, a status a line."""

    def __init__(self, scanner: "Scanner", chunk: memoryview, first: int, lines: _Lines) -> None:
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
        self.spec = _Spec(
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
            most_units=np.array([_BIG // f.unit for f in fields], np.int64),
            unsigned=np.array([f.unsigned for f in fields], np.uint8),
        )
        self._codes = [Codes() for _ in fields]
        self._words: list[list[str]] = [[] for _ in fields]
        self._line = 1  # number of the next chunk's first line

    def scan(self, chunk: bytes | memoryview) -> Scanned:
        """Scan the file's next chunk, which ends with a newline."""
        data = np.frombuffer(chunk, np.uint8)
        count = _count_lines(data)
        lines = _Lines(
            values=np.empty((len(self.fields), count), np.int64),
            at=np.zeros((len(self.fields), count), np.int32),
            start=np.empty(count, np.int32),
            status=np.empty(count, np.uint8),
        )
        _scan(data, self.spec, lines)
        first, self._line = self._line, self._line + count
        return Scanned(self, memoryview(chunk), first, lines)


def chunks(stream: BinaryIO, report: Report, size: int = CHUNK) -> Iterator[memoryview]:
    """A stream in chunks that end with a newline.

    A last line without a newline is given one and noted: a download that broke off ends so. So is a "line" of
    more than 1 MiB cut: it is no line of a trace.
    """
    rest = b""
    while True:
        block = stream.read(size)
        if not block:
            break
        block = rest + block if rest else block
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) < LONGEST:
            rest = block
            continue
        if not cut:
            report.note("lines longer than 1 MiB, cut")
            block, cut = block + b"\n", len(block) + 1
        rest = block[cut:]
        yield memoryview(block)[:cut]  # no copy: another 8 % of the whole
    if rest:
        report.note("last line without an end: the file may have been cut off")
        yield memoryview(rest + b"\n")


def is_text(head: bytes) -> bool:
    """Whether bytes can be lines of text: no NUL, hardly any control characters."""
    control = sum(1 for byte in head[:4096] if byte < 32 and byte not in (9, 10, 13))
    return bool(head) and b"\0" not in head and control == 0


def first_lines(head: bytes, count: int = 10) -> list[str]:
    """The first whole, non-empty lines of a head."""
    lines = head.decode("utf-8", "replace").splitlines()
    if len(lines) > 1 and not head.endswith(b"\n"):
        lines.pop()
    return [line for line in lines if line.strip()][:count]
