"""QEMU's log of its NVMe device: events ``pci_nvme_*``.

A record is a command to a namespace, or a range of one: its extent from ``pci_nvme_read``, ``_write`` (with the
operation's name), ``_dsm_deallocate``, ``_open_zone`` and others, its latency and status from
``pci_nvme_enqueue_req_completion``. Copies are reads of their sources and a write. Times stand before the event
(``thread@seconds.microseconds:``) or not at all: then records are numbered. ``raw`` is the device's name of the
operation, what is done to a zone and whether to all, and the status if the command failed. The lines do not say which
device they are of: two devices in one log cannot be told apart.

The size of a namespace's blocks is what its reads and writes say (``count`` bytes for ``nlb`` blocks), wherever in the
log the first of them stands. How lines and commands go together: `traces.formats._nvme_log`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from traces.block import Op
from traces.formats import _nvme_log as log
from traces.formats._lines import Lines, Meanings
from traces.formats._nvme import ACTIONS, LAST_BYTE, NAMES, OPCODES, Commands, Raw, frame
from traces.formats._nvme_log import Found, Open, Parsed
from traces.formats._requests import cut
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import Codes, chunks, is_text
from traces.table import I64

HOLD = 1 << 18  # a record waits for its completion until so many came after it
_LINE = re.compile(rb"^(?:\d+@\d+\.\d+:)?(?:(pci_nvme_)\w+|\w+_\w+)(?: |\r?$)", re.MULTILINE)
_COUNTED = re.compile(
    rb"^(?:\d+@\d+\.\d+:)?pci_nvme_(?:read|write|rw) .*?\bnsid (\d+) nlb (\d+) count (\d+) ", re.MULTILINE
)
_ALL = 0xFFFFFFFF  # a command to all namespaces
_MARKS, _OTHERS = 100, 200  # what is told one by one
_WITH_EXTENT = (Op.READ, Op.WRITE, Op.WRITE_ZEROES, Op.DISCARD, Op.ZONE_APPEND)
_FALLBACK = {
    log.READ: "READ",
    log.WRITE: "WRITE",
    log.WRITE_ZEROES: "WRITE_ZEROES",
    log.COMPARE: "COMPARE",
    log.VERIFY: "VERIFY",
    log.MGMT_RECV: "MGMT_RECV",
}


def _sniff(name: str, head: bytes) -> str | None:
    found = [match[1] is not None for match in _LINE.finditer(head)] if is_text(head) else []
    if not any(found) or 2 * sum(found) <= len(found):
        return None
    return f"{sum(found)} of the first {len(found)} events are pci_nvme_*, as QEMU logs them"


def _name(opname: str) -> str:
    """``NVME_ZONED_CMD_ZONE_APPEND`` is a ``ZONE_APPEND``."""
    return opname.upper().split("CMD_", 1)[-1]


class _Log:
    """One file's lines to records."""

    def __init__(self, source: Input, report: Report) -> None:
        self._source, self._report = source, report
        self._timed: bool | None = None
        self._names: list[str] = []  # operations, by code
        self._name = Meanings(self._new_name)
        self._events: list[str] = []
        self._event = Meanings(self._new_event)
        self._keys, self._threads = Codes(), Codes()
        self._queue_of = np.arange(1 << 16)
        self._open = Open(np.empty(0, np.int64), np.empty(0, np.int64), np.full(4096, -1), np.zeros(1, log.STATE))
        self._found = Found(*_columns(0))
        self._words: list[str] = []
        self._word, self._word_codes = Codes(), np.empty(0, np.int64)
        self._raw = Raw(self._words)
        self._sizes: dict[int, int] = {}
        self._sought = False
        self._ordinal = self._marks = 0

    def _new_name(self, word: str) -> int:
        self._names.append(word)
        return len(self._names) - 1

    def _new_event(self, word: str) -> int:
        self._events.append(word)
        return len(self._events) - 1

    def records(self, lines: Lines) -> Iterator[pl.DataFrame]:
        """Take a chunk; give the records that need not wait any longer."""
        p = log.parsed(lines.count)
        log.parse(lines.data, lines.start, lines.end, log.PLAN, p)
        if self._timed is None and (p.status == log.DEVICE).any():
            self._timed = bool(p.timed[np.flatnonzero(p.status == log.DEVICE)[0]])
            self._report.clock = "unix" if self._timed else "ordinal"
        self._set_aside(lines, p)
        keys = np.empty((2, lines.count), np.int64)
        log.queues(p, self._queue_of, keys)
        opname = np.full(lines.count, -1)
        told = np.flatnonzero((p.opname != 0) & (p.status == log.DEVICE))
        opname[told] = self._name.values(lines, p.opname[told], p.opname_at[told], p.opname_end[told])
        codes = self._keys.encode(keys.reshape(-1))[0].astype(np.int64).reshape(2, -1)
        thread = self._threads.encode(p.thread)[0].astype(np.int64)
        by_key, current = _grown(self._open.by_key, codes), _grown(self._open.current, thread)
        self._open = self._open._replace(by_key=by_key, current=current)
        waiting = self._found.time.size
        self._found = Found(*map(np.append, self._found, _columns(lines.count)))
        self._open.state["rows"] = waiting
        log.follow(p, lines.first, np.vstack([codes, thread, opname]), self._found, self._open)
        self._found = cut(self._found, slice(int(self._open.state["rows"][0])))
        self._learn(waiting)
        undone = np.flatnonzero(self._found.done == 0)
        ready = int(undone[0]) if undone.size else self._found.time.size
        yield from self._hand_out(max(ready, self._found.time.size - HOLD))

    def rest(self) -> Iterator[pl.DataFrame]:
        """Give all that is left, and report."""
        yield from self._hand_out(self._found.time.size)
        s, note = self._open.state[0], self._report.note
        note("commands whose completion was not found", int(s["lost"] + s["late"]))
        note("completions of commands that were not seen", int(s["orphans"]))
        note("completions of commands to the device itself", int(s["admin"]))
        note("ranges, or commands to zones, whose command was not seen", int(s["strange"]))
        note("copies' writes, each a record beside those of the reads", int(s["copies"]))
        note("further ranges of deallocations, each a record", int(s["more"]))

    def _learn(self, first: int) -> None:
        """The size of a block from reads and writes: the largest power of two, for metadata may be counted too."""
        f = cut(self._found, slice(first, None))
        rows = np.flatnonzero((f.counted > 0) & (f.blocks > 0))
        spaces, at = np.unique(f.space[rows], return_index=True)
        for space, row in zip(spaces.tolist(), rows[at].tolist(), strict=True):
            self._sizes.setdefault(space, _size(int(f.counted[row]), int(f.blocks[row])))

    def _seek(self) -> None:
        """Look through the whole file for the sizes of blocks that are not known yet."""
        self._sought = True
        with replace(self._source, progress=lambda count: None).open() as stream:
            for chunk in chunks(stream, Report()):
                for found in _COUNTED.finditer(chunk):
                    space, blocks, count = map(int, found.groups())
                    if blocks and count:
                        self._sizes.setdefault(space, _size(count, blocks))

    def _hand_out(self, count: int) -> Iterator[pl.DataFrame]:
        if not count:
            return
        found = cut(self._found, slice(count))
        self._found = cut(self._found, slice(count, None))
        late = (self._open.by_key >= 0) & (self._open.by_key < count)
        self._open.state["late"] += np.count_nonzero(late)
        for column in (self._open.by_key, self._open.current, self._open.waiting, self._found.next):
            np.subtract(column, count, out=column)
            np.maximum(column, -1, out=column)
        batch = self._batch(found)
        if batch is not None:
            yield batch

    def _batch(self, f: Found) -> pl.DataFrame | None:
        """Records of what was found; those that have an extent in blocks of unknown size are refused."""
        needs = (f.block > 0) | (f.blocks > 0)
        spaces, inverse = np.unique(f.space, return_inverse=True)
        if not self._sought and any(space not in self._sizes for space in np.unique(f.space[needs]).tolist()):
            self._seek()
        size = np.array([self._sizes.get(space, 0) for space in spaces.tolist()], np.int64)[inverse]
        unknown = needs & (size == 0)
        far = (np.maximum(f.block, f.blocks) > LAST_BYTE // np.maximum(size, 1)) | (f.space > _ALL)
        for row in np.flatnonzero(unknown | far).tolist():
            what = "its end, or its namespace, is past the largest that can be"
            if not far[row]:
                what = "no read or write tells how large the namespace's blocks are"
            told = f"cid {f.cid[row]} nsid {f.space[row]} block {f.block[row]} blocks {f.blocks[row]}"
            self._report.refuse(self._source.name, int(f.line[row]), what, told)
        f, size = cut(f, ~(unknown | far)), size[~(unknown | far)]
        if not f.time.size:
            return None
        spaces, first, inverse = np.unique(f.space, return_index=True, return_inverse=True)
        volume = np.empty(spaces.size, np.int64)
        for each in np.argsort(first).tolist():
            volume[each] = self._report.volume(f"ns{spaces[each]}" if spaces[each] != _ALL else "all namespaces")
        word, op = self._operations(f)
        time = f.time
        if not self._timed:
            time = np.arange(self._ordinal, self._ordinal + f.time.size)
            self._ordinal += f.time.size
        appends = int(np.count_nonzero((op == Op.ZONE_APPEND) & (f.status == 0)))
        self._report.note("zone appends, whose place in the zone is not kept", appends)
        silent = (f.event == log.REST) & np.isin(op, _WITH_EXTENT)
        self._report.note("commands whose extent the log does not tell", int(np.count_nonzero(silent)))
        commands = Commands(
            time=time,
            op=op,
            space=volume[inverse],
            offset=np.maximum(f.block, 0) * size,
            length=f.blocks * size,
            latency=np.maximum(f.latency, -1),
            queue=f.queue & 0xFFFF,
            status=f.status,
            word=word,
        )
        return frame(commands, self._raw)

    def _operations(self, f: Found) -> tuple[I64, Any]:
        """[record] -> code of its word, and what it does."""
        key = ((f.opcode + 1) << 48) | ((f.opname + 1) << 24) | (f.event << 16) | ((f.action + 1) << 8) | f.every
        codes, fresh = self._word.encode(key)
        for row in fresh:
            word, op = self._meaning(*(int(column[row]) for column in (f.opcode, f.opname, f.event, f.action, f.every)))
            self._words.append(word)
            self._word_codes = np.append(self._word_codes, int(op))
        return codes.astype(np.int64), self._word_codes[codes].astype(np.uint8)

    def _meaning(self, opcode: int, opname: int, event: int, action: int, every: int) -> tuple[str, Op]:
        name = self._names[opname] if opname >= 0 else ""
        if not name:
            name = OPCODES[opcode][0] if opcode in OPCODES else _FALLBACK.get(event, f"opcode {opcode:#x}")
        op = OPCODES[opcode][1] if opcode in OPCODES else NAMES.get(_name(name), Op.UNKNOWN)
        if event in (log.SOURCE, log.COPY_OUT):
            return name, Op.READ if event == log.SOURCE else Op.WRITE
        if event == log.DSM:  # ranges that are not to be deallocated, or never came
            return f"{name} without ranges", Op.UNKNOWN
        if action >= 0:
            what, op = ACTIONS.get(action, (f"action {action:#x}", Op.ZONE_MANAGE))
            unaligned = " unaligned" if event == log.UNALIGNED else ""
            return f"{name} {what}{'_ALL' if every else ''}{unaligned}", op
        return name, op

    def _set_aside(self, lines: Lines, p: Parsed) -> None:
        """Note what other events there are, refuse what is none."""
        device = p.status == log.DEVICE
        bad = device & (((p.whole == 0) & (p.event != log.MARK)) | (p.timed != bool(self._timed)) | (p.time < 0))
        p.status[bad] = log.NO_EVENT
        for row in np.flatnonzero(p.status == log.NO_EVENT).tolist():
            text = lines.text(row)
            if bad[row]:
                reason = "not all that belongs to its event" if not p.whole[row] else "no time as the other lines have"
                self._report.refuse(self._source.name, lines.number(row), reason, text)
            elif not text.strip() or text.startswith("#"):
                self._report.note("lines of comment" if text.strip() else "empty lines")
            else:
                self._report.refuse(self._source.name, lines.number(row), "no event of QEMU's log", text)
        other = np.flatnonzero(p.status == log.OTHER)
        codes = self._event.values(lines, p.name[other], p.name_at[other], p.name_end[other])
        for code, count in zip(*(part.tolist() for part in np.unique(codes, return_counts=True)), strict=True):
            name = self._events[code][:60] if code < _OTHERS else "other names"
            self._report.note(f"events {name}, which are no commands", count)
        event = np.where(p.status == log.DEVICE, p.event, log.REST)
        self._report.note("commands to the device itself", int(np.count_nonzero(event == log.ADMIN)))
        mark = (event == log.MARK) & (p.opname == log.DEBUG_CONSOLE) & (p.whole != 0)
        self._report.note("writes to other memory regions", int(np.count_nonzero((event == log.MARK) & ~mark)))
        for row in np.flatnonzero(mark)[: _MARKS - self._marks].tolist():
            at, value = f"line {lines.number(row)}", int(p.value[log.VALUE, row])
            if self._timed:
                at = f"{p.time[row] // 10**9}.{p.time[row] % 10**9 // 1000:06d}"
            self._report.note(f"mark at {at}: {value:#x} written to the debug console")
        marks = self._marks + int(np.count_nonzero(mark))
        self._report.note("further marks written to the debug console", max(0, marks - _MARKS))
        self._marks = min(marks, _MARKS)


def _columns(count: int) -> list[Any]:
    return [np.empty(count, np.int64) for _ in Found._fields]


def _grown(known: I64, codes: I64) -> I64:
    """Room for codes that are new."""
    more = (int(codes.max()) + 1 if codes.size else 0) - known.size
    return np.append(known, np.full(more, -1)) if more > 0 else known


def _size(count: int, blocks: int) -> int:
    return 1 << ((count // blocks).bit_length() - 1) if count >= blocks else 0


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        of, first = _Log(source, report), 1
        with source.open() as stream:
            for chunk in chunks(stream, report):
                lines = Lines(chunk, first)
                first += lines.count
                yield from of.records(lines)
        yield from of.rest()


FORMAT = Format(
    name="qemu-nvme", kind="block", doc="QEMU's log of its NVMe device, events pci_nvme_*", sniff=_sniff, read=_read
)
