"""DiskSim's ASCII traces: ``time device block blocks flags``, blank-separated.

Time in milliseconds with decimals, address and size in blocks of 512 bytes, flags hexadecimal: bit 0 says that it is a
read, the others (synchronous, time-critical...) stay in ``raw``. The device is the volume. DiskSim reads the block
number into 32 bits; here it may be larger. Fields past the fifth are ignored, as by DiskSim. MQSim, SSDSim and the
replayer have the same five columns in other units: the format must be declared. Source: The DiskSim Simulation
Environment, Version 4.0 Reference Manual, "Input traces"; ``iotrace_ascii_get_ioreq_event``.
"""

import re

from traces.block import Op
from traces.formats.layout import Amount, Clock, Layout, reader_of
from traces.formats.reader import Format

_FLAGS = re.compile(r"(0x)?[0-9a-f]{1,16}")
_READ = 1


def _meaning(flags: str) -> Op:
    if not _FLAGS.fullmatch(flags):
        return Op.UNKNOWN
    return Op.READ if int(flags, 16) & _READ else Op.WRITE


LAYOUT = Layout(
    separator=None,
    time=Clock(0, scale=6),
    volume=(1,),
    offset=Amount(2, unit=512),
    length=Amount(3, unit=512),
    op=4,
    ops={},
    meaning=_meaning,
    fewest=5,
)

FORMAT = Format(
    name="disksim", kind="block", doc="DiskSim ASCII trace", sniff=lambda name, head: None, read=reader_of(LAYOUT)
)
