"""What became of a trace that was asked for: read, generated or derived."""

from dataclasses import dataclass
from pathlib import Path

from traces.info import TraceInfo


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of one trace."""

    name: str
    kind: str
    info: TraceInfo
    path: Path
    fresh: bool  # False: the same source was kept already under this name and nothing was done
    seconds: float
