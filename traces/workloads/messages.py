"""Messages: producers write records into rings in shared memory, an agent polls, reads and hands them to receivers.

Producers write independently, each to one ring; who is written to follows Zipf's law of the receivers in their order.
A record takes whole cache lines of its ring, the first of them for its header, and lies behind the one before; at the
ring's end it goes on at the beginning. One agent looks at all rings every ``poll``, handles what has been published by
then one record after the other, in the order of publication, and gives each one's room back when it is done with it. A
look that falls into its work is left out. Hence while the agent keeps up, the time until a record is seen is uniform on
0..``poll`` where records come independently of it; a ring is full because of what is in it, never by a draw.

A record whose producer is killed while writing is torn: it is never published, and the next one is written over it; its
producer is back for its next record. Two names are not to be written to: ``nobody``, whom the agent does not know, and
``closed``, who takes records from no producer. Of a record's payload all bytes are zero but the last eight, which are a
draw by seed, ring and sequence (of shorter ones its lowest bytes, the lowest first): the checksum is that of it, also
where the payload was damaged afterwards (corrupt).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import ByName, Bytes, Nanoseconds, spelled, without_effect
from traces.crc32c import after_zeros
from traces.kinds import ROWS
from traces.message import WORDS, words
from traces.table import schema_of
from traces.truth import TraceRecords
from traces.workloads._channel import (
    AGENT,
    LINE,
    QUEUED,
    Lane,
    Lengths,
    Plan,
    Rows,
    State,
    draw_lengths,
    taken,
    with_room,
    write,
)
from traces.workloads.arrival import (
    Arrival,
    AsArrival,
    Bias,
    Burst,
    Bursts,
    Busy,
    Grain,
    Process,
    arrive,
    check_bursts,
    new_process,
)
from traces.workloads.draws import SHARE, below, draws
from traces.workloads.workload import LONGEST, Workload, whole
from traces.workloads.zipf import Law, draw_ranks, law_of

_TRUTHS = ("", "torn", "unknown receiver", "receiver not allowed", "corrupt", "ring full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Records, rings and an agent."""

    messages: Annotated[int, Field(ge=1, le=1 << 40, description="records that producers try to write")] = 1_000_000
    producers: Annotated[int, Field(ge=1, le=1 << 16, description="programs that write, each as often as others")] = 4
    rings: Annotated[int, Field(ge=1, le=1 << 16, description="rings; producer p writes to ring p modulo rings")] = 4
    ring: Annotated[Bytes, Field(ge=2 * LINE, le=1 << 32, multiple_of=LINE, description="bytes of each ring")] = 1 << 16
    receivers: Annotated[int, Field(ge=1, le=1 << 12, description="programs that records are for")] = 8
    theta: Annotated[
        float,
        Field(ge=0, le=64, description="skew: receiver k is named in proportion to (k + 1)**-theta; 0: all alike"),
    ] = 0.0
    lengths: Annotated[
        ByName[Lengths],
        Field(
            description="fixed: all payloads are length bytes; two-point: some are longest bytes, the others length; "
            "log-normal: length is the median, longest the most"
        ),
    ] = Lengths.LOG_NORMAL
    length: Annotated[Bytes, Field(ge=1, le=1 << 20, description="bytes of a payload")] = 200
    longest: Annotated[Bytes, Field(ge=1, le=1 << 20, description="bytes of the longest payload; not of fixed")] = 4096
    long: Annotated[float, Field(ge=0, le=1, description="two-point: share of the payloads that are longest")] = 0.1
    sigma: Annotated[
        float, Field(gt=0, le=8, description="log-normal: standard deviation of the logarithm of the length")
    ] = 1.0
    rate: Annotated[float, Field(gt=0, le=1e9, description="records per second, of all producers, on average")] = 1e5
    arrival: AsArrival = Arrival.POISSON
    burst: Burst = 10**9
    busy: Busy = 0.1
    bias: Bias = 0.7
    grain: Grain = 10**6
    poll: Annotated[Nanoseconds, Field(ge=1, le=10**12, description="how often the agent looks at the rings")] = 50_000
    handling: Annotated[
        Nanoseconds, Field(ge=0, le=10**12, description="how long the agent has to do with each record")
    ] = 1000
    torn: Annotated[float, Field(ge=0, le=1, description="share whose producer is killed while it writes")] = 0.0
    unknown: Annotated[float, Field(ge=0, le=1, description="share for a receiver that nobody knows")] = 0.0
    closed: Annotated[float, Field(ge=0, le=1, description="share for a receiver to whom no producer may write")] = 0.0
    corrupt: Annotated[float, Field(ge=0, le=1, description="share whose payload was damaged in the ring")] = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        if self.rings > self.producers:
            raise ValueError(f"rings ({self.rings}) are more than producers ({self.producers}): some would be idle")
        if self.lengths == Lengths.FIXED:
            without_effect(self, ("longest", "long", "sigma"), "where lengths is fixed")
        only = "sigma" if self.lengths == Lengths.TWO_POINT else "long"
        without_effect(self, (only,), f"where lengths is {spelled(self.lengths)}")
        check_bursts(self, self.arrival)
        if self.lengths != Lengths.FIXED and self.longest < self.length:
            raise ValueError(f"longest ({self.longest} bytes) is less than length ({self.length} bytes)")
        if taken(self.most) > self.ring:
            raise ValueError(f"a payload of {self.most} bytes takes {taken(self.most)} of a ring's {self.ring} bytes")
        if self.torn + self.unknown + self.closed + self.corrupt > 1:
            raise ValueError("torn, unknown, closed and corrupt are more than 1 together")
        if self.messages > self.rate * LONGEST:
            raise ValueError(
                f"{self.messages} records at a rate of {self.rate:g} last over {LONGEST // 86400} days: raise rate"
            )

    @property
    def most(self) -> int:
        """Bytes that a payload has at most."""
        return self.length if self.lengths == Lengths.FIXED else self.longest

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.messages

    @property
    def names(self) -> list[str]:
        """The producers by number."""
        return [f"producer-{number}" for number in range(self.producers)]


def _new_plan(config: Messages) -> tuple[Plan, Process, Law]:
    lanes = draws(int(draws(config.seed, 1)[0]), len(Lane))
    bursts = Bursts(config.burst, config.busy, config.bias, config.grain)
    arrivals = new_process(config.arrival, config.messages, config.rate, bursts, lanes[[Lane.GAP, Lane.BURST]])
    shares = np.cumsum([0, config.torn, config.unknown, config.closed, config.corrupt])
    sums = np.empty(max(config.most - 8, 0) + 1, np.uint64)
    after_zeros(sums)
    plan = Plan(
        producers=config.producers,
        rings=config.rings,
        ring=config.ring,
        receivers=config.receivers,
        lengths=config.lengths,
        length=config.length,
        longest=config.longest,
        long=round(config.long * SHARE),
        sigma=config.sigma,
        poll=config.poll,
        first=int(below(lanes[Lane.POLL], np.uint64(config.poll))),
        handling=config.handling,
        fates=np.array([round(min(share, 1.0) * SHARE) for share in shares], np.uint64),
        lanes=lanes,
        sums=sums,
    )
    return plan, arrivals, law_of(float(config.receivers), config.theta)


def _batches(config: Messages, rows: int) -> Iterator[Rows]:
    plan, arrivals, law = _new_plan(config)
    used, place, sequence = np.zeros((3, config.rings), np.uint64)
    agent = np.zeros(1, AGENT)
    agent["look"] = plan.first
    state = State(used, place, sequence, agent, np.zeros(1, QUEUED))
    kinds = ("u8", "u1", "u4", "u4", "u8", "u8", "u8", "u8", "u4", "i8", "i8", "u1", "u1")
    for begin in range(0, config.messages, rows):
        n = min(rows, config.messages - begin)
        out = Rows._make(np.empty(n, kind) for kind in kinds)
        arrive(arrivals, begin, out.time)
        draw_ranks(law, plan.lanes[Lane.RECEIVER], plan.lanes[Lane.AGAIN], begin, out.receiver)
        draw_lengths(plan, begin, out.length)
        state = with_room(state, n)
        write(plan, state, begin, out)
        yield out


def generate(config: Messages, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    receivers = pl.Series([*(f"receiver-{k}" for k in range(config.receivers)), "closed", "nobody"])
    names, raw = receivers.cast(pl.Enum(receivers)), pl.Series(WORDS, dtype=pl.Enum(WORDS))
    for out in _batches(config, rows):
        told = {name: value for name, value in out._asdict().items() if name != "fate"}
        told["receiver"] = names.gather(out.receiver)
        yield pl.DataFrame(told | {"raw": raw.gather(words(out.op, out.outcome))})


def _exceptions(config: Messages) -> Iterator[pl.DataFrame]:
    row = 0
    for out in _batches(config, ROWS):
        if (odd := np.flatnonzero(out.fate)).size:
            truths = pl.Series(_TRUTHS).gather(out.fate[odd])
            yield pl.DataFrame({"row": odd + row, "truth": truths}, schema_overrides=schema_of(TraceRecords))
        row += out.fate.size


def _truth(config: Messages) -> dict[str, Iterable[pl.DataFrame]]:
    return {"records": _exceptions(config)}


WORKLOAD = Workload(
    "messages",
    "message",
    "producers, rings in shared memory, and an agent that polls them",
    Messages,
    generate,
    whole("messages", lambda config: "messages"),
    _truth,
)
