"""An iterator that works in a thread of its own, a few items ahead of its consumer."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
