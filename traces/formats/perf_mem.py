"""Samples of memory accesses by perf: ``perf mem report -D``, and ``perf script`` with addresses and weights.

The first begins with a line that names its columns, ``# PID, TID, IP, ADDR, [PHYS ADDR,] LOCAL WEIGHT, DSRC,
SYMBOL``; it has no clock. The lowest five bits of DSRC say what was done: 2 load, 4 store, 8 prefetch, 16 fetch. The
second is ``comm pid/tid [cpu] time: event: address [data source] weight ip ...``, of events mem-loads and mem-stores.
Both are samples, not every access; an address of 0 was not known. Weights are cycles. Physical addresses and page
sizes are not kept. Source: Linux, tools/perf/builtin-mem.c (dump_raw_samples), builtin-script.c (process_event),
include/uapi/linux/perf_event.h (union perf_mem_data_src). Checked against the documented layout only, not a
recording.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, numbered, ordinals, words
from traces.formats._template import Found, Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op
from traces.table import I64, U64

_COLUMNS = {
    "PID": "{pid:u32}",
    "TID": "{cpu:u32}",
    "IP": "{ip:x}",
    "ADDR": "{address:x}",
    "PHYS ADDR": "{physical:x}",
    "DATA PAGE SIZE": "{page:w}",
    "CODE PAGE SIZE": "{page:w}",
    "LOCAL WEIGHT": "{weight:u32}",
    "DSRC": "{dsrc:x}",
    "SYMBOL": "{*}",
}
_NEEDED = ("PID", "TID", "IP", "ADDR", "LOCAL WEIGHT", "DSRC")
_HEADER = re.compile(r"# (PID, TID, IP, ADDR, .*)$")
_SEPARATOR = re.compile(r"\s*\d+\s*([^\s\d])")

_DONE = {1: "n/a", 2: "load", 4: "store", 8: "prefetch", 16: "fetch"}
_OPS = {"load": Op.LOAD, "store": Op.STORE, "fetch": Op.FETCH}

_SCRIPT = re.compile(r"\s\d+\.\d{6,9}: .*mem-(loads|stores)\S*: +[0-9a-f]+ +\S")
_SHAPES = (  # what stands before the time: pid/tid or tid, with or without the core
    ("{pid:u32}/{cpu:u32} [{core:u32}]", re.compile(rb" \d+/\d+ +\[\d+\] +\d+\.\d+: ")),
    ("{pid:u32}/{cpu:u32}", re.compile(rb" \d+/\d+ +\d+\.\d+: ")),
    ("{cpu:u32} [{core:u32}]", re.compile(rb" \d+ +\[\d+\] +\d+\.\d+: ")),
    ("{cpu:u32}", re.compile(rb" \d+ +\d+\.\d+: ")),
)
_SAMPLES = tuple(
    f"{{time:t9}}: {{*}}{event}{{*}}: {{address:x}} {source}{{weight:u32}}{{?}} {{ip:x}}{{*}}"
    for source in ("", "{dsrc:x} |{*} ")
    for event in ("mem-loads", "mem-stores")
)
_OTHER = {"#{*}": "comments", "{*} {time:t9}: {*}": "events other than mem-loads and mem-stores, or without a weight"}


def _columns(head: bytes) -> list[str] | None:
    header = next((found for line in first_lines(head, 20) if (found := _HEADER.match(line))), None)
    columns = [each.strip() for each in header[1].split(",")] if header else []
    return columns if all(each in columns for each in _NEEDED) and set(columns) <= set(_COLUMNS) else None


def _sniff(name: str, head: bytes) -> str | None:
    if not is_text(head):
        return None
    if columns := _columns(head):
        return f"header line '# {', '.join(columns)}', as perf mem report -D prints it"
    if any(_SCRIPT.search(line) for line in first_lines(head, 40)):
        return "events mem-loads or mem-stores with an address and a weight, as perf script prints them"
    return None


def _template(columns: Sequence[str], head: bytes) -> str:
    """The template of a line: columns apart by blanks, or by the character that follows the first number."""
    first = next((line for line in first_lines(head, 40) if not line.startswith("#")), "")
    apart = _SEPARATOR.match(first)
    separator = f"~{apart[1]}~" if apart else " "
    return "~" + separator.join(_COLUMNS[each] for each in columns)


def _done(source: U64) -> tuple[I64, list[str]]:
    """[row] -> code of what the data source says was done, and the words by code."""
    bits, codes = np.unique(source & np.uint64(31), return_inverse=True)
    return codes, [_DONE.get(int(each), f"operation {int(each)}") for each in bits]


def _samples(found: Found, time: I64, done: tuple[I64, list[str]], source: Input, report: Report) -> pl.DataFrame:
    pid = np.where(found["pid"] > 0, found.signed("pid"), -1)
    report.note("samples, not every access", found.count)
    report.note("samples without an address", int(np.count_nonzero(found["address"] == 0)))
    codes, known = done
    ops = np.array([_OPS.get(word, Op.UNKNOWN) for word in known], np.uint8)
    return frame(
        found.count,
        time=time,
        op=ops[codes],
        space=numbered(pid, lambda number: source.label if number < 0 else f"pid {number}", report),
        cpu=found["cpu"],
        address=found["address"],
        ip=found["ip"],
        weight=found["weight"],
        raw=words(known, codes.astype(np.uint32)),
    )


def _read_raw(source: Input, columns: Sequence[str], report: Report) -> Iterator[pl.DataFrame]:
    first = 0
    templates = Templates([_template(columns, source.head())], {"#{*}": "comments"})
    with source.open() as stream:
        for found in templates.read(stream, source.name, report):
            yield _samples(found, ordinals(first, found.count), _done(found["dsrc"]), source, report)
            first += found.count


def _read_script(source: Input, report: Report) -> Iterator[pl.DataFrame]:
    head = source.head()
    shapes = sorted(_SHAPES, key=lambda shape: not shape[1].search(head))  # first what the file has: half of the time
    records = [f"{{*}} {shape} {sample}" for shape, _ in shapes for sample in _SAMPLES]
    with source.open() as stream:
        for found in Templates(records, _OTHER).read(stream, source.name, report):
            store = found.which % 2
            done = store.astype(np.int64), ["load", "store"]
            yield _samples(found, found.signed("time"), done, source, report)


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    columns = [_columns(source.head()) for source in sources]
    report.clock = "ordinal" if any(columns) else "monotonic"
    for source, each in zip(sources, columns, strict=True):
        yield from _read_raw(source, each, report) if each else _read_script(source, report)


FORMAT = Format(name="perf-mem", kind="memory", doc="perf mem samples as text", sniff=_sniff, read=_read)
