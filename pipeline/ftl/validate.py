"""``python -m pipeline.ftl.validate``: the emulated drive against theory, every cell of every table.

Uniform random page writes on a full drive: greedy for block sizes and spares, FIFO, random, d-choices; the effect of
blocks held back; and hot and cold data with one frontier or two, where simulation stands in for a closed
form. A cell is run through the stage like any trace: a sequential prefill, warm fills that are not looked at, then
fills that are measured. Covered by the tolerance of 1 % is what has at least 4,096 blocks and 6 warm fills (cold data:
30); only the held-back cell is smaller, as its effect is that of 16 blocks in 1,024, and it is compared at its
effective spare. Exit status 1 if a cell is further off.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.ftl import theory
from pipeline.ftl._page_mapped_config import PageMappedConfig as Config
from pipeline.ftl.config import Layout
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.page_mapped import STAGE
from pipeline.ftl.placement import Placement
from pipeline.ftl.replay import FtlWindows
from pipeline.ftl.summary import FtlSummary
from pipeline.ftl.victim import Victim
from traces.block import Op
from traces.config import spelled

TOLERANCE = 0.01
SPARES = (0.05, 0.07, 0.10, 0.15, 0.20, 0.28, 0.50)
BLOCK_PAGES = (16, 32, 64, 128, 256, 1024)
CHOICES = (2, 3, 5, 10, 20, 100)
# share of the data that is hot, share of the writes it gets, frontiers, spare: simulated elsewhere, greedy, b = 64
# with a frontier for each of host and collector, or for each of hot and cold data
HOT_COLD = (
    (0.2, 0.8, Frontiers.ONE, 0.10, 5.196),
    (0.2, 0.8, Frontiers.ONE, 0.20, 2.953),
    (0.2, 0.8, Frontiers.SEPARATE, 0.10, 5.144),
    (0.2, 0.8, Frontiers.SEPARATE, 0.20, 2.855),
    (0.1, 0.9, Frontiers.ONE, 0.10, 5.906),
    (0.1, 0.9, Frontiers.ONE, 0.20, 3.484),
    (0.1, 0.9, Frontiers.SEPARATE, 0.10, 5.546),
    (0.1, 0.9, Frontiers.SEPARATE, 0.20, 3.094),
)
TOLD_APART = (
    (0.2, 0.8, 0.10, 4.836),
    (0.2, 0.8, 0.20, 2.603),
    (0.1, 0.9, 0.10, 4.831),
    (0.1, 0.9, 0.20, 2.602),
)
PAGE = 4096
BATCH = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure: a drive, a pattern of writes and the write amplification that they must come to."""

    victim: Victim
    spare: float
    pages: int = 64
    choices: int = 10
    blocks: int = 8192
    reserve: int = 1
    frontiers: Frontiers = Frontiers.ONE
    placement: Placement = Placement.NONE
    hot: float = 0.0  # share of the data; 0: all pages are alike
    heat: float = 0.0  # share of the writes that it gets
    warm: int = 6  # fills
    measured: int = 3  # fills
    want: float = 0.0  # 0: the closed form

    def __str__(self) -> str:
        parts = [spelled(self.victim), f"S_f {self.spare:.2f}", f"b {self.pages}"]
        if self.victim == Victim.D_CHOICES:
            parts.append(f"d {self.choices}")
        if self.reserve > 1:
            parts.append(f"{self.reserve} of {self.blocks} blocks held back")
        if self.hot:
            how = "told apart" if self.placement else f"{spelled(self.frontiers)} frontier(s)"
            parts.append(f"{self.hot:g}/{self.heat:g}, {how}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell came to. ``want`` is what it is compared with: the nominal spare's, or the held-back blocks'."""

    cell: Cell
    want: float
    effective: float
    have: float
    seconds: float

    @property
    def deviation(self) -> float:
        """Relative to what is wanted."""
        return self.have / self.want - 1


def cells() -> list[Cell]:
    """All of the tables."""
    greedy = [Cell(victim=Victim.GREEDY, spare=s, pages=b) for b in BLOCK_PAGES for s in SPARES]
    others = [Cell(victim=v, spare=s) for v in (Victim.FIFO, Victim.RANDOM) for s in SPARES]
    drawn = [Cell(victim=Victim.D_CHOICES, spare=0.20, choices=d) for d in CHOICES]
    held = [Cell(victim=Victim.GREEDY, spare=0.20, blocks=1024, reserve=16, measured=20)]
    mixed = [
        Cell(victim=Victim.GREEDY, spare=s, hot=f, heat=r, frontiers=n, want=a, warm=30, measured=10)
        for f, r, n, s, a in HOT_COLD
    ]
    apart = [
        Cell(victim=Victim.GREEDY, spare=s, hot=f, heat=r, placement=Placement.STREAM, want=a, warm=30, measured=10)
        for f, r, s, a in TOLD_APART
    ]
    return greedy + others + drawn + held + mixed + apart


def writes(cell: Cell, logical: int, seed: int) -> Iterator[pl.DataFrame]:
    """Single-page writes, one a nanosecond: the warm fills, then those that are measured."""
    chance = np.random.default_rng(seed)
    total = logical * (cell.warm + cell.measured)
    edge = int(logical * cell.hot)
    for start in range(0, total, BATCH):
        n = min(BATCH, total - start)
        page = chance.integers(edge, logical, n)
        if edge:
            page = np.where(chance.random(n) < cell.heat, chance.integers(0, edge, n), page)
        yield pl.DataFrame(
            {
                "time": np.arange(start, start + n, dtype=np.uint64),
                "op": np.full(n, Op.WRITE, np.uint8),
                "volume": np.zeros(n, np.uint32),
                "address": page.astype(np.uint64) * PAGE,
                "length": np.full(n, PAGE, np.uint64),
                "stream": (page >= edge).astype(np.uint32),
            }
        )


def measure(cell: Cell, seed: int = 1) -> Outcome:
    """Run one cell."""
    began = time.perf_counter()
    logical = int(cell.blocks * cell.pages * (1 - cell.spare) + 1e-6)
    config = Config(
        page=PAGE,
        block_pages=cell.pages,
        spare=cell.spare,
        layout=Layout.DIRECT,
        capacity=(logical * PAGE,),
        victim=cell.victim,
        choices=cell.choices,
        reserve=cell.reserve,
        frontiers=cell.frontiers,
        placement=cell.placement,
        window=logical * cell.warm,
        seed=seed,
    )
    host = programs = 0
    effective = 0.0
    for rows in STAGE.run(writes(cell, logical, seed), config):
        if isinstance(rows, FtlWindows):
            late = rows.time > 0  # the first window is the warm fills
            host += int(rows.host_programs[late].sum())
            programs += int(rows.host_programs[late].sum() + rows.gc_programs[late].sum())
        elif isinstance(rows, FtlSummary):
            effective = float(rows.effective_spare[0])
    at_effective = theory.write_amplification(cell.victim, effective, cell.pages, cell.choices) or 0.0
    nominal = theory.write_amplification(cell.victim, cell.spare, cell.pages, cell.choices) or 0.0
    return Outcome(
        cell=cell,
        want=cell.want or (at_effective if cell.reserve > 1 else nominal),
        effective=at_effective,
        have=programs / host,
        seconds=time.perf_counter() - began,
    )


def main() -> int:
    """Run all cells, print them beside theory, and say how many are off."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.ftl.validate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="cells side by side (default 2)")
    parser.add_argument("--markdown", action="store_true", help="print a table for docs/validation.md")
    asked = parser.parse_args()
    threads, markdown = asked.threads, asked.markdown
    began = time.perf_counter()
    if markdown:
        print("| cell | wanted | measured | off | theory at effective spare |\n| --- | ---: | ---: | ---: | ---: |")
    else:
        print(f"{'cell':56} {'want':>8} {'measured':>9} {'off':>8} {'at effective spare':>19} {'seconds':>8}")
    off = 0
    worst = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for outcome in pool.map(measure, cells()):
            bad = abs(outcome.deviation) > TOLERANCE
            off += bad
            worst = max(worst, abs(outcome.deviation))
            effective = "" if outcome.cell.want else f"{outcome.effective:.3f}"
            if markdown:
                figures = f"{outcome.want:.3f} | {outcome.have:.3f} | {outcome.deviation:+.2%}"
                print(f"| {outcome.cell} | {figures} | {effective} |", flush=True)
                continue
            print(
                f"{outcome.cell!s:56} {outcome.want:8.3f} {outcome.have:9.3f} {outcome.deviation:+8.2%} "
                f"{effective:>19} {outcome.seconds:8.1f}{'  OFF' if bad else ''}",
                flush=True,
            )
    if markdown:
        print()
    print(
        f"{len(cells())} cells, {off} off by more than {TOLERANCE:.0%}, the furthest by {worst:.2%}; "
        f"{time.perf_counter() - began:.0f} s with {threads} threads"
    )
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
