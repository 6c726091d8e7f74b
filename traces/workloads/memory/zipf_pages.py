"""Pages by popularity: the page of rank k is accessed in proportion to k**-theta, anywhere within it.

The law is that of `traces.workloads.zipf`, and as exact; each address space has an order of the pages of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from traces.config import Bytes
from traces.kernel import kernel
from traces.kinds import ROWS
from traces.workloads.draws import SHARE, Shuffle, below, chance, draw, new_shuffle, shuffled
from traces.workloads.memory.access import Accesses, Batch, Frames, Lane, Plan, Site, accessed, new_plan
from traces.workloads.workload import Workload, whole
from traces.workloads.zipf import draw_ranks, law_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipfPages(Accesses):
    """Pages, few of them hot."""

    page: Annotated[Bytes, Field(ge=64, le=1 << 30, description="bytes of a page: a multiple of 64")] = 4096
    theta: Annotated[
        float, Field(ge=0, le=64, description="skew: the page of rank k gets a share in proportion to k**-theta")
    ] = 0.99
    scattered: Annotated[
        bool, Field(description="popular pages lie all over the data, in a seeded order; else in order of rank")
    ] = True
    stores: Annotated[float, Field(ge=0, le=1, description="share of the accesses that store; the others load")] = 0.3

    def __post_init__(self) -> None:
        Accesses.__post_init__(self)
        if self.page % 64:
            raise ValueError(f"page ({self.page} bytes) is not a multiple of 64")
        if not self.pages:
            raise ValueError(f"footprint ({self.footprint} bytes) is less than a page ({self.page} bytes)")

    @property
    def pages(self) -> int:
        """Pages of each address space."""
        return self.footprint // self.page


@kernel
def _scatter(order: Shuffle, out: Batch) -> None:
    page, space = out.address, out.space
    for i in range(page.size):
        page[i] = shuffled(order, space[i], page[i])


@kernel
def _within(plan: Plan, page: int, stores: int, begin: int, out: Batch) -> None:
    """Turn page numbers into addresses."""
    address, site = out.address, out.site
    base, bytes_, size, share = np.uint64(plan.base), np.uint64(page), np.uint64(plan.size), np.uint64(stores)
    places = bytes_ // size
    key = plan.lanes[Lane.WITHIN]
    for i in range(address.size):
        address[i] = base + address[i] * bytes_ + below(draw(key, np.uint64(begin + i)), places) * size
    key = plan.lanes[Lane.STORE]
    for i in range(site.size):
        site[i] = Site.PAGE_STORE if chance(draw(key, np.uint64(begin + i)), share) else Site.PAGE_LOAD


def generate(config: ZipfPages, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan, frames = new_plan(config), Frames(config)
    law = law_of(float(config.pages), config.theta)
    order = new_shuffle(int(plan.lanes[Lane.ORDER]), config.spaces, config.pages) if config.scattered else None
    for begin, out in accessed(plan, rows):
        draw_ranks(law, plan.lanes[Lane.PAGE], plan.lanes[Lane.AGAIN], begin, out.address)
        if order is not None:
            _scatter(order, out)
        _within(plan, config.page, round(config.stores * SHARE), begin, out)
        yield frames.rows(out)


WORKLOAD = Workload(
    "zipf-pages",
    "memory",
    "pages by popularity, anywhere within them",
    ZipfPages,
    generate,
    whole("zipf-pages", lambda config: "zipf-pages"),
)
