"""What firmware reads and writes to find a machine's PCI functions and to give them numbers and addresses.

The order of both was learned from recordings of SeaBIOS 1.16 and OVMF (2022) under QEMU 7.2: which function is asked
when, at which register and width. Left out is what concerns one chip alone (memory controllers, interrupt routers) and
the firmware's own drivers. Addresses are handed out upwards by size, from bases of ours.

SeaBIOS looks for functions by a word at register 0 through the ports and goes through the window from when it has set
that up; a machine without a window it reads through the ports throughout. OVMF reads a dword, then the whole header,
counts the buses, throws the numbers away and counts anew with room for hot-plug, all of it twice.
"""

from collections.abc import Iterator

import numpy as np

from traces.workloads.pci.machine import (
    BUSES,
    COMMAND,
    CONTROL,
    EXPRESS,
    HEADER,
    LINE,
    LIST,
    PIN,
    PORTS,
    POWER,
    STATUS,
    WINDOW,
    Function,
    Machine,
)

_ONES = 0xFFFFFFFF
_CLOSED = (
    *((0x1C, 1, 0xFF), (0x1D, 1, 0), (0x20, 2, 0xFFFF), (0x22, 2, 0), (0x24, 2, 0xFFFF), (0x26, 2, 0)),
    *((0x28, 4, _ONES), (0x2C, 4, 0), (0x30, 2, 0), (0x32, 2, 0), (0x3C, 1, 0), (0x38, 4, 0)),
)  # a bridge's windows: register, width, value
_LINES = (10, 10, 11, 11)  # interrupt lines that pins A to D of a PC's slots lead to


class Firmware:
    """The parts that both have."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.way = PORTS
        self._next = {0: 0x80000000, 1: 0xC000}  # the next free address: memory, ports

    def read(self, f: Function, register: int, width: int) -> int:
        """Read a register of a function that is there."""
        return self.machine.read(self.way, f.place.bdf, register, width)

    def write(self, f: Function, register: int, width: int, value: int) -> None:
        """Write it."""
        self.machine.write(self.way, f.place.bdf, register, width, value)

    def probed(self, bus: int, width: int, *, header: bool) -> Iterator[Function]:
        """The functions of a bus as whoever asks for vendor ids finds them: 1 to 7 of a device that says it has more.

        ``header``: read the header type to know, at the first function, once it has been dealt with.
        """
        for device in range(32):
            function = 0
            while function < 8:
                bdf = bus << 8 | device << 3 | function
                there = self.machine.functions.get(bdf)
                if there is None:
                    self.machine.absent(self.way, np.array([bdf], np.uint64), 0, width)
                    if function == 0:
                        break
                else:
                    self.machine.read(self.way, bdf, 0, width)
                    yield there
                    if function == 0 and not (self.read(there, HEADER, 1) if header else there.space[HEADER]) & 0x80:
                        break
                function += 1

    def sized(self, f: Function, place: int, mask: int = _ONES) -> int:
        """Read, write all ones, read, restore: the size that a base address register wants, flags in its low bits."""
        before = self.read(f, place, 4)
        self.write(f, place, 4, mask)
        after = self.read(f, place, 4)
        self.write(f, place, 4, before)
        return after

    def address(self, f: Function, size: int, ports: int) -> int:
        """The next address for so many bytes, within 32 bits."""
        at = -(-self._next[ports] // size) * size & _ONES
        self._next[ports] = at + size
        return at

    def place(self, f: Function) -> None:
        """Give a function's base address registers their addresses."""
        for n, bar in enumerate(f.model.bars):
            if bar:
                self.write(f, 0x10 + 4 * n, 4, self.address(f, bar & ~15, bar & 1))
                if not bar & 1 and bar & 4:
                    self.write(f, 0x14 + 4 * n, 4, 0)

    def behind(self, f: Function) -> int:
        """The bus that a bridge leads to."""
        return f.place.secondary


class SeaBios(Firmware):
    """SeaBIOS 1.16: ``src/fw/pciinit.c`` and ``src/hw/pcidevice.c`` by name of what they do."""

    def run(self) -> None:
        """All of it."""
        self.number(0)
        found = list(self.listed())
        if self.machine.ecam:
            self.way = WINDOW
        for f in found:
            self.size(f)
        for f in [f for f in found if f.model.bridge][::-1]:
            self.windows(f)
        for f in found:
            self.place(f)
        for f in found:
            self.start(f)

    def number(self, bus: int) -> int:
        """Give the buses behind a bus's bridges their numbers, once all bridges there are closed; the last one."""
        last = bus
        for f in self.probed(bus, 2, header=True):
            self.read(f, 0x0A, 2)
            if f.model.bridge:
                self.write(f, BUSES + 1, 1, 0xFF)
                self.write(f, BUSES + 2, 1, 0)
        for f in self.probed(bus, 2, header=True):
            self.read(f, 0x0A, 2)
            if f.model.bridge:
                if self.read(f, BUSES, 1) != bus:
                    self.write(f, BUSES, 1, bus)
                self.read(f, BUSES + 1, 1)
                self.write(f, BUSES + 1, 1, self.behind(f))
                self.read(f, BUSES + 2, 1)
                self.write(f, BUSES + 2, 1, 0xFF)
                last = self.number(self.behind(f))
                self.read(f, 0, 2)
                self.read(f, 2, 2)
                self.walk(f)
                self.write(f, BUSES + 2, 1, last)
        return last

    def walk(self, f: Function, until: int = 0) -> int:
        """Go through the list of capabilities, a byte at a time."""
        if not self.read(f, STATUS, 2) & 0x10:
            return 0
        at = self.read(f, LIST, 1)
        while at:
            if self.read(f, at, 1) == until:
                return at
            at = self.read(f, at + 1, 1)
        return 0

    def listed(self) -> Iterator[Function]:
        """Every function that is there, bus after bus."""
        last = max(f.place.secondary for f in self.machine.functions.values())
        for bus in range(last + 1):
            for f in self.probed(bus, 2, header=True):
                self.read(f, 0, 4)
                self.read(f, 8, 4)
                if self.read(f, HEADER, 1) & 0x7F:
                    self.read(f, BUSES + 1, 1)
                yield f

    def size(self, f: Function) -> None:
        """All base address registers and the expansion ROM."""
        places = (0x10, 0x14) if f.model.bridge else tuple(range(0x10, 0x28, 4))
        for at in places:
            self.sized(f, at)
        self.sized(f, 0x38 if f.model.bridge else 0x30, 0xFFFFF800)

    def windows(self, f: Function) -> None:
        """Which windows a bridge has, and where they lie."""
        express = self.walk(f, EXPRESS)
        self.read(f, 0, 2)
        self.read(f, 2, 2)
        self.walk(f)
        if express:
            self.read(f, express + 2, 2)
        for at, probe in ((0x1C, 0xFF), (0x24, 0xFF)):
            self.write(f, at, 1, probe)
            self.read(f, at, 1)
        self.read(f, 0x24, 4)
        self.write(f, 0x1C, 1, 0xC0)
        self.write(f, 0x30, 2, 0)
        self.write(f, 0x1D, 1, 0xBF)
        self.write(f, 0x32, 2, 0)
        for at in (0x20, 0x24):
            base = self.address(f, 1 << 21, 0) >> 16
            self.write(f, at, 2, base)
            self.write(f, at + 2, 2, base + 0x1F)
        self.write(f, 0x28, 4, 0)
        self.write(f, 0x2C, 4, 0)

    def start(self, f: Function) -> None:
        """Interrupt line and decoding."""
        if pin := self.read(f, PIN, 1):
            self.write(f, LINE, 1, _LINES[(f.place.slot >> 3) + pin - 1 & 3])
        self.write(f, COMMAND, 2, self.read(f, COMMAND, 2) | 0x103)
        if f.model.bridge:
            self.write(f, CONTROL, 2, self.read(f, CONTROL, 2) | 2)


class Ovmf(Firmware):
    """OVMF: EDK II's PciBusDxe (``PciEnumerator.c``, ``PciLib.c``, ``PciEnumeratorSupport.c``) by what it does."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.way = WINDOW if machine.ecam else PORTS

    def run(self) -> None:
        """All of it."""
        for last in (False, True):
            for f in self.present(0):
                if f.model.bridge:
                    self.read(f, BUSES, 4)
                    self.write(f, BUSES, 4, 0)
            self.number(0)
            self.collect(0, last=last)
        for f in self.every():
            self.place(f)
            if f.model.bridge:
                self.windows(f)
        for f in self.every():
            self.header(f)
            self.write(f, COMMAND, 2, self.read(f, COMMAND, 2) | 7)
        for f in self.every():
            self.header(f)
            if f.model.pin:
                self.write(f, LINE, 1, _LINES[(f.place.slot >> 3) + f.model.pin - 1 & 3])

    def every(self) -> list[Function]:
        """The functions depth first."""
        out, stack = [], [0]
        while stack:
            bus = stack.pop()
            own = [f for bdf, f in sorted(self.machine.functions.items()) if bdf >> 8 == bus]
            out += own
            stack += [f.place.secondary for f in own if f.model.bridge][::-1]
        return out

    def present(self, bus: int) -> Iterator[Function]:
        """The functions of a bus: a dword at register 0 of each place, the header of what is there."""
        for f in self.probed(bus, 4, header=False):
            self.header(f)
            yield f

    def header(self, f: Function) -> None:
        """All of the first 64 bytes."""
        for at in range(0, 64, 4):
            self.read(f, at, 4)

    def number(self, bus: int) -> int:
        """Look at everything, with sizes, and give numbers to the buses behind; the last one."""
        last = bus
        for f in self.present(bus):
            self.examine(f)
            if f.model.bridge:
                self.write(f, BUSES, 2, self.behind(f) << 8 | bus)
                self.write(f, BUSES + 2, 1, 0xFF)
                last = self.number(self.behind(f))
                self.write(f, BUSES + 2, 1, last)
        return last

    def collect(self, bus: int, *, last: bool) -> None:
        """Go through all of it once more: to throw the numbers away, or to look at everything for good."""
        for f in self.present(bus):
            if last:
                self.examine(f)
            if f.model.bridge:
                if not last:
                    self.read(f, BUSES, 4)
                self.collect(self.behind(f), last=last)
                if not last:
                    self.write(f, BUSES, 4, 0)

    def walk(self, f: Function, until: int = 0) -> None:
        """Go through the list of capabilities."""
        if f.space[STATUS] & 0x10:
            at = self.read(f, LIST, 1)
            while at:
                head = self.read(f, at, 2)
                at = 0 if head & 0xFF == until else head >> 8

    def extended(self, f: Function) -> None:
        """Go through the extended ones."""
        if f.size > 256:
            at = 0x100
            while at >= 0x100:
                at = self.read(f, at, 4) >> 20

    def examine(self, f: Function) -> None:
        """Capabilities, commands and sizes of one function."""
        self.walk(f, EXPRESS)
        self.extended(f)
        if f.size > 256 and f.place.bus:
            self.extended(f)
        self.write(f, COMMAND, 2, self.read(f, COMMAND, 2))
        if f.model.bridge:
            self.examine_bridge(f)
            return
        for at in range(0x10, 0x28, 4):
            self.sized(f, at)
        self.write(f, 0x30, 4, 0xFFFFFFFE)
        self.read(f, 0x30, 4)
        self.walk(f)
        if power := f.capability(POWER):
            self.write(f, power + 4, 2, self.read(f, power + 4, 2) & ~3)

    def examine_bridge(self, f: Function) -> None:
        """The same of a bridge: windows are sized and closed."""
        self.write(f, CONTROL, 2, self.read(f, CONTROL, 2))
        self.sized(f, 0x10)
        self.sized(f, 0x14)
        before = self.read(f, 0x1C, 1)
        self.write(f, 0x1C, 1, 0xFF)
        self.read(f, 0x1C, 1)
        self.write(f, 0x1C, 1, before)
        self.sized(f, 0x24)
        self.sized(f, 0x28)
        self.slot(f)
        for at, width, value in _CLOSED:
            self.write(f, at, width, value)
        self.read(f, 0x38, 4)
        self.walk(f)
        self.slot(f)

    def slot(self, f: Function) -> None:
        """Is there a slot behind a bridge, and which buses and addresses should be kept free for it?"""
        self.walk(f)
        if express := f.capability(EXPRESS):
            self.read(f, express + 2, 2)
            self.read(f, express + 0x14, 4)
        self.read(f, 0, 2)
        self.read(f, STATUS, 2)
        self.walk(f)
        self.extended(f)

    def windows(self, f: Function) -> None:
        """Where a bridge's windows lie."""
        base = self.address(f, 1 << 21, 0) >> 16
        for at, width, value in ((0x1C, 1, 0x70), (0x1D, 1, 0x70), (0x20, 2, base), (0x22, 2, base + 0x1F)):
            self.write(f, at, width, value)


FIRMWARES: dict[str, type[SeaBios] | type[Ovmf]] = {"seabios": SeaBios, "ovmf": Ovmf}
