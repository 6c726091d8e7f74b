"""A virtual machine's life: boot, work, migration, crash, resumption, in traces of every kind on one clock.

What it does follows from what it did before (see `traces.workloads.vm.guest`): a page of a file that is not cached is
read by an NVMe command, which is a row of the block trace, whose data come by DMA through mappings made for it; a page
stored to is committed to a journal, told to an agent by a message, and written back; a crash forgets what was not
committed, and says which stores those were. The table `trace_causes` says what led to a row: to every one of block, DMA
and message, and to the dirty pages that a migration finds. Accesses, scans and patches come by themselves.

    boot       firmware and kernel find the PCI functions, read the image from the drive, patch the kernel's text
    work       accesses of the processors, and all that follows from them
    migrate    the same under pre-copy: rounds of dirty pages (`Op.DIRTY` in the memory trace), until what is left
               can be sent within the downtime limit; then the guest stands still for so long
    crash      power is lost: the drive keeps what it had completed, the guest forgets everything
    resume     a boot that finds the journal: what was committed and not yet written back is written back
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from traces.amounts import duration
from traces.config import Bytes, Nanoseconds, split
from traces.label import Category
from traces.workloads.pci_scan import PciScan
from traces.workloads.vm.life import live
from traces.workloads.vm.state import PAGE
from traces.workloads.world import Era, Part, World

_PHASE = re.compile(r"(boot|migrate|crash|resume)|work\s+(\S+)")
_AFTER = {"boot": (None,), "work": ("boot", "resume", "migrate", "work"), "migrate": ("work",), "resume": ("crash",)}


class Phase(NamedTuple):
    """One line of a life: ``boot``, ``work 20s``, ``migrate``, ``crash``, ``resume``."""

    name: str
    length: str = ""  # of work

    def __str__(self) -> str:
        return f"{self.name} {self.length}".strip()


def _parsed(value: Any) -> Phase:
    if isinstance(value, Phase):
        return value
    found = _PHASE.fullmatch(str(value).strip())
    if not found:
        raise ValueError(f"'{value}' is no phase of a life: boot, work TIME, migrate, crash or resume")
    return Phase(found[1] or "work", found[2] or "")


_Phase = Annotated[
    Phase, BeforeValidator(_parsed), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VmLife:
    """One guest with an NVMe drive behind an IOMMU, and what becomes of it."""

    life: Annotated[
        tuple[_Phase, ...],
        Field(
            description="what comes after what: a list, or a text with semicolons, of boot, work TIME, migrate, crash, "
            "resume",
        ),
        BeforeValidator(split),
    ] = tuple(_parsed(each) for each in ("boot", "work 20s", "migrate", "work 10s", "crash", "resume", "work 10s"))
    memory: Annotated[Bytes, Field(ge=1 << 20, le=1 << 40, description="bytes of programs' own pages")] = 1 << 28
    cache: Annotated[Bytes, Field(ge=1 << 20, le=1 << 38, description="bytes of the page cache")] = 1 << 26
    files: Annotated[Bytes, Field(ge=1 << 20, le=1 << 42, description="bytes of files on the drive")] = 1 << 29
    image: Annotated[Bytes, Field(ge=1 << 20, le=1 << 32, description="bytes read from the drive at boot")] = 1 << 24
    journal: Annotated[Bytes, Field(ge=1 << 20, le=1 << 34, description="bytes of the journal on the drive")] = 1 << 24
    processors: Annotated[int, Field(ge=1, le=64, description="virtual processors")] = 2
    rate: Annotated[float, Field(gt=0, le=1e9, description="accesses per second, of all processors together")] = 5e4
    theta: Annotated[float, Field(ge=0, le=8, description="skew (Zipf) of the pages, those of files as well")] = 0.9
    file_share: Annotated[float, Field(gt=0, lt=1, description="share of the accesses that go to files")] = 0.05
    file_writes: Annotated[float, Field(gt=0, le=1, description="share of those that overwrite their page")] = 0.3
    stores: Annotated[float, Field(ge=0, le=1, description="share of the other accesses that store")] = 0.3
    commit: Annotated[Nanoseconds, Field(ge=10**6, description="from one journal commit to the next")] = 5 * 10**9
    writeback: Annotated[Nanoseconds, Field(ge=10**6, description="how often dirty pages are looked at")] = 5 * 10**9
    expire: Annotated[Nanoseconds, Field(ge=10**6, description="age at which a dirty page is written")] = 30 * 10**9
    readahead: Annotated[Bytes, Field(ge=PAGE, le=1 << 20, description="bytes read at once where they follow")] = (
        1 << 17
    )
    largest: Annotated[Bytes, Field(ge=PAGE, le=1 << 20, description="bytes of the largest NVMe command")] = 1 << 17
    read_time: Annotated[Nanoseconds, Field(ge=1, description="of a read command, transfer aside")] = 80_000
    write_time: Annotated[Nanoseconds, Field(ge=1, description="of a write command, transfer aside")] = 20_000
    flush_time: Annotated[Nanoseconds, Field(ge=1, description="of a flush command")] = 500_000
    page_time: Annotated[Nanoseconds, Field(ge=1, description="to transfer a page of 4096 bytes")] = 1000
    bandwidth: Annotated[Bytes, Field(ge=1 << 20, description="bytes per second that migration sends")] = 1 << 30
    downtime: Annotated[
        Nanoseconds, Field(ge=10**6, description="pre-copy ends when what is left can be sent in this time")
    ] = 300 * 10**6
    rounds: Annotated[int, Field(ge=1, le=1000, description="pre-copy ends after so many rounds in any case")] = 30
    reset: Annotated[Nanoseconds, Field(ge=1, description="from a crash until the machine boots again")] = 10**9
    patches: Annotated[float, Field(gt=0, le=1e5, description="patches of kernel text per second of work")] = 20.0
    poll: Annotated[Nanoseconds, Field(ge=100, description="how often the agent looks at the ring")] = 50_000
    deliver: Annotated[Nanoseconds, Field(ge=1, description="until a record that it saw is with its receiver")] = 2000
    topology: Annotated[
        tuple[str, ...],
        Field(description="PCI functions, spelled as in pci-scan; the first nvme is the drive"),
        BeforeValidator(split),
    ] = (
        "00:00.0 mch",
        "00:01.0 vga",
        "00:02.0 virtio-net",
        "00:04.0 nvme",
        "00:1f.0 lpc",
        "00:1f.2 ahci",
        "00:1f.3 smbus",
    )
    last_bus: Annotated[int, Field(ge=0, le=255, description="last bus that the kernel looks at")] = 255
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="the same seed and configuration give the same life")] = 0

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.life]
        if names[:1] != ["boot"]:
            first = f"'{self.life[0]}'" if names else "nothing"
            raise ValueError(f"life: it begins with boot, not with {first}")
        for before, after in pairwise(names):
            allowed = _AFTER.get(after, ("work",))
            if before not in allowed:
                raise ValueError(
                    f"life: {after} comes after {' or '.join(filter(None, allowed)) or 'nothing'}, not after {before}"
                )
        for phase in self.life:
            if phase.name == "work" and duration(phase.length) < 1:
                raise ValueError(f"life: '{phase}' is no time")
        if "work" not in names:
            raise ValueError("life: a guest that never works has no memory trace")
        for key in ("memory", "cache", "files", "image", "journal", "readahead", "largest"):
            if getattr(self, key) % PAGE:
                raise ValueError(f"{key} is {getattr(self, key)} bytes: not whole pages of {PAGE}")
        if not any(place.model == "nvme" for place in PciScan(topology=self.topology).places):
            raise ValueError("topology: no nvme among the functions: there must be a drive")
        if self.readahead > self.largest:
            raise ValueError(
                f"readahead ({self.readahead} bytes) is more than one command ({self.largest} bytes) reads"
            )
        if self.cache > self.files:
            raise ValueError(f"cache ({self.cache} bytes) is larger than all files ({self.files} bytes)")

    @property
    def records(self) -> int:
        """About how many rows all traces have together: with the defaults an access to a file leads to twenty more."""
        work = sum(duration(phase.length) for phase in self.life if phase.name == "work")
        return int(self.rate * work / 1e9 * (1 + 20 * self.file_share))

    @property
    def names(self) -> list[str]:
        """The guest."""
        return ["guest"]


def emit(config: VmLife, rows: int) -> Iterator[Part | Era]:
    """Everything that happens, in order."""
    yield from live(config, rows)


WORLD = World(
    "vm-life",
    ("config", "text", "memory", "block", "dma", "message"),
    "a virtual machine boots, works, migrates, crashes and resumes: every kind of trace, with causes",
    VmLife,
    emit,
    {"memory": ["guest"], "block": ["nvme0n1"], "message": ["guest"]},
    # a boot reads its image from end to end, and one guest is no storm; at work page cache, read-ahead and a journal
    # that is written every few seconds stand before the drive: no transactions that wait for their log
    {"boot": Category.READ_SCAN},
)
