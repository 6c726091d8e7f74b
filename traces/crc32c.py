"""CRC-32C, the checksum of messages: the Castagnoli polynomial, reflected 0x82F63B78, all ones before and after.

Eight bytes a step from eight tables (Kounavis, Berry: Novel table lookup-based algorithms for high-performance CRC
generation, IEEE Transactions on Computers 57(11), 2008). Test vectors: RFC 3720, appendix B.4.
"""

from typing import Any

import numpy as np

from traces.kernel import inline_kernel, kernel
from traces.table import U8, U64

_POLYNOMIAL = np.uint32(0x82F63B78)
_BEFORE, _BYTE = np.uint64(0xFFFFFFFF), np.uint64(255)


def _tables() -> U64:
    """[k, byte] -> what the byte adds to a checksum that k more bytes, all zero, follow."""
    tables = np.zeros((8, 256), np.uint32)
    tables[0] = np.arange(256)
    for _ in range(8):
        tables[0] = (tables[0] >> np.uint32(1)) ^ (_POLYNOMIAL * (tables[0] & np.uint32(1)))
    for k in range(1, 8):
        tables[k] = (tables[k - 1] >> np.uint32(8)) ^ tables[0][tables[k - 1] & np.uint32(255)]
    return tables.astype(np.uint64)


_TABLES = _tables()


@inline_kernel
def _step(crc: np.uint64, byte: np.uint64) -> np.uint64:
    return np.uint64((crc >> np.uint64(8)) ^ _TABLES[0, (crc ^ byte) & _BYTE])


@kernel
def crc32c(data: U8, begin: int, end: int) -> Any:
    """The checksum (uint32) of ``data[begin:end]``.

    Eight bytes are put together to a word before the tables are asked: twice as fast as a lookup a byte read.
    """
    crc, i, last = _BEFORE, np.uint64(begin), np.uint64(end)
    while i + np.uint64(8) <= last:  # unsigned: an index that might count from the end is asked each time
        w = crc ^ (
            np.uint64(data[i])
            | (np.uint64(data[i + np.uint64(1)]) << np.uint64(8))
            | (np.uint64(data[i + np.uint64(2)]) << np.uint64(16))
            | (np.uint64(data[i + np.uint64(3)]) << np.uint64(24))
            | (np.uint64(data[i + np.uint64(4)]) << np.uint64(32))
            | (np.uint64(data[i + np.uint64(5)]) << np.uint64(40))
            | (np.uint64(data[i + np.uint64(6)]) << np.uint64(48))
            | (np.uint64(data[i + np.uint64(7)]) << np.uint64(56))
        )
        crc = (
            _TABLES[7, w & _BYTE]
            ^ _TABLES[6, (w >> np.uint64(8)) & _BYTE]
            ^ _TABLES[5, (w >> np.uint64(16)) & _BYTE]
            ^ _TABLES[4, (w >> np.uint64(24)) & _BYTE]
            ^ _TABLES[3, (w >> np.uint64(32)) & _BYTE]
            ^ _TABLES[2, (w >> np.uint64(40)) & _BYTE]
            ^ _TABLES[1, (w >> np.uint64(48)) & _BYTE]
            ^ _TABLES[0, w >> np.uint64(56)]
        )
        i += np.uint64(8)
    while i < last:
        crc = _step(crc, np.uint64(data[i]))
        i += np.uint64(1)
    return np.uint32(crc ^ _BEFORE)


@kernel
def after_zeros(out: U64) -> None:
    """[k] -> the checksum in the making, not yet finished, after ``k`` bytes that are zero."""
    crc = _BEFORE
    for k in range(out.size):
        out[k] = crc
        crc = _step(crc, np.uint64(0))


@kernel
def finished(crc: np.uint64, word: np.uint64, count: np.uint64) -> Any:
    """A checksum (uint32) in the making, with the lowest ``count`` bytes of a word, the lowest first, and finished."""
    for k in range(count):
        crc = _step(crc, (word >> np.uint64(8 * k)) & _BYTE)
    return np.uint32(crc ^ _BEFORE)
