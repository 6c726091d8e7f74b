"""From what the mechanisms of `pipeline.ftl.recovery` did to rows of its summary."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from pipeline.ftl.fleet import Fleet
from pipeline.ftl.recovery.config import Merge, Partition, RecoveryConfig
from pipeline.ftl.recovery.controller import parts_of, pays
from pipeline.ftl.recovery.crash_config import CrashConfig
from pipeline.ftl.recovery.model import COUNT, Job, journalled, modelled
from pipeline.ftl.recovery.recover import Recovery
from pipeline.ftl.recovery.tables import FtlRecoverySummary
from traces.config import spelled
from traces.table import columns_of


class Mechanism(IntEnum):
    """How counts come back."""

    PARALLEL = 0
    SERIAL = 1
    SHARED = 2
    JOURNAL = 3


def settings_of(mechanism: Mechanism, config: CrashConfig) -> RecoveryConfig:
    """Who recovers by a mechanism that reads the table."""
    asked, _ = parts_of(config)
    if mechanism == Mechanism.SERIAL:
        return replace(asked, cores=1, partition=Partition.CONTIGUOUS, merge=Merge.OWNER)
    return replace(asked, merge=Merge.SHARED) if mechanism == Mechanism.SHARED else asked


@dataclass(slots=True)
class Totals:
    """Of one volume and mechanism, over all recoveries; what is not added up is the last one's."""

    recoveries: int = 0
    wrong: int = 0
    entries: int = 0
    out_of_range: int = 0
    duplicates: int = 0
    records: int = 0
    table_bytes: int = 0
    seconds: float = 0.0
    scan_ns: int = 0
    merge_ns: int = 0
    imbalance: float = -1.0
    job: Job | None = None
    latest_records: int = 0

    def add(self, job: Job, wrong: int, seconds: float) -> None:
        """One more recovery."""
        self.recoveries += 1
        self.wrong += wrong
        self.seconds += seconds
        self.job = job

    def add_scan(self, recovery: Recovery) -> None:
        """Which read the table."""
        self.entries += recovery.entries
        self.out_of_range += recovery.out_of_range
        self.duplicates += max(recovery.duplicates, 0)
        self.table_bytes = recovery.table_bytes
        self.scan_ns += int(recovery.scan_ns.sum())
        self.merge_ns += int(recovery.merge_ns.sum())
        self.imbalance = recovery.imbalance

    def add_journal(self, records: int, blocks: int) -> None:
        """Which read counts and records."""
        self.records += records
        self.latest_records = records
        self.table_bytes = COUNT * blocks

    def modelled(self, mechanism: Mechanism, config: CrashConfig) -> tuple[float, float]:
        """Time and share of merging on the controller; -1 where nothing was recovered."""
        if self.job is None:
            return -1.0, -1.0
        _, costs = parts_of(config)
        if mechanism == Mechanism.JOURNAL:
            return journalled(self.job, self.latest_records, costs), 0.0
        have = modelled(self.job, settings_of(mechanism, config), costs)
        return have.time, have.merge_share


def summary(
    fleet: Fleet, totals: dict[int, list[Totals]], told: dict[int, dict[str, Any]], span: int, config: CrashConfig
) -> FtlRecoverySummary:
    """A row a volume and mechanism; ``told`` is what is the same for all mechanisms of a volume."""
    rows: list[dict[str, Any]] = []
    for volume, each in totals.items():
        now, head = fleet.tally[2 * volume], fleet.head[volume]
        host, blocks = int(now.host), int(fleet.start.blocks[volume])
        written = int(head.recorded) * config.record_bytes + int(head.checkpoints) * blocks * COUNT
        parallel_ns = each[Mechanism.PARALLEL].modelled(Mechanism.PARALLEL, config)[0]
        for mechanism in Mechanism:
            have = each[mechanism]
            model_ns, share = have.modelled(mechanism, config)
            journal = mechanism == Mechanism.JOURNAL
            below, above = -1.0, -1.0
            if journal and have.job:
                below, above = pays(parallel_ns - model_ns, written / config.journal_write, host, span)
            cores = 1 if journal else settings_of(mechanism, config).cores
            worked = have.scan_ns + have.merge_ns
            rows.append(
                told[volume]
                | {
                    "volume": volume,
                    "mechanism": spelled(mechanism),
                    "cores": cores,
                    "recoveries": have.recoveries,
                    "counts_wrong": have.wrong,
                    "entries": have.entries,
                    "out_of_range": have.out_of_range,
                    "duplicates": have.duplicates,
                    "records": have.records,
                    "table_bytes": have.table_bytes,
                    "host_programs": host,
                    "wa": (host + int(now.gc)) / host if host else -1.0,
                    "victims": int(now.picks),
                    "victims_hash": int(head.chosen),
                    "run_bytes": written if journal else 0,
                    "run_share": written / (host << fleet.page_shift) if journal and host else 0.0,
                    "model_ns": model_ns,
                    "model_merge_share": share,
                    "pays_below_pages": below,
                    "pays_above_crashes": above,
                    "seconds": have.seconds,
                    "entries_per_second": have.entries / have.seconds if have.entries and have.seconds else -1.0,
                    "speed_up_per_core": each[Mechanism.SERIAL].seconds / have.seconds / cores if have.seconds else -1,
                    "merge_share": have.merge_ns / worked if worked else -1.0,
                    "imbalance": have.imbalance,
                }
            )
    return FtlRecoverySummary._make(
        np.array([row[c.name] for row in rows], np.str_ if c.scalar is np.str_ else np.dtype(c.scalar))
        for c in columns_of(FtlRecoverySummary)
    )
