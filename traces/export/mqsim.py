"""MQSim's ASCII trace: ``time device LBA sectors type``.

Time in nanoseconds whatever ``Time_Unit`` says (pull request 23), address and size in sectors of 512 bytes, type 0 a
write, 1 a read. MQSim ignores the device (issue 47): export a trace of one volume, or its volumes lie upon each other
there. Source: MQSim, README and ``IO_Flow_Trace_Based``.
"""

from traces.block import Op
from traces.export.exporter import Export, Outgoing, text, words

_WORDS = {Op.WRITE: "0", Op.ZONE_APPEND: "0", Op.READ: "1"}
_COLUMNS = ("time", "op", "volume", "address", "length", "latency", "stream", "flags")


def _write(out: Outgoing) -> int:
    written = 0
    if len(out.info.volumes) > 1:
        out.lose("volumes, which MQSim itself does not tell apart", len(out.info.volumes))
    for batch in out.rows(_COLUMNS):
        rows = out.carried(batch, _WORDS)
        if not rows.height:
            continue
        out.untold(rows)
        out.lose("zone appends, written as writes", int((rows["op"] == int(Op.ZONE_APPEND)).sum()))
        rows = out.sectors(rows)
        out.file.write(text(rows.select("time", "volume", "lba", "sectors", words(_WORDS))))
        written += rows.height
    return written


EXPORT = Export("mqsim", "MQSim ASCII trace", ".trace", frozenset({"block"}), _write)
