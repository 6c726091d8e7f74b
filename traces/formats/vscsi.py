"""CloudPhysics' vscsi traces, versions 1 and 2, and their CSV twin.

Version 1 has records of 32 bytes, version 2 of 40: a SCSI command, its length in bytes (not sectors: the data show 512
to 69632), its first sector of 512 bytes, its time in microseconds and in version 2 its response time, whose unit is
told nowhere and is taken to be microseconds too. All little-endian. The upper byte of ``ver`` is the version. The CSV
twin has the columns ``version,time,op,size,lbn``, its time in seconds. Source: libCacheSim, its vscsi reader.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import ROWS, Format, Options, Records, Report
from traces.formats.text import is_text
from traces.table import schema_of

_V1 = np.dtype(
    {
        "names": ["sn", "len", "nsg", "cmd", "ver", "lbn", "ts"],
        "formats": ["<u4", "<u4", "<u4", "<u2", "<u2", "<u8", "<u8"],
    }
)
_V2 = np.dtype(
    {
        "names": ["cmd", "ver", "sn", "len", "nsg", "lbn", "ts", "rt"],
        "formats": ["<u2", "<u2", "<u4", "<u4", "<u4", "<u8", "<u8", "<u8"],
    }
)
_LAYOUTS = {2: _V2, 1: _V1}  # in the order in which they are tried, as libCacheSim does

# SCSI operation codes (SBC-4): READ and WRITE (6), (10), (12), (16); SYNCHRONIZE CACHE; UNMAP; WRITE SAME
_OPS = {
    **dict.fromkeys((0x08, 0x28, 0xA8, 0x88), Op.READ),
    **dict.fromkeys((0x0A, 0x2A, 0xAA, 0x8A), Op.WRITE),
    **dict.fromkeys((0x35, 0x91), Op.FLUSH),
    **dict.fromkeys((0x41, 0x93), Op.WRITE_ZEROES),
    0x42: Op.DISCARD,
}
_OP = np.full(1 << 16, Op.UNKNOWN, np.uint8)
_OP[list(_OPS)] = list(_OPS.values())

_LAST_LBN = (1 << 54) - 1
_LAST_US = ((1 << 62) - 1) // 1000


def _version(head: bytes) -> int | None:
    """The version whose layout the first two records and nearly all others of the head have."""
    for version, layout in _LAYOUTS.items():
        count = len(head) // layout.itemsize
        rows = np.frombuffer(head[: count * layout.itemsize], layout)
        fits = (rows["ver"] >> 8 == version) & (rows["lbn"] <= _LAST_LBN) & (rows["ts"] <= _LAST_US)
        if count and fits[:2].all() and 10 * np.count_nonzero(fits) >= 9 * count:
            return version
    return None


def _sniff(name: str, head: bytes) -> str | None:
    version = _version(head)
    if version is None or len(head) < 2 * _LAYOUTS[version].itemsize:
        return None
    return f"records of {_LAYOUTS[version].itemsize} bytes that say they are of version {version}"


def _records(rows: NDArray[Any], volume: int, latency: NDArray[np.int64]) -> pl.DataFrame:
    count = rows.size
    codes, place = np.unique(rows["cmd"], return_inverse=True)
    columns = {
        "time": rows["ts"].astype(np.int64) * 1000,
        "op": _OP[rows["cmd"]],
        "volume": np.full(count, volume, np.uint32),
        "offset": rows["lbn"] << np.uint64(9),
        "length": rows["len"].astype(np.uint64),
        "latency": latency,
        "stream": np.zeros(count, np.uint32),
        "flags": np.zeros(count, np.uint16),
        "raw": pl.Series([f"{code:02x}" for code in codes.tolist()], dtype=pl.Categorical).gather(place),
    }
    return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})


def _latency(rows: NDArray[Any], report: Report) -> NDArray[np.int64]:
    if rows.dtype == _V1:
        return np.full(rows.size, -1)
    known = rows["rt"] <= _LAST_US
    report.note("response times past the largest that can be: not known", int(np.count_nonzero(~known)))
    report.note("response times taken to be microseconds", int(np.count_nonzero(known)))
    return np.where(known, rows["rt"].astype(np.int64) * 1000, -1)


def _read_one(source: Input, report: Report) -> Iterator[pl.DataFrame]:
    version = _version(source.head())
    if version is None:
        raise TraceError(
            f"{source.name}: neither version 1 (32 bytes) nor version 2 (40 bytes) of vscsi: the version bytes of the "
            "first records fit none; if it is text, its format may be vscsi-csv"
        )
    layout = _LAYOUTS[version]
    offset, rest = 0, b""
    with source.open() as stream:
        while block := stream.read(ROWS * layout.itemsize - len(rest)):
            data = rest + block
            count = len(data) // layout.itemsize
            rows, rest = np.frombuffer(data, layout, count), data[count * layout.itemsize :]
            strange = rows["ver"] >> 8 != version
            far = (rows["lbn"] > _LAST_LBN) | (rows["ts"] > _LAST_US)
            for row in np.flatnonzero(strange | far).tolist():
                what = (
                    f"not a record of version {version}" if strange[row] else "sector or time past the largest there is"
                )
                report.refuse(source.name, offset + row * layout.itemsize, what, rows[row : row + 1].tobytes())
            if (strange | far).any():
                rows = rows[~(strange | far)]
            if rows.size:
                unknown = int(np.count_nonzero(_OP[rows["cmd"]] == Op.UNKNOWN))
                report.note("commands that neither read, write, flush nor unmap", unknown)
                extents = int(np.count_nonzero(rows["cmd"] == 0x42))
                report.note("UNMAP commands, whose extents are not recorded", extents)
                volume = report.volume(source.label)
                yield _records(rows, volume, _latency(rows, report))
            offset += count * layout.itemsize
    if rest:
        reason = f"cut short: {len(rest)} of a record's {layout.itemsize} bytes"
        report.refuse(source.name, offset, reason, rest)


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        yield from _read_one(source, report)


_HEADER = "version,time,op,size,lbn"
LAYOUT = Layout(
    separator=",",
    time=Clock(1, scale=9),
    op=2,
    ops={f"{code:x}": op for code, op in _OPS.items()} | {f"{code:02x}": op for code, op in _OPS.items()},
    length=Amount(3),
    offset=Amount(4, unit=512),
    fewest=5,
    most=5,
)


def _sniff_csv(name: str, head: bytes) -> str | None:
    if not is_text(head) or head.split(b"\n", 1)[0].strip().decode("utf-8", "replace") != _HEADER:
        return None
    return f"header line '{_HEADER}'"


FORMAT = Format(name="vscsi", kind="block", doc="CloudPhysics vscsi, versions 1 and 2", sniff=_sniff, read=_read)
CSV = Format(name="vscsi-csv", kind="block", doc="CSV twin of vscsi", sniff=_sniff_csv, read=reader_of(LAYOUT))
