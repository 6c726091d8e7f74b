"""Memory accesses: what a program or a guest did to its memory, or what a monitor saw of it.

Times are nanoseconds since the trace's first record; a source without a clock gives its order. Monitors do not
see every access: a `SAMPLED` record says how many were seen in a region, a `DIRTY` one that pages were written.
"""

from enum import IntEnum
from typing import Annotated, NamedTuple

from traces.table import U8, U32, U64, Text


class Op(IntEnum):
    """What was done to memory."""

    LOAD = 0
    STORE = 1
    FETCH = 2
    MODIFY = 3
    SAMPLED = 4
    DIRTY = 5
    UNKNOWN = 255


class Memory(NamedTuple):
    """Memory accesses in time order, one row each."""

    time: Annotated[U64, "nanoseconds since the trace's first record; its order where the source has no clock"]
    op: Annotated[
        U8,
        "0 load, 1 store, 2 instruction fetch, 3 modify (load and store), 4 sampled (so many accesses were seen in the "
        "region, of any kind), 5 dirty (the region was written since the window before), 255 unknown",
    ]
    space: Annotated[U32, "which of the trace's address spaces (see table volumes), counted from 0"]
    cpu: Annotated[U32, "processor or thread that accessed, as the source numbers it; 0 where not told"]
    address: Annotated[U64, "first byte"]
    size: Annotated[U64, "bytes; 0 where the source does not tell"]
    accesses: Annotated[U32, "accesses that the row stands for: 1, or what a monitor saw"]
    ip: Annotated[U64, "address of the instruction; 0 where not told"]
    gap: Annotated[U64, "instructions since the record before that are no record themselves; 0 where not told"]
    weight: Annotated[U32, "cost of the access in processor cycles; 0 where not told"]
    raw: Annotated[Text, "the source's own word for the access"]
