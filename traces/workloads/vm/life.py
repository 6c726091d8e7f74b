"""The phases of a virtual machine's life, one after the other: what `traces.workloads.vm_life` promises."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from traces.amounts import duration
from traces.kernel import kernel
from traces.table import I64, U64
from traces.truth import TraceRecords
from traces.workloads.draws import Shuffle, draws, new_shuffle, shuffled
from traces.workloads.vm import boot
from traces.workloads.vm.drive import page_of, submit
from traces.workloads.vm.guest import live as until_then
from traces.workloads.vm.guest import room
from traces.workloads.vm.rows import Taken, dirty_rows
from traces.workloads.vm.state import (
    BLOCK,
    CONFIG,
    DURABLE,
    JOURNAL,
    NEVER,
    PAGE,
    READ,
    WRITE,
    Cause,
    Extent,
    Guest,
    iovas,
    new_guest,
)
from traces.workloads.world import Era, Part, told
from traces.workloads.zipf import draw_ranks, law_of

if TYPE_CHECKING:
    from traces.workloads.vm_life import VmLife

_RANKS = 1 << 15  # accesses whose pages are drawn at once


@kernel
def _scatter(shuffle: Shuffle, out: U64) -> None:
    for i in range(out.size):
        out[i] = shuffled(shuffle, 0, out[i])


class _Pages:
    """Which page each access goes to, by its number: Zipf's law, scattered."""

    def __init__(self, theta: float, pages: int, key: int) -> None:
        self._law = law_of(float(pages), theta)
        rank, again, order = draws(key, 3)
        self._keys, self._shuffle = (rank, again), new_shuffle(int(order), 1, pages)

    def take(self, begin: int) -> U64:
        """Of the accesses from ``begin`` on."""
        out = np.empty(_RANKS, np.uint64)
        draw_ranks(self._law, *self._keys, begin, out)
        _scatter(self._shuffle, out)
        return out


class _Life:
    """The guest, and what has been emitted of it."""

    def __init__(self, config: "VmLife", rows: int) -> None:
        self.config, self.guest = config, new_guest(config, rows)
        self.state = self.guest.state[0]
        fixed, seed = self.guest.fixed, draws(config.seed, 6)
        self._anonymous = _Pages(config.theta, fixed.anonymous_pages, int(seed[1]))
        self._files = _Pages(config.theta, fixed.file_blocks, int(seed[2]))
        self._seeds = iter(draws(int(seed[3]), len(config.life)))
        self._ranks = np.empty(0, np.uint64), np.empty(0, np.uint64)
        self.drive = boot.drive_of(config)
        self.taken = Taken(self.guest, self.drive.bdf)
        self.patches: boot.Patches | None = None
        self.config_rows = 0
        self.left = 0  # pages that a migration has still to send
        self.recovered = np.empty(0, np.int64)  # file blocks that the journal holds

    def seed(self) -> int:
        """Another one each time."""
        return int(next(self._seeds)) >> 1

    def go(self, until: int) -> Iterator[Part]:
        """What happens until then; with `NEVER`, until nothing is left to happen."""
        while not until_then(self.guest, until, *self._ranks):
            if self.state["drawn"] == self._ranks[0].size:
                begin = int(self.state["accesses"])
                self._ranks = self._anonymous.take(begin), self._files.take(begin)
                self.state["drawn"] = 0
            if not room(self.guest):
                yield from self.taken.parts()

    def park(self) -> None:
        """Nothing comes by itself any more."""
        self.state["still"] = 1
        self.state["next_commit"] = self.state["next_writeback"] = NEVER

    def start(self) -> None:
        """Everything comes by itself from now on."""
        now = int(self.state["now"])
        self.state["still"] = 0
        self.guest.cpu_at[:] = now + np.arange(1, self.guest.cpu_at.size + 1)
        self.state["next_commit"] = now + self.config.commit
        self.state["next_writeback"] = now + self.config.writeback

    def stream(self, first: int, count: int, cause: Cause) -> Iterator[Part]:
        """Read blocks in order, each command when the one before is done."""
        most = self.guest.fixed.most
        for begin in range(first, first + count, most):
            if not room(self.guest):
                yield from self.taken.parts()
            blocks = Extent(begin, min(most, first + count - begin))
            cause = Cause(BLOCK, submit(self.guest, READ, blocks, JOURNAL, cause))
            yield from self.go(NEVER)


def live(config: "VmLife", rows: int) -> Iterator[Part | Era]:
    """Everything that happens, in order."""
    life = _Life(config, rows)
    life.park()
    for number, phase in enumerate(config.life):
        began = int(life.state["now"])
        label = phase.name
        if label == "work":
            life.state["crash"] = _crash(config, number, began)
            yield from _work(life, duration(phase.length))
        elif label == "migrate":
            yield from _pre_copy(life)
            yield Era(began, int(life.state["now"]), "migrate")
            began, label = int(life.state["now"]), "blackout"
            yield from _black_out(life)
        elif label == "crash":
            yield from _power_lost(life)
        else:
            yield from _boot_up(life)
        yield Era(began, int(life.state["now"]), label)
    yield from life.taken.parts()
    ended = int(life.state["now"])
    yield Part(kind="config", rows=Taken.nothing("config"), truth={"functions": boot.functions(config, ended)})
    yield Part(kind="text", rows=Taken.nothing("text"), truth={"sites": boot.sites(config)})


def _crash(config: "VmLife", number: int, now: int) -> int:
    """When power will be lost, as seen from a phase of work; `NEVER` where another phase comes before."""
    for phase in config.life[number:]:
        if phase.name == "crash":
            return now
        if phase.name != "work":
            break
        now += duration(phase.length)
    return NEVER


def _boot_up(life: _Life) -> Iterator[Part]:
    """Scan, read the image, bring the drive to order, patch, start."""
    state, fixed = life.state, life.guest.fixed
    scan = boot.scan(life.config, life.seed())
    now = int(state["now"])
    yield Part(kind="config", rows=scan.with_columns(pl.col("time") + now))
    found = life.config_rows + boot.found(scan, life.drive)
    life.config_rows += scan.height
    state["now"] = now + int(scan["time"][-1]) + 1
    yield from life.stream(0, fixed.image_blocks, Cause(CONFIG, found))
    yield from _recover(life)
    life.patches = boot.Patches(life.config)
    patches = life.patches.at_boot(int(state["now"]))
    yield Part(kind="text", rows=patches)
    state["now"] = int(patches["time"][-1]) + 1
    life.start()


def _recover(life: _Life) -> Iterator[Part]:
    """Read the journal and write what it holds to its own place."""
    guest, fixed, blocks = life.guest, life.guest.fixed, life.recovered
    life.recovered = np.empty(0, np.int64)
    if not blocks.size:
        return
    yield from life.stream(fixed.image_blocks, min(fixed.log_blocks, blocks.size), Cause(BLOCK, _last(life, "block")))
    read = _last(life, "block")
    guest.slot_of[blocks] = np.arange(blocks.size, dtype=np.int32)
    guest.block_of[: blocks.size] = blocks
    base = fixed.image_blocks + fixed.log_blocks
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1):
        for begin in range(0, run.size, fixed.most):
            if not room(guest):
                yield from life.taken.parts()
            count = min(fixed.most, run.size - begin)
            submit(guest, WRITE, Extent(base + int(run[begin]), count), JOURNAL, Cause(BLOCK, read))
            yield from life.go(NEVER)


def _last(life: _Life, kind: str) -> int:
    """Number of the last row of a kind."""
    return int(life.state[kind]) - 1


def _work(life: _Life, length: int) -> Iterator[Part]:
    """Accesses of the processors and all that follows; beside it the kernel patches itself."""
    now = int(life.state["now"])
    if life.patches:
        yield Part(kind="text", rows=life.patches.at_work(now, length))
    yield from life.go(now + length)


def _pre_copy(life: _Life) -> Iterator[Part]:
    """Rounds under work, the first of everything, each next of what was written in the one before."""
    config, guest = life.config, life.guest
    guest.touched[:] = 0
    life.left = guest.touched.size
    for _ in range(config.rounds):
        yield from _work(life, _sending(config, life.left))
        life.left = int(np.count_nonzero(guest.touched))
        yield from _told_dirty(life)
        if _sending(config, life.left) <= config.downtime:
            break


def _black_out(life: _Life) -> Iterator[Part]:
    """The guest stands still until the rest is sent; the drive finishes what it was given."""
    state, guest = life.state, life.guest
    stop = int(state["now"])
    timers, cpus = {key: int(state[key]) for key in ("next_commit", "next_writeback")}, guest.cpu_at.copy()
    life.park()
    yield from life.go(NEVER)
    resume = max(int(state["now"]), stop + _sending(life.config, life.left))
    state["now"], state["still"] = resume, 0
    yield from _told_dirty(life)
    guest.cpu_at[:] = np.where(cpus == NEVER, resume, cpus - stop + resume)
    for key, time in timers.items():
        state[key] = time - stop + resume


def _sending(config: "VmLife", pages: int) -> int:
    """Nanoseconds that pages take to be sent."""
    return pages * PAGE * 10**9 // config.bandwidth + 1


def _told_dirty(life: _Life) -> Iterator[Part]:
    """Which pages were written since migration looked last, as rows of the memory trace."""
    yield from life.taken.parts()
    yield from dirty_rows(life.guest)
    life.guest.touched[:] = 0


def _power_lost(life: _Life) -> Iterator[Part]:
    """Tell what is lost, forget everything, and wait."""
    guest, state, fixed = life.guest, life.state, life.guest.fixed
    yield from life.taken.parts()
    under_way = np.arange(int(state["head"]), int(state["tail"])) % guest.commands.op.size
    pages = guest.dirty_since >= 0
    for k in under_way:
        if guest.commands.op[k] == WRITE:
            blocks = range(int(guest.commands.first[k]), int(guest.commands.first[k] + guest.commands.length[k]))
            places = np.array([page_of(guest, block) for block in blocks]) - fixed.cache
            pages[places[(places >= 0) & (places < fixed.cache_pages)]] = True
    lost = pages & ((guest.fresh == 1) | (guest.journal & DURABLE == 0))
    rows = np.sort(guest.writer_row[fixed.cache : fixed.cache + fixed.cache_pages][lost])
    yield _records("memory", rows, "lost in a crash: stored and not committed")
    yield _records("block", np.sort(guest.commands.row[under_way]), "in flight at a crash: never completed")
    life.recovered = np.sort(guest.block_of[pages & (guest.journal & DURABLE != 0)])
    _forget(guest)
    life.park()
    state["now"] += life.config.reset
    state["crash"] = NEVER


def _records(kind: str, rows: I64, truth: str) -> Part:
    words: Any = pl.repeat(truth, rows.size, dtype=pl.String, eager=True)
    nothing = Taken.nothing(kind)
    return Part(kind=kind, rows=nothing, truth={"records": told(TraceRecords, row=rows, truth=words)})


def _forget(guest: Guest) -> None:
    """Memory is empty, the drive idle."""
    guest.slot_of[:] = guest.block_of[:] = guest.dirty_since[:] = -1
    for each in (guest.used, guest.pinned, guest.filling, guest.fresh, guest.journal, guest.touched):
        each[:] = 0
    state = guest.state[0]
    state["head"] = state["tail"] = state["served"] = state["dirty"] = state["fresh"] = state["commit_left"] = 0
    state["writeback_at"] = state["committing"] = -1
    state["free"], state["device_free"] = guest.iovas.size, state["now"]
    guest.iovas[:] = iovas(guest.iovas.size, guest.fixed.most * PAGE)
