"""The cached mapping table of DFTL: single pointers in DRAM, least recently used out first, in one segment or two.

Two segments (segmented LRU: Karedla, Love, Wherry, IEEE Computer 27(3), 1994, which DFTL's authors use): a pointer
comes in on probation, is protected once it is met again, and goes back on probation when too many are. What is
unmapped has an entry too, once it was asked for.
"""

from typing import Any

import numpy as np

from pipeline.ftl.l2p.state import NO_ENTRY, NOWHERE, Mapped, bit_of
from pipeline.ftl.victim import Whole
from traces.kernel import inline_lean_kernel, lean_kernel


@inline_lean_kernel
def cached(mapped: Mapped, page: Whole) -> Any:
    """Whether the page has an entry."""
    return mapped.at[page] != 0


@inline_lean_kernel
def pointer_in(mapped: Mapped, page: Whole) -> Any:
    """The pointer in a page's entry; NOWHERE if it has none."""
    entry = np.int64(mapped.at[page]) - 1
    return np.int64(mapped.entry_pointer[entry]) if entry >= 0 else NOWHERE


@inline_lean_kernel
def change_entry(mapped: Mapped, page: Whole, pointer: Whole) -> None:
    """Put the page's new pointer into its entry; that in flash is stale from now on."""
    word, bit = bit_of(mapped, page)
    mapped.dirty[word] |= bit
    mapped.fresh[page] = pointer
    mapped.entry_pointer[np.int64(mapped.at[page]) - 1] = pointer


@inline_lean_kernel
def take(mapped: Mapped, entry: Whole) -> None:
    """Take an entry out of its segment."""
    after, before = mapped.order[entry, 0], mapped.order[entry, 1]
    mapped.order[before, 0] = after
    mapped.order[after, 1] = before


@inline_lean_kernel
def lead(mapped: Mapped, segment: Whole, entry: Whole) -> None:
    """Make an entry the latest of a segment: 0 probation, 1 protected."""
    head = mapped.entries + segment
    after = mapped.order[head, 0]
    mapped.order[head, 0] = entry
    mapped.order[entry, 1] = head
    mapped.order[entry, 0] = after
    mapped.order[after, 1] = entry


@lean_kernel
def meet(mapped: Mapped, page: Whole) -> None:
    """The page's entry was asked for."""
    books, entry = mapped.books[0], np.int64(mapped.at[page]) - 1
    take(mapped, entry)
    if mapped.safe == 0:
        lead(mapped, 0, entry)
        return
    lead(mapped, 1, entry)
    if not mapped.entry_safe[entry]:
        mapped.entry_safe[entry] = 1
        books.safe += 1
        if books.safe > mapped.safe:
            last = mapped.order[mapped.entries + 1, 1]
            take(mapped, last)
            lead(mapped, 0, last)
            mapped.entry_safe[last] = 0
            books.safe -= 1


@inline_lean_kernel
def coldest(mapped: Mapped) -> Any:
    """The entry to go next; there is one."""
    last = mapped.order[mapped.entries, 1]
    if last == mapped.entries:
        last = mapped.order[mapped.entries + 1, 1]
    return np.int64(last)


@lean_kernel
def drop(mapped: Mapped, entry: Whole) -> None:
    """Forget an entry."""
    books = mapped.books[0]
    take(mapped, entry)
    books.safe -= mapped.entry_safe[entry]
    mapped.entry_safe[entry] = 0
    mapped.at[np.int64(mapped.entry_page[entry])] = 0
    mapped.order[entry, 0] = books.free
    books.free = entry
    books.held -= 1


@lean_kernel
def bring(mapped: Mapped, page: Whole, pointer: Whole) -> None:
    """Give a page an entry; one is free."""
    books = mapped.books[0]
    entry = books.free
    if entry == NO_ENTRY:
        entry = books.fresh
        books.fresh += 1
    else:
        books.free = mapped.order[entry, 0]
    mapped.at[page] = entry + 1
    mapped.entry_page[entry] = page
    mapped.entry_pointer[entry] = pointer
    lead(mapped, 0, entry)
    books.held += 1
