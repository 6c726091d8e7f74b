"""How transfers, mappings and flushes follow each other: the kernels of `traces.workloads.dma_churn`."""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from traces.dma import NOT_TOLD, Event, Request
from traces.kernel import lean_kernel
from traces.table import U8, U32, U64
from traces.workloads.dma.state import BUSY, IDLE, NONE, PAGE, State, give, take
from traces.workloads.draws import below, chance, draw, ln, unit


class Strategy(IntEnum):
    """How long a mapping lives."""

    STRICT = 0
    LAZY = 1
    POOL = 2
    PASSTHROUGH = 3


RAW = (
    *("access", "translation", "translated", "map", "unmap"),
    *("iotlb-pages", "iotlb-domain", "device-tlb", "wait", "interrupt"),
)
_ACCESS, _TRANSLATION, _TRANSLATED, _MAP, _UNMAP, _PAGES, _DOMAIN, _DEVICE, _WAIT, _INTERRUPT = range(10)
_EVENTS = (
    *(Event.ACCESS, Event.ACCESS, Event.ACCESS, Event.MAP, Event.UNMAP),
    *(Event.INVALIDATE_IOTLB_PAGES, Event.INVALIDATE_IOTLB_DOMAIN, Event.INVALIDATE_DEVICE_TLB),
    *(Event.WAIT, Event.INTERRUPT),
)
TRUTHS = ("", "stale-window", "use-after-unmap", "stale-translated", "false-translated")
_WINDOW, _AFTER, _KEPT, _FALSE = range(1, 5)
_HIGH = 1 << 32  # buffers lie above the first 4 GiB, out of the way of what machines keep there
_STATUS = 0xFEC000  # where waits write their status
_VECTOR = 0x30  # of the first device's interrupt
_NO_ONE = NOT_TOLD
_PIECE, _GAP, _SLOT, _BUFFER, _ORDER, _DIRECTION, _WRONG, _OTHER = range(8)  # lanes of draws


class Plan(NamedTuple):
    """What the kernel takes of a configuration."""

    strategy: int
    devices: int
    domains: int
    depth: int
    orders: tuple[int, int]  # the first, and how many
    access: int
    shares: tuple[int, int, int]  # of SHARE: transfers that write, accesses that are stale, that are false
    with_ats: int  # devices
    interrupts: bool
    flush: tuple[int, float]  # lazy: unmaps, nanoseconds
    pages: int  # of memory
    gap: float  # between steps, nanoseconds
    command: float
    keys: U64


class Machine(NamedTuple):
    """What does not change, and what does."""

    plan: Plan
    state: State


class Out(NamedTuple):
    """A batch, and a little more: the rows of a step are not taken apart."""

    time: U64
    what: U8
    event: U8
    request: U8
    source: U32
    domain: U32
    address: U64
    size: U64
    page: U64
    target: U64
    write: U8
    wrong: U8


@lean_kernel
def _row(out: Out, i: int, what: int, place: tuple[int, int], where: tuple[np.uint64, np.uint64, np.uint64]) -> None:
    """Fill a row but for its time; place is source and domain, where address, size and target."""
    out.what[i], out.source[i], out.domain[i] = what, place[0], place[1]
    out.event[i], out.request[i] = _EVENTS[what], what if what <= _TRANSLATED else np.uint8(Request.NOT_TOLD)
    out.address[i], out.size[i], out.target[i] = where
    out.page[i], out.write[i], out.wrong[i] = 0, 2, 0


@lean_kernel
def _source(device: int) -> int:
    """The number of a device on its bus, 32 a bus, from bus 1 on."""
    return (1 + device // 32) << 8 | (device % 32) << 3


@lean_kernel
def _mapped(machine: Machine, slot: int, step: np.uint64, out: Out, i: int) -> int:
    """A transfer begins: a buffer is found and, by most strategies, mapped."""
    plan, state = machine.plan, machine.state
    device = slot // plan.depth
    domain = device % plan.domains
    order = plan.orders[0] + int(np.int64(below(draw(plan.keys[_ORDER], step), np.uint64(plan.orders[1]))))
    node = state.node[slot]
    fresh = node == NONE or plan.strategy != Strategy.POOL
    if fresh:
        node = take(state, domain, order, plan.orders[0])
        places = np.uint64(plan.pages) >> np.uint64(order)
        at = below(draw(plan.keys[_BUFFER], step), places) * np.uint64(PAGE << order)
        state.physical[node] = np.uint64(_HIGH) + at
        state.device[node] = device
        state.node[slot] = node
    state.doing[slot] = BUSY
    size = state.size[node]
    state.left[slot] = max(1, int(np.int64(size)) // plan.access)
    state.write[slot] = 1 if chance(draw(plan.keys[_DIRECTION], step), np.uint64(plan.shares[0])) else 0
    if plan.strategy == Strategy.PASSTHROUGH or not fresh:
        return i
    _row(out, i, _MAP, (_source(device), domain), (state.iova[node], size, state.physical[node]))
    return i + 1


@lean_kernel
def _wrong(machine: Machine, slot: int, step: np.uint64, out: Out, i: int) -> bool:
    """An access that ought not to be; False where none is due, or nothing was unmapped."""
    plan, state = machine.plan, machine.state
    device = slot // plan.depth
    domain, place = device % plan.domains, (_source(device), device % plan.domains)
    bits, other = draw(plan.keys[_WRONG], step), draw(plan.keys[_OTHER], step)
    if chance(bits, np.uint64(plan.shares[1])):
        node, wrong = NONE, _AFTER
        if state.queued[domain]:
            node, wrong = state.queue[domain, np.int64(below(other, np.uint64(state.queued[domain])))], _WINDOW
        else:
            first = np.int64(below(other, np.uint64(plan.orders[1])))
            for k in range(plan.orders[1]):
                if node == NONE:
                    node = state.free[domain, (first + k) % plan.orders[1]]
        if node == NONE or (device < plan.with_ats and state.device[node] != device):
            return False
        reach = min(np.uint64(plan.access), state.size[node])
        if device < plan.with_ats:
            _row(out, i, _TRANSLATED, place, (state.physical[node], reach, state.physical[node]))
            wrong = _KEPT
        else:
            old = state.physical[node] if wrong == _WINDOW else np.uint64(0)
            _row(out, i, _ACCESS, place, (state.iova[node], reach, old))
        out.wrong[i], out.write[i] = wrong, other >> np.uint64(63)
        return True
    if device >= plan.with_ats and chance(draw(plan.keys[_WRONG], ~step), np.uint64(plan.shares[2])):
        at = np.uint64(_HIGH) + below(other, np.uint64(plan.pages)) * np.uint64(PAGE)
        _row(out, i, _TRANSLATED, place, (at, np.uint64(min(plan.access, PAGE)), at))
        out.wrong[i], out.write[i] = _FALSE, other & np.uint64(1)
        return True
    return False


@lean_kernel
def _accessed(machine: Machine, slot: int, out: Out, i: int) -> int:
    """The transfer's next access, after its translation where that is wanted."""
    plan, state = machine.plan, machine.state
    device, node = slot // plan.depth, state.node[slot]
    place = (_source(device), device % plan.domains)
    reach = min(np.uint64(plan.access), state.size[node])
    state.left[slot] -= 1
    offset = state.size[node] - np.uint64(state.left[slot] + 1) * reach
    iova, physical = state.iova[node] + offset, state.physical[node] + offset
    if plan.strategy == Strategy.PASSTHROUGH:
        _row(out, i, _ACCESS, place, (physical, reach, physical))
    elif device < plan.with_ats:
        if offset & np.uint64(PAGE - 1) == np.uint64(0):
            _row(out, i, _TRANSLATION, place, (iova, max(reach, np.uint64(PAGE)), physical))
            out.page[i], out.write[i] = PAGE, state.write[slot]
            i += 1
        _row(out, i, _TRANSLATED, place, (physical, reach, physical))
    else:
        _row(out, i, _ACCESS, place, (iova, reach, physical))
        out.page[i] = PAGE
    out.write[i] = state.write[slot]
    return i + 1


@lean_kernel
def _flushed(machine: Machine, domain: int, out: Out, i: int) -> int:
    """A domain's queue is flushed; what was in it may be mapped again."""
    plan, state = machine.plan, machine.state
    nothing = np.uint64(0)
    _row(out, i, _DOMAIN, (_NO_ONE, domain), (nothing, nothing, nothing))
    i += 1
    for device in range(domain, plan.with_ats, plan.domains):
        _row(out, i, _DEVICE, (_source(device), domain), (nothing, nothing, nothing))
        i += 1
    _row(out, i, _WAIT, (_NO_ONE, _NO_ONE), (np.uint64(_STATUS), nothing, np.uint64(2)))
    for n in range(state.queued[domain]):
        node = state.queue[domain, n]
        give(state, domain, node, plan.orders[0])
    state.queued[domain] = 0
    return i + 1


@lean_kernel
def _ended(machine: Machine, slot: int, out: Out, i: int) -> int:
    """A transfer's buffer is unmapped, and what the strategy asks for is done."""
    plan, state = machine.plan, machine.state
    device, node = slot // plan.depth, state.node[slot]
    domain, nothing = device % plan.domains, np.uint64(0)
    place = (_source(device), domain)
    where = (state.iova[node], state.size[node], nothing)
    state.doing[slot] = IDLE
    if plan.interrupts:
        _row(out, i, _INTERRUPT, (place[0], _NO_ONE), (np.uint64(device), nothing, np.uint64(_VECTOR + device % 192)))
        i += 1
    if plan.strategy == Strategy.POOL:
        return i
    if plan.strategy == Strategy.PASSTHROUGH:
        give(state, domain, node, plan.orders[0])
        return i
    _row(out, i, _UNMAP, place, where)
    i += 1
    if plan.strategy == Strategy.STRICT:
        _row(out, i, _PAGES, (_NO_ONE, domain), where)
        i += 1
        if device < plan.with_ats:
            _row(out, i, _DEVICE, place, where)
            i += 1
        _row(out, i, _WAIT, (_NO_ONE, _NO_ONE), (np.uint64(_STATUS), nothing, np.uint64(2)))
        give(state, domain, node, plan.orders[0])
        return i + 1
    if not state.queued[domain]:
        state.since[domain] = state.one[0].now
    state.queue[domain, state.queued[domain]] = node
    state.queued[domain] += 1
    return _flushed(machine, domain, out, i) if state.queued[domain] == plan.flush[0] else i


@lean_kernel
def fill(machine: Machine, room: int, out: Out, i: int) -> int:
    """Rows from ``i`` on, whole steps, until there are ``room`` of them or a few more; how many."""
    plan, state = machine.plan, machine.state
    one = state.one[0]
    while i < room:
        begin = i
        step = np.uint64(one.step)
        slots = plan.devices * plan.depth
        setup = plan.strategy == Strategy.POOL and one.setup < slots
        if setup:
            slot = one.setup
            one.setup += 1
        else:
            one.now -= plan.gap * ln(unit(draw(plan.keys[_GAP], step)))
            slot = np.int64(below(draw(plan.keys[_SLOT], step), np.uint64(slots)))
        domain = slot // plan.depth % plan.domains
        if state.queued[domain] and one.now - state.since[domain] >= plan.flush[1]:
            i = _flushed(machine, domain, out, i)
        if state.doing[slot] == IDLE:
            i = _mapped(machine, slot, step, out, i)
            if setup:
                state.doing[slot] = IDLE
        elif state.left[slot] == 0:
            i = _ended(machine, slot, out, i)
        elif _wrong(machine, slot, step, out, i):
            i += 1
        else:
            i = _accessed(machine, slot, out, i)
        for k in range(begin, i):
            out.time[k] = np.uint64(one.now)
            one.now += plan.command
        one.step += 1
    return i


def new_out(rows: int) -> Out:
    """Room for so many rows."""
    narrow: dict[str, Any] = {"source": np.uint32, "domain": np.uint32}
    for name in ("what", "event", "request", "write", "wrong"):
        narrow[name] = np.uint8
    return Out(*(np.empty(rows, narrow.get(name, np.uint64)) for name in Out._fields))
