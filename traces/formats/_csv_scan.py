"""The kernels of Strata's own CSV (see `traces.formats._csv`): numbers are checked, words become codes.

Quoting is that of RFC 4180: a field that begins with a quote goes on to the next one that stands alone, whatever
commas, line ends and doubled quotes are between. Nothing is guessed: a record that is not what its columns say has
the first column that is wrong as its status and ends at its line's end.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.formats._eight import digits, eight, next_byte
from traces.kernel import lean_kernel
from traces.table import I64, U8, U16, U32, U64

GOOD, MORE, BAD = 0, 1, 2  # a record's status; BAD + i: column i
WORD = 4  # kind of a column of text; of numbers the logarithm of their bytes
PLACE, ROW, WORDS, BYTES = 0, 1, 2, 3  # of `at`: the next record, how many there were; words known, their bytes

_COMMA, _NEWLINE, _RETURN, _QUOTE, _MINUS, _PLUS, _ONE = 44, 10, 13, 34, 45, 43, 49
_MIX = np.uint64(0x9E3779B97F4A7C15)
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
_TWENTY = np.uint64(10**19)  # the least number of twenty digits


class Columns(NamedTuple):
    """What the kernel knows of the columns, in the file's order."""

    kind: U8  # logarithm of a number's bytes, or WORD
    below: U64  # how far below zero a number may be
    most: U64  # the largest number
    optional: U8  # whether it may be empty, which means `missing`
    missing: U64
    base: I64  # where its values begin in `Rows`, counted in values of its own size


class Rows(NamedTuple):
    """What the kernel fills: columns of numbers, and of the codes of words, side by side in the same bytes."""

    one: U8
    two: U16
    four: U32
    eight: U64
    start: NDArray[np.int32]  # [record] -> where it begins in the chunk
    status: U8


class Words(NamedTuple):
    """The words seen so far: an open-addressing table of code + 1, and what each code is."""

    table: U32
    hash: U64  # [code]
    begin: I64  # [code] -> where its bytes begin in `text`; one more for where the last ends
    text: U8


@lean_kernel
def count_quotes(data: U8) -> int:
    """How many quotes stand in the bytes."""
    quotes = 0
    for byte in data:
        quotes += byte == _QUOTE
    return quotes


@lean_kernel
def _past_quoted(data: U8, i: int) -> tuple[int, int]:
    """The quote that ends a field whose text begins at ``i``, or -1, and how many quotes in it are doubled."""
    doubled = 0
    while True:
        i = next_byte(data, i, _QUOTE)
        if i + 1 >= data.size:
            return -1, doubled
        if data[i] == _QUOTE:
            if data[i + 1] != _QUOTE:
                return i, doubled
            doubled += 1
            i += 1
        i += 1


@lean_kernel
def past_record(data: U8, begin: int) -> int:
    """The newline that ends the record; of one whose quoting is wrong that of its first line."""
    i = begin
    while True:
        if data[i] == _QUOTE:
            i, _ = _past_quoted(data, i + 1)
            if i < 0 or i + 1 >= data.size or (data[i + 1] != _COMMA and data[i + 1] not in (_RETURN, _NEWLINE)):
                break
        i = next_byte(data, i, _COMMA)
        if data[i] == _NEWLINE:
            return i
        i += 1
    i = begin
    while data[i] != _NEWLINE:
        i += 1
    return i


@lean_kernel
def _hash(data: U8, begin: int, end: int) -> Any:
    whole = np.uint64(end - begin) * _MIX
    while begin < end:
        some = eight(data, begin)
        if end - begin < 8:
            some &= _LAST >> np.uint64(64 - 8 * (end - begin))
        whole = (whole ^ some) * _MIX
        whole ^= whole >> np.uint64(32)
        begin += 8
    return whole


@lean_kernel
def _same(data: U8, begin: int, other: U8, there: int, length: int) -> bool:
    for k in range(0, length, 8):
        differ = eight(data, begin + k) ^ eight(other, there + k)
        if length - k < 8:
            differ &= _LAST >> np.uint64(64 - 8 * (length - k))
        if differ:
            return False
    return True


@lean_kernel
def _code(data: U8, begin: int, end: int, words: Words, at: I64) -> int:
    """The code of a word, a new one if need be."""
    whole = _hash(data, begin, end)
    mask = words.table.size - 1
    place = np.int64(whole >> np.uint64(20)) & mask
    while words.table[place]:
        code = np.int64(words.table[place]) - 1
        there = words.begin[code]
        if (
            words.hash[code] == whole
            and words.begin[code + 1] - there == end - begin
            and _same(data, begin, words.text, there, end - begin)
        ):
            return int(code)
        place = (place + 1) & mask
    code = at[WORDS]
    words.hash[code] = whole
    there = words.begin[code]
    for k in range(end - begin):
        words.text[there + k] = data[begin + k]
    words.begin[code + 1] = there + end - begin
    at[WORDS], at[BYTES] = code + 1, there + end - begin
    words.table[place] = code + 1
    return int(code)


@lean_kernel
def place_again(hashes: U64, count: int, table: U32) -> None:
    """Put the first codes into an empty table."""
    mask = table.size - 1
    for code in range(count):
        place = np.int64(hashes[code] >> np.uint64(20)) & mask
        while table[place]:
            place = (place + 1) & mask
        table[place] = code + 1


@lean_kernel
def _number(data: U8, i: int, below: Any, most: Any) -> tuple[Any, int]:
    """The number at ``i`` and where it ends: where it begins if there is none, or none within its bounds."""
    begin, negative, value = i, False, np.uint64(0)
    if data[i] == _MINUS or data[i] == _PLUS:
        negative = data[i] == _MINUS
        i += 1
    first = i
    short, i = digits(data, i, np.int64(0))
    value = np.uint64(short)
    long = i - first == 20 and data[first] == _ONE and value >= _TWENTY  # one that wrapped is less
    if i - first > 19 and not long:  # slowly
        value, i = np.uint64(0), first
        while 48 <= data[i] <= 57:
            digit = np.uint64(data[i] - 48)
            if value > (_LAST - digit) // np.uint64(10):
                return value, begin
            value = value * np.uint64(10) + digit
            i += 1
    if i == first or value > (below if negative else most):
        return value, begin
    return (~value + np.uint64(1) if negative else value), i


@lean_kernel
def _put(rows: Rows, kind: int, place: int, value: Any) -> None:
    if kind == 0:
        rows.one[place] = value
    elif kind == 1:
        rows.two[place] = value
    elif kind == 2:
        rows.four[place] = value
    else:
        rows.eight[place] = value


@lean_kernel
def scan_csv(data: U8, columns: Columns, rows: Rows, words: Words, at: I64) -> None:
    """Fill ``rows`` from a chunk of whole records whose last byte is a newline.

    Begins at record ``at[ROW]`` and place ``at[PLACE]``; stops there early where a record's words might want more room.
    """
    i, row, count = at[PLACE], at[ROW], columns.kind.size
    while i < data.size:
        begin, status = i, GOOD
        at[PLACE], at[ROW] = i, row
        if data[i] == _NEWLINE or (data[i] == _RETURN and data[i + 1] == _NEWLINE):
            i += 1 if data[i] == _NEWLINE else 2
            continue
        if 2 * (at[WORDS] + count) > words.table.size:
            return
        for column in range(count):
            kind, last = columns.kind[column], column == count - 1
            quoted = data[i] == _QUOTE
            if kind == WORD:
                if quoted:
                    end, doubled = _past_quoted(data, i + 1)
                    if end < 0:
                        status = BAD + column
                        break
                    if at[BYTES] + 2 * (end - i) > words.text.size:
                        return
                    if doubled:  # without the first of each pair, beyond the words' own bytes
                        first = at[BYTES] + end - i
                        stop = first
                        k = i + 1
                        while k < end:
                            words.text[stop] = data[k]
                            stop += 1
                            k += 2 if data[k] == _QUOTE else 1
                        code = _code(words.text, first, stop, words, at)
                    else:
                        code = _code(data, i + 1, end, words, at)
                    i = end + 1
                else:
                    end = next_byte(data, i, _COMMA)
                    stop = end
                    if data[end] == _NEWLINE and end > i and data[end - 1] == _RETURN:
                        stop -= 1
                    if stop == i:
                        status = BAD + column
                        break
                    if at[BYTES] + stop - i > words.text.size:
                        return
                    code = _code(data, i, stop, words, at)
                    i = stop
                rows.four[columns.base[column] + row] = code
            else:
                digit = np.uint64(np.uint8(data[i] - np.uint8(48)))
                if digit <= 9 and (data[i + 1] == _COMMA or data[i + 1] == _NEWLINE) and digit <= columns.most[column]:
                    value = digit  # two thirds of all numbers
                    i += 1
                else:
                    i += quoted
                    value, end = _number(data, i, columns.below[column], columns.most[column])
                    if end == i:
                        value = columns.missing[column]
                        if not columns.optional[column]:
                            status = BAD + column
                            break
                    i = end
                    if quoted:
                        if data[i] != _QUOTE:
                            status = BAD + column
                            break
                        i += 1
                _put(rows, kind, columns.base[column] + row, value)
            if data[i] == _COMMA and not last:
                i += 1
            elif data[i] == _COMMA:
                status = MORE
            elif data[i] == _NEWLINE or (data[i] == _RETURN and data[i + 1] == _NEWLINE):
                if not last:
                    status = BAD + column + 1
                    break
                i += data[i] == _RETURN
            else:
                status = BAD + column
                break
        rows.start[row], rows.status[row] = begin, status
        if status != GOOD:
            i = past_record(data, begin)
        i += 1
        row += 1
    at[PLACE], at[ROW] = i, row
