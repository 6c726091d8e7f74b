"""The validity counts of a drive's blocksets, rebuilt from its logical-to-physical table by several cores at once.

After an abnormal shutdown the counts are lost and the table is not. The logical addresses are divided into subsets, one
for each core; a core checks every address of its subset for a valid physical address and counts it in a local table;
the local tables are added to the global one. This is parallel code over a real table: threads that run kernels.
What a drive's controller with other cores and memory would take is computed in `pipeline.ftl.recovery.model`.

The published text says so much. What follows is ours, as it is silent there:

- how subsets are formed and tables merged (`Partition`, `Merge`);
- a physical address is a blockset's number above a page's, in fields of bits as in `pipeline.ftl.drive`;
- several logical addresses on one physical address: each counts. On a drive that deduplicates this is what its
  collector must know; on one that does not the table is corrupt. Cores then keep a bit for each physical address,
  and what the bits of all cores together fall short of the counts is the number of `duplicates`;
- an entry that is no address is counted as `out_of_range`, in no blockset, and makes the table corrupt as well;
- power may be lost again. What a core has finished is marked; a merge that was under way is taken up
  stripe by stripe: a stripe that every core has added stays, any other begins from zero. A tree merge adds into local
  tables and so spoils them: those are counted anew. That marks and tables outlive the loss is the assumption; where
  they do not, recovery begins afresh and gives the same.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.fleet import zeros
from pipeline.ftl.recovery.config import (
    MOST,
    Duplicates,
    Geometry,
    Merge,
    RecoveryConfig,
    pieces_of,
    size_of,
    stripes_of,
)
from pipeline.ftl.recovery.scan import (
    APART,
    EXTRA,
    FEW,
    Common,
    Local,
    add,
    distinct,
    first_stray,
    fold,
    room_for,
    scan,
    scan_locked,
)
from traces.errors import ConfigError
from traces.table import I64, U32

LINE = 16  # counts in a cache line
# Counts between the tables of two cores, 64 KiB of those of two bytes. With tables that began 8 or 12 KiB apart, on
# lines and on pages of their own, two cores at once counted random entries at 1.6 to 1.7 G/s each, so at 2.0 to 2.4;
# one at a time no slower; why is not known. It takes 12 MiB of 64 cores at most.
GAP = 1 << 15


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was recovered, and what it took. Arrays have a number for each core."""

    counts: U32  # [blockset] mapped entries
    entries: int
    mapped: int  # the sum of the counts
    unmapped: int
    out_of_range: int
    stray: int  # the first entry that is out of range, -1 if none is
    duplicates: int  # mapped entries whose address an entry before them has; -1 on a drive that deduplicates
    read: I64  # entries
    scan_ns: I64
    merge_ns: I64  # waiting included
    locks: I64  # acquired
    added: I64  # counts of local tables added
    table_bytes: int  # of global and local tables, bits included
    seconds: float

    @property
    def corrupt(self) -> bool:
        """Whether the table says what cannot be."""
        return self.out_of_range > 0 or self.duplicates > 0

    @property
    def merge_share(self) -> float:
        """Of the cores' time, what merging took."""
        return float(self.merge_ns.sum() / max(1, self.scan_ns.sum() + self.merge_ns.sum()))

    @property
    def imbalance(self) -> float:
        """The longest of the cores' scans beside their mean."""
        return float(self.scan_ns.max() / max(1.0, self.scan_ns.mean()))


class PowerLostError(Exception):
    """Power was lost where it was asked to be."""


class Recovering:
    """A recovery under way: all that outlives a loss of power, and its threads."""

    def __init__(self, table: NDArray[Any], geometry: Geometry, config: RecoveryConfig) -> None:
        if table.ndim != 1 or table.dtype not in (np.uint32, np.uint64):
            raise ConfigError(f"the table must be one row of uint32 or uint64, got {table.ndim} of {table.dtype}")
        if table.size > MOST:
            raise ConfigError(f"the table has {table.size} entries; {MOST} is the most")
        if geometry.unmapped > np.iinfo(table.dtype).max:
            raise ConfigError(f"unmapped is {geometry.unmapped}, which no entry of {table.dtype} can hold")
        self.table, self.geometry, self.config = np.ascontiguousarray(table), geometry, config
        self.shape = geometry.shape()
        cores, own = config.cores, 0 if config.merge == Merge.SHARED else geometry.blocksets
        self.own = own
        self.pieces, self.settled = pieces_of(table.size, table.dtype.itemsize, config)
        self.taker = self.settled.copy()
        self.order = np.arange(len(self.pieces))
        self.begins = np.arange(cores)
        if config.shuffle >= 0:
            chance = np.random.default_rng(config.shuffle)
            chance.shuffle(self.order)
            chance.shuffle(self.begins)
        width = -(-(own + EXTRA) // LINE) * LINE
        apart = width + GAP
        self.tables = zeros(cores * apart, np.uint32).reshape(cores, apart)[:, :width]
        self.low = zeros(cores * apart, np.uint16).reshape(cores, apart)[:, : width if 0 < own <= FEW else 0]
        flagged = config.duplicates == Duplicates.FLAG
        words = ((geometry.blocksets << geometry.shift) + 63) // 64 if flagged else 0
        self.seen = zeros(cores * (words + 1), np.uint64).reshape(cores, -1)[:, : words + 1 if flagged else 0]
        self.counts = zeros(geometry.blocksets, np.uint32)
        self.edges = stripes_of(geometry.blocksets, config)
        # the marks
        self.scanned = np.zeros(cores, np.bool_)
        self.merged = np.zeros((cores, self.edges.size - 1), np.bool_)
        # the figures; of a core that is scanned they stay
        self.extra = np.zeros((2, cores), np.int64)  # out of range, unmapped
        self.read, self.scan_ns, self.merge_ns, self.locks, self.added = np.zeros((5, cores), np.int64)
        self.distinct = np.zeros(cores, np.int64)
        self.seconds = 0.0

    def run(self, power: int = -1) -> None:
        """Recover; PowerLostError in the midst of step number ``power``, after which `run` may be called again.

        A step is a piece that is counted or a stripe of a table that is merged. What was done before is kept as far as
        marks say that it is whole.
        """
        cores = self.config.cores
        if not self.own and not self.merged.all():  # nobody's part of the table can be told from the others'
            self.scanned[:] = False
        for core in np.flatnonzero(~self.scanned):
            self.tables[core] = self.low[core] = self.seen[core] = 0
            mine = self.taker == core
            self.taker[mine] = self.settled[mine]
            self.read[core] = self.locks[core] = 0
        for stripe in np.flatnonzero(~self.merged.all(axis=0)):
            self.counts[self.edges[stripe] : self.edges[stripe + 1]] = 0
            self.merged[:, stripe] = False
        self.queue = iter([int(piece) for piece in self.order if self.taker[piece] < 0])
        self.power, self.steps, self.lost = power, 0, False
        self.turn, self.barrier = threading.Lock(), threading.Barrier(cores)
        self.held = [threading.Lock() for _ in range(self.edges.size - 1)]
        self.common = Common(self.counts, np.zeros(APART * self.config.stripes, np.int64))
        failures: list[BaseException] = []
        threads = [threading.Thread(target=self._core, args=(int(core), failures)) for core in self.begins]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds += time.perf_counter() - began
        for failure in failures:
            if not isinstance(failure, PowerLostError | threading.BrokenBarrierError):
                raise failure
        if self.lost:
            raise PowerLostError(f"at step {power}")

    def _core(self, core: int, failures: list[BaseException]) -> None:
        """What one core does."""
        try:
            began = time.perf_counter_ns()
            if not self.scanned[core]:
                self._scan(core)
            scanned = time.perf_counter_ns()
            self._merge(core)
            self.scan_ns[core] += scanned - began
            self.merge_ns[core] += time.perf_counter_ns() - scanned
        except BaseException as failure:  # whatever it is, the others must not wait for this core
            failures.append(failure)
            self.barrier.abort()

    def _falls(self) -> bool:
        """Whether power is lost in the midst of the step that begins here; PowerLostError if it was before."""
        with self.turn:
            if self.lost:
                raise PowerLostError
            self.lost = self.steps == self.power
            self.steps += 1
            return self.lost

    def _mine(self, core: int) -> Iterator[int]:
        """The pieces of a core, or the next that nobody has taken."""
        for piece in self.order:
            if self.settled[piece] == core:
                yield int(piece)
        while True:
            with self.turn:
                taken = next(self.queue, -1)
                if taken >= 0:
                    self.taker[taken] = core
            if taken < 0:
                return
            yield taken

    def _local(self, core: int) -> Local:
        return Local(self.tables[core], self.low[core], zeros(1, np.int64), self.seen[core])

    def _scan(self, core: int) -> None:
        room, local = room_for(self.table), self._local(core)
        for number in self._mine(core):
            piece, falls = self.pieces[number].copy(), self._falls()
            if falls:
                piece[1] = (piece[0] + piece[1]) // 2
            if self.own:
                scan(self.table, piece, self.shape, local, room)
            else:
                before = int(local.counts[:2].sum())
                scan_locked(self.table, piece, self.shape, self.common, local)
                self.locks[core] += size_of(piece) - (int(local.counts[:2].sum()) - before)
            if falls:
                raise PowerLostError
            self.read[core] += size_of(piece)
        fold(local.low, local.counts)
        self.extra[0, core] = local.counts[self.own]
        self.extra[1, core] = local.counts[self.own + 1 : self.own + EXTRA].sum()
        self.scanned[core] = True

    def _add(self, into: U32, core: int, stripe: int) -> None:
        """Add one stripe of a core's table: a step."""
        begin, end = int(self.edges[stripe]), int(self.edges[stripe + 1])
        if self._falls():
            add(into, self.tables[core], begin, (begin + end) // 2)
            raise PowerLostError
        add(into, self.tables[core], begin, end)

    def _merge(self, core: int) -> None:
        cores, stripes, merge = self.config.cores, self.edges.size - 1, self.config.merge
        if self.seen.shape[1]:  # every core has a range of the words
            self.barrier.wait()
            words = self.seen.shape[1] - 1  # the last one is of what has no bit
            self.distinct[core] = distinct(self.seen, words * core // cores, words * (core + 1) // cores)
        if merge == Merge.SHARED:
            self.merged[core] = True
        elif merge == Merge.TREE:
            self._tree(core)
        elif merge == Merge.OWNER:
            self.barrier.wait()
            if core < stripes and not self.merged[:, core].all():
                for other in range(cores):
                    self._add(self.counts, other, core)
                    self.added[core] += self.edges[core + 1] - self.edges[core]
                self.merged[:, core] = True
        else:
            begin = core * stripes // cores  # so that cores do not wait in a row
            for turn in range(stripes):
                stripe = (begin + turn) % stripes
                if self.merged[core, stripe]:
                    continue
                with self.held[stripe]:
                    self._add(self.counts, core, stripe)
                    self.merged[core, stripe] = True
                self.locks[core] += 1
                self.added[core] += self.edges[stripe + 1] - self.edges[stripe]

    def _tree(self, core: int) -> None:
        """Add the table of the core ``apart`` further on, twice as far in each round; the first one's is all."""
        apart, cores = 1, self.config.cores
        whole = self.merged.all()
        while apart < cores:
            self.barrier.wait()
            if not whole and core % (2 * apart) == 0 and core + apart < cores:
                self.scanned[core] = False  # spoilt as long as the merge is not done
                self._add(self.tables[core], core + apart, 0)
                self.added[core] += self.geometry.blocksets
            apart *= 2
        self.barrier.wait()
        if core == 0 and not whole:
            self._add(self.counts, 0, 0)
            self.added[0] += self.geometry.blocksets
            self.merged[:] = True
            self.scanned[:] = True

    def result(self) -> Recovery:
        """What came of it, after a `run` that was not cut short."""
        out_of_range, unmapped = (int(number) for number in self.extra.sum(axis=1))
        mapped = int(self.counts.sum(dtype=np.int64))
        duplicates = mapped - int(self.distinct.sum()) if self.seen.shape[1] else -1
        return Recovery(
            self.counts,
            self.table.size,
            mapped,
            unmapped,
            out_of_range,
            first_stray(self.table, self.shape) if out_of_range else -1,
            duplicates,
            self.read,
            self.scan_ns,
            self.merge_ns,
            self.locks,
            self.added,
            self.counts.nbytes + self.tables.nbytes + self.low.nbytes + self.seen.nbytes,
            self.seconds,
        )


def recover(table: NDArray[Any], geometry: Geometry, config: RecoveryConfig) -> Recovery:
    """The validity counts of a table of physical addresses, uint32 or uint64, one for each logical page.

    ConfigError if table and geometry do not go together. Whatever stands in the table is counted somewhere: entries =
    mapped + unmapped + out_of_range.
    """
    recovering = Recovering(table, geometry, config)
    recovering.run()
    return recovering.result()
