"""Recorded formats, one a file."""

from traces.formats import blkparse, blktrace, delimited, fio_iolog, msr, vscsi
from traces.formats.reader import Format

_LIST: tuple[Format, ...] = (
    blktrace.FORMAT,
    blkparse.FORMAT,
    fio_iolog.FORMAT,
    vscsi.FORMAT,
    vscsi.CSV,
    msr.FORMAT,
    delimited.FORMAT,
)

FORMATS = {each.name: each for each in _LIST}
