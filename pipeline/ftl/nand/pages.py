"""Pages of `pipeline.ftl.nand`: read, programmed, and kept in the write buffer until they are."""

from typing import Any

from pipeline.ftl.nand.queue import come_next, end_of, give, go_first, wait_for
from pipeline.ftl.nand.units import Nand, append, take
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel, prefetch

ask_for: Any = prefetch


@inline_lean_kernel
def due(nand: Nand, place: Whole) -> Any:
    """When the program of what stands in a place of the write buffer completes, 0 if nothing ever stood there."""
    entry = nand.places[place]
    if nand.reads_first and entry.done > 0:
        return end_of(nand, nand.lanes[entry.cell & nand.mask].die, entry.op, entry.done)
    return entry.done


@inline_lean_kernel
def buffered(nand: Nand, cell: Whole) -> Any:
    """When the program of a cell completes that is in the write buffer, 0 if it is not."""
    place = nand.heads[cell & (nand.heads.size - 1)] - 1
    while place >= 0 and nand.places[place].cell != cell:
        place = nand.places[place].next - 1
    return due(nand, place) if place >= 0 else 0


@lean_kernel
def give_up(nand: Nand, place: Whole) -> None:
    """Take a place's cell out of the chain of its hash."""
    entry = nand.places[place]
    chain = entry.cell & (nand.heads.size - 1)
    at = nand.heads[chain] - 1
    if at == place:
        nand.heads[chain] = entry.next
        return
    while nand.places[at].next - 1 != place:
        at = nand.places[at].next - 1
    nand.places[at].next = entry.next


@inline_lean_kernel
def keep(nand: Nand, place: Whole, cell: Whole, done: Whole, blocked: Whole) -> None:
    """Put a cell that is being programmed, by the last operation of its die, in a place of the write buffer."""
    entry, die = nand.places[place], nand.units[nand.lanes[cell & nand.mask].die]
    if entry.done > 0:
        give_up(nand, place)
    chain = cell & (nand.heads.size - 1)
    entry.cell, entry.done, entry.blocked, entry.next = cell, done, blocked, nand.heads[chain]
    nand.heads[chain] = place + 1
    if nand.reads_first:
        entry.op = die.written = die.given - 1


@inline_lean_kernel
def note_wait(nand: Nand, die: Any, ready: Whole, begin: Whole) -> None:
    """Whether the request has to wait for a die that collects."""
    if begin > ready and die.collects > ready:
        nand.moment[0].blocked = 1


@inline_lean_kernel
def sense(nand: Nand, cell: Whole, ready: Whole) -> Any:
    """Read a page into the controller, for the host or a map; when it is there."""
    # what was written may be pushed back where reads go first
    if (nand.moment[0].written <= ready and not nand.reads_first) or buffered(nand, cell) <= ready:
        page = cell & nand.mask
        lane = nand.lanes[page]
        die, row = nand.units[lane.die], cell - page + lane.row
        if die.read_row == row and die.read_began >= ready:
            begin = die.read_began
        else:
            begin = go_first(nand, lane.die, ready) if nand.reads_first else take(nand, lane.die, ready, nand.read)
            die.read_row, die.read_began = row, begin
            nand.moment[0].work += nand.read
        note_wait(nand, die, ready, begin)
        ready = take(nand, lane.channel, begin + nand.read, nand.transfer) + nand.transfer
    return ready


@inline_lean_kernel
def sense_next(nand: Nand, cell: Whole, ready: Whole) -> Any:
    """Read a page into the controller for a copy, where reads go first; when it is there."""
    if buffered(nand, cell) <= ready:
        page = cell & nand.mask
        lane = nand.lanes[page]
        begin = come_next(nand, lane.die, cell - page + lane.row)
        ready = take(nand, lane.channel, begin + nand.read, nand.transfer) + nand.transfer
    return ready


@inline_lean_kernel
def put(nand: Nand, cell: Whole, ready: Whole, collects: Whole) -> Any:
    """Program a page whose data the controller has at ``ready``; when that is complete."""
    page = cell & nand.mask
    lane = nand.lanes[page]
    die, row = nand.units[lane.die], cell - page + lane.row
    ready = take(nand, lane.channel, ready, nand.transfer) + nand.transfer
    if nand.reads_first:
        began = -1
        if die.row == row:
            began = end_of(nand, lane.die, die.given - 1, 0) - nand.program
        if began < ready:
            began = give(nand, lane.die, ready, nand.program, collects) - nand.program
            die.row = row
            nand.moment[0].work += nand.program
        if not collects:  # for a copy it does not count
            wait_for(nand, lane.die, ready, began)
        return began + nand.program
    if die.row != row or die.began < ready:
        die.began = append(nand, lane.die, ready, nand.program, nand.read)
        die.row = row
        nand.moment[0].work += nand.program
    if not collects:
        note_wait(nand, die, ready, die.began)
    return die.began + nand.program


@lean_kernel
def copy_listed(nand: Nand) -> None:
    """Hand out the copies of a collection."""
    moment = nand.moment[0]
    if nand.reads_first:  # what waits for all dies is larger than the first cache: asking for it won 2 %
        for number in range(nand.dies):
            ask_for(nand.ops, number * nand.depth + (nand.units[number].begun & (nand.depth - 1)))
    for i in range(moment.listed):
        source, target = nand.listed[i, 0], nand.listed[i, 1]
        if nand.reads_first:
            done = put(nand, target, sense_next(nand, source, moment.start), 1)
            die = nand.units[nand.lanes[target & nand.mask].die]
            die.collected = die.given - 1
        else:
            blocked = moment.blocked
            done = put(nand, target, sense(nand, source, moment.start), 1)
            moment.blocked = blocked
            die = nand.units[nand.lanes[source & nand.mask].die]
            die.collects = max(die.collects, done - nand.program - nand.transfer)
            die = nand.units[nand.lanes[target & nand.mask].die]
            die.collects = max(die.collects, done)
        moment.copied = max(moment.copied, done)
    moment.listed = 0
