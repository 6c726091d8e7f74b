"""A drive's dies and channels, told in lists: every operation is kept, nothing is summed up."""

from dataclasses import dataclass, field

REMEMBERED = 32  # idle stretches
IN_A_ROW = 32  # reads that go first before a piece of other work does


@dataclass(eq=False)
class Work:
    """A program, an erase or a read for copies that waits for a die."""

    ready: int
    length: int
    what: str
    collects: bool
    number: int = -1  # of programs and erases
    end: int | None = None  # once it has begun


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
    # of dies where reads go first
    copies: list[Work] = field(default_factory=list)
    waiting: list[Work] = field(default_factory=list)
    given: list[Work] = field(default_factory=list)
    copied_row: int = -1
    passed: int = 0
    forced: int = 0  # operations that began because too many waited
    gave_way: int = 0  # reads that waited for a piece of work because so many had gone first
    written: Work | None = None
    collected: Work | None = None

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
        begin = max(self.free, ready)
        self.remember(begin, now, least)
        self.free = begin + length
        return begin

    def remember(self, begin: int, now: int, least: int) -> None:
        idle = max(self.free, now)
        if begin - idle >= least:
            if len(self.idle) == REMEMBERED and self.idle[0][1] < now:
                self.idle.pop(0)
            if len(self.idle) < REMEMBERED:
                self.idle.append((idle, begin))
            else:
                self.refused += 1

    def start_next(self, now: int, least: int) -> None:
        """Begin the next piece of work."""
        work = (self.copies or self.waiting).pop(0)
        begin = max(self.free, work.ready)
        self.remember(begin, now, least)
        self.free = work.end = begin + work.length
        self.done.append((begin, self.free, work.what))
        self.passed = 0
        if work.collects:
            self.collects = self.free

    def advance(self, until: int, now: int, least: int) -> None:
        while (left := self.copies or self.waiting) and max(self.free, left[0].ready) < until:
            self.start_next(now, least)

    def end_of(self, work: Work) -> int:
        """If no further read comes: all that waits, one after the other."""
        if work.end is not None:
            return work.end
        free = self.free
        for each in (*self.copies, *self.waiting):
            free = max(free, each.ready) + each.length
            if each is work:
                break
        return free


@dataclass
class Place:
    cell: int
    done: int
    blocked: bool
    work: Work | None = None


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
        ring: int | None,
    ) -> None:
        self.planes, self.pages, self.channels = planes, block_pages, channels
        self.apart = 1 << (block_pages - 1).bit_length()
        self.t_read, self.t_program, self.t_erase, self.t_transfer = read, program, erase, transfer
        self.overhead, self.on_program, self.depth = overhead, on_program, depth
        self.ring = ring  # operations that a die tells apart where reads go first, None where they do not
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

    def give(self, die: Unit, ready: int, length: int, what: str, collects: bool) -> Work:
        """A program or an erase for a die where reads go first."""
        if len(die.waiting) == self.ring:
            die.advance(self.start, self.start, self.t_read)
            while len(die.waiting) == self.ring:
                die.start_next(self.start, self.t_read)
                die.forced += 1
        work = Work(ready, length, what, collects, len(die.given))
        die.waiting.append(work)
        die.given.append(work)
        return work

    def goes_first(self, die: Unit, ready: int) -> int:
        """When a read of the host begins that waits for what the die does, and not for what waits."""
        begin = die.slip(ready, self.t_read, self.start)
        if begin is None:
            die.advance(ready, self.start, self.t_read)
            begin = max(ready, die.free)
            waits = bool(die.copies) or bool(die.waiting and die.waiting[0].ready <= begin)
            if waits and die.passed == IN_A_ROW:
                die.start_next(self.start, self.t_read)
                die.gave_way += 1
                begin = die.free
            die.passed = die.passed + 1 if waits else 0
            die.remember(begin, self.start, self.t_read)
            die.free = begin + self.t_read
        die.done.append((begin, begin + self.t_read, "read"))
        return begin

    def comes_next(self, die: Unit, row: int) -> int:
        """When a read for copies begins: before programs, behind the host's reads."""
        die.advance(self.start, self.start, self.t_read)
        if not die.copies or die.copied_row != row:
            die.copies.append(Work(self.start, self.t_read, "read", True))
            die.copied_row = row
        return die.end_of(die.copies[-1]) - self.t_read

    def due(self, place: Place) -> int:
        """When a place of the buffer is free again."""
        if self.ring is None or place.work is None:
            return place.done
        die = self.where(place.cell)[0]
        return place.done if len(die.given) - place.work.number > self.ring else die.end_of(place.work)

    def wait(self, die: Unit, ready: int, begin: int) -> None:
        self.blocked |= begin > ready and die.collects > ready

    def sense(self, cell: int, ready: int, copies: bool = False) -> int:
        held = [place for place in self.places if place.cell == cell]
        if held and self.due(held[-1]) > ready:
            return ready
        die, channel, row = self.where(cell)
        if copies and self.ring is not None:
            begin = self.comes_next(die, row)
            return self.take(channel, begin + self.t_read, self.t_transfer, "out") + self.t_transfer
        if die.sensing[0] != row or die.sensing[1] < ready:
            if self.ring is None:
                die.sensing = row, self.take(die, ready, self.t_read, "read")
            else:
                die.sensing = row, self.goes_first(die, ready)
        self.wait(die, ready, die.sensing[1])
        return self.take(channel, die.sensing[1] + self.t_read, self.t_transfer, "out") + self.t_transfer

    def put(self, cell: int, ready: int, collects: bool = False) -> int:
        die, channel, row = self.where(cell)
        ready = self.take(channel, ready, self.t_transfer, "in") + self.t_transfer
        if self.ring is not None:
            if die.programming[0] != row or die.end_of(die.given[-1]) - self.t_program < ready:
                self.give(die, ready, self.t_program, f"program {row}", collects)
                die.programming = row, 0
            end, until = die.end_of(die.given[-1]), die.collects
            if die.collected and len(die.given) - die.collected.number <= self.ring:
                until = max(until, die.end_of(die.collected))
            if die.copies:
                until = max(until, die.end_of(die.copies[-1]))
            self.blocked |= end - self.t_program > ready and until > ready
            return end
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
            if self.due(oldest) > accepted:
                accepted, blocked = self.due(oldest), blocked or oldest.blocked
        self.blocked = False
        done = self.put(cell, max(accepted, self.ready))
        die = self.where(cell)[0]
        if self.ring is not None:
            die.written = die.given[-1]
        self.places = [*self.places, Place(cell, done, self.blocked, die.written)][-self.size :]
        self.written = max(self.written, done)
        self.ready = self.start
        if self.on_program:
            accepted, blocked = done, blocked or self.blocked
        self.done, self.blocked = max(self.done, accepted), blocked

    def copy(self, source: int, target: int) -> None:
        blocked = self.blocked
        done = self.put(target, self.sense(source, self.start, True), True)
        if self.ring is None:
            until = done - self.t_program - self.t_transfer
            for cell, end in ((source, until), (target, done)):
                die = self.where(cell)[0]
                die.collects = max(die.collects, end)
        else:
            die = self.where(target)[0]
            die.collected = die.given[-1]
        self.copied = max(self.copied, done)
        self.blocked = blocked

    def erase(self) -> None:
        for die in self.die:
            ready = max(self.start, self.copied)
            if self.ring is None:
                die.collects = self.after(die, ready, self.t_erase, "erase") + self.t_erase
            else:
                die.collected = self.give(die, ready, self.t_erase, "erase", True)
            die.sensing = die.programming = -1, -1
        self.copied = 0

    def flush(self) -> None:
        self.done = max(self.done, self.written)
        for die in self.die:
            if die.written is not None and len(die.given) - die.written.number <= (self.ring or 0):
                self.done = max(self.done, die.end_of(die.written))

    def settle(self) -> None:
        """All that waits is done."""
        for die in self.die:
            while die.copies or die.waiting:
                die.start_next(self.start, self.t_read)

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
