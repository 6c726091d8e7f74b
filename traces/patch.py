"""Kernel text patches: where a running kernel changed its own instructions (jump labels, ftrace, kprobes...)."""

from typing import Annotated, NamedTuple

from traces.table import U32, U64
from traces.table import Text as Words


class Text(NamedTuple):
    """Patches of kernel text in time order, one row each."""

    time: Annotated[U64, "nanoseconds since the trace's first record; its order where the source has no clock"]
    address: Annotated[U64, "first byte patched"]
    length: Annotated[U32, "bytes patched: of old and new bytes the more"]
    old: Annotated[Words, "bytes before, in hexadecimal; empty where there was no text (a page of probes made new)"]
    new: Annotated[Words, "bytes after, in hexadecimal; empty where text was given up"]
    symbol: Annotated[Words, "symbol and offset of the address; empty where not told"]
    procedure: Annotated[Words, "procedure of the kernel that patched; empty where not told"]
    path: Annotated[Words, "way that the patch took; empty where not told"]
    cpu: Annotated[U32, "processor that patched; 0 where not told"]
    pid: Annotated[U32, "process on whose behalf; 0 where not told"]
    raw: Annotated[Words, "the source's own word for the record"]
