"""SYSTOR'17: a university's and a company's virtual desktops over Fibre Channel, a file an hour and LUN.

``Timestamp,Response,IOType,LUN,Offset,Size`` under a header line: Unix seconds with nine decimals of which six are
meant, seconds, R or W, the LUN (the volume), bytes. The type is blank where no response was seen, and so may be the
response. Source: SNIA IOTTA trace 4964, README; Lee et al., "Understanding Storage Traffic Characteristics on
Enterprise Virtual Desktop Infrastructure", SYSTOR 2017.
"""

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format
from traces.formats.text import first_lines, is_text

_HEADER = "Timestamp,Response,IOType,LUN,Offset,Size"
LAYOUT = Layout(
    separator=",",
    time=Clock(0, scale=9, kind="unix"),
    latency=Clock(1, scale=9),
    op=2,
    ops={"r": Op.READ, "w": Op.WRITE, "": Op.UNKNOWN},
    volume=(3,),
    offset=Amount(4),
    length=Amount(5),
    fewest=6,
    most=6,
)


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 1) if is_text(head) else []
    return f"header line '{_HEADER}'" if lines and lines[0].strip().lower() == _HEADER.lower() else None


FORMAT = Format(name="systor", kind="block", doc="SYSTOR'17 (SNIA IOTTA 4964)", sniff=_sniff, read=reader_of(LAYOUT))
