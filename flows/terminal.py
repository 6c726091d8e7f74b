"""What the command line prints: data alone on stdout, everything else on stderr.

A table for people by default, JSON when asked. Nothing is cut to 80 columns in a pipe, and a progress bar is
shown only on a terminal and only for what takes longer than a second.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from traces.store import Store

Record = Mapping[str, Any]

_PATIENCE = 1.0  # seconds before a progress bar appears
_FOLDED = 40  # columns that the widest cell may be folded to before a table is too wide
_PAGE = 80  # columns that prose is folded to where there are more
_WIDE = 100_000  # columns of a "terminal" that is none


class Output:
    """Where a verb finds its store and says what it has to say."""

    def __init__(self, root: Path, *, json: bool, quiet: bool, verbose: bool) -> None:
        self.root, self.json, self.quiet, self.verbose = root, json, quiet, verbose

    @property
    def store(self) -> "Store":
        """The store that the command is about."""
        from traces.errors import StoreError
        from traces.store import Store

        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: a file, not the folder of a store; choose another --store")
        return Store(self.root)

    @property
    def width(self) -> int:
        """Columns of the terminal; very many where stdout is none."""
        return self._console().width

    def records(self, records: Sequence[Record], shown: Sequence[Record] | None = None) -> None:
        """Rows of data: as JSON in full, or as a table of ``shown`` (the records themselves if not given)."""
        if self.json:
            self.document([dict(record) for record in records])
        else:
            self.table(records if shown is None else shown)

    def record(self, record: Record, shown: Record | None = None) -> None:
        """One thing: as JSON, or a line a key."""
        if self.json:
            self.document(dict(record))
            return
        from rich.table import Table

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for key, value in (record if shown is None else shown).items():
            table.add_row(_plain(key, "bold"), _plain(text(value)))
        self._print(table)

    def page(self, told: Mapping[str, str]) -> None:
        """Prose about each of some names, folded for the terminal, or for a page where stdout is none."""
        from rich.table import Table

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, prose in told.items():
            table.add_row(_plain(name, "bold"), _plain(prose))
        table.width = min(self.width, _PAGE)
        self._print(table)

    def table(self, records: Sequence[Record], title: str = "", least: Sequence[str] = ()) -> None:
        """A table for people, numbers to the right; a record a block where a terminal has no room for the columns.

        ``least`` are columns that make room first, from the first on; a note says how many did.
        """
        from rich import box
        from rich.table import Table

        if not records:
            return
        if title and not self.quiet:
            self._print(_plain(title, "bold"))
        cells = {name: [text(r.get(name)) for r in records] for name in dict.fromkeys(n for r in records for n in r)}
        widths = {name: max(len(name), *map(len, column)) for name, column in cells.items()}
        dropped = 0
        for name in least:
            if not self._fits(widths):
                dropped += widths.pop(name, None) is not None
        names = list(widths)
        if not self._fits(widths):
            for record in records:
                self.record(record)
                self.text("")
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in names:
            right = any(isinstance(r.get(name), int | float) and not isinstance(r.get(name), bool) for r in records)
            table.add_column(_plain(name), justify="right" if right else "left", overflow="fold")
        for row in zip(*(cells[name] for name in names), strict=True):
            table.add_row(*map(_plain, row))
        self._print(table)
        if dropped:
            self.note(f"{dropped} more columns: a wider terminal or --json tells them")

    def _fits(self, widths: Mapping[str, int]) -> bool:
        widest = max(widths.values())
        return sum(widths.values()) - widest + min(widest, _FOLDED) + 3 * len(widths) <= self.width

    def document(self, value: Any) -> None:
        """JSON on stdout."""
        sys.stdout.write(as_json(value) + "\n")

    def text(self, line: str) -> None:
        """A line of the answer on stdout, as it is."""
        sys.stdout.write(line + "\n")

    def note(self, line: str) -> None:
        """Something beside the answer, on stderr."""
        if not self.quiet:
            self._console(stderr=True).print(_plain(line, "dim" if sys.stderr.isatty() else ""))

    def hint(self, line: str) -> None:
        """What to do next, for people alone: nothing where stdout is no terminal."""
        if sys.stdout.isatty():
            self.note(line)

    def error(self, line: str) -> None:
        """What went wrong, on stderr."""
        self._console(stderr=True).print(_plain("error:", "red") + _plain(f" {line}"), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, unit: str, before: str = "") -> Iterator[Callable[[int, int], None]]:
        """A function to be told (done, in all), which draws a bar once that takes long; ``unit`` is bytes or rows.

        ``before``: what goes on until it is told anything, for which a wheel turns.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn(binary_units=True) if unit == "bytes" else MofNCompleteColumn()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            console=self._console(stderr=True),
            transient=True,
        )
        began, task = time.monotonic(), bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            if not bar.live.is_started and time.monotonic() - began > _PATIENCE:
                wheel.close()  # two of rich's live displays do not share a screen
                bar.start()
            bar.update(task, completed=done, total=total)

        with ExitStack() as wheel:
            if before:
                wheel.enter_context(self.waiting(before))
            try:
                yield tell
            finally:
                bar.stop()

    def waiting(self, what: str) -> Any:
        """A context that turns a wheel on the terminal while something of unknown length goes on."""
        if self.quiet or not sys.stderr.isatty():
            return nullcontext()
        return self._console(stderr=True).status(what)

    def _print(self, what: Any) -> None:
        """Something of rich's on stdout; without the blanks that fill the last column where that is no terminal."""
        console = self._console()
        if sys.stdout.isatty():
            console.print(what)
            return
        with console.capture() as captured:
            console.print(what)
        sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())

    @staticmethod
    def _console(*, stderr: bool = False) -> "Console":
        from rich.console import Console

        stream = sys.stderr if stderr else sys.stdout
        if stream.isatty():
            return Console(stderr=stderr, highlight=False, emoji=False)
        return Console(stderr=stderr, highlight=False, emoji=False, width=_WIDE, no_color=True)


def as_json(value: Any) -> str:
    """Indented JSON; what is no JSON (dates, paths) as text, numbers that are not finite as null."""
    return json.dumps(_finite(value), indent=2, default=str, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _plain(line: str, style: str = "") -> "Text":
    """Text that rich prints as it is: no markup, no emoji in it is meant."""
    from rich.text import Text

    return Text(line, style)


def text(value: Any) -> str:
    """A value in a table's cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if value and not 1e-3 <= abs(value) < 1e6 else f"{value:,.4f}".rstrip("0").rstrip(".")
    return str(value)


def bytes_text(count: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def span_text(nanoseconds: int) -> str:
    """A length of time in the unit that suits it."""
    for unit, factor in (("d", 86400e9), ("h", 3600e9), ("min", 60e9), ("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {unit}"
    return f"{nanoseconds} ns"


def hush() -> None:
    """Whoever read our output has gone: write the rest nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
