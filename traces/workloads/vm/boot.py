"""What a virtual machine's firmware and kernel do beside its work: find PCI functions, patch kernel text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from traces.pci import Op, Presence
from traces.workloads.pci.topology import Place
from traces.workloads.pci_scan import PciScan
from traces.workloads.pci_scan import generate as scanned
from traces.workloads.pci_scan import truth as known
from traces.workloads.text_patches import TextPatches, truth
from traces.workloads.text_patches import generate as patched
from traces.workloads.workload import LONGEST

if TYPE_CHECKING:
    from traces.workloads.vm_life import VmLife

_BATCH = 1 << 12  # patches made ahead


def drive_of(config: "VmLife") -> Place:
    """The NVMe drive that all blocks are on: the first of the topology."""
    return next(place for place in _scan(config, 0).places if place.model == "nvme")


def _scan(config: "VmLife", seed: int) -> PciScan:
    return PciScan(topology=config.topology, last_bus=config.last_bus, rescans=0, seed=seed)


def scan(config: "VmLife", seed: int) -> pl.DataFrame:
    """Firmware and kernel look for functions: rows of `Config`, times from 0."""
    return pl.concat(scanned(_scan(config, seed)))


def functions(config: "VmLife", ended: int) -> pl.DataFrame:
    """The functions, all of them there until then: rows of `TraceFunctions`, times of the config trace."""
    told = pl.concat(known(_scan(config, 0))["functions"])
    return told.with_columns(pl.lit(ended, pl.UInt64).alias("ended"))


def found(rows: pl.DataFrame, drive: Place) -> int:
    """The row by which a scan first reads of a function that it is there."""
    its = (
        (pl.col("bus") == drive.bus)
        & (pl.col("device") == drive.slot >> 3)
        & (pl.col("function") == drive.slot & 7)
        & (pl.col("op") == Op.READ)
        & (pl.col("present") == Presence.PRESENT)
    )
    return int(rows.select(its.arg_max()).item())


class Patches:
    """A kernel's patches since its boot: alternatives at first, the others in the time that it runs."""

    def __init__(self, config: "VmLife") -> None:
        self._config = _patches(config)
        self._rows: Iterator[pl.DataFrame] = iter(patched(self._config, _BATCH))
        self._held = next(self._rows)
        self._ran = 0  # ns that the kernel has run, by the clock of the patches

    def at_boot(self, now: int) -> pl.DataFrame:
        """What is patched before anything runs, moved to ``now``."""
        rows = self._held.head(self._config.alternatives)
        self._held = self._held.slice(rows.height)
        self._ran = int(rows["time"][-1]) + 1
        return rows.with_columns(pl.col("time") + now)

    def at_work(self, now: int, length: int) -> pl.DataFrame:
        """What is patched while the kernel runs on for ``length`` ns from ``now``."""
        began, ended = self._ran, self._ran + length
        while self._held.is_empty() or int(self._held["time"][-1]) < ended:
            self._held = pl.concat([self._held, next(self._rows)])
        rows = self._held.filter(pl.col("time") < ended)
        self._held = self._held.slice(rows.height)
        self._ran = ended
        return rows.with_columns(pl.col("time") - began + now)


def _patches(config: "VmLife") -> TextPatches:
    most = int(min(1 << 30, config.patches * LONGEST / 2))
    return TextPatches(
        writes=most,
        alternatives=_BATCH // 4,
        jump_rate=config.patches,
        call_rate=0,
        tracer_rate=0,
        bpf_rate=0,
        kprobe_rate=config.patches / 4,
        module_rate=0,
        cpus=config.processors,
        seed=config.seed,
    )


def sites(config: "VmLife") -> pl.DataFrame:
    """Where the kernel may patch its text: rows of `TraceSites`. The same kernel boots every time."""
    return pl.concat(truth(_patches(config))["sites"])
