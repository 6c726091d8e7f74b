"""Templates as the kernel of `traces.formats._fit` takes them: a program, and what its templates have in common.

What several templates begin with alike is a stem. It ends where they part, but neither within a word, nor at a skip,
nor past a place where the line may end; and a number or a word stands in it after its last skip, for a skip and blanks
end nearly everywhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.table import I64, U8, U64

I32 = NDArray[np.int32]
Place = tuple[int, int, int]  # what it is, its argument, its slot

END, CHAR, TEXT, BLANKS, BLANK, HEX, DECIMAL, FIXED, WORD, SPAN, SKIP, REST, MAY_END = range(13)
CHARACTER = 256
_PROBES = 2
MASKED = 64  # templates that have a bit in a mask
_DIGIT, _HEX_DIGIT, _BLANK, _SIGN, _PRINTED, _ANY, _POINT = 1, 2, 4, 8, 16, 32, 64
_FIRST = {
    BLANKS: _BLANK,
    HEX: _HEX_DIGIT,
    DECIMAL: _DIGIT,
    FIXED: _DIGIT | _SIGN,
    WORD: _PRINTED,
    SPAN: _PRINTED,
}
_LAST = {**_FIRST, FIXED: _DIGIT | _POINT}


class Program(NamedTuple):
    """Templates as the kernel takes them, one after the other; each ends with `END` or `REST`."""

    op: I64  # [place]
    argument: I64  # [place] -> character, most bits, digits, or what ends a word
    slot: I64  # [place] -> what it fills; of a text its length
    packed: U64  # [place] -> the up to eight characters of a text from there on, the first lowest
    first: I64  # [place] -> what a skip looks for: a character past `CHARACTER`, or a mask of `_classes`
    anchor: I64  # [place] -> the first character further on that a skip cannot do without, -1 none
    before: I64  # [place] -> what stands before it: a mask of `_classes`
    start: I32  # [template]
    note: U8  # [template] -> whether its lines are counted only
    slots: I32  # [template, n] -> what it fills; -1 past the last
    words: I32  # [template, n] -> which of it are words
    path: I32  # [template, depth] -> its stems, the first the empty one; -1 past the last
    stem_end: I32  # [stem] -> places
    stem_slots: I32  # [stem, n] -> what it fills; -1 past the last
    word_at: I32  # [template] -> the stem that its word follows, -1: it has none
    word: I32  # [template] -> length of that word
    alike: I32  # [template, template] -> characters that their words begin with alike
    classes: U8  # [byte] -> what can begin with it
    begun: U64  # [byte] -> templates that do not begin with it, a bit each
    under: U64  # [stem] -> templates that begin with it
    probe: I32  # [stem, n] -> which two characters of its words tell most of them apart
    probed: U64  # [stem, n, byte] -> templates whose word has another one there
    apart: U64  # [template, matched] -> templates whose word is not there where so much of this one's is


def program(templates: Sequence[Sequence[Place]], records: int) -> Program:
    """The program of templates, of which those past ``records`` are counted only."""
    op, argument, slot = np.array([place for each in templates for place in each], np.int64).T.copy()
    start, first = np.cumsum([0, *map(len, templates)])[:-1], np.full(op.size, _ANY)
    for at in np.flatnonzero(op == CHAR).tolist():
        if op[at] == CHAR and (at in start or op[at - 1] not in (CHAR, TEXT)):
            last = at + int(np.flatnonzero(op[at:] != CHAR)[0])
            op[at], slot[at] = TEXT, last - at
    for at in np.flatnonzero(op == SKIP).tolist():
        following = int(op[at + 1])
        first[at] = CHARACTER + argument[at + 1] if following == TEXT else _FIRST.get(following, _ANY)
    packed, eight = [0] * (op.size + 1), (1 << 64) - 1
    for at in np.flatnonzero((op == CHAR) | (op == TEXT))[::-1].tolist():
        packed[at] = packed[at + 1] << 8 & eight | int(argument[at])
    units = [_units(template) for template in templates]
    paths: list[list[int]] = [[0] for _ in templates]
    ends = [0]
    _grow(units, list(range(len(templates))), (0, 0), ends, paths)
    word_at, words = [], []
    for template, path in zip(templates, paths, strict=True):
        follow = [_text(template, ends[stem]) for stem in path]
        depth = next((i for i, text in enumerate(follow) if text), None)
        word_at.append(-1 if depth is None else path[depth])
        words.append("" if depth is None else follow[depth])
    anchor, before = np.array(
        [
            each
            for template, path in zip(templates, paths, strict=True)
            for each in _anchors(template, [ends[stem] for stem in path])
        ],
        np.int64,
    ).T.copy()
    probe, probed = _probes(word_at, words, len(ends))
    alike = np.array([[_alike(one, other) for other in words] for one in words], np.int32)
    classes = _classes()
    begins = np.array([_begins(*template[0][:2], classes) for template in templates])
    return Program(
        op=op,
        argument=argument,
        slot=slot,
        packed=np.array(packed[:-1], np.uint64),
        first=first,
        anchor=anchor,
        before=before,
        start=start.astype(np.int32),
        note=np.array([template >= records for template in range(len(templates))], np.uint8),
        slots=_padded([_slots(template) for template in templates]),
        words=_padded([_slots([place for place in each if place[0] in (WORD, SPAN)]) for each in templates]),
        path=_padded(paths),
        stem_end=np.array(ends, np.int32),
        stem_slots=_padded([_slots(_of(stem, templates, paths)[:end]) for stem, end in enumerate(ends)]),
        word_at=np.array(word_at, np.int32),
        word=np.array([len(word) for word in words], np.int32),
        alike=alike,
        classes=classes,
        begun=_masks(~begins.T),
        under=_masks(np.array([[stem in path for path in paths] for stem in range(len(ends))])),
        probe=probe,
        probed=probed,
        apart=_apart(np.array(word_at), np.array([len(word) for word in words]), alike),
    )


def _masks(templates: NDArray[np.bool_]) -> U64:
    """The last axis, templates, as bits; those past `MASKED` have none."""
    bits = np.zeros((*templates.shape[:-1], MASKED), np.bool_)
    bits[..., : templates.shape[-1]] = templates[..., :MASKED]
    masks: U64 = np.packbits(bits, -1, "little").view("<u8")[..., 0]
    return masks


def _begins(op: int, argument: int, classes: U8) -> NDArray[np.bool_]:
    """[byte] -> whether a line can begin with it whose template begins so."""
    return np.arange(256) == argument if op == CHAR else classes & _FIRST.get(op, _ANY) > 0


def _anchors(template: Sequence[Place], ends: Sequence[int]) -> list[tuple[int, int]]:
    """[place] -> anchor of a skip, and what stands before it.

    It is no anchor where a stem ends between the two: the stem's other templates go on otherwise.
    """
    anchors = [(-1, 0)] * len(template)
    for at, place in enumerate(template):
        if place[0] != SKIP:
            continue
        end = at + 1
        while BLANKS <= template[end][0] <= SPAN:
            end += 1
        if template[end][0] == CHAR and end > at + 1 and not any(at < each <= end for each in ends):
            anchors[at] = (template[end][1], _LAST.get(template[end - 1][0], _ANY))
    return anchors


def _probes(word_at: Sequence[int], words: Sequence[str], stems: int) -> tuple[I32, U64]:
    """See `Program.probe` and `Program.probed`."""
    probe, other = np.zeros((stems, _PROBES), np.int32), np.zeros((stems, _PROBES, 256, len(words)), np.bool_)
    text = np.zeros((len(words), max(map(len, words)) + 1), np.uint8)  # 0: the word has ended
    for row, word in zip(text, words, strict=True):
        row[: len(word)] = np.frombuffer(word.encode("latin-1"), np.uint8)
    for stem in set(word_at) - {-1}:
        mine = np.array(word_at) == stem
        left = mine & mine[:, None]  # pairs that are not told apart yet
        for n in range(_PROBES):
            differ = (text[:, None] != text) & (text[:, None] > 0) & (text > 0)  # [template, template, place]
            place = int((differ & left[:, :, None]).sum((0, 1)).argmax())
            left &= ~differ[:, :, place]
            probe[stem, n] = place
            there = text[:, place]
            other[stem, n] = mine & (there > 0) & (there != np.arange(256)[:, None])
    return probe, _masks(other)


def _apart(word_at: NDArray[np.int64], length: NDArray[np.int64], alike: I32) -> U64:
    """[template, matched] -> see `Program.apart`."""
    matched = np.arange(int(length.max()) + 1)[None, :, None]
    same, shared = word_at[:, None, None] == word_at, alike[:, None, :]
    return _masks(same & (matched != shared) & ~((matched > shared) & (shared == length)))


def _slots(places: Sequence[Place]) -> list[int]:
    """What some places fill."""
    return sorted({slot for op, _, slot in places if HEX <= op <= SPAN})


def _of(stem: int, templates: Sequence[Sequence[Place]], paths: Sequence[Sequence[int]]) -> Sequence[Place]:
    """A template that begins with a stem."""
    return next(template for template, path in zip(templates, paths, strict=True) if stem in path)


def _units(template: Sequence[Place]) -> list[tuple[Place, ...]]:
    """A template's places, the characters of a word together."""
    units: list[tuple[Place, ...]] = []
    for place in template:
        if place[0] == CHAR and units and units[-1][0][0] == CHAR:
            units[-1] = (*units[-1], place)
        else:
            units.append((place,))
    return units


def _grow(
    units: Sequence[Sequence[tuple[Place, ...]]],
    members: Sequence[int],
    reached: tuple[int, int],
    ends: list[int],
    paths: Sequence[list[int]],
) -> None:
    """Find the stems of templates that are alike so far: ``reached`` are units, and places."""
    at, place = reached
    parted: dict[tuple[Place, ...], list[int]] = {}
    for member in members:
        unit = units[member][at]
        if unit[0][0] not in (END, REST, MAY_END):
            parted.setdefault(unit, []).append(member)
    for alike in parted.values():
        if len(alike) < 2:
            continue
        one, last, end = units[alike[0]], at, place
        while one[last][0][0] not in (END, REST, MAY_END) and all(units[each][last] == one[last] for each in alike):
            end += len(one[last])
            last += 1
        stem = one[:last]
        cut = end
        while stem and stem[-1][0][0] == SKIP:
            stem, cut = stem[:-1], cut - 1
        since = max((i for i, each in enumerate(stem) if each[0][0] == SKIP), default=-1)
        if cut > ends[paths[alike[0]][-1]] and any(HEX <= each[0][0] <= SPAN for each in stem[since + 1 :]):
            for each in alike:
                paths[each].append(len(ends))
            ends.append(cut)
        _grow(units, alike, (last, end), ends, paths)


def _text(template: Sequence[Place], at: int) -> str:
    """The word that stands at a place; empty if none does."""
    end = at
    while template[end][0] == CHAR:
        end += 1
    return "".join(chr(argument) for _, argument, _ in template[at:end])


def _alike(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _padded(lists: Sequence[Sequence[int]]) -> I32:
    width = max(map(len, lists)) + 1
    return np.array([[*each, *[-1] * (width - len(each))] for each in lists], np.int32)


def _classes() -> U8:
    """[byte] -> what can begin with it; a newline begins anything, for there every search ends."""
    table = np.full(256, _ANY, np.uint8)
    table[33:] |= _PRINTED
    table[ord("0") : ord("9") + 1] |= _DIGIT | _HEX_DIGIT
    for letter in b"abcdefABCDEF":
        table[letter] |= _HEX_DIGIT
    table[ord("-")] |= _SIGN
    table[ord(".")] |= _POINT
    table[[9, 32]] |= _BLANK
    table[10] = 255
    return table
