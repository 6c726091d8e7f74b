"""SPC trace files, as those of the UMass Trace Repository (Financial, WebSearch).

``ASU,LBA,Size,Opcode,Timestamp[,anything]``: the application storage unit, a block of 512 bytes within it, bytes, r or
w in either case, seconds since the start. Each ASU has addresses of its own: it is the volume. Zero sizes are legal,
and fields past the fifth are to be ignored. Source: Storage Performance Council, "SPC Trace File Format Specification",
revision 1.0.1; the specification leaves the block's size to the ASU, UMass' traces have 512 bytes.
"""

import re

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format
from traces.formats.text import first_lines, is_text

LAYOUT = Layout(
    separator=",",
    volume=(0,),
    offset=Amount(1, unit=512),
    length=Amount(2),
    op=3,
    ops={"r": Op.READ, "w": Op.WRITE},
    time=Clock(4, scale=9),
    fewest=5,
)

_ROW = re.compile(r"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*[rRwW]\s*,\s*\d+\.\d+\s*(,.*)?")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 20) if is_text(head) else []
    rows = sum(1 for line in lines if _ROW.fullmatch(line))
    if not rows or rows < len(lines) - 1:  # the specification's own example has a mistyped row
        return None
    return "comma-separated ASU, block, size, r or w, and seconds with a decimal point"


FORMAT = Format(name="spc", kind="block", doc="SPC trace file (UMass)", sniff=_sniff, read=reader_of(LAYOUT))
