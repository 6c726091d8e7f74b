"""What Linux reads and writes to find PCI functions: its scan at boot, rescans, hot-plug, virtual functions.

By the rules of Linux 6.1 on x86, and in the order of a recording of it: ``drivers/pci/probe.c`` (pci_scan_slot,
pci_setup_device, pci_scan_bridge_extend, pci_init_capabilities), ``pci.c``, ``iov.c``, ``pcie/aspm.c``,
``hotplug/pciehp_hpc.c``; ``arch/x86/pci`` for the way that an access takes (registers below 256 through the ports, the
rest through the window: ``common.c``), for the sweep over buses that nobody told of (``legacy.c``) and the survey of
addresses (``i386.c``); ``arch/x86/kernel/early-quirks.c``. Drivers of devices and quirks of single chips are left out.
"""

from collections.abc import Iterator

import numpy as np

from traces.workloads.pci.functions import Known
from traces.workloads.pci.machine import (
    ARI,
    BUSES,
    COMMAND,
    CONTROL,
    HEADER,
    PORTS,
    SRIOV,
    STATUS,
    WINDOW,
    Machine,
)
from traces.workloads.pci.topology import Place, virtual

_WINDOWS = ((0x1C, 1), (0x1D, 1), (0x20, 2), (0x22, 2), (0x24, 2), (0x26, 2), (0x28, 4), (0x2C, 4))


class Linux:
    """The kernel's knowledge of a machine. Every method records its accesses in the machine."""

    def __init__(self, machine: Machine, *, ports: bool, last_bus: int) -> None:
        self.machine, self.ports, self.last_bus = machine, ports, last_bus
        self.known: dict[int, Known] = {}
        self.buses: dict[int, Known | None] = {0: None}  # bus -> the bridge before it

    def way(self, register: int) -> int:
        """The way of an access."""
        return PORTS if self.ports and register < 256 else WINDOW

    def read(self, bdf: int, register: int, width: int) -> int:
        """Read a register; all ones, and no access, of what no way leads to."""
        if register >= 256 and not self.machine.ecam:
            return (1 << 8 * width) - 1
        return self.machine.read(self.way(register), bdf, register, width)

    def write(self, bdf: int, register: int, width: int, value: int) -> None:
        """Write it."""
        if register < 256 or self.machine.ecam:
            self.machine.write(self.way(register), bdf, register, width, value)

    def boot(self) -> None:
        """All that comes before drivers."""
        self.early(0)
        self.scan(0)
        self.sweep()
        self.survey()
        for f in self.known.values():  # in the order in which they were found
            f.read(0x0C, 1)

    def early(self, bus: int) -> None:
        """Look for chips that want care before anything else: class, vendor, device and header of every function."""
        for device in range(32):
            for function in range(8):
                bdf = bus << 8 | device << 3 | function
                if self.read(bdf, 0x0A, 2) == 0xFFFF:  # then the functions after it are not asked for either
                    break
                self.read(bdf, 0, 2)
                self.read(bdf, 2, 2)
                kind = self.read(bdf, HEADER, 1)
                if kind & 0x7F == 1 and (behind := self.read(bdf, BUSES + 1, 1)) > bus:
                    self.early(behind)
                if function == 0 and not kind & 0x80:
                    break

    def scan(self, bus: int) -> None:
        """Everything on a bus and behind it: slots, then bridges in two passes."""
        bridge = self.buses[bus]
        for device in range(32):
            self.slot(bus, device)
        mine = [self.known[bdf] for bdf in sorted(bdf for bdf in self.known if bdf >> 8 == bus)]
        if bridge is not None and not bridge.settled:
            for register, width in _WINDOWS:
                bridge.read(register, width)
            bridge.settled = True
        for last in (False, True):
            for f in mine:
                if f.bridge:
                    self.behind(f, last=last)

    def slot(self, bus: int, device: int) -> int:
        """The functions of a device; how many are new. Behind a port there is device 0 alone."""
        bridge = self.buses[bus]
        if bridge is not None and bridge.express and device:
            return 0
        new, function = 0, 0
        while True:
            f, fresh = self.single(bus << 8 | device << 3 | function)
            new += fresh
            if f is None and function == 0:
                break
            if bridge is not None and bridge.ari:
                at = f.extended(ARI) if f is not None else 0
                following = f.read(at + 4, 2) >> 8 if f is not None and at else 0
            else:
                following = 0 if function == 7 or (f is not None and not f.multifunction) else function + 1
            if following <= function:
                break
            function = following
        if bridge is not None and bridge.express and new:
            self.known[bus << 8].link()
        return new

    def single(self, bdf: int) -> tuple[Known | None, bool]:
        """A function, and whether it was not known before."""
        if bdf in self.known:
            return self.known[bdf], False
        if self.read(bdf, 0, 4) & 0xFFFF == 0xFFFF:
            return None, False
        f = self.known[bdf] = Known(self, bdf, self.buses[bdf >> 8])
        f.set_up()
        f.prepare()
        return f, True

    def behind(self, f: Known, *, last: bool) -> None:
        """One of two passes over a bridge: in the first those that have their numbers, in the second the others."""
        numbers = f.read(BUSES, 4)
        f.read(CONTROL, 2)
        f.write(CONTROL, 2, 2)
        if f.express:
            f.read(f.express + 0x1E, 2)
        secondary = self.machine.functions[f.bdf].place.secondary
        numbered = bool(numbers >> 8 & 0xFF)
        if numbered is not last:
            fresh = secondary not in self.buses
            if not numbered:
                f.write(STATUS, 2, 0xFFFF)
                f.write(BUSES, 4, 0xFF << 16 | secondary << 8 | f.bdf >> 8)
            self.buses.setdefault(secondary, f)
            if fresh:
                f.speed()
                for device in range(1 if f.express else 32):  # ACPI's hot-plug driver asks for a new bus's slots first
                    self.read(secondary << 8 | device << 3, 0, 4)
            self.scan(secondary)
            if not numbered:
                f.write(BUSES + 2, 1, max(self.buses))
        f.write(CONTROL, 2, 2)

    def sweep(self) -> None:
        """Ask every slot of buses that no bridge led to: a word a slot, up to the last bus."""
        buses = [bus for bus in range(self.last_bus + 1) if bus not in self.buses]
        places = np.repeat(np.array(buses, np.uint64) << np.uint64(8), 32)
        places |= np.tile(np.arange(0, 256, 8, dtype=np.uint64), len(buses))
        self.machine.absent(self.way(0), places, 0, 2)

    def devices(self) -> Iterator[Known]:
        """All that is known, a bridge before what lies behind it."""

        own: dict[int, list[Known]] = {}
        for bdf in sorted(self.known):
            own.setdefault(bdf >> 8, []).append(self.known[bdf])

        def on(bus: int) -> Iterator[Known]:
            for f in own.get(bus, []):
                yield f
                if f.bridge:
                    yield from on(self.machine.functions[f.bdf].place.secondary)

        return on(0)

    def survey(self) -> None:
        """Which addresses firmware gave, in two passes; then the windows of bridges are written."""
        for _ in range(2):
            for f in self.devices():
                f.read(COMMAND, 2)
        self.assign()
        for f in self.devices():
            if f.bridge:
                f.windows()

    def rescan(self) -> None:
        """What ``/sys/bus/pci/rescan`` does: the scan, new functions alone looked at closely."""
        self.scan(0)
        self.assign()

    def assign(self) -> None:
        """Addresses for the functions that have none."""
        for f in self.devices():
            if not f.placed:
                f.assign()

    def plug(self, place: Place) -> None:
        """A device came: the port's driver sees it, and its slot is scanned."""
        bridge = self.buses[place.bus]
        if bridge is not None and bridge.express:
            bridge.slot_event(power=True)
            self.read(place.bus << 8, 0, 4)
        self.slot(place.bus, place.slot >> 3)
        self.assign()
        if bridge is not None:
            bridge.windows()

    def unplug(self, bus: int, device: int) -> None:
        """A device is to go: its functions are let go of, last first, and its port is switched off."""
        bridge = self.buses[bus]
        own = [bdf for bdf in self.known if bdf >> 3 == bus << 5 | device]
        for bdf in sorted(self.known, reverse=True):
            f = self.known[bdf]
            if bdf in own or (f.physical is not None and f.physical.bdf in own):
                self.known.pop(bdf).remove()
        if bridge is not None and bridge.express:
            bridge.slot_event(power=False)

    def enable(self, place: Place) -> list[Place]:
        """Switch virtual functions on; they come with the number of the physical one and are set up in turn."""
        physical = self.known[place.bdf]
        at = physical.extended(SRIOV)
        physical.read(at + 0x14, 2)
        physical.read(at + 0x16, 2)
        physical.write(at + 0x10, 2, place.vfs)
        physical.write(at + 8, 2, physical.read(at + 8, 2) | 9)
        made = virtual(place)
        for each in made:
            self.machine.plug(each, multi=False, virtual=True)
            f = self.known[each.bdf] = Known(self, each.bdf, self.buses[place.bus], physical=physical)
            f.set_up()
            f.prepare()
        return made

    def dump(self) -> None:
        """What ``lspci -xxxx`` does: all dwords of every function, the extended ones where it has them."""
        for f in self.devices():
            for register in range(0, f.size, 4):
                f.read(register, 4)
