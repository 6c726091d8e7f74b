"""The block layer's words: actions (Q, D, C and the others) and RWBS ("FWFSM").

An RWBS word is a leading F (flush before), what is done (D discard, W write, R read, N nothing), then F (forced unit
access), A (read-ahead), S (synchronous), M (metadata); older kernels add B (barrier), ftrace E (secure erase). The
kernel's own words (ftrace, perf) tell a flush itself as F ("FF") and in newer versions write zeroes (WZ) and commands
to zones (ZA append, ZR reset, ZRA reset all, ZF finish, ZO open, ZC close).
Source: blktrace, blkparse_fmt.c (fill_rwbs); linux include/uapi/linux/blktrace_api.h, kernel/trace/blktrace.c
(blk_fill_rwbs).
"""

import re

import numpy as np

from traces.block import Flag, Op
from traces.table import U8, U16

ACTIONS: dict[str, str] = {  # in the order of their numbers in a binary trace, from 1
    "Q": "queued",
    "M": "merged behind",
    "F": "merged in front",
    "G": "got a request",
    "S": "slept for a request",
    "R": "requeued",
    "D": "issued",
    "C": "completed",
    "P": "plugged",
    "U": "unplugged",
    "UT": "unplugged by the timer",
    "I": "inserted",
    "X": "split",
    "B": "bounced",
    "A": "remapped, the same I/O",
    "AB": "aborted",
    "DRV": "driver data",
}
CODE = {letter: code for code, letter in enumerate(ACTIONS, 1)}

WORD = re.compile(r"(F?)(WZ|Z[AFOC]|ZRA?|[DWRNF])([A-Z]{0,5})")
_FLAGS = {
    "F": Flag.FUA,
    "A": Flag.AHEAD,
    "S": Flag.SYNC,
    "M": Flag.META,
    "B": Flag.BARRIER,
    "E": Flag.SECURE,
}
_OPS = {
    "D": Op.DISCARD,
    "W": Op.WRITE,
    "R": Op.READ,
    "F": Op.FLUSH,
    "WZ": Op.WRITE_ZEROES,
    "ZA": Op.ZONE_APPEND,
    "ZR": Op.ZONE_RESET,
    "ZRA": Op.ZONE_RESET,
    "ZF": Op.ZONE_FINISH,
    "ZO": Op.ZONE_OPEN,
    "ZC": Op.ZONE_CLOSE,
}
# what a completion has in common with its request; even: one is added where F leads
_CLASSES = {"D": 0, "W": 2, "R": 4, "N": 6, "F": 6, "WZ": 2, "ZA": 8, "ZR": 10, "ZF": 12, "ZO": 14, "ZC": 20, "ZRA": 22}


class Words:
    """RWBS words by code, and what each means with and without bytes; ``nothing`` is what N means."""

    def __init__(self, nothing: tuple[Op, Op] = (Op.UNKNOWN, Op.FLUSH)) -> None:
        self._nothing = nothing
        self.words: list[str] = []
        self._codes: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, int]] = []

    def code(self, word: str) -> int:
        """The code of a word, -1 if it is no RWBS word."""
        known = self._codes.get(word)
        if known is not None:
            return known
        match = WORD.fullmatch(word)
        if match is None:
            return -1
        front, letter, rest = match.groups()
        flags = sum({_FLAGS[c] for c in rest if c in _FLAGS}, Flag(0)) | (Flag.PREFLUSH if front else Flag(0))
        flags |= Flag.ALL_ZONES if letter == "ZRA" else Flag(0)
        full, empty = self._nothing if letter == "N" else (_OPS[letter], _OPS[letter])
        # without bytes a leading F is a flush and nothing else; so is N, a flush's second completion in older kernels
        empty = Op.FLUSH if front else empty
        self._codes[word] = len(self.words)
        self.words.append(word)
        self._rows.append((full, empty, int(flags), _CLASSES[letter] + bool(front)))
        return self._codes[word]

    def table(self) -> tuple[U8, U8, U16, U8]:
        """By code: the operation with bytes, without bytes, the flags, and the class (letter, and whether F leads)."""
        rows = np.array(self._rows, np.int64).reshape(-1, 4)
        full, empty, flags, kind = rows.T
        return full.astype(np.uint8), empty.astype(np.uint8), flags.astype(np.uint16), kind.astype(np.uint8)
