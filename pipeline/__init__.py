"""The emulated machine: every stage reads a trace and writes tables."""

from typing import Any

from pipeline.ftl import crash, l2p, map_cache, page_mapped
from pipeline.stage import Stage

_LIST: tuple[Stage[Any], ...] = (page_mapped.STAGE, l2p.STAGE, crash.STAGE, map_cache.STAGE)

STAGES = {stage.name: stage for stage in _LIST}
