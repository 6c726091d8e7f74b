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

from traces.block import Flag
from traces.dma import Event
from traces.kernel import lean_kernel
from traces.memory import Op as MemoryOp
from traces.table import U64
from traces.workloads._guest_state import (
    BLOCK,
    DMA,
    DURABLE,
    FLUSH,
    LOGGED,
    MEMORY,
    NEVER,
    NO_CAUSE,
    PAGE,
    READ,
    RECORD,
    WRITE,
    Cause,
    Extent,
    Guest,
)
from traces.workloads.draws import below, chance, draw, ln, unit

_PAGE = np.uint64(PAGE)
_THROTTLE = 1_000_000  # ns between two write-backs of everything
_SYNC = int(Flag.SYNC)
_RETRY = 10_000  # ns until an access tries again whose page is being read, or finds no room


@lean_kernel
def _accessed(g: Guest, op: int, cpu: int, address: int, size: int) -> Any:
    """A row of the memory trace that comes by itself; its number."""
    s, out = g.state[0], g.memory
    i = s.memory_used
    out.time[i], out.op[i], out.cpu[i], out.address[i], out.size[i] = s.now, op, cpu, address, size
    out.cause[i], out.row[i] = NO_CAUSE, 0
    s.memory_used += 1
    s.memory += 1
    if op == MemoryOp.STORE:
        page = address // PAGE
        g.writer[page], g.writer_row[page], g.written[page], g.touched[page] = MEMORY, s.memory - 1, s.now, 1
    return s.memory - 1


@lean_kernel
def _dma(g: Guest, event: int, address: np.uint64, pages: int, row: int) -> Any:
    """A row of the DMA trace whose cause is a row of the block trace; its number."""
    s, out = g.state[0], g.dma
    i = s.dma_used
    out.time[i], out.event[i], out.write[i] = s.now, event, 2
    out.address[i], out.size[i], out.target[i] = address, np.uint64(pages) * _PAGE, 0
    out.cause[i], out.row[i] = BLOCK, row
    s.dma_used += 1
    s.dma += 1
    return s.dma - 1


@lean_kernel
def page_of(g: Guest, block: int) -> Any:
    """The guest page that holds a block of the drive."""
    f = g.fixed
    if block < f.image_blocks:
        return f.image + block
    if block < f.image_blocks + f.log_blocks:
        return f.log + block - f.image_blocks
    return f.cache + g.slot_of[block - f.image_blocks - f.log_blocks]


@lean_kernel
def submit(g: Guest, op: int, blocks: Extent, cpu: int, cause: Cause) -> Any:
    """Give the drive a command for which ``cpu`` waits (see `Commands`). Its row of the block trace."""
    first, count = blocks.first, blocks.length
    s, f, out, c = g.state[0], g.fixed, g.block, g.commands
    i, k = s.block_used, s.tail % c.op.size
    start = max(s.now + f.fetch, s.device_free)
    done = start + count * f.page + (f.read if op == READ else f.write if op == WRITE else f.flush)
    s.device_free = done
    out.time[i], out.op[i] = s.now, op
    out.address[i], out.length[i] = first * PAGE, count * PAGE
    out.latency[i] = done - s.now if done < s.crash else -1
    out.flags[i] = _SYNC if cpu != -1 else 0
    out.cause[i], out.row[i] = cause.kind, cause.row
    s.block_used += 1
    s.block += 1
    c.op[k], c.first[k], c.length[k], c.start[k], c.done[k] = op, first, count, start, done
    c.row[k], c.cpu[k] = s.block - 1, cpu
    s.tail += 1
    if count:
        s.free -= 1
        c.iova[k] = g.iovas[s.free]
        for n in range(count):
            page = page_of(g, first + n)
            _dma(g, Event.MAP, c.iova[k] + np.uint64(n) * _PAGE, 1, s.block - 1)
            g.dma.target[s.dma_used - 1] = page * PAGE
            if page >= f.cache and page < f.cache + f.cache_pages:
                g.pinned[page - f.cache] += 1
                g.filling[page - f.cache] = op == READ
    return s.block - 1


@lean_kernel
def _serve(g: Guest) -> None:
    """The drive's next step: a page moved, or the command done."""
    s, f, c = g.state[0], g.fixed, g.commands
    k = s.head % c.op.size
    if s.served < c.length[k]:
        page = page_of(g, c.first[k] + s.served)
        row = _dma(g, Event.ACCESS, c.iova[k] + np.uint64(s.served) * _PAGE, 1, c.row[k])
        g.dma.target[s.dma_used - 1] = page * PAGE
        into = c.op[k] == READ
        g.dma.write[s.dma_used - 1] = 1 if into else 0
        if into:
            g.writer[page], g.writer_row[page], g.written[page], g.touched[page] = DMA, row, s.now, 1
        s.served += 1
        return
    if c.length[k]:
        _dma(g, Event.INTERRUPT, np.uint64(0), 0, c.row[k])
        _dma(g, Event.UNMAP, c.iova[k], c.length[k], c.row[k])
        _dma(g, Event.INVALIDATE_IOTLB_PAGES, c.iova[k], c.length[k], c.row[k])
        _dma(g, Event.WAIT, np.uint64(0), 0, c.row[k])
        g.iovas[s.free] = c.iova[k]
        s.free += 1
        for n in range(c.length[k]):
            place = page_of(g, c.first[k] + n) - f.cache
            if place >= 0 and place < f.cache_pages:
                g.pinned[place] -= 1
                g.filling[place] = 0
                if c.op[k] == WRITE and g.dirty_since[place] < 0:
                    g.journal[place] = 0
    else:
        _dma(g, Event.INTERRUPT, np.uint64(0), 0, c.row[k])
    if c.cpu[k] >= 0:
        g.cpu_at[c.cpu[k]] = s.now
    elif c.op[k] == FLUSH:
        s.committing = -1
        for place in range(f.cache_pages):
            if g.journal[place] & LOGGED:
                g.journal[place] = DURABLE
        _publish(g, c.row[k])
    s.head += 1
    s.served = 0


@lean_kernel
def _publish(g: Guest, row: int) -> None:
    """Tell the agent that a commit is durable, by a record in the ring."""
    s, f, out = g.state[0], g.fixed, g.message
    _accessed(g, MemoryOp.STORE, 0, f.ring * PAGE + s.ring_at, RECORD)
    i = s.message_used
    out.time[i], out.sequence[i], out.address[i] = s.now, s.sequence, s.ring_at
    seen = f.poll - s.now % f.poll  # the agent looks at whole multiples
    out.seen[i] = seen if s.now + seen + f.deliver < s.crash else -1
    out.cause[i], out.row[i] = BLOCK, row
    s.message_used += 1
    s.message += 1
    s.sequence += 1
    s.ring_at = (s.ring_at + RECORD) % f.ring_bytes


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
def _hold(g: Guest, block: int) -> Any:
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
def _file_access(g: Guest, cpu: int, block: int, number: np.uint64) -> bool:
    """Read or overwrite a page of a file; whether the processor waits for the drive."""
    s, f = g.state[0], g.fixed
    held = g.slot_of[block] >= 0
    place = _hold(g, block)
    address = (f.cache + place) * PAGE
    if chance(draw(f.lane, number), np.uint64(f.file_writes)):
        _accessed(g, MemoryOp.STORE, cpu, address, PAGE)
        if g.dirty_since[place] < 0:
            g.dirty_since[place] = s.now
            s.dirty += 1
        s.fresh += 1 - g.fresh[place]
        g.fresh[place] = 1
        return False
    row = _accessed(g, MemoryOp.LOAD, cpu, address, PAGE)
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
def _must_wait(g: Guest, block: int) -> bool:
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
    if to_file and _must_wait(g, int(files[at])):
        g.cpu_at[cpu] = s.now + _RETRY
        return
    s.accesses += 1
    s.drawn += 1
    if to_file:
        if _file_access(g, cpu, int(files[at]), number + np.uint64(1)):
            return
    else:
        offset = int(below(draw(f.lane, number + np.uint64(2)), np.uint64(PAGE // 8))) * 8
        op = MemoryOp.STORE if chance(draw(f.lane, number + np.uint64(1)), np.uint64(f.stores)) else MemoryOp.LOAD
        _accessed(g, op, cpu, (f.anonymous + int(anonymous[at])) * PAGE + offset, 8)
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
        submit(g, WRITE, Extent(f.image_blocks + f.log_blocks + block, count), -1, Cause(MEMORY, last))


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
        row = _accessed(g, MemoryOp.STORE, 0, (f.log + s.log_at + n) * PAGE, PAGE)
    written = submit(g, WRITE, Extent(f.image_blocks + s.log_at, count), -1, Cause(MEMORY, row))
    s.log_at = (s.log_at + count) % f.log_blocks
    s.commit_left -= count
    if not s.commit_left:
        submit(g, FLUSH, Extent(0, 0), -2, Cause(BLOCK, written))


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
        cpu = 0
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
            _serve(g)
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
