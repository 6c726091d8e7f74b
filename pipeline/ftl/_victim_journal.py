"""A journal of what the validity counts lose: rows of a drive's links behind its rings (`pipeline.ftl.recovery`).

What a block gains is known from how far it is programmed, and copies that garbage collection takes away end with the
block's erasure. Hence one record for each page that the host overwrites or unmaps, and one for each erasure. When the
journal is full it is begun anew, and what it said is kept as one number a block: the pages lost since its erasure.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel

if TYPE_CHECKING:
    from pipeline.ftl.victim import Blocks


class Record(IntEnum):
    """What a record says of its block."""

    LOST = 0  # a page of it
    ERASED = 1


@lean_kernel
def apply(blocks: "Blocks", lost: NDArray[np.int32]) -> None:
    """Go through the records; ``lost`` is of each block."""
    begin = 2 * blocks.total + blocks.pages + 1
    for row in range(begin, begin + blocks.head[0].records):
        block = blocks.links[row, 0]
        if blocks.links[row, 1] == Record.ERASED:
            lost[block] = 0
        else:
            lost[block] += 1


@lean_kernel
def checkpoint(blocks: "Blocks") -> None:
    """Begin the journal anew."""
    begin = blocks.total + blocks.pages + 1
    apply(blocks, blocks.links[begin : begin + blocks.total, 0])
    blocks.head[0].records = 0
    blocks.head[0].checkpoints += 1


@lean_kernel
def note(blocks: "Blocks", block: Any, what: Record) -> None:
    """Write a record."""
    head = blocks.head[0]
    if head.records == blocks.journal:
        checkpoint(blocks)
    row = 2 * blocks.total + blocks.pages + 1 + head.records
    blocks.links[row, 0] = block
    blocks.links[row, 1] = what
    head.records += 1
    head.recorded += 1
