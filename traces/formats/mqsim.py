"""MQSim's ASCII traces: ``time device LBA sectors type``, blank-separated.

Time in nanoseconds, always: MQSim ignores what its ``Time_Unit`` says (pull request 23). Address and size in sectors of
512 bytes; type 0 is a write, 1 a read. MQSim itself ignores the device (issue 47); here it is the volume. DiskSim,
SSDSim and the replayer have the same five columns in other units: the format must be declared. Source: MQSim, README
and ``IO_Flow_Trace_Based``.
"""

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format

LAYOUT = Layout(
    separator=None,
    time=Clock(0),
    volume=(1,),
    offset=Amount(2, unit=512),
    length=Amount(3, unit=512),
    op=4,
    ops={"0": Op.WRITE, "1": Op.READ},
    fewest=5,
    most=5,
)

FORMAT = Format(
    name="mqsim", kind="block", doc="MQSim ASCII trace", sniff=lambda name, head: None, read=reader_of(LAYOUT)
)
