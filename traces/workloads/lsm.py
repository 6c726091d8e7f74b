"""A log-structured merge tree under uniformly random updates: flushes, leveled compaction, discards of old files.

O'Neil, Cheng, Gawlick, O'Neil: The log-structured merge-tree, Acta Informatica 33, 1996; levels as in RocksDB
(RocksDB wiki, Leveled-Compaction): a full memtable becomes a file of level 0; so many of them are merged with all
of level 1; a level above its target gives one file, round the keys, which is merged with those files of the next level
that its keys overlap, or simply moved where there are none. Targets fall by the fanout from the last level, which may
hold everything, upwards (Dong et al.: Optimizing space amplification in RocksDB, CIDR 2017).

Keys are not simulated one by one, only how many of them each file holds (`traces.workloads._tree`). Each file lies in a
slot as large as the memtable; slots are used again in the order in which they were freed. A merge reads its files by
key and writes as it goes, in requests of ``io`` bytes, then flushes, then discards what it has read. The stream of a
request is 1 + the level that is written, 0 for lookups.

Among these, lookups: reads of one place each, all live data alike (as if filters kept them from other files). The
write-ahead log is left out: `log-append` is one. The volumes take turns, each with a tree of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Op
from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import I64, U8, U64
from traces.workloads._tree import Job, Shape, Tree
from traces.workloads.draws import below, chance, draw, draws
from traces.workloads.workload import (
    Lane,
    Requests,
    Shared,
    Workload,
    asked,
    block,
    new_plan,
    take_turns,
    whole,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lsm(Shared):
    """A tree in each volume."""

    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 35
    reads: Annotated[float, Field(ge=0, le=1, description="share of the requests that are lookups")] = 0.0
    memtable: Annotated[
        Bytes, Field(ge=512, description="bytes of a flush, and of a file at most; rounded down to a multiple of size")
    ] = 1 << 26
    io: Annotated[
        Bytes,
        Field(ge=512, description="bytes of a request of flush or compaction; rounded down to a multiple of size"),
    ] = 1 << 18
    fanout: Annotated[
        int, Field(ge=2, le=100, description="how many times as large each level is as the one above")
    ] = 10
    level0: Annotated[int, Field(ge=1, le=100, description="files of level 0 that make it be merged into level 1")] = 4
    data: Annotated[float, Field(gt=0, lt=1, description="share of each volume that all keys take once")] = 0.5

    def __post_init__(self) -> None:
        Shared.__post_init__(self)
        if not self.keys:
            raise ValueError(f"data: {self.data:g} of a volume's {self.places} places is none")
        if self.slots < self.slots_wanted:
            raise ValueError(
                f"capacity: a volume has room for {self.slots} files of {self.file_places} places; this tree wants "
                f"{self.slots_wanted}: lower memtable or data, or raise capacity"
            )

    @property
    def file_places(self) -> int:
        """How many places a file has at most."""
        return self.in_places(self.memtable)

    @property
    def slots(self) -> int:
        """How many files a volume has room for."""
        return self.places // self.file_places

    @property
    def keys(self) -> int:
        """How many keys there are, each a place's worth."""
        return self.share_of_places(self.data)

    @property
    def targets(self) -> tuple[int, ...]:
        """Places that level 1, level 2... may hold."""
        targets = [self.keys]
        while targets[0] // self.fanout >= self.level0 * self.file_places:
            targets.insert(0, targets[0] // self.fanout)
        return tuple(targets)

    @property
    def shape(self) -> Shape:
        """What a volume's tree is to be like."""
        return Shape(self.keys, self.file_places, self.slots, self.level0, self.targets)

    @property
    def slots_wanted(self) -> int:
        """Room for files that are not full (a quarter), for level 0 and all of level 1 twice; found by trying."""
        full, first = sum(self.targets) // self.file_places, self.targets[0] // self.file_places
        return full + full // 4 + first + 4 * self.level0 + 4 * self.fanout + 2 * len(self.targets)


class _Asked(NamedTuple):
    """What `_take` needs of the plan: Numba takes half a millisecond a call to see what the whole of it is."""

    volumes: int
    size: int
    reads: int
    place: np.uint64
    kind: np.uint64


class _Run(NamedTuple):
    """A job's requests, in order, how many have been made, and what can be looked up meanwhile."""

    op: U8
    place: U64
    length: U64  # places
    stream: int
    done: I64
    live: I64  # [slot] -> places
    slots: int
    file_places: int


def _run(tree: Tree, job: Job, config: Lsm) -> _Run:
    chunk = config.in_places(config.io)
    every = (*job.upper, *job.lower, *job.writes, *job.dead)
    files = np.array([(file.slot * config.file_places, file.lo, file.hi, file.places) for file in every], np.int64)
    n = len(job.dead) or int((-(-files[:, 3] // chunk)).sum()) + 1
    run = _Run(
        op=np.empty(n, np.uint8),
        place=np.empty(n, np.uint64),
        length=np.empty(n, np.uint64),
        stream=job.level + 1,
        done=np.zeros(1, np.int64),
        live=tree.live,
        slots=tree.top,
        file_places=config.file_places,
    )
    if job.dead:
        run.op[:], run.place[:], run.length[:] = Op.DISCARD, files[:, 0], files[:, 3]
    else:
        _lay_out(files, (len(job.upper), len(every) - len(job.writes)), chunk, run)
    return run


@kernel
def _lay_out(files: I64, parts: tuple[int, int], chunk: int, run: _Run) -> None:
    """The requests of a flush or a merge: reads by key, as far ahead of the writes as need be; at last a flush."""
    upper, reads = parts  # files before these: of either input
    done, key = np.zeros(files.shape[0], np.int64), files[:, 1].astype(np.float64)  # key: how far a file has been read
    to_read, to_write = files[:reads, 3].sum(), files[reads:, 3].sum()
    ratio = to_write / max(to_read, 1)
    read, written, lower, output = 0, 0, upper, reads
    n = run.op.size - 1
    for i in range(n):
        if read < to_read and read * ratio <= written:
            file, least = lower, key[lower] if lower < reads else np.inf
            for k in range(upper):
                if key[k] < least:
                    file, least = k, key[k]
            length = min(chunk, files[file, 3] - done[file])
            done[file] += length
            read += length
            run.op[i] = Op.READ
            run.place[i] = files[file, 0] + done[file] - length
            run.length[i] = length
            key[file] = files[file, 1] + (files[file, 2] - files[file, 1]) * (done[file] / files[file, 3])
            if done[file] == files[file, 3]:
                key[file] = np.inf
                lower += 1 if file >= upper else 0
        else:
            length = min(chunk, files[output, 3] - done[output])
            done[output] += length
            written += length
            run.op[i] = Op.WRITE
            run.place[i] = files[output, 0] + done[output] - length
            run.length[i] = length
            output += 1 if done[output] == files[output, 3] else 0
    run.op[n], run.place[n], run.length[n] = Op.FLUSH, 0, 0


@kernel
def _take(asks: _Asked, run: _Run, begin: int, i: int, out: Requests) -> int:
    """Make a volume's requests from ``i`` on until the batch or the job is at its end; where that is."""
    reads, size, one = np.uint64(asks.reads), np.uint64(asks.size), np.uint64(1)
    slots, file_places = np.uint64(run.slots), np.uint64(run.file_places)
    done = run.done[0]
    while i < out.place.size and done < run.op.size:
        number = np.uint64(begin + i)
        if slots > np.uint64(0) and chance(draw(asks.kind, number), reads):
            tries, attempt = draw(asks.place, number), np.uint64(0)
            while True:  # any place of any slot, until it is a live one
                slot, at = below(draw(tries, attempt), slots), below(draw(tries, attempt + one), file_places)
                attempt += one + one
                if np.int64(at) < run.live[np.int64(slot)]:
                    break
            out.op[i], out.place[i] = Op.READ, slot * file_places + at
        else:
            out.op[i], out.place[i], out.length[i] = run.op[done], run.place[done], run.length[done] * size
            out.stream[i] = run.stream
            done += 1
        i += asks.volumes
    run.done[0] = done
    return i


def generate(config: Lsm, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    asks = _Asked(plan.volumes, plan.size, plan.reads, plan.lanes[Lane.PLACE], plan.lanes[Lane.KIND])
    trees = [Tree(config.shape, v, int(key)) for v, key in enumerate(draws(int(plan.lanes[Lane.START]), plan.volumes))]
    jobs = [tree.jobs() for tree in trees]
    runs = [_run(tree, next(job), config) for tree, job in zip(trees, jobs, strict=True)]
    for begin, out in asked(plan, rows):
        take_turns(plan, begin, out)
        for v in range(plan.volumes):
            i = (v - begin) % plan.volumes
            while i < out.place.size:
                i = _take(asks, runs[v], begin, i, out)
                if runs[v].done[0] == runs[v].op.size:
                    runs[v] = _run(trees[v], next(jobs[v]), config)
        yield block(plan, out)


def _category(config: Lsm) -> Category:
    """Compaction is none of the categories: it writes like a log, and reads and discards as much."""
    return Category.UNKNOWN


WORKLOAD = Workload(
    "lsm",
    "block",
    "flushes and leveled compaction of a log-structured merge tree",
    Lsm,
    generate,
    whole("lsm", _category),
)
