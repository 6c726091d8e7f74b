"""What becomes of one drive when power is lost, and how it is made whole again: see `pipeline.ftl.recovery`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl._victim_journal import apply, checkpoint
from pipeline.ftl._victim_tree import grow
from pipeline.ftl.drive import ALL_BITS, NO_BITS, ONE, Drive, prepare
from pipeline.ftl.fleet import Fleet, drive_of, zeros
from pipeline.ftl.recovery.config import Geometry
from pipeline.ftl.replay import Rules
from pipeline.ftl.victim import NONE, Blocks, Phase, Victim
from traces.kernel import lean_kernel
from traces.table import I64, U32, U64

LOST = -99  # what stands where something stood that did not outlive the loss


class BlockTable(NamedTuple):
    """What a drive's journal of blocks says: written whenever a block is opened, closed or erased."""

    phase: NDArray[np.uint8]  # [block]
    erases: U32  # [block]
    erased: NDArray[np.int32]  # blocks, the one erased first before the others
    closed: NDArray[np.int32]  # likewise; empty unless the policy asks for it
    cursor: I64  # [frontier] of open blocks the first cell that is not programmed: found by reading them
    room: I64
    random: int


def with_journal(fleet: Fleet, records: int) -> Fleet:
    """The drives, yet to be prepared, with a journal each."""
    start = fleet.start.copy()
    more = start.blocks[:-1] + records
    start.link[1:] += np.cumsum(more)
    links = zeros(2 * int(start.link[-1]), np.int32).reshape(-1, 2)
    return fleet._replace(start=start, links=links, journal=records)


@lean_kernel
def prepare_all(fleet: Fleet, volumes: I64, rules: Rules) -> None:
    """Prepare drives; what is journalled and chosen counts from here."""
    for volume in volumes:
        drive = drive_of(fleet, volume)
        prepare(drive, fleet.seed + volume, rules.prefilled, rules.fills)
        head = drive.blocks.head[0]
        checkpoint(drive.blocks)
        head.recorded = head.checkpoints = 0
        head.chosen = 0


def geometry_of(drive: Drive) -> Geometry:
    """What an entry of the drive's table means."""
    return Geometry(blocksets=drive.blocks.total, pages=drive.pages, first=1, unmapped=0)


def block_table(drive: Drive) -> BlockTable:
    """What is durable of the blocks."""
    blocks, head = drive.blocks, drive.blocks.head[0]
    erased = np.empty(head.erased, np.int32)
    walk(blocks.links, head.erased_first, erased)
    many = np.count_nonzero(blocks.phase == Phase.CLOSED) if blocks.victim == Victim.FIFO else 0
    closed = np.empty(many, np.int32)
    walk(blocks.links, head.closed_first, closed)
    cursor, room = drive.cursor.copy(), drive.room.copy()
    return BlockTable(blocks.phase.copy(), blocks.erases.copy(), erased, closed, cursor, room, int(head.random))


def lose_power(drive: Drive) -> None:
    """Only flash remains: the logical-to-physical table, what blocks hold and of which class it is, the journals."""
    blocks, head = drive.blocks, drive.blocks.head[0]
    drive.counts[:] = ALL_BITS
    blocks.valid[:] = LOST
    blocks.phase[:] = Phase.COLLECTED
    blocks.erases[:] = 0
    blocks.links[: blocks.total + blocks.pages + 1] = LOST
    drive.cursor[:] = drive.room[:] = LOST
    drive.tally[0].mapped = LOST
    for name in ("erased", "erased_first", "erased_last", "closed_first", "closed_last", "competing", "least"):
        head[name] = LOST
    head.clock = head.random = 0


def restore(drive: Drive, table: BlockTable, counts: U32) -> None:
    """Make the drive whole from what is durable and the recovered counts."""
    blocks, head = drive.blocks, drive.blocks.head[0]
    blocks.valid[:] = counts
    blocks.phase[:], blocks.erases[:] = table.phase, table.erases
    drive.cursor[:], drive.room[:] = table.cursor, table.room
    head.random = table.random
    blocks.links[: blocks.total + blocks.pages + 1] = NONE
    head.erased = table.erased.size
    head.erased_first, head.erased_last = chain(blocks, table.erased)
    head.closed_first, head.closed_last = chain(blocks, table.closed)
    head.competing = 0
    if blocks.victim == Victim.GREEDY_FIRST:
        grow(blocks.links, blocks.valid, blocks.phase, int(Phase.CLOSED))
    drive.counts[:] = NO_BITS
    set_bits(drive.where, drive.counts)
    drive.tally[0].mapped = counts.sum(dtype=np.int64)


def chain(blocks: Blocks, order: NDArray[np.int32]) -> tuple[int, int]:
    """Hang blocks one behind the other; the first and the last."""
    blocks.links[order[:-1], 0] = order[1:]
    return (int(order[0]), int(order[-1])) if order.size else (NONE, NONE)


def journalled_counts(drive: Drive, table: BlockTable) -> U32:
    """The valid pages of each block: those programmed without those that the journal says were lost."""
    blocks = drive.blocks
    begin = blocks.total + blocks.pages + 1
    lost = blocks.links[begin : begin + blocks.total, 0].copy()
    apply(blocks, lost)
    programmed = np.where(table.phase == Phase.CLOSED, drive.pages, 0)
    open_ = table.room > 0
    programmed[table.cursor[open_] >> drive.shift] = drive.pages - table.room[open_]
    return (programmed - lost).astype(np.uint32)


@lean_kernel
def walk(links: NDArray[np.int32], block: Any, out: NDArray[np.int32]) -> None:
    """From block to block."""
    for i in range(out.size):
        out[i] = block
        block = np.int64(links[block, 0])


@lean_kernel
def set_bits(where: U32, counts: U64) -> None:
    """The bit of every cell that a page is mapped to."""
    for page in range(where.size):
        cell: Any = np.int64(where[page]) - 1
        if cell >= 0:
            counts[cell >> 6] |= ONE << np.uint64(cell & 63)
