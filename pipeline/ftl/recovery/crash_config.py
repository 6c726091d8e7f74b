"""What is asked of a drive that loses power: see `pipeline.ftl.recovery`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from pydantic import Field

from pipeline.ftl._power_loss import HALF, CrashAt, Protection
from pipeline.ftl.config import Config
from pipeline.ftl.placement import Placement
from pipeline.ftl.recovery.config import RecoveryConfig
from pipeline.ftl.recovery.model import Controller
from pipeline.ftl.victim import Victim
from traces.config import ByName, Nanoseconds, spelled

# whose order is a function of what is durable
REBUILT = {
    Victim.GREEDY_FIRST: "valid counts and numbers",
    Victim.FIFO: "the order of closing",
    Victim.RANDOM: "the generator's state, journalled at every erasure",
    Victim.D_CHOICES: "valid counts and the generator's state",
}


class Shutdown(IntEnum):
    """How power goes."""

    CLEAN = 0
    ABNORMAL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashConfig(Controller, RecoveryConfig, Config):
    """A page-mapped drive that loses power, who recovers it, and how. ValueError where the keys do not go together."""

    victim: Annotated[
        ByName[Victim],
        Field(
            description="how garbage collection chooses a block; here one of greedy-first, fifo, random and d-choices, "
            "whose order can be made anew from what is durable"
        ),
    ] = Victim.GREEDY_FIRST
    window: Annotated[
        Nanoseconds,
        Field(ge=0, description="time after which victims are compared once more; 0: about 150 times a run"),
    ] = 0
    crash_at: CrashAt = HALF
    crash_every: Annotated[
        int, Field(ge=0, description="requests from there to the next loss, and so on; 0: there is one")
    ] = 0
    shutdown: Annotated[
        ByName[Shutdown],
        Field(description="clean: counts and victims' order are written out first and nothing is recovered; abnormal"),
    ] = Shutdown.ABNORMAL
    write_buffer: Annotated[
        int, Field(ge=0, le=1 << 24, description="pages that a drive acknowledges before it programs them")
    ] = 256
    power_loss_protection: Protection = True
    journal_records: Annotated[
        int, Field(ge=1, le=1 << 24, description="journal: records after which the counts are written whole")
    ] = 1 << 16
    journal_write: Annotated[
        float, Field(gt=0, description="journal: bytes/ns at which a drive programs it while it runs (ours)")
    ] = 1.0
    scaled_block_pages: Annotated[
        int, Field(ge=1, le=1 << 40, description="pages of a blockset where the model has 1e6 to 1e9 addresses")
    ] = 1 << 16

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        if self.victim not in REBUILT:
            possible = "; ".join(f"{spelled(victim)} (from {source})" for victim, source in REBUILT.items())
            raise ValueError(
                f"victim: the order of {spelled(self.victim)} depends on when blocks lost their pages, which no drive "
                f"keeps through a loss of power; possible are {possible}"
            )
        if self.placement not in (Placement.NONE, Placement.STREAM):
            raise ValueError(
                f"placement: what {spelled(self.placement)} remembers of pages is lost with the power; possible are "
                "none and stream"
            )

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        clean = {"power_loss_protection": "unless shutdown is abnormal"} if self.shutdown == Shutdown.CLEAN else {}
        return Config.idle(self) | clean

    @property
    def protected(self) -> bool:
        """Whether no acknowledged page is lost."""
        return self.power_loss_protection or self.shutdown == Shutdown.CLEAN
