"""PCI configuration accesses: what firmware and kernel read and wrote to find and set up a machine's devices.

A function's configuration space has 4096 bytes, of which the first 256 are reached through the ports 0xCF8 (address)
and 0xCFC (data), all of them through a window of memory (ECAM, also called MMCONFIG): base + (bus << 20 | device << 15
| function << 12 | register). Whether a function is present is told by the source, never taken from the data: virtual
functions read as all ones and are there. Source: PCI Express Base Specification, "Configuration Space".
"""

from enum import IntEnum
from typing import Annotated, NamedTuple

from traces.table import U8, U16, U32, U64, Text


class Op(IntEnum):
    """What was done to the register."""

    READ = 0
    WRITE = 1


class Mechanism(IntEnum):
    """The way an access took."""

    PORTS = 0
    ECAM = 1
    OTHER = 2


class Presence(IntEnum):
    """Whether the function that was accessed is there."""

    ABSENT = 0
    PRESENT = 1
    NOT_TOLD = 2


class Config(NamedTuple):
    """Accesses to PCI configuration space in time order, one row each."""

    time: Annotated[U64, "nanoseconds since the trace's first record; its order where the source has no clock"]
    op: Annotated[U8, "0 read, 1 write"]
    mechanism: Annotated[U8, "0 ports 0xCF8 and 0xCFC, 1 ECAM (memory window), 2 another or not told"]
    cpu: Annotated[U32, "virtual processor that accessed; 0 where not told"]
    segment: Annotated[U16, "PCI segment group (domain)"]
    bus: Annotated[U8, "bus number"]
    device: Annotated[U8, "device number on the bus, 0 to 31"]
    function: Annotated[U8, "function number of the device, 0 to 7"]
    register: Annotated[U16, "first byte of the access within the function's configuration space"]
    width: Annotated[U8, "bytes accessed; 0 where not told"]
    value: Annotated[U64, "what was read or written, of as many bytes as the access is wide"]
    present: Annotated[U8, "the function: 0 absent, 1 present, 2 not told"]
    phase: Annotated[Text, "what the guest was doing, where the source marks it"]
    raw: Annotated[Text, "the emulator's name of the device, or the source's own word for the access"]
