"""The modelled controller's rows and the journal's break-even of `pipeline.ftl.recovery`."""

from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.ftl.recovery.config import Merge, Partition, RecoveryConfig
from pipeline.ftl.recovery.crash_config import CrashConfig
from pipeline.ftl.recovery.model import COUNT, Controller, Job, Modelled, journalled, modelled
from pipeline.ftl.recovery.tables import FtlRecoveryModel
from traces.config import spelled
from traces.table import columns_of

CORES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (10**6, 10**7, 10**8, 10**9)
DAY = 86_400e9  # ns


@lru_cache(maxsize=1 << 14)  # 0.1 s for all rows; a grid over keys of the drive has the same ones again
def _modelled(job: Job, config: RecoveryConfig, costs: Controller) -> Modelled:
    return modelled(job, config, costs)


def parts_of(config: CrashConfig) -> tuple[RecoveryConfig, Controller]:
    """Who recovers, and what the controller's work costs, without the drive's keys."""
    told = {each: {f.name: getattr(config, f.name) for f in fields(each)} for each in (RecoveryConfig, Controller)}
    return RecoveryConfig(**told[RecoveryConfig]), Controller(**told[Controller])


def scaled(entries: int, job: Job, physical: int, config: CrashConfig) -> Job:
    """A table of so many entries, as full and of as much spare as another drive's."""
    pages = -(-entries * physical // max(job.entries, 1))
    return Job(entries, entries * job.mapped // max(job.entries, 1), -(-pages // config.scaled_block_pages))


def model_rows(job: Job, physical: int, config: CrashConfig) -> FtlRecoveryModel:
    """The table; ``physical`` are the pages of the drive that the job is of."""
    rows = list(_rows(False, job, config))
    for entries in SIZES:
        rows.extend(_rows(True, scaled(entries, job, physical, config), config))
    columns = zip(*rows, strict=True)
    return FtlRecoveryModel._make(
        np.array(values, np.dtype(column.scalar) if column.scalar is not np.str_ else None)
        for column, values in zip(columns_of(FtlRecoveryModel), columns, strict=True)
    )


def _rows(is_scaled: bool, job: Job, config: CrashConfig) -> Iterator[tuple[Any, ...]]:
    recovery, costs = parts_of(config)
    settings = {name: getattr(recovery, name) for name in ("stripes", "stride", "map_page", "batch")}
    table = COUNT * job.blocksets
    for merge in Merge:
        for partition in Partition:
            alone = 0.0
            for cores in CORES:
                chosen = RecoveryConfig(cores=cores, merge=merge, partition=partition, **settings)
                have = _modelled(job, chosen, costs)
                alone = alone or have.time
                own = 0 if merge == Merge.SHARED else cores
                yield (
                    *(is_scaled, *job[:3], spelled(merge), spelled(partition), cores, have.time, have.scan),
                    *(have.merge_share, alone / have.time if have.time else 1.0, table * (1 + own)),
                    *(have.memory, have.locks),
                )
    time = journalled(job, config.journal_records, costs)
    brought = table + config.journal_records * costs.record_bytes
    yield (is_scaled, *job[:3], "journal", "none", 1, time, time, 0.0, 1.0, table, brought, 0)


def pays(saved: float, price: float, pages: int, span: int) -> tuple[float, float]:
    """Pages between two losses of power below which, and losses a day above which a journal pays; -1 where not known.

    ``saved`` are the ns of one recovery, ``price`` those spent on it for so many pages of the host in ``span`` ns.
    """
    if not pages or price <= 0:
        return -1.0, -1.0
    below = max(saved, 0.0) * pages / price
    above = price / span * DAY / saved if saved > 0 and span else -1.0
    return below, above
