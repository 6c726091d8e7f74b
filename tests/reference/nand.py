"""A drive's dies and channels, told in lists: every operation is kept, nothing is summed up."""

from dataclasses import dataclass, field

REMEMBERED = 32  # idle stretches


@dataclass
class Unit:
    """A die or a channel: idle stretches before ``free``, and what it did."""

    free: int = 0
    idle: list[tuple[int, int]] = field(default_factory=list)
    done: list[tuple[int, int, str]] = field(default_factory=list)
    collects: int = 0
    sensing: tuple[int, int] = (-1, -1)  # row, begin
    programming: tuple[int, int] = (-1, -1)
    refused: int = 0  # idle stretches that were not remembered

    def slip(self, ready: int, length: int, now: int) -> int | None:
        self.idle = [(begin, end) for begin, end in self.idle if end >= now + length]
        for i, (begin, end) in enumerate(self.idle):
            at = max(begin, ready)
            if at + length > end:
                continue
            left = [(begin, at)] if at - begin >= length else []
            right = [(at + length, end)] if end - at - length >= length else []
            if left and right and len(self.idle) == REMEMBERED:
                left = []
            self.idle[i : i + 1] = left + right
            return at
        return None

    def append(self, ready: int, length: int, now: int, least: int) -> int:
        idle, begin = max(self.free, now), max(self.free, ready)
        if begin - idle >= least:
            if len(self.idle) == REMEMBERED and self.idle[0][1] < now:
                self.idle.pop(0)
            if len(self.idle) < REMEMBERED:
                self.idle.append((idle, begin))
            else:
                self.refused += 1
        self.free = begin + length
        return begin


@dataclass
class Place:
    cell: int
    done: int
    blocked: bool


class Flash:
    """What `pipeline.ftl.nand` does to one drive; latencies by kind in ``latencies``."""

    def __init__(
        self,
        *,
        channels: int,
        dies: int,
        planes: int,
        block_pages: int,
        read: int,
        program: int,
        erase: int,
        transfer: int,
        overhead: int,
        buffer: int,
        on_program: bool,
        depth: int | None,
    ) -> None:
        self.planes, self.pages, self.channels = planes, block_pages, channels
        self.apart = 1 << (block_pages - 1).bit_length()
        self.t_read, self.t_program, self.t_erase, self.t_transfer = read, program, erase, transfer
        self.overhead, self.on_program, self.depth = overhead, on_program, depth
        self.die = [Unit() for _ in range(channels * dies)]
        self.channel = [Unit() for _ in range(channels)]
        self.places: list[Place] = []
        self.size = buffer
        self.under_way: list[int] = []
        self.arrival = self.start = self.ready = self.done = 0
        self.blocked = False
        self.copied = self.written = 0
        self.seen: list[int] = []
        self.latencies: dict[str, list[tuple[int, bool]]] = {"read": [], "write": [], "discard": [], "flush": []}

    def begin(self, at: int) -> None:
        self.under_way.sort()
        if self.depth is None:
            self.under_way = [done for done in self.under_way if done > at]
        else:
            at = self.under_way.pop(0) if len(self.under_way) == self.depth else 0
        self.seen.append(len(self.under_way))
        self.arrival, self.blocked = at, False
        self.start = self.ready = self.done = at + self.overhead

    def where(self, cell: int) -> tuple[Unit, Unit, int]:
        block, page = divmod(cell, self.apart)
        row = page // self.planes
        die = row % len(self.die)
        return self.die[die], self.channel[die % self.channels], block * self.apart + row

    def take(self, unit: Unit, ready: int, length: int, what: str) -> int:
        at = unit.slip(ready, length, self.start)
        if at is None:
            at = unit.append(ready, length, self.start, length)
        unit.done.append((at, at + length, what))
        return at

    def after(self, die: Unit, ready: int, length: int, what: str) -> int:
        at = die.append(ready, length, self.start, self.t_read)
        die.done.append((at, at + length, what))
        return at

    def wait(self, die: Unit, ready: int, begin: int) -> None:
        self.blocked |= begin > ready and die.collects > ready

    def sense(self, cell: int, ready: int) -> int:
        held = [place for place in self.places if place.cell == cell]
        if held and held[-1].done > ready:
            return ready
        die, channel, row = self.where(cell)
        if die.sensing[0] != row or die.sensing[1] < ready:
            die.sensing = row, self.take(die, ready, self.t_read, "read")
        self.wait(die, ready, die.sensing[1])
        return self.take(channel, die.sensing[1] + self.t_read, self.t_transfer, "out") + self.t_transfer

    def put(self, cell: int, ready: int) -> int:
        die, channel, row = self.where(cell)
        ready = self.take(channel, ready, self.t_transfer, "in") + self.t_transfer
        if die.programming[0] != row or die.programming[1] < ready:
            die.programming = row, self.after(die, ready, self.t_program, f"program {row}")
        self.wait(die, ready, die.programming[1])
        return die.programming[1] + self.t_program

    def read(self, cell: int) -> None:
        self.done = max(self.done, self.sense(cell, self.ready))
        self.ready = self.start

    def fetch(self, cell: int) -> None:
        self.ready = self.sense(cell, self.ready)

    def answer(self) -> None:
        self.done = max(self.done, self.ready)
        self.ready = self.start

    def program(self, cell: int) -> None:
        accepted, blocked = self.start, self.blocked
        if len(self.places) == self.size:
            oldest = self.places[0]
            if oldest.done > accepted:
                accepted, blocked = oldest.done, blocked or oldest.blocked
        self.blocked = False
        done = self.put(cell, max(accepted, self.ready))
        self.places = [*self.places, Place(cell, done, self.blocked)][-self.size :]
        self.written = max(self.written, done)
        self.ready = self.start
        if self.on_program:
            accepted, blocked = done, blocked or self.blocked
        self.done, self.blocked = max(self.done, accepted), blocked

    def copy(self, source: int, target: int) -> None:
        blocked = self.blocked
        done = self.put(target, self.sense(source, self.start))
        until = done - self.t_program - self.t_transfer
        for cell, end in ((source, until), (target, done)):
            die = self.where(cell)[0]
            die.collects = max(die.collects, end)
        self.copied = max(self.copied, done)
        self.blocked = blocked

    def erase(self) -> None:
        for die in self.die:
            begin = self.after(die, max(self.start, self.copied), self.t_erase, "erase")
            die.collects = begin + self.t_erase
            die.sensing = die.programming = -1, -1
        self.copied = 0

    def flush(self) -> None:
        self.done = max(self.done, self.written)

    def end(self, kind: str) -> int:
        self.done = max(self.done, self.ready)
        latency = self.done - self.arrival
        self.under_way.append(self.done)
        self.latencies[kind].append((latency, self.blocked))
        return latency


def percentile(latencies: list[int], share: float) -> int:
    """The least latency that such a share of them does not exceed."""
    ordered = sorted(latencies)
    return next(each for i, each in enumerate(ordered, start=1) if i >= share * len(ordered) - 1e-9)
