"""What the readers of QEMU's log have in common: its prefix, the phases that guests mark in it, names of other events.

A line is ``event arguments``, before which ``thread@seconds.microseconds:`` stands if QEMU was started with ``-msg
timestamp=on`` (or is as old as 2.9). Lines that begin with ``#`` are what a recording put between them; ``# console``
is the guest's console. Phases are marked by ``### phase NAME`` or ``### init`` on the console, or by bytes written to
port 0xE9 (``isa-debugcon``), of which those below 32 count. Source: QEMU, scripts/tracetool/backend/log.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from traces.formats._template import Found
from traces.formats.inputs import Input
from traces.formats.reader import Report
from traces.formats.text import LONGEST
from traces.table import I64, Bool

PREFIX = "{thread:u}@{time:t9}:"
ACCESS = "cpu {cpu:u32} mr {region_at:x} addr {address:x} value {value:x} size {width:u8}{?} name '{region:w}'"
BARE = ACCESS.replace("{cpu:u32}", "-1")  # by no processor of the guest
COMMENT, OTHER = "#{*}", "{event:w}{?} {*}"
DEBUG_PORT = 0xE9

_TIMED = re.compile(rb"^\d+@\d+\.\d+:[a-z]", re.MULTILINE)
_MARK = re.compile(r"### (?:phase ([\w.+-]+)|(init)\b)")
_PHASE, _NAME = b"### phase ", re.compile(rb"[\w.+-]+")


def prefix(head: bytes) -> str:
    """The template of what stands before an event: nothing where the log carries no times."""
    return PREFIX if _TIMED.search(head) else ""


def events(head: bytes, wanted: Sequence[str]) -> int:
    """How many lines of a head are one of these events."""
    names = b"|".join(re.escape(name.encode()) for name in wanted)
    return len(re.findall(rb"^(?:\d+@\d+\.\d+:)?(?:" + names + rb")(?: |\r?$)", head, re.MULTILINE))


@dataclass(frozen=True)
class Contents:
    """What must be known of a whole file before its first line is read."""

    words: frozenset[bytes]  # those asked for that are there
    console: bool
    marked: bool  # by bytes written to the debug port
    phases: tuple[str, ...]  # as the console names them, in order


def contents(source: Input, words: Sequence[bytes]) -> Contents:
    """Look for words, and for the marks of phases, through a whole file."""
    found: set[bytes] = set()
    console = marked = False
    phases: list[str] = []
    rest = b""
    with replace(source, progress=lambda count: None).open() as stream:
        while block := stream.read(1 << 20):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            whole, rest = (block[:cut], block[cut:][-LONGEST:]) if cut else (block, b"")
            found.update(word for word in words if word not in found and word in whole)
            marked = marked or b"'isa-debugcon'" in whole
            if b"#" in whole and b"# console" in whole:  # one byte is looked for at ten times the speed
                console = True
                at = whole.find(_PHASE)  # an expression that looks for it takes five times as long
                while at >= 0:
                    name = _NAME.match(whole, at + len(_PHASE))
                    if name and whole.startswith(b"# console", whole.rfind(b"\n", 0, at) + 1):
                        phases.append(name[0].decode())
                    at = whole.find(_PHASE, at + len(_PHASE))
    return Contents(frozenset(found), console, marked, tuple(phases))


class Phases:
    """The phase in force at each row of a file, as a code; ``names`` are the phases by code.

    Byte n at the debug port begins the n-th phase that the console names, where it names that many: the byte is there
    at once, the console's line somewhat later.
    """

    def __init__(self, known: Contents, report: Report) -> None:
        self.names = ["firmware" if known.console else ""]
        self._known, self._report, self._now = known, report, 0

    def _code(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def codes(self, found: Found, comments: Bool, marks: Bool) -> I64:
        """[row] -> phase; ``comments`` are lines that begin with #, ``marks`` writes to the debug port."""
        self._report.note("lines of the recording's own that begin with #", int(np.count_nonzero(comments)))
        at: dict[int, int] = {}
        for row in np.flatnonzero(comments).tolist():
            line = found.line(row)
            if not line.startswith("# console"):
                continue
            if mark := _MARK.search(line):
                if mark[2] or not self._known.marked:
                    at[row] = self._code(mark[1] or mark[2])
            elif "Linux version " in line and self.names[self._now] == "firmware":
                at[row] = self._code("linux-boot")
        values = found["value"]
        for row in np.flatnonzero(marks).tolist():
            if values[row] < 32:
                byte, names = int(values[row]), self._known.phases
                at[row] = self._code(names[byte - 1] if 0 < byte <= len(names) else str(byte))
            else:
                self._report.note("bytes of text written to the debug port")
        phase = np.full(found.count, self._now, np.int64)
        for row in sorted(at):
            phase[row:] = self._now = at[row]
        return phase


def region_of(names: Sequence[str], kinds: dict[str, int]) -> NDArray[np.int64]:
    """[code] -> which of the wanted memory regions a name is; 0 for any other."""
    return np.array([kinds.get(name, 0) for name in names] or [0], np.int64)
