"""The emulated machine: every stage reads a trace and writes tables."""

from typing import Any

from pipeline.stage import Stage

_LIST: tuple[Stage[Any], ...] = ()

STAGES = {stage.name: stage for stage in _LIST}
