"""A small trace of every generator, and the hash of it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from traces.config import configured
from traces.kinds import KINDS
from traces.table import columns_of
from traces.workloads import WORKLOADS
from traces.workloads.workload import Shared, Workload

PLAIN = {name: each for name, each in WORKLOADS.items() if issubclass(each.config, Shared)}

SMALL = {"requests": 20_000, "reads": 0.3, "volumes": 3, "capacity": 4096 * 1000, "seed": 42}

# What some want besides, for so few places.
BESIDES: dict[str, dict[str, Any]] = {
    "oltp": {"size": 4096, "commit": "flush"},
    "log-append": {"segment": "128KiB", "longest": "32KiB", "flush": 5},
    "lsm": {"memtable": "16KiB", "io": "8KiB", "fanout": 4},
    "ai-checkpoint": {"size": 4096, "every": 200, "chunk": "32KiB"},
    "boot-storm": {"size": 4096, "extent": "16KiB", "footprint": 0.2},
    "idle": {"footprint": 0.1},
    "archival": {"size": 4096, "object_size": "64KiB", "reads": 0.7},
}

PHASES = {
    "phases": ["zipf 5000 theta=1.2", "idle 50s", "oltp 3000 size=4096", "sequential 1990 reads=1", "uniform 10ms"],
    "repeat": 2,
    "order": "shuffled",
}

# Of generators of other kinds than block: settings of a small trace.
OTHERS: dict[str, dict[str, Any]] = {}

# SHA-256 of each small trace. A change here changes every trace that anyone keeps: say so in the change.
GOLDEN = {
    "sequential": "4cd34323185d234b",
    "strided": "026d0b4ed291bcbc",
    "uniform": "c047a9492047a66a",
    "zipf": "d7cf862a23be70b8",
    "hot-cold": "cdbb1fb49f5593fe",
    "oltp": "1b2c263512d2efc2",
    "log-append": "33fa6ad7ba5d20d2",
    "lsm": "1bfbc3a963ce7b24",
    "ai-checkpoint": "452069911457d4df",
    "boot-storm": "b0488f2557da669c",
    "archival": "188956de89279e25",
    "idle": "60b4551071d82f19",
    "phases": "c4a89cca1c2f45e1",
}


def small(workload: Workload[Any]) -> dict[str, Any]:
    """Settings of a small trace."""
    if workload.name in OTHERS:
        return OTHERS[workload.name]
    if workload.name not in PLAIN:
        return {key: SMALL[key] for key in ("volumes", "capacity", "seed")} | PHASES
    return SMALL | BESIDES.get(workload.name, {})


def trace(workload: Workload[Any], asked: Mapping[str, Any], rows: int = 1 << 20) -> pl.DataFrame:
    return pl.concat(workload.generate(configured(workload.config, asked), rows))


def digest(rows: pl.DataFrame, kind: str) -> str:
    """A hash of the rows, wherever it is computed."""
    whole = hashlib.sha256()
    for column in columns_of(KINDS[kind]):
        if column.polars == pl.String:
            whole.update("\n".join(rows[column.name].cast(pl.String)).encode())
        else:
            values = rows[column.name].to_numpy()
            whole.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return whole.hexdigest()[:16]
