"""Batches of one reader for many consumers: all of them, in order, in turns, and few of them at a time in memory."""

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.broadcast import DEPTH, Broadcast, Stopped


def batch(number: int) -> pl.DataFrame:
    return pl.DataFrame({"number": [number]})


def taken(feed: Broadcast, consumer: int, most: int | None = None) -> list[int]:
    """What a consumer gets if it leaves after ``most`` batches."""
    got: list[int] = []
    try:
        feed.turn(consumer)
        for each in feed.batches(consumer):
            got.append(each["number"][0])
            if len(got) == most:
                break
    finally:
        feed.leave(consumer)
    return got


@given(
    consumers=st.integers(1, 6),
    workers=st.integers(1, 4),
    batches=st.integers(0, 7),
    leaving=st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=6, max_size=6),
)
def test_every_consumer_has_all_batches_in_order(
    consumers: int, workers: int, batches: int, leaving: list[int | None]
) -> None:
    feed = Broadcast(consumers, workers)
    with ThreadPoolExecutor(consumers) as pool:
        futures = [pool.submit(taken, feed, each, leaving[each]) for each in range(consumers)]
        offered = 0
        while offered < batches and feed.offer(batch(offered)):
            offered += 1
        feed.end()
        wanted = [batches if most is None else min(most, batches) for most in leaving[:consumers]]
        assert [future.result(timeout=60) for future in futures] == [list(range(most)) for most in wanted]
        assert offered >= max(wanted)
        assert not feed.offer(batch(0))  # all have left


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_than_its_workers_are_at_work(workers: int) -> None:
    feed, lock = Broadcast(7, workers), threading.Lock()
    at_work = most = 0

    def consume(consumer: int) -> None:
        nonlocal at_work, most
        feed.turn(consumer)
        for _ in feed.batches(consumer):
            with lock:
                at_work += 1
                most = max(most, at_work)
            threading.Event().wait(0.002)
            with lock:
                at_work -= 1
        feed.leave(consumer)

    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(consume, each) for each in range(7)]
        assert all(feed.offer(batch(each)) for each in range(10))
        feed.end()
        for future in futures:
            future.result(timeout=60)
    assert most == workers


def test_the_reader_waits_for_the_last_and_few_batches_are_in_memory() -> None:
    feed, held, waiting = Broadcast(3, 2), threading.Event(), threading.Event()
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def consume(consumer: int) -> None:
        feed.turn(consumer)
        for each in feed.batches(consumer):
            if consumer == 2 and each["number"][0] == 0:
                waiting.set()
                assert held.wait(60)
        feed.leave(consumer)

    def offer(number: int) -> None:
        nonlocal alive, most
        new = batch(number)
        weakref.finalize(new, gone)
        alive += 1
        most = max(most, alive)
        assert feed.offer(new)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(consume, each) for each in range(3)]
        for number in range(DEPTH):
            offer(number)
        assert waiting.wait(60)
        late = pool.submit(offer, DEPTH)
        assert not wait([late], timeout=0.2).done  # the last consumer is at the first batch
        held.set()
        late.result(timeout=60)
        for number in range(DEPTH + 1, 20):
            offer(number)
        feed.end()
        for future in futures:
            future.result(timeout=60)
    assert most <= 2 * DEPTH + 1  # those kept, the reader's next, and the last ones that consumers have not let go


def test_a_stop_ends_all_wherever_they_wait() -> None:
    feed = Broadcast(3, 1)
    at_work, go_on = threading.Event(), threading.Event()

    def first() -> None:
        feed.turn(0)
        at_work.set()
        assert go_on.wait(60)
        for _ in feed.batches(0):
            raise AssertionError("a batch after the stop")

    with ThreadPoolExecutor(3) as pool:
        working = pool.submit(first)
        assert feed.offer(batch(0))
        assert at_work.wait(60)
        waiting = [pool.submit(taken, feed, each) for each in (1, 2)]
        feed.stop()
        go_on.set()
        assert isinstance(working.exception(timeout=60), Stopped)
        assert all(isinstance(each.exception(timeout=60), Stopped) for each in waiting)
    assert not feed.offer(batch(1))
    with pytest.raises(Stopped):
        feed.turn(0)


def test_waiting_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pipeline.broadcast.time.perf_counter", lambda: now)
    feed = Broadcast(2, 2)

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    def working(consumer: int) -> Iterator[pl.DataFrame]:
        feed.turn(consumer)
        return feed.batches(consumer)

    feed.offer(batch(0))
    one, other = working(0), working(1)
    next(one)
    next(other)
    passes(3)
    assert feed.worked(0) == feed.worked(1) == 3
    feed.leave(1)
    passes(2)
    assert (feed.worked(0), feed.worked(1)) == (5, 3)
    waiting = threading.Thread(target=lambda: next(one))
    waiting.start()
    while 0 in feed._began:
        threading.Event().wait(0.001)
    passes(100)
    feed.offer(batch(1))
    waiting.join(60)
    passes(1)
    assert feed.worked(0) == 6
