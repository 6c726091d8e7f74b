"""The kernel that interprets the templates of `traces.formats._template`.

Templates are tried one after the other, each from the line's begin; where one fails, its latest ``{*}`` takes a
character more. So it is defined, and so `tests.reference.template` has it; the kernel comes to the same with less work:

* Templates of one file begin alike. What several share is a stem: it is read once a line, and each of them goes on from
  where it ended. Whether it can end elsewhere too, further on in the line, is looked for once, and only where a
  template failed that has no skip of its own by then.
* Of the words that follow a stem the one looked at last tells of most others that they do not stand there either.
* ``{*}`` goes at once to the next character that what follows it can begin with.

Two to four times as fast where lines are long (KVM's: 370 ns a line, were 1550), a quarter slower where there is but
one short template. As several functions, each with all these arrays for arguments, it was no faster than before.
"""

from typing import Any, NamedTuple

import numpy as np

from traces.formats._program import (
    BLANK,
    BLANKS,
    CHARACTER,
    DECIMAL,
    END,
    FIXED,
    HEX,
    I32,
    MAY_END,
    REST,
    SKIP,
    SPAN,
    TEXT,
    WORD,
    Program,
)
from traces.formats.text import key
from traces.kernel import lean_kernel
from traces.table import I64, U8

_FAILED, _FITS, _REACHED, _STEM_FAILED = range(4)  # how a try ends
_UNKNOWN, _NO, _YES = range(3)  # whether a stem can end elsewhere too


class Lines(NamedTuple):
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


class Stems(NamedTuple):
    """What is known of the stems in the line at hand."""

    seen: I64  # [stem] -> the line that the rest is about
    ended: I64  # [stem] -> where; -1: it does not fit
    star: I64  # [stem] -> how far its latest skip had come, -1: it has none
    star_at: I64  # [stem] -> the place of that skip
    again: I64  # [stem] -> see `_UNKNOWN`
    word_of: I64  # [stem] -> the template whose word was looked at last, -1 none
    matched: I64  # [stem] -> how many characters of it stood there
    kept: I64  # [stem, slot, what]: value, begin and end of its places
    value: I64  # [slot] of the try at hand
    begin: I64
    end: I64


def stems_of(program: Program, slots: int) -> Stems:
    """Room for what is known of stems."""
    count = program.stem_end.size
    columns: list[Any] = [np.full(count, -1, np.int64) for _ in range(7)]
    columns.append(np.zeros((count, slots, 3), np.int64))
    return Stems(*columns, *(np.zeros(slots, np.int64) for _ in range(3)))


@lean_kernel
def fit(data: U8, program: Program, stems: Stems, out: Lines, counts: I64) -> None:
    """Lines of a chunk that ends with a newline, each against the templates in turn; ``counts``: fit, do not."""
    rows, odd, line, i = 0, 0, 0, 0
    ops, arguments, slots, firsts, classes = program.op, program.argument, program.slot, program.first, program.classes
    value_of, begin_of, end_of = stems.value, stems.begin, stems.end
    while i < data.size:
        begin = i
        while i < data.size and (data[i] == 32 or data[i] == 9 or data[i] == 13):
            i += 1
        if data[i] == 10:
            out.odd_line[odd], out.odd_at[odd], out.odd_why[odd] = line, begin, -1
            odd += 1
            i += 1
            line += 1
            continue
        furthest, why, template, result = -1, 0, 0, _FAILED
        stems.seen[0], stems.ended[0], stems.again[0], stems.word_of[0] = line, begin, _NO, -1
        while template < program.start.size:
            # the deepest stem that is known to fit, and the one to be read next, -1: the template itself
            base, stem, target, word, says = int(program.start[template]), 0, -1, 0, True
            for depth in range(program.path.shape[1]):
                reached = int(program.path[template, depth])
                if reached < 0:
                    break
                if stems.seen[reached] != line:
                    target = reached
                    break
                stem, word = reached, 0
                if stems.ended[stem] < 0:
                    break
                if program.word_at[template] == stem:
                    word = int(program.word[template])
                    other, matched, alike = stems.word_of[stem], stems.matched[stem], 0
                    if other >= 0:
                        alike = int(program.alike[other, template])
                    if other >= 0 and matched != alike:
                        says = matched > alike and alike == word
                    else:
                        at, i = base + program.stem_end[stem], stems.ended[stem]
                        while alike < word and data[i + alike] == arguments[at + alike]:
                            alike += 1
                        stems.word_of[stem], stems.matched[stem] = template, alike
                        says = alike == word
                        if not says and i + alike > furthest:
                            furthest, why = i + alike, at + alike
                    if not says:
                        break
            if stems.ended[stem] < 0 or (not says and stems.again[stem] == _NO):
                template += 1
                continue
            stop = base + int(program.stem_end[target]) if target >= 0 else -1
            for n in range(program.stem_slots.shape[1]):
                slot = program.stem_slots[stem, n]
                if slot < 0:
                    break
                value_of[slot] = stems.kept[stem, slot, 0]
                begin_of[slot], end_of[slot] = stems.kept[stem, slot, 1], stems.kept[stem, slot, 2]
            i, at = stems.ended[stem] + word, base + program.stem_end[stem] + word
            star, star_at = stems.star[stem], base + stems.star_at[stem]
            mine, until = False, stop
            good: Any = says
            if not says:
                result = _STEM_FAILED
            while True:  # tries: on from the stem, is there another end to it, on from there
                while good or mine:
                    if good:
                        if at == until:
                            result = _REACHED
                            break
                        op = ops[at]
                        if op == TEXT:
                            past = at + slots[at]
                            while at < past and data[i] == arguments[at]:
                                i += 1
                                at += 1
                            if at == past:
                                continue
                            good = False
                        elif op in (BLANKS, BLANK):
                            first = i
                            while data[i] == 32 or data[i] == 9:
                                i += 1
                            good = op == BLANK or i > first
                        elif op == HEX:
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
                            bits = arguments[at]
                            good &= i > first and (bits == 64 or value >> np.uint64(bits) == np.uint64(0))
                            value_of[slots[at]] = np.int64(value)
                        elif op == DECIMAL:
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
                            bits = arguments[at]
                            good &= i > first and (bits == 64 or value >> np.uint64(bits) == np.uint64(0))
                            value_of[slots[at]] = np.int64(value)
                        elif op == FIXED:
                            negative = data[i] == 45
                            i += negative
                            first, digits, fixed, scale = i, -1, np.int64(0), arguments[at]
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
                            value_of[slots[at]] = -fixed if negative else fixed
                        elif op in (WORD, SPAN):
                            first, ender = i, arguments[at]
                            while data[i] > 32 and data[i] != ender:
                                i += 1
                            good = i > first
                            slot = slots[at]
                            value_of[slot] = key(data, first, i) if op == WORD else np.int64(i - first)
                            begin_of[slot], end_of[slot] = first, i
                        elif op == SKIP:
                            star, star_at, mine = i, at, True
                        elif op == REST:
                            result = _FITS
                            break
                        else:
                            first = i
                            while data[i] == 32 or data[i] == 9 or data[i] == 13:
                                i += 1
                            good = data[i] == 10
                            if good:
                                while op == MAY_END:  # what a try that failed may have left in the places to come
                                    at += 1
                                    later = ops[at]
                                    if later in (END, REST):
                                        break
                                    if HEX <= later <= SPAN:
                                        value_of[slots[at]] = 0
                                result = _FITS
                                break
                            if op == MAY_END:
                                i, good = first, True
                        if good:
                            at += 1
                            continue
                        if i > furthest:
                            furthest, why = i, at
                    if not mine or star < 0 or data[star] == 10:
                        result = _FAILED if mine or star < 0 else _STEM_FAILED
                        break
                    passed = ops[star_at + 1] if at > star_at + 1 else END
                    star += 1
                    if passed == BLANKS:  # from within the same blanks or number it would come to the same place
                        while data[star] == 32 or data[star] == 9:
                            star += 1
                    elif passed == DECIMAL:
                        while 48 <= data[star] <= 57:
                            star += 1
                    first = star
                    wanted = firsts[star_at]
                    if wanted >= CHARACTER:
                        while data[star] != wanted - CHARACTER and data[star] != 10:
                            star += 1
                    else:
                        while not classes[data[star]] & wanted:
                            star += 1
                    if star > first and star - 1 > furthest:
                        furthest, why = star - 1, star_at + 1
                    i, at, good = star, star_at + 1, True
                looked = until != stop
                if looked:
                    if result == _REACHED and i == stems.ended[stem]:  # what failed from there fails again
                        stems.star[stem], stems.star_at[stem] = star, star_at - base
                        good, mine, at = False, True, star_at + 2
                        continue
                    stems.again[stem] = _YES if result == _REACHED else _NO
                elif result != _STEM_FAILED:
                    break
                if stems.again[stem] == _NO:
                    result = _FAILED
                    break
                star, star_at = stems.star[stem], base + stems.star_at[stem]
                good, mine, at = False, True, star_at + 2
                until = base + int(program.stem_end[stem]) if stems.again[stem] == _UNKNOWN else stop
            if result == _FITS:
                break
            if target < 0:
                template += 1
                continue
            stems.seen[target], stems.word_of[target], stems.again[target] = line, -1, _UNKNOWN
            stems.ended[target] = -1
            if result == _REACHED:
                stems.ended[target], stems.star[target], stems.star_at[target] = i, star, star_at - base
                for n in range(program.stem_slots.shape[1]):
                    slot = program.stem_slots[target, n]
                    if slot < 0:
                        break
                    stems.kept[target, slot, 0] = value_of[slot]
                    stems.kept[target, slot, 1], stems.kept[target, slot, 2] = begin_of[slot], end_of[slot]
        if template == program.start.size:
            i = begin
        if template == program.start.size or program.note[template]:
            out.odd_line[odd], out.odd_at[odd] = line, begin
            out.odd_why[odd] = why if template == program.start.size else -2 - template
            odd += 1
        else:
            out.which[rows], out.line[rows], out.at[rows] = template, line, begin
            for n in range(program.slots.shape[1]):
                slot = program.slots[template, n]
                if slot < 0:
                    break
                out.values[slot, rows] = value_of[slot]
            for n in range(program.words.shape[1]):
                slot = program.words[template, n]
                if slot < 0:
                    break
                out.begin[slot, rows], out.end[slot, rows] = begin_of[slot], end_of[slot]
            rows += 1
        while data[i] != 10:
            i += 1
        i += 1
        line += 1
    counts[0], counts[1] = rows, odd
