"""libCacheSim's oracleGeneral: what a cache is asked for, with when it will be asked again.

Records of 24 bytes, little-endian, packed: u32 seconds, u64 object, u32 size, i64 next access, the number of the
object's next record, -1 or 2**63 - 1 where there is none. Measured on libCacheSim's own sample: the object of a block
trace is its sector, records are counted from 1, and the size is the object's at its first request, whatever is asked
for later. Operations and devices are lost: all is `Op.UNKNOWN`, a file is a volume. A record of nothing but zeros,
whose next access would be none that can follow it, is refused as a hole in the file.

oracleGeneralOpNS has 27 bytes: before the next access a u8 operation, one of libCacheSim's ``req_op_e``, and a u16
namespace, kept as ``stream``; it was checked against the documented layout only, not a recording. Source: libCacheSim,
oracleGeneralBin.h, enum.h; cache_dataset, README.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.block import Op
from traces.formats._rows import holes
from traces.formats.inputs import Input
from traces.formats.reader import ROWS, Format, Records, Report
from traces.table import I64, U8, U32, U64, Bool, schema_of

_RECORD = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
_WITH_OPS = np.dtype(
    [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op", "u1"), ("namespace", "<u2"), ("next", "<i8")]
)
_NEVER = (-1, (1 << 63) - 1)
_LINKS = 2  # next accesses that must be right for the format to be recognised
_LAST_SECTOR = (1 << 54) - 1

_WORDS = (  # req_op_e, from 0
    *("nop", "get", "gets", "set", "add", "cas", "replace", "append", "prepend", "delete", "incr", "decr"),
    *("read", "write", "update"),
)
_OPS = (
    dict.fromkeys(("get", "gets", "read"), Op.READ)
    | dict.fromkeys(("set", "add", "cas", "replace", "append", "prepend", "write", "update"), Op.WRITE)
    | {"delete": Op.DISCARD}
)
_MEANING = np.full(256, Op.UNKNOWN, np.uint8)
_MEANING[: len(_WORDS)] = [_OPS.get(word, Op.UNKNOWN) for word in _WORDS]
_RAW = [*_WORDS, *(str(code) for code in range(len(_WORDS), 256))]


def _links(rows: NDArray[Any], base: int) -> int:
    """How many next accesses name the object's next record in these rows, counted from ``base``; -1 if one is wrong."""
    index = np.arange(rows.size)
    named = ~np.isin(rows["next"], _NEVER)
    if (rows["next"][named] <= index[named] + base).any():
        return -1
    inside = np.flatnonzero(named & (rows["next"] - base < rows.size))
    order = np.lexsort((index, rows["id"]))  # records of an object stand together, in time order
    following = np.full(rows.size, -1)
    again = rows["id"][order[1:]] == rows["id"][order[:-1]]
    following[order[:-1][again]] = order[1:][again]
    right = following[inside] == rows["next"][inside] - base
    unnamed = (following >= 0) & ~named
    return int(right.sum()) if right.all() and not unnamed.any() else -1


def _recognised(head: bytes, record: np.dtype[np.void]) -> str | None:
    rows = np.frombuffer(head, record, len(head) // record.itemsize)
    if rows.size < _LINKS or (rows["time"][1:] < rows["time"][:-1]).any():
        return None
    links = max(_links(rows, base) for base in (1, 0))
    if links < _LINKS:
        return None
    return f"records of {record.itemsize} bytes in time order of which {links} name the object's next record rightly"


def operations(code: U8) -> tuple[U8, pl.Series]:
    """[record] -> operation and the source's word, of a ``req_op_e``."""
    raw = pl.Series(_RAW, dtype=pl.Categorical).gather(pl.Series(code.astype(np.uint32)))
    return _MEANING[code], raw


def objects(rows: NDArray[Any], op: U8, raw: pl.Series, stream: U32, volume: int) -> pl.DataFrame:
    """Records of objects that are sectors; ``rows`` has the fields time (seconds), id and size (bytes)."""
    columns = {
        "time": rows["time"].astype(np.int64) * 1_000_000_000,
        "op": op,
        "volume": np.full(rows.size, volume, np.uint32),
        "offset": rows["id"].astype(np.uint64) << np.uint64(9),
        "length": rows["size"].astype(np.uint64),
        "latency": np.full(rows.size, -1),
        "stream": stream,
        "flags": np.zeros(rows.size, np.uint16),
        "raw": raw,
    }
    return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})


def note_objects(report: Report, count: int) -> None:
    """Say what holds of every record of these formats."""
    report.note("object ids taken to be sectors of 512 bytes", count)
    report.note("sizes are those of the object's first request", count)


def blocks(source: Input, record: int, skip: int, report: Report) -> Iterator[tuple[int, bytes]]:
    """Whole records of a file past its header, with the byte at which they begin; refuses what is cut short."""
    offset, rest = skip, b""
    with source.open() as stream:
        left = skip
        while left and (head := stream.read(left)):
            left -= len(head)
        while block := stream.read(ROWS * record - len(rest)):
            data = rest + block
            whole = len(data) // record * record
            rest = data[whole:]
            if whole:
                yield offset, data[:whole]
            offset += whole
    if rest:
        report.refuse(source.name, offset, f"cut short: {len(rest)} of a record's {record} bytes", rest)


def not_sectors(source: Input, rows: NDArray[Any], offset: int, report: Report) -> Bool:
    """[record] -> whether its object can be a sector; refuses those that cannot, and holes of zeros."""
    hole = holes(rows, source.name, offset, report)
    ids: U64 = rows["id"].astype(np.uint64)
    size: I64 = rows["size"].astype(np.int64)
    far = ids > _LAST_SECTOR
    end = (np.where(far, 0, ids) << np.uint64(9)).view(np.int64) + size  # wraps where it is too far
    bad: Bool = far | (size < 0) | (end < 0)
    for row in np.flatnonzero(bad).tolist():
        what = "the object is no sector of 512 bytes" if far[row] else "the request ends past 2**63 bytes"
        report.refuse(source.name, offset + row * rows.itemsize, what, rows[row : row + 1].tobytes())
    return ~(bad | hole)


def _read_records(record: np.dtype[np.void], sources: Sequence[Input], report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        for offset, data in blocks(source, record.itemsize, 0, report):
            rows = np.frombuffer(data, record)
            index = np.arange(rows.size) + offset // record.itemsize
            good = not_sectors(source, rows, offset, report)
            past = good & ~np.isin(rows["next"], _NEVER) & (rows["next"] <= index)
            report.note("next accesses that lie in the past", int(np.count_nonzero(past)))
            rows = rows[good]
            if not rows.size:
                continue
            note_objects(report, rows.size)
            if record is _WITH_OPS:
                op, raw = operations(rows["op"])
                stream = rows["namespace"].astype(np.uint32)
            else:
                op, stream = np.full(rows.size, Op.UNKNOWN, np.uint8), np.zeros(rows.size, np.uint32)
                raw = pl.repeat("", rows.size, dtype=pl.Categorical, eager=True)
            yield objects(rows, op, raw, stream, report.volume(source.label))


FORMAT = Format(
    name="oracle",
    kind="block",
    doc="libCacheSim oracleGeneral",
    sniff=lambda name, head: _recognised(head, _RECORD),
    read=lambda sources, options, report: _read_records(_RECORD, sources, report),
)
WITH_OPS = Format(
    name="oracle-opns",
    kind="block",
    doc="libCacheSim oracleGeneralOpNS",
    sniff=lambda name, head: _recognised(head, _WITH_OPS),
    read=lambda sources, options, report: _read_records(_WITH_OPS, sources, report),
)
