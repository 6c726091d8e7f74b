"""One function as Linux deals with it: what is read and written to set it up, to prepare it and to let go of it.

Of Linux 6.1, in its order: pci_setup_device, pci_configure_device, pci_init_capabilities, pcie_aspm_init_link_state,
pci_update_resource, pci_setup_bridge, the driver pciehp. See `traces.workloads.pci.linux`.
"""

from typing import Protocol

from traces.workloads.pci.machine import (
    ARI,
    COMMAND,
    CONTROL,
    EXPRESS,
    HEADER,
    LINE,
    LIST,
    MSI,
    MSIX,
    PIN,
    POWER,
    SRIOV,
    STATUS,
)
from traces.workloads.pci.topology import HOST_BRIDGE

_ONES = 0xFFFFFFFF
_IDE = 0x0101
_ENDPOINT, _ROOT_PORT, _ROOT_ENDPOINT = 0, 4, 9
_AGP, _VPD, _PCIX, _SSVID, _AGP3, _AF, _EA = 0x02, 0x03, 0x07, 0x0D, 0x0E, 0x13, 0x14
_AER, _VC, _MFVC, _VC9, _ACS, _ATS, _PRI, _LTR, _PASID, _DPC, _L1SS, _PTM = (
    0x01,
    0x02,
    0x08,
    0x09,
    0x0D,
    0x0F,
    0x13,
    0x18,
    0x1B,
    0x1D,
    0x1E,
    0x1F,
)
_FROM = 0x40000000  # where addresses for what comes later begin


class Reads(Protocol):
    """Who makes the accesses."""

    def read(self, bdf: int, register: int, width: int) -> int:
        """Read a register."""

    def write(self, bdf: int, register: int, width: int, value: int) -> None:
        """Write it."""


class Known:
    """A function that the kernel knows."""

    def __init__(self, kernel: Reads, bdf: int, parent: "Known | None", physical: "Known | None" = None) -> None:
        self.kernel, self.bdf, self.parent, self.physical = kernel, bdf, parent, physical
        self.express = self.type = self.kind = 0
        self.size = 256
        self.multifunction = self.bridge = False
        self.ari = False  # of a bridge: functions behind it are found by ARI
        self.settled = False  # of a bridge: its windows were read
        self.placed = True
        self.bars: list[tuple[int, int, int]] = []  # register, size, flags

    def read(self, register: int, width: int) -> int:
        """Read a register."""
        return self.kernel.read(self.bdf, register, width)

    def write(self, register: int, width: int, value: int) -> None:
        """Write it."""
        self.kernel.write(self.bdf, register, width, value)

    def capability(self, kind: int) -> int:
        """Go through the list: where the capability stands, 0 where it does not."""
        if not self.read(STATUS, 2) & 0x10:
            return 0
        at = self.read(LIST, 1) & ~3
        while at >= 0x40:
            head = self.read(at, 2)
            if head & 0xFF == kind:
                return at
            at = head >> 8 & ~3
        return 0

    def extended(self, kind: int) -> int:
        """The same of the extended list."""
        at = 0x100 if self.size > 256 else 0
        while at >= 0x100:
            head = self.read(at, 4)
            if not head:
                return 0
            if head & 0xFFFF == kind:
                return at
            at = head >> 20 & ~3
        return 0

    def set_up(self) -> None:
        """Header, class, size of the configuration space, base address registers."""
        kind = self.read(HEADER, 1)
        self.multifunction, self.bridge = bool(kind & 0x80), kind & 0x7F == 1
        if at := self.capability(EXPRESS):
            self.express, self.type = at, self.read(at + 2, 2) >> 4 & 15
            self.read(at + 4, 4)
        self.kind = self.read(0x08, 4) >> 16
        self.size = self.physical.size if self.physical else self.whole()
        if self.physical is None:
            before = self.read(COMMAND, 2)
            self.write(COMMAND, 2, before ^ 0x400)
            self.read(COMMAND, 2)
            self.write(COMMAND, 2, before)
            if self.read(PIN, 1):
                self.read(LINE, 1)
            self.bases()
        if self.bridge:
            self.bridge_windows()
        else:
            self.read(0x2C, 2)
            self.read(0x2E, 2)
            if self.kind == _IDE:
                self.read(0x09, 1)

    def whole(self) -> int:
        """How large the configuration space is: is there something at 0x100, and is it no echo of the header?"""
        if self.parent is not None and not self.parent.express:
            return 256  # no extended registers can be reached behind a bridge of conventional PCI
        if not (self.kind == HOST_BRIDGE or self.express) and not self.capability(_PCIX):
            return 256
        if self.read(0x100, 4) == _ONES:
            return 256
        vendor = self.read(0, 4)
        return 256 if self.read(0x100, 4) == vendor else 4096

    def bases(self) -> None:
        """The sizes of base address registers and ROM, decoding switched off meanwhile (not a host bridge's)."""
        count, at = (2 if self.bridge else 6), 0
        while at < count:
            at += 1 + self.base(0x10 + 4 * at, _ONES)
        self.base(0x38 if self.bridge else 0x30, 0xFFFFF800)

    def base(self, register: int, mask: int) -> bool:
        """One of them; whether it takes two."""
        command = 0 if self.kind == HOST_BRIDGE else self.read(COMMAND, 2)
        if command & 3:
            self.write(COMMAND, 2, command & ~3)
        size = self.sized(register, mask)
        wide = mask == _ONES and bool(size & 4) and not size & 1
        if wide:
            self.sized(register + 4, _ONES)
        if size and mask == _ONES:
            flags = 1 if size & 1 else size & 15
            self.bars.append((register, -(size & ~15) & _ONES, flags))
            self.placed = self.placed and bool(command & 3)
        if command & 3:
            self.write(COMMAND, 2, command)
        return wide

    def sized(self, register: int, mask: int) -> int:
        """Read, write the mask, read, restore."""
        before = self.read(register, 4)
        self.write(register, 4, mask)
        size = self.read(register, 4)
        self.write(register, 4, before)
        return size

    def bridge_windows(self) -> None:
        """Which windows a bridge has, and what is particular to bridges."""
        if not self.read(0x1C, 2):
            self.write(0x1C, 2, 0xE0F0)
            self.read(0x1C, 2)
            self.write(0x1C, 2, 0)
        if self.read(0x24, 4) & 15 == 1:
            self.sized(0x28, _ONES)
        if self.express:
            self.read(self.express + 0x14, 4)
        if at := self.capability(_SSVID):
            self.read(at + 4, 2)
            self.read(at + 6, 2)

    def prepare(self) -> None:
        """Configure it and look for every capability that the kernel knows."""
        self.configure()
        self.capability(_EA)
        if at := self.capability(MSI):
            self.read(at + 2, 2)
        if at := self.capability(MSIX):
            self.read(at + 2, 2)
        self.capability(EXPRESS)
        self.capability(_PCIX)
        for kind in (_LTR, _MFVC, _VC, _VC9):
            self.extended(kind)
        power = self.capability(POWER)
        if power:
            self.read(power + 2, 2)
            self.read(STATUS, 2)
        self.capability(_VPD)
        self.find_ari()
        if self.express:
            self.virtualisation()
        for kind in (_ATS, _PRI, _PASID, _ACS, _PTM):
            self.extended(kind)
        self.errors()
        self.extended(_DPC)
        if self.type == _ENDPOINT and self.express and not self.bdf & 7 and self.physical is None:
            self.bandwidth()
        self.capability(_AF)
        if power:
            self.read(power + 4, 2)
        for _ in range(6):  # recorded of every function with an extended list; by whom is not known
            self.extended(0)

    def configure(self) -> None:
        """Payload sizes, tags, ordering, latency reports, errors."""
        if self.express and self.physical is None:
            at, port = self.express, self.parent
            if self.type == _ROOT_ENDPOINT:
                self.write(at + 8, 2, self.read(at + 8, 2))
            elif port is not None and port.express:
                self.read(at + 8, 2)
                port.read(port.express + 8, 2)
            if self.read(at + 4, 4) & 0x20 and not self.read(at + 8, 2) & 0x100:
                self.write(at + 8, 2, self.read(at + 8, 2) | 0x100)
            self.read(at + 8, 2)
            self.extended(_L1SS)
            self.read(at + 0x24, 4)
            self.read(at + 0x24, 4)
            if port is not None and port.express:
                port.read(port.express + 0x10, 2)
                self.write(at + 0x10, 2, self.read(at + 0x10, 2))
        if self.bridge and not (control := self.read(CONTROL, 2)) & 2:
            self.write(CONTROL, 2, control | 2)

    def find_ari(self) -> None:
        """Whether the functions of this device are found by ARI; the port before it is told."""
        port = self.parent
        if port is None or not port.express or not self.express or self.bdf & 0xFF:
            return
        if port.read(port.express + 0x24, 4) & 0x20:
            port.ari = bool(self.extended(ARI))
            control = port.read(port.express + 0x28, 2)
            port.write(port.express + 0x28, 2, control | 0x20 if port.ari else control & ~0x20)

    def virtualisation(self) -> None:
        """What an SR-IOV capability offers: its virtual functions' number, places, pages and base address registers."""
        if self.physical is not None or not (at := self.extended(SRIOV)):
            return
        if self.read(at + 8, 2) & 1:
            self.write(at + 8, 2, 0)
        self.read(at + 0x0E, 2)
        self.write(at + 8, 2, 0x10 if self.parent is not None and self.parent.ari else 0)
        self.write(at + 0x10, 2, 0)
        self.read(at + 0x14, 2)
        self.read(at + 0x16, 2)
        self.read(at + 0x1C, 4)
        self.write(at + 0x20, 4, 1)
        placed, n = self.placed, 0
        while n < 6:
            n += 1 + self.base(at + 0x24 + 4 * n, _ONES)
        self.bars = [bar for bar in self.bars if bar[0] < 0x28]
        self.placed = placed
        self.read(at + 4, 4)
        self.read(at + 0x12, 1)

    def errors(self) -> None:
        """Advanced error reporting: old errors are cleared, reports switched on."""
        if not self.extended(_AER):
            return
        at = self.extended(_AER)
        for register in (0x30,) * (self.type == _ROOT_PORT) + (0x10, 0x04):
            self.write(at + register, 4, self.read(at + register, 4))
        if self.physical is None:
            control = self.read(self.express + 8, 2)
            self.write(self.express + 8, 2, control | 0x0F)

    def bandwidth(self) -> None:
        """What the device could carry and what its link gives."""
        at = self.express
        if not self.read(at + 0x2C, 4):
            self.read(at + 0x0C, 4)
        self.read(at + 0x0C, 4)
        link: Known | None = self
        while link is not None and link.express:
            if link.type != _ROOT_ENDPOINT:
                link.read(link.express + 0x12, 2)
            link = link.parent

    def speed(self) -> None:
        """Of a bridge: how fast the new bus behind it is."""
        for kind in (_AGP, _AGP3, _PCIX):
            self.capability(kind)
        if self.express:
            self.read(self.express + 0x0C, 4)
            self.read(self.express + 0x12, 2)
        else:
            self.capability(_PCIX)  # whether extended registers can be reached behind it

    def link(self) -> None:
        """Power states of the link between a port and the first function behind it."""
        port = self.parent
        if port is None or not self.express:
            return
        mine, its = self.express, port.express
        self.read(mine + 4, 4)
        port.read(its + 0x0C, 4)
        self.read(mine + 0x0C, 4)
        self.read(mine + 0x12, 2)
        port.read(its + 0x12, 2)
        port.read(its + 0x10, 2)
        self.read(mine + 0x10, 2)
        control = self.read(mine + 0x10, 2)
        self.write(mine + 0x10, 2, control)
        control = port.read(its + 0x10, 2)
        port.write(its + 0x10, 2, control)
        port.read(its + 0x12, 2)
        port.write(its + 0x10, 2, port.read(its + 0x10, 2) | 0x20)
        port.read(its + 0x12, 2)
        port.read(its + 0x0C, 4)
        self.read(mine + 0x0C, 4)
        port.read(its + 0x10, 2)
        self.read(mine + 0x10, 2)
        port.read(its + 0x0C, 4)
        self.read(mine + 0x0C, 4)
        self.read(mine + 0x0C, 4)

    def assign(self) -> None:
        """Write addresses to base address registers that have none."""
        self.placed = True
        for register, size, flags in self.bars:
            wide = bool(flags & 4) and not flags & 1
            command = self.read(COMMAND, 2) if wide else 0
            if wide:
                self.write(COMMAND, 2, command & ~2)
            self.write(register, 4, (_FROM + (self.bdf << 14)) // size * size & _ONES | flags)
            self.read(register, 4)
            if wide:
                self.write(register + 4, 4, 0)
                self.read(register + 4, 4)
                self.write(COMMAND, 2, command)

    def windows(self) -> None:
        """Write a bridge's windows."""
        ports = self.read(0x1C, 2)
        memory, prefetchable = self.read_back(0x20), self.read_back(0x24)
        self.write(0x30, 4, 0xFFFF)
        self.write(0x1C, 2, ports)
        self.write(0x30, 4, 0)
        self.write(0x20, 4, memory)
        self.write(0x2C, 4, 0)
        self.write(0x24, 4, prefetchable)
        self.write(0x28, 4, 0)
        self.write(0x2C, 4, 0)
        self.write(CONTROL, 2, 2)

    def read_back(self, register: int) -> int:
        """What the kernel remembers of a window: a place of its own for each bus, as no access is made to know."""
        base = (self.bdf << 5 & 0x7FF0) | 0x8000
        return (base << 16 | base) & 0xFFF0FFF0 if register == 0x20 else 0x0000FFF0

    def slot_event(self, *, power: bool) -> None:
        """Of a port: a device came or goes; status is read and cleared, power and indicator are set."""
        at = self.express
        status = self.read(at + 0x1A, 2)
        self.write(at + 0x1A, 2, status)
        self.read(at + 0x12, 2)
        control = self.read(at + 0x18, 2)
        self.write(at + 0x18, 2, (control & ~0x700) | (0x100 if power else 0x700))
        self.read(at + 0x1A, 2)
        if power:
            self.read(at + 0x12, 2)

    def remove(self) -> None:
        """Let go of it: is it still there, bus mastering off."""
        self.read(0, 4)
        self.write(COMMAND, 2, self.read(COMMAND, 2) & ~4)
