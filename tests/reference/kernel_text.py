"""A kernel's text as a dictionary of bytes, and the registry of patches that it is held against."""

from collections.abc import Iterable
from typing import Any

FIVE = ("jump_label", "static_call", "ftrace", "bpf_trampoline")


class KernelText:
    """What stands where, as far as it was seen; empty where there is no text."""

    def __init__(self) -> None:
        self.bytes: dict[int, int | None] = {}

    def matches(self, address: int, length: int, old: str) -> bool:
        """Whether ``old`` stands there; what was never seen may be anything."""
        want: list[int | None] = [*bytes.fromhex(old)] if old else [None] * length
        return all(self.bytes.get(address + n, each) == each for n, each in enumerate(want))

    def put(self, address: int, length: int, new: str) -> None:
        """Write; nothing is left where there is no text."""
        values: list[int | None] = [*bytes.fromhex(new)] if new else [None] * length
        for n, each in enumerate(values):
            self.bytes[address + n] = each


class Registry:
    """The verdict on a write, by the registered patches alone: a patch of five bytes is written 1, 4, 1."""

    def __init__(self, sites: Iterable[dict[str, Any]]) -> None:
        self.may: dict[tuple[str, int], set[tuple[str, str]]] = {}
        self.procedures = set()
        for site in sites:
            procedure, at, old, new = site["procedure"], site["address"], site["old"], site["new"]
            self.procedures.add(procedure)
            self._add(procedure, at, old, new)
            if procedure in FIVE:
                self._add(procedure, at, old[:2], "cc")
                self._add(procedure, at + 1, old[2:], new[2:])
                self._add(procedure, at, "cc", new[:2])

    def _add(self, procedure: str, at: int, old: str, new: str) -> None:
        self.may.setdefault((procedure, at), set()).add((old, new))

    def verdict(self, row: dict[str, Any]) -> str:
        """A word of the specification; empty where the write is in order."""
        if row["path"] == "direct":
            return "direct-write"
        if row["procedure"] not in self.procedures:
            return "unknown-procedure"
        if (row["procedure"], row["address"]) not in self.may:
            return "unknown-site"
        known = (row["old"], row["new"]) in self.may[row["procedure"], row["address"]]
        return "" if known else "bytes-differ"
