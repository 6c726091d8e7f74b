"""Pointer chase: every load's address is what the load before has read.

The nodes of each address space are one ring in random order: node r of it lies at place p(r), for a seeded permutation
p of all places (`draws.Shuffle`), and leads to p(r + 1). This is the permutation p (r -> r + 1) p**-1: a conjugate of a
single cycle, hence a single cycle, whatever p is. It needs no table (Sattolo's shuffle needs one of the footprint's
size) and the walk's step k is p(k): the address is known without the walk. Processors of one space begin at equal
distances in the same ring.

A visit of a node is the load of its pointer (``next``), then accesses to its fields, if it has any. A ``next`` cannot
begin before its processor's ``next`` before it is done, an access to a field not before its own node's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.table import U64
from traces.workloads.draws import SHARE, Shuffle, chance, draw, new_shuffle, shuffled
from traces.workloads.memory.access import Accesses, Batch, Frames, Lane, Plan, Site, accessed, new_plan
from traces.workloads.workload import Workload, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class PointerChase(Accesses):
    """Nodes in a ring."""

    node: Annotated[Bytes, Field(ge=1, le=1 << 30, description="bytes from a node to the next place for one")] = 64
    fields: Annotated[
        int, Field(ge=0, le=1 << 16, description="accesses to a node beside its pointer, at size bytes after another")
    ] = 0
    stores: Annotated[float, Field(ge=0, le=1, description="share of the accesses to fields that store")] = 0.0

    def __post_init__(self) -> None:
        Accesses.__post_init__(self)
        if self.node % self.size:
            raise ValueError(f"node ({self.node} bytes) is not a multiple of size ({self.size} bytes)")
        if (1 + self.fields) * self.size > self.node:
            raise ValueError(
                f"a pointer and {self.fields} fields of {self.size} bytes are more than a node's {self.node}"
            )
        if self.stores and not self.fields:
            raise ValueError("stores: nodes without fields are never stored to; set fields")
        if self.nodes < self.cpus:
            raise ValueError(f"footprint is {self.nodes} nodes: fewer than processors ({self.cpus})")

    @property
    def nodes(self) -> int:
        """Nodes of each address space."""
        return self.footprint // self.node


class _Ring(NamedTuple):
    """The rings of all spaces."""

    order: Shuffle
    starts: U64  # [processor] -> rank of its first node
    node: int
    fields: int
    stores: int  # of SHARE


@kernel
def _follow(plan: Plan, ring: _Ring, begin: int, out: Batch) -> None:
    threads, cpus, places = plan.spaces * plan.cpus, plan.cpus, np.uint64(ring.order.places)
    step, turn = begin // threads, begin % threads
    visit, field = np.uint64(step // (1 + ring.fields)) % places, step % (1 + ring.fields)
    space, cpu = turn // cpus, turn % cpus
    share, key, fields, starts = np.uint64(ring.stores), plan.lanes[Lane.STORE], ring.fields, ring.starts
    address, site, order = out.address, out.site, ring.order
    base, node, size = np.uint64(plan.base), np.uint64(ring.node), np.uint64(plan.size)
    for i in range(address.size):
        rank = visit + starts[cpu]
        rank -= places if rank >= places else np.uint64(0)
        address[i] = base + shuffled(order, space, rank) * node + np.uint64(field) * size
        if field == 0:
            site[i] = Site.NEXT
        else:
            site[i] = Site.FIELD_STORE if chance(draw(key, np.uint64(begin + i)), share) else Site.FIELD_LOAD
        cpu += 1
        if cpu == cpus:
            cpu = 0
            space += 1
            if space == plan.spaces:
                space = 0
                field += 1
                if field > fields:
                    field = 0
                    visit = visit + np.uint64(1) if visit + np.uint64(1) < places else np.uint64(0)


def generate(config: PointerChase, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan, frames = new_plan(config), Frames(config)
    ring = _Ring(
        order=new_shuffle(int(plan.lanes[Lane.ORDER]), config.spaces, config.nodes),
        starts=np.array([cpu * config.nodes // config.cpus for cpu in range(config.cpus)], np.uint64),
        node=config.node,
        fields=config.fields,
        stores=round(config.stores * SHARE),
    )
    for begin, out in accessed(plan, rows):
        _follow(plan, ring, begin, out)
        yield frames.rows(out)


WORKLOAD = Workload(
    "pointer-chase",
    "memory",
    "loads whose addresses the loads before have read",
    PointerChase,
    generate,
    whole("pointer-chase", lambda config: "pointer-chase"),
)
