"""Any delimited text, through a layout that the user declares.

``--columns "time=1:us,op=3,offset=4:sector,length=5,volume=0"``: columns are counted from 0, or named where the file
has a header line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from traces.amounts import size
from traces.block import Op
from traces.errors import TraceError, nearest
from traces.formats.inputs import Input
from traces.formats.layout import FILETIME_EPOCH, OPS, Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines

_UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_EXAMPLE = 'like "time=1:us,op=3,offset=4:sector,length=5:B,volume=0"'
_KEYS = ("time", "op", "offset", "length", "volume", "latency", "stream", "sep")


def parse_columns(text: str, head: bytes) -> Layout:
    """The layout that ``--columns`` declares; TraceError says what is wrong with it.

    ``time`` and ``latency`` take a unit (s, ms, us, ns, filetime) and ``@unix`` where the epoch is 1970; ``offset`` and
    ``length`` take B, sector (512), hex or any size (4KiB), joined by ``*``; ``op`` takes words as ``0=R/1=W`` or is
    itself ``read`` or ``write``; ``volume`` joins columns by ``+``; ``sep`` is a character, ``tab`` or ``blank``.
    """
    lines = first_lines(head)
    if not lines:
        raise TraceError("the file has no line to map columns on")
    given: dict[str, str] = {}
    for part in re.split(r",(?=\s*\w+=)", text):
        key, _, value = part.strip().partition("=")
        if key not in _KEYS:
            raise TraceError(f"--columns: unknown key '{key}'{nearest(key, _KEYS)}; write it {_EXAMPLE}")
        if not value or key in given:
            raise TraceError(f"--columns: '{key}' is {'empty' if not value else 'given twice'}; write it {_EXAMPLE}")
        given[key] = value
    for key in ("offset", "length", "op"):
        if key not in given:
            raise TraceError(f"--columns: '{key}' is missing; write it {_EXAMPLE}")
    separator = _separator(given.pop("sep", ""), lines)
    header = [word.strip(' "\t\r') for word in lines[0].split(separator)]

    def column(key: str, word: str) -> int:
        if word.isdigit():
            return int(word)
        if word in header:
            return header.index(word)
        raise TraceError(f"--columns: {key}={word}: no such column{nearest(word, header)}")

    def clock(key: str) -> Clock | None:
        if key not in given:
            return None
        place, _, unit = given[key].partition(":")
        unit, _, kind = (unit or "ns").partition("@")
        if kind not in ("", "unix"):
            raise TraceError(f"--columns: {key}: '@{kind}' is no epoch; only @unix, or nothing")
        where = column(key, place)
        if unit == "filetime":
            return Clock(where, tick=100, epoch=FILETIME_EPOCH if key == "time" else 0, kind="unix")
        if unit not in _UNITS:
            raise TraceError(
                f"--columns: {key}: unknown unit '{unit}'{nearest(unit, [*_UNITS, 'filetime'])}; @unix may follow"
            )
        return Clock(where, scale=_UNITS[unit], kind=kind or "relative")

    def amount(key: str) -> Amount:
        place, _, unit = given[key].partition(":")
        factor, hexadecimal = 1, False
        for word in (unit or "B").split("*"):
            if word == "hex":
                hexadecimal = True
            else:
                try:
                    factor *= 512 if word == "sector" else size(word if word[:1].isdigit() else f"1{word}")
                except ValueError:
                    raise TraceError(f"--columns: {key}: '{word}' is no unit; use B, sector, hex or a size") from None
        return Amount(column(key, place), factor, hexadecimal)

    place, _, words = given["op"].partition(":")
    ops: Mapping[str, Op] = OPS
    if words:
        pairs = [pair.partition("=") for pair in words.split("/")]
        if bad := [word for _, _, word in pairs if word.lower() not in OPS]:
            raise TraceError(f"--columns: op: '{bad[0]}' is no operation; write words like 0=R/1=W")
        ops = {word.lower(): OPS[meaning.lower()] for word, _, meaning in pairs}
    fixed = OPS.get(place.lower()) if place not in header and not place.isdigit() else None
    return Layout(
        separator=separator,
        time=clock("time"),
        offset=amount("offset"),
        length=amount("length"),
        op=fixed if fixed is not None else column("op", place),
        ops=ops,
        latency=clock("latency"),
        volume=tuple(column("volume", word) for word in given.get("volume", "").split("+") if word),
        stream=column("stream", given["stream"]) if "stream" in given else None,
    )


def _separator(given: str, lines: Sequence[str]) -> str | None:
    if given:
        named = {"tab": "\t", "blank": None, "comma": ",", "semicolon": ";"}
        if given in named:
            return named[given]
        if len(given) == 1:
            return given
        raise TraceError(f"--columns: sep={given}: one character, or tab, blank, comma, semicolon")
    for separator in (",", "\t", ";", "|"):
        if all(separator in line for line in lines):
            return separator
    return None


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    if not options.columns:
        raise TraceError(f"delimited text needs --columns, {_EXAMPLE}")
    for source in sources:
        yield from read_layout(source, parse_columns(options.columns, source.head()), report)


FORMAT = Format(
    name="delimited",
    kind="block",
    doc="any delimited text through --columns",
    sniff=lambda name, head: None,  # its columns must be declared
    read=_read,
    declares=frozenset({"columns"}),
)
