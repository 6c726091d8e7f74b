"""From a log of accesses to memory regions to accesses of configuration space: a kernel that follows each thread.

A read of a function that is there is preceded by its ``pci_cfg_read`` on the same thread, a write followed by its
``pci_cfg_write`` (QEMU tells of a write to a region before it is done); an access without is of an absent function.
The data port's function is what was last written to the address port, whichever thread wrote it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import kernel
from traces.table import I64, U8

REGION_READ, REGION_WRITE, CFG_READ, CFG_WRITE = 0, 1, 2, 3  # events; others end what a thread is about
IDX, DATA, WINDOW = 1, 2, 3  # regions; 0 any other


class Lines(NamedTuple):
    """What the log says, a row a line."""

    event: U8
    region: U8
    thread: I64  # code
    time: I64
    cpu: I64
    address: I64
    value: I64
    width: I64
    bdf: I64  # bus << 8 | device << 3 | function of pci_cfg events
    register: I64
    name: I64  # code of the device's name
    phase: I64  # code


class Accesses(NamedTuple):
    """What is made of it, a row an access."""

    time: I64
    op: I64
    mechanism: I64
    cpu: I64
    bdf: I64
    register: I64
    width: I64
    value: I64
    present: I64
    name: I64  # code; -1: none
    phase: I64


# what is known of a thread: what it is about, and of which line or row
NOTHING, READING, WRITING = 0, 1, 2
ABOUT, BDF, REGISTER, VALUE, NAME, TIME, PHASE, ROW = range(8)

# what is known of the machine
INDEX, BASE, SURE, ABSENT = range(4)

COUNTS = {
    "index_reads": "reads of the address port 0xCF8",
    "index_writes": "writes of the address port 0xCF8",
    "index_odd": "accesses to the address port that are not 4 bytes wide, without effect",
    "disabled": "accesses to the data port while the address port had bit 31 clear: of no function",
    "nowhere": "accesses to the data port before anything was written to the address port: function not told",
    "mismatch": "accesses whose event pci_cfg_read or pci_cfg_write names another function or register",
    "alone": "events pci_cfg_read and pci_cfg_write without the access that caused them: way and width are not told",
    "guessed": "accesses to a window whose place was not known yet: taken to begin at a multiple of 256 MiB",
    "moved": "moves of the window",
}
_COUNTS = np.dtype([(name, "i8") for name in COUNTS])


class Known(NamedTuple):
    """What is known of the machine and of its threads, and what was counted."""

    machine: I64
    threads: I64  # [thread, what]
    counted: NDArray[np.void]


def known() -> Known:
    """What is known at the start."""
    return Known(np.array((-1, -1, 0, 0), np.int64), np.zeros((8, 8), np.int64), np.zeros(1, _COUNTS))


def wider(state: Known, threads: int) -> Known:
    """Room for more threads."""
    have = state.threads.shape[0]
    if threads <= have:
        return state
    return state._replace(threads=np.concatenate([state.threads, np.zeros((2 * threads - have, 8), np.int64)]))


@kernel
def _emit(lines: Lines, i: int, place: tuple[int, int, int, int], out: Accesses, row: int) -> None:
    """A region access as a row."""
    op, mechanism, bdf, register = place
    out.time[row], out.op[row], out.mechanism[row], out.cpu[row] = lines.time[i], op, mechanism, lines.cpu[i]
    out.bdf[row], out.register[row], out.width[row] = bdf, register, lines.width[i]
    out.value[row], out.name[row], out.phase[row] = lines.value[i], -1, lines.phase[i]


@kernel
def alone(known: I64, op: int, out: Accesses, row: int) -> None:
    """A pci_cfg event without its access as a row."""
    out.time[row], out.op[row], out.mechanism[row], out.cpu[row] = known[TIME], op, 2, 0
    out.bdf[row], out.register[row], out.width[row] = known[BDF], known[REGISTER], 0
    out.value[row], out.present[row] = known[VALUE], 1
    out.name[row], out.phase[row] = known[NAME], known[PHASE]


@kernel
def follow(lines: Lines, state: Known, out: Accesses, row: int) -> int:
    """Add the accesses of some lines to ``out`` from ``row`` on; where they end."""
    machine, c = state.machine, state.counted[0]
    for i in range(lines.event.size):
        event = lines.event[i]
        known = state.threads[lines.thread[i]]
        about = known[ABOUT]
        if event == 3 and about == 2:  # the write that this thread is about is done: its function is there
            done = known[ROW]
            if out.mechanism[done] == 1:
                base = known[VALUE] - ((lines.bdf[i] << 12) | lines.register[i])
                if base != machine[BASE]:
                    c.moved += machine[SURE]
                machine[BASE], machine[SURE] = base, 1
                out.bdf[done], out.register[done] = lines.bdf[i], lines.register[i]
            elif out.bdf[done] != lines.bdf[i] or out.register[done] != lines.register[i]:
                c.mismatch += 1
            out.present[done], out.name[done] = 1, lines.name[i]
            known[ABOUT] = 0
            continue
        if event == 2 or event == 3:
            if about == 1:
                alone(known, 0, out, row)
                c.alone += 1
                row += 1
            known[ABOUT], known[BDF], known[REGISTER] = 1, lines.bdf[i], lines.register[i]
            known[VALUE], known[NAME] = lines.value[i], lines.name[i]
            known[TIME], known[PHASE] = lines.time[i], lines.phase[i]
            if event == 3:
                alone(known, 1, out, row)
                c.alone += 1
                row += 1
                known[ABOUT] = 0
            continue
        region = lines.region[i]
        mine = event == 0 and about == 1 and region >= 2
        known[ABOUT] = 0
        if about == 1 and not mine:
            alone(known, 0, out, row)
            c.alone += 1
            row += 1
        if event > 1 or region == 0:
            continue
        if region == 1:
            if event == 0:
                c.index_reads += 1
            else:
                c.index_writes += 1
                if lines.width[i] == 4:
                    machine[INDEX] = lines.value[i] & 0xFFFFFFFF
            c.index_odd += lines.width[i] != 4
            continue
        if region == 2:
            index = machine[INDEX]
            if index < 0 and not mine:
                c.nowhere += 1
                continue
            if index >= 0 and not index >> 31:
                c.disabled += 1
                if mine:
                    alone(known, 0, out, row)
                    c.alone += 1
                    row += 1
                continue
            bdf, register = (index >> 8) & 0xFFFF, (index & 0xFC) | (lines.address[i] & 3)
            if index < 0:
                bdf, register = known[BDF], known[REGISTER]
            _emit(lines, i, (event, 0, bdf, register), out, row)
        else:
            address = lines.address[i]
            if mine:
                base = address - ((known[BDF] << 12) | known[REGISTER])
                if base != machine[BASE]:
                    c.moved += machine[SURE]
                machine[BASE], machine[SURE] = base, 1
            elif machine[BASE] < 0 or not 0 <= address - machine[BASE] < 1 << 28:
                machine[BASE], machine[SURE] = address & ~np.int64((1 << 28) - 1), 0
            c.guessed += machine[SURE] == 0
            offset = address - machine[BASE]
            _emit(lines, i, (event, 1, offset >> 12, offset & 0xFFF), out, row)
        out.present[row] = machine[ABSENT]
        if mine:
            c.mismatch += known[BDF] != out.bdf[row] or known[REGISTER] != out.register[row]
            out.present[row], out.name[row] = 1, known[NAME]
        elif event == 1:
            known[ABOUT], known[ROW], known[VALUE] = 2, row, lines.address[i]
        row += 1
    return row
