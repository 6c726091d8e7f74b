"""Shapes that several formats share: which ones a file could be of, with the command for each.

Five columns of numbers are a request in MQSim, DiskSim, SSDSim and the LinnOS replayer, with different units and with
codes that mean different things; so are comma-separated ones in both copies of Tencent's traces, and the replayer's log
looks like fio's. No content tells them apart for sure: whoever has the file knows, and declares it.
"""

import re
import shlex
from typing import NamedTuple

from traces.formats.text import first_lines, is_text


class _Shape(NamedTuple):
    """A format whose lines could be mistaken for another's."""

    format: str
    line: re.Pattern[str]
    what: str


_INTEGERS = re.compile(r"\s*\d+(\s+\d+){3}\s+[01]\s*")
_DECIMALS = re.compile(r"\s*\d+(\.\d*)?(\s+\d+){3}\s+[01]\s*")
_FLAGS = re.compile(r"\s*\d+(\.\d*)?(\s+\d+){3}\s+(0x)?[0-9a-fA-F]+(\s+.*)?")
_CODED = re.compile(r"\d+,\d+,\d+,[01],\w+\s*")
_LOGGED = re.compile(r"\d+(\.\d+)?,\d+,[01],\d+,\d+(,\d+(\.\d+)?,-?\d+)?\s*")
_BUBBLES = re.compile(r"\d+ +\d+( +\d+)?\s*|0x[0-9a-fA-F]+ +[RW]\s*")
_LABELLED = re.compile(r"\s*[0-4] +(0x)?[0-9a-fA-F]+\s*")
_BARE = re.compile(r"[RW] +(\d+|0x[0-9a-fA-F]+)\s*")
_TAUGHT = re.compile(r"[lsrw] +(0x)?[0-9a-fA-F]+( +\d+)?\s*", re.IGNORECASE)
_FIO = re.compile(r"\d+, ?\d+, ?[0-3], ?\d+(, ?(0x)?[0-9a-f]+){0,3}\s*")

_SHAPES = (
    _Shape("mqsim", _INTEGERS, "nanoseconds, device, sector, sectors, 0 write 1 read"),
    _Shape("ssdsim", _INTEGERS, "nanoseconds, device, sector, sectors, 0 write 1 read"),
    _Shape("disksim", _FLAGS, "milliseconds, device, sector, sectors, hexadecimal flags of which bit 0 is a read"),
    _Shape("replayer", _DECIMALS, "milliseconds, device, offset and size in bytes, 0 write 1 read"),
    _Shape("tencent", _CODED, "seconds, offset and size in sectors, 0 read 1 write, volume"),
    _Shape("tencent-bytes", _CODED, "seconds, offset in bytes, size in sectors, 0 read 1 write, volume"),
    _Shape("replayer-log", _LOGGED, "milliseconds, latency in us, 0 write 1 read, size, offset in bytes"),
    _Shape("ramulator", _BUBBLES, "instructions between, address loaded, address written back; or address and R or W"),
    _Shape("din", _LABELLED, "0 read 1 write 2 fetch, hexadecimal address"),
    _Shape("pinatrace", _BARE, "R or W, decimal address"),
    _Shape("ucsd", _TAUGHT, "r, l, w or s, hexadecimal address, instructions between"),
    _Shape("fio-log", _FIO, "milliseconds, value, 0 read 1 write 2 trim, size, offset in bytes"),
)


def candidates(name: str, head: bytes) -> str:
    """The formats that a file's first lines fit, a line each with its command; empty where there is none."""
    lines = first_lines(head, 20) if is_text(head) else []
    fits = [each for each in _SHAPES if lines and all(each.line.fullmatch(line) for line in lines)]
    if not fits:
        return ""
    file = shlex.quote(name)
    shown = "".join(f"\n  strata ingest {file} --format {each.format}  # {each.what}" for each in fits)
    return f"\nIts lines would fit these, which differ in units and meaning and hence are never guessed:{shown}"
