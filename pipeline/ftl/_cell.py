"""What a drive's flash is made of: asked once, and answered in times (`pipeline.ftl.nand`) and in wear."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from pydantic import Field

from traces.config import ByName


class Cell(IntEnum):
    """Bits that a flash cell holds."""

    SLC = 1
    MLC = 2
    TLC = 3
    QLC = 4


@dataclass(frozen=True, kw_only=True)
class Flash:
    """The key that timing and wear share."""

    cell: Annotated[
        ByName[Cell],
        Field(
            description="bits in a cell: sets read_time, program_time, erase_time and endurance as far as they are 0"
        ),
    ] = Cell.TLC
