"""The kernel's block events as text: what ftrace, trace-cmd and perf script print of them.

``block_rq_issue: major,minor RWBS bytes (command) sector + n [process]`` is an issue (D); a completion (C) is
``block_rq_complete: major,minor RWBS (command) sector + n [error]``, without a count of bytes and without the name of
who asked. Newer kernels print a priority (``none,0,0``) before the bracket. A request is queued (Q) by
``block_bio_queue``, or where a file has none of those by ``block_rq_insert``. Sectors have 512 bytes; a sector of
2**64 - 1 means none. Times count from the machine's start. How a line begins: `traces.formats._tracepoint`.

N, which is all that most kernels say of a request that neither reads, writes, flushes nor discards, is taken to write
zeroes where it has sectors. Source: linux include/trace/events/block.h; kernel/trace/blktrace.c (blk_fill_rwbs).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats._lines import NOWHERE, Lines, Meanings
from traces.formats._requests import Events, Requests, cut
from traces.formats._rwbs import CODE, WORD, Words
from traces.formats._tracepoint import BLOCK, DAMAGED, NO_DECIMALS, OTHER, Parsed, parse, parsed
from traces.formats.inputs import Input
from traces.formats.reader import Action, Format, Options, Report
from traces.formats.text import chunks, is_text, keys
from traces.table import I64, U8

_ACTIONS = {
    "block_rq_issue": "D",
    "block_rq_complete": "C",
    "block_rq_insert": "I",
    "block_bio_queue": "Q",
    "block_rq_requeue": "R",
}
_NAMES = list(_ACTIONS)
_QUEUE = re.compile(rb"\bblock_bio_queue:")

_LAST_SECTOR = (1 << 54) - 1
_LAST_COUNT = (1 << 32) - 1
_LAST_TIME = 1 << 62
_MARKS = 100  # marks that are told one by one

_EVENT = re.compile(
    rb"^.*\[\d+\] +((?P<flags>\S+) +)?\d+\.\d+: +(\d+ +)?(?P<group>block:)?"
    rb"(?P<name>block_(rq_issue|rq_complete|rq_insert|rq_requeue|bio_queue)): +\d+,\d+ +(?P<word>[A-Z]+) ",
    re.MULTILINE,
)
_LOST = re.compile(r"CPU:\d+ \[(?:LOST )?(\d*) ?EVENTS(?: DROPPED)?\]")
_LOST_PERF = re.compile(r"PERF_RECORD_LOST\D*(\d+)")
_WRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")
_HEADER = re.compile(r"\s*#|version = \d+$|cpus=\d+$|trace-cmd: ")
_STACK = re.compile(r"\s*(=> |\d+: )?\S+\+0x[0-9a-f]+|\s*=> |\s+[0-9a-f]{8,16} ")


def _sniff(name: str, head: bytes) -> str | None:
    found = _EVENT.search(head) if is_text(head) else None
    if found is None or not WORD.fullmatch(found["word"].decode()):
        return None
    teller = "perf script prints" if found["group"] else "ftrace prints" if found["flags"] else "trace-cmd prints"
    return f"lines of {found['name'].decode()} as {teller} them"


class _Events:
    """One file's lines to events; what is none is noted or refused."""

    def __init__(self, file: str, insert: bool, words: Words, requests: Requests, report: Report) -> None:
        self._file, self._words, self._requests, self._report = file, words, requests, report
        letters = ["Q" if insert and letter == "I" else letter for letter in _ACTIONS.values()]
        self._action = np.array([CODE[letter] for letter in letters], np.uint8)
        self._rwbs = Meanings(words.code)
        self._names: list[str] = []
        self._others = Meanings(self._other)
        self._known = keys(_NAMES)
        self._marks = 0

    def events(self, lines: Lines) -> Events:
        """The events of a chunk that requests are made of."""
        p = parsed(lines.count)
        parse(lines.data, lines.start, lines.end, self._known, p)
        self._note_others(lines, p)
        for row in np.flatnonzero(p.status > OTHER).tolist():
            self._set_aside(lines, row, int(p.status[row]))
        rows = np.flatnonzero(p.status == BLOCK)
        p = cut(p, rows)
        word = self._rwbs.values(lines, p.word, p.word_at, p.word_end)
        nowhere = p.sector == NOWHERE
        good = (p.device >= 0) & (word >= 0) & (p.time >= 0) & (p.time <= _LAST_TIME)
        good &= (nowhere | (p.sector >= 0)) & (p.sector <= _LAST_SECTOR) & (p.sectors >= 0) & (p.sectors <= _LAST_COUNT)
        good &= (p.pid >= 0) & (p.pid <= _LAST_COUNT) & (p.bytes >= -1)
        for i in np.flatnonzero(~good).tolist():
            self._refuse(lines, int(rows[i]), p, i, int(word[i]))
        action = self._action[p.event]
        use = good.copy()
        use[good] = self._requests.wanted(action[good])
        return self._made(cut(p, use), action[use], word[use])

    def _made(self, p: Parsed, action: U8, word: I64) -> Events:
        complete = (action == CODE["C"]) | (action == CODE["R"])
        nowhere = p.sector == NOWHERE
        flush = self._words.table()[1][word] == Op.FLUSH
        # a command for the device itself has bytes and no sectors when it is issued, no sector when it is completed
        through = (p.command != 0) | (~complete & (p.sectors == 0) & (p.bytes > 0))
        through |= complete & nowhere & ~(flush & (p.sectors == 0))
        length = np.where(through, np.where(p.bytes > 0, p.bytes, p.sectors << 9), p.sectors << 9)
        self._report.note(
            "events whose bytes are not their sectors: the sectors count",
            int(np.count_nonzero(~through & (p.bytes > 0) & (p.bytes != p.sectors << 9))),
        )
        return Events(
            time=p.time,
            action=action,
            device=p.device.astype(np.uint32),
            offset=(np.where(through | nowhere, 0, p.sector) << 9).view(np.uint64),
            length=length.view(np.uint64),
            # whom a completion interrupts has nothing to do with it
            pid=np.where(action == CODE["C"], 0, p.pid).astype(np.uint32),
            word=word.astype(np.uint16),
            passthrough=through,
            unplaced=np.zeros(p.time.size, np.bool_),
            failed=(action == CODE["C"]) & (p.error != 0),
        )

    def _note_others(self, lines: Lines, p: Parsed) -> None:
        """Count other tracepoints' events by name; marks that a user wrote into the trace are told one by one."""
        rows = np.flatnonzero(p.status == OTHER)
        which = self._others.values(lines, p.name[rows], p.name_at[rows], p.name_end[rows])
        for number in np.unique(which).tolist():
            name, these = self._names[number], rows[which == number]
            if name in ("tracing_mark_write", "print"):
                for row in these[: _MARKS - self._marks].tolist():
                    mark = lines.text(row).split("tracing_mark_write:")[-1].split("print:")[-1].strip()
                    at = f"{p.time[row] // 10**9}.{p.time[row] % 10**9:09d} s"
                    self._report.note(f"mark at {at}: {mark[:80]}")
                self._report.note("further marks written into the trace", max(0, these.size + self._marks - _MARKS))
                self._marks = min(self._marks + these.size, _MARKS)
            elif name in ("<stack", "<user"):
                self._report.note("lines of stack traces", these.size)
            elif name == "PERF_RECORD_LOST":
                lost = [_LOST_PERF.search(lines.text(row)) for row in these.tolist()]
                self._report.note("events lost, as the trace says", sum(int(each[1]) for each in lost if each))
            else:
                self._report.note(f"events '{name[:60]}', which are no requests", these.size)

    def _other(self, name: str) -> int:
        self._names.append(name)
        return len(self._names) - 1

    def _set_aside(self, lines: Lines, row: int, status: int) -> None:
        """Note what belongs to such a file, refuse what does not."""
        text, note = lines.text(row), self._report.note
        if status == NO_DECIMALS:
            reason = "a time without decimals: in which unit that clock counts is not told"
            self._report.refuse(self._file, lines.number(row), reason, text)
        elif status == DAMAGED:
            reason = "not the fields of its event, or not all of them"
            self._report.refuse(self._file, lines.number(row), reason, text)
        elif not text.strip():
            note("empty lines")
        elif lost := _LOST.search(text):
            if lost[1]:
                note("events lost, as the trace says", int(lost[1]))
            else:
                note("times that events were lost, how many is not told")
        elif _HEADER.match(text):
            note("lines of comment")
            if written := _WRITTEN.match(text):
                note("events lost, overwritten in the kernel's buffer", max(0, int(written[2]) - int(written[1])))
        elif _STACK.match(text):
            note("lines of stack traces")
        else:
            self._report.refuse(self._file, lines.number(row), "no event: no [cpu], time and name of an event", text)

    def _refuse(self, lines: Lines, row: int, p: Parsed, i: int, word: int) -> None:
        if p.device[i] < 0:
            reason = "the device is not major,minor"
        elif word < 0:
            reason = "not an RWBS word"
        elif not 0 <= p.time[i] <= _LAST_TIME:
            reason = "the time is past the largest that can be"
        elif not 0 <= p.pid[i] <= _LAST_COUNT:
            reason = "no process id before the [cpu]"
        else:
            reason = "sector or number of sectors is past the largest that can be"
        self._report.refuse(self._file, lines.number(row), reason, lines.text(row))


def _has(source: Input, what: "re.Pattern[bytes]") -> bool:
    with replace(source, progress=lambda count: None).open() as stream:
        return any(what.search(chunk) for chunk in chunks(stream, Report()))


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "monotonic"
    words = Words(nothing=(Op.WRITE_ZEROES, Op.UNKNOWN))
    requests = Requests(options.action, words, report, empty=True)
    for source in sources:
        insert = options.action is Action.QUEUE and not _has(source, _QUEUE)
        events = _Events(source.name, insert, words, requests, report)
        number = 1
        with source.open() as stream:
            for chunk in chunks(stream, report):
                lines = Lines(chunk, number)
                number += lines.count
                for batch in requests.feed(events.events(lines)):
                    yield _noted(batch, report)
    for batch in requests.rest():
        yield _noted(batch, report)


_NOTHING = (pl.col("op") == Op.WRITE_ZEROES) & pl.col("raw").cast(pl.String).str.contains("N", literal=True)


def _noted(batch: pl.DataFrame, report: Report) -> pl.DataFrame:
    sentence = "requests N with sectors, taken to write zeroes; where a drive has zones they may be appends"
    if (batch["op"] == Op.WRITE_ZEROES).any():
        report.note(sentence, batch.filter(_NOTHING).height)
    return batch


FORMAT = Format(
    name="block-events",
    kind="block",
    doc="block_rq_issue and its relatives as ftrace, trace-cmd and perf script print them",
    sniff=_sniff,
    read=_read,
    declares=frozenset({"action"}),
)
