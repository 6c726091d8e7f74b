"""Batches that one thread reads and many consumers take, each in a thread of its own, so many at work at a time.

A consumer asks for its next batch and waits for its turn: until the batch is there and one of ``workers`` places is
free. Of those that wait the one that is furthest behind goes first: all stay within a batch or two of each other, and
the reader, which keeps no more than ``DEPTH`` batches, waits for the last of them. Turns are handed from thread to
thread. With one condition for all, every batch woke all that waited, of whom ``workers`` could go on.
"""

import threading
import time
from collections.abc import Iterator
from heapq import heappop, heappush

import polars as pl

DEPTH = 2  # batches that are kept for those that have not had them; with one the workers wait while the next is read


class Stopped(BaseException):
    """Ends a consumer after another one failed or an interrupt; no more an error than the interrupt itself."""


class Broadcast:
    """One reader's batches for consumers 0 to ``consumers`` - 1, of whom ``workers`` are at work at a time.

    The reader calls `offer` for each batch and then `end`; a consumer calls `turn`, goes through `batches` and calls
    `leave` whatever happened. `stop` ends them all.
    """

    def __init__(self, consumers: int, workers: int) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)  # the reader's
        self._turns = [threading.Semaphore(0) for _ in range(consumers)]
        self._next = dict.fromkeys(range(consumers), 0)  # consumer that has not left -> the batch that it wants
        self._began: dict[int, float] = {}  # consumer at work -> since when
        self._worked = [0.0] * consumers
        self._asking: list[tuple[int, int]] = []  # a heap of (batch, consumer)
        self._free = workers
        self._kept: dict[int, pl.DataFrame] = {}
        self._offered = 0
        self._ended = self._stopped = False

    def offer(self, batch: pl.DataFrame) -> bool:
        """Give a batch to all consumers, once there is room for it; False where nobody is left to take it."""
        with self._room:
            while len(self._kept) >= DEPTH and self._next and not self._stopped:
                self._room.wait(0.1)  # in steps: polars leaves signals such that an endless wait is not interrupted
            if self._stopped or not self._next:
                return False
            self._kept[self._offered] = batch
            self._offered += 1
            self._hand_on()
            return True

    def end(self) -> None:
        """No more batches come."""
        with self._lock:
            self._ended = True
            self._hand_on()

    def stop(self) -> None:
        """Every consumer ends, by `Stopped`, when it next asks for anything."""
        with self._lock:
            self._stopped = True
            for _, consumer in self._asking:
                self._turns[consumer].release()
            self._asking.clear()
            self._room.notify_all()

    def turn(self, consumer: int) -> None:
        """Wait until the consumer may work: what it wants next is there, and a place is free."""
        with self._lock:
            self._rest(consumer)
            if self._stopped:
                raise Stopped
            heappush(self._asking, (self._next[consumer], consumer))
            self._hand_on()
        self._turns[consumer].acquire()
        if self._stopped:
            raise Stopped

    def batches(self, consumer: int) -> Iterator[pl.DataFrame]:
        """All batches in order. The consumer has its turn while it works on one, and after the last."""
        while True:
            self.turn(consumer)
            with self._lock:
                batch = self._kept.get(self._next[consumer])
            if batch is None:
                return
            yield batch
            del batch
            with self._lock:
                self._next[consumer] += 1
                self._forget()

    def worked(self, consumer: int) -> float:
        """Seconds that the consumer was at work so far: without what it waited."""
        with self._lock:
            since = self._began.get(consumer)
            return self._worked[consumer] + (time.perf_counter() - since if since is not None else 0.0)

    def leave(self, consumer: int) -> None:
        """The consumer takes no more."""
        with self._lock:
            self._rest(consumer)
            del self._next[consumer]
            self._forget()
            self._hand_on()

    def _rest(self, consumer: int) -> None:
        """Give back the consumer's place, if it has one."""
        if (since := self._began.pop(consumer, None)) is not None:
            self._worked[consumer] += time.perf_counter() - since
            self._free += 1

    def _hand_on(self) -> None:
        """Give free places to those that wait for one and for nothing else."""
        while self._free and self._asking and (self._ended or self._asking[0][0] < self._offered):
            _, consumer = heappop(self._asking)
            self._free -= 1
            self._began[consumer] = time.perf_counter()
            self._turns[consumer].release()

    def _forget(self) -> None:
        """Drop batches that everyone has had."""
        first = min(self._next.values(), default=self._offered)
        for batch in [each for each in self._kept if each < first]:
            del self._kept[batch]
            self._room.notify_all()
