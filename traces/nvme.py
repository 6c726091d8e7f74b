"""How NVMe commands of a trace ended, by the word of their source.

Readers of NVMe recordings keep an operation's name in ``raw``, behind it the status if it failed (``WRITE 0x41bc``) or
``?`` if it is not told. Other sources tell no status.
"""

import re

import polars as pl

from traces.formats._nvme import NAMES
from traces.table import U16

NOT_TOLD = 0xFFFF
_MASK = 0x7FF  # status code type and status code: the rest of the field says what the host may do
_WORD = re.compile(
    r"(?:NVME_(?:NVM|ZONED)_CMD_)?(?P<name>[A-Z_]+?)(?:_ALL)?"
    r"(?: (?:action 0x[0-9a-f]+|ZONE_[A-Z_]+|without ranges))?(?: unaligned)?(?: (?P<status>0x[0-9a-f]+|\?))?",
    re.IGNORECASE,
)


def _status(word: str | None) -> int:
    found = _WORD.fullmatch(word or "")
    if not found or found["name"].upper() not in NAMES or found["status"] == "?":
        return NOT_TOLD
    return int(found["status"] or "0", 16) & _MASK


def recorded_status(batch: pl.DataFrame) -> U16:
    """[row] of a block trace -> status code type << 8 | status code, 0 success; `NOT_TOLD` where nothing tells it."""
    words = batch["raw"].cast(pl.Categorical)
    told = words.unique()
    statuses = pl.Series([_status(word) for word in told], dtype=pl.UInt16)
    return words.replace_strict(told, statuses, return_dtype=pl.UInt16).to_numpy()
