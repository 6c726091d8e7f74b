"""A drive that loses power in the midst of a trace, and one that does not: what recovery takes, and that it is right.

Both drives are page-mapped (`pipeline.ftl.page_mapped`) and serve the same requests side by side. After ``crash_at``
requests of the trace, and every ``crash_every`` from there, all volumes of the first lose power; their validity counts
are recovered from the logical-to-physical table by cores in parallel (`pipeline.ftl.recovery`), before anything else is
done, and the drive goes on. From then on its garbage collection must choose the blocks that the uninterrupted drive
chooses, to the last one. After a clean shutdown counts and order are read back and nothing is recovered.

The published text says that counts are rebuilt from the table, by which cores and how. What outlives a loss of power is
ours:

- durable: the logical-to-physical table; what blocks hold; and a table of the blocks (phase, erases, in which order
  they were erased and closed, the state of the generator that victims are drawn with), journalled whenever a block is
  opened, closed or erased. How far an open block is programmed is found by reading it;
- lost: validity counts and bits, and the order in which victims are chosen. So only policies are possible whose order
  is a function of what is durable (`CrashConfig`): greedy's equals, and the age of cost-benefit, are not;
- the write buffer (`pipeline.ftl.recovery.buffer`): what stands in it was acknowledged. With power-loss protection it
  is programmed before the power is gone, as after a clean shutdown. Without, it is lost: those pages are counted, and
  the uninterrupted drive is one that never got them. A request that was programmed in part stays so far.

Baselines recover the same table at the same moment, and are counted and timed: one core; one table with a lock for
each increment; and a journal, which a drive would keep in place of all that. The journal has a record for every
page that the host overwrites or unmaps and for every erasure; when it is full the counts are written whole. Recovery
reads the counts and the records since. What it saves there it costs while the drive runs: ``pays_below_pages``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from pipeline.ftl._power_loss import HALF, settled
from pipeline.ftl.fit import fit as fit_drive
from pipeline.ftl.page_mapped import surveyed
from pipeline.ftl.recovery.crash_config import CrashConfig
from pipeline.ftl.recovery.drives import Drives
from pipeline.ftl.recovery.tables import FtlRecoveryCrashes, FtlRecoveryModel, FtlRecoverySummary
from pipeline.ftl.replay import Request
from pipeline.stage import Rows, Stage
from traces.block import Block
from traces.errors import ConfigError
from traces.info import TraceInfo


def fit(config: CrashConfig, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> CrashConfig:
    """Settle the drive by the trace, and when it loses power. ConfigError if the trace is too short for that."""
    if not config.crash_at and info.rows:
        raise ConfigError("crash_at is 0: power does not fail, and there is nothing to recover")
    return fit_drive(replace(config, crash_at=settled(config.crash_at, info)), info, rows)


def run(trace: Iterable[pl.DataFrame], config: CrashConfig) -> Iterator[Rows]:
    """Losses of power as soon as the next one comes; at the end a summary, and the modelled controller's rows.

    ConfigError if the configuration is not settled (see `fit`) or the trace ends before the first loss, TraceError for
    a row that cannot be replayed, BrokenLawError if what was recovered is not what the uninterrupted drive has.
    """
    if config.crash_at == HALF:
        raise ConfigError("crash_at must be settled by the trace: call fit first")
    drives = Drives(config)
    for rows in surveyed(trace, config):
        many = rows.time.size
        windows = rows.time // np.uint64(config.window)
        edges = {0, many, *(np.flatnonzero(np.diff(windows)) + 1).tolist()}
        edges.update(range(drives.next_crash - drives.given, many, config.crash_every or many))
        for begin, end in pairwise(sorted(edge for edge in edges if 0 <= edge <= many)):
            drives.enter(int(windows[begin]))
            yield from drives.crash_if_due()
            drives.feed(Request._make(column[begin:end] for column in rows))
    yield from drives.crash_if_due()
    if not drives.crashes:
        raise ConfigError(f"crash_at is {config.crash_at}; the trace has {drives.given} requests")
    yield from drives.end()


STAGE = Stage(
    name="ftl.recovery",
    doc="Recovery of validity counts after a loss of power: by cores in parallel, against a journal and others.",
    config=CrashConfig,
    reads=Block,
    takes=Request,
    writes=(FtlRecoverySummary, FtlRecoveryCrashes, FtlRecoveryModel),
    headline=(
        "mechanism",
        "recoveries",
        "counts_wrong",
        "victims_after",
        "victims_same",
        "lost_pages",
        "model_ns",
        "run_share",
        "pays_below_pages",
        "entries",
    ),
    fit=fit,
    run=run,
    alone=True,
)
