"""The drive that loses power and the one that does not, side by side: see `pipeline.ftl.recovery`."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl import page_mapped
from pipeline.ftl.config import Prefill, Zeroes
from pipeline.ftl.drive import Drive
from pipeline.ftl.fleet import drive_in
from pipeline.ftl.laws import BrokenLawError, check_laws
from pipeline.ftl.recovery.buffer import Buffer
from pipeline.ftl.recovery.controller import model_rows
from pipeline.ftl.recovery.crash_config import CrashConfig, Shutdown
from pipeline.ftl.recovery.model import Job
from pipeline.ftl.recovery.power import (
    BlockTable,
    block_table,
    geometry_of,
    journalled_counts,
    lose_power,
    prepare_all,
    restore,
    with_journal,
)
from pipeline.ftl.recovery.recover import recover
from pipeline.ftl.recovery.summary import Mechanism, Totals, settings_of, summary
from pipeline.ftl.recovery.tables import FtlRecoveryCrashes
from pipeline.ftl.replay import Request, Rules
from pipeline.stage import Rows
from traces.table import U32, empty

FOREVER = 1 << 62  # ns: a window that does not end
NEVER = (1 << 64) - 1


class Drives:
    """Both fleets, the write buffer before them and what is to be told."""

    def __init__(self, config: CrashConfig) -> None:
        self.config = config
        self.interrupted = with_journal(page_mapped.fleet_of(config), config.journal_records)
        self.steady = page_mapped.fleet_of(config)
        self.volumes = self.interrupted.head.size
        zeroes = config.write_zeroes == Zeroes.PROGRAM
        self.rules = Rules(
            window=FOREVER,
            program_zeroes=zeroes,
            prefilled=config.prefill != Prefill.NONE,
            fills=page_mapped.FILLS if config.prefill == Prefill.RANDOM else 0,
        )
        self.buffer = Buffer(config.write_buffer, self.interrupted.page_shift, zeroes)
        self.given = self.lost_requests = self.crashes = 0
        self.next_crash = config.crash_at
        self.window, self.begun, self.latest = -1, -1, 0  # the window's number; times of the first and last request
        self.lost_pages = np.zeros(self.volumes, np.int64)
        self.differs = np.full(self.volumes, NEVER, np.uint64)  # since which window
        self.first_picks = np.zeros(self.volumes, np.int64)
        self.totals: dict[int, list[Totals]] = {}
        self.compiled = False
        self.told: FtlRecoveryCrashes | None = None  # the latest loss, until it is known what came after

    # requests

    def feed(self, rows: Request) -> None:
        """Give requests to both drives, through the buffer."""
        if self.begun < 0:
            self.begun = int(rows.time[0])
        fresh = np.unique(rows.volume[self.interrupted.tally[::2].round_pages[rows.volume] == 0]).astype(np.int64)
        if fresh.size:
            for fleet in (self.interrupted, self.steady):
                prepare_all(fleet, fresh, self.rules)
            self.totals |= {volume: [Totals() for _ in Mechanism] for volume in fresh.tolist()}
        self.given += rows.time.size
        self.latest = int(rows.time[-1])
        self._serve(self.buffer.take(rows))

    def _serve(self, rows: Request) -> None:
        if rows.time.size:
            for fleet in (self.interrupted, self.steady):
                page_mapped.served(fleet, rows, self.rules, self.config)

    # victims

    def enter(self, window: int) -> None:
        """A request of another window comes: compare what was chosen in the one before."""
        if window != self.window:
            self._compare()
            self.window = window

    def _compare(self) -> None:
        a, b = self.interrupted, self.steady
        differ = (a.head.chosen != b.head.chosen) | (a.tally[::2].picks != b.tally[::2].picks)
        self.differs[differ & (self.differs == NEVER)] = max(self.window, 0) * self.config.window

    # losses of power

    def crash_if_due(self) -> Iterator[Rows]:
        """Lose power and recover, if as many requests were given; the loss before, of which all is known now."""
        if self.given != self.next_crash:
            return
        self.next_crash = self.given + self.config.crash_every if self.config.crash_every else -1
        standing = self.buffer.standing(self.volumes)
        lost = unwritten = np.zeros(self.volumes, np.int64)
        if self.config.protected:
            self._serve(self.buffer.drain())
        else:
            lost = standing
            rest, unwritten = self.buffer.lose(self.volumes)
            self._serve(rest)
        self._compare()
        yield from self._followed()
        self.lost_pages += lost
        self.lost_requests += int(unwritten.sum())
        volumes = np.array(sorted(self.totals), np.int64)
        rows = empty(FtlRecoveryCrashes, volumes.size)
        rows.crash[:], rows.requests[:], rows.time[:] = self.crashes, self.given, self.latest
        rows.volume[:], rows.clean[:] = volumes, self.config.shutdown == Shutdown.CLEAN
        rows.buffered_pages[:], rows.lost_pages[:] = standing[volumes], lost[volumes]
        rows.lost_requests[:] = unwritten[volumes]
        rows.victims_before[:] = self.interrupted.tally[::2].picks[volumes]
        rows.journal_records[:] = self.interrupted.head.records[volumes]
        if not self.crashes:
            self.first_picks[volumes] = rows.victims_before
        for row, volume in enumerate(volumes.tolist()):
            self._interrupt(volume, rows, row)
        self.told = rows
        self.crashes += 1

    def _interrupt(self, volume: int, rows: FtlRecoveryCrashes, row: int) -> None:
        """Take power from one drive and make it whole."""
        drive, other = drive_in(self.interrupted, volume), drive_in(self.steady, volume)
        clean = bool(rows.clean[row])
        table, picks = block_table(drive), int(drive.tally[0].picks)
        written_out = drive.blocks.valid.astype(np.uint32) if clean else None
        lose_power(drive)
        rows.seconds[row] = 0.0
        if written_out is not None:
            counts = written_out
        else:
            before = self.totals[volume][Mechanism.PARALLEL].seconds
            counts = self._recovered(drive, table, volume, other)
            rows.seconds[row] = self.totals[volume][Mechanism.PARALLEL].seconds - before
        restore(drive, table, counts)
        rows.entries[row], rows.mapped_pages[row] = drive.where.size, drive.tally[0].mapped
        rows.counts_wrong[row] = wrong = np.count_nonzero(counts != other.blocks.valid)
        rows.erased_blocks[row] = table.erased.size
        rows.victims_unrecovered[row] = drive.tally[0].picks - picks
        if wrong or drive.tally[0].mapped != other.tally[0].mapped:
            raise BrokenLawError(
                f"X3: after loss {self.crashes} of power {wrong} blocks of volume {volume} have other counts than the "
                f"uninterrupted drive, {drive.tally[0].mapped} pages are mapped there and {other.tally[0].mapped} here"
            )

    def _recovered(self, drive: Drive, table: BlockTable, volume: int, other: Drive) -> U32:
        """The counts by every mechanism: those of the parallel one."""
        geometry, out = geometry_of(drive), np.zeros(0, np.uint32)
        if not self.compiled:  # no part of what is measured
            for mechanism in (Mechanism.PARALLEL, Mechanism.SERIAL, Mechanism.SHARED):
                recover(drive.where[:1], geometry, settings_of(mechanism, self.config))
            journalled_counts(drive, table)
            self.compiled = True
        for mechanism, totals in zip(Mechanism, self.totals[volume], strict=True):
            began = perf_counter()
            if mechanism == Mechanism.JOURNAL:
                counts = journalled_counts(drive, table)
                seconds = perf_counter() - began
                totals.add_journal(int(drive.blocks.head[0].records), drive.blocks.total)
            else:
                recovery = recover(drive.where, geometry, settings_of(mechanism, self.config))
                if recovery.corrupt:
                    raise BrokenLawError(
                        f"the table of volume {volume} is corrupt after loss {self.crashes} of power: "
                        f"{recovery.out_of_range} entries are no address (the first is {recovery.stray}), "
                        f"{max(recovery.duplicates, 0)} have that of another one"
                    )
                counts, seconds = recovery.counts, recovery.seconds
                totals.add_scan(recovery)
            job = Job(drive.where.size, int(counts.sum(dtype=np.int64)), drive.blocks.total)
            totals.add(job, int(np.count_nonzero(counts != other.blocks.valid)), seconds)
            if mechanism == Mechanism.PARALLEL:
                out = counts
        return out

    def _followed(self) -> Iterator[Rows]:
        """The latest loss of power, with what was chosen since."""
        if self.told is not None:
            volumes = self.told.volume
            self.told.victims_until_next[:] = self.interrupted.tally[::2].picks[volumes] - self.told.victims_before
            self.told.victims_same[:] = self.differs[volumes] == NEVER
            yield self.told
        self.told = None

    # the end

    def end(self) -> Iterator[Rows]:
        """All that is left to tell; BrokenLawError."""
        self._serve(self.buffer.drain())
        self._compare()
        yield from self._followed()
        for fleet in (self.interrupted, self.steady):
            check_laws(fleet)
            served = int(fleet.tally[::2].requests.sum())
            if served + self.lost_requests != self.given:
                raise BrokenLawError(f"requests served {served} + lost {self.lost_requests} != given {self.given}")
        told: dict[int, dict[str, Any]] = {volume: self._alike(volume) for volume in sorted(self.totals)}
        totals = {volume: self.totals[volume] for volume in told}
        yield summary(self.interrupted, totals, told, self.latest - self.begun, self.config)
        if totals:
            largest = max(totals, key=lambda volume: (int(self.interrupted.start.logical[volume]), -volume))
            drive = drive_in(self.interrupted, largest)
            job = totals[largest][Mechanism.PARALLEL].job
            job = job or Job(drive.where.size, int(drive.tally[0].mapped), drive.blocks.total)
            yield model_rows(job, drive.blocks.total * drive.pages, self.config)

    def _alike(self, volume: int) -> dict[str, Any]:
        """What the summary says of a volume whatever the mechanism."""
        a, b = drive_in(self.interrupted, volume), drive_in(self.steady, volume)
        mine: list[NDArray[Any]] = [a.where, a.holds, a.counts, a.blocks.valid, a.blocks.erases]
        theirs: list[NDArray[Any]] = [b.where, b.holds, b.counts, b.blocks.valid, b.blocks.erases]
        return {
            "crashes": self.crashes,
            "lost_pages": self.lost_pages[volume],
            "victims_after": int(a.tally[0].picks) - self.first_picks[volume],
            "victims_same": self.differs[volume] == NEVER,
            "first_difference": self.differs[volume],
            "state_same": all(np.array_equal(x, y) for x, y in zip(mine, theirs, strict=True)),
        }
