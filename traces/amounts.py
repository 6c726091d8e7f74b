"""Sizes and durations as users write them: whole numbers with a unit."""

import re
from collections.abc import Mapping
from typing import Any

_SIZES = {"": 1, "b": 1} | {
    unit: factor
    for power, letter in enumerate("kmgtp", start=1)
    for unit, factor in ((f"{letter}ib", 1024**power), (f"{letter}b", 1000**power), (letter, 1024**power))
}
_TIMES = {
    "": 1,
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}


def _scaled(value: Any, units: Mapping[str, int], example: str) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)(?:\.(\d+))?\s*([A-Za-z]*)\s*", value)
    if not match or match[3].lower() not in units:
        raise ValueError(f"'{value}' is no amount; write it like {example}")
    whole, decimals, unit = match[1], match[2] or "", units[match[3].lower()]
    scaled = int(whole + decimals) * unit
    if scaled % 10 ** len(decimals):
        raise ValueError(f"'{value}' is not a whole number of units")
    return scaled // 10 ** len(decimals)


def size(value: Any) -> Any:
    """``"1GiB"`` or ``4096`` as bytes (KB is 1,000, KiB and K are 1,024)."""
    return _scaled(value, _SIZES, "4096, 64KiB or 1GB")


def duration(value: Any) -> Any:
    """``"10s"``, ``"5min"``, ``"500us"`` or a bare number of nanoseconds as nanoseconds."""
    return _scaled(value, _TIMES, "500us, 10s or 5min")
