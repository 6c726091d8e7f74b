"""What queueing theory and arithmetic say of a drive's dies and channels."""

from typing import Any

import numpy as np
import pytest

from pipeline.ftl.nand.model import Acknowledge, Cell, Kind, Loop, Nands, Scheduling, end_load, nand_of, told
from pipeline.ftl.nand.model import FtlLoad as Load
from tests.pipeline.test_nand import (
    BEGIN,
    COPY,
    END,
    ERASE,
    PROGRAM,
    READ,
    Steps,
    flash,
    model_of,
    modelled,
    performed,
    reads,
    span,
    writes,
)
from traces.block import Op
from traces.table import frame, records, struct

pytestmark = pytest.mark.kernels

T_READ, T_PROGRAM, TRANSFER = 75_000, 1_125_000, 3413  # TLC; 4 KiB at 1.2 GB/s


def ended(nands: Nands, window: int = 0) -> dict[str, Any]:
    """The row of a window that ends now."""
    out = records(Load, 1)
    end_load(nand_of.py_func(nands, 0), window, 0, out, 0)  # type: ignore[attr-defined]
    return frame(struct(Load, out)).row(0, named=True)


def in_order(count: int, block_pages: int) -> np.ndarray[Any, Any]:
    """Cells of so many pages, block after block."""
    page = np.arange(count)
    return (page // block_pages << (block_pages - 1).bit_length()) + page % block_pages


def test_one_at_a_time() -> None:
    """Random reads at depth one: IOPS are the inverse of one read's latency, exactly."""
    config, nands = flash(64, channels=2, dies=2, timing=Loop.CLOSED, queue_depth=1)
    cells = np.random.default_rng(1).integers(0, 1 << 20, 5000)
    assert set(performed(nands, reads(cells))) == {config.overhead + T_READ + TRANSFER}
    assert span(nands) == 5000 * (config.overhead + T_READ + TRANSFER)


@pytest.mark.parametrize(("channels", "dies", "planes"), [(1, 1, 1), (1, 4, 2), (2, 8, 2), (4, 2, 4), (1, 64, 4)])
def test_sequential(channels: int, dies: int, planes: int) -> None:
    """Reads and writes in order reach what the buses or the dies allow, whichever is less."""
    width, count = channels * dies * planes, 40_000
    shape: Any = {"channels": channels, "dies": dies, "planes": planes, "timing": Loop.CLOSED, "queue_depth": 2048}
    cells = in_order(count, width * 12)
    _, nands = flash(width * 12, **shape)
    performed(nands, reads(cells))
    assert count / span(nands) == pytest.approx(min(channels / TRANSFER, width / T_READ), rel=0.01)
    _, nands = flash(width * 12, **shape, write_buffer=4 * width)
    performed(nands, writes(cells))
    programmed = int(nands.moment[0].written)
    assert count / programmed == pytest.approx(min(channels / TRANSFER, width / T_PROGRAM), rel=0.02)


def test_twice_the_dies() -> None:
    """Random reads of a deep queue double with the dies until the channel is what limits them."""
    rng = np.random.default_rng(2)
    rates = []
    for dies in (1, 2, 4, 8, 16, 32, 64):
        _, nands = flash(64, dies=dies, timing=Loop.CLOSED, queue_depth=1024)
        performed(nands, reads(rng.integers(0, 1 << 22, 40_000)))
        rates.append(40_000 / span(nands) * 1e9)
    for dies, rate in zip((1, 2, 4, 8, 16), rates, strict=False):
        assert rate == pytest.approx(dies / T_READ * 1e9, rel=0.04)
    assert rates[-2:] == pytest.approx([1e9 / TRANSFER] * 2, rel=0.01)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_poisson_arrivals(load: float) -> None:
    """M/D/1: the mean wait at one die is load / (2 (1 - load)) service times (Pollaczek and Khinchine)."""
    rng = np.random.default_rng(3)
    count = 400_000
    times = np.cumsum(rng.exponential(T_READ / load, count)).astype(np.int64)
    _, nands = flash(64, overhead=0, planes=1)
    latencies = performed(nands, reads(np.arange(count), times))
    wait = np.mean(latencies) - T_READ - TRANSFER
    assert wait / T_READ == pytest.approx(load / (2 * (1 - load)), rel=0.05)
    depth = ended(nands, 0)["queue_depth"]  # one window of a ms, and all that followed
    assert depth == pytest.approx(np.sum(latencies) / span(nands), rel=1e-9)


@pytest.mark.parametrize("scheduling", Scheduling)
@pytest.mark.parametrize("depth", [1, 7, 64])
def test_little(depth: int, scheduling: Scheduling) -> None:
    """Closed loop: depth = throughput x mean latency, but for the queue running dry at the end."""
    rng = np.random.default_rng(depth)
    config, nands = flash(64, channels=2, dies=4, timing=Loop.CLOSED, queue_depth=depth, scheduling=scheduling)
    steps = reads(rng.integers(0, 1 << 20, 20_000)).reshape(-1, 3, 3)
    steps[::3, 1, 0], steps[::3, 2, 1] = PROGRAM, Op.WRITE
    steps[::3, 1, 1] += 1 << 20  # none is read
    latencies = performed(nands, steps.reshape(-1, 3))
    assert min(latencies[1::3] + latencies[2::3]) >= config.overhead + T_READ + TRANSFER
    assert min(latencies[::3]) >= config.overhead
    waiting = nands.waiting[: nands.moment[0].waiting]
    idle = int((span(nands) - waiting).sum())  # what the places of the queue stood empty
    assert sum(latencies) == depth * span(nands) - idle
    row = ended(nands)
    assert (row["queue_depth_max"], row["requests"]) == (depth - 1, 20_000)
    assert row["queue_depth"] == pytest.approx(sum(latencies) / span(nands), rel=1e-12)
    assert row["requests_per_s"] == pytest.approx(20_000 / span(nands) * 1e9, rel=1e-12)
    everything = frame(told(nands)).filter(kind=Kind.ALL).row(0, named=True)
    assert everything["queue_depth"] == row["queue_depth"]
    assert everything["requests_per_s"] == pytest.approx(row["requests_per_s"], rel=1e-12)


def collecting(rng: np.random.Generator, blocks: int, pages: int, requests: int, reads: float = 0.6) -> Steps:
    """Reads anywhere, and a frontier that writes one block after the other, each emptied and erased before."""
    steps: Steps = []
    apart = 1 << (pages - 1).bit_length()
    at = written = 0
    for _ in range(requests):
        at += int(rng.exponential(6_000))
        steps.append((BEGIN, at, 0))
        if rng.random() < reads:
            steps += [(READ, int(rng.integers(blocks)) * apart + int(rng.integers(pages)), 0), (END, Op.READ, 4096)]
            continue
        block, page = written // pages % blocks, written % pages
        if page == 0 and written:
            victim = (block + 1) % blocks * apart
            live = sorted(rng.choice(pages, pages // 3, replace=False).tolist())
            steps += [(COPY, victim + source, block * apart + to) for to, source in enumerate(live)] + [(ERASE, 0, 0)]
            written += len(live)
            page += len(live)
        steps += [(PROGRAM, block * apart + page, 0), (END, Op.WRITE, 4096)]
        written += 1
    return steps


@pytest.mark.parametrize("scheduling", Scheduling)
@pytest.mark.parametrize(
    ("channels", "dies", "acknowledge"), [(1, 96, Acknowledge.BUFFER), (3, 2, Acknowledge.PROGRAM)]
)
def test_long_history(channels: int, dies: int, acknowledge: Acknowledge, scheduling: Scheduling) -> None:
    """As the reference, over more idle stretches than are remembered; a die programs and erases in order."""
    pages = channels * dies * 2 * 3
    shape: Any = {"channels": channels, "dies": dies, "planes": 2, "acknowledge": acknowledge, "write_buffer": 40}
    config, nands = flash(pages, **shape, scheduling=scheduling, ring=64 if scheduling else 0)
    steps = collecting(np.random.default_rng(5), 6, pages, 3000)
    model = model_of(config, nands, pages)
    assert performed(nands, steps) == modelled(model, steps)
    model.settle()
    if scheduling == Scheduling.IN_ORDER:
        assert sum(unit.refused for unit in model.channel) > 0
    elif dies == 2:
        assert all(die.gave_way for die in model.die), "reads let something pass"
        assert all(die.forced for die in model.die), "more operations wait than are told apart"
    for die in model.die:
        programs = [(at, what) for at, _, what in die.done if what.startswith(("program", "erase"))]
        assert programs == sorted(programs, key=lambda each: each[0]), "programs and erases keep their order"
    assert any(blocked for _, blocked in model.latencies["read"])


@pytest.mark.parametrize("cell", [Cell.SLC, Cell.TLC])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_reads_under_writes(cell: Cell, share: float) -> None:
    """With a full write buffer reads wait for an operation and a few reads, and writes lose no more than reads take."""
    steps = collecting(np.random.default_rng(6), 64, 256, 40_000, share)
    rows = {}
    for scheduling in Scheduling:
        shape: Any = {"channels": 4, "dies": 2, "planes": 2, "timing": Loop.CLOSED, "queue_depth": 32}
        config, nands = flash(256, **shape, cell=cell, scheduling=scheduling)
        latencies = performed(nands, steps)
        idle = int((span(nands) - nands.waiting[: nands.moment[0].waiting]).sum())
        assert sum(latencies) == 32 * span(nands) - idle
        ended(nands)
        kinds = {row["kind"]: row for row in frame(told(nands)).iter_rows(named=True)}
        rows[scheduling] = kinds[Kind.READ], kinds[Kind.WRITE]
    read_, program_, erase_ = config.times
    (slow, before), (fast, after) = rows[Scheduling.IN_ORDER], rows[Scheduling.READS_FIRST]
    assert fast["p99"] < erase_ + program_ + 4 * read_
    assert slow["p99"] > 5 * fast["p99"]
    taken = fast["requests_per_s"] * read_ / 1e9 / 8  # the part of the dies' time that reads take
    assert after["requests_per_s"] >= (1 - taken) * before["requests_per_s"]


def test_windows() -> None:
    """Open loop: a window that keeps up lasts as long as it does in the trace, one that does not until it is done."""
    _, nands = flash(64, overhead=0)
    performed(nands, reads([1, 2], [0, 500_000]))
    row = ended(nands)
    assert (row["elapsed"], row["requests"], row["requests_per_s"]) == (1_000_000, 2, 2000)
    assert (row["read_p50"], row["write_p50"], row["gc_blocked"]) == (T_READ + TRANSFER, -1, 0)
    assert row["die_utilisation"] == 2 * T_READ / 1_000_000
    performed(nands, reads(range(10, 50), [1_000_000] * 40))
    row = ended(nands, 1)
    assert row["elapsed"] == 40 * T_READ + TRANSFER
    performed(nands, reads([100], [2_000_000]))
    row = ended(nands, 2)
    assert row["elapsed"] == T_READ
    assert row["queue_depth_max"] > 20
    row = ended(nands, 9)
    assert (row["requests"], row["elapsed"], row["queue_depth"], row["read_p99"]) == (0, 1_000_000, 0, -1)


@pytest.mark.parametrize("scheduling", Scheduling)
def test_more_copies_than_a_block_has_pages(scheduling: Scheduling) -> None:
    config, nands = flash(16, planes=2, channels=2, scheduling=scheduling, acknowledge=Acknowledge.PROGRAM)
    copies = [(COPY, i % 16, 32 + i % 16) for i in range(40)]
    steps = [(BEGIN, 0, 0), *copies, (ERASE, 0, 0), (PROGRAM, 3, 0), (END, int(Op.WRITE), 4096)]
    assert performed(nands, steps) == modelled(model_of(config, nands, 16), steps)
