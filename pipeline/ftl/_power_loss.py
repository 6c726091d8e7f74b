"""When power fails, and what survives it: keys of every stage that takes power from a drive."""

from typing import Annotated

from pydantic import Field

from traces.errors import ConfigError
from traces.info import TraceInfo

HALF = -1

CrashAt = Annotated[
    int,
    Field(
        ge=HALF,
        lt=1 << 62,
        description="requests of the trace after which power fails, for the drives of all volumes that were asked for "
        "anything by then; 0: it does not; -1: half of them",
    ),
]
Protection = Annotated[
    bool,
    Field(
        description="whether what waits in the drive's DRAM survives that: acknowledged pages of a write buffer, "
        "changed pointers of a map"
    ),
]


def settled(crash_at: int, info: TraceInfo) -> int:
    """``crash_at`` of a trace, half of it where that is asked for; ConfigError if the trace ends before."""
    if crash_at > info.rows:
        raise ConfigError(f"crash_at is {crash_at}; the trace has {info.rows} requests")
    return -(-info.rows // 2) if crash_at == HALF else crash_at
