"""One line of a kernel trace: ``comm-pid [cpu] flags seconds: event: ...`` and its relatives, by a kernel.

ftrace prints ``comm-pid``, perhaps ``(tgid)``, ``[cpu]``, a word of flags, the time and the event; trace-cmd leaves the
flags out, or not; perf script prints ``comm pid [cpu]`` (or ``pid/tid``), the time and ``group:event``. A name may hold
blanks and brackets, hence a line is read from the first ``[cpu]`` that a time follows.
Source: linux, kernel/trace/trace_output.c (trace_print_context), include/trace/events/block.h; perf-script(1).
"""

from typing import Any, NamedTuple

import numpy as np

from traces.formats._eight import past_blanks
from traces.formats._lines import natural, past_word, seconds
from traces.formats.text import key
from traces.kernel import lean_kernel
from traces.table import I64, U8

# what a line is
BLOCK, OTHER, NO_EVENT, NO_DECIMALS, DAMAGED = 0, 1, 2, 3, 4


class Parsed(NamedTuple):
    """What the kernel fills: a row a line."""

    status: U8
    event: U8  # which of the known events
    time: I64  # nanoseconds
    pid: I64
    name: I64  # the event's name as a key, see `text`
    name_at: I64
    name_end: I64
    device: I64  # major << 20 | minor; -1 where they do not fit
    word: I64  # RWBS as a key
    word_at: I64
    word_end: I64
    bytes: I64  # -1 where not told
    sector: I64  # see `_lines.natural`
    sectors: I64
    command: U8  # whether a SCSI command is told
    error: I64


def parsed(count: int) -> Parsed:
    """Room for the lines of a chunk."""
    small = ("status", "event", "command")
    columns: list[Any] = [np.zeros(count, np.uint8 if name in small else np.int64) for name in Parsed._fields]
    return Parsed(*columns)


@lean_kernel
def _time(data: U8, i: int, out: Parsed, row: int) -> int:
    """Where the event begins if ``[cpu]`` ended at ``i`` and a time follows; else -1."""
    for _ in range(2):  # flags may stand before the time
        i = past_blanks(data, i)
        time, end = seconds(data, i)
        if end > i and data[end] == 58:
            out.time[row] = time
            return past_blanks(data, end + 1)
        _, end = natural(data, i)
        if end > i and data[end] == 58:
            out.status[row] = 3
            return -1
        i = past_word(data, i)
    return -1


@lean_kernel
def _pid(data: U8, begin: int, end: int) -> Any:
    """The process's number before ``end``, where ``[cpu]`` begins; -1 if there is none."""
    i = end - 1
    while i > begin and (data[i] == 32 or data[i] == 9):
        i -= 1
    if data[i] == 41:  # (tgid)
        while i > begin and data[i] != 40:
            i -= 1
        i -= 1
        while i > begin and (data[i] == 32 or data[i] == 9):
            i -= 1
    last = i
    while i >= begin and 48 <= data[i] <= 57:
        i -= 1
    if i > begin and data[i] == 47 and 48 <= data[i - 1] <= 57:  # pid/tid
        i -= 1
        while i >= begin and 48 <= data[i] <= 57:
            i -= 1
    if i == last:
        return np.int64(-1)
    value, _ = natural(data, i + 1)
    return value


@lean_kernel
def _fields(data: U8, i: int, end: int, row: int, out: Parsed) -> bool:
    """The fields of a block request's event from ``i`` on; False if the line is not whole."""
    major, k = natural(data, i)
    if k == i or data[k] != 44:
        return False
    minor, j = natural(data, k + 1)
    if j == k + 1 or data[j] != 32:
        return False
    out.device[row] = (major << 20) | minor if 0 <= major < 1 << 12 and 0 <= minor < 1 << 20 else -1
    i = past_blanks(data, j)
    j = past_word(data, i)
    if j == i or j >= end:
        return False
    out.word[row], out.word_at[row], out.word_end[row] = key(data, i, j), i, j
    i = past_blanks(data, j)
    out.bytes[row] = -1
    value, j = natural(data, i)
    j = past_blanks(data, j)
    if data[j] == 40:  # bytes (command)
        if j > i:
            out.bytes[row] = value
        i = j + 1
        while j < end and data[j] != 41:
            j += 1
        if j >= end:
            return False
        out.command[row] = j > i
        i = past_blanks(data, j + 1)
        value, j = natural(data, i)
        j = past_blanks(data, j)
    if j == i or data[j] != 43:
        return False
    out.sector[row] = value
    i = past_blanks(data, j + 1)
    value, j = natural(data, i)
    if j == i or data[j] != 32:
        return False
    out.sectors[row] = value
    while j < end and data[j] != 91:
        j += 1
    i = end - 1
    while i > j and (data[i] == 32 or data[i] == 9 or data[i] == 13):
        i -= 1
    if j >= end or data[i] != 93:
        return False
    j += 1
    negative = data[j] == 45
    value, end_ = natural(data, j + 1 if negative else j)
    out.error[row] = (-value if negative else value) if data[end_] == 93 else 0
    return True


@lean_kernel
def parse(data: U8, start: I64, end: I64, known: I64, out: Parsed) -> None:
    """Fill ``out``; ``known`` are the keys of the names of the events whose fields are wanted."""
    for row in range(start.size):
        begin, stop = start[row], end[row]
        out.status[row] = 2
        event, i = -1, begin
        while i < stop and event < 0:
            if data[i] == 91 and 48 <= data[i + 1] <= 57 and (i == begin or data[i - 1] == 32 or data[i - 1] == 9):
                cpu = i
                _, i = natural(data, i + 1)
                if data[i] == 93 and data[i + 1] == 32:
                    event = _time(data, i + 1, out, row)
                    if event >= 0:
                        out.pid[row] = _pid(data, begin, cpu)
                        break
            i += 1
        if event < 0:
            continue
        i = event
        j = past_word(data, i)
        _, k = natural(data, i)
        if k == j and k > i:  # perf script may print a period before the event
            i = past_blanks(data, j)
            j = past_word(data, i)
        after = j
        if j > i and data[j - 1] == 58:
            j -= 1
        else:  # "name:text" of a mark
            k = i
            while k < j and data[k] != 58:
                k += 1
            if k < j:
                j = k
                after = k + 1
        k = i
        while k < j:
            if data[k] == 58:
                i = k + 1
            k += 1
        out.name[row], out.name_at[row], out.name_end[row] = key(data, i, j), i, j
        out.status[row] = 1
        for which in range(known.size):
            if known[which] == out.name[row]:
                out.event[row] = which
                out.status[row] = 0 if _fields(data, past_blanks(data, after), stop, row, out) else 4
