"""What is known of a trace beside its rows, kept as JSON in the Parquet metadata."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from traces.errors import TraceError

INFO = b"strata.trace"  # the metadata's key


@dataclass(kw_only=True)
class Source:
    """One file that a trace was read from."""

    file: str
    bytes: int
    sha256: str


@dataclass(kw_only=True)
class Volume:
    """One volume of a block trace, counted while the trace was written."""

    name: str
    requests: int = 0
    reads: int = 0
    writes: int = 0
    others: int | None = 0  # that neither read nor write; None: a memory trace of a version that did not count them
    bytes_read: int = 0
    bytes_written: int = 0
    extent: int = 0


@dataclass(kw_only=True)
class TraceInfo:
    """What is known of a trace beside its rows; kept as JSON in the Parquet metadata.

    ``span`` and ``origin`` are nanoseconds; ``origin`` is the source clock's reading at the first record.
    """

    format: str
    reason: str = ""
    kind: str = "block"
    content: str = ""
    rows: int = 0
    refused: int = 0
    moved: int = 0
    duplicated: int = 0
    span: int = 0
    clock: str = "relative"
    origin: int = 0
    volumes: list[Volume] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)  # what ingest or the generator was asked for
    version: str = ""

    @classmethod
    def from_json(cls, text: str) -> "TraceInfo":
        """The inverse of `to_json`."""
        data = json.loads(text)
        data["volumes"] = [Volume(**({"others": _others(data, v)} | v)) for v in data["volumes"]]
        data["sources"] = [Source(**s) for s in data["sources"]]
        return cls(**data)

    def to_json(self) -> str:
        """The whole of it as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def total(self, what: str) -> int:
        """The sum of a `Volume` count over all volumes."""
        return sum(getattr(volume, what) or 0 for volume in self.volumes)

    @property
    def others(self) -> int | None:
        """Requests that neither read nor write; None where a version that did not count them wrote the trace."""
        return None if any(volume.others is None for volume in self.volumes) else self.total("others")


def _others(data: dict[str, Any], volume: dict[str, int]) -> int | None:
    """What an older version did not count, of JSON; it does not follow where a request may read and write at once."""
    if data["kind"] == "memory":
        return None
    return volume["requests"] - volume["reads"] - volume["writes"]


def read_info(path: Path) -> TraceInfo:
    """The metadata of a trace file; TraceError if it is not one."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise TraceError(f"{path}: no such trace") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise TraceError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    if INFO not in metadata:
        raise TraceError(f"{path}: a Parquet file, but not a trace of Strata's; `strata ingest` makes one")
    try:
        return TraceInfo.from_json(metadata[INFO].decode())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(
            f"{path}: what is kept of the trace beside its rows is damaged ({type(error).__name__}: {error}); "
            "make it anew with --replace, or remove the file"
        ) from None
