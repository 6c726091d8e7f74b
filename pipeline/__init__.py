"""The emulated machine: every stage reads a trace and writes tables."""

from typing import Any

from pipeline.ftl import page_mapped
from pipeline.ftl.l2p import map_cache
from pipeline.ftl.l2p import stage as l2p
from pipeline.ftl.recovery import stage as recovery
from pipeline.stage import Stage

_LIST: tuple[Stage[Any], ...] = (page_mapped.STAGE, l2p.STAGE, recovery.STAGE, map_cache.STAGE)

STAGES = {stage.name: stage for stage in _LIST}
