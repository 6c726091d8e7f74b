"""ChampSim's traces: one packed record an instruction, without a header.

``input_instr`` has 64 bytes: u64 ip, is_branch, taken, 2 destination and 4 source registers, then u64 addresses of 2
memory destinations and 4 sources; 0 is none. The CloudSuite variant has 4 destinations, two bytes of address space
and padding: 96 bytes. ChampSim's development branch adds a byte ``load_type`` to the end of both: 72 bytes with the
padding, while CloudSuite's still have 96. It is not kept. An instruction is a fetch, then its loads, then its stores.
Branches and registers are not kept; sizes are not told, nor is a clock. Nothing in such a file says what it is: the
format must be declared. It was checked against the documented layout only, not a recording. Source: ChampSim,
inc/trace_instruction.h (load_type: of commit 06a434b5ac92).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.formats._accesses import frame, numbered, ordinals, words
from traces.formats.inputs import Input
from traces.formats.reader import ROWS, Format, Options, Report
from traces.memory import Op

_PLAIN = np.dtype([("ip", "<u8"), ("branch", "u1", 2), ("registers", "u1", 6), ("dst", "<u8", 2), ("src", "<u8", 4)])
_TYPED = np.dtype([*_PLAIN.descr, ("load_type", "u1"), ("padding", "V7")])
_CLOUD = np.dtype(
    {
        "names": ["ip", "branch", "registers", "dst", "src", "asid"],
        "formats": ["<u8", ("u1", 2), ("u1", 8), ("<u8", 4), ("<u8", 4), "<u2"],
        "offsets": [0, 8, 10, 24, 56, 88],
        "itemsize": 96,
    }
)


def _rows(instructions: NDArray[np.void], first: int, source: Input, report: Report) -> pl.DataFrame:
    """A row a fetch and one an operand, in the order of the instructions."""
    count, loads = instructions.size, instructions["src"].shape[1]
    addresses = np.column_stack([instructions["ip"], instructions["src"], instructions["dst"]])
    there = addresses != 0
    there[:, 0] = True
    line, place = np.nonzero(there)
    what = np.where(place == 0, 2, np.where(place <= loads, 0, 1)).astype(np.uint32)
    spaces = np.full(count, -1) if "asid" not in (instructions.dtype.names or ()) else instructions["asid"]
    space = numbered(spaces, lambda n: source.label if n < 0 else f"{source.label}: address space {n}", report)
    return frame(
        line.size,
        time=ordinals(first, line.size),
        op=np.array([Op.LOAD, Op.STORE, Op.FETCH], np.uint8)[what],
        space=space[line],
        address=addresses[line, place],
        ip=instructions["ip"][line],
        raw=words(["source", "destination", "ip"], what),
    )


def _instructions(layout: np.dtype[np.void], sources: Sequence[Input], report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    size = layout.itemsize
    for source in sources:
        offset, first, rest = 0, 0, b""
        with source.open() as stream:
            while block := stream.read(ROWS // 8 * size - len(rest)):
                data = rest + block
                count = len(data) // size
                rest = data[count * size :]
                if count:
                    rows = _rows(np.frombuffer(data, layout, count), first, source, report)
                    first += rows.height
                    yield rows
                offset += count * size
        if rest:
            report.refuse(source.name, offset, f"cut short: {len(rest)} of a record's {size} bytes", rest)


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    yield from _instructions(_PLAIN, sources, report)


def _read_typed(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    yield from _instructions(_TYPED, sources, report)


def _read_cloudsuite(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    yield from _instructions(_CLOUD, sources, report)


def _sniff(name: str, head: bytes) -> str | None:
    return None  # records of numbers, without a header: it must be declared


FORMAT = Format(
    name="champsim", kind="memory", doc="ChampSim instruction traces, 64-byte records", sniff=_sniff, read=_read
)
LOAD_TYPE = Format(
    name="champsim-load-type",
    kind="memory",
    doc="ChampSim instruction traces with load types, 72-byte records",
    sniff=_sniff,
    read=_read_typed,
)
CLOUDSUITE = Format(
    name="champsim-cloudsuite",
    kind="memory",
    doc="ChampSim's CloudSuite variant, 96-byte records",
    sniff=_sniff,
    read=_read_cloudsuite,
)
