"""Block I/O requests: what a host asked of a volume.

Times are nanoseconds since the trace's first request, addresses and lengths bytes. What the
source called the operation is kept beside what Strata makes of it.
"""

from enum import IntEnum, IntFlag
from typing import Annotated, NamedTuple

from traces.table import I64, U8, U16, U32, U64, Text, Unknown


class Op(IntEnum):
    """What a request asks for; a superset of what recorded formats tell apart."""

    READ = 0
    WRITE = 1
    DISCARD = 2
    FLUSH = 3
    WRITE_ZEROES = 4
    ZONE_APPEND = 5
    ZONE_OPEN = 6
    ZONE_CLOSE = 7
    ZONE_FINISH = 8
    ZONE_RESET = 9
    ZONE_OFFLINE = 10
    ZONE_REPORT = 11
    ZONE_SET_EXTENSION = 12  # of a zone's descriptor
    ZONE_FLUSH_ZRWA = 13  # up to the block at the address
    ZONE_MANAGE = 14  # it is not told, or not known, what is done to the zone
    UNKNOWN = 255


class Flag(IntFlag):
    """Modifiers of a request, as the source gives them."""

    PREFLUSH = 1
    FUA = 2
    SYNC = 4
    META = 8
    AHEAD = 16
    SECURE = 32
    BARRIER = 64
    ERROR = 128
    ALL_ZONES = 256
    ZRWA = 512  # a zone opened with a random write area


class Block(NamedTuple):
    """Block I/O requests in time order, one row each."""

    time: Annotated[U64, "nanoseconds since the trace's first request"]
    op: Annotated[
        U8,
        "0 read, 1 write, 2 discard, 3 flush, 4 write zeroes, 5 zone append, 6 zone open, 7 zone close, "
        "8 zone finish, 9 zone reset, 10 zone offline, 11 zone report, 12 zone descriptor extension set, "
        "13 zone random write area flushed, 14 zone management of which no more is told, 255 unknown",
    ]
    volume: Annotated[U32, "which of the trace's volumes (see table volumes), counted from 0"]
    address: Annotated[U64, "first byte of the request within its volume"]
    length: Annotated[U64, "bytes; 0 where the operation has none (flush) or the source recorded none"]
    latency: Annotated[
        I64, "nanoseconds from this request to its completion; -1 (NULL in SQL) where not known", Unknown(-1)
    ]
    stream: Annotated[U32, "who issued it as far as the source tells (process id, stream id); 0 where not told"]
    flags: Annotated[
        U16,
        "modifiers, added up: 1 preflush, 2 forced unit access, 4 synchronous, 8 metadata, 16 read-ahead, "
        "32 secure erase, 64 barrier, 128 completed with an error, 256 of all zones, "
        "512 zone opened with a random write area",
    ]
    raw: Annotated[Text, "the source's own word for the operation and its flags"]
