"""Logical-to-physical maps told in dicts and lists: slow, and plainly right.

Every map is a drive whose map pages are logical pages behind the data's. A pointer is where the drive's cell is:
block and slot, or None where nothing is mapped.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.reference import learned
from tests.reference.ftl import DISCARD, READ, WRITE, WRITE_ZEROES, ZONES, Frontier, PageMapped, Request

Pointer = tuple[int, int] | None
SLACK = 32  # blocks: so many pages' pointers may wait beyond the batch while blocks are collected


class StoppedError(Exception):
    """The drive can go no further."""


class Bound(PageMapped):
    """A drive whose pages from ``bound`` on are a class of their own; it remembers what a collection copied."""

    def __init__(self, blocks: int, pages: int, logical: int, bound: int, **how: Any) -> None:
        super().__init__(blocks, pages, logical, **how)
        self.bound = bound
        self.reserve += logical > bound
        self.copied: list[int] | None = None

    def class_of(self, page: int, stream: int) -> int:
        return int(page >= self.bound)

    def class_of_copy(self, page: int, block: int) -> int:
        return int(page >= self.bound)

    def place(self, frontier: Frontier, page: int) -> None:
        super().place(frontier, page)
        if self.copied is not None:
            self.copied.append(page)

    def collected(self) -> list[int]:
        self.copied = []
        self.collect()
        out, self.copied = self.copied, None
        return out


class Flat:
    """The whole map in DRAM: the drive's own."""

    def __init__(self, drive: Bound) -> None:
        self.drive, self.count = drive, Counter[str]()
        self.tries = 0  # collections for one page that the host asks for

    def pointer(self, page: int) -> Pointer:
        """What the map says, told without counting."""
        return self.drive.where.get(page)

    def find(self, page: int) -> Pointer:
        """What the map says of a page that the host reads."""
        return self.pointer(page)

    def write(self, page: int) -> None:
        self.drive.write(page)

    def trim(self, page: int) -> None:
        self.drive.unmap(page)

    def mapped(self, page: int | None) -> bool:
        return page in self.drive.where

    def settle(self) -> None:
        """What a prefill ends with."""

    def figures(self) -> dict[str, int]:
        return {"segments": 0, "approximate_segments": 0}

    def crash(self, protected: bool) -> Counter[str]:
        return Counter()

    # what the host asks

    def read(self, page: int | None) -> None:
        self.count["lookups"] += 1
        self.tries = 0
        if page is None:
            self.count["absent"] += 1
        elif self.find(page) is not None:
            self.count["data_reads"] += 1


class InFlash(Flat):
    """Map pages of ``targets`` pointers in flash; ``durable`` is what they say, ``waiting`` what they do not yet."""

    def __init__(self, drive: Bound, *, targets: int, batch: int, flush: str = "most") -> None:
        super().__init__(drive)
        self.targets, self.batch, self.flush = targets, batch, flush
        self.durable: dict[int, Pointer] = {}
        self.waiting: dict[int, dict[int, Pointer]] = {}  # map page -> page -> pointer
        self.arrived: dict[int, int] = {}
        self.arrivals = 0

    def first(self, structure: int) -> Pointer:
        return self.drive.where.get(self.drive.bound + structure)

    def held(self) -> int:
        return sum(map(len, self.waiting.values()))

    def put(self, page: int, pointer: Pointer) -> None:
        structure = page // self.targets
        mine = self.waiting.setdefault(structure, {})
        if page not in mine and (self.flush == "most" or not mine):
            self.arrivals += 1
            self.arrived[structure] = self.arrivals
        mine[page] = pointer
        self.count["peak"] = max(self.count["peak"], self.held())

    def chosen(self) -> int:
        most = max(map(len, self.waiting.values())) if self.flush == "most" else 0
        return min((t for t, mine in self.waiting.items() if len(mine) >= most), key=lambda t: self.arrived[t])

    def collect(self) -> None:
        self.tries += 1
        if self.held() + self.drive.pages > self.batch + SLACK * self.drive.pages or self.tries > 8 * (
            self.drive.blocks + 8
        ):
            raise StoppedError
        for page in self.drive.collected():
            if page < self.drive.bound:
                self.moved(page)
            else:
                self.count["gc_map"] += 1

    def moved(self, page: int) -> None:
        raise NotImplementedError

    def changes(self, structure: int) -> dict[int, Pointer]:
        """What a rewrite brings to flash."""
        return self.waiting.get(structure, {})

    def map_room(self) -> None:
        while ("host", 1) not in self.drive.open:
            if len(self.drive.erased) > 1:
                self.drive.open_block(("host", 1))
            else:
                self.collect()

    def rewrite(self, structure: int) -> None:
        changes = self.changes(structure)
        first = structure * self.targets
        size = min(self.targets, self.drive.bound - first)
        if self.first(structure) is not None and len(changes) < size:
            self.count["rewrite_reads"] += 1
        self.durable |= changes
        self.waiting.pop(structure, None)
        page = self.drive.bound + structure
        if page in self.drive.where:
            self.drive.unmap(page)
        self.drive.place(("host", 1), page)
        self.count["map"] += 1

    def drain(self) -> None:
        while self.held() >= self.batch:
            self.map_room()
            self.rewrite(self.chosen())

    def program(self, page: int) -> None:
        drive = self.drive
        while ("host", 0) not in drive.open:
            if len(drive.erased) > drive.reserve:
                drive.open_block(("host", 0))
            else:
                self.collect()
                self.drain()
        drive.write(page)

    def fetched(self, page: int, why: str) -> Pointer:
        """Read the pointer out of the map page."""
        self.count[why] += 1
        return self.durable.get(page)

    def reverted(self, page: int) -> str:
        """Go back to what the map page says, if it is still there; what became of the page."""
        drive, old = self.drive, self.durable.get(page)
        if old == drive.where.get(page):
            return "same"
        if page in drive.where:
            drive.unmap(page)
        if old is None:
            return "gone"
        block, slot = old
        if drive.cells[block][slot : slot + 1] != [page]:
            self.durable[page] = None
            return "lost"
        drive.where[page] = old
        drive.modified(block)
        return "reverted"


class TwoLevel(InFlash):
    def __init__(self, drive: Bound, *, cached: int, policy: str, **how: Any) -> None:
        super().__init__(drive, **how)
        self.cached, self.policy = cached, policy
        self.slots: dict[int, list[tuple[int, Pointer]]] = {}  # structure -> (page, pointer), those to go last
        self.direct: dict[tuple[int, int], tuple[int, Pointer]] = {}  # (structure, slot)

    def slot(self, page: int) -> Pointer:
        if self.policy == "direct":
            have = self.direct.get((page // self.targets, page % self.targets % max(self.cached, 1)))
            return have[1] if have and have[0] == page else None
        return dict(self.slots.get(page // self.targets, [])).get(page)

    def update(self, page: int, pointer: Pointer) -> None:
        """In place, if it is there."""
        if self.slot(page) is None:
            return
        if self.policy == "direct":
            key = page // self.targets, page % self.targets % self.cached
            if pointer is None:
                del self.direct[key]
            else:
                self.direct[key] = page, pointer
            return
        mine = self.slots[page // self.targets]
        mine[:] = [(p, pointer if p == page else old) for p, old in mine if p != page or pointer is not None]

    def keep(self, page: int, pointer: Pointer) -> None:
        """Give it a slot, if the policy does."""
        if not self.cached:
            return
        if self.policy == "direct":
            self.direct[page // self.targets, page % self.targets % self.cached] = page, pointer
            return
        mine = self.slots.setdefault(page // self.targets, [])
        if self.policy == "fifo" and page in dict(mine):
            self.update(page, pointer)
            return
        mine[:] = [(page, pointer), *((p, old) for p, old in mine if p != page)][: self.cached]

    def pointer(self, page: int) -> Pointer:
        have = self.slot(page)
        mine = self.waiting.get(page // self.targets, {})
        return have if have is not None else mine[page] if page in mine else self.durable.get(page)

    def find(self, page: int) -> Pointer:
        mine = self.waiting.get(page // self.targets, {})
        pointer = self.slot(page)
        if pointer is not None:
            self.count["cached_hits"] += 1
        elif page in mine:
            self.count["buffer_hits"] += 1
            pointer = mine[page]
        elif self.first(page // self.targets) is None:
            self.count["absent"] += 1
        else:
            pointer = self.fetched(page, "map_reads")
        if pointer is not None and self.policy != "write-only":
            self.keep(page, pointer)
        return pointer

    def changed(self, page: int) -> None:
        self.count["updates"] += 1
        self.tries = 0
        self.count["update_hits"] += self.slot(page) is not None or page in self.waiting.get(page // self.targets, {})

    def write(self, page: int) -> None:
        self.changed(page)
        self.program(page)
        self.keep(page, self.drive.where[page])
        self.put(page, self.drive.where[page])
        self.drain()

    def trim(self, page: int) -> None:
        self.changed(page)
        self.drive.unmap(page)
        self.update(page, None)
        self.put(page, None)
        self.drain()

    def moved(self, page: int) -> None:
        self.update(page, self.drive.where[page])
        self.put(page, self.drive.where[page])

    def crash(self, protected: bool) -> Counter[str]:
        self.slots, self.direct = {}, {}
        out: Counter[str] = Counter()
        if not protected:
            for page in sorted(page for mine in self.waiting.values() for page in mine):
                out[self.reverted(page)] += 1
            self.waiting = {}
        return out


class Dftl(InFlash):
    def __init__(self, drive: Bound, *, entries: int, protected: int, **how: Any) -> None:
        super().__init__(drive, batch=1, **how)
        self.entries, self.protected = entries, protected
        self.probation: list[int] = []  # latest first
        self.safe: list[int] = []  # met again while on probation
        self.cmt: dict[int, Pointer] = {}
        self.dirty: set[int] = set()

    def pointer(self, page: int) -> Pointer:
        mine = self.waiting.get(page // self.targets, {})
        return self.cmt[page] if page in self.cmt else mine[page] if page in mine else self.durable.get(page)

    def changes(self, structure: int) -> dict[int, Pointer]:
        mine = {page for page in self.dirty if page // self.targets == structure}
        self.dirty -= mine
        return super().changes(structure) | {page: self.cmt[page] for page in mine}

    def touch(self, page: int) -> None:
        if not self.protected:
            self.probation.remove(page)
            self.probation.insert(0, page)
            return
        (self.safe if page in self.safe else self.probation).remove(page)
        self.safe.insert(0, page)
        if len(self.safe) > self.protected:
            self.probation.insert(0, self.safe.pop())

    def fetch(self, page: int, write: bool) -> bool:
        """Bring the pointer into the cache; whether it was there. A read of what has no map page brings nothing."""
        if page in self.cmt:
            self.touch(page)
            return True
        if not write and self.first(page // self.targets) is None:
            self.count["absent"] += 1
            return False
        if len(self.cmt) == self.entries:
            last = (self.probation or self.safe)[-1]
            if last in self.dirty:
                self.map_room()
                self.rewrite(last // self.targets)
            (self.probation or self.safe).pop()
            del self.cmt[last]
            self.drain()
        known = self.first(page // self.targets) is not None
        self.cmt[page] = self.fetched(page, "update_reads" if write else "map_reads") if known else None
        self.probation.insert(0, page)
        return False

    def find(self, page: int) -> Pointer:
        self.count["cached_hits"] += self.fetch(page, False)
        return self.cmt.get(page)

    def write(self, page: int) -> None:
        self.count["updates"] += 1
        self.tries = 0
        self.count["update_hits"] += self.fetch(page, True)
        self.program(page)
        self.cmt[page] = self.drive.where[page]
        self.dirty.add(page)

    def trim(self, page: int) -> None:
        self.count["updates"] += 1
        self.tries = 0
        self.count["update_hits"] += self.fetch(page, True)
        self.drive.unmap(page)
        self.cmt[page] = None
        self.dirty.add(page)

    def moved(self, page: int) -> None:
        if page in self.cmt:
            self.cmt[page] = self.drive.where[page]
            self.dirty.add(page)
        else:
            self.put(page, self.drive.where[page])

    def crash(self, protected: bool) -> Counter[str]:
        out: Counter[str] = Counter()
        if not protected:
            for page in sorted(self.dirty):
                out[self.reverted(page)] += 1
            self.dirty = set()
        self.cmt = {page: self.cmt[page] for page in self.dirty}
        self.probation = [page for page in self.probation if page in self.cmt]
        self.safe = [page for page in self.safe if page in self.cmt]
        return out


class Learned(Flat):
    """Lines in DRAM, and a buffer that sorts what is written."""

    def __init__(self, drive: Bound, *, gamma: int, shift: int, buffer: int, compact_every: int) -> None:
        super().__init__(drive)
        self.most = max(buffer, drive.pages)
        self.gamma, self.shift, self.size, self.compact_every = gamma, shift, buffer, compact_every
        self.lines = learned.Learned(gamma, drive.pages, shift, self.most)
        self.buffer: list[int] = []
        self.programmed = 0  # since the latest compaction

    def mapped(self, page: int | None) -> bool:
        return page in self.drive.where or page in self.buffer

    def cell(self, page: int) -> int:
        block, slot = self.drive.where[page]
        return (block << self.shift) + slot

    def learn(self, pages: list[int]) -> None:
        self.lines.learn(pages, [self.cell(page) for page in pages])

    def approximate(self, page: int) -> bool:
        """Whether the line that tells of the page may be wrong."""
        levels = self.lines.groups.get(page // learned.GROUP, [])
        return any(seg.approximate and page % learned.GROUP in seg.pages for level in levels for seg in level)

    def pointer(self, page: int) -> Pointer:
        guess, found, _ = self.lines.predict(page)
        if not found:
            return None
        assert abs(guess - self.cell(page)) <= self.gamma
        assert guess >> self.shift == self.cell(page) >> self.shift
        return self.drive.where[page]

    def find(self, page: int) -> Pointer:
        if page in self.buffer:
            self.count["buffer_hits"] += 1
            return None
        guess, found, _ = self.lines.predict(page)
        if not found:
            self.count["absent"] += 1
            return None
        self.count["cached_hits" if guess == self.cell(page) else "map_reads"] += 1
        return self.drive.where[page]

    def program_buffer(self) -> None:
        drive, pages = self.drive, sorted(self.buffer)
        for page in pages:
            if ("host", 0) not in drive.open:
                while ("host", 0) not in drive.open or len(drive.erased) < drive.reserve:
                    if len(drive.erased) > drive.reserve:
                        drive.open_block(("host", 0))
                    else:
                        self.learn(drive.collected())
            self.count["update_reads"] += self.approximate(page)
            drive.write(page)
        self.learn(pages)
        self.buffer = []
        self.programmed += len(pages)
        if self.compact_every and self.programmed >= self.compact_every:
            self.lines.compact()
            self.programmed = 0

    def settle(self) -> None:
        self.program_buffer()

    def figures(self) -> dict[str, int]:
        told = self.lines.figures()
        lines = told["accurate"] + told["approximate"]
        return {
            "segments": lines,
            "approximate_segments": told["approximate"],
            "dram_end_bytes": 8 * lines
            + told["covered"]
            + told["approximate"]
            + 4 * -(-self.drive.bound // learned.GROUP)
            + 20 * self.size,
            "waiting_pages": len(self.buffer),
        }

    def changed(self, page: int) -> None:
        self.count["updates"] += 1
        self.count["update_hits"] += page in self.buffer or not self.approximate(page)

    def write(self, page: int) -> None:
        self.changed(page)
        if page in self.buffer:
            self.count["spared"] += 1
            return
        self.buffer.append(page)
        self.count["peak"] = max(self.count["peak"], len(self.buffer))
        if len(self.buffer) == self.size:
            self.program_buffer()

    def trim(self, page: int) -> None:
        self.changed(page)
        if page in self.drive.where:
            self.count["update_reads"] += self.approximate(page)
            self.drive.unmap(page)
            self.lines.forget(page)
        if page in self.buffer:
            self.count["spared"] += 1
            self.buffer.remove(page)

    def crash(self, protected: bool) -> Counter[str]:
        out: Counter[str] = Counter()
        if not protected:
            out.update("reverted" if page in self.drive.where else "gone" for page in self.buffer)
            self.buffer = []
        self.lines = learned.Learned(self.gamma, self.drive.pages, self.shift, self.most)
        for block in range(self.drive.blocks):
            self.learn(self.drive.live(block))
        return out


class Volume:
    """One map and the requests that it is asked: bytes into pages."""

    def __init__(self, kind: Flat, page: int, *, compact: bool, program_zeroes: bool) -> None:
        self.map, self.page, self.compact, self.program_zeroes = kind, page, compact, program_zeroes
        self.number: dict[int, int] = {}
        self.given = 0
        self.stopped = False

    def logical(self, page: int, give: bool) -> int | None:
        if not self.compact:
            return page
        if give and page not in self.number:
            self.number[page] = len(self.number)
        return self.number.get(page)

    def prefill(self, kind: str) -> None:
        drive = self.map.drive
        pages = list(range(drive.bound)) if kind != "none" else []
        try:
            for page in pages:
                self.map.write(page)
            for _ in range(2 * drive.bound if kind == "random" else 0):
                self.map.write(drive.random.below(drive.bound))
        except StoppedError:
            self.stopped = True
        self.map.settle()
        count = drive.count
        programs = count["host"] + count["gc"] + self.map.count["map"]
        drive.count = Counter({"prefill": programs, "prefill_erases": count["erases"]})
        drive.erases = dict.fromkeys(range(drive.blocks), 0)
        self.map.count = Counter({"peak": self.map.count["peak"]})

    def serve(self, request: Request) -> None:
        self.given += 1
        if self.stopped:
            return
        self.map.drive.count["requests"] += 1
        try:
            self.pages(*request[1:2], *request[3:5])
        except StoppedError:
            self.stopped = True
            self.map.drive.count["requests"] -= 1

    def pages(self, op: int, offset: int, length: int) -> None:
        count = self.map.drive.count
        if op in ZONES or op not in (READ, WRITE, DISCARD, WRITE_ZEROES) or length == 0:
            return
        end = offset + length
        programs = op == WRITE or (op == WRITE_ZEROES and self.program_zeroes)
        for number in range(offset // self.page, (end - 1) // self.page + 1):
            whole = offset <= number * self.page and (number + 1) * self.page <= end
            page = self.logical(number, programs)
            mapped = self.map.mapped(page)
            if op == READ:
                count["pages_read"] += 1
                count["unmapped_read"] += not mapped
                self.map.read(page)
            elif programs or (op == WRITE_ZEROES and mapped and not whole):
                assert page is not None
                if mapped and not whole:
                    count["rmw"] += 1
                    self.map.read(page)
                self.map.write(page)
            elif mapped and whole:
                assert page is not None
                self.map.trim(page)
                count["trimmed"] += 1


def replay(volumes: dict[int, Volume], prefill: str, trace: Iterable[Request], crash_at: int, plp: bool) -> None:
    met: set[int] = set()
    given = 0

    def crash_if_due() -> None:
        for number in met if given == crash_at else ():
            volume = volumes[number]
            if not volume.stopped:
                volume.map.count.update(volume.map.crash(plp))

    for request in trace:
        crash_if_due()
        given += 1
        volume = volumes[request[2]]
        if request[2] not in met:
            met.add(request[2])
            volume.prefill(prefill)
        volume.serve(request)
    crash_if_due()


def summary(volume: Volume) -> dict[str, int]:
    drive, count = volume.map.drive, volume.map.count
    data = ("lookups", "absent", "cached_hits", "buffer_hits", "data_reads", "map_reads", "updates", "update_hits")
    return {
        "requests": drive.count["requests"],
        "unserved": volume.given - drive.count["requests"],
        "host_programs": drive.count["host"],
        "map_programs": count["map"],
        "gc_programs": drive.count["gc"],
        "gc_map_programs": count["gc_map"],
        "prefill_programs": drive.count["prefill"],
        "erases": drive.count["erases"],
        "pages_read": drive.count["pages_read"],
        "unmapped_read": drive.count["unmapped_read"],
        "trimmed_pages": drive.count["trimmed"],
        "mapped_pages": sum(volume.map.mapped(page) for page in range(drive.bound)),
        "update_reads": count["update_reads"],
        "rewrite_reads": count["rewrite_reads"],
        "reverted_pages": count["reverted"],
        "gone_pages": count["gone"],
        "lost_pages": count["lost"],
        "buffer_peak": count["peak"],
        "spared_programs": count["spared"],
        **{name: count[name] for name in data},
        **volume.map.figures(),
    }
