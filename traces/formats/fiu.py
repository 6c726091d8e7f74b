"""FIU's block traces with content (IODedup, SRCMap: mail, web, homes...).

``time pid process lba size R|W major minor md5``, blank-separated: nanoseconds of a monotonic clock, sectors of 512
bytes, the device's numbers (its volume), a digest a page; two parsers know lines of eight digests (one a sector) in
the set ``homes``. A process's name may hold blanks, hence the fields are counted from both ends. Excerpts circulate
that begin with the header of the tar archive they were cut from: its lines are refused, with the first record, which
has no line of its own. Source: SNIA IOTTA trace 391, README; Koller and Rangaswami, "I/O Deduplication", FAST 2010.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from traces.block import Op
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines

_BEFORE = 8  # fields before the digests
LAYOUT = Layout(
    separator=None,
    time=Clock(0, kind="monotonic"),
    stream=1,
    wide=2,
    offset=Amount(3, unit=512),
    length=Amount(4, unit=512),
    op=5,
    ops={"r": Op.READ, "w": Op.WRITE},
    volume=(6, 7),
    fewest=_BEFORE + 1,
    most=_BEFORE + 1,
)

_ROW = re.compile(r"\d+ +\d+ +\S.* +\d+ +\d+ +[RW] +\d+ +\d+((?: +[0-9a-f]{32})+)\s*")
_LOOKED_AT = 40  # lines
_HEADER = 4  # lines that a tar header may take


def _digests(head: bytes) -> list[int]:
    """How many digests each record of a head has."""
    found = (_ROW.fullmatch(line) for line in first_lines(head, _LOOKED_AT))
    return [len(row[1].split()) for row in found if row]


def _sniff(name: str, head: bytes) -> str | None:
    rows = len(_digests(head))
    if not rows or rows < len(first_lines(head, _LOOKED_AT)) - _HEADER:
        return None
    return "blank-separated time, pid, process, sector, sectors, R or W, device and MD5 digest"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        counts = Counter(_digests(source.head())).most_common(1)
        fields = _BEFORE + (counts[0][0] if counts else 1)
        yield from read_layout(source, replace(LAYOUT, fewest=fields, most=fields), report)


FORMAT = Format(name="fiu", kind="block", doc="FIU block trace with digests (SNIA IOTTA 391)", sniff=_sniff, read=_read)
