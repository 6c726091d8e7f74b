"""A page-mapped drive with all that it can be asked: its map and spare, the time it takes, the wear of its flash."""

from dataclasses import dataclass

from pipeline.ftl.config import Config
from pipeline.ftl.nand.config import Loop, Timing
from pipeline.ftl.wear.config import Wearing


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMappedConfig(Timing, Wearing, Config):
    """A page-mapped drive, and how the trace meets it. ValueError where the keys do not go together."""

    def __post_init__(self) -> None:
        Wearing.__post_init__(self)
        self.check_timing(self.block_pages)
        Config.__post_init__(self)

    def idle(self) -> dict[str, str]:
        """Keys that change nothing because of what others are, and when."""
        out = Config.idle(self) | Timing.idle(self) | Wearing.idle(self)
        if self.factory_bad or ("endurance_spread" not in out and self.endurance_spread):
            out.pop("seed", None)
        if self.timing == Loop.OFF and not self.wears:
            out["cell"] = "while timing is off and nothing asks for wear"
        return out

    @property
    def held(self) -> int:
        """Blocks that are kept erased: for copies, and one to take the place of a block that is retired."""
        held: int = Config.held.__get__(self)
        return held + self.spared

    def blocks(self, volume: int) -> int:
        """Physical blocks of a volume's drive, those among them that are bad; ValueError if they cannot work."""
        blocks = Config.blocks(self, volume)
        good = blocks - self.bad_blocks(blocks)
        least = self.logical(volume) // self.block_pages + self.held + self.open
        if good < least:
            raise ValueError(
                f"factory_bad {self.factory_bad} leaves {good} of volume {volume}'s {blocks} blocks, and it needs "
                f"{least}: raise spare"
            )
        return blocks
