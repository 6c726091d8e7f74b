"""Iterators that work in threads of their own, a few items ahead of their consumer."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items; what the producer raises is raised here, and closing stops the producer at its next item."""
    line: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: object) -> bool:
        while not stop.is_set():
            try:
                line.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not offer(item):
                    return
            offer(_END)
        except BaseException as error:
            offer(_Failed(error))

    def taken() -> object:
        while True:  # polars leaves signals such that a wait without an end is not interrupted by Ctrl-C
            try:
                return line.get(timeout=0.1)
            except queue.Empty:
                continue

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := taken()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        while thread.is_alive():
            thread.join(timeout=0.1)


def in_turn(functions: Sequence[Callable[[S], T]], items: Iterable[S]) -> Iterator[T]:
    """What the functions, each in a thread of its own, make of items that they take in turn; in the items' order.

    A function is never called twice at once, and has no more than one result waiting.
    """
    waiting: deque[Future[T]] = deque()

    def first() -> T:
        while not wait([waiting[0]], timeout=0.1).done:  # a wait without an end: see above
            pass
        return waiting.popleft().result()

    with ThreadPoolExecutor(len(functions), "in turn") as pool:
        for number, item in enumerate(items):
            if len(waiting) < len(functions):
                waiting.append(pool.submit(functions[number], item))
                continue
            done = first()
            waiting.append(pool.submit(functions[number % len(functions)], item))
            yield done
        while waiting:
            yield first()
