"""Soft-dirty windows: which pages of a process were written since the window before.

A line a window, ``t_ms window_ms scan_ms resident_pages dirty_pages runs``; runs are ``start`` or ``start+pages`` in
hexadecimal page numbers of 4096 bytes and decimal pages, each followed by a comma. ``# pid N ...`` names the process
and the columns. A row a run, at the time of the window's line (its scan has ended); it stands for as many accesses as
it has pages, for each was written at least once. Source: the header line of such captures; the bits are those of
``/proc/pid/pagemap`` and ``clear_refs`` (Linux, Documentation/admin-guide/mm/soft-dirty.rst).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.formats._accesses import frame, latest, numbered, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.kernel import kernel
from traces.memory import Op
from traces.table import I64, U8, U64

I32 = NDArray[np.int32]

_COLUMNS = "t_ms window_ms scan_ms resident_pages dirty_pages runs"
_WINDOW = "{time:t6} {window:t6} {scan:t6} {resident:u63} {dirty:u63}{?} {runs:s}"
_HEADER = "# pid {pid:u32} {*}"
_PAGE = 4096
_LAST_PAGE = (1 << 52) - 1


@kernel
def _runs(data: U8, begin: int, end: int, start: U64, pages: U64) -> int:
    """The runs of one window; how many, or -1 where something else stands."""
    count, i = 0, begin
    while i < end:
        first, page, length = i, np.uint64(0), np.uint64(0)
        while i < end:
            c = np.uint64(data[i])
            digit = c - np.uint64(48)
            if digit > np.uint64(9):
                digit = (c | np.uint64(32)) - np.uint64(87)
                if digit < np.uint64(10) or digit > np.uint64(15):
                    break
            page = (page << np.uint64(4)) | digit
            i += 1
        if i == first or i - first > 13:  # 52 bits: the page numbers of 64-bit addresses
            return -1
        if i < end and data[i] == 43:
            i += 1
            first = i
            while i < end and 48 <= data[i] <= 57:
                length = length * np.uint64(10) + np.uint64(data[i] - 48)
                i += 1
            if i == first or i - first > 15 or length == 0:
                return -1
        else:
            length = np.uint64(1)
        if page + length - np.uint64(1) > np.uint64(_LAST_PAGE):
            return -1
        start[count], pages[count] = page, length
        count += 1
        if i < end:
            if data[i] != 44:
                return -1
            i += 1
    return count


@kernel
def _windows(data: U8, place: I32, counts: I64, start: U64, pages: U64) -> None:
    """The runs of all windows, ``place`` [begin or end, window], in turn; how many each has into ``counts``."""
    at = 0
    for i in range(counts.size):
        counts[i] = _runs(data, place[0, i], place[1, i], start[at:], pages[at:])
        at += max(counts[i], 0)


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 1) if is_text(head) else []
    if not lines or not lines[0].startswith("# pid ") or not lines[0].rstrip().endswith(f"columns: {_COLUMNS}"):
        return None
    return f"header line that names a process and the columns '{_COLUMNS}'"


def _batch(found: Found, process: I64, source: Input, report: Report) -> Iterator[pl.DataFrame]:
    data, begin, end = found.span("runs")
    empty = (found.which == 1) | (found["runs"] == 0)
    place = np.where(empty, np.int32(0), np.stack([begin, end]))
    most = int((place[1] - place[0]).sum()) // 2 + found.count
    start, pages = np.empty(most, np.uint64), np.empty(most, np.uint64)
    counts = np.empty(found.count, np.int64)
    _windows(data, place, counts, start, pages)
    found.refuse(report, source.name, counts < 0, "the runs are not hexadecimal page numbers with their pages")
    window = (found.which == 0) & (counts >= 0)
    report.note("windows", int(np.count_nonzero(window)))
    report.note("windows without a dirty page", int(np.count_nonzero(window & (counts == 0))))
    counts = np.maximum(counts, 0)
    rows = int(counts.sum())
    start, pages = start[:rows], pages[:rows]
    owner = np.repeat(np.arange(found.count), counts)
    so_far = np.append(np.uint64(0), np.cumsum(pages))[np.append(0, np.cumsum(counts))]
    disagree = window & (np.diff(so_far) != found["dirty"])
    report.note("windows whose runs disagree with their count", int(np.count_nonzero(disagree)))
    if rows:
        names = (lambda pid: f"{source.label}: pid {pid}") if process.any() else (lambda pid: source.label)
        yield frame(
            rows,
            time=found.signed("time")[owner],
            op=Op.DIRTY,
            space=numbered(process[owner], names, report),
            address=start * np.uint64(_PAGE),
            size=pages * np.uint64(_PAGE),
            accesses=np.minimum(pages, (1 << 32) - 1),
            raw=words(["dirty"], np.zeros(rows, np.uint32)),
        )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        pid = np.int64(0)
        with source.open() as stream:
            for found in Templates([_WINDOW, _HEADER], {"#{*}": "comments"}).read(stream, source.name, report):
                process = latest(found.signed("pid"), found.which == 1, pid)
                pid = process[-1]
                yield from _batch(found, process, source, report)


FORMAT = Format(name="soft-dirty", kind="memory", doc="soft-dirty pages by window", sniff=_sniff, read=_read)
