"""Buffers of a zoned drive for writes that come too early, as a dict of blocks: see `pipeline.ftl.zoned.reorder`.

The zones themselves are asked through five functions, whatever keeps them.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Protocol

INVALID_WRITE, BOUNDARY = 0x1BC, 0x1B8
REFUSING = {0xE: 0x1B9, 0xD: 0x1BA, 0xF: 0x1BB}  # full, read only, offline


class Zones(Protocol):
    """Where zones stand."""

    capacity: int

    def state(self, zone: int) -> int:
        """As the specification numbers them."""

    def wp(self, zone: int) -> int:
        """Relative to the zone's start."""

    def claim(self, zone: int) -> int:
        """Resources for a write; a status."""

    def advance(self, zone: int, blocks: int) -> None:
        """Move the write pointer."""


@dataclass(eq=False)
class Write:
    """A write in the buffers; ``left`` of its blocks are still there."""

    row: int
    time: int
    group: tuple[int, ...]
    left: int


@dataclass
class Buffers:
    """The buffers of one namespace."""

    zones: Zones
    count: int  # of zones
    window: int
    quota: int
    group: str = "zone"
    stream_groups: int = 1
    unit: int = 1
    gap_timer: int = 0
    gap_action: str = "error"
    acknowledge: str = "buffer"
    replace: bool = False
    page: int = 1
    extents: int = 1 << 30  # pieces of writes that find room
    tally: Counter[str] = field(default_factory=Counter)
    distances: Counter[int] = field(default_factory=Counter)
    held: Counter[int] = field(default_factory=Counter)
    media: list[tuple[int, int, int]] = field(default_factory=list)  # zone, block, row of each block programmed

    def __post_init__(self) -> None:
        self.buffered: dict[int, dict[int, Write]] = {zone: {} for zone in range(self.count)}
        self.used: dict[tuple[int, ...], int] = defaultdict(int)
        self.gaps: dict[int, int] = {}  # zone: deadline, in the order in which gaps appeared

        self.changed = 0

    def writes(self, zone: int) -> list[Write]:
        """Those in a zone's buffers."""
        return list(dict.fromkeys(self.buffered[zone].values()))

    def pieces(self, instead: dict[int, dict[int, Any]]) -> int:
        """Runs of blocks of one write, if some zones had other blocks in their buffers."""
        total = 0
        for blocks in (self.buffered | instead).values():
            total += sum(block - 1 not in blocks or blocks[block - 1] is not blocks[block] for block in blocks)
        return total

    def settle(self, now: int) -> None:
        """Add up how long how many blocks stood in the buffers."""
        self.tally["occupancy"] += sum(len(each) for each in self.buffered.values()) * (now - self.changed)
        self.changed = now

    def note(self) -> None:
        blocks = sum(len(each) for each in self.buffered.values())
        self.tally["buffered"] = blocks
        self.tally["buffered_writes"] = sum(len(self.writes(zone)) for zone in self.buffered)
        self.tally["peak"] = max(self.tally["peak"], blocks)

    def group_of(self, zone: int, at: int, stream: int) -> tuple[int, ...]:
        return {
            "zone": (zone,),
            "stream": (stream % self.stream_groups,),
            "namespace": (),
            "erase-unit": (zone, at // self.unit),
        }[self.group]

    def put(self, zone: int, at: int, blocks: int, stream: int, time: int, row: int) -> int:
        """Write; the status."""
        self.settle(time)
        status = self._put(zone, at, blocks, stream, time, row)
        self.note()
        return status

    def _refuse(self, cause: str, status: int) -> int:
        self.tally["refused_" + cause] += 1
        return status

    def _put(self, zone: int, at: int, blocks: int, stream: int, time: int, row: int) -> int:
        tally, buffered, wp, end = self.tally, self.buffered[zone], self.zones.wp(zone), at + blocks
        tally["writes"] += 1
        if self.zones.state(zone) in REFUSING:
            return self._refuse("state", REFUSING[self.zones.state(zone)])
        if at < wp:
            return self._refuse("below", INVALID_WRITE)
        self.distances[(at - wp).bit_length()] += 1
        if end > wp + self.window and at > wp:
            return self._refuse("window", INVALID_WRITE)
        if end > self.zones.capacity:
            return self._refuse("boundary", BOUNDARY)
        reached = [block for block in range(at, end) if block in buffered]
        if reached and not self.replace:
            return self._refuse("overlap", INVALID_WRITE)
        group = self.group_of(zone, at, stream)
        given_back = sum(buffered[block].group == group for block in reached)
        if at > wp and self.used[group] - given_back + blocks > self.quota:
            return self._refuse("quota", INVALID_WRITE)
        if at > wp and self.pieces({zone: buffered | dict.fromkeys(range(at, end))}) > self.extents:
            return self._refuse("pool", INVALID_WRITE)
        if status := self.zones.claim(zone):
            return self._refuse("resources", status)
        first = min(buffered, default=None)
        for block in reached:
            old = self._take(zone, block)
            tally["replaced_blocks"] += 1
            tally["replaced_writes"] += old.left == 0
        if at > wp:
            tally["early"] += 1
            self.used[group] += blocks
            write = Write(row, time, group, blocks)
            buffered.update(dict.fromkeys(range(at, end), write))
            if first is None:
                self._begin_gap(zone, time)
            return 0
        tally["in_order"] += 1
        self._program(zone, blocks, row)
        if first is not None and end >= first:
            self._close_gap(zone, time)
        return 0

    def _take(self, zone: int, block: int) -> Write:
        write = self.buffered[zone].pop(block)
        write.left -= 1
        self.used[write.group] -= 1
        return write

    def _program(self, zone: int, blocks: int, row: int) -> None:
        for block in range(self.zones.wp(zone), self.zones.wp(zone) + blocks):
            self.media.append((zone, block, row))
            if (block + 1) % self.page == 0 or block + 1 == self.zones.capacity:
                self.tally["pages"] += 1
        self.tally["padded" if row < 0 else "programmed"] += blocks
        self.zones.advance(zone, blocks)

    def _begin_gap(self, zone: int, time: int) -> None:
        if self.gap_timer:
            self.gaps[zone] = time + self.gap_timer

    def _close_gap(self, zone: int, time: int) -> None:
        """Drain what is contiguous; what is left stands above another gap."""
        self.gaps.pop(zone, None)
        while (block := self.zones.wp(zone)) in self.buffered[zone]:
            write = self._take(zone, block)
            self._program(zone, 1, write.row)
            if write.left == 0:
                self.tally["drained"] += 1
                self.tally["held"] += time - write.time
                self.held[(time - write.time).bit_length()] += 1
        if self.buffered[zone]:
            self._begin_gap(zone, time)

    def drop(self, zone: int, fate: str) -> None:
        """Forget what is buffered of a zone, and count it: lost, late, absent or discarded."""
        self.gaps.pop(zone, None)
        self.tally[fate + "_writes"] += len(self.writes(zone))
        self.tally[fate + "_blocks"] += len(self.buffered[zone])
        for block in list(self.buffered[zone]):
            self._take(zone, block)

    @property
    def _failed(self) -> str:
        return "lost" if self.acknowledge == "buffer" else "late"

    def fire(self, now: int) -> None:
        """Do what is due up to a time."""
        while self.gaps:
            zone = next(iter(self.gaps))
            if self.gaps[zone] > now:
                break
            due = self.gaps.pop(zone)
            self.settle(due)
            self.tally["timeouts"] += 1
            if self.gap_action == "notify":
                self.tally["notified"] += 1
            elif self.gap_action == "pad" and self.zones.claim(zone) == 0:
                self._program(zone, min(self.buffered[zone]) - self.zones.wp(zone), -1)
                self.tally["pads"] += 1
                self._close_gap(zone, due)
            else:
                self.drop(zone, self._failed)
            self.note()

    def read(self, zone: int, at: int, blocks: int) -> list[int]:
        """Rows of the writes that the buffers answer with."""
        rows = [self.buffered[zone][b].row for b in range(at, at + blocks) if b in self.buffered[zone]]
        self.tally["read_blocks"] += len(rows)
        return rows

    def managed(self, zone: int, now: int) -> None:
        """A zone's state was changed by a command: what a reset zone had is discarded, else failed."""
        self.settle(now)
        if self.zones.state(zone) == 1:
            self.drop(zone, "discarded")
        elif self.zones.state(zone) in REFUSING:
            self.drop(zone, self._failed)
        self.note()

    def lose_power(self, protected: bool, now: int) -> None:
        """Keep what was acknowledged if power is backed up, and nothing else."""
        self.settle(now)
        for zone in range(self.count):
            if self.acknowledge == "program":
                self.drop(zone, "absent")
            elif not protected:
                self.drop(zone, "lost")
        self.note()
