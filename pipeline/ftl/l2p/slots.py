"""The slots of a first structure: up to k target pointers that a two-level map keeps in DRAM.

- LRU: the latest that were read or written, the least recent goes first. Their order is that of the slots.
- FIFO: the first that came goes first.
- direct: pointer i of the map page has one place, slot i mod k.
- write-only: as LRU, but a read brings nothing in.
"""

from typing import Any

import numpy as np

from pipeline.ftl.l2p.state import NOWHERE, Mapped, SlotPolicy
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel

NO_SLOT = -1


@inline_lean_kernel
def slot_of(mapped: Mapped, page: Whole) -> Any:
    """The slot that holds the page's pointer; NO_SLOT if none does."""
    found = NO_SLOT
    if mapped.slots:
        structure = page // mapped.fanout
        name = page - structure * mapped.fanout
        first = structure * mapped.slots
        if mapped.policy == SlotPolicy.DIRECT:
            at = first + name % mapped.slots
            if mapped.slot_page[at] == name + 1:
                found = at
        else:
            for at in range(first, first + mapped.slots):
                if mapped.slot_page[at] == name + 1:
                    found = at
                    break
    return found


@inline_lean_kernel
def keep(mapped: Mapped, page: Whole, pointer: Whole) -> None:
    """Give the page's pointer a slot, if there are any."""
    if mapped.slots:
        structure = page // mapped.fanout
        name = page - structure * mapped.fanout
        first = structure * mapped.slots
        if mapped.policy == SlotPolicy.DIRECT:
            at = first + name % mapped.slots
        else:
            at = slot_of(mapped, page)
            if at == NO_SLOT:
                at = first + mapped.slots - 1
            elif mapped.policy == SlotPolicy.FIFO:
                first = at
            while at > first:
                mapped.slot_page[at] = mapped.slot_page[at - 1]
                mapped.slot_pointer[at] = mapped.slot_pointer[at - 1]
                at -= 1
        mapped.slot_page[at] = name + 1
        mapped.slot_pointer[at] = pointer


@inline_lean_kernel
def change_slot(mapped: Mapped, page: Whole, pointer: Whole) -> None:
    """Put the page's new pointer where the old one stands, if it does; NOWHERE clears the slot."""
    at = slot_of(mapped, page)
    if at != NO_SLOT:
        mapped.slot_pointer[at] = pointer
        if pointer == NOWHERE:
            clear(mapped, page // mapped.fanout * mapped.slots, at)


@lean_kernel
def clear(mapped: Mapped, first: Whole, at: Whole) -> None:
    """Empty a slot; where their order counts, those behind it move up."""
    last = at
    if mapped.policy != SlotPolicy.DIRECT:
        last = first + mapped.slots - 1
    while at < last:
        mapped.slot_page[at] = mapped.slot_page[at + 1]
        mapped.slot_pointer[at] = mapped.slot_pointer[at + 1]
        at += 1
    mapped.slot_page[at] = np.uint32(0)
