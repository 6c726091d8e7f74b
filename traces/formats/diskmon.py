"""DiskMon (Sysinternals): ``number time duration disk Read|Write sector length``, in tabs, CRLF.

Seconds since monitoring began, seconds, sectors of 512 bytes; the disk is the volume. A published recording holds rows
with sectors past 2**62: they are refused. Checked against the documented layout only, not a recording. Source:
Microsoft Sysinternals, Disk Monitor; recordings.
"""

import re

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format
from traces.formats.text import first_lines, is_text

LAYOUT = Layout(
    separator=None,
    time=Clock(1, scale=9),
    latency=Clock(2, scale=9),
    volume=(3,),
    op=4,
    ops={"read": Op.READ, "write": Op.WRITE},
    offset=Amount(5, unit=512),
    length=Amount(6, unit=512),
    fewest=7,
    most=7,
)

_ROW = re.compile(r"\d+\s+\d+\.\d+\s+\d+\.\d+\s+\d+\s+(Read|Write)\s+\d+\s+\d+\s*")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 20) if is_text(head) else []
    rows = sum(1 for line in lines if _ROW.fullmatch(line))
    if not rows or rows < len(lines) - 1:
        return None
    return "blank-separated number, seconds, duration, disk, Read or Write, sector and sectors"


FORMAT = Format(name="diskmon", kind="block", doc="DiskMon (Sysinternals)", sniff=_sniff, read=reader_of(LAYOUT))
