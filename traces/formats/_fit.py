"""The kernel that interprets the templates of `traces.formats._template`.

Templates are tried one after the other, each from the line's begin; where one fails, its latest ``{*}`` takes a
character more. So it is defined, and so `tests.reference.template` has it; the kernel comes to the same with less work:

* Templates of one file begin alike. What several share is a stem: it is read once a line, and each of them goes on from
  where it ended. Whether it can end elsewhere too, further on in the line, is looked for once, and only where a
  template failed that has no skip of its own by then.
* Of the words that follow a stem the one looked at last tells of most others that they do not stand there either.
* ``{*}`` goes at once to the next character that what follows it can begin with, and nowhere if the first character
  that it cannot do without (see `Program.anchor`) is not in the rest of the line.
* Texts, numbers and blanks are read eight bytes at a time (`traces.formats._eight`).

Which place came furthest is told as the templates in turn have it: a line that fits none is read once more, with no
template ruled out and no anchor. Two to six times as fast as in turn where lines are long (KVM's: 290 ns a line, were
1550). As several functions, each with all these arrays for arguments, it was no faster than before.
"""

from typing import Any

import numpy as np

from traces.formats._eight import POWERS, alike, digits, eight, hex_digits, line_end, next_byte, past_blanks, word_end
from traces.formats._program import (
    BLANK,
    BLANKS,
    CHARACTER,
    DECIMAL,
    END,
    FIXED,
    HEX,
    MAY_END,
    REST,
    SKIP,
    SPAN,
    TEXT,
    WORD,
    Program,
)
from traces.formats._stems import NO, UNKNOWN, YES, Lines, Stems, anchor_of, elsewhere, next_of
from traces.formats.text import key
from traces.kernel import lean_kernel
from traces.table import I64, U8

_FAILED, _FITS, _REACHED, _STEM_FAILED = range(4)  # how a try ends


@lean_kernel
def fit(data: U8, program: Program, stems: Stems, out: Lines, counts: I64) -> None:
    """Lines of a chunk that ends with a newline, each against the templates in turn; ``counts``: fit, do not."""
    rows, odd, line, i, count = 0, 0, 0, 0, program.start.size
    ops, arguments, slots, firsts, classes = program.op, program.argument, program.slot, program.first, program.classes
    packed, anchors, befores = program.packed, program.anchor, program.before
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
        furthest, why, template, result, exact, just = -1, 0, 0, _FAILED, False, -1
        stems.seen[0], stems.ended[0], stems.again[0], stems.word_of[0] = line, begin, NO, -1
        excluded = program.begun[data[begin]]
        while True:
            template = next_of(excluded, template)
            if template >= count:
                if exact:
                    break
                exact, excluded, template, furthest, just = True, np.uint64(0), 0, -1, -1
                stems.word_of[0] = -1
                for each in range(1, stems.seen.size):
                    stems.seen[each] = -1
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
                    other, matched, shared = stems.word_of[stem], stems.matched[stem], 0
                    if other >= 0:
                        shared = int(program.alike[other, template])
                    if other >= 0 and matched != shared:
                        says = matched > shared and shared == word
                    else:
                        at, i = base + program.stem_end[stem], stems.ended[stem]
                        while shared < word:
                            same = min(alike(eight(data, i + shared), packed[at + shared]), word - shared)
                            shared += same
                            if same < 8:
                                break
                        stems.word_of[stem], stems.matched[stem] = template, shared
                        says = shared == word
                        if not says and i + shared > furthest:
                            furthest, why = i + shared, at + shared
                    if not says:
                        break
            if stems.ended[stem] < 0:
                excluded |= program.under[stem]
                template += 1
                continue
            if not says and stems.again[stem] == NO:
                excluded |= elsewhere(data, program, stems, stem, exact)
                template += 1
                continue
            stop = base + int(program.stem_end[target]) if target >= 0 else -1
            for n in range(program.stem_slots.shape[1]):
                slot = program.stem_slots[stem, n]
                if slot < 0 or just == stem:
                    break
                value_of[slot] = stems.kept[stem, slot, 0]
                begin_of[slot], end_of[slot] = stems.kept[stem, slot, 1], stems.kept[stem, slot, 2]
            just = -1
            i, at = stems.ended[stem] + word, base + program.stem_end[stem] + word
            star, star_at = stems.star[stem], base + stems.star_at[stem]
            mine, until, anchor = False, stop, -1
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
                            left = slots[at]
                            while True:
                                same = min(alike(eight(data, i), packed[at]), left)
                                i += same
                                at += same
                                left -= same
                                if left == 0 or same < 8:
                                    break
                            if left == 0:
                                continue
                            good = False
                        elif op in (BLANKS, BLANK):
                            first = i
                            i = past_blanks(data, i)
                            good = op == BLANK or i > first
                        elif op == HEX:
                            if data[i] == 48 and (data[i + 1] | 32) == 120:
                                i += 2
                            first = i
                            wide, i = hex_digits(data, i)
                            if i - first > 16:  # leading zeros, or too large
                                for k in range(first, i - 16):
                                    good &= data[k] == 48
                            bits = arguments[at]
                            good &= i > first and (bits == 64 or wide >> np.uint64(bits) == np.uint64(0))
                            value_of[slots[at]] = np.int64(wide)
                        elif op == DECIMAL:
                            first = i
                            value, i = digits(data, i, np.int64(0))
                            wide = np.uint64(value)
                            if i - first > 18:
                                wide = np.uint64(0)
                                for k in range(first, i):
                                    digit = np.uint64(data[k]) - np.uint64(48)
                                    if wide >= np.uint64(1844674407370955161) and (
                                        wide > np.uint64(1844674407370955161) or digit > np.uint64(5)
                                    ):
                                        good = False
                                    wide = wide * np.uint64(10) + digit
                            bits = arguments[at]
                            good &= i > first and (bits == 64 or wide >> np.uint64(bits) == np.uint64(0))
                            value_of[slots[at]] = np.int64(wide)
                        elif op == FIXED:
                            negative = data[i] == 45
                            i += negative
                            first, scale = i, arguments[at]
                            fixed, i = digits(data, i, np.int64(0))
                            whole, part = i - first, 0
                            good = whole > 0
                            if good and data[i] == 46:
                                point = i + 1
                                fixed, i = digits(data, point, fixed)
                                part = i - point
                            if part <= scale and whole + scale <= 18:
                                fixed *= POWERS[scale - part]
                            else:
                                fixed = np.int64(0)
                                for k in range(whole + scale):
                                    good &= fixed <= np.int64(922337203685477579)
                                    fixed *= 10
                                    if k < whole:
                                        fixed += np.int64(data[first + k] - 48)
                                    elif k < whole + part:
                                        fixed += np.int64(data[first + k + 1] - 48)
                            value_of[slots[at]] = -fixed if negative else fixed
                        elif op in (WORD, SPAN):
                            first = i
                            i = word_end(data, i, arguments[at])
                            good = i > first
                            slot = slots[at]
                            value_of[slot] = key(data, first, i) if op == WORD else np.int64(i - first)
                            begin_of[slot], end_of[slot] = first, i
                        elif op == SKIP:
                            star, star_at, mine, anchor = i, at, True, -1
                            if not exact and anchors[at] >= 0:
                                anchor = anchor_of(data, i, anchors[at], befores[at], classes)
                                good = data[anchor] != 10
                                if not good:
                                    star = anchor
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
                        star = past_blanks(data, star)
                    elif passed == DECIMAL:
                        while 48 <= data[star] <= 57:
                            star += 1
                    first = star
                    wanted = firsts[star_at]
                    if wanted >= CHARACTER:
                        star = next_byte(data, star, wanted - CHARACTER)
                    else:
                        while not classes[data[star]] & wanted:
                            star += 1
                    if not exact and anchors[star_at] >= 0 and star > anchor:
                        anchor = anchor_of(data, star, anchors[star_at], befores[star_at], classes)
                        if data[anchor] == 10:
                            star = anchor
                    if star > first and star - 1 > furthest:
                        furthest, why = star - 1, star_at + 1
                    i, at, good = star, star_at + 1, True
                looked = until != stop
                if looked:
                    if result == _REACHED and i == stems.ended[stem]:  # what failed from there fails again
                        stems.star[stem], stems.star_at[stem] = star, star_at - base
                        good, mine, at = False, True, star_at + 2
                        continue
                    stems.again[stem] = YES if result == _REACHED else NO
                elif result != _STEM_FAILED:
                    break
                if stems.again[stem] == NO:
                    result = _FAILED
                    break
                star, star_at, anchor = stems.star[stem], base + stems.star_at[stem], -1
                good, mine, at = False, True, star_at + 2
                until = base + int(program.stem_end[stem]) if stems.again[stem] == UNKNOWN else stop
            if result == _FITS:
                break
            if target < 0:
                if not says and stems.again[stem] == NO:
                    excluded |= elsewhere(data, program, stems, stem, exact)
                template += 1
                continue
            stems.seen[target], stems.word_of[target] = line, -1
            stems.again[target] = UNKNOWN if star >= 0 else NO
            stems.ended[target], just = -1, -1
            if result == _REACHED:
                just = target
                stems.ended[target], stems.star[target], stems.star_at[target] = i, star, star_at - base
                for n in range(program.stem_slots.shape[1]):
                    slot = program.stem_slots[target, n]
                    if slot < 0:
                        break
                    stems.kept[target, slot, 0] = value_of[slot]
                    stems.kept[target, slot, 1], stems.kept[target, slot, 2] = begin_of[slot], end_of[slot]
        if template >= count:
            i = begin
        if template >= count or program.note[template]:
            out.odd_line[odd], out.odd_at[odd] = line, begin
            out.odd_why[odd] = why if template >= count else -2 - template
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
        i = line_end(data, i) + 1
        line += 1
    counts[0], counts[1] = rows, odd
