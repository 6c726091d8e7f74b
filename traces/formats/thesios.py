"""Google's Thesios: synthesised requests to a file server, a CSV whose header names the columns.

The README lists them in another order than the files have, hence they are read by name. ``start_time`` is when the
server was asked, Unix seconds with nine decimals; the offset is within a file of the server: the file is the volume.
The length is what was requested, which may be nothing; the latency is the simulated one, for what was asked was put
together from sampled requests. Requests that the server's cache answered (``cache_hit`` 1) are among them. Source:
Google, Thesios, README; Phothilimthana et al., "Thesios", ASPLOS 2024.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from traces.errors import TraceError
from traces.formats.inputs import Input
from traces.formats.layout import Amount, Clock, Layout, read_layout
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text

_LATENCY = ("simulated_latency", "latency")  # the first that there is
_NEEDED = ("filename", "file_offset", "op_type", "request_io_size_bytes", "start_time")


def _header(head: bytes) -> list[str]:
    lines = first_lines(head, 1)
    return [word.strip(' "\t\r') for word in lines[0].split(",")] if lines else []


def _sniff(name: str, head: bytes) -> str | None:
    if not is_text(head) or not set(_NEEDED) <= set(_header(head)):
        return None
    return f"header line that names {', '.join(_NEEDED)}"


def _layout(source: Input) -> Layout:
    names = _header(source.head())
    at = {name: i for i, name in enumerate(names)}
    if missing := [name for name in _NEEDED if name not in at]:
        raise TraceError(f"{source.name}: the first line names no column {', '.join(missing)}")
    latency = next((at[name] for name in _LATENCY if name in at), None)
    return Layout(
        separator=",",
        time=Clock(at["start_time"], scale=9, kind="unix"),
        volume=(at["filename"],),
        offset=Amount(at["file_offset"]),
        length=Amount(at["request_io_size_bytes"]),
        op=at["op_type"],
        latency=None if latency is None else Clock(latency, scale=9),
        fewest=len(names),
        most=len(names),
    )


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    for source in sources:
        yield from read_layout(source, _layout(source), report)


FORMAT = Format(name="thesios", kind="block", doc="Google Thesios", sniff=_sniff, read=_read)
