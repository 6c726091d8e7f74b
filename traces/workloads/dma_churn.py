"""DMA of devices behind an IOMMU, with the mappings that are made and taken back for it.

A transfer is a buffer, mapped, read or written by its device from beginning to end, and unmapped. Each device has up to
``depth`` transfers under way; at each step one of them, drawn evenly over all devices, goes on: it is mapped, or makes
its next access, or is unmapped. What mapping costs depends on the strategy, in Linux's terms: ``strict`` invalidates
the IOTLB for every unmap and waits; ``lazy`` queues what is unmapped and flushes the whole domain when the queue is
full or old (drivers/iommu/dma-iommu.c: 256 entries, 10 ms); ``pool`` maps every buffer once and keeps it;
``passthrough`` maps nothing: device and host addresses are the same.

Devices with an address translation service (ATS) ask for a page's translation before they first use it, then access
under the host's address. Steps come as a Poisson process, so that accesses have the rate asked for on average; rows of
one step follow each other by ``command``.

Besides ordinary accesses, which all lie within a mapping that is live, there may be stale ones and false ones; the
truth beside the trace lists them: ``stale-window`` (unmapped, not flushed), ``use-after-unmap``, ``stale-translated``
(the same by a host address that the device kept) and ``false-translated`` (a device without ATS that says its address
were translated). Addresses: see `traces.workloads.dma.state`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import ByName, Bytes, Nanoseconds, to_json
from traces.dma import NOT_TOLD, Told
from traces.kinds import ROWS
from traces.label import Span
from traces.table import schema_of
from traces.truth import TraceRecords
from traces.workloads.dma.kernels import RAW, TRUTHS, Machine, Out, Plan, Strategy, fill, new_out
from traces.workloads.dma.state import PAGE, new_state
from traces.workloads.draws import SHARE, draws
from traces.workloads.workload import LONGEST, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class DmaChurn:
    """Devices, their transfers, and how these are mapped."""

    events: Annotated[int, Field(ge=1, le=1 << 40, description="rows to make")] = 1_000_000
    devices: Annotated[int, Field(ge=1, le=1024, description="devices")] = 4
    domains: Annotated[
        int, Field(ge=0, le=1024, description="domains that the devices are spread over in turn; 0: one for each")
    ] = 0
    depth: Annotated[int, Field(ge=1, le=4096, description="transfers that each device has under way at most")] = 32
    strategy: Annotated[
        ByName[Strategy],
        Field(
            description="strict: invalidated at every unmap; lazy: flushed in batches; pool: mapped once; passthrough: "
            "never mapped"
        ),
    ] = Strategy.STRICT
    smallest: Annotated[Bytes, Field(ge=PAGE, le=1 << 21, description="bytes of the smallest buffer: 2**n pages")] = (
        PAGE
    )
    largest: Annotated[
        Bytes,
        Field(ge=PAGE, le=1 << 21, description="bytes of the largest buffer; all powers of two between are alike"),
    ] = 128 << 10
    access: Annotated[
        Bytes, Field(ge=64, le=1 << 21, description="bytes of an access, a power of two; of a buffer at most the whole")
    ] = PAGE
    writes: Annotated[float, Field(ge=0, le=1, description="share of the transfers that write memory")] = 0.5
    batch: Annotated[int, Field(ge=1, le=65536, description="lazy: a domain is flushed for so many unmaps at once")] = (
        256
    )
    patience: Annotated[
        Nanoseconds, Field(ge=1000, le=3600 * 10**9, description="lazy: ... or for one unmap that is so old")
    ] = 10 * 10**6
    ats: Annotated[float, Field(ge=0, le=1, description="share of the devices that have ATS; the first ones")] = 0.0
    interrupts: Annotated[bool, Field(description="each transfer ends with an interrupt")] = False
    stale: Annotated[
        float, Field(ge=0, le=1, description="share of the accesses that go to what was unmapped, if anything was")
    ] = 0.0
    false_translated: Annotated[
        float, Field(ge=0, le=1, description="share of the accesses without ATS that say they were translated")
    ] = 0.0
    memory: Annotated[Bytes, Field(ge=1 << 22, le=1 << 46, description="bytes of memory that buffers lie in")] = (
        16 << 30
    )
    rate: Annotated[float, Field(gt=0, le=1e9, description="accesses a second, over all devices, on average")] = 1e5
    command: Annotated[
        Nanoseconds, Field(ge=1, le=10**9, description="from one row of a step to the next: unmap, invalidation, wait")
    ] = 200
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same trace")] = 0

    def __post_init__(self) -> None:
        for name in ("smallest", "largest", "access"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(f"{name} is {getattr(self, name)} bytes: not a power of two")
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest} bytes) is more than largest ({self.largest} bytes)")
        if self.domains > self.devices:
            raise ValueError(f"{self.domains} domains are more than {self.devices} devices")
        if self.devices * self.depth > 1 << 16 or self.spaces * self.batch > 1 << 17:
            raise ValueError("devices * depth is 65536 at most, domains * batch 131072")
        if self.stale and self.strategy in (Strategy.POOL, Strategy.PASSTHROUGH):
            raise ValueError(f"stale: the strategy {self.strategy.name.lower()} unmaps nothing")
        if self.ats and self.strategy == Strategy.PASSTHROUGH:
            raise ValueError("ats: with passthrough there is nothing to translate")
        if self.events > self.rate * LONGEST:
            raise ValueError(f"{self.events} rows at a rate of {self.rate:g} last too long: raise rate")

    @property
    def records(self) -> int:
        """Rows that the trace will have."""
        return self.events

    @property
    def names(self) -> list[str]:
        """Rows name their devices themselves."""
        return []

    @property
    def spaces(self) -> int:
        """Domains that there are."""
        return self.domains or self.devices

    @property
    def orders(self) -> range:
        """How often a page is doubled for the buffers that there are."""
        return range((self.smallest // PAGE).bit_length() - 1, (self.largest // PAGE).bit_length())


def _plan(config: DmaChurn) -> Plan:
    accesses = sum(max(1, (PAGE << order) // config.access) for order in config.orders) / len(config.orders)
    return Plan(
        strategy=int(config.strategy),
        devices=config.devices,
        domains=config.spaces,
        depth=config.depth,
        orders=(config.orders[0], len(config.orders)),
        access=config.access,
        shares=(round(config.writes * SHARE), round(config.stale * SHARE), round(config.false_translated * SHARE)),
        with_ats=round(config.ats * config.devices),
        interrupts=config.interrupts,
        flush=(config.batch, float(config.patience)),
        pages=config.memory // PAGE,
        gap=1e9 / config.rate * accesses / (accesses + 2.0),  # a transfer has two steps besides its accesses
        command=float(config.command),
        keys=draws(config.seed, 8),
    )


def _top(config: DmaChurn) -> int:
    """Where addresses are given out from: below 4 GiB while that suffices, else below 2**47."""
    most = config.devices * config.depth + config.spaces * (config.batch + 1)
    return 1 << 32 if most * sum(PAGE << order for order in config.orders) < 1 << 31 else 1 << 47


def _filled(config: DmaChurn, rows: int) -> Iterator[Out]:
    """The trace's batches."""
    counts = {"devices": config.devices, "depth": config.depth, "domains": config.spaces, "batch": config.batch}
    machine = Machine(_plan(config), new_state(**counts, orders=len(config.orders), top=_top(config)))
    kept = new_out(0)
    origin = np.uint64(0)
    for done in range(0, config.events, rows):
        count = min(rows, config.events - done)
        have = kept.time.size
        out = new_out(rows + have + 16 + config.devices)  # the last step of a batch may have some rows too many
        columns: list[Any] = [*out]
        for column, old in zip(columns, kept, strict=True):
            column[:have] = old
        have = fill(machine, count, out, have)
        kept = Out(*(column[count:have].copy() for column in columns))
        if not done:
            origin = out.time[0]
        batch = Out(*(column[:count] for column in columns))
        np.subtract(batch.time, origin, out=batch.time)
        yield batch


_RAW_ENUM, _PHASE_ENUM = pl.Enum(RAW), pl.Enum(["churn", "setup"])


def _setup(config: DmaChurn) -> int:
    """Rows before the first transfer."""
    return config.devices * config.depth if config.strategy == Strategy.POOL else 0


def generate(config: DmaChurn, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    begin, setup = 0, _setup(config)
    for out in _filled(config, rows):
        n = out.time.size
        phase = np.zeros(n, np.uint8)
        phase[: max(0, setup - begin)] = 1
        begin += n
        columns: list[Any] = [
            pl.Series("time", out.time),
            pl.Series("event", out.event),
            pl.Series("request", out.request),
            pl.Series("source", out.source),
            pl.Series("domain", out.domain),
            pl.repeat(NOT_TOLD, n, dtype=pl.UInt32, eager=True).alias("pasid"),
            pl.Series("address", out.address),
            pl.Series("size", out.size),
            pl.Series("page", out.page),
            pl.Series("target", out.target),
            pl.Series("write", out.write),
            pl.repeat(int(Told.NOT_TOLD), n, dtype=pl.UInt8, eager=True).alias("hit"),
            pl.repeat(0, n, dtype=pl.UInt16, eager=True).alias("fault"),
            pl.Series("phase", phase).cat.to(_PHASE_ENUM),
            pl.Series("raw", out.what).cat.to(_RAW_ENUM),
        ]
        yield pl.DataFrame(columns)


def spans(config: DmaChurn) -> list[Span]:
    """Mapping the pool, then transfers."""
    told, setup = to_json(config), _setup(config)
    out = [Span(0, "setup", "dma", told)] if setup else []
    return out + ([Span(setup, "churn", "dma", told)] if setup < config.events else [])


def truth(config: DmaChurn) -> Mapping[str, Iterable[pl.DataFrame]]:
    """The accesses that ought not to be."""
    return {"records": _records(config)} if config.stale or config.false_translated else {}


def _records(config: DmaChurn) -> Iterator[pl.DataFrame]:
    truths, begin = pl.Series(TRUTHS, dtype=pl.String), 0
    for out in _filled(config, ROWS):
        found = np.flatnonzero(out.wrong)
        if found.size:
            row = (found + begin).astype(np.uint64)
            told = truths.gather(out.wrong[found])
            yield pl.DataFrame({"row": row, "truth": told}, schema=schema_of(TraceRecords))
        begin += out.time.size


WORKLOAD = Workload(
    "dma",
    "dma",
    "DMA of devices behind an IOMMU, and the mappings made and taken back for it",
    DmaChurn,
    generate,
    spans,
    truth,
)
