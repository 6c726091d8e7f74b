"""What recovery would take on a drive's controller: other cores, memory and locks than those of this machine.

The counts (entries read, increments, counts merged, locks acquired) are those of `pipeline.ftl.recovery` on the same
table, and tests hold them against it. The times are derived from them and from a `Controller`; where several cores
want one lock or one memory, events decide who waits. The published text gives neither costs nor figures: all defaults
but the memory's bandwidth are ours, of the order of a controller's in-order cores of 1 GHz, and configuration.
"""

from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf
from typing import Annotated, NamedTuple

from pydantic import Field

from pipeline.ftl.recovery.config import Merge, Partition, RecoveryConfig, at_a_time

COUNT = 4  # bytes of a count


@dataclass(frozen=True, kw_only=True)  # with slots no other configuration could have it beside another base
class Controller:
    """What a controller's memory, cores and locks cost; times in ns."""

    memory: Annotated[
        float,
        Field(gt=0, description="controller: bytes/ns of all cores: one 32-bit channel of DDR4-3200 (JEDEC JESD79-4)"),
    ] = 12.8
    core_memory: Annotated[
        float, Field(gt=0, description="controller: bytes/ns that one core reads at most (ours)")
    ] = 3.2
    line: Annotated[int, Field(ge=8, description="controller: bytes that one read of memory brings")] = 64
    near: Annotated[
        int, Field(ge=0, description="controller: bytes of a local table that a core's own memory holds (ours)")
    ] = 1 << 17
    check: Annotated[float, Field(ge=0, description="controller: ns to look at an entry (ours)")] = 2.0
    increment: Annotated[
        float, Field(ge=0, description="controller: ns to add one to a count in a core's own memory (ours)")
    ] = 1.0
    far_increment: Annotated[
        float, Field(ge=0, description="controller: ns to add one to a count elsewhere (ours)")
    ] = 20.0
    add: Annotated[
        float, Field(ge=0, description="controller: ns to add one count of a local table to another (ours)")
    ] = 3.0
    lock: Annotated[float, Field(ge=0, description="controller: ns to acquire and release a free lock (ours)")] = 50.0
    handoff: Annotated[
        float, Field(ge=0, description="controller: more ns, where another core had to give it up first (ours)")
    ] = 100.0
    barrier: Annotated[
        float, Field(ge=0, description="controller: ns until every core knows that all are there (ours)")
    ] = 500.0
    record: Annotated[float, Field(ge=0, description="controller: ns to apply one record of a journal (ours)")] = 10.0
    record_bytes: Annotated[
        int, Field(ge=1, description="bytes of a record of the journal: a block and what became of it (ours)")
    ] = 8


class Job(NamedTuple):
    """What is to be recovered."""

    entries: int
    mapped: int  # of them
    blocksets: int
    width: int = 4  # bytes of an entry


@dataclass(frozen=True, slots=True)
class Modelled:
    """A recovery on a controller. Times are in ns."""

    read: tuple[int, ...]  # entries, of each core
    increments: int
    added: int  # counts of local tables
    locks: int  # acquired
    memory: int  # bytes of the table that were brought: more than it has where cores share lines
    scan: float  # until the last core has counted
    time: float

    @property
    def merge_share(self) -> float:
        """Of the time, what comes after the counting."""
        return 1 - self.scan / self.time if self.time else 0.0


def read_by(entries: int, width: int, config: RecoveryConfig) -> tuple[int, ...]:
    """Entries that each core reads. Map pages go round: cores that are equal take equally many."""
    cores = config.cores
    if config.partition == Partition.CONTIGUOUS:
        return tuple(entries * (core + 1) // cores - entries * core // cores for core in range(cores))
    run = config.stride
    if config.partition == Partition.MAP_PAGE:
        run = at_a_time(entries, width, config)
    rounds, rest = divmod(entries, run * cores)
    return tuple(rounds * run + min(run, max(0, rest - core * run)) for core in range(cores))


def modelled(job: Job, config: RecoveryConfig, costs: Controller) -> Modelled:
    """The recovery of a table whose mapped addresses are spread evenly."""
    cores, merge = config.cores, config.merge
    read = read_by(job.entries, job.width, config)
    apart = max(1, costs.line // job.width)  # entries in a line
    strided = config.partition == Partition.STRIDED and config.stride < apart
    each = min(cores, -(-apart // config.stride)) if strided else 1  # cores that bring the same line
    brought = [min(size * each, job.entries) * job.width for size in read]
    share = job.mapped / job.entries if job.entries else 0.0
    near = COUNT * job.blocksets <= costs.near and merge != Merge.SHARED
    increment = costs.increment if near else costs.far_increment
    if merge == Merge.SHARED:
        waits = 1 - (1 - 1 / config.stripes) ** (cores - 1)  # another core has the same lock, at the worst
        increment += costs.lock + costs.handoff * waits
    busy = [
        max(size * (costs.check + share * increment), bring / costs.core_memory)
        for size, bring in zip(read, brought, strict=True)
    ]
    all_read = sum(brought) / costs.memory
    ready = [max(time, all_read) for time in busy]
    if merge == Merge.SHARED:  # all increments under one lock follow each other
        ready = [max(time, job.mapped * increment / config.stripes) for time in ready]
    time, added, locks = _merged(ready, job, config, costs)
    return Modelled(read, job.mapped, added, locks, sum(brought), max(ready), time)


def _merged(ready: list[float], job: Job, config: RecoveryConfig, costs: Controller) -> tuple[float, int, int]:
    """When all tables are one, the counts added and the locks acquired."""
    cores, blocksets, merge = config.cores, job.blocksets, config.merge
    if merge == Merge.SHARED:
        return max(ready), 0, job.mapped
    stream = 2 * COUNT / costs.memory  # a count of both tables, where all cores add at once
    if merge == Merge.OWNER:
        most = -(-blocksets // min(cores, blocksets)) * cores
        return max(ready) + costs.barrier + max(most * costs.add, cores * blocksets * stream), cores * blocksets, 0
    if merge == Merge.TREE:
        at, apart = max(ready), 1
        while apart < cores:
            pairs = -(-(cores - apart) // (2 * apart))
            at += costs.barrier + blocksets * max(costs.add, pairs * stream)
            apart *= 2
        return at + costs.barrier + blocksets * costs.add, cores * blocksets, 0
    stripes = 1 if merge == Merge.MUTEX else min(config.stripes, blocksets)
    free = [0.0] * stripes
    turns = [(clock, core, 0) for core, clock in enumerate(ready)]
    heapify(turns)
    last = 0.0
    while turns[0][2] < stripes:  # the next event is that of the core that comes first
        clock, core, turn = turns[0]
        stripe = (core * stripes // cores + turn) % stripes
        waits = costs.handoff if free[stripe] > clock else 0.0
        size = blocksets * (stripe + 1) // stripes - blocksets * stripe // stripes
        free[stripe] = clock = max(clock, free[stripe]) + costs.lock + waits + size * costs.add
        last = max(last, clock)
        turn += 1
        heapreplace(turns, (clock if turn < stripes else inf, core, turn))
    return last, cores * blocksets, cores * stripes


def journalled(job: Job, records: int, costs: Controller) -> float:
    """The baseline that keeps a checkpoint of the counts and a journal of what changed since: ns until both are read.

    Its price is paid while the drive runs: ``record_bytes`` for each page that is programmed, and the checkpoints.
    """
    read = (job.blocksets * COUNT + records * costs.record_bytes) / min(costs.memory, costs.core_memory)
    return max(read, records * costs.record)
