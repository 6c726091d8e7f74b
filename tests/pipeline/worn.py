"""Blocks and their wear without a drive around them; what drives inline is called by kernels of its own."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.ftl.victim import HEAD, Blocks, Phase, Victim, close, lose_page, prepare_blocks
from pipeline.ftl.wear.config import Wearing
from pipeline.ftl.wear.model import (
    close_block,
    exhausted,
    exported,
    good_blocks,
    open_erased,
    prepare_wear,
    refuses,
)
from pipeline.ftl.wear.state import Wear, new_wear, part_of
from tests.reference import wear as reference
from tests.reference.ftl import SplitMix
from traces.config import spelled
from traces.kernel import lean_kernel

PAGES = 4


def blocks_of(total: int, victim: Victim = Victim.GREEDY, pages: int = PAGES, window: int = 3) -> Blocks:
    blocks = Blocks(
        total=total,
        pages=pages,
        victim=victim,
        choices=2,
        window=window,
        phase=np.zeros(total, np.uint8),
        valid=np.zeros(total, np.int32),
        erases=np.zeros(total, np.uint32),
        changed=np.zeros(total if victim == Victim.COST_BENEFIT else 0, np.int64),
        links=np.zeros((total + pages + 1, 2), np.int32),
        head=np.zeros(1, HEAD).view(np.recarray),
    )
    prepare_blocks(blocks, 1)
    return blocks


def worn(config: Wearing, total: int, logical: int, seed: int = 0, **kept: Any) -> tuple[Blocks, Wear]:
    blocks = blocks_of(total, **{name: kept.pop(name) for name in ("victim", "pages") if name in kept})
    wear = part_of.py_func(new_wear(config, total, 1, **({"reserve": 1, "held": 2} | kept)), 0, total, 0, logical)  # type: ignore[attr-defined]
    prepare_wear(blocks, wear, seed)
    return blocks, wear


@lean_kernel
def opened(blocks: Blocks, wear: Wear) -> int:
    return open_erased(blocks, wear)


@lean_kernel
def closed(blocks: Blocks, wear: Wear, block: int) -> None:
    close(blocks, block)
    close_block(blocks, wear, block)


@lean_kernel
def lost(blocks: Blocks, block: int) -> None:
    lose_page(blocks, block)


class Figures(NamedTuple):
    good: int
    exported: int
    refuses: bool
    exhausted: bool


@lean_kernel
def figures(blocks: Blocks, wear: Wear, mapped: int) -> Figures:
    good = good_blocks(blocks, wear)
    return Figures(
        good, exported(blocks, wear), refuses(blocks, wear, mapped), exhausted(blocks, wear, good - 1, mapped)
    )


def phases(blocks: Blocks, phase: Phase) -> set[int]:
    return set(np.flatnonzero(blocks.phase == phase).tolist())


def reference_of(config: Wearing, blocks: Blocks, wear: Wear, bad: set[int]) -> reference.Worn:
    return reference.Worn(
        dict(enumerate(wear.limit.tolist())),
        bad,
        pages=blocks.pages,
        logical=wear.logical,
        endurance=config.cycles,
        age=config.age,
        levelling=spelled(config.levelling),
        gap=config.levelling_gap,
        every=config.levelling_every,
        retirement=spelled(config.retirement),
        keep=wear.keep,
        held=wear.held,
        law=config.law,
        correctable=config.correctable,
        retries=config.retries,
        gain=config.retry_gain,
        unit=config.retention_unit,
    )


def drawn(config: Wearing, total: int, seed: int) -> tuple[list[int], set[int]]:
    random = SplitMix(seed ^ 0x57454152)
    limits = reference.Limits(random, config.cycles, config.endurance_spread, spelled(config.spread))
    return limits.drawn(total, config.bad_blocks(total))
