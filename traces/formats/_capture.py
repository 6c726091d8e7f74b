"""The slots of the shared agent's capture, and what tells them apart from damage: see `traces.formats.agent`."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.crc32c import crc32c
from traces.kernel import kernel
from traces.message import Op, Outcome
from traces.table import I64, U8, U32, U64, Bool

MAGIC, MARKER = b"\x89AGENT\r\n", b"\xa5Rec"
VERSION = 1
NOBODY = (1 << 32) - 1  # the number of a receiver that was not named
NAME = 64  # bytes that a name has at most
LAST = 1 << 61  # ns, of any clock

HEADER = np.dtype(
    [
        *[("magic", "S8"), ("version", "<u2"), ("slot", "<u2"), ("zero", "<u4")],
        *[("unix", "<i8"), ("monotonic", "<i8"), ("spare", "<u4"), ("crc", "<u4")],
    ]
)
SLOT = np.dtype(
    [
        *[("marker", "<u4"), ("crc", "<u4"), ("number", "<u8"), ("what", "u1"), ("op", "u1"), ("outcome", "u1")],
        *[("zero", "u1"), ("producer", "<u4"), ("ring", "<u4"), ("receiver", "<u4"), ("checksum", "<u4")],
        *[("spare", "<u4"), ("published", "<i8"), ("seen", "<i8"), ("delivered", "<i8")],
        *[("sequence", "<u8"), ("address", "<u8"), ("length", "<u8")],
    ]
)
NAMED_AT = 24  # byte of a slot at which a name begins
_MARK = np.frombuffer(MARKER, np.uint8)
SIZE = SLOT.itemsize  # bytes


class What(IntEnum):
    """What a slot tells of."""

    RING = 1
    PRODUCER = 2
    RECEIVER = 3
    RECORD = 4


KNOWN = np.zeros((2, 256), np.bool_)
KNOWN[0, list(Op)], KNOWN[1, list(Outcome)] = True, True


@kernel
def _whole(data: U8, at: int) -> bool:
    for k in range(_MARK.size):
        if data[at + k] != _MARK[k]:
            return False
    told = np.uint32(data[at + 4]) | np.uint32(data[at + 5]) << 8
    told |= np.uint32(data[at + 6]) << 16 | np.uint32(data[at + 7]) << 24
    return bool(crc32c(data, at + 8, at + SIZE) == np.uint32(told))


@kernel
def find(data: U8, damaged: bool, slots: U8, places: I64, gaps: I64) -> tuple[int, int, int, int]:
    """Copy the whole slots out: how many, how many gaps end before one of them, where the next slot can begin, and
    where the gap began that is still open (-1: none).

    ``damaged``: the data begin within a gap.
    """
    found, holes, at = 0, 0, 0
    since = 0 if damaged else -1
    while at + SIZE <= data.size:
        if _whole(data, at):
            if since >= 0:
                gaps[holes, 0], gaps[holes, 1] = since, at
                holes += 1
                since = -1
            for k in range(SIZE):
                slots[found * SIZE + k] = data[at + k]
            places[found] = at
            found += 1
            at += SIZE
        else:
            since = at if since < 0 else since
            at += 1
    return found, holes, at, since


class Table(NamedTuple):
    """What numbers stand for, in the order of the numbers."""

    numbers: U32
    since: U64  # slot
    places: I64


@kernel
def look(table: Table, numbers: U32, slots: U64, out: I64) -> None:
    known, since, places = table.numbers, table.since, table.places
    for i in range(out.size):
        number = numbers[i]
        at = np.int64(number) - np.int64(known[0]) if known.size else 0  # numbers mostly follow each other
        if at < 0 or at >= known.size or known[at] != number:
            at = np.searchsorted(known, number)
        there = at < known.size and known[at] == number and since[at] < slots[i]
        out[i] = places[at] if there else -1


@kernel
def numbered(slots: NDArray[np.void], last: int, wrong: U8) -> tuple[int, int]:
    """Judge numbers and kinds of slots: the last number, and how many are missing."""
    missing = 0
    for i in range(slots.size):
        number, what = int(slots[i].number), slots[i].what
        if number <= last:
            wrong[i] = 1
            continue
        missing += number - last - 1
        last = number
        if what < What.RING or what > What.RECORD:
            wrong[i] = 2
    return last, missing


class Places(NamedTuple):
    """[slot] -> where what its numbers stand for is; -1: not known."""

    producer: I64
    ring: I64
    receiver: I64


@kernel
def judge(slots: NDArray[np.void], places: Places, sizes: U64, known: Bool, wrong: U8) -> None:
    """Say what is wrong with records; ``known``: [0, operation] and [1, outcome] -> whether there is such a one."""
    producer, ring, receiver = places.producer, places.ring, places.receiver
    for i in range(slots.size):
        s = slots[i]
        if wrong[i] or s.what != What.RECORD:
            continue
        published, seen, delivered = s.published, s.seen, s.delivered
        if not (known[0, s.op] and known[1, s.outcome]):
            wrong[i] = 3
        elif producer[i] < 0:
            wrong[i] = 4
        elif ring[i] < 0:
            wrong[i] = 5
        elif receiver[i] < 0 and s.receiver != NOBODY:
            wrong[i] = 6
        elif sizes[ring[i]] > 0 and (s.address >= sizes[ring[i]] or s.length > sizes[ring[i]]):
            wrong[i] = 7
        else:
            late = max(published, seen, delivered) > LAST
            early = published < 0 or seen < -1 or delivered < -1
            order = (seen >= 0 and seen < published) or (delivered >= 0 and (seen < 0 or delivered < seen))
            wrong[i] = 8 if late or early or order else 0


@kernel
def follow(slots: NDArray[np.void], ring: I64, begun: Bool, next_: U64) -> tuple[int, int]:
    """Among published records of each ring: how many are missing in its numbering, how many come again."""
    missing, again = 0, 0
    for i in range(slots.size):
        if slots[i].op != Op.PUBLISHED:
            continue
        r, sequence = ring[i], np.uint64(slots[i].sequence)
        if begun[r]:
            if sequence > next_[r]:
                missing += int(sequence - next_[r])
            elif sequence < next_[r]:
                again += 1
        begun[r], next_[r] = True, sequence + np.uint64(1)
    return missing, again
