"""The emulated machine: every stage reads a trace and writes tables."""

from typing import Any

from pipeline.ftl import page_mapped
from pipeline.stage import Stage

_LIST: tuple[Stage[Any], ...] = (page_mapped.STAGE,)

STAGES = {stage.name: stage for stage in _LIST}
