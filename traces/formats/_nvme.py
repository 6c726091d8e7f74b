"""NVMe commands: what their names and numbers mean, and records made of them.

Source: NVM Express NVM Command Set 1.0, figure 9 (opcodes); Zoned Namespace Command Set 1.1, figures 17 and 24.
"""

import re
from typing import NamedTuple

import numpy as np
import polars as pl

from traces.block import Flag, Op
from traces.formats.reader import Records
from traces.formats.text import Codes
from traces.table import I64, U8, U16, schema_of

FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DSM, VERIFY, COPY = 0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0C, 0x19
MGMT_SEND, MGMT_RECV, ZONE_APPEND = 0x79, 0x7A, 0x7D

OPCODES = {
    FLUSH: ("FLUSH", Op.FLUSH),
    WRITE: ("WRITE", Op.WRITE),
    READ: ("READ", Op.READ),
    WRITE_ZEROES: ("WRITE_ZEROES", Op.WRITE_ZEROES),
    DSM: ("DSM", Op.DISCARD),
    MGMT_SEND: ("MGMT_SEND", Op.ZONE_MANAGE),
    MGMT_RECV: ("MGMT_RECV", Op.ZONE_REPORT),
    ZONE_APPEND: ("ZONE_APPEND", Op.ZONE_APPEND),
    COMPARE: ("COMPARE", Op.UNKNOWN),
    VERIFY: ("VERIFY", Op.UNKNOWN),
    COPY: ("COPY", Op.UNKNOWN),
}
ACTIONS = {  # of a command that manages zones
    1: ("ZONE_CLOSE", Op.ZONE_CLOSE),
    2: ("ZONE_FINISH", Op.ZONE_FINISH),
    3: ("ZONE_OPEN", Op.ZONE_OPEN),
    4: ("ZONE_RESET", Op.ZONE_RESET),
    5: ("ZONE_OFFLINE", Op.ZONE_OFFLINE),
    0x10: ("ZONE_SET_DESCRIPTOR_EXTENSION", Op.ZONE_SET_EXTENSION),
    0x11: ("ZONE_FLUSH_ZRWA", Op.ZONE_FLUSH_ZRWA),
}
_ALL = re.compile(r"\bZONE_\w+_ALL\b", re.IGNORECASE)
NAMES = dict([*OPCODES.values(), *ACTIONS.values()])
LAST_BYTE = (1 << 62) - 1


class Commands(NamedTuple):
    """Commands, or parts of them that have an extent of their own; one row each."""

    time: I64  # nanoseconds
    op: U8
    space: I64  # namespace's volume
    offset: I64  # bytes
    length: I64  # bytes
    latency: I64  # nanoseconds, -1 where not known
    queue: I64  # submission queue
    status: I64  # as it was told; -1 where not known
    word: I64  # code of its name


class Raw:
    """A command's name and, where it failed, its status, as one word; ``?`` where it is not told how it ended."""

    def __init__(self, names: list[str]) -> None:
        self._names, self._codes = names, Codes()
        self._words: list[str] = []

    def series(self, word: I64, status: I64) -> pl.Series:
        """[row] -> the words; ``word`` are indices of the names, which may have grown."""
        key = (word << 33) | np.maximum(status, -1) + 1
        codes, fresh = self._codes.encode(key)
        for row in fresh:
            failed = f" {int(status[row]):#x}" if status[row] > 0 else " ?" if status[row] < 0 else ""
            self._words.append(self._names[int(word[row])] + failed)
        return pl.Series(self._words, dtype=pl.Categorical).gather(codes)

    def flags(self, word: I64) -> U16:
        """[row] -> what the names say beside the operation."""
        every = [Flag.ALL_ZONES * bool(_ALL.search(name)) for name in self._names]
        return np.array(every or [0], np.uint16)[word]


def frame(c: Commands, raw: Raw) -> pl.DataFrame:
    """Commands as `Records`."""
    columns = {
        "time": c.time,
        "op": c.op,
        "volume": c.space.astype(np.uint32),
        "offset": c.offset.view(np.uint64),
        "length": c.length.view(np.uint64),
        "latency": c.latency,
        "stream": c.queue.astype(np.uint32),
        "flags": np.where(c.status > 0, np.uint16(Flag.ERROR), np.uint16(0)) | raw.flags(c.word),
        "raw": raw.series(c.word, c.status),
    }
    return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})
