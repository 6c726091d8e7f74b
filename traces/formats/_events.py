"""Lines of event logs: what stands before an event, and the events that a reader makes nothing of.

The kernel's tracers print ``comm-pid [cpu] flags seconds: event: arguments`` (ftrace), the same without flags
(trace-cmd), or ``comm pid [cpu] seconds: group:event: arguments`` (perf script). Source: linux,
kernel/trace/trace_output.c (trace_print_context); perf-script(1).
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from traces.formats._template import Found
from traces.formats.reader import Report
from traces.table import Bool

COMMENT = "#{*}"
LOST = "CPU:{cpu:u32} [LOST {lost:u} EVENTS]"
OTHER = "{event:w}{*}"

_EVENT = re.compile(r"[a-z][a-z0-9]*([_:][a-zA-Z0-9]+)*")
_NAMES = 200  # distinct names that are noted one by one
_TGID = re.compile(rb"\( *[\d-]+\) +\[\d+\]")
_BUFFER = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")


def prefix(head: bytes) -> str:
    """The template of what the kernel's tracers print before an event."""
    process = "{*}{pid:u32} ({*}) [" if _TGID.search(head) else "{*}{pid:u32} ["
    return process + "{cpu:u32}]{*} {time:t9}: "


def group(head: bytes, names: Sequence[str]) -> list[str]:
    """The events' names as this file has them: with their group before them where perf script printed it."""
    return [name if f": {name}:".encode() in head else name.split(":", 1)[1] for name in names]


def comments(found: Found, rows: Bool, report: Report) -> None:
    """Count lines that begin with #; one says how many events were lost."""
    report.note("lines that begin with #", int(np.count_nonzero(rows)))
    for row in np.flatnonzero(rows).tolist():
        if entries := _BUFFER.match(found.line(row)):
            report.note("events lost, as the trace says", int(entries[2]) - int(entries[1]))


class Others:
    """Counts the events of a log that a reader makes nothing of, by name; a ``known`` one that came here is damaged."""

    def __init__(self, report: Report, file: str, what: str, known: Iterable[str] = ()) -> None:
        self._report, self._file, self._what, self._known = report, file, what, frozenset(known)
        self._named: set[str] = set()

    def note(self, found: Found, others: Bool) -> None:
        """Note rows of other events, refuse what is no event at all."""
        if not others.any():
            return
        codes, words = found.words("event")
        counts = np.bincount(codes[others], minlength=len(words))
        strange = np.zeros(len(words), np.bool_)
        for code in np.flatnonzero(counts).tolist():
            word = words[code].rstrip(":")
            if word in self._known or not _EVENT.fullmatch(word):
                strange[code] = True
                continue
            if len(self._named) < _NAMES:
                self._named.add(word)
            name = word if word in self._named else "other names"
            self._report.note(f"events of {name}", int(counts[code]))
        if strange.any():
            found.refuse(self._report, self._file, others & strange[codes], f"no event of {self._what}, or not whole")
