"""Delimited text told in Python's own integers: slow, and plainly right."""

from decimal import ROUND_DOWN, Decimal, InvalidOperation

LARGEST = 2**63 - 1


def integer(text: str) -> int | None:
    """A decimal integer of 63 bits, or None."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or any(c not in "0123456789" for c in digits) or abs(int(text)) > LARGEST:
        return None
    return int(text)


def decimal(text: str, scale: int) -> int | None:
    """``text * 10**scale`` cut to an integer, or None."""
    if any(c not in "0123456789+-.eE" for c in text):
        return None
    try:
        value = (Decimal(text) * 10**scale).to_integral_value(ROUND_DOWN)
    except InvalidOperation:
        return None
    return int(value) if abs(value) <= LARGEST else None


def fields(line: str, separator: str | None) -> list[str]:
    """A line's fields; None separates at runs of blanks."""
    if separator is None:
        return line.split()
    return [word.strip(" \t\r") for word in line.split(separator)]
