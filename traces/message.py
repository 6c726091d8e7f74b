"""Messages: records that programs wrote to shared memory for a receiver whom they named.

A producer writes a record into a ring, then publishes it by moving the ring's head; an agent outside sees that, reads
the record and hands it to its receiver. What the agent did stands in the row where the source tells it.
"""

from enum import IntEnum
from typing import Annotated, NamedTuple

import numpy as np

from traces.table import I64, U8, U32, U64, Text


class Op(IntEnum):
    """How far the producer came."""

    PUBLISHED = 0
    TORN = 1  # begun and never published: the producer died, or gave up
    FULL = 2  # not begun: the ring had no room
    UNKNOWN = 255


class Outcome(IntEnum):
    """What the agent did with the record."""

    NOT_TOLD = 0
    DELIVERED = 1
    REFUSED = 2  # the receiver is unknown, or the producer may not write to it
    CORRUPT = 3  # length or checksum do not fit the bytes
    LOST = 4  # the receiver went away before it had it


class Message(NamedTuple):
    """Records in the order in which they were written, one row each."""

    time: Annotated[
        U64, "nanoseconds since the trace's first record: when it was published, or the attempt was given up"
    ]
    op: Annotated[
        U8, "0 published, 1 torn (begun, never published), 2 refused by the producer's side: ring full, 255 unknown"
    ]
    producer: Annotated[U32, "who wrote it (see table volumes), counted from 0"]
    ring: Annotated[U32, "the ring it was written to, as the source numbers them"]
    receiver: Annotated[Text, "whom the producer named; empty where not told"]
    sequence: Annotated[U64, "the record's number in its ring, as the producer wrote it"]
    address: Annotated[U64, "first byte of the record within the ring's data"]
    length: Annotated[U64, "bytes of payload"]
    checksum: Annotated[U32, "CRC-32C of the payload, as the producer wrote it; 0 where not told"]
    seen: Annotated[I64, "nanoseconds from then until the agent saw it; -1 where not told or never"]
    delivered: Annotated[I64, "nanoseconds from then until its receiver had it; -1 where not told or never"]
    outcome: Annotated[
        U8, "0 not told, 1 delivered, 2 refused (receiver unknown or not allowed), 3 corrupt, 4 lost with its receiver"
    ]
    raw: Annotated[Text, "the source's own word for the record"]


# What Strata itself calls a record, where the source has no word of its own: by `Outcome` where it was published...
WORDS = ("published", "delivered", "refused", "corrupt", "lost", "torn", "full", "unknown")
_NOT_PUBLISHED = {Op.TORN: 5, Op.FULL: 6, Op.UNKNOWN: 7}  # ... else by `Op`
_CODES = np.zeros(256, np.uint8)
_CODES[list(_NOT_PUBLISHED)] = list(_NOT_PUBLISHED.values())


def words(op: U8, outcome: U8) -> U8:
    """[record] -> the place of its word in `WORDS`; of values that have a name."""
    return np.where(op == Op.PUBLISHED, outcome, _CODES[op]).astype(np.uint8)
