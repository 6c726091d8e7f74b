"""The drive of `traces.workloads.vm.guest`: commands, DMA, completions; and the ring that tells of commits."""

from typing import Any

import numpy as np

from traces.block import Flag
from traces.dma import Event
from traces.kernel import lean_kernel
from traces.memory import Op as MemoryOp
from traces.workloads.vm.state import (
    A_PAGE,
    BLOCK,
    DMA,
    DURABLE,
    FLUSH,
    LINES,
    LOGGED,
    MEMORY,
    NO_CAUSE,
    NO_PAGES,
    ONE_CPU,
    PAGE,
    READ,
    RECORD,
    WRITE,
    Cause,
    Extent,
    Guest,
)

_PAGE = np.uint64(PAGE)
_SYNC = int(Flag.SYNC)


@lean_kernel
def accessed(g: Guest, op: int, cpu: int, address: Any, size: int) -> Any:
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
            _dma(g, Event.MAP, c.iova[k] + np.uint64(n) * _PAGE, A_PAGE, s.block - 1)
            g.dma.target[s.dma_used - 1] = page * PAGE
            if page >= f.cache and page < f.cache + f.cache_pages:
                g.pinned[page - f.cache] += 1
                g.filling[page - f.cache] = op == READ
    return s.block - 1


@lean_kernel
def serve(g: Guest) -> None:
    """The drive's next step: a page moved, or the command done."""
    s, f, c = g.state[0], g.fixed, g.commands
    k = s.head % c.op.size
    if s.served < c.length[k]:
        page = page_of(g, c.first[k] + s.served)
        row = _dma(g, Event.ACCESS, c.iova[k] + np.uint64(s.served) * _PAGE, A_PAGE, c.row[k])
        g.dma.target[s.dma_used - 1] = page * PAGE
        into = c.op[k] == READ
        g.dma.write[s.dma_used - 1] = 1 if into else 0
        if into:
            g.writer[page], g.writer_row[page], g.written[page], g.touched[page] = DMA, row, s.now, 1
        s.served += 1
        return
    if c.length[k]:
        _dma(g, Event.INTERRUPT, np.uint64(0), NO_PAGES, c.row[k])
        _dma(g, Event.UNMAP, c.iova[k], c.length[k], c.row[k])
        _dma(g, Event.INVALIDATE_IOTLB_PAGES, c.iova[k], c.length[k], c.row[k])
        _dma(g, Event.WAIT, np.uint64(0), NO_PAGES, c.row[k])
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
        _dma(g, Event.INTERRUPT, np.uint64(0), NO_PAGES, c.row[k])
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
    accessed(g, MemoryOp.STORE, ONE_CPU, f.ring * PAGE + s.ring_at, LINES)
    i = s.message_used
    out.time[i], out.sequence[i], out.address[i] = s.now, s.sequence, s.ring_at
    seen = f.poll - s.now % f.poll  # the agent looks at whole multiples
    out.seen[i] = seen if s.now + seen + f.deliver < s.crash else -1
    out.cause[i], out.row[i] = BLOCK, row
    s.message_used += 1
    s.message += 1
    s.sequence += 1
    s.ring_at = (s.ring_at + RECORD) % f.ring_bytes
