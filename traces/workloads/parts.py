"""The generators that are one thing from end to end: what a schedule of phases is made of."""

from typing import Any

from traces.workloads import (
    ai_checkpoint,
    archival,
    boot_storm,
    hot_cold,
    idle,
    log_append,
    lsm,
    oltp,
    sequential,
    strided,
    uniform,
    zipf,
)
from traces.workloads.workload import Workload

_LIST: tuple[Workload[Any], ...] = (
    sequential.WORKLOAD,
    strided.WORKLOAD,
    uniform.WORKLOAD,
    zipf.WORKLOAD,
    hot_cold.WORKLOAD,
    oltp.WORKLOAD,
    log_append.WORKLOAD,
    lsm.WORKLOAD,
    ai_checkpoint.WORKLOAD,
    boot_storm.WORKLOAD,
    archival.WORKLOAD,
    idle.WORKLOAD,
)

PARTS = {each.name: each for each in _LIST}
