"""Alibaba's block traces of January 2020: ``device_id,opcode,offset,length,timestamp``, without a header.

Bytes, microseconds of the Unix epoch, R or W; the virtual disk is the volume. The set's second file, device_size.csv
(``device_id,capacity``), is used where it lies beside the trace, is in the same archive or is ingested with it:
requests past their disk's capacity are counted and kept. Source: github.com/alibaba/block-traces, README; Li et al.,
"An In-Depth Analysis of Cloud Block Storage Workloads", IISWC 2020. (The layout of the 2023 set is not known.)
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report
from traces.formats.scanner import EMPTY, GOOD, Field, Kind, Scanner
from traces.formats.text import chunks, first_lines, is_text

LAYOUT = Layout(
    separator=",",
    volume=(0,),
    op=1,
    ops={"r": Op.READ, "w": Op.WRITE},
    offset=Amount(2),
    length=Amount(3),
    time=Clock(4, tick=1000, kind="unix"),
    fewest=5,
    most=5,
)

_SIZES = "device_size.csv"
_ROW = re.compile(r"\d+,[RW],\d+,\d+,1[5-9]\d{14}")  # microseconds: 2017 to 2033


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 20) if is_text(head) else []
    rows = sum(1 for line in lines if _ROW.fullmatch(line.strip()))
    if not rows or rows < len(lines) - 1:
        return None
    return "comma-separated device, R or W, offset, length and Unix time in microseconds"


def _sizes_of(source: Input, given: Sequence[Input]) -> Input | None:
    """The capacities that go with a trace: those that were given with it, or the file beside it."""
    beside = source.path.parent / _SIZES
    return next(iter(given), None) or (Input(beside, str(beside)) if beside.is_file() else None)


def _capacities(source: Input, report: Report) -> dict[str, int]:
    """Device -> bytes; rows that are none are refused."""
    found: dict[str, int] = {}
    scanner = Scanner([Field(0, Kind.WORD), Field(1, Kind.INTEGER, unsigned=True)], ",", ["device", "capacity"], most=2)
    with source.open() as stream:
        for chunk in chunks(stream, report):
            scanned = scanner.scan(chunk)
            good = scanned.status == GOOD
            codes, words = scanned.words(0)
            capacity = scanned.values(1)
            found |= {words[codes[row]]: int(capacity[row]) for row in np.flatnonzero(good).tolist()}
            bad = np.flatnonzero(~good & (scanned.status != EMPTY)).tolist()
            if scanned.first == 1 and bad[:1] == [0] and scanned.line(0)[:1].isalpha():
                bad = bad[1:]  # its header
            scanned.refuse(report, source.name, bad)
    return found


def _within(batches: Iterator[pl.DataFrame], sizes: Input, report: Report) -> Iterator[pl.DataFrame]:
    """The same batches; notes what lies past a disk's capacity."""
    known = _capacities(sizes, report)
    unknown: set[str] = set()
    report.note(f"disks with a capacity in {sizes.label}", len(known))
    for batch in batches:
        limit = np.array([known.get(name, (1 << 64) - 1) for name in report.volumes], np.uint64)
        end = (batch["offset"] + batch["length"]).to_numpy()
        report.note("requests past their disk's capacity (kept)", int(np.sum(end > limit[batch["volume"].to_numpy()])))
        unknown = {name for name in report.volumes if name not in known}
        yield batch
    report.note(f"disks without a capacity in {sizes.label}", len(unknown))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    given = [source for source in sources if source.label == _SIZES]
    traces = [source for source in sources if source.label != _SIZES] or given
    for source in traces:
        batches = read_layout(source, LAYOUT, report)
        sizes = _sizes_of(source, given) if source not in given else None
        yield from _within(batches, sizes, report) if sizes else batches


FORMAT = Format(name="alibaba", kind="block", doc="Alibaba block trace (2020)", sniff=_sniff, read=_read, beside=_SIZES)
