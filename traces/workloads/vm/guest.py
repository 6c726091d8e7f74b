"""A guest at work, event by event: processors, page cache, journal, NVMe drive, IOMMU and a ring of messages.

Small on purpose, and closed: accesses of the processors come by themselves, everything else has a cause that can be
named.

    access --miss--> NVMe read --> mappings, DMA into the page cache --> the processor goes on
    store to a cached page --> dirty --commit--> journal write, flush --> message "durable"
                                     --write-back--> NVMe write --> mappings, DMA, unmap and invalidate

The drive serves one command after the other. Dirty pages are written back when they are ``expire`` old, looked at every
``writeback``, and all of them once a fifth of the cache is dirty, which is what Linux does by default
(Documentation/admin-guide/sysctl/vm.rst: dirty_expire_centisecs 3000, dirty_writeback_centisecs 500, dirty_ratio 20).
The journal holds data (ext4's data=journal): what a commit covers is whole again after a crash. A mapping lives as long
as its command (Linux's strict mode), its addresses are the ones given back last, as the IOVA caches give them
(drivers/iommu/iova.c).
"""

from typing import Any

import numpy as np

from traces.kernel import lean_kernel
from traces.memory import Op as MemoryOp
from traces.table import U64
from traces.workloads.draws import below, chance, draw, ln, unit
from traces.workloads.vm.drive import accessed, serve, submit
from traces.workloads.vm.state import (
    BLOCK,
    FLUSH,
    JOURNAL,
    LOGGED,
    MEMORY,
    NEVER,
    NOBODY,
    ONE_CPU,
    PAGE,
    READ,
    WHOLE,
    WORD,
    WRITE,
    Cause,
    Extent,
    Guest,
)

_THROTTLE = 1_000_000  # ns between two write-backs of everything
_RETRY = 10_000  # ns until an access tries again whose page is being read, or finds no room


@lean_kernel
def _evict(g: Guest) -> Any:
    """A place of the cache for another block, by second chance; -1 where all are dirty or in use."""
    s, f = g.state[0], g.fixed
    for _ in range(2 * f.cache_pages):
        place = s.hand
        s.hand = s.hand + 1 if s.hand + 1 < f.cache_pages else 0
        if g.pinned[place] or g.dirty_since[place] >= 0:
            continue
        if g.used[place]:
            g.used[place] = 0
            continue
        if g.block_of[place] >= 0:
            g.slot_of[g.block_of[place]] = -1
        g.block_of[place] = -1
        g.fresh[place] = 0
        return place
    return -1


@lean_kernel
def _hold(g: Guest, block: Any) -> Any:
    """The place of a file block in the cache, made where it has none; -1 where there is no room."""
    place = g.slot_of[block]
    if place < 0:
        place = _evict(g)
        if place < 0:
            return -1
        g.slot_of[block], g.block_of[place] = place, block
    g.used[place] = 1
    return place


@lean_kernel
def _file_access(g: Guest, cpu: int, block: Any, number: np.uint64) -> bool:
    """Read or overwrite a page of a file; whether the processor waits for the drive."""
    s, f = g.state[0], g.fixed
    held = g.slot_of[block] >= 0
    place = _hold(g, block)
    address = (f.cache + place) * PAGE
    if chance(draw(f.lane, number), np.uint64(f.file_writes)):
        accessed(g, MemoryOp.STORE, cpu, address, WHOLE)
        if g.dirty_since[place] < 0:
            g.dirty_since[place] = s.now
            s.dirty += 1
        s.fresh += 1 - g.fresh[place]
        g.fresh[place] = 1
        return False
    row = accessed(g, MemoryOp.LOAD, cpu, address, WHOLE)
    if held:
        return False
    count = 1
    g.pinned[place] += 1  # or it might be evicted for its own readahead
    while count < f.readahead and block + count < f.file_blocks and g.slot_of[block + count] < 0:
        more = _hold(g, block + count)
        if more < 0:
            break
        g.pinned[more] += 1
        count += 1
    for n in range(count):
        g.pinned[g.slot_of[block + n]] -= 1
    submit(g, READ, Extent(f.image_blocks + f.log_blocks + block, count), cpu, Cause(MEMORY, row))
    g.cpu_at[cpu] = NEVER
    return True


@lean_kernel
def _must_wait(g: Guest, block: Any) -> bool:
    """Whether a page of a file is being read, or finds no room: then the access is tried again later."""
    place = g.slot_of[block]
    if place >= 0:
        return bool(g.filling[place])
    place = _evict(g)
    if place >= 0:
        g.state[0].hand = place  # it is still free when it is asked for
    return bool(place < 0)


@lean_kernel
def _access(g: Guest, cpu: int, anonymous: U64, files: U64) -> None:
    """A processor's next access. Draws are numbered by it, four to each."""
    s, f = g.state[0], g.fixed
    number = np.uint64(4 * s.accesses)
    at = s.drawn
    to_file = chance(draw(f.lane, number), np.uint64(f.files))
    if to_file and _must_wait(g, np.int64(files[at])):
        g.cpu_at[cpu] = s.now + _RETRY
        return
    s.accesses += 1
    s.drawn += 1
    if to_file:
        if _file_access(g, cpu, np.int64(files[at]), number + np.uint64(1)):
            return
    else:
        offset = int(below(draw(f.lane, number + np.uint64(2)), np.uint64(PAGE // 8))) * 8
        op = MemoryOp.STORE if chance(draw(f.lane, number + np.uint64(1)), np.uint64(f.stores)) else MemoryOp.LOAD
        accessed(g, op, cpu, (f.anonymous + np.int64(anonymous[at])) * PAGE + offset, WORD)
    gap = -ln(unit(draw(f.lane, number + np.uint64(3)))) * f.gap
    g.cpu_at[cpu] = s.now + 1 + int(gap)


@lean_kernel
def _write_back(g: Guest) -> None:
    """The next run of dirty blocks that are old enough becomes a command; past the last block it is over."""
    s, f = g.state[0], g.fixed
    block = s.writeback_at
    count, last = 0, -1
    while block + count < f.file_blocks and count < f.most:
        place = g.slot_of[block + count]
        if place < 0 or g.dirty_since[place] < 0 or g.dirty_since[place] > s.writeback_limit or g.pinned[place]:
            if count:
                break
            block += 1
            continue
        last = max(last, g.writer_row[f.cache + place])
        g.dirty_since[place] = -1
        s.dirty -= 1
        count += 1
    s.writeback_at = block + count if block + count < f.file_blocks else -1
    if count:
        submit(g, WRITE, Extent(f.image_blocks + f.log_blocks + block, count), NOBODY, Cause(MEMORY, last))


@lean_kernel
def _begin_commit(g: Guest) -> None:
    """Whatever was stored since the last one goes to the journal."""
    s, f = g.state[0], g.fixed
    s.next_commit = s.now + f.commit
    if s.committing >= 0 or not s.fresh:
        return
    s.committing, s.commit_left = s.now, min(s.fresh, f.log_blocks)
    s.fresh = 0
    for place in range(f.cache_pages):
        if g.fresh[place]:
            g.fresh[place] = 0
            g.journal[place] |= LOGGED


@lean_kernel
def _commit(g: Guest) -> None:
    """The next blocks of the journal; after the last the flush that makes them durable."""
    s, f = g.state[0], g.fixed
    count = min(s.commit_left, f.most, f.log_blocks - s.log_at)
    row = 0
    for n in range(count):
        row = accessed(g, MemoryOp.STORE, ONE_CPU, (f.log + s.log_at + n) * PAGE, WHOLE)
    written = submit(g, WRITE, Extent(f.image_blocks + s.log_at, count), NOBODY, Cause(MEMORY, row))
    s.log_at = (s.log_at + count) % f.log_blocks
    s.commit_left -= count
    if not s.commit_left:
        submit(g, FLUSH, Extent(0, 0), JOURNAL, Cause(BLOCK, written))


@lean_kernel
def room(g: Guest) -> bool:
    """Whether any event's rows fit into the buffers."""
    s, need = g.state[0], 2 * g.fixed.most + 16
    return bool(
        s.memory_used + need <= g.memory.time.size
        and s.block_used + need <= g.block.time.size
        and s.dma_used + need <= g.dma.time.size
        and s.message_used + need <= g.message.time.size
    )


@lean_kernel
def live(g: Guest, until: int, anonymous: U64, files: U64) -> bool:
    """Go on until then, or until nothing is left to happen; False where the buffers are full or the ranks used up."""
    s, f, c = g.state[0], g.fixed, g.commands
    while True:
        if s.drawn == anonymous.size or not room(g):
            return False
        if s.writeback_at >= 0:
            _write_back(g)
            continue
        if s.commit_left:
            _commit(g)
            continue
        k = s.head % c.op.size
        served = NEVER
        if s.head < s.tail:
            served = c.start[k] + s.served * f.page if s.served < c.length[k] else c.done[k]
        cpu = ONE_CPU
        for each in range(1, g.cpu_at.size):
            if g.cpu_at[each] < g.cpu_at[cpu]:
                cpu = each
        wakes = NEVER if s.still else g.cpu_at[cpu]
        then = min(served, wakes, s.next_writeback, s.next_commit)
        if then >= until:
            s.now = until if until < NEVER else s.now
            return True
        s.now = max(s.now, then)
        if then == served:
            serve(g)
        elif then == wakes:
            if s.dirty * 5 > f.cache_pages and s.writeback_limit < s.now - _THROTTLE:
                s.writeback_at, s.writeback_limit = 0, s.now  # the one who writes starts it
            else:
                _access(g, cpu, anonymous, files)
        elif then == s.next_writeback:
            s.writeback_at, s.writeback_limit = 0, s.now - f.expire
            s.next_writeback = s.now + f.writeback
        else:
            _begin_commit(g)
