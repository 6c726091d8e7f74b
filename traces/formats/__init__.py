"""Recorded formats, one a file."""

from traces.formats.reader import Format

_LIST: tuple[Format, ...] = ()

FORMATS = {format.name: format for format in _LIST}
