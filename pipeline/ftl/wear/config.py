"""What a drive's flash stands, what is done about its wear, and what a worn block is: see `pipeline.ftl.wear`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.ftl._cell import Cell, Flash
from traces.config import ByName, Nanoseconds, split

DAY = 86_400_000_000_000  # ns


# The upper ends of the ranges that are commonly given: SLC 50 to 100 thousand, MLC 3 to 10, TLC 1 to 3, QLC 0.1 to 1
# (compare Grupp, Davis, Swanson, "The bleak future of NAND flash memory", FAST 2012)
ENDURANCE = {Cell.SLC: 100_000, Cell.MLC: 10_000, Cell.TLC: 3_000, Cell.QLC: 1_000}


class Spread(IntEnum):
    """How the endurance of blocks is distributed."""

    LOGNORMAL = 0
    NORMAL = 1


class Levelling(IntEnum):
    """What evens the wear of blocks out."""

    NONE = 0
    DYNAMIC = 1
    STATIC = 2


class Retirement(IntEnum):
    """What becomes of a worn block, and of the drive."""

    NONE = 0
    FIXED = 1
    CAPACITY_VARIANT = 2


class Rber(IntEnum):
    """How raw bit errors grow."""

    NONE = 0
    POWER_LAW = 1
    LINEAR = 2


# eps, alpha, k, beta, m, n, gamma, p, q of RBER = eps + alpha c^k + beta c^m t^n + gamma c^p r^q, published for a
# 72-layer TLC; the form is that of Kim, Choi, Min, "Design tradeoffs for SSD reliability", FAST 2019. c are program and
# erase cycles, t the days since the data were programmed (that they are days is not certain: see `retention_unit`), r
# reads a page
TLC_72 = (1.48e-3, 3.90e-10, 2.05, 6.28e-5, 0.14, 0.54, 3.73e-9, 0.33, 1.71)

Constants = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...],
    BeforeValidator(split),
    Field(min_length=9, max_length=9),
]


@dataclass(frozen=True, kw_only=True)
class Wearing(Flash):
    """A drive's wear, among the keys of its configuration. ValueError where the keys do not go together.

    No slots: a configuration with slots inherits from it, and calls ``Wearing.__post_init__(self)`` from its own.
    """

    endurance: Annotated[
        int,
        Field(
            ge=0,
            le=1 << 24,
            description="program/erase cycles that a block stands, mean over all blocks. 0: by the cell, slc 100,000, "
            "mlc 10,000, tlc 3,000, qlc 1,000",
        ),
    ] = 0
    endurance_spread: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="how far blocks differ: the standard deviation of the logarithm (lognormal) or as a share of "
            "the mean (normal). 0: not at all",
        ),
    ] = 0.0
    spread: Annotated[ByName[Spread], Field(description="how they differ; what would be less than a cycle is one")] = (
        Spread.LOGNORMAL
    )
    worn: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the endurance that every block has behind it when the trace begins, so that a short "
            "trace reaches the end of a life; blocks that stand no more than that are retired from the start",
        ),
    ] = 0.0
    factory_bad: Annotated[
        float, Field(ge=0, le=0.02, description="share of the blocks that are bad from the factory, rounded down")
    ] = 0.0
    levelling: Annotated[
        ByName[Levelling],
        Field(
            description="none: blocks are opened in the order of their erasure; dynamic: the least erased first; "
            "static: that, and cold blocks are emptied into others"
        ),
    ] = Levelling.NONE
    levelling_gap: Annotated[
        int,
        Field(ge=1, description="static: the coldest block is emptied when the most erased is ahead by more than that"),
    ] = 100
    levelling_every: Annotated[
        int, Field(ge=1, description="static: erases between two looks; one block is emptied at a look")
    ] = 1
    retirement: Annotated[
        ByName[Retirement],
        Field(
            description="none: blocks do not wear out; fixed: worn blocks are retired as long as the others hold all "
            "exported pages, then the drive is worn out; capacity-variant: it exports less, and is worn out when the "
            "others no longer hold the mapped pages (no difference where all pages are mapped). Both keep one block "
            "more erased. What a prefill erases wears nothing"
        ),
    ] = Retirement.NONE
    rber: Annotated[
        ByName[Rber],
        Field(
            description="raw bit error rate. none: not kept; power-law: of cycles, retention and reads, see "
            "`rber_constants`; linear: of cycles, from the first of `rber_constants` to `correctable` at the endurance"
        ),
    ] = Rber.NONE
    rber_constants: Annotated[
        Constants,
        Field(
            description="eps, alpha, k, beta, m, n, gamma, p, q of eps + alpha c^k + beta c^m t^n + gamma c^p r^q: c "
            "cycles, t days since the block was opened, r reads since then a page of it"
        ),
    ] = TLC_72
    correctable: Annotated[
        float, Field(gt=0, lt=0.5, description="raw bit error rate up to which a page can be corrected")
    ] = 5e-3
    retries: Annotated[
        int, Field(ge=0, le=64, description="times that a page is read again before it counts as uncorrectable")
    ] = 8
    retry_gain: Annotated[
        float, Field(gt=0, lt=1, description="share of its bit errors that a page has when it is read again")
    ] = 0.9
    retention_unit: Annotated[
        Nanoseconds,
        Field(
            gt=0, description="time of the trace that counts as a day of retention; less than 1 d makes data age faster"
        ),
    ] = DAY
    refresh: Annotated[
        int,
        Field(
            ge=0, le=64, description="retries from which on the block that was read is emptied into others; 0: never"
        ),
    ] = 0
    warranty: Annotated[float, Field(gt=0, le=100, description="years over which drive writes per day are told")] = 5.0

    def __post_init__(self) -> None:
        if self.rber == Rber.POWER_LAW and self.cell != Cell.TLC and self.rber_constants == TLC_72:
            raise ValueError(f"the default rber_constants are those of a tlc: give those of a {self.cell.name.lower()}")
        if self.rber != Rber.NONE and self.rber_constants[0] >= self.correctable:
            raise ValueError(
                f"correctable is {self.correctable}, and new flash has a bit error rate of {self.rber_constants[0]} "
                "(rber_constants, the first): no page could be read"
            )
        if self.refresh > self.retries:
            raise ValueError(f"refresh {self.refresh} is never reached with retries {self.retries}")

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        worn_out = bool(self.retirement or self.rber)
        errs = self.rber != Rber.NONE
        every = {
            "endurance": ("unless retirement, rber, levelling or factory_bad asks for wear", self.wears),
            "endurance_spread": ("while retirement and rber are none", worn_out),
            "spread": (
                "unless endurance_spread has one, for retirement or rber",
                worn_out and self.endurance_spread > 0,
            ),
            "worn": ("while retirement and rber are none", worn_out),
            "levelling_gap": ("unless levelling is static", self.levelling == Levelling.STATIC),
            "levelling_every": ("unless levelling is static", self.levelling == Levelling.STATIC),
            "retention_unit": ("unless rber is power-law", self.rber == Rber.POWER_LAW),
            "warranty": ("unless retirement, rber, levelling or factory_bad asks for wear", self.wears),
        }
        errors = ("rber_constants", "correctable", "retries", "retry_gain", "refresh")
        every |= dict.fromkeys(errors, ("while rber is none", errs))
        return {key: why for key, (why, works) in every.items() if not works}

    @property
    def wears(self) -> bool:
        """Whether anything of all this is asked for."""
        return bool(self.levelling or self.retirement or self.rber or self.factory_bad)

    @property
    def cycles(self) -> int:
        """Program/erase cycles that a block stands, mean."""
        return self.endurance or ENDURANCE[self.cell]

    @property
    def age(self) -> int:
        """Cycles that every block has behind it when the trace begins."""
        return round(self.worn * self.cycles)

    @property
    def spared(self) -> int:
        """Erased blocks to keep back beside the reserve, so that the retirement of one does not take the reserve."""
        return 0 if self.retirement == Retirement.NONE else 1

    @property
    def law(self) -> tuple[float, ...]:
        """The nine constants of the bit error rate, of whichever kind; none where it is not kept."""
        if self.rber == Rber.NONE:
            return ()
        if self.rber == Rber.POWER_LAW:
            return self.rber_constants
        fresh = self.rber_constants[0]
        return (fresh, (self.correctable - fresh) / self.cycles, 1.0, *(0.0, 0.0, 0.0), *(0.0, 0.0, 0.0))

    def bad_blocks(self, blocks: int) -> int:
        """Of so many blocks, those that are bad from the factory."""
        return int(self.factory_bad * blocks)
