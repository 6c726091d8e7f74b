"""What waits for a die where reads go first: see `pipeline.ftl.nand`.

A die keeps its work in three ranks. Reads of the host and of maps take it as soon as what it does is done. Reads of
copies come next, of which it only counts how many wait: all take equally long. Programs and erases, its operations,
stand in a ring in the order in which they were given. Nothing of the last two is settled before a read asks for the
die: then all that begins earlier begins, the read is put behind it, and what has not begun is pushed back.

When an operation ends if no further read comes, is told without a walk over those before it. It begins when it is
ready and the one before has ended, so it ends at the later of two times: as if the die did nothing but work from the
time on until which it is settled (``free`` + the lengths of what waits), and as if the die was idle when it was given
(``until``: the later of its own time and that of the operation before, + its length). The lengths are added up once for
all, ``work``, from which those of the operations that have begun are taken off.
"""

from typing import Any

from pipeline.ftl.nand.units import Nand, remember, slip_in
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel

# Reads that a die serves in a row while other work waits, before it does one piece of that: two batches of 16, what
# Linux' mq-deadline allows (block/mq-deadline.c, fifo_batch and writes_starved).
IN_A_ROW = 32


@inline_lean_kernel
def start_next(nand: Nand, number: Whole) -> None:
    """A die begins the first piece of work that waits for it; there must be one."""
    die = nand.units[number]
    die.passed = 0
    if die.copies > 0:
        die.copies -= 1
        die.free += nand.read
        die.collects = die.free
    else:
        op = nand.ops[number * nand.depth + (die.begun & (nand.depth - 1))]
        begin = max(die.free, op.ready)
        remember(nand, number, begin, nand.read)
        die.free = begin + op.work - die.worked
        die.worked = op.work
        op.until = die.free
        if op.collects:
            die.collects = die.free
        die.begun += 1


@inline_lean_kernel
def advance(nand: Nand, number: Whole, until: Whole) -> None:
    """A die begins all that it can before ``until``."""
    die = nand.units[number]
    while die.free < until:
        if die.copies == 0 and (
            die.begun == die.given or nand.ops[number * nand.depth + (die.begun & (nand.depth - 1))].ready >= until
        ):
            break
        start_next(nand, number)


@inline_lean_kernel
def end_of(nand: Nand, number: Whole, operation: Whole, otherwise: Whole) -> Any:
    """When a die's operation of that number ends; what was told when it was given if the ring has forgotten it."""
    die, op = nand.units[number], nand.ops[number * nand.depth + (operation & (nand.depth - 1))]
    if die.given - operation > nand.depth:
        return otherwise
    if operation < die.begun:
        return op.until
    return max(die.free + die.copies * nand.read + op.work - die.worked, op.until)


@inline_lean_kernel
def give(nand: Nand, number: Whole, ready: Whole, length: Whole, collects: Whole) -> Any:
    """Put a program or an erase at the end of a die's operations; when it ends. Of a full ring the first must begin."""
    die = nand.units[number]
    if die.given - die.begun == nand.depth:
        advance(nand, number, nand.moment[0].start)
        while die.given - die.begun == nand.depth:
            start_next(nand, number)
    die.work += length
    die.until = max(die.until, ready) + length
    op = nand.ops[number * nand.depth + (die.given & (nand.depth - 1))]
    op.ready, op.work, op.until, op.collects = ready, die.work, die.until, collects
    die.given += 1
    return max(die.free + die.copies * nand.read + die.work - die.worked, die.until)


@inline_lean_kernel
def go_first(nand: Nand, number: Whole, ready: Whole) -> Any:
    """When a die begins a read of the host that is ready then; the read is settled."""
    die, now, begin = nand.units[number], nand.moment[0].start, -1
    if die.gaps > 0:
        begin = slip_in(die, now, ready, nand.read)
    if begin < 0:
        advance(nand, number, ready)
        begin = max(ready, die.free)
        waits = die.copies > 0 or (
            die.begun < die.given and nand.ops[number * nand.depth + (die.begun & (nand.depth - 1))].ready <= begin
        )
        if waits and die.passed == IN_A_ROW:
            start_next(nand, number)
            begin = die.free
        die.passed = die.passed + 1 if waits else 0
        remember(nand, number, begin, nand.read)
        die.free = begin + nand.read
    return begin


@inline_lean_kernel
def come_next(nand: Nand, number: Whole, row: Whole) -> Any:
    """When a die begins to read a row for copies, whose other pages join it: after the host's reads."""
    die, now = nand.units[number], nand.moment[0].start
    advance(nand, number, now)
    if die.copies == 0:
        die.free = max(die.free, now)
    if die.copies == 0 or die.copied_row != row:
        die.copies += 1
        die.copied_row = row
        nand.moment[0].work += nand.read
    return die.free + (die.copies - 1) * nand.read


@inline_lean_kernel
def wait_for(nand: Nand, number: Whole, ready: Whole, begin: Whole) -> None:
    """Whether what the request programs, which is the last of a die's operations, waits for garbage collection."""
    die = nand.units[number]
    if begin > ready:
        until = end_of(nand, number, die.collected, 0)
        if die.copies > 0:
            until = max(until, die.free + die.copies * nand.read)
        if max(until, die.collects) > ready:
            nand.moment[0].blocked = 1
