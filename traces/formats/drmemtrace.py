"""DynamoRIO's drmemtrace, offline: packed entries of 12 bytes, u16 type, u16 size, u64 address.

A file is a thread's, in a zip whose members are its chunks, or gzip; all files of a recording make one trace where they
are ingested together (``--name``, or their folder). Entries say which thread (22) and process (24) those after them
belong to; markers (28, their kind in size) carry times (kind 2) in microseconds since 1601-01-01. Data accesses follow
their instruction, whose address is their ``ip``. Instructions that were not fetched (29: repetitions of one) are no
access: they count in the next one's ``gap``. A thread is kept as ``cpu``, a process is an address space. Prefetches and
cache flushes are unknown, with their name. An access has the time of the latest marker before it. An entry of nothing
but zeros would be a load of no bytes at address 0: it is refused as a hole in the file (loads of no bytes there are,
but each with its address).

A 32-bit build's entries have a u32 address, 8 bytes, which the second entry tells. Its times are cut to 32 bits, of
which threads that were traced within an hour of each other are taken to share the upper ones: a relative clock. That
was checked against the documented layout only, not a recording. Source: DynamoRIO,
clients/drcachesim/common/trace_entry.h; tracer/instru_offline.cpp (append_marker).
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.formats._accesses import frame, numbered, ordinals, words
from traces.formats._rows import holes
from traces.formats.drmemtrace_view import EPOCH_US, LAST_US
from traces.formats.inputs import Input
from traces.formats.reader import ROWS, Format, Options, Report
from traces.kernel import lean_kernel
from traces.memory import Op
from traces.order import merged
from traces.table import I64, U8, U64, Bool

_ENTRY = np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u8")])
_NARROW = np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u4")])
_TYPES = 50
_MINIMUM = 1 << 13  # entries of a batch, however many files there are
_BUNDLE, _THREAD, _PID, _HEADER, _FOOTER, _MARKER, _NO_FETCH, _ENCODING = 17, 22, 24, 25, 26, 28, 29, 47
_TIME = 2  # the kind of marker
_COMPANIONS = (  # what DynamoRIO's tracer and raw2trace write beside the threads' files: trace_entry.h, options.cpp
    *("cpu_schedule.bin", "serial_schedule.bin", "encodings.bin", "modules.log", "funclist.log"),
    *("v2p.textproto", "info.textproto", "kcore", "kallsyms"),
)

_NAMES = {
    0: "read",
    1: "write",
    2: "prefetch",
    3: "prefetch t0",
    4: "prefetch t1",
    5: "prefetch t2",
    6: "prefetch nta",
    7: "prefetch read",
    8: "prefetch write",
    9: "prefetch instr",
    10: "instr",
    11: "direct jump",
    12: "indirect jump",
    13: "conditional jump",
    14: "direct call",
    15: "indirect call",
    16: "return",
    17: "bundle",
    18: "instr flush",
    20: "data flush",
    27: "hardware prefetch",
    30: "maybe fetched",
    31: "sysenter",
    32: "prefetch read l1 nt",
    33: "prefetch read l2 nt",
    34: "prefetch read l3 nt",
    35: "prefetch instr l1",
    36: "prefetch instr l1 nt",
    37: "prefetch instr l2",
    38: "prefetch instr l2 nt",
    39: "prefetch instr l3",
    40: "prefetch instr l3 nt",
    41: "prefetch write l1",
    42: "prefetch write l1 nt",
    43: "prefetch write l2",
    44: "prefetch write l2 nt",
    45: "prefetch write l3",
    46: "prefetch write l3 nt",
    48: "taken jump",
    49: "untaken jump",
}
_FETCHES = (*range(10, 18), 30, 31, 48, 49)
_OP = np.full(_TYPES, Op.UNKNOWN, np.uint8)
_OP[0], _OP[1], _OP[list(_FETCHES)] = Op.LOAD, Op.STORE, Op.FETCH
_IS_ROW = np.array([each in _NAMES for each in range(_TYPES)], np.uint8)
_IS_FETCH = np.array([each in _FETCHES for each in range(_TYPES)], np.uint8)
_RAW = [_NAMES.get(each, "") for each in range(_TYPES)]
_COUNTED = {
    19: "ends of cache flushes",
    21: "ends of cache flushes",
    23: "threads that ended",
    _MARKER: "markers",
    _NO_FETCH: "instructions that were not fetched",
    _ENCODING: "encodings of instructions",
}


class _State(NamedTuple):
    """What holds for the entries to come: one element each."""

    ip: U64
    length: U64  # of the instruction at ip
    tid: U64
    pid: I64  # -1: not told yet
    time: I64  # ns
    gap: U64
    seen: I64  # [type] -> how many
    pieces: I64  # instructions of a bundle: as many as an address has bytes


class _Rows(NamedTuple):
    """What the kernel fills."""

    time: I64
    type: NDArray[np.uint16]
    pid: I64
    tid: U64
    address: U64
    size: U64
    ip: U64
    gap: U64
    odd: I64  # entries that are none


@lean_kernel
def _accesses(entries: NDArray[np.void], is_row: U8, is_fetch: U8, s: _State, out: _Rows) -> tuple[int, int]:
    """Entries to accesses: how many, and how many entries are none."""
    rows, odd = 0, 0
    for i in range(entries.size):
        entry = entries[i]
        kind, size, address = np.int64(entry.type), np.int64(entry.size), np.uint64(entry.address)
        if kind >= is_row.size:
            out.odd[odd] = i
            odd += 1
            continue
        s.seen[kind] += 1
        if is_row[kind]:
            pieces = size if kind == 17 else np.int64(1)
            if pieces > s.pieces[0]:
                out.odd[odd] = i
                odd += 1
                continue
            for piece in range(pieces):
                if kind == 17:  # up to eight instructions that follow the one before, their lengths in the address
                    here, length = s.ip[0] + s.length[0], (address >> np.uint64(8 * piece)) & np.uint64(255)
                else:
                    here, length = address, np.uint64(size)
                if is_fetch[kind]:
                    s.ip[0] = here
                    s.length[0] = length
                out.time[rows], out.type[rows], out.pid[rows], out.tid[rows] = s.time[0], kind, s.pid[0], s.tid[0]
                out.address[rows], out.size[rows], out.ip[rows], out.gap[rows] = here, length, s.ip[0], s.gap[0]
                s.gap[0] = 0
                rows += 1
        elif kind == 29:
            s.ip[0] = address
            s.length[0] = size
            s.gap[0] += np.uint64(1)
        elif kind == 22:
            s.tid[0] = address
        elif kind == 24:
            s.pid[0] = np.int64(address)
        elif kind == 28 and size == 2:
            if address < np.uint64(EPOCH_US) or address > np.uint64(LAST_US):
                out.odd[odd] = i
                odd += 1
            else:
                s.time[0] = (np.int64(address) - np.int64(EPOCH_US)) * 1000
    return rows, odd


def _marked(entries: NDArray[np.void]) -> Bool:
    """[entry] -> whether it marks a time."""
    marked: Bool = (entries["type"] == _MARKER) & (entries["size"] == _TIME)
    return marked


def _times(entries: NDArray[np.void]) -> NDArray[np.void]:
    marked = entries[_marked(entries)]
    times: NDArray[np.void] = marked[(marked["address"] >= EPOCH_US) & (marked["address"] <= LAST_US)]
    return times


def _widened(entries: NDArray[np.void], latest: int) -> NDArray[np.void]:
    """Entries of 8 bytes as such of 12; ``latest`` is the time before them, 0: none. Times count from 1970 on."""
    wide = entries.astype(_ENTRY)
    marked = _marked(wide)
    times = wide["address"][marked].astype(np.int64)
    if times.size:
        steps = np.diff(times, prepend=latest or times[0])
        # they come round once in 71 minutes; a step back of less is one
        steps = (steps + (1 << 31)) % (1 << 32) - (1 << 31)
        wide["address"][marked] = np.maximum(np.cumsum(steps) + (latest or times[0]), 0) + EPOCH_US
    return wide


class _Thread:
    """One file: its chunks in turn, as one stream of entries."""

    def __init__(self, members: Sequence[Input], timed: bool, report: Report) -> None:
        self._members, self._timed, self._report = members, timed, report
        self._layout = _layout(members[0].head())
        numbers: list[Any] = [np.zeros(1, kind) for kind in ("u8", "u8", "u8", "i8", "i8", "u8")]
        pieces = np.full(1, self._layout["address"].itemsize)
        self._state = _State._make([*numbers, np.zeros(_TYPES, np.int64), pieces])
        self._state.pid[0] = -1
        self._seen = 0

    def read(self, most: int) -> Iterator[pl.DataFrame]:
        """Accesses in the file's order, in batches of about ``most``."""
        size = self._layout.itemsize
        for member in self._members:
            offset, rest = 0, b""
            with member.open() as stream:
                while block := stream.read(most * size - len(rest)):
                    data = rest + block
                    count = len(data) // size
                    rest = data[count * size :]
                    rows = self._batch(np.frombuffer(data, self._layout, count), member, offset)
                    offset += count * size
                    if rows is not None:
                        yield rows
            if rest:
                reason = f"cut short: {len(rest)} of an entry's {size} bytes"
                self._report.refuse(member.name, offset, reason, rest)
        for kind, sentence in _COUNTED.items():
            self._report.note(sentence, int(self._state.seen[kind]))
        unfinished = self._seen > 0 and not self._state.seen[_FOOTER]
        self._report.note("files without their last entry: cut off, or not closed", int(unfinished))

    def _batch(self, raw: NDArray[np.void], member: Input, offset: int) -> pl.DataFrame | None:
        hole = holes(raw, member.name, offset, self._report)
        at = np.flatnonzero(~hole)  # [entry] -> its place in the file, from offset
        entries = raw = raw if at.size == raw.size else raw[at]
        if self._layout == _NARROW:
            entries = _widened(raw, int(self._state.time[0]) // 1000)
        if self._timed and not self._seen and not self._state.time[0]:  # accesses before the first time have that time
            for first in _times(entries)["address"][:1].tolist():
                self._state.time[0] = (first - EPOCH_US) * 1000
        room = entries.size + 8 * int(np.count_nonzero(entries["type"] == _BUNDLE))
        kinds = ("i8", "u2", "i8", "u8", "u8", "u8", "u8", "u8")
        out = _Rows._make([*(np.empty(room, kind) for kind in kinds), np.empty(entries.size, np.int64)])
        count, odd = _accesses(entries, _IS_ROW, _IS_FETCH, self._state, out)
        for i in out.odd[:odd].tolist():
            reason = f"no entry of type {int(entries['type'][i])} or no such value"
            self._report.refuse(member.name, offset + int(at[i]) * raw.itemsize, reason, raw[i : i + 1].tobytes())
        if not count:
            return None
        rows = _Rows._make(column[:count] for column in out)
        self._report.note("thread ids past 32 bits, cut", int(np.count_nonzero(rows.tid >> np.uint64(32))))
        self._seen += count
        return frame(
            count,
            time=rows.time if self._timed else ordinals(self._seen - count, count),
            op=_OP[rows.type],
            space=numbered(rows.pid, lambda pid: f"pid {pid}" if pid >= 0 else member.label, self._report),
            cpu=(rows.tid & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            address=rows.address,
            size=rows.size,
            ip=rows.ip,
            gap=rows.gap,
            raw=words(_RAW, rows.type.astype(np.uint32)),
        )


def _entries(head: bytes, layout: np.dtype[np.void]) -> NDArray[np.void]:
    return np.frombuffer(head, layout, len(head) // layout.itemsize)


def _begins(entries: NDArray[np.void]) -> bool:
    """Whether the first entry is a header, and the next what may follow it."""
    if entries.size < 3 or entries["type"][0] != _HEADER or entries["size"][0] or not 0 < entries["address"][0] < 100:
        return False
    return int(entries["type"][1]) in {_THREAD, _PID, _MARKER}


def _layout(head: bytes) -> np.dtype[np.void]:
    # of 12 bytes, the second entry would begin in the middle of an address: with zeros, which is no such type
    return _NARROW if _begins(_entries(head, _NARROW)) else _ENTRY


def _sniff(name: str, head: bytes) -> str | None:
    entries = _entries(head, _layout(head))
    if not _begins(entries) or (entries["type"] >= _TYPES).any():
        return None
    return f"entries of {entries.itemsize} bytes after the header of drmemtrace version {int(entries['address'][0])}"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    files = [list(members) for _, members in groupby(sources, lambda source: source.path)]
    heads = [_entries(head, _layout(head)) for head in (members[0].head() for members in files)]
    narrow = {head.dtype == _NARROW for head in heads}
    if len(narrow) > 1:
        raise TraceError("some of these files are of 32-bit programs and tell no whole times: ingest them apart")
    timed = all(_marked(head).any() for head in heads) if True in narrow else all(_times(head).size for head in heads)
    report.clock = ("relative" if True in narrow else "unix") if timed else "ordinal"
    most = max(ROWS // len(files), _MINIMUM)
    yield from merged([_Thread(members, timed, report).read(most) for members in files])


FORMAT = Format(
    name="drmemtrace",
    kind="memory",
    doc="DynamoRIO drmemtrace, offline traces",
    sniff=_sniff,
    read=_read,
    together=True,
    companions=_COMPANIONS,
)
