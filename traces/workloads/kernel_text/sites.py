"""Where a kernel patches its own text, with which bytes: drawn once, before anything is patched.

A site is where a procedure of the kernel may write, with the bytes that may stand there (variants). They are those of
x86: ``0f1f440000`` is the five-byte no-operation, ``e8`` and ``e9`` are call and jump with a drawn distance, ``cc`` is
the breakpoint. Sites lie in 64-byte pieces of the text that no two of them share; a straddling one begins in the last
bytes of a page and ends in the next. Source: Linux 6.1, arch/x86/kernel/alternative.c, jump_label.c, static_call.c,
ftrace.c, kprobes/core.c, net/bpf_jit_comp.c.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from traces.table import I64, U32, U64
from traces.workloads.draws import SHARE, Shuffle, draws, new_shuffle, shuffled

TEXT = 0xFFFFFFFF81000000  # where a kernel's text begins
PAGE, PIECE = 4096, 64
_PIECES = PAGE // PIECE - 2  # of a page, the first and the last being kept for sites that straddle
POOL = 256  # sites and other places that attempts go to
LONGER = 3  # bytes that a patch is too long by
_NOP = "0f1f440000"
_OPCODES = ("55", "53", "41", "48", "31", "8b", "50", "0f")  # first bytes of functions


class Kind(IntEnum):
    """What patches. Those up to `BPF` write a breakpoint, the tail and the first byte."""

    JUMP_LABEL = 0
    STATIC_CALL = 1
    FTRACE = 2
    BPF = 3
    KPROBE = 4
    MODULE = 5
    ALTERNATIVES = 6


PROCEDURES = {
    Kind.JUMP_LABEL: "jump_label",
    Kind.STATIC_CALL: "static_call",
    Kind.FTRACE: "ftrace",
    Kind.BPF: "bpf_trampoline",
    Kind.KPROBE: "kprobe",
    Kind.MODULE: "module",
    Kind.ALTERNATIVES: "alternatives",
}
VARIANTS = {kind: 3 if kind in (Kind.STATIC_CALL, Kind.MODULE) else 2 for kind in Kind}


class Sites(NamedTuple):
    """All sites, those of a kind following each other; bytes as codes of `Words`."""

    address: U64
    length: U32
    kind: I64
    whole: U32  # [site, variant]
    first: U32  # [site, variant]: the first byte
    tail: U32  # [site, variant]: the others, of sites of five bytes
    symbol: U32


class Pool(NamedTuple):
    """What attempts use: some sites, and some places that are none."""

    site: I64  # which site
    longer_old: U32  # [site of the pool, variant]: its bytes and those that follow
    longer_new: U32  # [site of the pool, variant]
    differs: U32  # [site of the pool]: bytes that it may not hold
    place: U64  # addresses of no site
    old: U32
    new: U32
    first: U32  # the first byte of `old`
    symbol: U32


class Words:
    """Texts and their codes."""

    def __init__(self, *known: str) -> None:
        self.codes = {word: code for code, word in enumerate(known)}

    def code(self, word: str) -> int:
        """The code of a text, a new one if need be."""
        return self.codes.setdefault(word, len(self.codes))

    def texts(self) -> list[str]:
        """All texts, by code."""
        return [*self.codes]


def room(text: int) -> tuple[int, int]:
    """How many sites fit in so many bytes of text: within pages, and from one page to the next."""
    pages = text // PAGE
    return pages * _PIECES, pages - 1


def _hex(bits: int, count: int) -> str:
    return int(bits).to_bytes(8, "little")[:count].hex()


def _variants(kind: Kind, bits: Sequence[int], length: int) -> list[str]:
    """The bytes that may stand at a site; the first of them does so at the beginning (of a module: nothing)."""
    jump, call, other = "e9" + _hex(bits[0], 4), "e8" + _hex(bits[1], 4), "e8" + _hex(bits[2], 4)
    if kind == Kind.JUMP_LABEL:
        return [_NOP, jump] if bits[3] & 1 else [jump, _NOP]
    if kind in (Kind.FTRACE, Kind.BPF):
        return [_NOP, call]
    if kind == Kind.STATIC_CALL:
        return [call, other, _NOP]
    if kind == Kind.KPROBE:
        return [_OPCODES[bits[3] % len(_OPCODES)], "cc"]
    if kind == Kind.MODULE:
        return ["", call, _NOP]
    return [(_hex(bits[0], 8) + _hex(bits[1], 8))[: 2 * length], "90" * length]


def new_sites(
    key: int, counts: dict[Kind, int], text: int, straddling: float, *, modules: int
) -> tuple[Sites, Pool, Words, Words]:
    """Sites and pool, and the words of bytes and of symbols; sites as drawn, alternatives' in order of place.

    ``modules``: sites of each module, by which the sites of that kind are named.
    """
    keys = [int(each) for each in draws(key, 5)]
    total = sum(counts.values())
    within, between = room(text)
    straddle = (draws(keys[0], total) >> np.uint64(11)) < np.uint64(round(straddling * SHARE))
    piece, page = new_shuffle(keys[1], 1, within), new_shuffle(keys[2], 1, max(1, between))
    drawn = draws(keys[3], 4 * total).reshape(total, 4).tolist()
    bytes_, symbols = Words("", "cc"), Words("")
    address, length, symbol = np.zeros(total, np.uint64), np.zeros(total, np.uint32), np.zeros(total, np.uint32)
    kinds = np.repeat(np.array([*counts], np.int64), [*counts.values()])
    whole, first, tail = (np.zeros((total, 3), np.uint32) for _ in range(3))
    crossed, module = 0, int(np.argmax(kinds == Kind.MODULE))
    for n in range(total):
        kind, bits = Kind(kinds[n]), drawn[n]
        size = 1 if kind == Kind.KPROBE else 2 + bits[2] % 14 if kind == Kind.ALTERNATIVES else 5
        if straddle[n] and size > 1 and crossed < between:
            at = (int(shuffled(page, 0, np.uint64(crossed))) + 1) * PAGE - 1 - bits[3] // 2 % (size - 1)
            crossed += 1
        else:
            place = int(shuffled(piece, 0, np.uint64(n)))
            at = place // _PIECES * PAGE + (place % _PIECES + 1) * PIECE + (bits[3] >> 8) % (PIECE - 16)
        address[n], length[n] = TEXT + at, size
        for k, variant in enumerate(_variants(kind, bits, size)):
            whole[n, k] = bytes_.code(variant)
            first[n, k], tail[n, k] = bytes_.code(variant[:2]), bytes_.code(variant[2:])
        owner = f"module_{(n - module) // modules}:" if kind == Kind.MODULE else ""
        symbol[n] = symbols.code(f"{owner}function_{at // PIECE:x}+0x{at % PIECE:x}")
    begin = total - counts[Kind.ALTERNATIVES]  # they come last, and are patched by place
    order = np.concatenate([np.arange(begin), begin + np.argsort(address[begin:])])
    sites = Sites(address[order], length[order], kinds, whole[order], first[order], tail[order], symbol[order])
    return sites, _pool(keys[4], sites, (piece, total), bytes_, symbols), bytes_, symbols


def _pool(key: int, sites: Sites, unused: tuple[Shuffle, int], bytes_: Words, symbols: Words) -> Pool:
    """Sites of five bytes that stand all the time, and places that are no site: the pieces that follow the sites'."""
    texts, keys = bytes_.texts(), [int(each) for each in draws(key, 3)]
    listed = np.flatnonzero((sites.length == 5) & (sites.kind <= Kind.BPF))
    if listed.size > POOL:
        listed = listed[[bits * listed.size >> 64 for bits in draws(keys[0], POOL).tolist()]]
    old, new = (np.zeros((listed.size, 3), np.uint32) for _ in range(2))
    differs = np.zeros(listed.size, np.uint32)
    for n, bits in enumerate(draws(keys[1], 3 * listed.size).reshape(-1, 3).tolist()):
        site = int(listed[n])
        for k in range(VARIANTS[Kind(sites.kind[site])]):
            bytes_now = texts[sites.whole[site, k]]
            old[n, k], new[n, k] = (bytes_.code(bytes_now + _hex(bits[which], LONGER)) for which in (0, 1))
        differs[n] = bytes_.code("e9" + _hex(bits[2], 4))
    shuffle, begin = unused
    place = np.zeros(POOL, np.uint64)
    before, after, first, symbol = (np.zeros(POOL, np.uint32) for _ in range(4))
    for n, bits in enumerate(draws(keys[2], 3 * POOL).reshape(-1, 3).tolist()):
        piece = int(shuffled(shuffle, 0, np.uint64(begin + n)))
        at = piece // _PIECES * PAGE + (piece % _PIECES + 1) * PIECE + bits[2] % (PIECE - 16)
        place[n] = TEXT + at
        before[n], first[n] = bytes_.code(_hex(bits[0], 5)), bytes_.code(_hex(bits[0], 1))
        after[n] = bytes_.code("e9" + _hex(bits[1], 4))
        symbol[n] = symbols.code(f"function_{at // PIECE:x}+0x{at % PIECE:x}")
    return Pool(listed, old, new, differs, place, before, after, first, symbol)
