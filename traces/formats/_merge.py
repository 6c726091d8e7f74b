"""Per-CPU files merged in the order in which blkparse prints their events.

By time; at equal times the file being read goes on. A file's own events need not be in order: the next event of each
file is all that is looked at. Source: blkparse.c (ms_sort, ms_resort).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import kernel
from traces.table import I64

I32 = NDArray[np.int32]


class Streams(NamedTuple):
    """The files in the order of their next events, a list as blkparse keeps it."""

    head: I64  # [1]
    next: I64  # [file]


@kernel
def insert(s: Streams, time: I64, at: I64, file: int) -> None:
    """Put a file in its place: at equal times after the head and before the others."""
    other = s.head[0]
    if other < 0 or time[at[file]] < time[at[other]]:
        s.next[file] = other
        s.head[0] = file
        return
    while s.next[other] >= 0 and time[at[s.next[other]]] < time[at[file]]:
        other = s.next[other]
    s.next[file] = s.next[other]
    s.next[other] = file


@kernel
def merge(s: Streams, time: I64, at: I64, end: I64, taken: I32) -> int:
    """Take events until the file at the head has no more: the file of each into ``taken``; how many were taken."""
    count = 0
    file = s.head[0]
    while at[file] < end[file]:
        follower = s.next[file]
        if follower >= 0 and time[at[file]] > time[at[follower]]:
            s.head[0] = follower
            insert(s, time, at, file)
            file = s.head[0]
            continue
        taken[count] = file
        count += 1
        at[file] += 1
    return count


@kernel
def places(taken: I32, begin: I64, out: I64) -> None:
    """Where each taken event stands if the files' taken events are laid end to end, file after file."""
    for i in range(taken.size):
        out[i] = begin[taken[i]]
        begin[taken[i]] += 1
