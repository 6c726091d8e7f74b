"""Recorded formats, one a file."""

from traces.formats.reader import Format

_LIST: tuple[Format, ...] = ()

FORMATS = {each.name: each for each in _LIST}
