"""A trace played faster or slower: every time multiplied by one factor.

The factor is an exact fraction, and a time becomes ``floor(time * factor)``: never through a float. Latencies stay:
they are the recorded device's, not the host's.

Nobody else's clock runs at the new speed: the trace made has none that relates it to others, not to those of one world
either. Causes in these are left out, and a note says how many.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import polars as pl
from pydantic import Field

from traces.errors import TraceError
from traces.made import Ingested
from traces.progress import Progress, nobody
from traces.store import Store
from traces.tools.derive import Wanted, derive, parent

_TERM = 10**9  # the largest numerator and denominator: (time % denominator) * numerator then stays below 2**60
_LAST = (1 << 63) - 1  # ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """By how much. ValueError where that is no positive fraction."""

    factor: Annotated[str, Field(description="what times are multiplied with: 0.5, 3 or 1/3")]

    def __post_init__(self) -> None:
        if not 0 < self.fraction.numerator <= _TERM or self.fraction.denominator > _TERM:
            raise ValueError(f"'{self.factor}' must be above 0, with numerator and denominator up to {_TERM}")

    @property
    def fraction(self) -> Fraction:
        """The factor itself."""
        try:
            return Fraction(self.factor)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"'{self.factor}' is no factor; write it like 0.5, 3 or 1/3") from None


def rescale(
    store: Store,
    trace: str,
    config: Rescale,
    name: str,
    *,
    replace: bool = False,
    progress: Progress = nobody,  # records read, records in all
) -> Ingested:
    """Keep a trace with all times multiplied; see `traces.tools.derive.derive`. TraceError if it would be too long."""
    whole = parent(store, trace, "rescale")
    factor = config.fraction
    if whole.info.span * factor > _LAST:
        raise TraceError(f"'{trace}' lasts {whole.info.span} ns: {factor} times that is more than {_LAST} ns")
    above, below = pl.lit(factor.numerator, pl.UInt64), pl.lit(factor.denominator, pl.UInt64)

    def scaled(time: pl.Expr) -> pl.Expr:
        return time // below * above + time % below * above // below

    def batches(columns: Iterable[str] | None, tell: Callable[[int], None]) -> Iterator[pl.DataFrame]:
        for batch in whole.rows(columns, progress=tell):
            yield batch.with_columns(scaled(pl.col("time")))

    wanted = Wanted(
        tool="rescale",
        parents=(whole,),
        config=config,
        # what is left of a clock when it runs at another speed; an order stays one
        clock="ordinal" if whole.info.clock == "ordinal" else "relative",
        batches=batches,
        volumes=whole.volumes if whole.place else None,
        module=__name__,
        times=(scaled,),
        same_rows=True,
    )
    return derive(wanted, name, replace=replace, progress=progress)
