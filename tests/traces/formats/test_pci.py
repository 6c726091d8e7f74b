import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.damage import costs_few, damaged, read, survives
from traces.formats import _template, pci_tsv, qemu_pci, vfio
from traces.formats.inputs import Input
from traces.formats.reader import Format, Report
from traces.pci import Mechanism, Op, Presence

pytestmark = pytest.mark.kernels

FOLDER = Path(__file__).parents[2] / "golden"
LOG, TABLE = FOLDER / "q35-ovmf-none.qemu.log.zst", FOLDER / "q35-ovmf-none.tsv.zst"
WAYS = {Mechanism.PORTS: "cf8", Mechanism.ECAM: "ecam"}

function = ["bus", "device", "function"]
reads, writes = pl.col("op") == Op.READ, pl.col("op") == Op.WRITE
absent = pl.col("present") == Presence.ABSENT


def plain(path: Path) -> bytes:
    with Input(path, path.name).open() as stream:
        return stream.read()


def since(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("time") - pl.col("time").first())


def lines(tmp_path: Path, log: str, how: Format = qemu_pci.FORMAT) -> tuple[pl.DataFrame, Report]:
    """A log told in short: thread, microseconds, event."""
    out = []
    for line in filter(None, map(str.strip, log.splitlines())):
        thread, time, rest = line.split(" ", 2)
        out.append(line if thread == "#" else f"{thread}@100.{int(time):06d}:{rest}")
    path = tmp_path / "qemu.log"
    path.write_text("\n".join(out) + "\n")
    return read(how, [path])


def by_register(rows: pl.DataFrame) -> dict[str, int]:
    return {f"{register:#x}/{width}": n for register, width, n in rows.group_by("register", "width").len().iter_rows()}


def counted(rows: pl.DataFrame) -> dict[str, Any]:
    """The figures of the recording's facts, from its records."""
    lost = rows.filter(reads, absent)
    ways = rows.group_by("mechanism", "op").len().iter_rows()
    return {
        "rows": rows.height,
        "reads": rows.filter(reads).height,
        "writes": rows.filter(writes).height,
        "reads_absent": lost.height,
        "writes_absent": rows.filter(writes, absent).height,
        "reads_absent_all_ones": sum(v == (1 << 8 * w) - 1 for v, w in lost.select("value", "width").iter_rows()),
        "reads_absent_by_reg": by_register(lost),
        "distinct_absent_bdf_read": lost.n_unique(function),
        "distinct_present_bdf": rows.filter(~absent).n_unique(function),
        "buses_probed": rows.filter(reads)["bus"].n_unique(),
        "max_bus": rows["bus"].max(),
        "by_mech": {f"{WAYS[Mechanism(way)]}-{'RW'[op]}": n for way, op, n in ways},
        "phases": {
            phase: {"reads": r, "writes": w, "reads_absent": a}
            for phase, r, w, a in rows.group_by("phase")
            .agg(reads.sum().alias("r"), writes.sum().alias("w"), (reads & absent).sum().alias("a"))
            .iter_rows()
        },
    }


@pytest.mark.parametrize(
    "name",
    [
        "q35-seabios-linux.qemu.log",
        "q35-seabios-linux.tsv",
        "pc-seabios-linux.tsv",
        "q35-ovmf-none.qemu.log",
        "q35-ovmf-none.tsv",
    ],
)
def test_facts(shared: Path, name: str) -> None:
    folder = shared / "captures/A_pci"
    how = pci_tsv.FORMAT if name.endswith("tsv") else qemu_pci.FORMAT
    facts = json.loads((folder / f"{name.split('.', maxsplit=1)[0]}.facts.json").read_text())
    rows, report = read(how, [folder / f"{name}.zst"])
    got = counted(rows)
    assert {key: facts[key] for key in got} == got
    present = by_register(rows.filter(reads, ~absent))
    assert {register: present[register] for register in facts["reads_present_by_reg_top"]} == facts[
        "reads_present_by_reg_top"
    ]
    assert max(present.values()) == max(facts["reads_present_by_reg_top"].values())
    assert report.refused == 0
    if how is qemu_pci.FORMAT:
        events = facts["qemu_pci_cfg_events"]
        assert rows.filter(~absent).group_by("op").len().sort("op")["len"].to_list() == list(events.values())
        for direction, count in facts["cf8_index_accesses"].items():
            assert report.notes[f"{direction}s of the address port 0xCF8"] == count
        assert not any("without the access" in note or "names another" in note for note in report.notes)


@pytest.mark.parametrize("run", ["q35-seabios-linux", "q35-ovmf-none"])
def test_log_and_table__give_the_same_records(shared: Path, run: str) -> None:
    folder = shared / "captures/A_pci"
    log, _ = read(qemu_pci.FORMAT, [folder / f"{run}.qemu.log.zst"])
    table, _ = read(pci_tsv.FORMAT, [folder / f"{run}.tsv.zst"])
    assert_frame_equal(since(log), since(table))


def test_golden__log_and_table_give_the_same_records() -> None:
    log, report = read(qemu_pci.FORMAT, [LOG])
    table, other = read(pci_tsv.FORMAT, [TABLE])
    assert_frame_equal(since(log), since(table))
    assert log.height == 5515
    assert (report.clock, other.clock) == ("unix", "relative")
    assert (report.refused, other.refused) == (0, 0)
    assert log["time"][0] == 1795431161693663000


IDX = "name 'pci-conf-idx'"
DATA = "name 'pci-conf-data'"
ECAM = "name 'pcie-mmcfg-mmio'"


def test_ports__go_to_the_function_last_addressed_whichever_thread_did(tmp_path: Path) -> None:
    log = f"""
        7 10 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x80011a44 size 4 {IDX}
        8 11 pci_cfg_read mch 01:03.2 @0x46 -> 0xabcd
        8 12 memory_region_ops_read cpu 1 mr 0x2 addr 0xcfe value 0xabcd size 2 {DATA}
        7 13 memory_region_ops_write cpu 0 mr 0x2 addr 0xcfc value 0x12345678 size 4 {DATA}
        7 14 pci_cfg_write mch 01:03.2 @0x44 <- 0x12345678
        7 15 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x8000f800 size 4 {IDX}
        7 16 memory_region_ops_read cpu 0 mr 0x2 addr 0xcfc value 0xffffffff size 2 {DATA}
        7 17 memory_region_ops_write cpu 0 mr 0x2 addr 0xcfc value 0x1 size 1 {DATA}
        7 18 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x0 size 4 {IDX}
        7 19 memory_region_ops_read cpu 0 mr 0x2 addr 0xcfc value 0xffffffff size 4 {DATA}
        7 20 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf9 value 0x6 size 1 {IDX}
    """
    rows, report = lines(tmp_path, log)
    wanted = ["op", "cpu", "bus", "device", "function", "register", "width", "value", "present", "raw"]
    assert rows.select(wanted).rows() == [
        (0, 1, 1, 3, 2, 0x46, 2, 0xABCD, 1, "mch"),
        (1, 0, 1, 3, 2, 0x44, 4, 0x12345678, 1, "mch"),
        (0, 0, 0, 31, 0, 0, 2, 0xFFFF, 0, ""),
        (1, 0, 0, 31, 0, 0, 1, 1, 0, ""),
    ]
    assert report.notes["accesses to the data port while the address port had bit 31 clear: of no function"] == 1
    assert report.notes["accesses to the address port that are not 4 bytes wide, without effect"] == 1


def test_window__is_found_by_the_functions_in_it(tmp_path: Path) -> None:
    log = f"""
        7 10 memory_region_ops_read cpu 0 mr 0x1 addr 0x3f0f8000 value 0xffffffff size 4 {ECAM}
        7 11 pci_cfg_read gpex-root 00:00.0 @0x0 -> 0x81b36
        7 12 memory_region_ops_read cpu 0 mr 0x1 addr 0x3f000000 value 0x81b36 size 4 {ECAM}
        7 13 memory_region_ops_read cpu 0 mr 0x1 addr 0x3f1f8004 value 0xffffffffffffffff size 8 {ECAM}
        7 14 memory_region_ops_write cpu 0 mr 0x1 addr 0x3f008104 value 0x1 size 4 {ECAM}
        7 15 pci_cfg_write e1000e 00:01.0 @0x104 <- 0x1
    """
    rows, report = lines(tmp_path, log)
    assert rows.select("mechanism", *function, "register", "width", "present").rows()[1:] == [
        (1, 0, 0, 0, 0, 4, 1),
        (1, 1, 31, 0, 4, 8, 0),
        (1, 0, 1, 0, 0x104, 4, 1),
    ]
    assert rows["value"][2] == (1 << 64) - 1
    assert (
        report.notes["accesses to a window whose place was not known yet: taken to begin at a multiple of 256 MiB"] == 1
    )


def test_presence__is_not_told_by_a_log_without_pci_cfg(tmp_path: Path) -> None:
    log = f"""
        7 10 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x80000000 size 4 {IDX}
        7 12 memory_region_ops_read cpu 0 mr 0x2 addr 0xcfc value 0x8086 size 2 {DATA}
    """
    rows, _ = lines(tmp_path, log)
    assert rows["present"].to_list() == [Presence.NOT_TOLD]


def test_pci_cfg_alone__is_read_too(tmp_path: Path) -> None:
    log = """
        7 10 pci_cfg_read mch 00:00.0 @0x0 -> 0x8086
        8 11 pci_cfg_read vga 00:02.0 @0x2 -> 0x1111
        7 12 pci_cfg_write mch 00:00.0 @0x60 <- 0xb0000001
    """
    rows, report = lines(tmp_path, log)
    assert rows.sort("time").select(
        "op", "mechanism", "device", "register", "width", "value", "present", "raw"
    ).rows() == [
        (0, 2, 0, 0, 0, 0x8086, 1, "mch"),
        (0, 2, 2, 2, 0, 0x1111, 1, "vga"),
        (1, 2, 0, 0x60, 0, 0xB0000001, 1, "mch"),
    ]
    assert sum(n for note, n in report.notes.items() if "without the access" in note) == 3


def test_a_log_without_times_or_region_names__has_an_order(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(
        "memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x80000000 size 4\n"
        "pci_cfg_read mch 00:00.0 @0x0 -> 0x8086\n"
        "memory_region_ops_read cpu 0 mr 0x2 addr 0xcfc value 0x8086 size 2\n"
        "memory_region_ops_read cpu 0 mr 0x2 addr 0xfee00020 value 0x0 size 4\n"
        "pci_update_mappings_add d=0x1 00:02.0 0,0xf000+0x20\n"
    )
    rows, report = read(qemu_pci.FORMAT, [path])
    assert report.clock == "ordinal"
    assert rows.select("time", "register", "width", "present").rows() == [(2, 0, 2, 1)]
    assert report.notes["accesses to region 'without a name'"] == 1
    assert report.notes["events of pci_update_mappings_add"] == 1


def test_phases__begin_with_the_byte_and_have_the_consoles_name(tmp_path: Path) -> None:
    read_ = f"memory_region_ops_read cpu 0 mr 0x2 addr 0xcfc value 0x8086 size 2 {DATA}"
    mark = "memory_region_ops_write cpu 0 mr 0x9 addr 0xe9 value {} size 1 name 'isa-debugcon'"
    log = f"""
        7 10 memory_region_ops_write cpu 0 mr 0x1 addr 0xcf8 value 0x80000000 size 4 {IDX}
        7 11 {read_}
        # console [    0.000000] Linux version 6.1
        7 12 {read_}
        7 13 {mark.format("0x1")}
        7 14 {read_}
        # console ### phase rescan
        7 15 {read_}
        7 16 {mark.format("0x41")}
        7 17 {mark.format("0x5")}
        7 18 {read_}
    """
    rows, report = lines(tmp_path, log)
    assert rows["phase"].to_list() == ["firmware", "linux-boot", "rescan", "rescan", "5"]
    assert report.notes["bytes of text written to the debug port"] == 1


@pytest.mark.parametrize("size", [1, 300, 5000])
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    path = tmp_path / "part.log"
    path.write_bytes(b"\n".join(plain(LOG).split(b"\n")[:1200]) + b"\n")
    want = read(qemu_pci.FORMAT, [path])
    monkeypatch.setattr(_template, "_CHUNK", size)
    rows, report = read(qemu_pci.FORMAT, [path])
    assert_frame_equal(rows, want[0])
    assert report.notes == want[1].notes


def test_bad_rows__of_a_table_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    good = "10\t0\tcf8\tR\t0\t0\t0\t0\t2\t0xffffffff\t0\t-\tfirmware\n"
    path.write_text(
        pci_tsv.HEADER.replace(" ", "\t")
        + "\n"
        + good
        + good.replace("R", "X")
        + good.replace("\t2\t", "\t3\t")
        + good.replace("\t0\t-", "\t7\t-")
        + "10\t0\n"
        + good.replace("cf8", "acpi")
    )
    rows, report = read(pci_tsv.FORMAT, [path])
    assert rows.select("mechanism", "value", "raw").rows() == [(0, 0xFFFF, ""), (2, 0xFFFF, "")]
    assert [row[1] for row in report.take_refused().rows()] == [5, 6, 3, 4]
    assert report.notes["ways that are neither cf8 nor ecam"] == 1


def test_vfio_facts(shared: Path) -> None:
    every = json.loads((shared / "public-traces/FACTS.json").read_text())
    facts = every["qemu_trace/vfio_boot-hybernate.log.zst"]
    rows, report = read(vfio.FORMAT, [shared / "public-traces/qemu_trace/vfio_boot-hybernate.log.zst"])
    events = dict(facts["events"])
    assert dict(rows["raw"].value_counts().iter_rows()) == {
        name: events.pop(name) for name in ("vfio_pci_read_config", "vfio_pci_write_config")
    }
    assert {name: report.notes[f"events of {name}"] for name in events} == events
    assert report.notes["continuation lines without prefix"] == facts["odd"]["continuation_lines_without_prefix"]
    assert sum(events.values()) + rows.height == facts["records"]
    assert report.refused == 0
    assert set(rows.select(*function).rows()) == {(4, 0, 0), (4, 0, 1), (4, 0, 2)}


def test_vfio__reads_and_writes(tmp_path: Path) -> None:
    log = """
        7 10 vfio_pci_read_config  (0001:04:1f.1, @0x3d, len=0x1) 0xff
        7 11 vfio_pci_write_config  (0001:04:1f.1, @0x104, 0x20000, len=0x4)
        7 12 vfio_pci_read_config  (c0ffee-uuid, @0x0, len=0x2) 0x8086
        7 13 vfio_pci_read_config  (0000:04:00.0, @0x0, len=0x3) 0x8086
        7 14 vfio_region_write  (0000:04:00.1:region4+0x820, 0x20001, 4)
        7 15 size 5
    """
    rows, report = lines(tmp_path, log, vfio.FORMAT)
    wanted = ["op", "segment", *function, "register", "width", "value", "present"]
    assert rows.select(wanted).rows() == [
        (0, 1, 4, 31, 1, 0x3D, 1, 0xFF, 1),
        (1, 1, 4, 31, 1, 0x104, 4, 0x20000, 1),
        (0, 0, 0, 0, 0, 0, 2, 0x8086, 1),
    ]
    assert report.notes["accesses to devices whose name is no PCI address"] == 1
    assert report.refused == 1


SAMPLES = {
    "pci-tsv": (pci_tsv.FORMAT, b"".join(plain(TABLE).splitlines(True)[:60])),
    "qemu-pci": (qemu_pci.FORMAT, b"".join(plain(LOG).splitlines(True)[:120])),
    "vfio": (
        vfio.FORMAT,
        b"7@1.000001:vfio_pci_read_config  (0000:04:00.2, @0x44, len=0x2) 0x8\n"
        b"7@1.000002:vfio_pci_write_config  (0000:04:00.2, @0x4, 0x0, len=0x2)\n" * 9,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=80)
@given(data=st.data())
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, name: str, data: Any) -> None:
    how, whole = SAMPLES[name]
    costs_few(how, tmp_path_factory.mktemp("trace") / "x.txt", whole, data.draw(damaged(whole)), rows=20)


@pytest.mark.parametrize("how", [pci_tsv.FORMAT, qemu_pci.FORMAT, vfio.FORMAT], ids=lambda how: how.name)
@settings(max_examples=60)
@given(data=st.binary(max_size=300) | st.text("@0:.#pci_fgread vx\r\t\n-><", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, how: Format, data: bytes) -> None:
    survives(how, tmp_path_factory.mktemp("trace") / "x", data)
