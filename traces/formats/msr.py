"""MSR Cambridge CSV: ``Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime``, without a header.

Timestamp and ResponseTime are Windows FILETIME ticks of 100 ns, Offset and Size bytes. A volume is a host's disk.
Source: SNIA IOTTA trace 388, README; Narayanan et al., "Write off-loading", FAST 2008.
"""

from traces.block import Op
from traces.formats.layout import FILETIME_EPOCH, Amount, Clock, Layout, reader_of
from traces.formats.reader import Format
from traces.formats.text import first_lines, is_text

LAYOUT = Layout(
    separator=",",
    time=Clock(0, tick=100, epoch=FILETIME_EPOCH, kind="unix"),
    volume=(1, 2),
    op=3,
    ops={"read": Op.READ, "write": Op.WRITE},
    offset=Amount(4),
    length=Amount(5),
    latency=Clock(6, tick=100),
    fewest=7,
    most=7,
)


def _is_row(line: str) -> bool:
    words = [word.strip() for word in line.split(",")]
    numbers = (0, 2, 4, 5, 6)
    return len(words) == 7 and words[3].lower() in ("read", "write") and all(words[i].isdigit() for i in numbers)


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 5) if is_text(head) else []
    rows = [line for line in lines if _is_row(line)]
    if not rows or len(rows) < len(lines) - 1:
        return None
    return "seven comma-separated columns with Read or Write in the fourth and FILETIME ticks in the first"


FORMAT = Format(
    name="msr", kind="block", doc="MSR Cambridge CSV (SNIA IOTTA 388)", sniff=_sniff, read=reader_of(LAYOUT)
)
