"""Rings, an agent that polls them, and the checksum of messages, told in plain Python: slow, and plainly right."""

from dataclasses import dataclass, field


def crc32c(data: bytes) -> int:
    """Bit by bit, as its definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


@dataclass
class Record:
    """What became of one attempt to write."""

    full: bool = False
    seen: int = -1  # when
    done: int = -1
    sequence: int = -1
    address: int = -1


@dataclass
class Channel:
    """All rings, and one agent, moved on from tick to tick."""

    size: int  # bytes of a ring
    tick: int  # when the agent looks next
    poll: int
    handling: int
    free: int = 0  # when the agent is done with what it has
    waiting: list[Record] = field(default_factory=list)  # published, not seen
    rings: dict[int, list[tuple[Record, int]]] = field(default_factory=dict)  # with their bytes, done or not
    heads: dict[int, int] = field(default_factory=dict)  # bytes ever written
    numbers: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """What happens at the next tick."""
        if self.tick >= self.free:
            at = self.tick
            for record in self.waiting:
                at += self.handling
                record.seen, record.done = self.tick, at
            self.free, self.waiting = at, []
        self.tick += self.poll

    def write(self, now: int, ring: int, length: int, torn: bool) -> Record:
        """A producer's attempt."""
        while self.tick < now:
            self.look()
        inside = self.rings.setdefault(ring, [])
        inside[:] = [(each, size) for each, size in inside if each.done == -1 or each.done >= now]
        size = 64 + -(-length // 64) * 64
        head = self.heads.setdefault(ring, 0)
        record = Record(sequence=self.numbers.setdefault(ring, 0), address=head % self.size)
        if sum(each for _, each in inside) + size > self.size:
            record.full = True
        elif not torn:
            inside.append((record, size))
            self.waiting.append(record)
            self.heads[ring] += size
            self.numbers[ring] += 1
        return record
