"""The files of a log-structured merge tree: what is flushed, what is merged with what, and what comes of it.

A file holds ``places`` places' worth of the keys ``lo`` to ``hi``, evenly, and files that overlap agree in as many keys
as independent draws would: where they hold shares a and b of the keys, the merged file holds 1 - (1 - a)(1 - b).
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from traces.errors import ConfigError
from traces.workloads.draws import draws


class Shape(NamedTuple):
    """What a tree is to be like."""

    keys: int  # each a place's worth
    file_places: int  # of a flush, and of a file at most
    slots: int  # files there is room for
    level0: int  # files there that make them be merged
    targets: tuple[int, ...]  # places that level 1, level 2... may hold


class File(NamedTuple):
    """A sorted file."""

    lo: int  # its keys: from this...
    hi: int  # ... to before that
    places: int
    slot: int = -1


class Job(NamedTuple):
    """A flush, a merge, or the discards after it."""

    level: int  # that is written
    upper: Sequence[File] = ()  # what is read: files that may overlap each other...
    lower: Sequence[File] = ()  # ... and some that do not, in order
    writes: Sequence[File] = ()
    dead: Sequence[File] = ()  # what is discarded


def merged(files: Sequence[File], most: int) -> list[File]:
    """What the files become: as few as can be of ``most`` places each, equally long, without slots."""
    edges = sorted({edge for file in files for edge in (file.lo, file.hi)})
    pieces, mass, total = [], 0.0, 0  # (first key, keys, places)
    for lo, hi in pairwise(edges):
        missing = 1.0
        for file in files:
            if file.lo <= lo and hi <= file.hi:
                missing *= 1.0 - file.places / (file.hi - file.lo)
        mass += (1.0 - missing) * (hi - lo)
        pieces.append((lo, hi - lo, int(mass + 0.5) - total))
        total = int(mass + 0.5)
    out: list[File] = []
    number, lo, passed, done = -(-total // most), edges[0], 0, 0
    where = iter(pieces)
    first, keys, count = next(where)
    for k in range(1, number + 1):
        end = k * total // number  # places of this file and those before
        while passed + count < end:
            passed += count
            first, keys, count = next(where)
        cut = edges[-1] if k == number else first + (end - passed) * keys // count
        out.append(File(lo, cut, end - done))
        lo, done = cut, end
    return out


class Tree:
    """The files of one volume. Nothing but slots and the first keys to be merged depends on chance."""

    def __init__(self, shape: Shape, volume: int, key: int) -> None:
        self._shape, self._volume = shape, volume
        self.levels: list[list[File]] = [[] for _ in range(len(shape.targets) + 1)]
        self.live = np.zeros(16, np.int64)  # [slot] -> places that can be looked up
        self.top = 0  # slots that have ever been live
        self._fresh, self._free = 0, deque[int]()
        self._next = [int(bits) % shape.keys for bits in draws(key, len(self.levels))]  # [level] -> key to merge next

    def jobs(self) -> Iterator[Job]:
        """Flushes and merges without end. A job's files are live once the next one is asked for."""
        shape, levels = self._shape, self.levels
        while True:
            job = Job(0, writes=self._placed([File(0, shape.keys, min(shape.keys, shape.file_places))]))
            yield job
            levels[0] += job.writes
            self._live(job)
            if len(levels[0]) >= shape.level0:
                yield from self._merge(1, tuple(levels[0]), 0, len(levels[1]))
            for level, target in enumerate(shape.targets[:-1], 1):
                while sum(file.places for file in levels[level]) > target:
                    yield from self._give(level)

    def _give(self, level: int) -> Iterator[Job]:
        """Merge the next file of a level into the one below."""
        files, below_ = self.levels[level], self.levels[level + 1]
        place = bisect_left(files, self._next[level], key=lambda file: file.lo)
        file = files[place if place < len(files) else 0]
        self._next[level] = file.hi
        begin = bisect_right(below_, file.lo, key=lambda other: other.hi)
        end = bisect_left(below_, file.hi, key=lambda other: other.lo)
        if begin < end:
            yield from self._merge(level + 1, (file,), begin, end)
        else:
            files.remove(file)
            below_.insert(begin, file)

    def _merge(self, level: int, files: tuple[File, ...], begin: int, end: int) -> Iterator[Job]:
        """Merge files of the level above with a run of those of a level."""
        lower = self.levels[level][begin:end]
        job = Job(level, files, lower, self._placed(merged([*files, *lower], self._shape.file_places)))
        yield job
        self.levels[level][begin:end] = job.writes
        self.levels[level - 1] = [file for file in self.levels[level - 1] if file not in files]
        self._live(job)
        yield Job(level, dead=(*files, *lower))

    def _placed(self, files: list[File]) -> list[File]:
        return [file._replace(slot=self._slot()) for file in files]

    def _slot(self) -> int:
        if self._fresh < self._shape.slots:
            self._fresh += 1
            return self._fresh - 1
        if self._free:
            return self._free.popleft()
        raise ConfigError(
            f"capacity: the tree of volume {self._volume} has outgrown its {self._shape.slots} files of "
            f"{self._shape.file_places} places: lower memtable or data, or raise capacity"
        )

    def _live(self, job: Job) -> None:
        self.top = max(self.top, *(file.slot + 1 for file in job.writes))
        if self.top > self.live.size:
            self.live = np.concatenate([self.live, np.zeros(self.top, np.int64)])
        for file in job.writes:
            self.live[file.slot] = file.places
        for file in (*job.upper, *job.lower):
            self.live[file.slot] = 0
            self._free.append(file.slot)
