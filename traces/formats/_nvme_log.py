"""The events of QEMU's NVMe device: lines to numbers, then numbers to commands, by kernels.

A command leaves ``pci_nvme_io_cmd`` (number, namespace, queue, opcode), then on the same thread events that say what it
asks for, and at last ``pci_nvme_enqueue_req_completion``, by number and completion queue. Ranges of a deallocation or a
copy follow one by one, as the device comes to them, and do not say whose they are: the first stands behind its command,
any other goes to the oldest command that lacks one. Where a log has no ``pci_nvme_io_cmd``, what says what is asked for
makes the command. Source: QEMU, hw/nvme/trace-events and hw/nvme/ctrl.c; hw/block/trace-events before 6.1.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.formats._eight import past_blanks
from traces.formats._lines import natural, number, past_word, seconds
from traces.formats.text import key, keys
from traces.kernel import lean_kernel
from traces.table import I64, U8

# what a line is
DEVICE, OTHER, NO_EVENT = 0, 1, 2

IO_CMD, READ, WRITE, RW, WRITE_ZEROES, COMPARE, VERIFY, MGMT_RECV, DSM, DEALLOCATE = range(10)
COPY, SOURCE, COPY_OUT, UNALIGNED, CLOSE, FINISH, OPEN, RESET, OFFLINE, DESCRIPTOR = range(10, 20)
COMPLETION, CREATE_SQ, STATUS, MARK, ADMIN, BEYOND, REST = range(20, 27)
EVENTS = (
    *("pci_nvme_io_cmd", "pci_nvme_read", "pci_nvme_write", "pci_nvme_rw", "pci_nvme_write_zeroes"),
    *("pci_nvme_compare", "pci_nvme_verify", "pci_nvme_zone_mgmt_recv", "pci_nvme_dsm", "pci_nvme_dsm_deallocate"),
    *("pci_nvme_copy", "pci_nvme_copy_source_range", "pci_nvme_copy_out", "pci_nvme_err_unaligned_zone_cmd"),
    *("pci_nvme_close_zone", "pci_nvme_finish_zone", "pci_nvme_open_zone", "pci_nvme_reset_zone"),
    *("pci_nvme_offline_zone", "pci_nvme_set_descriptor_extension", "pci_nvme_enqueue_req_completion"),
    *("pci_nvme_create_sq", "pci_nvme_err_req_status", "memory_region_ops_write", "pci_nvme_admin_cmd"),
    "pci_nvme_err_invalid_lba_range",
)
KEYS = (
    "cid",
    "nsid",
    "sqid",
    "cqid",
    "nlb",
    "count",
    "lba",
    "slba",
    "opc",
    "status",
    "all",
    "nr",
    "op",
    "addr",
    "value",
    "start",
)
CID, NSID, SQID, CQID, NLB, COUNT, LBA, SLBA, OPC, STATUS_, ALL, NR, ACTION, ADDRESS, VALUE, START = range(16)

# by event: the keys without which its line is not whole
_NEEDS = {
    IO_CMD: (CID, NSID, SQID, OPC),
    READ: (CID, NLB, COUNT, LBA),
    WRITE: (CID, NLB, COUNT, LBA),
    RW: (CID, NLB, COUNT, LBA),
    WRITE_ZEROES: (CID, SLBA, NLB),
    COMPARE: (CID, SLBA, NLB),
    VERIFY: (CID, SLBA, NLB),
    MGMT_RECV: (CID, SLBA),
    DSM: (NR,),
    DEALLOCATE: (SLBA, NLB),
    COPY: (CID, NR),
    SOURCE: (SLBA, NLB),
    COPY_OUT: (SLBA, NLB),
    UNALIGNED: (ACTION, SLBA),
    **dict.fromkeys((CLOSE, FINISH, OPEN, RESET, OFFLINE), (SLBA, ALL)),
    DESCRIPTOR: (SLBA,),
    COMPLETION: (CID, CQID, STATUS_),
    CREATE_SQ: (SQID, CQID),
    STATUS: (CID, STATUS_, OPC),
    MARK: (ADDRESS, VALUE),
    BEYOND: (START,),
}


class Plan(NamedTuple):
    """What the first kernel knows."""

    events: I64  # the names of `EVENTS` and `KEYS`, as keys
    names: I64
    needs: I64  # [event] -> the keys without which its line is not whole, as bits


_BITS = [sum(1 << each for each in _NEEDS.get(event, ())) for event in range(REST + 1)]
PLAN = Plan(keys(EVENTS), keys(KEYS), np.array(_BITS, np.int64))
DEBUG_CONSOLE = int(keys(["isa-debugcon"])[0])


class Parsed(NamedTuple):
    """What the first kernel fills: a row a line."""

    status: U8
    event: U8
    timed: U8
    whole: U8
    time: I64  # nanoseconds
    thread: I64
    name: I64  # the event's, as a key
    name_at: I64
    name_end: I64
    opname: I64  # what the line calls the operation, as a key; 0 where it does not
    opname_at: I64
    opname_end: I64
    value: NDArray[np.int64]  # [key, line], -1 where not told


def parsed(count: int) -> Parsed:
    """Room for the lines of a chunk."""
    columns: list[Any] = [np.zeros(count, np.uint8) for _ in range(4)]
    columns += [np.zeros(count, np.int64) for _ in range(8)]
    columns.append(np.full((len(KEYS), count), -1))
    return Parsed(*columns)


@lean_kernel
def _is_name(c: int) -> bool:
    return bool(97 <= (c | 32) <= 122 or 48 <= c <= 57 or c == 95)


@lean_kernel
def parse(data: U8, start: I64, end: I64, plan: Plan, out: Parsed) -> None:
    """Fill ``out``."""
    events, names, needs = plan.events, plan.names, plan.needs
    for row in range(start.size):
        i, stop = start[row], end[row]
        thread, j = natural(data, i)
        if j > i and data[j] == 64:
            time, k = seconds(data, j + 1)
            if k > j + 1 and data[k] == 58:
                out.timed[row], out.time[row], out.thread[row] = 1, time, thread
                i = k + 1
        j = i
        under = False
        while _is_name(data[j]):
            under |= data[j] == 95
            j += 1
        out.status[row] = 2
        if not under or 48 <= data[i] <= 57 or not (data[j] == 32 or data[j] == 10 or data[j] == 13):
            continue
        name = key(data, i, j)
        out.name[row], out.name_at[row], out.name_end[row] = name, i, j
        out.event[row] = events.size
        out.status[row] = 1
        for which in range(events.size):
            if events[which] == name:
                out.event[row] = which
                out.status[row] = 0
                break
        if out.status[row] != 0:
            continue
        seen = np.int64(0)
        i = j
        while True:
            i = past_blanks(data, i)
            if i >= stop or data[i] == 13:
                break
            if data[i] == 39 or data[i] == 34:  # 'WRITE'
                j = i + 1
                while j < stop and data[j] != data[i]:
                    j += 1
                out.opname[row], out.opname_at[row], out.opname_end[row] = key(data, i + 1, j), i + 1, j
                i = j + 1 if j < stop else stop
                continue
            j = i
            while _is_name(data[j]):
                j += 1
            if j > i and (data[j] == 61 or data[j] == 32):
                word = key(data, i, j)
                for which in range(names.size):
                    if names[which] == word:
                        k = past_blanks(data, j) if data[j] == 32 else j + 1
                        value, last = number(data, k)
                        c = data[last]
                        if last > k and value >= 0 and (c == 32 or c == 44 or c == 10 or c == 13):
                            out.value[which, row] = value
                            seen |= np.int64(1) << np.int64(which)
                        break
            i = past_word(data, j if data[j] != 61 else j + 1)
        out.whole[row] = seen & needs[out.event[row]] == needs[out.event[row]]


class Found(NamedTuple):
    """What the second kernel keeps of records: those that wait for their completion, then new ones."""

    line: I64  # in the file
    time: I64
    cid: I64
    queue: I64
    space: I64
    opcode: I64  # -1 where not told
    opname: I64  # code, -1 where not told
    event: I64  # what told its extent, REST if nothing did
    action: I64  # of a command to zones, -1 where not told
    every: I64  # 1: to all zones
    block: I64  # first logical block, -1 where not told
    blocks: I64
    counted: I64  # bytes as the device counts them, -1 where not told
    ranges: I64  # how many ranges are yet to come
    status: I64  # -1 while not known
    latency: I64
    done: I64
    next: I64  # the next record of the same command, or -1


STATE = np.dtype([(n, np.int64) for n in ("rows", "lost", "orphans", "late", "admin", "strange", "copies", "more")])


class Open(NamedTuple):
    """Commands that are open."""

    by_key: I64  # [code of (queue, number)] -> record, -1 none
    current: I64  # [thread's code] -> the record of its last command, -1 none
    waiting: I64  # deallocations and copies whose ranges are yet to come: records; -1 where gone
    state: NDArray[Any]  # [1], see `STATE`


@lean_kernel
def queues(p: Parsed, cq_of: I64, out: NDArray[np.int64]) -> None:
    """[2, line] -> completion queue << 16 | number of a command, of a command without a queue."""
    for row in range(p.event.size):
        event, cid = p.event[row], p.value[0, row] & 0xFFFF
        out[0, row] = out[1, row] = np.int64(0x1FFFF) << np.int64(16) | cid
        if p.status[row] != 0 or not p.whole[row]:
            continue
        if event == 21:
            cq_of[p.value[2, row] & 0xFFFF] = p.value[3, row] & 0xFFFF
        elif event == 0:
            out[0, row] = cq_of[p.value[2, row] & 0xFFFF] << np.int64(16) | cid
        elif event == 20:
            out[0, row] = (p.value[3, row] & 0xFFFF) << np.int64(16) | cid


@lean_kernel
def _new(f: Found, n: int, line: int, time: int, cid: int) -> None:
    f.line[n], f.time[n], f.cid[n], f.space[n] = line, time, cid, 1
    f.queue[n] = f.every[n] = f.blocks[n] = f.ranges[n] = f.done[n] = 0
    f.opcode[n] = f.opname[n] = f.action[n] = f.block[n] = f.counted[n] = f.status[n] = f.latency[n] = f.next[n] = -1
    f.event[n] = 26


@lean_kernel
def _part(f: Found, n: int, parent: Any, line: int) -> None:
    """One more record of a command."""
    _new(f, n, line, f.time[parent], f.cid[parent])
    f.space[n], f.queue[n] = f.space[parent], f.queue[parent]
    f.opcode[n], f.opname[n] = f.opcode[parent], f.opname[parent]
    f.next[n] = f.next[parent]
    f.next[parent] = n


@lean_kernel
def follow(p: Parsed, first: int, codes: NDArray[np.int64], f: Found, o: Open) -> None:
    """Take a chunk's events in their order; ``codes`` are [key, key without a queue, thread, opname] by line."""
    s = o.state[0]
    for row in range(p.event.size):
        if p.status[row] != 0 or not p.whole[row]:
            continue
        event, n = np.int64(p.event[row]), s.rows
        cid, time = p.value[0, row], p.time[row]
        current = o.current[codes[2, row]]
        if event == 0:
            old = o.by_key[codes[0, row]]
            s.lost += old >= 0
            _new(f, n, first + row, time, cid)
            f.space[n], f.queue[n] = p.value[1, row], p.value[2, row]
            f.opcode[n], f.opname[n] = p.value[8, row], codes[3, row]
            o.by_key[codes[0, row]] = o.current[codes[2, row]] = n
            s.rows += 1
        elif event <= 7:  # what is asked for, with the command's number
            mine = current >= 0 and f.cid[current] == cid and f.event[current] == 26 and not f.done[current]
            if not mine:
                current = n
                s.lost += o.by_key[codes[1, row]] >= 0
                _new(f, n, first + row, time, cid)
                f.opname[n] = codes[3, row]
                o.by_key[codes[1, row]] = n
                s.rows += 1
            f.event[current] = event
            f.block[current] = p.value[6, row] if p.value[6, row] >= 0 else p.value[7, row]
            f.blocks[current], f.counted[current] = max(p.value[4, row], 0), p.value[5, row]
            if p.value[1, row] >= 0:
                f.space[current] = p.value[1, row]
        elif event == 8 or event == 10:
            mine = current >= 0 and f.opcode[current] == (0x09 if event == 8 else 0x19) and f.event[current] == 26
            if not mine:
                current = n
                _new(f, n, first + row, time, cid)
                f.space[n] = max(p.value[1, row], 1)
                f.opcode[n] = 0x09 if event == 8 else 0x19
                if cid >= 0:
                    o.by_key[codes[1, row]] = n
                o.current[codes[2, row]] = n
                s.rows += 1
            f.event[current] = event
            f.ranges[current] = p.value[11, row] * (1 if event == 8 else 2)
            for i in range(o.waiting.size):
                if o.waiting[i] < 0:
                    o.waiting[i] = current
                    break
        elif event == 9 or event == 11 or event == 12:
            opcode = 0x09 if event == 9 else 0x19
            parent, place = np.int64(-1), np.int64(-1)
            for i in range(o.waiting.size):
                w = np.int64(o.waiting[i])
                if w < 0 or f.opcode[w] != opcode:
                    continue
                if w == current and f.block[w] < 0:  # its first range stands behind it
                    parent, place = w, np.int64(i)
                    break
                if parent < 0 or w < parent:
                    parent, place = w, np.int64(i)
            if parent < 0:
                s.strange += 1
                continue
            f.ranges[parent] -= 1
            if f.ranges[parent] <= 0:
                o.waiting[place] = -1
            if f.block[parent] >= 0:
                _part(f, n, parent, first + row)
                parent = np.int64(n)
                s.rows += 1
                s.more += event == 9
            s.copies += event == 12
            f.event[parent], f.block[parent], f.blocks[parent] = event, p.value[7, row], p.value[4, row]
        elif event <= 19:  # a command to zones
            if current < 0 or f.opcode[current] != 0x79 or f.event[current] != 26 or f.done[current]:
                s.strange += 1
                continue
            f.event[current], f.block[current] = event, p.value[7, row]
            f.every[current] = p.value[10, row] == 1
            f.action[current] = p.value[12, row] if event == 13 else 0x10 if event == 19 else event - 13
        elif event == 20:
            at = codes[0, row]
            if o.by_key[at] < 0:
                at = codes[1, row]
            n = o.by_key[at]
            if n < 0:
                s.admin += p.value[3, row] == 0
                s.orphans += p.value[3, row] != 0
                continue
            o.by_key[at] = -1
            if f.opcode[n] == 0x09 or f.opcode[n] == 0x19:
                for i in range(o.waiting.size):
                    if o.waiting[i] == n:
                        o.waiting[i] = -1
            latency = time - f.time[n]
            while n >= 0:
                f.latency[n], f.status[n], f.done[n] = latency if p.timed[row] else -1, p.value[9, row], 1
                n = f.next[n]
        elif event == 22 and current >= 0 and f.cid[current] == cid and f.opcode[current] == p.value[8, row]:
            f.status[current] = p.value[9, row]
        elif event == 25 and current >= 0 and f.event[current] == 26 and not f.done[current]:
            to_zones = f.opcode[current] == 0x79 or f.opcode[current] == 0x7A
            f.block[current] = p.value[15, row] if to_zones else f.block[current]  # no more is told
