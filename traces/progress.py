"""How far a long task has come, told to whoever wants to know."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # done, in all


def nobody(done: int, total: int) -> None:
    """Tell nobody how far it has come."""
