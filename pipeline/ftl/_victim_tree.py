"""A tournament among the closed blocks of a drive: fewest valid pages, of equals the lowest number.

Unlike rings, whose equals stand in the order in which they came, it is a function of the valid counts alone, and is
the same when it is made anew from them. Node i has the nodes 2i and 2i + 1 beneath it, block b is node n + b of n
blocks, and a node holds the best of what is beneath it: this covers every block for any n. The nodes that are no blocks
fit into the column of the links that holds previous blocks, which policies without rings leave free.

A page that is lost costs one comparison where the block stays behind the one that won over it; a block that leads is
looked for up to the root. One that leaves is replaced in every node that it had won.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.kernel import inline_lean_kernel, lean_kernel

NOBODY = -1
PREVIOUS = 1  # the column
Whole = int | np.integer[Any]


@inline_lean_kernel
def ahead(valid: NDArray[np.int32], one: Whole, other: Whole) -> Any:
    """Whether ``one`` is chosen before ``other``."""
    return valid[one] < valid[other] or (valid[one] == valid[other] and one < other)


@inline_lean_kernel
def winner(links: NDArray[np.int32], phase: NDArray[np.uint8], closed: int, node: int) -> Any:
    """The best block of a node; NOBODY if no closed one is beneath it."""
    block = node - phase.size
    best = np.int64(NOBODY)
    if block < 0:
        best = np.int64(links[node, PREVIOUS])
    elif phase[block] == closed:
        best = np.int64(block)
    return best


@lean_kernel
def rise(links: NDArray[np.int32], valid: NDArray[np.int32], block: Whole) -> None:
    """A block has come, or has fewer valid pages than before."""
    node = (block + valid.size) >> 1
    while node > 0:
        best = np.int64(links[node, PREVIOUS])
        if best != block:
            if best != NOBODY and ahead(valid, best, block):
                break
            links[node, PREVIOUS] = block
        node >>= 1


@lean_kernel
def seat(links: NDArray[np.int32], valid: NDArray[np.int32], phase: NDArray[np.uint8], closed: int, node: int) -> None:
    """Let the better of the two beneath a node have it."""
    best = winner(links, phase, closed, 2 * node)
    other = winner(links, phase, closed, 2 * node + 1)
    if best == NOBODY or (other != NOBODY and ahead(valid, other, best)):
        best = other
    links[node, PREVIOUS] = best


@lean_kernel
def fall(
    links: NDArray[np.int32], valid: NDArray[np.int32], phase: NDArray[np.uint8], closed: int, block: Whole
) -> None:
    """A block competes no longer: its phase says so already."""
    node = (block + valid.size) >> 1
    while node > 0 and links[node, PREVIOUS] == block:
        seat(links, valid, phase, closed, node)
        node >>= 1


@lean_kernel
def grow(links: NDArray[np.int32], valid: NDArray[np.int32], phase: NDArray[np.uint8], closed: int) -> None:
    """The whole tree, from nothing but valid counts and phases: one comparison a block."""
    for node in range(valid.size - 1, 0, -1):
        seat(links, valid, phase, closed, node)
