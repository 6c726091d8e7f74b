"""fio's iolog, version 3: ``timestamp file action offset length``.

Timestamps are microseconds (iolog.c writes ``utime_since_now``; the manual names no unit), so times are cut to them. A
volume is a file, added and opened first and closed last: without those lines fio crashes (issue 1567). Reads, writes,
trims and syncs; fio has no word for the rest. Source: fio, HOWTO "Trace file format v3", iolog.c.
"""

import polars as pl

from traces.block import Op
from traces.export.exporter import Export, Outgoing, plain_names, text, words

_WORDS = {
    Op.READ: "read",
    Op.WRITE: "write",
    Op.ZONE_APPEND: "write",  # fio appends by --zonemode, its log has no other word for them
    Op.DISCARD: "trim",
    Op.FLUSH: "sync",
}
_COLUMNS = ("time", "op", "volume", "address", "length", "latency", "stream", "flags")


def _write(out: Outgoing) -> int:
    given = [volume.name for volume in out.info.volumes]
    names = plain_names(given)
    out.lose("names of volumes, written without blanks", sum(a != b for a, b in zip(names, given, strict=True)))
    files = pl.Series("file", names)
    out.file.write(b"fio version 3 iolog\n")
    out.file.write("".join(f"0 {name} add\n0 {name} open\n" for name in names).encode())
    written = last = 0
    for batch in out.rows(_COLUMNS):
        rows = out.carried(batch, _WORDS)
        if not rows.height:
            continue
        out.untold(rows)
        out.lose("times, cut to microseconds", int((rows["time"] % 1000 != 0).sum()))
        out.lose("zone appends, written as writes", int((rows["op"] == int(Op.ZONE_APPEND)).sum()))
        lines = rows.select(pl.col("time") // 1000, files.gather(rows["volume"]), words(_WORDS), "address", "length")
        out.file.write(text(lines))
        last = int(lines["time"][-1])
        written += rows.height
    out.file.write("".join(f"{last} {name} close\n" for name in names).encode())
    return written


EXPORT = Export("fio-iolog", "fio's iolog, version 3", ".iolog", frozenset({"block"}), _write)
