"""The erased blocks of a drive that levels wear: the least erased is opened first, of equals the one erased first.

A binary heap (Williams, Communications of the ACM 7(6), 1964) in an array of block numbers. How many stand in it is
`Blocks.head.erased`. An erased block's erases do not change, so that what is in the heap stays in order; only when the
books are opened anew after a prefill all erases become 0, and the heap must be made anew (`restack`).

A drive that collects only when it must has hardly more erased blocks than its reserve: among so few there is little to
choose, and dynamic levelling alone wins little there.
"""

import numpy as np

from pipeline.ftl.victim import Blocks, Whole
from pipeline.ftl.wear.state import Wear
from traces.kernel import inline_lean_kernel, lean_kernel


@inline_lean_kernel
def precedes(blocks: Blocks, wear: Wear, one: Whole, other: Whole) -> bool:
    """Whether of two erased blocks the one is opened first."""
    if blocks.erases[one] != blocks.erases[other]:
        return bool(blocks.erases[one] < blocks.erases[other])
    return bool(wear.order[one] < wear.order[other])


@lean_kernel
def sink(blocks: Blocks, wear: Wear, at: int) -> None:
    """Move what stands at a place down to where it belongs."""
    heap, count = wear.heap, blocks.head[0].erased
    block = heap[at]
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and precedes(blocks, wear, heap[child + 1], heap[child]):
            child += 1
        if not precedes(blocks, wear, heap[child], block):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = block


@lean_kernel
def put(blocks: Blocks, wear: Wear, block: Whole) -> None:
    """Add a block that was erased."""
    heap, head, state = wear.heap, blocks.head[0], wear.state[0]
    wear.order[block] = state.order
    state.order += 1
    at = head.erased
    head.erased += 1
    while at > 0:
        above = (at - 1) >> 1
        if not precedes(blocks, wear, block, heap[above]):
            break
        heap[at] = heap[above]
        at = above
    heap[at] = block


@lean_kernel
def take(blocks: Blocks, wear: Wear) -> int:
    """Remove the block that is to be opened; there must be one."""
    heap, head = wear.heap, blocks.head[0]
    block = np.int64(heap[0])
    head.erased -= 1
    if head.erased:
        heap[0] = heap[head.erased]
        sink(blocks, wear, 0)
    return int(block)


@lean_kernel
def restack(blocks: Blocks, wear: Wear) -> None:
    """Make the heap anew after the erases of its blocks were changed."""
    for at in range((blocks.head[0].erased >> 1) - 1, -1, -1):
        sink(blocks, wear, at)
