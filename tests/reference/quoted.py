"""Comma-separated values with quotes (RFC 4180), a character at a time: what the columns of each record are."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

COLUMN, MORE = "column", "more"


class Record(NamedTuple):
    """One record: its values, or what is wrong, where it begins and ends."""

    begin: int
    end: int
    values: list[int | bytes]
    wrong: str | int | None  # MORE, or the number of the first column that is wrong


def records(data: bytes, columns: Mapping[str, tuple[int, int] | None], unknown: Mapping[str, int]) -> Iterator[Record]:
    """The records of lines; a column is a number between two bounds, or text where it has none."""
    begin = 0
    while begin < len(data):
        line = data.index(b"\n", begin)
        if data[begin : line + 1] in (b"\n", b"\r\n"):
            begin = line + 1
            continue
        fields, end = _fields(data, begin)
        values: list[int | bytes] = []
        wrong: str | int | None = None
        for number, (name, bounds) in enumerate(columns.items()):
            value = _value(fields[number], bounds, unknown.get(name)) if number < len(fields) else None
            if value is None:
                wrong = number
                break
            values.append(value)
        else:
            wrong = MORE if len(fields) > len(columns) else None
        yield Record(begin, end, values, wrong)
        begin = end + 1


def _fields(data: bytes, begin: int) -> tuple[list[tuple[bytes, bool] | None], int]:
    """A record's fields, each with whether it was quoted, and its newline; None and no more where quotes are wrong."""
    fields: list[tuple[bytes, bool] | None] = []
    i = begin
    while True:
        if data[i : i + 1] == b'"':
            text, i = b"", i + 1
            while data[i : i + 1] != b'"' or data[i : i + 2] == b'""':
                if i >= len(data):
                    return [*fields, None], data.index(b"\n", begin)
                text += data[i : i + 1]
                i += 2 if data[i : i + 2] == b'""' else 1
            i += 1
            if data[i : i + 1] not in (b",", b"\n") and data[i : i + 2] != b"\r\n":
                return [*fields, None], data.index(b"\n", begin)
            fields.append((text, True))
            i += data[i : i + 1] == b"\r"
        else:
            end = min(at for at in (data.find(b",", i), data.index(b"\n", i)) if at >= 0)
            text = data[i:end]
            if data[end : end + 1] == b"\n" and text.endswith(b"\r"):
                text = text[:-1]
            fields.append((text, False))
            i = end
        if data[i : i + 1] == b"\n":
            return fields, i
        i += 1


def _value(field: tuple[bytes, bool] | None, bounds: tuple[int, int] | None, unknown: int | None) -> int | bytes | None:
    if field is None:
        return None
    text, quoted = field
    if bounds is None:
        return text if quoted or text else None
    if not text:
        return unknown
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if not digits or any(byte not in b"0123456789" for byte in digits):
        return None
    return int(text) if bounds[0] <= int(text) <= bounds[1] else None
