"""The rings and the agent of `messages`, in numbers: what the kernels take, keep and fill."""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.crc32c import finished
from traces.kernel import kernel
from traces.message import Op, Outcome
from traces.table import I64, U8, U32, U64
from traces.workloads.draws import below, chance, draw, exp, ln, unit

LINE = 64  # bytes


class Lengths(IntEnum):
    """How long payloads are."""

    FIXED = 0
    TWO_POINT = 1
    LOG_NORMAL = 2


class Fate(IntEnum):
    """What becomes of a record that finds room."""

    GOOD = 0
    TORN = 1
    UNKNOWN = 2
    CLOSED = 3
    CORRUPT = 4
    FULL = 5  # it found none


def taken(length: int) -> int:
    """Bytes of its ring that a record with so long a payload takes."""
    return LINE * (1 + math.ceil(length / LINE))


class Lane(IntEnum):
    """What a draw is for. New ones go to the end."""

    GAP = 0
    BURST = 1
    PRODUCER = 2
    RECEIVER = 3
    AGAIN = 4
    LENGTH = 5
    FATE = 6
    PAYLOAD = 7
    POLL = 8


class Plan(NamedTuple):
    """What the kernels take of a configuration."""

    producers: int
    rings: int
    ring: int
    receivers: int
    lengths: Lengths
    length: int
    longest: int
    long: int  # of SHARE
    sigma: float
    poll: int
    first: int  # ns; when the agent looks first
    handling: int
    fates: U64  # [fate] -> of SHARE, it or one before it
    lanes: U64  # [lane] -> its key
    sums: U64  # [zeros before it] -> the checksum in the making


AGENT = np.dtype(
    [
        ("look", "u8"),  # when it looks next at a record's coming
        ("waiting", "u8"),  # records that it will see then
        ("head", "u8"),  # of the queue: records not handled yet
        ("tail", "u8"),
    ]
)


class State(NamedTuple):
    """Rings and agent."""

    used: U64  # [ring] -> bytes
    place: U64  # [ring] -> where the next record goes
    sequence: U64  # [ring] -> the next record's
    agent: NDArray[np.void]
    queue: NDArray[np.void]  # what takes room, in the order in which it gives it back


QUEUED = np.dtype([("done", "u8"), ("ring", "u4"), ("bytes", "u4")])


class Rows(NamedTuple):
    """One batch, as `write` fills it."""

    time: U64
    op: U8
    producer: U32
    ring: U32
    receiver: U64
    sequence: U64
    address: U64
    length: U64
    checksum: U32
    seen: I64
    delivered: I64
    outcome: U8
    fate: U8


@kernel
def _normal(bits: np.uint64) -> float:
    """A normal deviate by the polar method (Marsaglia, Bray, SIAM Review 6(3), 1964): no function but a logarithm."""
    number = np.uint64(0)
    while True:
        x = 2.0 * unit(draw(bits, number)) - 1.0
        y = 2.0 * unit(draw(bits, number + np.uint64(1))) - 1.0
        s = x * x + y * y
        if 0.0 < s < 1.0:
            return x * math.sqrt(-2.0 * ln(s) / s)
        number += np.uint64(2)


@kernel
def draw_lengths(plan: Plan, begin: int, out: U64) -> None:
    """Payload lengths in bytes."""
    key, sigma, most = plan.lanes[Lane.LENGTH], plan.sigma, float(plan.longest)
    median = float(plan.length)
    if plan.lengths == Lengths.FIXED:
        out[:] = plan.length
    elif plan.lengths == Lengths.TWO_POINT:
        share = np.uint64(plan.long)
        for i in range(out.size):
            out[i] = plan.longest if chance(draw(key, np.uint64(begin + i)), share) else plan.length
    else:
        for i in range(out.size):
            size = median * exp(min(sigma * _normal(draw(key, np.uint64(begin + i))), 64.0))
            out[i] = np.uint64(np.int64(min(max(np.floor(size + 0.5), 1.0), most)))


@kernel
def _next_look(first: int, poll: int, since: np.uint64) -> np.uint64:
    """The first time from ``since`` on at which the agent looks."""
    begin, step = np.uint64(first), np.uint64(poll)
    if since <= begin:
        return begin
    return np.uint64(begin + (since - begin + step - np.uint64(1)) // step * step)


@kernel
def write(plan: Plan, s: State, begin: int, out: Rows) -> None:
    """Let the producers write; time, receiver and length are there."""
    # arrays taken out of their tuple within the loop cost 200 ns a record: their owners are counted each time
    one, line, room = np.uint64(1), np.uint64(LINE), np.uint64(plan.ring)
    producers, rings, receivers = np.uint64(plan.producers), np.uint64(plan.rings), np.uint64(plan.receivers)
    handling, fates, sums = np.uint64(plan.handling), plan.fates, plan.sums
    of_producer, of_fate = plan.lanes[Lane.PRODUCER], plan.lanes[Lane.FATE]
    of_payload = plan.lanes[Lane.PAYLOAD]
    used, place, sequence, queue, agent = s.used, s.place, s.sequence, s.queue, s.agent
    mask = np.uint64(queue.size - 1)
    look, waiting, head, tail = agent[0].look, agent[0].waiting, agent[0].head, agent[0].tail
    time, length, receiver, ring = out.time, out.length, out.receiver, out.ring
    op, outcome, fate_of, checksum = out.op, out.outcome, out.fate, out.checksum
    seen, delivered, producer_of, numbered, address = out.seen, out.delivered, out.producer, out.sequence, out.address
    for i in range(time.size):
        number, now = np.uint64(begin + i), time[i]
        producer = below(draw(of_producer, number), producers)
        r = producer % rings
        if now > look:
            look, waiting = _next_look(plan.first, plan.poll, max(now, look + waiting * handling)), np.uint64(0)
        while head < tail and queue[head & mask].done < now:
            used[queue[head & mask].ring] -= np.uint64(queue[head & mask].bytes)
            head += one
        needs = line * (one + (length[i] + line - one) // line)
        fate = np.uint8(Fate.GOOD)
        drawn = draw(of_fate, number) >> np.uint64(11)
        for k in range(Fate.CORRUPT, Fate.GOOD, -1):
            if drawn < fates[k]:
                fate = np.uint8(k)
        if used[r] + needs > room:
            fate = np.uint8(Fate.FULL)
        if fate == Fate.UNKNOWN or fate == Fate.CLOSED:
            receiver[i] = receivers + np.uint64(fate == Fate.UNKNOWN)
        producer_of[i], ring[i], fate_of[i] = producer, r, fate
        numbered[i], address[i] = sequence[r], place[r]
        if fate == Fate.FULL or fate == Fate.TORN:
            op[i] = Op.FULL if fate == Fate.FULL else Op.TORN
            checksum[i], outcome[i], seen[i], delivered[i] = 0, Outcome.NOT_TOLD, -1, -1
            continue
        waiting += one
        done = look + waiting * handling
        op[i], seen[i], delivered[i] = Op.PUBLISHED, np.int64(look - now), -1
        if fate == Fate.GOOD:
            outcome[i], delivered[i] = Outcome.DELIVERED, np.int64(done - now)
        else:
            outcome[i] = Outcome.CORRUPT if fate == Fate.CORRUPT else Outcome.REFUSED
        last = min(length[i], np.uint64(8))
        checksum[i] = finished(sums[length[i] - last], draw(draw(of_payload, r), sequence[r]), last)
        queue[tail & mask].done, queue[tail & mask].ring, queue[tail & mask].bytes = done, r, needs
        tail += one
        used[r] += needs
        sequence[r] += one
        place[r] = (place[r] + needs) % room
    agent[0].look, agent[0].waiting, agent[0].head, agent[0].tail = look, waiting, head, tail


def with_room(state: State, rows: int) -> State:
    """A queue that holds so many records more."""
    agent, queue = state.agent[0], state.queue
    waiting = int(agent["tail"] - agent["head"])
    if waiting + rows <= queue.size:
        return state
    longer = np.zeros(1 << (waiting + rows - 1).bit_length(), QUEUED)
    longer[:waiting] = queue[(np.arange(waiting) + int(agent["head"])) & (queue.size - 1)]
    agent["head"], agent["tail"] = 0, waiting
    return state._replace(queue=longer)
