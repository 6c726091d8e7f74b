"""DRAMSim2's and DRAMSim3's traces of memory: ``0xaddress READ|WRITE|IFETCH cycle``.

One nanosecond is written as one cycle. A modify is a read and a write of one cycle. DRAMSim3 takes every word that is
no write for a read, so fetches as well. An access is one line, of whatever length: the simulated bus has one size.
Source: DRAMSim2, TraceBasedSim.cpp (parseTraceFileLine, type mase); DRAMSim3, common.cc (operator>> of Transaction).
"""

import numpy as np
import polars as pl

from traces.export.exporter import Export, Outgoing, text
from traces.memory import Op

_WORDS = {Op.LOAD: ["READ"], Op.STORE: ["WRITE"], Op.FETCH: ["IFETCH"], Op.MODIFY: ["READ", "WRITE"]}
_COLUMNS = ("time", "op", "address", "size", "cpu", "ip", "gap", "weight")
_LINE = 64  # bytes that a transaction of usual memory has


def _write(out: Outgoing) -> int:
    written = 0
    if len(out.info.volumes) > 1:
        out.lose("address spaces, which lie upon each other there", len(out.info.volumes))
    words = {int(op): each for op, each in _WORDS.items()}
    for batch in out.rows(_COLUMNS):
        rows = out.chosen(batch, _WORDS)
        if not rows.height:
            continue
        long = int((rows["size"] > _LINE).sum())
        out.lose(f"accesses of more than {_LINE} bytes, of which the first address is written", long)
        for name, what in (
            ("size", "sizes"),
            ("cpu", "processors"),
            ("ip", "addresses of instructions"),
            ("gap", "gaps"),
            ("weight", "weights"),
        ):
            out.lose(f"{what}, not carried", int((rows[name] != 0).sum()))
        command = pl.col("op").replace_strict(words, return_dtype=pl.List(pl.String)).alias("command")
        lines = rows.select(_hexadecimal(rows["address"]), command, "time").explode("command")
        out.file.write(text(lines))
        written += lines.height
    return written


def _hexadecimal(numbers: pl.Series) -> pl.Series:
    """64-bit numbers as ``0x`` and 16 digits."""
    digits = numbers.to_numpy().astype(">u8").tobytes().hex().encode()
    return pl.Series("address", np.char.add("0x", np.frombuffer(digits, "S16").astype(str)))


EXPORT = Export("dramsim", "DRAMSim2 and DRAMSim3 trace", ".trace", frozenset({"memory"}), _write)
