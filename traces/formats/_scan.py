"""The scanner's kernel: reads each byte of a chunk once and fills a row a line (see `traces.formats.scanner`)."""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.formats._eight import digits
from traces.formats.text import key
from traces.kernel import kernel
from traces.table import I64, U8

GOOD, EMPTY, FEW, MANY, BAD = 0, 1, 2, 3, 4  # a line's status; BAD + i: the i-th wanted field


class Kind(IntEnum):
    """What a field holds."""

    INTEGER = 0  # decimal, with or without a sign
    HEX = 1  # with or without 0x
    DECIMAL = 2  # fixed point or with an exponent, as an integer: value * 10**scale, digits beyond are cut
    WORD = 3  # any text; becomes a code


class Spec(NamedTuple):
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


class Lines(NamedTuple):
    """What the kernel fills: a row a line."""

    values: NDArray[np.int64]  # [wanted field, line]
    at: NDArray[np.int32]  # [wanted field, line] -> where the field begins in the chunk
    start: NDArray[np.int32]  # [line] -> where the line begins
    status: NDArray[np.uint8]


BIG = (1 << 63) - 1


@kernel
def _number(data: U8, begin: int, end: int, kind: int, scale: int) -> tuple[Any, bool]:
    """The field's value; False if it is none or does not fit."""
    i, negative = begin, False
    if kind != Kind.HEX and i < end and (data[i] == 45 or data[i] == 43):
        negative = data[i] == 45
        i += 1
    value = np.int64(0)
    if kind == Kind.HEX:
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
    figures, shift, point = 0, np.int64(0), False
    while i < end:
        c = np.int64(data[i])
        if 48 <= c <= 57:
            figures += 1
            if point and shift == scale:  # finer than is kept
                i += 1
                continue
            if value > BIG // 10 or (value == BIG // 10 and c - 48 > BIG % 10):
                return np.int64(0), False
            value = value * 10 + (c - 48)
            if point:
                shift += 1
        elif c == 46 and kind == Kind.DECIMAL and not point:
            point = True
        else:
            break
        i += 1
    if figures == 0:
        return np.int64(0), False
    exponent = np.int64(0)
    if i < end:
        if kind != Kind.DECIMAL or (data[i] | 32) != 101:
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
    power = (scale if kind == Kind.DECIMAL else np.int64(0)) - shift + exponent
    while power > 0:
        if value > BIG // 10:
            return np.int64(0), False
        value *= 10
        power -= 1
    while power < 0 and value != 0:
        value //= 10
        power += 1
    return (-value if negative else value), True


@kernel
def scan(data: U8, spec: Spec, out: Lines) -> None:
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
            if slot >= 0 and (spec.kind[slot] == Kind.INTEGER or spec.kind[slot] == Kind.DECIMAL):
                # plain digits up to the separator: one pass instead of two, a third off the whole scan
                scale = np.int64(0)
                value, i = digits(data, i, np.int64(0))
                count = i - begin
                more = np.int64(0)
                if spec.kind[slot] == Kind.DECIMAL:
                    scale = spec.scale[slot]
                    more = scale
                    if data[i] == 46:
                        point = i + 1
                        value, i = digits(data, point, value)
                        more -= i - point
                    while more > 0:
                        value *= 10
                        more -= 1
                ended = data[i] == 10 or ((data[i] == 32 or data[i] == 9) if blanks else data[i] == separator)
                if ended and count > 0 and count + scale < 19 and more == 0 and value <= spec.most_units[slot]:
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
                elif spec.kind[slot] == Kind.WORD:
                    out.values[slot, line] = key(data, begin, end)
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
