"""Columns that several tables of page-mapped drives have, declared once."""

from typing import Annotated

from traces.table import U32, U64

Volume = Annotated[U32, "which of the trace's volumes, counted from 0"]
Capacity = Annotated[U64, "bytes that the drive exports (compact layout: room for what the trace writes)"]
LogicalPages = Annotated[U64, "the same in pages"]
PhysicalPages = Annotated[U64, "pages of all blocks"]
GrownTo = Annotated[
    U64,
    "pages from which on the spare holds: logical_pages of a volume of which the trace writes fewer (direct layout: "
    "reaches fewer), which was given so many for its spare to work; 0 of others",
]
PagesRead = Annotated[U64, "pages read by the host"]
UnmappedRead = Annotated[U64, "of pages_read, those that hold nothing"]
HostPrograms = Annotated[U64, "pages programmed for the host"]
PrefillPrograms = Annotated[U64, "pages programmed before the trace began, copies included; in no other figure"]
Erases = Annotated[U64, "blocks erased since the trace began"]
TrimmedPages = Annotated[U64, "pages unmapped by discards and write-zeroes"]
