"""valgrind's lackey with ``--trace-mem=yes``: ``I  0401ab70,3``, `` S 1fff000758,8``: hexadecimal address, bytes.

``I`` (fetch) stands in the first column, ``L``, ``S`` and ``M`` (modify: load, then store) in the second. There is no
clock and no thread. The accesses of an instruction follow its fetch: that address is their ``ip``. Copies that were
stripped of their ``I`` lines are common; theirs is 0. What valgrind itself says (``==pid==``, ``--pid--``) is
counted. Source: valgrind, lackey/lk_main.c (trace_instr, trace_load, trace_store, trace_modify) and its manual.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from traces.formats._accesses import frame, latest, ordinals, words
from traces.formats._template import Templates
from traces.formats.inputs import Input
from traces.formats.reader import Format, Options, Report
from traces.formats.text import first_lines, is_text
from traces.memory import Op

_OPS = (Op.LOAD, Op.STORE, Op.FETCH, Op.MODIFY)
_RAW = ("L", "S", "I", "M")
_FETCH = _OPS.index(Op.FETCH)
_LINES = tuple(f"{'I' if word == 'I' else ' ' + word} {{address:x}},{{size:u63}}" for word in _RAW)
_SAID = {"=={*}": "lines of valgrind's own", "--{*}": "lines of valgrind's own"}

_LINE = re.compile(r"(?:I  | [LSM] )[0-9a-f]{2,16},\d{1,4}\s*$")
_BANNER = re.compile(r"(==|--)\d+(==|--)( |$)")


def _sniff(name: str, head: bytes) -> str | None:
    lines = first_lines(head, 40) if is_text(head) else []
    rest = [line for line in lines if not _BANNER.match(line)]
    if not rest or not all(_LINE.match(line) for line in rest):
        return None
    return "lines of I, L, S or M, hexadecimal address, comma and bytes, I in the first column"


def _read(sources: Sequence[Input], options: Options, report: Report) -> Iterator[pl.DataFrame]:
    report.clock = "ordinal"
    ops = np.array(_OPS, np.uint8)
    for source in sources:
        first, ip = 0, np.uint64(0)
        with source.open() as stream:
            for found in Templates(_LINES, _SAID).read(stream, source.name, report):
                address = found["address"]
                ips = latest(address, found.which == _FETCH, ip)
                ip = ips[-1]
                yield frame(
                    found.count,
                    time=ordinals(first, found.count),
                    op=ops[found.which],
                    space=report.volume(source.label),
                    address=address,
                    size=found["size"],
                    ip=ips,
                    raw=words(_RAW, found.which),
                )
                first += found.count


FORMAT = Format(name="lackey", kind="memory", doc="valgrind lackey --trace-mem", sniff=_sniff, read=_read)
