"""What biosnoop (bcc, libbpf-tools) and iosnoop (perf-tools) print: a completed request a line under a header.

biosnoop: ``TIME(s) COMM PID DISK T SECTOR BYTES LAT(ms)``, with ``P`` and ``QUE(ms)`` before the last column where they
were asked for; times count from the first completion. iosnoop: ``COMM PID TYPE DEV BLOCK BYTES LATms``, perhaps with
``STARTs`` and ``ENDs`` before. Sectors have 512 bytes. A process's name may hold blanks: what follows it is counted
from the line's end. A line tells when a request was completed and how long it took (to 0.01 ms); its time here is the
difference, when it was issued. A file without times is numbered.

bcc's T is W for writes and R for everything else, flushes and discards too; libbpf-tools and iosnoop print RWBS words.
Source: bcc, tools/biosnoop.py, libbpf-tools/biosnoop.c; perf-tools, iosnoop.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats._rwbs import Words
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Records, Report
from traces.formats.scanner import BAD, EMPTY, GOOD, Field, Kind, Scanned, Scanner
from traces.formats.text import chunks, is_text
from traces.table import I64, Bool, schema_of

_HEADER = re.compile(rb"^[ \t]*((?:TIME\(s\)|TIME)[ \t].*\bDISK[ \t]+T[ \t]+SECTOR[ \t]+BYTES\b.*LAT\(ms\).*)$", re.M)
_HEADER_IO = re.compile(
    rb"^[ \t]*((?:STARTs?[ \t]+)?(?:ENDs?[ \t]+)?COMM[ \t]+PID[ \t]+TYPE[ \t]+DEV[ \t]+.*LATms.*)$", re.M
)
_PART = re.compile(rb"LAT(?:ms|\(ms\))")

_BIOSNOOP = "TIME(s) COMM PID DISK T SECTOR BYTES LAT(ms)"
_IOSNOOP = "COMM PID TYPE DEV BLOCK BYTES LATms"
_COLUMNS = {  # what a column is called -> what it is, how it is read
    "TIME(s)": ("end", Field(0, Kind.DECIMAL, scale=9)),
    "STARTs": ("start", Field(0, Kind.DECIMAL, scale=9)),
    "ENDs": ("end", Field(0, Kind.DECIMAL, scale=9)),
    "PID": ("pid", Field(0, Kind.INTEGER)),
    "TID": ("pid", Field(0, Kind.INTEGER)),
    "DISK": ("disk", Field(0, Kind.WORD)),
    "DEV": ("disk", Field(0, Kind.WORD)),
    "T": ("type", Field(0, Kind.WORD)),
    "TYPE": ("type", Field(0, Kind.WORD)),
    "SECTOR": ("sector", Field(0, Kind.INTEGER, unit=512, unsigned=True)),
    "BLOCK": ("sector", Field(0, Kind.INTEGER, unit=512, unsigned=True)),
    "BYTES": ("bytes", Field(0, Kind.INTEGER, unsigned=True)),
    "LAT(ms)": ("latency", Field(0, Kind.DECIMAL, scale=6)),
    "LATms": ("latency", Field(0, Kind.DECIMAL, scale=6)),
}
_NEEDED = {"disk", "type", "sector", "bytes", "latency"}
_UNSIGNED = ("sector", "disk", "type")  # what has no sign, or is no number
_LAST_TIME = 1 << 62
_NOWHERE = str((1 << 64) - 1)  # the sector of a request that has none


class _Table:
    """The columns that a header line names."""

    def __init__(self, header: str) -> None:
        names = header.split()
        fields = {}
        for place, name in enumerate(names):
            if name in _COLUMNS:
                key, field = _COLUMNS[name]
                fields[key] = Field(place, field.kind, scale=field.scale, unit=field.unit, unsigned=field.unsigned)
        self.whole = fields.keys() >= _NEEDED
        self.at = {key: i for i, key in enumerate(fields)}
        self.timed = "end" in fields or "start" in fields
        wide = names.index("COMM") if "COMM" in names else -1
        self.scanner = Scanner(list(fields.values()), None, list(fields), fewest=len(names), most=len(names), wide=wide)


class _File:
    """One file's lines to records."""

    def __init__(self, file: str, default: str, letters: bool, report: Report) -> None:
        self._file, self._letters, self._report = file, letters, report
        self._words = Words(nothing=(Op.UNKNOWN, Op.UNKNOWN))
        self._table = _Table(default)
        self._timed: bool | None = None  # told by the first header
        self._number, self._ordinal = 1, 0
        self._reads = self._others = 0  # requests R with bytes; those whose word is neither R nor W

    def header(self, line: str) -> None:
        """Lines that follow have the columns that this one names."""
        table = _Table(line)
        if table.whole:
            self._table = table
            self._settle(table)
            self._report.note("header lines")
        else:
            self._report.refuse(self._file, self._number, "a header that lacks columns", line)
        self._number += 1

    def _settle(self, table: _Table) -> None:
        """Whether the file has times: as its first table has."""
        if self._timed is None:
            self._timed = table.timed
            self._report.clock = "relative" if table.timed else "ordinal"

    def finish(self) -> None:
        """Note what only the whole file tells: whether its R is bcc's."""
        if self._letters and not self._others:
            self._report.note("requests R, taken to be reads: bcc's biosnoop calls discards so too", self._reads)

    def records(self, part: memoryview) -> pl.DataFrame:
        """The records of some whole lines under the last header."""
        table = self._table
        scanned = table.scanner.scan(part)
        scanned.first = self._number
        self._number += scanned.count
        value = {key: scanned.values(i) for key, i in table.at.items()}
        codes, words = scanned.words(table.at["type"])
        code = np.array([self._words.code(word) for word in words], np.int64)[codes]
        offset, good = value["sector"], scanned.status == GOOD
        for row in np.flatnonzero(scanned.status == BAD + table.at["sector"]).tolist():
            nowhere = f" {_NOWHERE} " in scanned.line(row)  # fields after the sector have been read all the same
            good[row] = nowhere and all(values[row] >= 0 for key, values in value.items() if key not in _UNSIGNED)
            offset[row] = 0
        if good.any():
            self._settle(table)
        time = self._times(value, scanned.count)
        odd = good & ((code < 0) | (value["bytes"] > 1 << 32))
        for key in ("start", "end", "latency"):
            odd |= good & (np.abs(value[key]) > _LAST_TIME) if key in value else False
        odd |= good & ((value["pid"] >> 32) != 0) if "pid" in value else False
        untimed = good & ~odd & (bool(self._timed) and not table.timed)
        self._refuse(scanned, good, odd, untimed)
        good &= ~odd & ~untimed
        count = int(np.count_nonzero(good))
        return self._frame(scanned, value, code, good, time) if count else pl.DataFrame()

    def _times(self, value: dict[str, I64], count: int) -> I64:
        if not self._timed:
            time = np.arange(self._ordinal, self._ordinal + count)
            self._ordinal += count
            return time
        if "start" in value:
            return value["start"]
        return value["end"] - value["latency"] if "end" in value else np.zeros(count, np.int64)

    def _frame(self, scanned: Scanned, value: dict[str, I64], code: I64, good: Bool, time: I64) -> pl.DataFrame:
        full, empty, flags, _ = self._words.table()
        code, length = code[good], value["bytes"][good]
        op = np.where(length == 0, empty[code], full[code])
        words = self._words.words
        letter = np.array([word in ("R", "W") for word in words])[code]
        self._others += int(np.count_nonzero(~letter))
        bare = (length == 0) & letter
        read = np.array([word == "R" for word in words])[code]
        op[bare] = np.where(read[bare], Op.UNKNOWN, Op.FLUSH)  # an empty write is a flush, an empty read is none
        note = self._report.note
        note("requests R without bytes: flushes or others, which is not told", int(np.count_nonzero(bare & read)))
        note("requests W without bytes, taken to be flushes", int(np.count_nonzero(bare & ~read)))
        self._reads += int(np.count_nonzero(read & ~bare))
        if self._timed and "start" not in value:
            note("times that are the completion's less the latency (to 0.01 ms)", code.size)
        disks, names = scanned.words(self._table.at["disk"])
        disk = disks[good]
        first = np.unique(disk, return_index=True)
        number = np.zeros(len(names), np.uint32)
        for each in first[0][np.argsort(first[1])].tolist():
            number[each] = self._report.volume(names[each])
            if names[each].startswith("<"):
                sentence = f"requests of disks that have no name ({names[each]}): they may be several"
                note(sentence, int(np.count_nonzero(disk == each)))
        latency = value["latency"][good]
        columns = {
            "time": time[good],
            "op": op,
            "volume": number[disk],
            "offset": value["sector"][good].view(np.uint64),
            "length": length.view(np.uint64),
            "latency": np.where(latency >= 0, latency, -1),
            "stream": value["pid"][good].astype(np.uint32) if "pid" in value else np.zeros(code.size, np.uint32),
            "flags": flags[code],
            "raw": pl.Series(words, dtype=pl.Categorical).gather(code),
        }
        return pl.DataFrame(columns, schema_overrides={k: t for k, t in schema_of(Records).items() if k != "raw"})

    def _refuse(self, scanned: Scanned, good: Bool, odd: Bool, untimed: Bool) -> None:
        for row in np.flatnonzero(~good | odd | untimed).tolist():
            if scanned.status[row] == EMPTY:
                self._report.note("empty lines")
                continue
            if untimed[row]:
                reason = "a line without a time in a file that has times"
            elif odd[row]:
                reason = "not an operation that is known, or a number past the largest there is"
            else:
                reason = scanned.reason(row)
            self._report.refuse(self._file, scanned.number(row), reason, scanned.line(row))


def _parts(chunk: memoryview, header: "re.Pattern[bytes]") -> Iterator[tuple[memoryview, str]]:
    """A chunk cut at its header lines: lines before, header; the last without a header."""
    begin = 0
    # a look for what no header lacks first: it halves the time of the whole
    for found in header.finditer(chunk) if _PART.search(chunk) else ():
        yield chunk[begin : found.start()], found[1].decode("utf-8", "replace")
        begin = found.end() + 1
    yield chunk[begin:], ""


def _read(sources: Sequence[Input], report: Report, default: str, letters: bool) -> Iterator[pl.DataFrame]:
    pattern = _HEADER if letters else _HEADER_IO
    for source in sources:
        file = _File(source.name, default, letters, report)
        with source.open() as stream:
            for chunk in chunks(stream, report):
                for part, header in _parts(chunk, pattern):
                    if len(part):
                        batch = file.records(part)
                        if batch.height:
                            yield batch
                    if header:
                        file.header(header)
        file.finish()


def _read_biosnoop(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    yield from _read(sources, report, _BIOSNOOP, letters=True)


def _read_iosnoop(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    yield from _read(sources, report, _IOSNOOP, letters=False)


def _sniff_biosnoop(name: str, head: bytes) -> str | None:
    found = _HEADER.search(head) if is_text(head) else None
    return f"header line '{' '.join(found[1].decode('utf-8', 'replace').split())}'" if found else None


def _sniff_iosnoop(name: str, head: bytes) -> str | None:
    found = _HEADER_IO.search(head) if is_text(head) else None
    return f"header line '{' '.join(found[1].decode('utf-8', 'replace').split())}'" if found else None


FORMAT = Format(
    name="biosnoop", kind="block", doc="biosnoop of bcc and libbpf-tools", sniff=_sniff_biosnoop, read=_read_biosnoop
)
IOSNOOP = Format(name="iosnoop", kind="block", doc="iosnoop of perf-tools", sniff=_sniff_iosnoop, read=_read_iosnoop)
