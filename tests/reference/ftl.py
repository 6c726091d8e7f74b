"""A page-mapped drive told in dicts and lists: slow, and plainly right."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean, pstdev
from typing import Any

READ, WRITE, DISCARD, FLUSH, WRITE_ZEROES = range(5)
ZONES = range(5, 15)
M64 = (1 << 64) - 1

Request = tuple[int, int, int, int, int, int]  # at, op, volume, offset, length, stream
Frontier = tuple[str, int]  # who writes there, the class of data


class SplitMix:
    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, n: int) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & M64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        z ^= z >> 31
        return ((z >> 32) * n) >> 32


class PageMapped:
    """One drive. ``victim``, ``frontiers`` and ``placement`` are spelled as configurations spell them."""

    def __init__(
        self,
        blocks: int,
        pages: int,
        logical: int,
        *,
        victim: str = "greedy",
        choices: int = 1,
        window: int = 1,
        frontiers: str = "one",
        reserve: int = 1,
        seed: int = 0,
        placement: str = "none",
        streams: int = 1,
    ) -> None:
        self.pages, self.logical, self.blocks = pages, logical, blocks
        self.victim, self.choices, self.window = victim, choices, window
        self.placement, self.streams = placement, streams
        # pages of one victim may go to the frontiers of all classes
        self.reserve = reserve + (streams - 1 if placement in ("recency", "frequency") else 0)
        self.collector = "host" if frontiers == "one" else "gc"
        self.kind: dict[int, int] = {}  # block -> class of its data
        self.written: dict[int, int] = {}  # page -> clock of its last write, in units
        self.often: dict[int, tuple[int, int]] = {}  # page -> how often it was written, up to which epoch
        self.random = SplitMix(seed)
        self.erased = list(range(blocks))  # in the order in which they will be opened
        self.open: dict[Frontier, int] = {}
        self.closed: list[int] = []  # in the order in which they were closed
        self.cells: dict[int, list[int]] = {b: [] for b in range(blocks)}  # block -> pages in program order
        self.where: dict[int, tuple[int, int]] = {}  # page -> block, slot
        self.changed = dict.fromkeys(range(blocks), 0)  # block -> host pages written when it was last modified
        self.arrived: dict[int, int] = {}  # competing block -> when it came to its count of valid pages
        self.arrivals = self.clock = 0
        self.erases = dict.fromkeys(range(blocks), 0)
        self.count: Counter[str] = Counter()

    # what is valid

    def live(self, block: int) -> list[int]:
        return [p for slot, p in enumerate(self.cells[block]) if self.where.get(p) == (block, slot)]

    def modified(self, block: int) -> None:
        self.changed[block] = self.clock
        if block in self.competing():
            self.arrives(block)

    def arrives(self, block: int) -> None:
        self.arrivals += 1
        self.arrived[block] = self.arrivals

    def competing(self) -> list[int]:
        return self.closed[: self.window] if self.victim == "windowed" else self.closed

    # victims

    def fewest(self, blocks: list[int]) -> int:
        """Of equals the one that came last to its count; of empty ones the first."""
        return min(blocks, key=lambda b: (n := len(self.live(b)), -self.arrived[b] if n else self.arrived[b]))

    def drawn(self) -> int:
        while (block := self.random.below(self.blocks)) not in self.closed:
            pass
        return block

    def worth(self, block: int) -> float:
        valid = len(self.live(block))
        if valid == 0:
            return float("inf")
        return (self.pages - valid) / (2.0 * valid) * (self.clock - self.changed[block])

    def pick(self) -> int:
        if self.victim == "fifo":
            return self.closed[0]
        if self.victim == "random":
            return self.drawn()
        if self.victim == "d-choices":
            return min([self.drawn() for _ in range(self.choices)], key=lambda b: len(self.live(b)))
        if self.victim == "cost-benefit":
            return min(self.closed, key=lambda b: (-self.worth(b), len(self.live(b)), self.arrived[b]))
        if self.victim == "greedy-first":
            return min(self.closed, key=lambda b: (len(self.live(b)), b))
        return self.fewest(self.competing())

    # programming

    def open_block(self, frontier: Frontier) -> None:
        block = self.erased.pop(0)
        self.open[frontier] = block
        self.kind[block] = frontier[1]

    def place(self, frontier: Frontier, page: int) -> None:
        block = self.open[frontier]
        self.cells[block].append(page)
        self.where[page] = (block, len(self.cells[block]) - 1)
        if len(self.cells[block]) == self.pages:
            del self.open[frontier]
            self.closed.append(block)
            self.modified(block)

    def unmap(self, page: int) -> None:
        block, _ = self.where.pop(page)
        self.modified(block)

    def collect(self) -> None:
        victim = self.pick()
        if self.victim == "windowed" and len(self.closed) > self.window:  # the next oldest takes its place
            self.arrives(self.closed[self.window])
        self.closed.remove(victim)
        for page in self.live(victim):
            frontier = self.collector, self.class_of_copy(page, victim)
            if frontier not in self.open:
                self.open_block(frontier)
            self.place(frontier, page)
            self.count["gc"] += 1
        self.cells[victim] = []
        self.erased.append(victim)
        self.erases[victim] += 1
        self.count["erases"] += 1

    # classes of data

    def age(self, page: int, now: int) -> int:
        """Classes up to 1, 4, 16... times the time in which the drive is written once, in 256ths of it."""
        if page not in self.written:
            return self.streams - 1
        age = now - self.written[page]
        return min([k for k in range(self.streams) if age <= 256 * 4**k], default=self.streams - 1)

    def counted(self, page: int, epoch: int) -> int:
        count, then = self.often.get(page, (0, 0))
        return count >> (epoch - then)

    def busy(self, count: int) -> int:
        """The last class for what is written less than 3 times, the one before up to 6, 12..."""
        above = 0
        while above < self.streams - 1 and count >= 3 * 2**above:
            above += 1
        return self.streams - 1 - above

    def class_of(self, page: int, stream: int) -> int:
        if self.placement == "stream":
            return stream % self.streams
        if self.placement == "recency":
            now = self.clock // max(self.logical // 256, 1)
            klass = self.age(page, now)
            self.written[page] = now
            return klass
        if self.placement == "frequency":
            epoch = self.clock // self.logical
            count = min(self.counted(page, epoch) + 1, 255)
            self.often[page] = count, epoch
            return self.busy(count)
        return 0

    def class_of_copy(self, page: int, block: int) -> int:
        if self.placement == "stream":
            return self.kind[block]
        if self.placement == "recency":
            return self.age(page, self.clock // max(self.logical // 256, 1))
        if self.placement == "frequency":
            return self.busy(self.counted(page, self.clock // self.logical))
        return 0

    def make_room(self, frontier: Frontier) -> None:
        while frontier not in self.open or len(self.erased) < self.reserve:
            if len(self.erased) > self.reserve:
                self.open_block(frontier)
            else:
                self.collect()

    def write(self, page: int, stream: int = 0) -> None:
        frontier = "host", self.class_of(page, stream)
        if frontier not in self.open:
            self.make_room(frontier)
        self.clock += 1
        if page in self.where:
            self.unmap(page)
        self.place(frontier, page)
        self.count["host"] += 1

    def prefill(self, kind: str) -> None:
        if kind != "none":
            for page in range(self.logical):
                self.write(page)
        if kind == "random":
            for _ in range(2 * self.logical):
                self.write(self.random.below(self.logical))
        self.count = Counter({"prefill": self.count["host"] + self.count["gc"], "prefill_erases": self.count["erases"]})
        self.erases = dict.fromkeys(range(self.blocks), 0)


class Volume:
    """A drive and the requests it is asked: bytes into pages, and what is counted of them."""

    def __init__(self, drive: PageMapped, page: int, compact: bool, program_zeroes: bool) -> None:
        self.drive, self.page, self.compact, self.program_zeroes = drive, page, compact, program_zeroes
        self.number: dict[int, int] = {}

    def logical(self, page: int, give: bool) -> int | None:
        if not self.compact:
            return page
        if give and page not in self.number:
            self.number[page] = len(self.number)
        return self.number.get(page)

    def serve(self, op: int, offset: int, length: int, stream: int) -> None:
        drive, count = self.drive, self.drive.count
        count["requests"] += 1
        count[str(op if op in range(5) else "zone" if op in ZONES else "unknown")] += 1
        if op not in (READ, WRITE, DISCARD, WRITE_ZEROES):
            return
        if length == 0:
            count["zero_length"] += 1
            return
        end = offset + length
        programs = op == WRITE or (op == WRITE_ZEROES and self.program_zeroes)
        if programs:
            count["bytes_written"] += length
        for number in range(offset // self.page, (end - 1) // self.page + 1):
            whole = offset <= number * self.page and (number + 1) * self.page <= end
            page = self.logical(number, programs)
            mapped = page in drive.where
            if op == READ:
                count["pages_read"] += 1
                count["unmapped_read"] += not mapped
            elif programs or (op == WRITE_ZEROES and mapped and not whole):
                assert page is not None
                drive.write(page, stream)
                count["partial"] += not whole
                count["rmw"] += not whole and mapped
            elif mapped and whole:
                assert page is not None
                drive.unmap(page)
                count["trimmed"] += 1


class Replay:
    """All volumes of a trace: ``drives`` makes the drive of a volume when it is first asked for something."""

    def __init__(self, volumes: dict[int, Volume], window: int, prefill: str) -> None:
        self.volumes, self.window, self.prefill = volumes, window, prefill
        self.rows: dict[tuple[int, int], dict[str, Any]] = {}  # (window, volume) -> its row
        self.met: set[int] = set()

    def replay(self, trace: Iterable[Request]) -> None:
        for at, op, volume, offset, length, stream in trace:
            drive = self.volumes[volume].drive
            if volume not in self.met:
                self.met.add(volume)
                drive.prefill(self.prefill)
            before = Counter(drive.count)
            self.volumes[volume].serve(op, offset, length, stream)
            row = self.rows.setdefault((at // self.window, volume), {"count": Counter()})
            row["count"] += drive.count - before
            row["mapped"], row["erased"] = len(drive.where), len(drive.erased)

    def windows(self) -> list[tuple[Any, ...]]:
        out = []
        for (window, volume), row in sorted(self.rows.items()):
            c = row["count"]
            wa = (c["host"] + c["gc"]) / c["host"] if c["host"] else -1
            what = (c["requests"], c["host"], c["gc"], 0, c["erases"], wa, c["pages_read"], c["trimmed"])
            out.append((window * self.window, volume, *what, row["mapped"], row["erased"]))
        return out

    def summaries(self) -> list[dict[str, Any]]:
        out = []
        for volume in sorted(self.met):
            drive = self.volumes[volume].drive
            c, erases = drive.count, list(drive.erases.values())
            out.append(
                {
                    "volume": volume,
                    "requests": c["requests"],
                    "reads": c["0"],
                    "writes": c["1"],
                    "discards": c["2"],
                    "flushes": c["3"],
                    "write_zeroes": c["4"],
                    "zone_requests": c["zone"],
                    "unknown_requests": c["unknown"],
                    "zero_length": c["zero_length"],
                    "bytes_written": c["bytes_written"],
                    "host_programs": c["host"],
                    "partial_pages": c["partial"],
                    "rmw_pages": c["rmw"],
                    "gc_programs": c["gc"],
                    "programs": c["host"] + c["gc"],
                    "prefill_programs": c["prefill"],
                    "erases": c["erases"],
                    "prefill_erases": c["prefill_erases"],
                    "erases_min": min(erases),
                    "erases_mean": fmean(erases),
                    "erases_max": max(erases),
                    "erases_std": pstdev(erases),
                    "trimmed_pages": c["trimmed"],
                    "mapped_pages": len(drive.where),
                    "pages_read": c["pages_read"],
                    "unmapped_read": c["unmapped_read"],
                }
            )
        return out
