"""From exits, port and memory accesses of virtual processors to accesses of PCI configuration space: a kernel.

Everything is followed by thread, for that is what a virtual processor is; only entries and the newer exits say its
number. A read that user space completes is told twice, first as ``unsatisfied-read``, then with its value: they are
one. Where no ``kvm_mmio`` follows an exit, the page fault that does tells the address.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel
from traces.table import I64, U8

EXIT, FAULT, PORT, MEMORY, ENTRY = range(5)  # events
READ, WRITE, UNSATISFIED = range(3)  # of a port or of memory

INDEX, VCPU, WAITING, WAIT_TIME, WAIT_AT, WAIT_WIDTH, EXITED, FAULTED, FAULT_TIME, FAULT_AT, FAULT_WRITE = range(11)
PLACES = 11  # what is known of a thread

COUNTS = {
    "port_reads": "reads of other ports",
    "port_writes": "writes of other ports",
    "memory_reads": "reads of memory-mapped registers elsewhere",
    "memory_writes": "writes of memory-mapped registers elsewhere",
    "pairs": "reads told twice, unsatisfied and with their value: counted once",
    "unsatisfied": "reads whose value was not seen",
    "rebuilt": "exits whose guest address the page fault after them tells",
    "index_reads": "reads of the address port 0xCF8",
    "index_writes": "writes of the address port 0xCF8",
    "index_odd": "accesses to the address port that are not 4 bytes wide, without effect",
    "disabled": "accesses to the data port while the address port had bit 31 clear: of no function",
    "nowhere": "accesses to the data port before anything was written to the address port: function not told",
}
_COUNTS = np.dtype([(name, "i8") for name in COUNTS])


class Lines(NamedTuple):
    """What the trace says, a row a line."""

    event: U8
    thread: I64  # code
    time: I64
    vcpu: I64  # -1 where not told
    op: I64
    address: I64
    width: I64
    value: I64  # of a page fault: 1 if it was a write


class Accesses(NamedTuple):
    """What is made of it, a row an access."""

    time: I64
    op: I64
    mechanism: I64
    cpu: I64
    place: I64  # function << 12 | register
    width: I64
    value: I64


class State(NamedTuple):
    """What is known, and what was counted."""

    threads: I64  # [thread, what]
    window: I64  # first byte of ECAM, and one past its last
    counted: NDArray[np.void]


def room(threads: int) -> I64:
    """What is known of threads not seen before."""
    known = np.zeros((threads, PLACES), np.int64)
    known[:, INDEX] = -1
    return known


def start(window: tuple[int, int]) -> State:
    """What is known at the start."""
    return State(room(8), np.array(window, np.int64), np.zeros(1, _COUNTS))


@lean_kernel
def _put(out: Accesses, row: int, what: tuple[int, int, int, int], known: I64) -> None:
    out.time[row], out.op[row], out.mechanism[row], out.place[row] = what
    out.cpu[row] = known[VCPU]


@lean_kernel
def _close(known: I64, state: State, out: Accesses, row: int) -> int:
    """End what a thread is about: an unsatisfied read, an exit at an address; how many rows there are then."""
    first, end = state.window
    c = state.counted[0]
    if known[WAITING]:
        c.unsatisfied += 1
        if first <= known[WAIT_AT] < end:
            _put(out, row, (known[WAIT_TIME], 0, 1, known[WAIT_AT] - first), known)
            out.width[row], out.value[row] = known[WAIT_WIDTH], 0
            row += 1
        else:
            c.memory_reads += 1
        known[WAITING] = 0
    if known[FAULTED]:
        if first <= known[FAULT_AT] < end:
            _put(out, row, (known[FAULT_TIME], known[FAULT_WRITE], 1, known[FAULT_AT] - first), known)
            out.width[row], out.value[row] = 0, 0
            row += 1
        known[FAULTED] = 0
    return row


@lean_kernel
def follow(lines: Lines, state: State, out: Accesses, row: int) -> int:
    """Add the accesses of some lines to ``out`` from ``row`` on; where they end."""
    c = state.counted[0]
    first, end = state.window
    for i in range(lines.event.size):
        known = state.threads[lines.thread[i]]
        event, op, address, width = lines.event[i], lines.op[i], lines.address[i], lines.width[i]
        if lines.vcpu[i] >= 0:
            known[VCPU] = lines.vcpu[i]
        if event == 0:
            row = _close(known, state, out, row)
            known[EXITED] = 1
        elif event == 1:
            if known[EXITED]:
                c.rebuilt += 1
                known[EXITED] = 0
                known[FAULTED], known[FAULT_TIME], known[FAULT_AT] = 1, lines.time[i], address
                known[FAULT_WRITE] = lines.value[i]
        elif event == 2:
            row = _close(known, state, out, row)
            if address == 0xCF8:
                c.index_reads += op == 0
                c.index_writes += op == 1
                c.index_odd += width != 4
                if op == 1 and width == 4:
                    known[INDEX] = lines.value[i] & 0xFFFFFFFF
            elif 0xCFC <= address < 0xD00:
                index = known[INDEX]
                if index < 0:
                    c.nowhere += 1
                elif not index >> 31:
                    c.disabled += 1
                else:
                    place = ((index >> 8) & 0xFFFF) << 12 | (index & 0xFC) | (address & 3)
                    _put(out, row, (lines.time[i], op, 0, place), known)
                    out.width[row], out.value[row] = width, lines.value[i]
                    row += 1
            else:
                c.port_reads += op == 0
                c.port_writes += op == 1
        elif event == 3:
            if op == 0 and known[WAITING] and known[WAIT_AT] == address:
                c.pairs += 1
                known[WAITING] = 0
            known[FAULTED] = 0
            row = _close(known, state, out, row)
            if op == 2:
                known[WAITING], known[WAIT_TIME], known[WAIT_AT] = 1, lines.time[i], address
                known[WAIT_WIDTH] = width
            elif first <= address < end:
                _put(out, row, (lines.time[i], op, 1, address - first), known)
                out.width[row], out.value[row] = width, lines.value[i]
                row += 1
            else:
                c.memory_reads += op == 0
                c.memory_writes += op == 1
    return row


@lean_kernel
def finish(state: State, out: Accesses) -> int:
    """End what all threads are about; how many rows that makes."""
    row = 0
    for thread in range(state.threads.shape[0]):
        row = _close(state.threads[thread], state, out, row)
    return row
