"""What devices and domains are at: transfers under way, addresses that are free, unmapped ones not yet flushed.

I/O virtual addresses are given out as Linux does (drivers/iommu/iova.c, dma-iommu.c, 6.1): from the top of the address
range downwards, aligned to their size, which is a power of two of pages; those given back are handed out again first,
the latest before the others, by size (its rcache; ours has one list a domain and size instead of one a processor, and
never gives anything back to the tree).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel
from traces.table import I64, U64

PAGE = 4096
NONE = -1
IDLE, BUSY = 0, 1

_STATE = np.dtype([("now", "f8"), ("step", "i8"), ("setup", "i8"), ("nodes", "i8")])


class State(NamedTuple):
    """All of it. A node is a range of I/O virtual addresses, mapped or free; a slot, room for a transfer."""

    one: NDArray[np.void]  # clock, steps so far, slots set up, nodes in use
    doing: I64  # [slot]: IDLE or BUSY
    left: I64  # [slot]: accesses to come
    order: I64  # [slot]: 2**order pages
    write: I64  # [slot]: whether the device writes
    node: I64  # [slot]
    iova: U64  # [node]
    physical: U64  # [node]: where it leads, or led last
    size: U64  # [node]
    device: I64  # [node]: whose it was last
    following: I64  # [node]: the next of its list
    free: I64  # [domain, order less the first order] -> node
    bottom: U64  # [domain]: the lowest address given out
    queue: I64  # [domain, place] -> node: unmapped, not flushed
    queued: I64  # [domain]
    since: NDArray[np.float64]  # [domain]: when the first of them was queued


def new_state(*, devices: int, depth: int, domains: int, orders: int, batch: int, top: int) -> State:
    """Nothing mapped, nothing under way."""
    slots = devices * depth
    nodes = orders * (slots + domains * (batch + 1))
    return State(
        one=np.zeros(1, _STATE),
        doing=np.zeros(slots, np.int64),
        left=np.zeros(slots, np.int64),
        order=np.zeros(slots, np.int64),
        write=np.zeros(slots, np.int64),
        node=np.full(slots, NONE, np.int64),
        iova=np.zeros(nodes, np.uint64),
        physical=np.zeros(nodes, np.uint64),
        size=np.zeros(nodes, np.uint64),
        device=np.zeros(nodes, np.int64),
        following=np.full(nodes, NONE, np.int64),
        free=np.full((domains, orders), NONE, np.int64),
        bottom=np.full(domains, top, np.uint64),
        queue=np.full((domains, batch), NONE, np.int64),
        queued=np.zeros(domains, np.int64),
        since=np.zeros(domains, np.float64),
    )


@lean_kernel
def take(state: State, domain: int, order: int, first: int) -> int:
    """A range of 2**order pages that is not mapped; ``first`` is the smallest order that there is."""
    node: int = state.free[domain, order - first]
    if node != NONE:
        state.free[domain, order - first] = state.following[node]
        return node
    size = np.uint64(PAGE << order)
    node = state.one[0].nodes
    state.one[0].nodes += 1
    state.bottom[domain] = (state.bottom[domain] - size) & ~(size - np.uint64(1))
    state.iova[node], state.size[node] = state.bottom[domain], size
    return node


@lean_kernel
def give(state: State, domain: int, node: int, first: int) -> None:
    """A range may be mapped again."""
    index = 0
    while np.uint64(PAGE << (first + index)) < state.size[node]:
        index += 1
    state.following[node] = state.free[domain, index]
    state.free[domain, index] = node
