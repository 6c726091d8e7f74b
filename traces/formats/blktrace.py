"""blktrace's binary files: one a CPU, merged by time as blkparse merges them.

A record is 48 bytes (magic 0x65617407, sequence, time, sector, bytes, action, pid, device, cpu, error, length of what
follows) in the byte order of the machine that recorded, then a payload. Times are the kernel's monotonic clock; a
timestamp notification tells the wall clock. Source: linux include/uapi/linux/blktrace_api.h; blkparse.c (ms_sort).
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.formats._merge import Streams, insert, merge, places
from traces.formats._requests import Events, Requests
from traces.formats._rwbs import CODE, Words
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.kernel import kernel
from traces.table import I64, U8, U16, Bool

VERSION = 0x07
HEADER = np.dtype(
    {
        "names": ["magic", "sequence", "time", "sector", "bytes", "action", "pid", "device", "cpu", "error", "pdu_len"],
        "formats": ["u4", "u4", "u8", "u8", "u4", "u4", "u4", "u4", "u4", "u2", "u2"],
    }
)
CHUNK = 1 << 22  # bytes read at once, of all files together
SMALLEST = 1 << 16  # and of one file

# ``action``: the event in the low byte, 0x100 where the payload begins with a cgroup's id, categories above
_WRITE, _FLUSH, _SYNC, _PC, _NOTIFY = 1 << 17, 1 << 18, 1 << 19, 1 << 25, 1 << 26
_AHEAD, _META, _DISCARD, _FUA = 1 << 27, 1 << 28, 1 << 29, 1 << 31
_PROCESS, _TIMESTAMP, _MESSAGE = 0, 1, 2
_NOTICES = {_PROCESS: "process names", _TIMESTAMP: "time stamps", _MESSAGE: "messages"}

_MAGIC = {"little": bytes([VERSION, 0x74, 0x61, 0x65]), "big": bytes([0x65, 0x61, 0x74, VERSION])}
_LAST_SECTOR = (1 << 54) - 1  # 512 times it fits 63 bits
_NO_SECTOR = (1 << 64) - 1
_LAST_TIME = (1 << 62) - 1
_PATIENCE = 1 << 20  # bytes without a magic number after which they are refused and forgotten

Headers = NDArray[Any]  # of HEADER


def _order(head: bytes) -> tuple[str, int] | None:
    """Byte order and version of a magic number of four bytes, whatever its version."""
    if head[1:] == b"\x74\x61\x65":
        return "little", head[0]
    if head[:3] == b"\x65\x61\x74" and len(head) == 4:
        return "big", head[3]
    return None


def _sniff(name: str, head: bytes) -> str | None:
    found = _order(head[:4])
    if found is None or len(head) < HEADER.itemsize or found[1] >= ord(" "):  # text may begin with "eat"
        return None
    order, version = found
    return f"blktrace's magic number 0x656174{version:02x}, {order}-endian"


@kernel
def _walk(data: U8, magic: U8, begin: int, headers: U8, starts: I64) -> tuple[int, Any, bool]:
    """Copy records' headers together: how many, where the next begins, whether a magic number stands there.

    ``headers`` has 48 bytes a record. Stops where the next record is not whole, or is none.
    """
    count, at, little = 0, np.int64(begin), magic[0] == 7
    while at + 48 <= data.size:
        if data[at] != magic[0] or data[at + 1] != magic[1] or data[at + 2] != magic[2] or data[at + 3] != magic[3]:
            return count, at, False
        low, high = (data[at + 46], data[at + 47]) if little else (data[at + 47], data[at + 46])
        end = at + 48 + np.int64(low) + (np.int64(high) << 8)
        if end > data.size:
            break
        headers[48 * count : 48 * count + 48] = data[at : at + 48]
        starts[count] = at
        count += 1
        at = end
    return count, at, True


class _Notices:
    """What notifications tell: the wall clock, process names, messages."""

    def __init__(self) -> None:
        self.wall: int | None = None  # nanoseconds from the trace's clock to Unix time
        self._seen: dict[int, int] = {}

    def take(self, headers: Headers, starts: I64, data: bytes, order: str) -> None:
        """Count notifications; the first time stamp sets the wall clock."""
        kinds = headers["action"] & 0xFF
        for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
            self._seen[int(kind)] = self._seen.get(int(kind), 0) + int(count)
        for i in np.flatnonzero((kinds == _TIMESTAMP) & (headers["pdu_len"] >= 8)).tolist():
            if self.wall is None:
                begin = int(starts[i]) + 48
                seconds, rest = np.frombuffer(data[begin : begin + 8], "<u4" if order == "little" else ">u4").tolist()
                self.wall = seconds * 10**9 + rest - int(headers["time"][i])

    def tell(self, report: Report) -> None:
        """Count them in the report."""
        for kind, count in self._seen.items():
            report.note(f"notifications: {_NOTICES.get(kind, f'of unknown kind {kind}')}", count)


class _File:
    """One CPU's file, decoded chunk by chunk: events' headers in this machine's byte order."""

    def __init__(self, source: Input, stream: BinaryIO, size: int, notices: _Notices, report: Report) -> None:
        self.name, self._stream, self._size, self._notices, self._report = source.name, stream, size, notices, report
        self.cpu = _place(source)[1]
        self.headers: Headers = np.empty(0, HEADER)
        self._rest, self._offset, self._done = b"", 0, False  # bytes not yet used and where they stand in the file
        self._order = ""
        self._sequence, self._device, self._cpu = np.zeros(1, np.int64), np.zeros(1, np.uint32), np.zeros(1, np.uint32)

    def more(self) -> bool:
        """Decode the next events; False at the file's end."""
        self.headers = np.empty(0, HEADER)
        while not self._done and not self.headers.size:
            block = self._stream.read(self._size)
            self._done = not block
            if self._done and not self._rest and not self._offset:
                self._report.note("empty files")
            self._rest += block
            if self._order or self._begin():
                parts = list(self._decode()) or [self.headers]
                self.headers = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.headers.size:
            self._follow()
        return self.headers.size > 0

    def _begin(self) -> bool:
        """Find the byte order; what stands before the first record is refused."""
        if len(self._rest) < 4 and not self._done:
            return False
        found = _order(self._rest[:4])
        if found is not None:
            self._order, version = found
            if version != VERSION:
                raise TraceError(
                    f"{self.name}: blktrace version 0x{version:02x}; only version 0x{VERSION:02x} is known; "
                    "turn it into text with blkparse and ingest that"
                )
            return True
        places = {self._rest.find(magic): order for order, magic in _MAGIC.items()}
        places.pop(-1, None)
        if places:
            self._order = places[min(places)]
            self._drop(self._skip(min(places), 0))
        elif self._rest and (self._done or len(self._rest) > _PATIENCE):
            self._drop(self._skip(len(self._rest) - (0 if self._done else 3), 0))
        return bool(places)

    def _decode(self) -> Iterator[Headers]:
        """The headers of whole records; the last one is kept back until what follows it is seen."""
        data, at, magic = np.frombuffer(self._rest, np.uint8), 0, _MAGIC[self._order]
        little, codes = self._order == "little", np.frombuffer(magic, np.uint8)
        while at < data.size:
            room = (data.size - at) // 48
            raw, starts = np.empty(48 * room, np.uint8), np.empty(room, np.int64)
            count, end, good = _walk(data, codes, at, raw, starts)
            if good and not self._done and count:
                count -= 1
                end = int(starts[count])
            if count:
                headers = raw[: 48 * count].view(HEADER.newbyteorder("<" if little else ">"))
                yield self._checked(headers.astype(HEADER, copy=False), starts[:count])
            at = end
            if good and (not self._done or end == data.size):
                break
            # No record stands here, or its end is missing. The one before may have lied about its own length.
            after = end + 48 if good else int(starts[count - 1]) + 48 if count else end + 1
            following = self._rest.find(magic, after)
            if following < 0:
                if not self._done and data.size - end < _PATIENCE:
                    break
                following = data.size - (0 if self._done else 3)
            at = self._skip(following, end)
        self._drop(at)

    def _drop(self, count: int) -> None:
        self._rest = self._rest[count:]
        self._offset += count

    def _skip(self, following: int, at: int) -> int:
        """Refuse what stands where a record should; reading goes on at ``following``."""
        found = _order(self._rest[at : at + 4])
        if found is None:
            reason = "no magic number where a record should begin"
        elif found != (self._order, VERSION):
            reason = f"a record of version 0x{found[1]:02x}, {found[0]}-endian"
        else:
            reason = "cut short: the record's end is missing"
        back = following < at
        what = f"read again from byte {self._offset + following}" if back else f"{following - at} bytes skipped"
        self._report.refuse(self.name, self._offset + at, f"{reason}; {what}", self._rest[at : at + 48])
        return following

    def _checked(self, headers: Headers, starts: I64) -> Headers:
        """Events without notifications and without what cannot be."""
        notices = (headers["action"] & _NOTIFY) != 0
        if notices.any():
            self._notices.take(headers[notices], starts[notices], self._rest, self._order)
        far = (headers["sector"] > _LAST_SECTOR) & (headers["sector"] != _NO_SECTOR)
        bad = ((headers["time"] > _LAST_TIME) | far) & ~notices
        for i in np.flatnonzero(bad).tolist():
            what = "sector" if far[i] else "time"
            reason = f"{what} {headers[what][i]} is past the largest that can be"
            begin = int(starts[i])
            self._report.refuse(self.name, self._offset + begin, reason, self._rest[begin : begin + 48])
        keep = ~(notices | bad)
        return headers if keep.all() else headers[keep]

    def _follow(self) -> None:
        """Note holes in the numbers that a CPU gives its events, and events of other CPUs."""
        sequence, device, cpu = (self.headers[name] for name in ("sequence", "device", "cpu"))
        step = np.diff(sequence.astype(np.int64), prepend=self._sequence) - 1
        missing = (step > 0) & (np.diff(device, prepend=self._device) == 0) & (np.diff(cpu, prepend=self._cpu) == 0)
        self._report.note("events missing in the numbering of a CPU's events", int(step[missing].sum()))
        if self.cpu >= 0:
            strangers = int(np.count_nonzero(cpu != self.cpu))
            self._report.note("events of another CPU than the file's name says", strangers)
        self._sequence, self._device, self._cpu = sequence[-1:].astype(np.int64), device[-1:].copy(), cpu[-1:].copy()


def _place(source: Input) -> tuple[str, int]:
    """A file's device and CPU from its name ``sda.blktrace.3``; -1 where there is none."""
    found = re.search(r"(.*)\.blktrace\.(\d+)(\.\w+)?$", source.name)
    return (found[1], int(found[2])) if found else (source.name, -1)


def _merged(files: Sequence[_File], wanted: Callable[[NDArray[Any]], Bool]) -> Iterator[Headers]:
    """All files' wanted events as blkparse prints them: by time; at equal times the file being read goes on."""
    streams = Streams(np.full(1, -1, np.int64), np.full(len(files), -1, np.int64))
    sizes = np.array([file.headers.size for file in files], np.int64)
    times = np.concatenate([file.headers["time"] for file in files]).astype(np.int64)
    for i in np.flatnonzero(sizes).tolist():
        insert(streams, times, np.cumsum(sizes) - sizes, i)
    while (head := int(streams.head[0])) >= 0:
        end = np.cumsum([file.headers.size for file in files])
        at = np.concatenate([[0], end[:-1]])
        times = np.concatenate([file.headers["time"] for file in files]).astype(np.int64)
        taken = np.empty(times.size, np.int32)
        begin = at.copy()
        taken = taken[: merge(streams, times, at, end, taken)]
        counts = at - begin
        parts = [file.headers[:count] for file, count in zip(files, counts.tolist(), strict=True)]
        for file, count in zip(files, counts.tolist(), strict=True):
            file.headers = file.headers[count:]
        place = np.empty(taken.size, np.int64)
        places(taken, np.cumsum(counts) - counts, place)
        headers = np.concatenate(parts)
        yield headers[place[wanted(headers["action"] & 0xFF)[place]]]
        head = int(streams.head[0])
        if not files[head].more():
            streams.head[0] = streams.next[head]


def _words() -> tuple[Words, U16]:
    """RWBS words, and the word's code by category bits (``action`` >> 17) and, above them, whether there are bytes."""
    words = Words()
    bits = (_FLUSH, _DISCARD, _WRITE, _FUA, _AHEAD, _SYNC, _META)
    codes = []
    for kind in itertools.product((False, True), repeat=8):
        full, flush, discard, write, *more = kind
        what = "D" if discard else "W" if write else "R" if full else "N"
        rest = "".join(letter for letter, on in zip("FASM", more, strict=True) if on)
        codes.append(words.code("F" * flush + what + rest))
    place = np.arange(1 << 16)
    kinds = place >> 15
    for bit in bits:
        kinds = kinds << 1 | (place >> (bit.bit_length() - 18)) & 1
    return words, np.array(codes, np.uint16)[kinds]


def _events(headers: Headers, codes: U16, wall: int) -> Events:
    action, length = headers["action"], headers["bytes"]
    code = (action & 0xFF).astype(np.uint8)
    passthrough = (action & _PC) != 0
    complete = code == CODE["C"]
    flush = (length == 0) & (((action & _FLUSH) != 0) | ((action & (_WRITE | _DISCARD)) == 0))
    nowhere = passthrough | (headers["sector"] == _NO_SECTOR) | (flush & ~complete & (code != CODE["R"]))
    return Events(
        time=headers["time"].astype(np.int64) + wall,
        action=code,
        device=headers["device"].copy(),
        offset=np.where(nowhere, 0, headers["sector"] << np.uint64(9)),
        length=length.astype(np.uint64),
        pid=headers["pid"].copy(),
        word=codes[(action >> 17) | ((length > 0).astype(np.uint32) << 15)],
        passthrough=passthrough,
        unplaced=np.zeros(action.size, np.bool_),
        failed=complete & (headers["error"] != 0),
    )


def _missing(sources: Sequence[Input], report: Report) -> None:
    """Note CPUs whose file is not there although one with a higher number is."""
    found: dict[str, set[int]] = {}
    for device, cpu in map(_place, sources):
        if cpu >= 0:
            found.setdefault(device, set()).add(cpu)
    for device, cpus in found.items():
        if missing := sorted(set(range(max(cpus))) - cpus):
            names = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
            name = PurePath(device).name
            report.note(f"{name}: files of CPUs are missing ({names}): their events are not there", len(missing))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    _missing(sources, report)
    words, codes = _words()
    requests, notices = Requests(options.action, words, report), _Notices()
    with ExitStack() as stack:
        size = max(CHUNK // len(sources), SMALLEST)
        files = [
            _File(source, stack.enter_context(source.open()), size, notices, report)
            for source in sorted(sources, key=_place)
        ]
        for file in files:
            file.more()
        wall = notices.wall or 0
        report.clock = "monotonic" if notices.wall is None else "unix"
        for headers in _merged(files, requests.wanted):
            yield from requests.feed(_events(headers, codes, wall))
    yield from requests.rest()
    notices.tell(report)


FORMAT = Format(
    name="blktrace",
    kind="block",
    doc="blktrace, binary, one file a CPU",
    sniff=_sniff,
    read=_read,
    together=True,
    declares=frozenset({"action"}),
)
