"""libCacheSim's lcs traces: oracleGeneral's records behind a header that describes them.

Two headers circulate. The older has 1024 bytes: magic number 0x123456789abcdef0, a format in the manner of Python's
``struct`` (at most 239 fields after ``<``), which of the fields (counted from 1, 0: none) are the object, its size, the
time, the last and next access, the operation, lifetime and tenant, then statistics, the number of fields, the record's
size, a version and the magic number again. The newer has 8192 bytes: magic number, version, statistics, magic number;
the version says what a record is. Seconds, sectors and sizes as in `oracle`; operations are libCacheSim's ``req_op_e``.
Checked against the documented layouts only, not a recording. Source: libCacheSim, generalReader/lcs.h and
customizedReader/lcs.h, enum.h.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.oracle import blocks, not_sectors, note_objects, objects, operations
from traces.formats.reader import Format, Options, Report

_MAGIC = struct.pack("<Q", 0x123456789ABCDEF0)
_OLD, _NEW = 1024, 8192  # bytes of the headers

# struct's letters as numpy's types; what no field of a trace can be is missing
_TYPES = {"c": "i1", "b": "i1", "B": "u1", "h": "<i2", "H": "<u2", "i": "<i4", "I": "<u4", "q": "<i8", "Q": "<u8"}
_FLOATS = {"f": "<f4", "d": "<f8"}
_FIELDS = ("id", "size", "time", "last", "next", "op", "ttl", "tenant", "content")  # in the header's order

_V1 = [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")]
_V2 = [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("op_tenant", "<u4"), ("next", "<i8")]
_V3 = [("time", "<u4"), ("id", "<u8"), ("size", "<i8"), ("op_tenant", "<u4"), ("ttl", "<u4"), ("next", "<i8")]
_FEATURES = {4: 1, 5: 2, 6: 4, 7: 8, 8: 16}  # version -> numbers after a record of version 3
_VERSIONS = {version: np.dtype(fields) for version, fields in ((1, _V1), (2, _V2), (3, _V3))} | {
    version: np.dtype([*_V3, ("features", f"V{4 * count}")]) for version, count in _FEATURES.items()
}


@dataclass(frozen=True)
class _Header:
    """What the header says."""

    size: int  # bytes of the header itself
    record: np.dtype[np.void]
    requests: int  # as the statistics have it; 0: not told
    what: str


def _header(head: bytes) -> _Header | str | None:
    """The header; a sentence about what is wrong with it; None where there is none."""
    if not head.startswith(_MAGIC):
        return None
    if head[_OLD - 8 : _OLD] == _MAGIC:
        return _old(head)
    if head[_NEW - 8 : _NEW] == _MAGIC:
        version, _, requests = struct.unpack_from("<QqQ", head, 8)
        if version not in _VERSIONS:
            return f"lcs version {version}; only 1 to {max(_VERSIONS)} are known"
        return _Header(_NEW, _VERSIONS[version], requests, f"version {version}")
    return "the header's end is not where it should be (byte 1016 or 8184)"


def _old(head: bytes) -> _Header | str:
    letters = head[8:248].split(b"\0", 1)[0].decode("latin-1")
    places = dict(zip(_FIELDS, head[248 : 248 + len(_FIELDS)], strict=True))
    (requests,) = struct.unpack_from("<q", head, 488)
    fields, size = struct.unpack_from("<II", head, 1000)
    if not re.fullmatch("<[cbBhHiIqQfd]+", letters) or len(letters) != fields + 1:
        return f"the header's record format {letters!r} is none, or has not {fields} fields"
    types = _TYPES | _FLOATS
    record = np.dtype([(str(i + 1), types[letter]) for i, letter in enumerate(letters[1:])])
    if record.itemsize != size:
        return f"records of format {letters!r} have {record.itemsize} bytes, the header says {size}"
    names = [str(i + 1) for i in range(fields)]
    for name, place in places.items():
        if place > fields:
            return f"the header's field {place} ({name}) is past the last, {fields}"
        if place and name in ("id", "size", "time", "op", "tenant"):
            if letters[place] in _FLOATS:
                return f"field {place} ({name}) is a float: it is not read"
            if not names[place - 1].isdigit():
                return f"field {place} is both {names[place - 1]} and {name}"
            names[place - 1] = name
    if missing := [name for name in ("id", "size", "time") if name not in names]:
        return f"the header names no field for {', '.join(missing)}"
    record.names = tuple(names)
    return _Header(_OLD, record, requests, f"record format {letters}")


def _sniff(name: str, head: bytes) -> str | None:
    found = _header(head)
    return f"magic number 0x123456789abcdef0, {found.what}" if isinstance(found, _Header) else None


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    for source in sources:
        header = _header(source.head())
        if not isinstance(header, _Header):
            raise TraceError(f"{source.name}: {header or 'no lcs trace: its first bytes are not the magic number'}")
        yield from _read_one(source, header, report)


def _read_one(source: Input, header: _Header, report: Report) -> Iterator[pl.DataFrame]:
    names, count = header.record.names or (), 0
    for offset, data in blocks(source, header.record.itemsize, header.size, report):
        rows = np.frombuffer(data, header.record)
        count += rows.size
        good = not_sectors(source, rows, offset, report)
        late = rows["time"].astype(np.uint64) > np.uint64(0xFFFFFFFF)  # a negative one, too
        for row in np.flatnonzero(late & good).tolist():
            at = offset + row * header.record.itemsize
            report.refuse(source.name, at, "the time is past 32 bits of seconds", rows[row : row + 1].tobytes())
        rows = rows[good & ~late]
        if not rows.size:
            continue
        note_objects(report, rows.size)
        code = np.zeros(rows.size, np.uint8)
        stream = np.zeros(rows.size, np.uint32)
        if "op_tenant" in names:
            code, stream = (rows["op_tenant"] & 0xFF).astype(np.uint8), rows["op_tenant"] >> np.uint32(8)
        if "op" in names:
            code = rows["op"].astype(np.uint8)
        if "tenant" in names:
            stream = rows["tenant"].astype(np.uint32)
        known = any(name in names for name in ("op", "op_tenant"))
        op, raw = operations(code)
        if not known:
            raw = pl.repeat("", rows.size, dtype=pl.Categorical, eager=True)
        yield objects(rows, op, raw, stream, report.volume(source.label))
    if header.requests > 0 and count != header.requests:
        report.note(f"the header announces {header.requests} requests, the file holds {count}")


FORMAT = Format(name="lcs", kind="block", doc="libCacheSim lcs", sniff=_sniff, read=_read)
