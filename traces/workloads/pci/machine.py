"""A machine's PCI functions, as software sees them: registers that answer, and a record of who asked what.

A register has bits that can be written and bits that cannot: sizing a base address register works because of that. What
is absent answers with all ones at the width of the read. A virtual function answers so for its vendor and device id,
and is there: PCI Express Base Specification 5.0, 9.3.4.1.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from traces.kernel import lean_kernel
from traces.pci import Mechanism, Op
from traces.table import U8, U16, U64
from traces.workloads.pci.topology import MODELS, Model, Place, functions

COMMAND, STATUS, HEADER, LIST, LINE, PIN = 0x04, 0x06, 0x0E, 0x34, 0x3C, 0x3D
BUSES, CONTROL = 0x18, 0x3E
READ, WRITE = int(Op.READ), int(Op.WRITE)
PORTS, WINDOW = int(Mechanism.PORTS), int(Mechanism.ECAM)
MSI, MSIX, EXPRESS, POWER = 0x05, 0x11, 0x10, 0x01
SRIOV, ARI = 0x10, 0x0E

NAMES = ("", *MODELS)  # of functions, by code

# an access in one word: op | mechanism | width | present | register | bus, device and function | code of the name
_OP, _WAY, _WIDTH, _PRESENT, _REGISTER, _BDF, _NAME = 0, 1, 3, 7, 8, 20, 36

_WRITABLE = ((0x04, 0x0507), (0x0C, 0xFF), (0x3C, 0xFF))
_BRIDGE_WRITABLE = ((0x18, 0xFFFFFF), (0x1C, 0xF0F0), (0x20, 0xFFF0FFF0), (0x24, 0xFFF0FFF0), (0x28, 0xFFFFFFFF))
_BRIDGE_MORE = ((0x2C, 0xFFFFFFFF), (0x30, 0xFFFFFFFF), (0x3C, 0x005B00FF))
# of capabilities, by their id: offset and bits within them that can be written
_CAPABLE = {
    MSI: ((0, 0x710000), (4, 0xFFFFFFFC), (8, 0xFFFFFFFF)),
    MSIX: ((0, 0xC0000000),),
    POWER: ((4, 0x103),),
    EXPRESS: ((8, 0xFFFF), (0x10, 0x1FB), (0x18, 0x1FFF), (0x1C, 0x1F), (0x28, 0x7FFF)),
}
_EXTENDED = {
    1: ((0x2C, 7),),
    SRIOV: ((8, 0x1F), (0x10, 0xFFFF), (0x24, 0xFFFFC000), (0x28, 0xFFFFFFFF), (0x30, 0xFFFFC000), (0x34, 0xFFFFFFFF)),
}


class Function:
    """One function's configuration space.

    ``following``: the next function by ARI; ``root``: the root bus is one of PCI Express.
    """

    def __init__(self, place: Place, *, multi: bool, virtual: bool, following: int, root: bool) -> None:
        model = MODELS[place.model]
        self.place, self.model, self.name = place, model, NAMES.index(place.model)
        self.size = 4096 if model.express else 256
        self.space, self.writable = bytearray(self.size), bytearray(self.size)
        self._set(0, 0xFFFFFFFF if virtual else model.id)
        self._set(8, model.code)
        self._set(0x0C, (0x80 if multi else 0) << 16 | int(model.bridge) << 16)
        self._set(0x3C, model.pin << 8)
        for word in model.registers.split():
            offset, _, value = word.partition(":")
            self._set(int(offset, 16), int(value, 16))
        if self.space[LIST]:
            self.space[STATUS] |= 0x10
        if model.bridge:
            self._set(0x1C, 0x00F0 if model.express else 0)
            self._set(0x20, 0x0000FFF0)
            self._set(0x24, 0x0001FFF1)
        else:
            self._set(0x2C, model.subsystem)
        if following:
            self._set(self.capability(ARI, extended=True) + 4, following << 8)
        if root and model.express and (pcie := self.capability(EXPRESS)) and not place.bus and not model.bridge:
            self.space[pcie + 2] |= 0x90  # an endpoint of the root complex
        self._bars(model)
        self._writes(model)

    def _set(self, offset: int, value: int) -> None:
        self.space[offset : offset + 4] = value.to_bytes(4, "little")

    def _may(self, offset: int, bits: int) -> None:
        """Bits of a dword that can be written."""
        for n in range(4):
            self.writable[offset + n] |= bits >> 8 * n & 0xFF

    def _bars(self, model: Model) -> None:
        for n, bar in enumerate(model.bars):
            if bar:
                flags = bar & 15 if not bar & 1 else 1
                self._set(0x10 + 4 * n, flags)
                self._may(0x10 + 4 * n, 0xFFFFFFFF & ~((bar & ~15) - 1))
                if flags & 4:
                    self._may(0x14 + 4 * n, 0xFFFFFFFF)
        if model.rom:
            self._may(0x30, 0xFFFFFFFF & ~(model.rom - 1) | 1)

    def _writes(self, model: Model) -> None:
        for offset, bits in _WRITABLE + ((_BRIDGE_WRITABLE + _BRIDGE_MORE) if model.bridge else ()):
            self._may(offset, bits)
        for table, extended in ((_CAPABLE, False), (_EXTENDED, True)):
            for kind, fields in table.items():
                if at := self.capability(kind, extended=extended):
                    for offset, bits in fields:
                        self._may(at + offset, bits)

    def capability(self, kind: int, *, extended: bool = False) -> int:
        """Where a capability stands; 0 where there is none."""
        at = 0x100 if extended and self.size > 256 else 0 if extended else self.space[LIST]
        while at:
            head = int.from_bytes(self.space[at : at + 4], "little")
            if head and head & (0xFFFF if extended else 0xFF) == kind:
                return at
            at = head >> 20 if extended else head >> 8 & 0xFF
        return 0

    def read(self, register: int, width: int) -> int:
        """What it answers."""
        if register >= self.size:
            return (1 << 8 * width) - 1
        return int.from_bytes(self.space[register : register + width], "little")

    def write(self, register: int, width: int, value: int) -> None:
        """What stays of a write."""
        if register < self.size:
            for n in range(width):
                bits = self.writable[register + n]
                self.space[register + n] = self.space[register + n] & ~bits | value >> 8 * n & bits & 0xFF


class Accesses(NamedTuple):
    """What was accessed, in order, packed: see `unpack`."""

    keys: U64
    values: U64


class Machine:
    """Functions by bus, device and function; every access to them is recorded."""

    def __init__(self, places: Sequence[Place], *, ecam: bool) -> None:
        self.ecam = ecam
        self.functions: dict[int, Function] = {}
        self._keys, self._values = array("Q"), array("Q")
        devices = Counter(place.bdf >> 3 for place in places)
        for place in places:
            self.plug(place, multi=devices[place.bdf >> 3] > 1)

    def plug(self, place: Place, *, multi: bool = False, virtual: bool = False) -> None:
        """A line's functions are there from now on."""
        every = functions(place)
        for n, each in enumerate(every):
            self.functions[each.bdf] = Function(
                each,
                multi=multi or len(every) > 1,
                virtual=virtual,
                following=n + 1 if n + 1 < len(every) else 0,
                root=self.ecam,
            )

    def unplug(self, bdf: int) -> None:
        """A function is gone."""
        del self.functions[bdf]

    def _record(self, how: tuple[int, int], bdf: int, register: int, width: int, value: int) -> Function | None:
        (op, way), there = how, self.functions.get(bdf)
        key = op << _OP | way << _WAY | width << _WIDTH | register << _REGISTER | bdf << _BDF
        if there is not None:
            key |= 1 << _PRESENT | there.name << _NAME
            if op == READ:
                value = there.read(register, width)
        self._keys.append(key)
        self._values.append(value)
        return there

    def read(self, way: int, bdf: int, register: int, width: int) -> int:
        """Read a register of ``width`` bytes."""
        self._record((READ, way), bdf, register, width, (1 << 8 * width) - 1)
        return self._values[-1]

    def write(self, way: int, bdf: int, register: int, width: int, value: int) -> None:
        """Write it."""
        there = self._record((WRITE, way), bdf, register, width, value & (1 << 8 * width) - 1)
        if there is not None:
            there.write(register, width, value)

    def absent(self, way: int, bdfs: U64, register: int, width: int) -> None:
        """Read the same register of many functions that are not there, in one go."""
        keys = bdfs << np.uint64(_BDF) | np.uint64(READ | way << _WAY | width << _WIDTH | register << _REGISTER)
        self._keys.frombytes(keys.tobytes())
        self._values.frombytes(np.full(keys.size, (1 << 8 * width) - 1, np.uint64).tobytes())

    def taken(self) -> Accesses:
        """What was recorded since this was asked last."""
        out = Accesses(np.array(self._keys, np.uint64), np.array(self._values, np.uint64))
        self._keys, self._values = array("Q"), array("Q")
        return out


class Columns(NamedTuple):
    """Accesses unpacked: columns of `traces.pci.Config`, and the code of the function's name."""

    op: U8
    mechanism: U8
    bus: U8
    device: U8
    function: U8
    register: U16
    width: U8
    value: U64
    present: U8
    name: U8


def new_columns(rows: int) -> Columns:
    """Room for so many."""
    kinds = {"register": np.uint16, "value": np.uint64}
    return Columns(*(np.empty(rows, kinds.get(name, np.uint8)) for name in Columns._fields))


@lean_kernel
def unpack(accesses: Accesses, position: int, begin: int, end: int, out: Columns) -> None:
    """Fill rows ``begin`` to ``end`` from ``position`` on, from the beginning again after the last."""
    for i in range(begin, end):
        key = accesses.keys[position]
        out.value[i] = accesses.values[position]
        out.op[i] = key & np.uint64(1)
        out.mechanism[i] = key >> np.uint64(_WAY) & np.uint64(3)
        out.width[i] = key >> np.uint64(_WIDTH) & np.uint64(15)
        out.present[i] = key >> np.uint64(_PRESENT) & np.uint64(1)
        out.register[i] = key >> np.uint64(_REGISTER) & np.uint64(0xFFF)
        out.bus[i] = key >> np.uint64(_BDF + 8) & np.uint64(0xFF)
        out.device[i] = key >> np.uint64(_BDF + 3) & np.uint64(31)
        out.function[i] = key >> np.uint64(_BDF) & np.uint64(7)
        out.name[i] = key >> np.uint64(_NAME) & np.uint64(0xFF)
        position += 1
        if position == accesses.keys.size:
            position = 0
