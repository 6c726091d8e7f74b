"""A small trace of every generator, and the hash of it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from traces.config import configured
from traces.kinds import KINDS
from traces.table import columns_of
from traces.workloads import WORKLOADS
from traces.workloads.workload import Common, Workload
from traces.workloads.world import World

PLAIN = {name: each for name, each in WORKLOADS.items() if issubclass(each.config, Common)}

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

_MEMORY = {"accesses": 20_000, "spaces": 2, "cpus": 3, "footprint": "256KiB", "arrival": "poisson", "seed": 42}

# Of generators of other kinds than block: settings of a small trace.
OTHERS: dict[str, dict[str, Any]] = {
    "vm-life": {
        "life": "boot; work 700ms; migrate; work 300ms; crash; resume; work 200ms",
        "memory": "4MiB",
        "cache": "2MiB",
        "files": "8MiB",
        "image": "1MiB",
        "journal": "1MiB",
        "rate": 30_000,
        "file_share": 0.3,
        "commit": "60ms",
        "writeback": "50ms",
        "expire": "200ms",
        "bandwidth": "512MiB",
        "downtime": "2ms",
        "reset": "50ms",
        "seed": 5,
    },
    "pointer-chase": _MEMORY | {"fields": 2, "stores": 0.4, "footprint": "100KiB"},
    "streaming": _MEMORY | {"footprint": "10KiB"},
    "stencil": _MEMORY | {"dimensions": 3},
    "zipf-pages": _MEMORY | {"theta": 1.1},
    "memory-phases": {
        "phases": "streaming 3000 kernel=add; zipf-pages 20us arrival=poisson; stencil 4999; pointer-chase 10us",
        "repeat": 2,
        "order": "shuffled",
        "spaces": 2,
        "cpus": 3,
        "footprint": "64KiB",
        "seed": 42,
    },
    "messages": {
        "messages": 20_000,
        "producers": 6,
        "rings": 3,
        "ring": "4KiB",
        "longest": 2048,
        "theta": 0.9,
        "torn": 0.01,
        "unknown": 0.01,
        "closed": 0.01,
        "corrupt": 0.01,
        "seed": 42,
    },
    "pci-scan": {
        "topology": "00:00.0 mch; 00:01.0 root-port bus=1; 00:02.0 root-port bus=2; 00:03.0 nvme; 00:03.1 ahci; "
        "01:00.0 nic ari=10 vfs=3",
        "last_bus": 20,
        "rescans": 6,
        "dumps": 1,
        "hotplug": "15s plug 02:00.0 nvme; 45s unplug 02:00.0",
        "seed": 42,
    },
    "text-patches": {
        "writes": 20_000,
        "module_rate": 3,
        "module_sites": 5,
        "alternatives": 300,
        "straddling": 0.1,
        **dict.fromkeys(("direct", "strangers", "unlisted", "overlong", "different", "breakpoints"), 0.01),
        "seed": 42,
    },
    "dma": {
        "events": 20_000,
        "devices": 5,
        "domains": 2,
        "depth": 6,
        "strategy": "lazy",
        "largest": "32KiB",
        "batch": 20,
        "ats": 0.4,
        "interrupts": True,
        "stale": 0.02,
        "false_translated": 0.02,
        "seed": 42,
    },
}

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
    "pointer-chase": "ee93133b6099b2a4",
    "streaming": "079c70af9d4aeaa5",
    "stencil": "52e5fb4c138fe012",
    "zipf-pages": "f3db4f620004235b",
    "memory-phases": "7ef2d2b0d5a48a21",
    "messages": "4ceb198bd9a4dce7",
    "pci-scan": "af3b68b7c2c065e0",
    "text-patches": "adae8a98e2252ef5",
    "dma": "d366b4602aed37de",
}


def small(workload: Workload[Any] | World[Any]) -> dict[str, Any]:
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
