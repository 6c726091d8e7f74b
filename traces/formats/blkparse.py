"""blkparse's text, in its default format.

``major,minor cpu sequence seconds.nanoseconds pid action RWBS`` and then, by action: ``sector + n [process]``,
``sector + n [error]`` for a completion, ``[process]`` alone for a flush, ``sector [error]`` for its completion,
``bytes (command) [process]`` for a command passed through. Sectors have 512 bytes; times count from the first event.
Lines need not be in the order of time. Source: blktrace, blkparse_fmt.c (process_default), blkparse.c (summary).
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats._requests import Events, Requests
from traces.formats._rwbs import CODE, WORD, Words
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.scanner import BAD, EMPTY, GOOD, Field, Kind, Scanned, Scanner
from traces.formats.text import chunks, first_lines, is_text
from traces.table import I64, Bool

_WANTED = {
    "device": Field(0, Kind.WORD),
    "cpu": Field(1, Kind.INTEGER),
    "time": Field(3, Kind.DECIMAL, scale=9),
    "pid": Field(4, Kind.INTEGER),
    "action": Field(5, Kind.WORD),
    "RWBS": Field(6, Kind.WORD),
    "sector": Field(7, Kind.INTEGER, required=False),
    "plus": Field(8, Kind.WORD, required=False),
    "sectors": Field(9, Kind.INTEGER, required=False),
}
_AT = {name: i for i, name in enumerate(_WANTED)}
_PLUS = 1 << 56 | ord("+")  # as a word of the scanner
_NO_SECTOR = BAD + _AT["sector"]

_WRAP = (1 << 64) - 4 * (1 << 32) * 10**9  # times just before 0: 2**64 ns, whose seconds blkparse cuts to 32 bits
_DAY = 86_400 * 10**9
_LAST_SECTOR = (1 << 54) - 1
_LAST_COUNT = (1 << 32) - 1
_LAST_TIME = 1 << 62
_NOWHERE = str((1 << 64) - 1)  # sector of a request that has none, in older kernels

_MESSAGE, _UNKNOWN = 64, 255  # beside the numbers of `CODE`
_DEVICE = re.compile(r"(\d{1,4}),(\d{1,7})")
_CGROUP = re.compile(r"[0-9a-f]+,[0-9a-f]+")
_SUMMARY = re.compile(
    r"(CPU\d+|Total|Events) \(.*\):|Throughput \(R/W\):|Input file .* added"
    r"| (PC )?(Reads?|Writes?|IO|Timer|Allocation|Dispatch|Completion) ?[A-Za-z.]*: |.+ \(\d+(, \.\.\.)?\)$"
)
_SKIPS = re.compile(r"Skips: [\d,.']+ forward \(([\d,.']+) - +[\d.]+%\)")
_LINE = re.compile(r"\s*\d+,\d+\s+\d+\s+\d+\s+-?\d+\.\d{9}\s+\d+\s+([A-Za-z]{1,3})\s+([A-Z]+)\s")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head) if is_text(head) else []
    found = [match for match in map(_LINE.match, (line + " " for line in lines)) if match]
    if not found or 2 * len(found) < len(lines):
        return None
    if not all((match[1] in CODE or match[1] == "m") and WORD.fullmatch(match[2]) for match in found):
        return None
    return "lines of device, CPU, sequence, time with nine decimals, process, action and RWBS, as blkparse prints them"


class _Lines:
    """One file's lines to events; what is no event is noted or refused."""

    def __init__(self, file: str, words: Words, requests: Requests, report: Report) -> None:
        self._file, self._words, self._requests, self._report = file, words, requests, report
        self._codes: dict[str, list[int]] = {"device": [], "action": [], "RWBS": []}

    def events(self, scanned: Scanned) -> Events:
        """The events of a chunk that requests are made of."""
        value = {name: scanned.values(i) for name, i in _AT.items()}
        device = self._coded(scanned, "device", _device)
        action = self._coded(scanned, "action", _action)
        word = self._coded(scanned, "RWBS", self._words.code)
        status = scanned.status
        line = (status == GOOD) | (status >= _NO_SECTOR)
        line &= (device >= 0) & (action != _UNKNOWN) & ((word >= 0) | (action == _MESSAGE))
        line &= (value["pid"] >= 0) & (value["pid"] < 1 << 32) & (np.abs(value["time"]) <= _LAST_TIME)
        self._report.note("messages", int(np.count_nonzero(line & (action == _MESSAGE))))
        for row in np.flatnonzero(~line).tolist():
            self._set_aside(scanned, row, int(device[row]), int(action[row]), int(word[row]))
        use = line & (action != _MESSAGE)
        use[use] = self._requests.wanted(action[use].astype(np.uint8))

        offset, length, passthrough, odd = self._place(scanned, value, action, use)
        use &= ~odd
        bare = use & (length == 0) & ~passthrough & np.isin(action, (CODE["Q"], CODE["D"]))
        bare[bare] = self._words.table()[1][word[bare]] != Op.FLUSH
        sentence = "events without bytes that are no flush (commands to zones): blkparse does not print their sector"
        self._report.note(sentence, int(np.count_nonzero(bare)))
        failed = np.zeros(scanned.count, np.bool_)
        complete = use & (action == CODE["C"])
        failed[complete] = self._failed(scanned, np.flatnonzero(complete))
        time = value["time"]
        wrapped = (time > _WRAP - _DAY) & (time <= _WRAP)
        times = "times before 0, printed as 1266874889 seconds: put right"
        self._report.note(times, int(np.count_nonzero(wrapped & line)))
        return Events(
            time=np.where(wrapped, time - _WRAP, time)[use],
            action=action[use].astype(np.uint8),
            device=device[use].astype(np.uint32),
            offset=(offset[use] << 9).view(np.uint64),
            length=length[use].view(np.uint64),
            pid=value["pid"][use].astype(np.uint32),
            word=word[use].astype(np.uint16),
            passthrough=passthrough[use],
            unplaced=bare[use],
            failed=failed[use],
        )

    def _coded(self, scanned: Scanned, name: str, code: Callable[[str], int]) -> I64:
        codes, words = scanned.words(_AT[name])
        known = self._codes[name]
        known.extend(code(word) for word in words[len(known) :])
        return np.array(known, np.int64)[codes]

    def _place(self, scanned: Scanned, value: dict[str, I64], action: I64, use: Bool) -> tuple[I64, I64, Bool, Bool]:
        """Sector and length in bytes; whether the command was passed through; whether a number cannot be."""
        sector, count = value["sector"], value["sectors"]
        plus = value["plus"] == _PLUS
        told = (scanned.status != _NO_SECTOR) & (sector != _WANTED["sector"].missing)
        short = (action == CODE["C"]) | (action == CODE["R"])  # without bytes they print their sector alone
        nowhere = np.zeros(scanned.count, np.bool_)
        for row in np.flatnonzero(use & short & ~told & (value["plus"] != _WANTED["plus"].missing)).tolist():
            nowhere[row] = scanned.line(row).split()[7] == _NOWHERE
        command = np.where(short, ~told & ~nowhere, told & ~plus)
        length = np.where(plus, count << 9, np.where(command & told, sector, 0))
        sector = np.where(told & ~command & (plus | short), sector, 0)
        odd = use & ((plus & ((count < 0) | (count > _LAST_COUNT) | ~told)) | (sector < 0) | (sector > _LAST_SECTOR))
        for row in np.flatnonzero(odd).tolist():
            reason = "sector or number of sectors is not there or past the largest that can be"
            self._report.refuse(self._file, scanned.number(row), reason, scanned.line(row))
        return sector, length, command, odd

    def _failed(self, scanned: Scanned, rows: I64) -> Bool:
        """Whether completions end with an error other than [0]."""
        data, end = scanned.data, scanned.ends[rows]
        good = (data[end - 1] == ord("]")) & (data[end - 2] == ord("0")) & (data[end - 3] == ord("["))
        failed: Bool = ~good
        for i in np.flatnonzero(failed).tolist():
            error = re.search(r"\[(-?\d+)\]\s*$", scanned.line(int(rows[i])))
            failed[i] = error is not None and int(error[1]) != 0
            self._report.note("completions without a result", int(error is None))
        return failed

    def _set_aside(self, scanned: Scanned, row: int, device: int, action: int, word: int) -> None:
        """Note a line of the summary, refuse what is no line of blkparse's."""
        text = scanned.line(row)
        if scanned.status[row] == EMPTY:
            self._report.note("empty lines")
        elif skips := _SKIPS.match(text):
            self._report.note("lines of the summary at the end")
            self._report.note("events lost, as the summary says", int(re.sub(r"\D", "", skips[1])))
        elif _SUMMARY.match(text):
            self._report.note("lines of the summary at the end")
        else:
            reason = "no line of blkparse's default format"
            if scanned.status[row] == GOOD or scanned.status[row] >= _NO_SECTOR:
                if device < 0:
                    reason = "the device is not major,minor"
                elif action == _UNKNOWN:
                    reason = "unknown action"
                elif word < 0:
                    reason = "not an RWBS word"
                else:
                    reason = "the process id does not fit 32 bits, or the time 62"
            else:
                reason = scanned.reason(row)
            self._report.refuse(self._file, scanned.number(row), reason, text)


def _device(word: str) -> int:
    found = _DEVICE.fullmatch(word)
    if not found or int(found[1]) >= 1 << 12 or int(found[2]) >= 1 << 20:
        return -1
    return int(found[1]) << 20 | int(found[2])


def _action(word: str) -> int:
    if word == "m" or _CGROUP.fullmatch(word):  # a message's cgroup stands before its action
        return _MESSAGE
    return CODE.get(word, _UNKNOWN)


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "relative"
    words = Words()
    requests = Requests(options.action, words, report)
    for source in sources:
        scanner = Scanner(list(_WANTED.values()), None, list(_WANTED))
        lines = _Lines(source.name, words, requests, report)
        with source.open() as stream:
            for chunk in chunks(stream, report):
                yield from requests.feed(lines.events(scanner.scan(chunk)))
    yield from requests.rest()


FORMAT = Format(
    name="blkparse",
    kind="block",
    doc="blkparse text, default format",
    sniff=_sniff,
    read=_read,
    declares=frozenset({"action"}),
)
