from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.nand.model import (
    PRESETS,
    Acknowledge,
    Cell,
    FtlLatency,
    FtlLoad,
    Kind,
    Loop,
    Nand,
    Nands,
    Scheduling,
    Timing,
    answer,
    begin,
    copy,
    end,
    end_load,
    erase,
    fetch,
    flush,
    nand_of,
    new_nands,
    program,
    read,
    told,
)
from tests.reference import nand as reference
from traces.block import Op
from traces.config import configured
from traces.errors import ConfigError
from traces.kernel import lean_kernel
from traces.table import frame, records

pytestmark = pytest.mark.kernels

BEGIN, READ, FETCH, ANSWER, PROGRAM, COPY, ERASE, FLUSH, END = range(9)
KINDS = {Op.READ: "read", Op.WRITE: "write", Op.DISCARD: "discard", Op.WRITE_ZEROES: "discard", Op.FLUSH: "flush"}
Steps = list[tuple[int, int, int]]
WINDOW = 1_000_000


@lean_kernel
def perform(nand: Nand, steps: Any, out: Any) -> int:
    """Do steps (what, and two numbers), and fill ``out`` with the latencies; how many."""
    filled = 0
    for i in range(steps.shape[0]):
        what, a, b = steps[i, 0], steps[i, 1], steps[i, 2]
        if what == BEGIN:
            begin(nand, a)
        elif what == READ:
            read(nand, a)
        elif what == FETCH:
            fetch(nand, a)
        elif what == ANSWER:
            answer(nand)
        elif what == PROGRAM:
            program(nand, a)
        elif what == COPY:
            copy(nand, a, b)
        elif what == ERASE:
            erase(nand)
        elif what == FLUSH:
            flush(nand)
        else:
            out[filled] = end(nand, a, b)
            filled += 1
    return filled


def flash(block_pages: int = 64, volumes: int = 1, ring: int = 0, **keys: Any) -> tuple[Timing, Nands]:
    config = Timing(**{"timing": Loop.OPEN, "channels": 1, "dies": 1, "planes": 1, **keys})
    nands = new_nands(config, volumes, page=4096, block_pages=block_pages, window=WINDOW)
    assert nands is not None
    return config, nands._replace(depth=ring or nands.depth)


def performed(nands: Nands | None, steps: Steps | np.ndarray[Any, Any], volume: int = 0) -> list[int]:
    table = np.array(steps, np.int64).reshape(-1, 3)
    out = np.zeros(len(table), np.int64)
    nand = nand_of.py_func(nands, volume)  # type: ignore[attr-defined]
    return list(out[: perform(nand, table, out)].tolist())


def model_of(config: Timing, nands: Nands, block_pages: int) -> reference.Flash:
    return reference.Flash(
        channels=config.channels,
        dies=config.dies,
        planes=config.planes,
        block_pages=block_pages,
        read=config.times.read,
        program=config.times.program,
        erase=config.times.erase,
        transfer=nands.transfer,
        overhead=config.overhead,
        buffer=config.write_buffer,
        on_program=config.acknowledge == Acknowledge.PROGRAM,
        depth=config.queue_depth if config.timing == Loop.CLOSED else None,
        ring=nands.depth if config.scheduling == Scheduling.READS_FIRST else None,
    )


def modelled(model: reference.Flash, steps: Steps) -> list[int]:
    out = []
    for what, a, b in steps:
        if what == END:
            out.append(model.end(KINDS[Op(a)]))
        elif what in (BEGIN, READ, FETCH, PROGRAM):
            (model.begin, model.read, model.fetch, None, model.program)[what](a)  # type: ignore[misc]
        elif what == COPY:
            model.copy(a, b)
        else:
            {ANSWER: model.answer, ERASE: model.erase, FLUSH: model.flush}[what]()
    return out


def reads(cells: Any, times: Any = None) -> np.ndarray[Any, Any]:
    """A request of one page for each cell."""
    steps = np.zeros((len(cells), 3, 3), np.int64)
    steps[:, 1, 0], steps[:, 1, 1], steps[:, 2, 0] = READ, cells, END
    if times is not None:
        steps[:, 0, 1] = times
    return steps.reshape(-1, 3)


def writes(cells: Any) -> np.ndarray[Any, Any]:
    steps = reads(cells).reshape(-1, 3, 3)
    steps[:, 1, 0], steps[:, 2, 1] = PROGRAM, Op.WRITE
    return steps.reshape(-1, 3)


def span(nands: Nands) -> int:
    return int(nands.moment[0].latest)


@st.composite
def histories(draw: st.DrawFn) -> Steps:
    """Requests in order of time, with pages anywhere on four blocks, collections within some of them."""
    steps: Steps = []
    at = 0
    cell = st.integers(0, 4 * 16 - 1).filter(lambda c: c % 16 < 12)
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0, 0, 1, 7, 50, 90, 400]))
        steps.append((BEGIN, at, 0))
        op = draw(st.sampled_from(sorted(KINDS)))
        pages = draw(st.lists(cell, min_size=1, max_size=4))
        if op in (Op.READ, Op.WRITE):
            for page in pages:
                if draw(st.booleans()):
                    steps.append((FETCH, draw(cell), 0))
                    if draw(st.integers(0, 3)) == 0:
                        steps.append((ANSWER, 0, 0))
                        continue
                if op == Op.WRITE and draw(st.integers(0, 3)) == 0:
                    steps += [(COPY, draw(cell), draw(cell)) for _ in range(draw(st.integers(0, 4)))] + [(ERASE, 0, 0)]
                steps.append((READ if op == Op.READ else PROGRAM, page, 0))
        elif op == Op.FLUSH:
            steps.append((FLUSH, 0, 0))
        steps.append((END, op, 4096 * len(pages)))
    return steps


SHAPES = st.fixed_dictionaries(
    {
        "channels": st.integers(1, 3),
        "dies": st.integers(1, 2),
        "planes": st.integers(1, 2),
        "read_time": st.integers(1, 60),
        "program_time": st.integers(1, 200),
        "erase_time": st.integers(1, 500),
        "bus": st.sampled_from([10**9, 4096 * 10**6, 4 * 10**11]),
        "overhead": st.integers(0, 20),
        "write_buffer": st.integers(1, 9),
        "acknowledge": st.sampled_from(list(Acknowledge)),
        "timing": st.sampled_from([Loop.OPEN, Loop.CLOSED]),
        "queue_depth": st.integers(1, 6),
        "scheduling": st.sampled_from(list(Scheduling)),
        "ring": st.sampled_from([0, 0, 2, 4]),
    }
)


@settings(max_examples=300)
@given(SHAPES, histories())
def test_reference(shape: dict[str, Any], steps: Steps) -> None:
    if shape["timing"] == Loop.OPEN:
        shape["queue_depth"] = 32
    if shape["scheduling"] == Scheduling.IN_ORDER:
        shape["ring"] = 0
    config, nands = flash(12, **shape)
    model = model_of(config, nands, 12)
    latencies = modelled(model, steps)
    assert performed(nands, steps) == latencies
    assert all(each >= config.overhead for each in latencies)
    model.settle()
    for unit in (*model.die, *model.channel):
        for (_, before, _), (after, _, _) in pairwise(sorted(unit.done)):
            assert after >= before, "a unit does one thing at a time"
    assert nands.moment[0].deepest == max(model.seen)
    worked = sum(each - at for die in model.die for at, each, _ in die.done)
    assert nands.moment[0].work == worked
    for kind, book in enumerate(nands.books[:4]):
        have = model.latencies[Kind(kind).name.lower()]
        assert book.requests == len(have)
        assert book.total == sum(latency for latency, _ in have)
        assert book.blocked == sum(blocked for _, blocked in have)


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(0, 1 << 44), min_size=1, max_size=200), min_size=1, max_size=3))
def test_percentiles(windows: list[list[int]]) -> None:
    """Flushes whose latency is what we say: all that was written is programmed then."""
    _, nands = flash(overhead=0)
    out, nand = records(FtlLoad, 1), nand_of.py_func(nands, 0)  # type: ignore[attr-defined]
    for number, window in enumerate(windows):
        for latency in window:
            nands.moment[0].written = latency
            performed(nands, [(BEGIN, 0, 0), (FLUSH, 0, 0), (END, Op.FLUSH, 0)])
        end_load(nand, number, 0, out, 0)
        assert out.requests[0] == len(window)
    rows = frame(told(nands))
    every = [latency for window in windows for latency in window]
    assert rows["kind"].to_list() == [Kind.FLUSH, Kind.ALL]
    for row in rows.iter_rows(named=True):
        assert (row["requests"], row["max"]) == (len(every), max(every))
        assert row["mean"] == pytest.approx(sum(every) / len(every), rel=1e-12)
        for name, share in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}.items():
            exact = reference.percentile(every, share)
            assert exact <= row[name] <= exact + exact // 64


def test_longest() -> None:
    """What is beyond the histogram is counted, its maximum and mean exact."""
    _, nands = flash(overhead=0)
    for latency in (1 << 60, 5):
        nands.moment[0].written = latency
        performed(nands, [(BEGIN, 0, 0), (FLUSH, 0, 0), (END, Op.FLUSH, 0)])
    end_load(nand_of.py_func(nands, 0), 0, 0, records(FtlLoad, 1), 0)  # type: ignore[attr-defined]
    row = frame(told(nands)).row(0, named=True)
    assert (row["max"], row["p50"], row["p99"] <= row["max"]) == (1 << 60, 5, True)


@pytest.mark.parametrize("cell", Cell)
def test_one_read(cell: Cell) -> None:
    config, nands = flash(cell=cell)
    want = config.overhead + PRESETS[cell].read + 3413  # 4 KiB at 1.2 GB/s
    assert performed(nands, reads([5], [123_456])) == [want]
    assert performed(nands, [(BEGIN, 10**9, 0), (END, Op.READ, 0)]) == [config.overhead]  # of an unmapped page


def test_one_write() -> None:
    config, nands = flash()
    assert performed(nands, writes([5])) == [config.overhead]
    config, nands = flash(acknowledge=Acknowledge.PROGRAM)
    assert performed(nands, writes([5])) == [config.overhead + 3413 + config.times.program]
    late = 3413 + config.times.program
    assert performed(nands, [(BEGIN, 1000, 0), (FLUSH, 0, 0), (END, Op.FLUSH, 0)]) == [late - 1000 + config.overhead]


def test_planes() -> None:
    """Pages of a row that are asked for together are read together; programs join one that has not begun."""
    config, nands = flash(planes=4)
    together = [(BEGIN, 0, 0), *((READ, cell, 0) for cell in range(4)), (END, 0, 0)]
    assert performed(nands, together) == [config.overhead + config.times.read + 4 * 3413]
    config, nands = flash(planes=4, acknowledge=Acknowledge.PROGRAM)
    row = [(BEGIN, 0, 0), *((PROGRAM, cell, 0) for cell in range(8)), (END, Op.WRITE, 0)]
    # the first page is programmed at once, the rest of its row while the next row arrives, that row at once
    assert performed(nands, row) == [config.overhead + 3413 + 3 * config.times.program]


def test_buffer_is_read() -> None:
    config, nands = flash()
    assert performed(nands, [*writes([5]).tolist(), *reads([5, 6], [1, 2]).tolist()])[1] == config.overhead
    after = reads([5], [10**9])
    assert performed(nands, after) == [config.overhead + config.times.read + 3413]


def test_buffer_fills() -> None:
    """With two places the third write waits until the first is programmed."""
    config, nands = flash(write_buffer=2)
    first = 3413 + config.times.program
    assert performed(nands, writes([0, 1, 2, 3])) == [
        config.overhead,
        config.overhead,
        config.overhead + first,
        config.overhead + first + config.times.program,
    ]


def test_collection_blocks() -> None:
    """What arrives during a collection waits behind its copies and its erase, and is told apart."""
    config, nands = flash(dies=2, channels=1, scheduling=Scheduling.IN_ORDER)
    collecting = [(BEGIN, 0, 0), (COPY, 0, 65), (COPY, 2, 66), (ERASE, 0, 0), (PROGRAM, 67, 0), (END, Op.WRITE, 4096)]
    latencies = performed(nands, [*collecting, *reads([128, 129], [1000, 10**9]).tolist()])
    read_, program_, erase_ = config.times
    # read, read, program, erase, read: one die; the second copy's data is programmed by the same die
    assert latencies[0] == config.overhead
    assert latencies[1] > config.overhead + read_ + program_ + erase_
    assert latencies[2] == config.overhead + read_ + 3413
    end_load(nand_of.py_func(nands, 0), 0, 0, records(FtlLoad, 1), 0)  # type: ignore[attr-defined]
    rows = {row["kind"]: row for row in frame(told(nands)).iter_rows(named=True)}
    assert (rows[Kind.READ]["gc_blocked"], rows[Kind.WRITE]["gc_blocked"]) == (0.5, 0)


def test_reads_go_first() -> None:
    """A read waits for what its die does, not for what waits there: that is done later, and a flush knows."""
    config, nands = flash()
    read_, program_, erase_ = config.times
    start = config.overhead + 3413  # of the first program, and of the die
    begun = [(BEGIN, 0, 0), *((PROGRAM, cell, 0) for cell in range(4)), (ERASE, 0, 0), (END, Op.WRITE, 4096)]
    arrivals = [start + 1000, start + 2000, start + 4 * program_ + 2 * read_ + 1000]
    latencies = performed(nands, [*begun, *reads([100, 101, 102], arrivals).tolist()])
    # the third arrives during the erase, which the first two have pushed back
    assert latencies == [
        config.overhead,
        start + program_ + read_ + 3413 - arrivals[0],
        start + program_ + 2 * read_ + 3413 - arrivals[1],
        start + 4 * program_ + 2 * read_ + erase_ + read_ + 3413 - arrivals[2],
    ]
    _, nands = flash()
    written = start + 4 * program_ + 2 * read_
    flushed = [(BEGIN, arrivals[1], 0), (FLUSH, 0, 0), (END, Op.FLUSH, 0)]
    assert performed(nands, [*begun, *reads([100, 101], arrivals[:2]).tolist(), *flushed])[-1] == written - arrivals[1]
    _, nands = flash(scheduling=Scheduling.IN_ORDER)
    assert performed(nands, [*begun, *reads([100], arrivals[:1]).tolist()])[1] > 4 * program_ + erase_


def test_place_is_pushed_back() -> None:
    """Who waits for a place of the buffer waits for the reads that went before its program, too."""
    config, nands = flash(write_buffer=2)
    both = 3413 + 2 * config.times.program  # of the first two, after their request's overhead
    asked = [*writes([0, 1, 2]).tolist(), *reads([100, 101, 102], [20_000, 20_000, 20_000]).tolist()]
    performed(nands, asked)
    assert performed(nands, [(BEGIN, 20_000, 0), (PROGRAM, 3, 0), (END, Op.WRITE, 4096)]) == [
        config.overhead + both + 3 * config.times.read - 20_000
    ]


def test_reads_give_way() -> None:
    """After 32 reads in a row a die does a piece of what waits."""
    config, nands = flash(timing=Loop.CLOSED, queue_depth=1000)
    read_, program_, _ = config.times
    latencies = performed(nands, [*writes([0, 1, 2]).tolist(), *reads(range(100, 200)).tolist()])[3:]
    ends = [latency - latencies[0] for latency in latencies]
    # when the first read begins, nothing waits: the first page's data is on its way
    assert ends == [i * read_ + max(i - 1, 0) // 32 * program_ for i in range(100)]


def test_prefill_takes_no_time() -> None:
    """Outside of requests nothing happens."""
    config, nands = flash()
    performed(nands, [(PROGRAM, 3, 0), (COPY, 3, 4), (READ, 4, 0), (FETCH, 4, 0), (ERASE, 0, 0)])
    assert nands.moment[0].work == 0
    assert performed(nands, reads([5])) == [config.overhead + config.times.read + 3413]


def test_off() -> None:
    nands = new_nands(Timing(), 3, page=4096, block_pages=64, window=WINDOW)
    assert performed(nands, [*reads([1, 2]).tolist(), *writes([3]).tolist(), (COPY, 1, 2), (ERASE, 0, 0)]) == [0, 0, 0]
    end_load(nand_of.py_func(nands, 2), 0, 2, records(FtlLoad, 0), 0)  # type: ignore[attr-defined]
    assert nands is None


def test_volumes_have_their_own() -> None:
    """Two drives in the same arrays answer as each alone."""
    rng = np.random.default_rng(3)
    parts = [reads(rng.integers(0, 64, 50), np.sort(rng.integers(0, 10**6, 50))) for _ in range(2)]
    alone = [performed(flash(channels=2)[1], part) for part in parts]
    _, both = flash(channels=2, volumes=2)
    got: list[list[int]] = [[], []]
    for i in range(0, 150, 15):
        for volume in (0, 1):
            got[volume] += performed(both, parts[volume][i : i + 15], volume)
    assert got == alone
    assert isinstance(told(both), FtlLatency)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"timing": "open", "channels": 3}, "multiple of channels x dies x planes = 12.*take 72"),
        ({"timing": "off", "channels": 2}, "channels has no effect while timing is off"),
        ({"timing": "off", "scheduling": "in-order"}, "scheduling has no effect while timing is off"),
        ({"timing": "open", "queue_depth": 2}, "queue_depth has no effect unless timing is closed"),
    ],
)
def test_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=message):
        configured(Timing, keys).check_timing(64)


def test_bounds() -> None:
    with pytest.raises(ConfigError, match="dies"):
        configured(Timing, {"dies": 0})
