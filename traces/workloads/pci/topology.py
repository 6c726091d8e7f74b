"""PCI topologies: which functions a machine has and where, written as lines or drawn from numbers.

A line is ``bus:device.function model``, numbers in hexadecimal as lspci writes them, then what is particular: ``bus=2``
(a bridge's secondary bus), ``ari=16`` (functions in all, the further ones linked by the ARI capability), ``vfs=8``
(virtual functions that the kernel switches on). Bus numbers are those that firmware and kernels give: counted up
depth first, in order of device and function.

The models' registers are those of QEMU 7.2's devices, as its recorded configuration spaces show them (all of them are
Red Hat's or Intel's ids); ``nic`` and ``nic-vf`` are laid out after the Intel 82576, the usual card with SR-IOV.
Sources: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base Specification 5.0, chapters 7 and 9.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from traces.errors import nearest
from traces.workloads.draws import SHARE, draws

BRIDGE = 0x0604
HOST_BRIDGE = 0x0600
FUNCTIONS = 1 << 12  # of a machine; each takes room for its configuration space


class Model(NamedTuple):
    """What a function is: its registers after a reset."""

    id: int  # device << 16 | vendor
    code: int  # class << 8 | revision
    bars: tuple[int, ...]  # sizes by place: 0 none; + 1 of ports, + 4 of 64 bits (takes two places), + 12 prefetchable
    rom: int = 0
    pin: int = 0
    subsystem: int = 0x11001AF4
    registers: str = ""  # offset:dword, in hexadecimal: capabilities

    @property
    def kind(self) -> int:
        """The class without its programming interface."""
        return self.code >> 16

    @property
    def bridge(self) -> bool:
        """Whether a bus lies behind it."""
        return self.kind == BRIDGE

    @property
    def express(self) -> bool:
        """Whether it has an extended configuration space."""
        return " 100:" in self.registers


_VIRTIO = (
    "34:98 40:1100009 44:4 4c:1000 50:3104009 54:4 58:1000 5c:1000 60:4105009 64:4 68:2000 6c:1000 70:2146009 74:4 "
    "78:3000 7c:1000 84:5147009 98:{table}8411 9c:1 a0:801"
)
_PORT = (
    "34:54 40:d 44:1b36 48:4011 50:800 54:1424810 58:8000 60:300604 64:110000 68:a007b 78:300020 80:1e 84:4 "
    "100:14820001 10c:462030 114:e000 118:2a0 148:1000d 14c:5f"
)
_NIC = (
    "34:40 40:2a00{pm} 44:2008 50:1807005 70:{table}a011 74:3 78:2003 a0:2{type}0010 a4:1000cc2 ac:6b841 b0:110040 "
    "c4:1f 100:{next}10001 150:{more}1000e"
)

MODELS: dict[str, Model] = {
    "mch": Model(0x29C08086, 0x06000000, ()),
    "i440fx": Model(0x12378086, 0x06000002, ()),
    "vga": Model(0x11111234, 0x03000002, ((1 << 24) + 8, 0, 4096), rom=1 << 16),
    "virtio-blk": Model(
        0x10011AF4, 0x01000000, (129, 4096, 0, 0, (1 << 14) + 12), 0, 1, 0x21AF4, _VIRTIO.format(table="8002")
    ),
    "virtio-net": Model(
        0x10001AF4, 0x02000000, (33, 4096, 0, 0, (1 << 14) + 12), 0, 1, 0x11AF4, _VIRTIO.format(table="8003")
    ),
    "nvme": Model(
        0x00101B36,
        0x01080202,
        ((1 << 14) + 4,),
        pin=1,
        registers="34:40 40:408011 44:2000 48:3000 60:30001 64:8 80:26010 84:10008000 8c:411 90:110000 a4:300000 100:0",
    ),
    "root-port": Model(0x000C1B36, 0x06040000, (4096,), pin=1, subsystem=0, registers=_PORT),
    "pci-bridge": Model(
        0x00011B36, 0x06040000, (256 + 4,), pin=1, subsystem=0, registers="34:4c 40:c 48:4004 4c:804805"
    ),
    "lpc": Model(0x29188086, 0x06010002, ()),
    "piix3": Model(0x70008086, 0x06010000, ()),
    "piix3-ide": Model(0x70108086, 0x01018000, (0, 0, 0, 0, 17)),
    "piix4-pm": Model(0x71138086, 0x06800003, (), pin=1),
    "ahci": Model(0x29228086, 0x01060102, (0, 0, 0, 0, 33, 4096), pin=1, registers="34:80 80:80a805 a8:100012 ac:48"),
    "smbus": Model(0x29308086, 0x0C050002, (0, 0, 0, 0, 65), pin=1),
    "e1000": Model(0x100E8086, 0x02000003, (1 << 17, 65), pin=1),
    "nic": Model(
        0x10C98086,
        0x02000001,
        (1 << 17, 1 << 22, 33, 1 << 14),
        pin=1,
        registers=_NIC.format(pm="5001", table="9", type="", next="150", more="160")
        + " 160:10010 16c:400040 174:20080 178:10ca0000 17c:553 180:1 184:4 190:4",
    ),
    "nic-vf": Model(
        0x10CA8086, 0x02000001, (), registers=_NIC.format(pm="7001", table="2", type="", next="150", more="0")
    ),
}
_FIRST_VF, _VF_STRIDE = 0x80, 2  # as the 82576 has them: virtual functions follow 128 functions after the physical one


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A function and where it is: one line of a topology."""

    bus: int
    slot: int  # device << 3 | function; with ARI, 0 to 255
    model: str = field(compare=False)
    secondary: int = field(default=0, compare=False)  # of a bridge, the bus behind it
    ari: int = field(default=1, compare=False)
    vfs: int = field(default=0, compare=False)

    @property
    def bdf(self) -> int:
        """bus << 8 | device << 3 | function."""
        return self.bus << 8 | self.slot

    def __str__(self) -> str:
        extra = {"bus": self.secondary, "ari": self.ari if self.ari > 1 else 0, "vfs": self.vfs}
        told = "".join(f" {key}={value}" for key, value in extra.items() if value)
        return f"{self.bus:02x}:{self.slot >> 3:02x}.{self.slot & 7} {self.model}{told}"


def place_of(word: str) -> tuple[int, int]:
    """Bus and slot of ``01:1f.2``. Raises ValueError."""
    bus, colon, rest = word.partition(":")
    device, dot, function = rest.partition(".")
    try:
        numbers = int(bus, 16), int(device, 16), int(function, 16)
    except ValueError:
        numbers = (-1, -1, -1)
    if not (colon and dot and 0 <= numbers[0] < 256 and 0 <= numbers[1] < 32 and 0 <= numbers[2] < 8):
        raise ValueError(f"'{word}' is no place of a function; write it like 01:1f.2 (bus:device.function)")
    return numbers[0], numbers[1] << 3 | numbers[2]


def parsed(line: str) -> Place:
    """A function from its line. Raises ValueError."""
    words = line.split()
    if len(words) < 2:
        raise ValueError(f"'{line}' is no function; write it like '00:05.0 root-port bus=1'")
    bus, slot = place_of(words[0])
    if words[1] not in MODELS or words[1] == "nic-vf":
        raise ValueError(f"'{line}': there is no model '{words[1]}'{nearest(words[1], [*MODELS][:-1])}")
    found = {"bus": 0, "ari": 1, "vfs": 0}
    for word in words[2:]:
        key, sign, value = word.partition("=")
        if key not in found or not sign or not value.isdigit():
            raise ValueError(f"'{line}': '{word}' is none of bus=, ari= and vfs= with a number")
        found[key] = int(value)
    return Place(bus, slot, words[1], found["bus"], found["ari"], found["vfs"])


def functions(place: Place) -> list[Place]:
    """The function of a line and those that ARI links to it."""
    return [place] + [Place(place.bus, place.slot + n, place.model) for n in range(1, place.ari)]


def virtual(place: Place) -> list[Place]:
    """A function's virtual functions, by number."""
    first = place.slot + _FIRST_VF
    return [Place(place.bus, first + n * _VF_STRIDE, "nic-vf") for n in range(place.vfs)]


def checked(places: Iterable[Place]) -> tuple[Place, ...]:
    """The topology in order of bus and slot. Raises ValueError where it cannot be."""
    ordered = tuple(sorted(places))
    if not ordered or (ordered[0].bus, ordered[0].slot) != (0, 0):
        raise ValueError("a topology begins with the host bridge, 00:00.0")
    every = [each for place in ordered for each in (*functions(place), *virtual(place))]
    if len(every) > FUNCTIONS:
        raise ValueError(f"the topology has {len(every)} functions; {FUNCTIONS} at most")
    taken: set[int] = set()
    for each in every:
        if each.slot > 255:
            raise ValueError(f"{each.model} on bus {each.bus:02x} is function {each.slot} of 256: fewer ari= or vfs=")
        if each.bdf in taken:
            raise ValueError(f"'{each}' is where another function is")
        taken.add(each.bdf)
    ports = {place.secondary: place for place in ordered if place.secondary}
    for place in ordered:
        _check(place, ports, taken)
    _check_numbers(ordered)
    return ordered


def _check(place: Place, ports: dict[int, Place], taken: set[int]) -> None:
    model = MODELS[place.model]
    if model.bridge != bool(place.secondary):
        raise ValueError(f"'{place}': " + ("a bridge wants bus=" if model.bridge else "only a bridge has bus="))
    if (place.vfs or place.ari > 1) and place.model != "nic":
        raise ValueError(f"'{place}': only a nic has ari= and vfs=")
    if place.ari < 1 or (place.ari > 1 and (place.slot or not place.bus)):
        raise ValueError(f"'{place}': ari= counts the functions of device 0, from function 0, behind a port")
    if place.bus and place.bus not in ports:
        raise ValueError(f"'{place}': no bridge has bus={place.bus}")
    if place.bus and MODELS[ports[place.bus].model].express and place.slot > 7:
        raise ValueError(f"'{place}': behind a port there is device 0 alone")
    if place.slot & 7 and place.bdf & ~7 not in taken:
        raise ValueError(f"'{place}': its device has no function 0, so that nobody would look for it")


def _check_numbers(ordered: Sequence[Place]) -> None:
    """Whoever counts buses depth first must come to the numbers that the lines say."""
    behind: dict[int, list[Place]] = {}
    for place in ordered:
        if place.secondary:
            behind.setdefault(place.bus, []).append(place)
    following, stack = 1, behind.get(0, [])[::-1]
    while stack:
        bridge = stack.pop()
        if bridge.secondary != following:
            raise ValueError(f"'{bridge}': counted depth first, its bus is number {following}")
        following += 1
        stack += behind.get(bridge.secondary, [])[::-1]
    if (bridges := sum(map(len, behind.values()))) != following - 1:
        raise ValueError(f"{bridges + 1 - following} bridges cannot be reached from bus 0")


_ENDPOINTS = ("nvme", "virtio-blk", "virtio-net", "e1000", "nic")


def drawn(key: int, buses: int, devices: float, bridges: float, several: float) -> tuple[Place, ...]:
    """A topology of so many buses, from numbers.

    ``devices`` is how many slots of the root bus are filled on average, each with this chance on its own;
    ``bridges`` the share of a bridge's buses that hang off another bus than the root, if room is there; ``several`` the
    share of endpoints with two to eight functions. Which endpoint a function is, is drawn evenly.
    """
    numbers = iter(draws(key, 2 * FUNCTIONS).tolist())

    def take(count: int) -> int:
        return int(next(numbers)) * count >> 64

    def perhaps(share: float) -> bool:
        return int(next(numbers)) >> 11 < round(share * SHARE)

    parents = [0] * buses
    for bus in range(1, buses):
        # behind the last bus only: the numbers then are those of a depth-first count
        parents[bus] = bus - 1 if bus > 1 and perhaps(bridges) else 0
    while parents.count(0) > 31:
        parents[max(n for n, parent in enumerate(parents) if not parent)] = -1
    parents = [bus - 1 if parent < 0 else parent for bus, parent in enumerate(parents)]
    places = [Place(0, 0, "mch")]
    free = list(range(1, 32))
    for bus in range(1, buses):
        slot = free.pop(0) << 3 if parents[bus] == 0 else 0
        places.append(Place(parents[bus], slot, "root-port", bus))
    ends = [bus for bus in range(1, buses) if bus not in parents]
    spots = [(0, device << 3) for device in free if perhaps(min(1.0, devices / 31))] + [(bus, 0) for bus in ends]
    for bus, slot in spots:
        count = 2 + take(7) if perhaps(several) else 1
        places += [Place(bus, slot + n, _ENDPOINTS[take(len(_ENDPOINTS))]) for n in range(count)]
    return checked(places)
