"""Scans of the recorded machines are compared with the recordings: order, registers and widths of every access."""

import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

from traces.config import configured, keys
from traces.errors import ConfigError
from traces.formats.inputs import Input
from traces.formats.pci_tsv import FORMAT
from traces.formats.reader import Options, Report
from traces.workloads.pci.topology import MODELS
from traces.workloads.pci_scan import PciScan, generate, spans, truth

pytestmark = pytest.mark.kernels

Q35 = (
    "00:00.0 mch; 00:01.0 vga; 00:02.0 virtio-blk; 00:03.0 virtio-net; 00:04.0 nvme; 00:05.0 root-port bus=1; "
    "00:06.0 root-port bus=2; 00:1f.0 lpc; 00:1f.2 ahci; 00:1f.3 smbus; 01:00.0 nvme"
)
PC = (
    "00:00.0 i440fx; 00:01.0 piix3; 00:01.1 piix3-ide; 00:01.3 piix4-pm; 00:02.0 vga; 00:03.0 virtio-blk; "
    "00:04.0 virtio-net; 00:05.0 nvme; 00:06.0 pci-bridge bus=1; 01:01.0 nvme; 01:02.0 e1000"
)
SMALL = "00:00.0 mch; 00:01.0 root-port bus=1; 00:02.0 root-port bus=2; 00:03.0 nvme"
PLACE = ("bus", "device", "function")
ACCESS = ("mechanism", "op", *PLACE, "register", "width")


def trace(**asked: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(PciScan, {"rescans": 0} | asked)))


def known(**asked: Any) -> pl.DataFrame:
    return pl.concat(truth(configured(PciScan, {"rescans": 0} | asked))["functions"])


def recorded(shared: Path, run: str, *phases: str) -> pl.DataFrame:
    path = shared / f"captures/A_pci/{run}.tsv.zst"
    rows = pl.concat(FORMAT.read([Input(path, str(path))], Options(), Report()))
    return rows.filter(pl.col("phase").cast(pl.String).is_in(phases))


def done(rows: pl.DataFrame, label: str) -> pl.DataFrame:
    return rows.filter(pl.col("phase") == label)


def missing(mine: pl.DataFrame, theirs: pl.DataFrame) -> list[Any]:
    """Accesses of mine that the recording does not have, in mine's order."""
    a, b = mine.select(ACCESS).rows(), theirs.select(ACCESS).rows()
    matched = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    have = {n for block in matched for n in range(block.a, block.a + block.size)}
    return [row for n, row in enumerate(a) if n not in have]


def absent(rows: pl.DataFrame) -> dict[tuple[int, int, int], int]:
    """(mechanism, register, width) -> reads of what is absent."""
    some = rows.filter((pl.col("present") == 0) & (pl.col("register") < 256))
    return {(m, r, w): n for m, r, w, n in some.group_by("mechanism", "register", "width").len().rows()}


def early(rows: pl.DataFrame) -> int:
    """Rows of the kernel's first look, which the recordings count as firmware's: it ends before register 6 is read."""
    return int((rows["register"] == 6).arg_max() or 0) - 2


def test_pci_scan__linux_does_what_was_recorded_of_q35(shared: Path) -> None:
    mine, theirs = done(trace(topology=Q35), "kernel-scan"), recorded(shared, "q35-seabios-linux", "linux-boot")
    look, scan = mine[: early(mine)], mine[early(mine) :]
    near = pl.col("bus") <= 2
    assert missing(scan.filter(near), theirs.filter(near)) == []  # exact: every access, in this order
    assert missing(look, recorded(shared, "q35-seabios-linux", "firmware", "linux-boot")[:1300]) == []
    assert absent(scan)[0, 0, 2] == absent(theirs)[0, 0, 2] == 8096
    assert absent(look) == {(0, 0x0A, 2): 88}
    # what the recording has besides are chip sets' and devices' own drivers
    assert absent(theirs)[0, 0, 4] - absent(scan)[0, 0, 4] == 7
    assert theirs.height - scan.height == 9823 - 9453
    sweep = scan.filter(pl.col("bus") > 2).select(ACCESS).rows()
    assert sweep == theirs.filter(~near & (pl.col("width") == 2)).select(ACCESS).rows()


def test_pci_scan__linux_does_what_was_recorded_of_pc(shared: Path) -> None:
    mine = done(trace(topology=PC, ecam=False, last_bus=0), "kernel-scan")
    theirs = recorded(shared, "pc-seabios-linux", "linux-boot")
    scan = mine[early(mine) :]
    assert missing(scan, theirs) == []
    assert scan.height == pytest.approx(theirs.height, rel=0.2)  # the rest are drivers
    assert set(mine["mechanism"]) == {0}


@pytest.mark.parametrize(
    ("run", "asked"),
    [
        ("q35-seabios-linux", {"topology": Q35}),
        ("pc-seabios-linux", {"topology": PC, "ecam": False, "last_bus": 0}),
    ],
)
def test_pci_scan__a_rescan_is_the_recorded_one(shared: Path, run: str, asked: dict[str, Any]) -> None:
    mine = done(trace(**asked, rescans=3), "rescan")
    theirs = recorded(shared, run, "rescan-nothing-new").select(*ACCESS, "present").rows()
    assert mine.select(*ACCESS, "present").rows() == theirs * 3


def test_pci_scan__a_dump_reads_what_lspci_read(shared: Path) -> None:
    mine = done(trace(topology=Q35, dumps=1), "dump").sort(*PLACE, "register")
    theirs = recorded(shared, "q35-seabios-linux", "lspci-xxxx").sort(*PLACE, "register")
    assert mine.select(ACCESS).rows() == theirs.select(ACCESS).rows()
    fixed = pl.col("register").is_in([0, 8, 0x0C, 0x2C, 0x34, 0x100, 0x148])
    assert mine.filter(fixed)["value"].to_list() == theirs.filter(fixed)["value"].to_list()


def test_pci_scan__seabios_does_nearly_what_was_recorded(shared: Path) -> None:
    for run, asked, most in (
        ("q35-seabios-linux", {"topology": Q35}, 30),
        ("pc-seabios-linux", {"topology": PC, "ecam": False, "last_bus": 0}, 25),
    ):
        mine, theirs = done(trace(**asked), "firmware"), recorded(shared, run, "firmware")
        # addresses are handed out in another order: those are the accesses that are missing
        odd = missing(mine, theirs)
        assert len(odd) <= most
        assert {row[1] for row in odd} == {1}
        assert absent(mine)[0, 0, 2] == absent(theirs)[0, 0, 2]
    assert mine.height > 650


def test_pci_scan__ovmf_does_nearly_what_was_recorded(shared: Path) -> None:
    mine = done(trace(topology=Q35, firmware="ovmf"), "firmware")
    theirs = recorded(shared, "q35-ovmf-none", "firmware")
    assert absent(mine) == absent(theirs) == {(1, 0, 4): 426}
    assert len(missing(mine, theirs)) / mine.height < 0.03
    assert set(mine["mechanism"]) == {1}


@pytest.mark.parametrize("ports", [True, False])
def test_pci_scan__registers_below_256_go_through_the_ports(ports: bool) -> None:
    rows = done(trace(ports=ports), "kernel-scan")
    low = rows.filter(pl.col("register") < 256)
    assert set(low["mechanism"]) == {0 if ports else 1}
    assert set(rows.filter(pl.col("register") >= 256)["mechanism"]) == {1}


@pytest.mark.parametrize(
    "asked",
    [
        {"topology": SMALL + "; 01:00.0 nic ari=12 vfs=5", "dumps": 1, "rescans": 3},
        {"topology": SMALL, "hotplug": "15s plug 02:00.0 nvme; 25s unplug 02:00.0", "rescans": 3},
        {"topology": SMALL + "; 01:00.0 nic vfs=3", "hotplug": "5s unplug 01:00.0", "rescans": 2, "firmware": "ovmf"},
        {"topology": PC, "ecam": False, "hotplug": "1s unplug 01:02.0; 2s plug 01:07.0 e1000", "rescans": 2},
        {"buses": 30, "devices": 20, "nested": 0.5, "several": 0.5, "firmware": "none", "rescans": 1, "seed": 5},
    ],
)
def test_pci_scan__presence_is_what_the_truth_says(asked: dict[str, Any]) -> None:
    rows, functions = trace(**asked), known(**asked)
    there = rows.with_row_index("n").join(functions, on=["segment", *PLACE], how="inner")
    there = there.filter((pl.col("began") <= pl.col("time")) & (pl.col("time") < pl.col("ended")))
    assert there["n"].is_unique().all()
    assert sorted(there["n"]) == rows.with_row_index("n").filter(pl.col("present") == 1)["n"].to_list()
    nothing = rows.filter(pl.col("present") == 0)
    assert set(nothing["op"]) == {0}
    ones = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF}
    assert set(nothing.select("width", "value").rows()) <= set(ones.items())
    assert set(nothing["raw"].cast(pl.String)) == {""}
    assert there["raw"].cast(pl.String).to_list() == there["name"].to_list()
    virtual = there.filter((pl.col("virtual") == 1) & (pl.col("register") == 0))
    assert (virtual["value"] == 0xFFFFFFFF).all()
    first = there.filter((pl.col("register") == 0) & (pl.col("width") == 4) & (pl.col("op") == 0))
    assert (first["value"] == first["vendor"].cast(pl.UInt64) + first["id"].cast(pl.UInt64) * 65536).all()


def test_pci_scan__probes_functions_only_of_devices_with_several() -> None:
    rows = done(trace(topology=SMALL + "; 00:05.0 nvme; 00:05.3 ahci", firmware="none"), "kernel-scan")
    probes = rows.filter((pl.col("register") == 0) & (pl.col("width") == 4) & (pl.col("function") > 0))
    assert set(probes.select("bus", "device").rows()) == {(0, 5)}
    assert sorted(set(probes["function"])) == [1, 2, 3, 4, 5, 6, 7]
    behind = rows.filter((pl.col("bus") == 1) & (pl.col("width") == 4))
    assert set(behind.select("device", "function").rows()) == {(0, 0)}


def test_pci_scan__finds_functions_by_ari() -> None:
    rows = done(trace(topology=SMALL + "; 01:00.0 nic ari=20", firmware="none"), "kernel-scan")
    found = rows.filter((pl.col("bus") == 1) & (pl.col("register") == 0x0E)).select("device", "function").rows()
    assert [device << 3 | function for device, function in found] == list(range(20))
    links = rows.filter((pl.col("bus") == 1) & (pl.col("register") == 0x154) & (pl.col("width") == 2))
    assert [value >> 8 for value in links["value"]] == [*range(1, 20), 0]


def test_pci_scan__a_function_that_came_is_found_and_placed() -> None:
    asked = {"topology": SMALL, "hotplug": "15s plug 02:00.0 nvme; 25s unplug 02:00.0", "rescans": 3}
    rows = trace(**asked)
    assert [span.label for span in spans(configured(PciScan, asked))] == [
        *("firmware", "kernel-scan", "rescan", "plug", "rescan", "unplug", "rescan"),
    ]
    plug = done(rows, "plug")
    assert int(plug["time"][0]) == 15 * 10**9
    its = plug.filter(pl.col("bus") == 2)
    written = its.filter((pl.col("register") == 0x10) & (pl.col("op") == 1))["value"].to_list()
    assert written[0] == 0xFFFFFFFF
    assert written[-1] > 1 << 20
    again = rows.filter((pl.col("time") >= 20 * 10**9) & (pl.col("bus") == 2) & (pl.col("register") == 0))
    assert again["present"].to_list() == [1, 0]  # let go of; then absent
    gone = done(rows, "unplug")
    [told] = known(**asked).filter(pl.col("bus") == 2).select("began", "ended").rows()
    assert told == (plug["time"][0], gone["time"][-1] + 1)


def test_pci_scan__sizes_base_address_registers() -> None:
    rows = done(trace(topology=SMALL, firmware="none"), "kernel-scan")
    nvme = rows.filter((pl.col("device") == 3) & (pl.col("register") == 0x10)).select("op", "value").rows()
    assert nvme[:4] == [(0, 4), (1, 0xFFFFFFFF), (0, 0xFFFFC004), (1, 4)]


def test_pci_scan__times_are_costs() -> None:
    asked = {"topology": SMALL, "dumps": 20, "port_cost": 10_000, "window_cost": 3_000}
    for jitter in (0.0, 0.5, 1.0):
        rows = trace(**asked, jitter=jitter)
        gaps = np.diff(rows["time"].to_numpy()).astype(np.float64)
        ways = rows["mechanism"].to_numpy()[:-1]
        for way, cost in ((0, 10_000), (1, 3_000)):
            some = gaps[ways == way]
            if jitter:
                assert kstest(some, "expon", args=(cost * (1 - jitter) - 0.5, cost * jitter)).pvalue > 1e-4
            else:
                assert set(some) == {cost}


def test_pci_scan__rescans_come_at_their_times() -> None:
    rows = done(trace(topology=SMALL, rescans=50, interval="1s"), "rescan")
    begins = rows["time"].to_numpy().reshape(50, -1)[:, 0]
    assert begins.tolist() == [n * 10**9 for n in range(1, 51)]
    close = done(trace(topology=SMALL, rescans=50, interval="1us"), "rescan")
    assert close["time"].is_sorted()
    assert close.height == rows.height


def test_pci_scan__draws_topologies_with_the_numbers_asked_for() -> None:
    ports, roots, ends, several, nested = 0, 0, 0, 0, 0
    for seed in range(60):
        asked = {"buses": 20, "devices": 8, "nested": 0.4, "several": 0.3, "seed": seed}
        places = configured(PciScan, asked).places
        devices = {place.bdf >> 3 for place in places if not MODELS[place.model].bridge and place.model != "mch"}
        bridges = [place for place in places if MODELS[place.model].bridge]
        ports += len(bridges)
        nested += sum(place.bus > 0 for place in bridges)
        roots += sum(not device >> 5 for device in devices)
        ends += len(devices)
        several += sum(sum(place.bdf >> 3 == device for place in places) > 1 for device in devices)
    assert ports == 60 * 19
    assert nested / (60 * 18) == pytest.approx(0.4, abs=0.06)
    assert several / ends == pytest.approx(0.3, abs=0.06)
    free = 31 - (ports - nested) / 60
    assert roots / 60 == pytest.approx(8 * free / 31, rel=0.1)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"topology": "00:00.0 mch; 00:01.0 nvm"}, "there is no model 'nvm'; did you mean 'nvme'"),
        ({"topology": "00:01.0 nvme"}, "a topology begins with the host bridge, 00:00.0"),
        ({"topology": "00:00.0 mch; 00:20.0 nvme"}, "'00:20.0' is no place of a function; write it like 01:1f.2"),
        ({"topology": "00:00.0 mch; 00:01.0 root-port"}, "'00:01.0 root-port': a bridge wants bus="),
        ({"topology": "00:00.0 mch; 00:01.0 nvme bus=1"}, "only a bridge has bus="),
        ({"topology": "00:00.0 mch; 00:01.0 root-port bus=2"}, "counted depth first, its bus is number 1"),
        ({"topology": "00:00.0 mch; 01:00.0 nvme"}, "no bridge has bus=1"),
        ({"topology": SMALL + "; 01:03.0 nvme"}, "behind a port there is device 0 alone"),
        ({"topology": SMALL + "; 00:05.1 nvme"}, "its device has no function 0"),
        ({"topology": SMALL + "; 00:03.0 vga"}, "is where another function is"),
        ({"topology": SMALL + "; 01:00.0 nic vfs=90"}, "is function 256 of 256: fewer ari= or vfs="),
        ({"topology": SMALL + "; 01:00.0 nvme vfs=2"}, "only a nic has ari= and vfs="),
        ({"ecam": False, "ports": False}, "without the window the ports are the only way"),
        ({"ecam": False, "firmware": "ovmf"}, "ovmf wants the window"),
        ({"topology": SMALL, "nested": 0.5}, "^nested has no effect where the topology is given$"),
        ({"hotplug": "15s plg 01:00.0 nvme"}, "is no event; write it like '15s unplug 07:00.0'"),
        ({"topology": SMALL, "hotplug": "1s unplug 01:00.0"}, "there is nothing then that could go"),
        ({"topology": SMALL, "hotplug": "1s unplug 00:01.0"}, "no bridge and no host bridge can"),
        ({"topology": SMALL, "hotplug": "1s plug 00:03.0 nvme"}, "is where another function is"),
    ],
)
def test_pci_scan__refuses_what_cannot_be(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(PciScan, asked)


@pytest.mark.parametrize("seed", range(8))
def test_pci_scan__what_its_help_suggests_can_happen(seed: int) -> None:
    told = next(key.doc for key in keys(PciScan) if key.name == "hotplug")
    lines = re.findall(r"'(\d+s [^']*)'", told)
    assert len(lines) == 2
    rows = trace(hotplug="; ".join(lines), seed=seed)
    assert {"plug", "unplug"} <= set(rows["phase"].cast(pl.String))
