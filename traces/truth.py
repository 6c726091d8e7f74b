"""What a trace is known to be, told by whoever made it: tables that stand beside the trace, one folder each.

A recording has none of it; a generator knows all of it before or while it makes the rows. The truth comes and goes with
its trace.
"""

from typing import Annotated, Any, NamedTuple

from traces.label import TraceLabels
from traces.table import U8, U16, U32, U64, Text


class TraceFunctions(NamedTuple):
    """The PCI functions of a machine whose configuration accesses are traced, one row a function and time present."""

    segment: Annotated[U16, "PCI segment group (domain)"]
    bus: Annotated[U8, "bus number that the function has in the end"]
    device: Annotated[U8, "device number on the bus, 0 to 31"]
    function: Annotated[U8, "function number of the device, 0 to 7"]
    began: Annotated[U64, "first nanosecond at which it is there, in the trace's time"]
    ended: Annotated[U64, "one past the last nanosecond at which it is there"]
    vendor: Annotated[U16, "vendor id that its configuration space holds; 65535 of a virtual function"]
    id: Annotated[U16, "device id that its configuration space holds; 65535 of a virtual function"]
    header: Annotated[U8, "header type, bit 7 where the device has several functions"]
    virtual: Annotated[U8, "1 of a virtual function (SR-IOV), which reads as absent and is there; else 0"]
    name: Annotated[Text, "what the function is"]


class TraceSites(NamedTuple):
    """The places of kernel text that a kernel may patch, with what it may write there: one row a registered patch."""

    address: Annotated[U64, "first byte that may change"]
    length: Annotated[U32, "bytes that may change"]
    procedure: Annotated[Text, "procedure of the kernel that may patch here"]
    old: Annotated[Text, "bytes before, in hexadecimal"]
    new: Annotated[Text, "bytes after, in hexadecimal"]


class TraceRecords(NamedTuple):
    """Rows of a trace that are not what they seem or ought not to be, one row each; every other row is in order."""

    row: Annotated[U64, "number of the row in its trace, counted from 0"]
    truth: Annotated[Text, "what is special about it, in a word of the maker's"]


class TraceCauses(NamedTuple):
    """What led to a row of a trace, where its maker knows: one row each. No row is earlier than its cause."""

    row: Annotated[U64, "number of the row in its trace, counted from 0"]
    cause_kind: Annotated[Text, "kind of the trace, of the same name, that holds the cause"]
    cause_row: Annotated[U64, "number of the row there"]


TRUTHS: dict[str, type[Any]] = {
    "labels": TraceLabels,
    "functions": TraceFunctions,
    "sites": TraceSites,
    "records": TraceRecords,
    "causes": TraceCauses,
}
