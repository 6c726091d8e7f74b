import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.damage import costs_few, damaged, read, survives
from traces.dma import NOT_TOLD, Event, Told
from traces.formats import _template, dma_tsv, iommu_ftrace, qemu_vtd
from traces.formats._vtd import decoded, range_of
from traces.formats.reader import Format, Report

pytestmark = pytest.mark.kernels

PHASES = (
    "boot",
    "nvme_rand4k",
    "nvme_seq128k",
    "vblk_rand4k",
    "vblk_seq128k",
    "ext4_nvme",
    "net",
    "unbind_rebind",
    "end",
)
DESCRIPTORS = {
    "iec": Event.INVALIDATE_INTERRUPT,
    "wait": Event.WAIT,
    "context_global": Event.INVALIDATE_CONTEXT_GLOBAL,
    "iotlb_global": Event.INVALIDATE_IOTLB_GLOBAL,
    "context_device": Event.INVALIDATE_CONTEXT_DEVICE,
    "iotlb_domain": Event.INVALIDATE_IOTLB_DOMAIN,
    "iotlb_pages": Event.INVALIDATE_IOTLB_PAGES,
    "device_iotlb": Event.INVALIDATE_DEVICE_TLB,
}

access = pl.col("event") == Event.ACCESS
hit, miss = access & (pl.col("hit") == Told.YES), access & (pl.col("hit") == Told.NO)


def named(rows: pl.DataFrame) -> pl.DataFrame:
    """The log marks phases by bytes, whose names only the table knows."""
    names = dict(zip(["", *map(str, range(1, 9))], PHASES, strict=True))
    return rows.with_columns(pl.col("phase").replace(names))


def lines(tmp_path: Path, how: Format, log: str) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "x.log"
    path.write_text("".join(line.strip() + "\n" for line in log.strip().splitlines()))
    return read(how, [path])


def counted(rows: pl.DataFrame) -> dict[str, Any]:
    """The figures of the recording's facts, from its records."""
    events = dict(rows.group_by("event").len().iter_rows())
    accesses = rows.filter(access)
    phases = rows.group_by("phase").agg(
        (pl.col("event") == Event.INTERRUPT).sum().alias("irq_remap"),
        miss.sum().alias("miss"),
        access.sum().alias("translate"),
        hit.sum().alias("hit"),
    )
    return {
        "translations": accesses.height,
        "iotlb_hits": rows.filter(hit).height,
        "iotlb_misses": rows.filter(miss).height,
        "hits_plus_misses_equal_translations": rows.filter(hit | miss).height == accesses.height,
        "distinct_sid_iova_pages": accesses.select(pl.struct("source", pl.col("address") // 4096)).n_unique(),
        "sids": sorted(f"{source:04x}" for source in accesses["source"].unique()),
        "invalidation_descriptors": {name: events.get(event, 0) for name, event in DESCRIPTORS.items()},
        "dmar_faults": events.get(Event.FAULT, 0),
        "irq_remaps": events[Event.INTERRUPT],
        "phases": {
            row["phase"]: {k: v for k, v in row.items() if k != "phase"} for row in phases.iter_rows(named=True)
        },
    }


def test_facts(shared: Path) -> None:
    folder = shared / "captures/D_iommu"
    facts = json.loads((folder / "strict.facts.json").read_text())
    log, report = read(qemu_vtd.FORMAT, [folder / "strict.qemu.log.zst"])
    table, other = read(dma_tsv.FORMAT, [folder / "strict.tsv.zst"])
    log = named(log)
    for rows in (log, table):
        got = counted(rows)
        assert {key: facts[key] for key in got} == got
    assert report.notes["context cache hits"] == facts["context_cache_hits"]
    assert report.notes["context cache fills"] == facts["context_cache_fills"]
    assert report.notes.get("IOTLB resets", 0) == facts["iotlb_full_resets"]
    assert (report.refused, other.refused) == (0, 0)
    assert other.notes["requests of block devices"] == 1252 + 1068 + 1169 + 1859

    # record for record the same, but for what the table leaves out
    assert (log["time"] - table["time"]).unique().to_list() == [1795433336240881000]
    same = ["event", "request", "source", "domain", "pasid", "write", "hit", "fault", "phase"]
    assert_frame_equal(log.select(same), table.select(same))
    untold = pl.col("event").is_in([Event.WAIT, Event.INVALIDATE_INTERRUPT])
    places = ["address", "size", "target"]
    assert_frame_equal(log.filter(~untold).select(places), table.filter(~untold).select(places))


def test_guest_ftrace(shared: Path) -> None:
    rows, report = read(iommu_ftrace.FORMAT, [shared / "captures/D_iommu/strict.guest_ftrace.txt.zst"])
    events = dict(rows.group_by("event").len().iter_rows())
    assert events == {
        Event.MAP: 18453,
        Event.UNMAP: 17796,
        Event.INVALIDATE_IOTLB_GLOBAL: 1,
        Event.INVALIDATE_IOTLB_DOMAIN: 10,
        Event.INVALIDATE_IOTLB_PAGES: 35856,
        Event.INVALIDATE_DEVICE_TLB: 14788,
        Event.INVALIDATE_CONTEXT_GLOBAL: 1,
        Event.INVALIDATE_CONTEXT_DEVICE: 10,
        Event.INVALIDATE_INTERRUPT: 86,
    }
    assert rows["phase"].unique(maintain_order=True).to_list() == ["", *PHASES[1:-1]]
    assert rows.filter(pl.col("raw") == "qi_submit").height == 50752
    assert report.notes == {
        "lines that begin with #": 24,
        "events of add_device_to_group": 10,
        "events of attach_device_to_domain": 10,
    }
    assert report.refused == 0
    first = rows.filter(pl.col("event") == Event.MAP).row(0, named=True)
    assert (first["time"], first["address"], first["target"], first["size"]) == (1651889000, 0, 0, 16777216)


def test_guest_and_emulator__agree_on_what_was_invalidated(shared: Path) -> None:
    folder = shared / "captures/D_iommu"
    guest, _ = read(iommu_ftrace.FORMAT, [folder / "strict.guest_ftrace.txt.zst"])
    emulator, _ = read(qemu_vtd.FORMAT, [folder / "strict.qemu.log.zst"])
    tlb = pl.col("event") == Event.INVALIDATE_DEVICE_TLB
    columns = ["source", "address", "size"]
    seen = set(emulator.filter(tlb).select(columns).unique().rows())
    assert set(guest.filter(tlb).select(columns).unique().rows()) <= seen


P = "7@100.000001:"


def test_accesses__are_completed_by_the_lookup_before_them(tmp_path: Path) -> None:
    log = """
        7@100.000001:vtd_iotlb_page_hit IOTLB page hit sid 0x18 iova 0xffffe040 slpte 0x1098d1003 domain 0x4
        8@100.000002:vtd_iotlb_page_update IOTLB page update sid 0x100 iova 0x20123 slpte 0x5003 domain 0x8
        7@100.000003:vtd_dmar_translate dev 00:03.00 iova 0xffffe000 -> gpa 0x1098d1000 mask 0xfff
        8@100.000004:vtd_dmar_translate dev 01:00.00 iova 0x0 -> gpa 0x200000 mask 0x1fffff
        7@100.000005:vtd_dmar_translate dev 00:1f.02 iova 0x7000 -> gpa 0x7000 mask 0xfff
        8@100.000006:vtd_iotlb_page_update IOTLB page update sid 0x100 iova 0x30123 slpte 0x5003 domain 0x8
        8@100.000007:vtd_dmar_fault sid 0x100 fault 5 addr 0xdead0000 write 1
        8@100.000008:vtd_dmar_translate dev 01:00.00 iova 0x9000 -> gpa 0x9000 mask 0xfff
    """
    rows, _ = lines(tmp_path, qemu_vtd.FORMAT, log)
    assert rows.select("event", "source", "domain", "address", "page", "target", "hit", "write", "fault").rows() == [
        (Event.ACCESS, 0x18, 4, 0xFFFFE040, 4096, 0x1098D1000, Told.YES, 2, 0),
        (Event.ACCESS, 0x100, 8, 0x20123, 1 << 21, 0x200000, Told.NO, 2, 0),
        (Event.ACCESS, 0xFA, NOT_TOLD, 0x7000, 4096, 0x7000, Told.NOT_TOLD, 2, 0),
        (Event.FAULT, 0x100, NOT_TOLD, 0xDEAD0000, 0, 0, Told.NOT_TOLD, 1, 5),
        (Event.ACCESS, 0x100, NOT_TOLD, 0x9000, 4096, 0x9000, Told.NOT_TOLD, 2, 0),
    ]


def test_lookups_alone__are_accesses(tmp_path: Path) -> None:
    log = """
        vtd_iotlb_page_hit IOTLB page hit sid 0x18 iova 0xffffe040 slpte 0x1098d1003 domain 0x4
        vtd_iotlb_page_update IOTLB page update sid 0x18 iova 0xffffd000 slpte 0x108cf7003 domain 0x4
        vtd_translate_pt source id 0x20, iova 0x1234
    """
    rows, report = lines(tmp_path, qemu_vtd.FORMAT, log)
    assert report.clock == "ordinal"
    assert rows.select("time", "event", "source", "address", "target", "hit").rows() == [
        (0, Event.ACCESS, 0x18, 0xFFFFE040, 0x1098D1000, Told.YES),
        (1, Event.ACCESS, 0x18, 0xFFFFD000, 0x108CF7000, Told.NO),
        (2, Event.ACCESS, 0x20, 0x1234, 0, Told.NOT_TOLD),
    ]


DESCRIBED = """
    7@1.000001:vtd_inv_desc invalidate desc type wait high 0x100042004 low 0x200000025
    7@1.000002:vtd_inv_desc invalidate desc type iotlb high 0xfffbf000 low 0x400f2
    7@1.000003:vtd_inv_desc invalidate desc type device high 0xffff8000 low 0x10000000003
    7@1.000004:vtd_inv_desc invalidate desc type device high 0x1fff001 low 0x10000000003
    7@1.000005:vtd_inv_desc invalidate desc type iec high 0x0 low 0x800000014
    7@1.000006:vtd_inv_desc invalidate desc type context-cache high 0x0 low 0x1000000031
    7@1.000007:vtd_inv_desc invalidate desc type piotlb high 0x7000 low 0x500040036
    7@1.000008:vtd_inv_desc invalidate desc type what high 0x0 low 0xf
"""


def test_descriptors__are_read_where_no_event_tells_more(tmp_path: Path) -> None:
    bare, _ = lines(tmp_path, qemu_vtd.FORMAT, DESCRIBED)
    assert bare.select("event", "source", "domain", "pasid", "address", "size", "target").rows() == [
        (Event.WAIT, NOT_TOLD, NOT_TOLD, NOT_TOLD, 0x100042004, 0, 2),
        (Event.INVALIDATE_IOTLB_PAGES, NOT_TOLD, 4, NOT_TOLD, 0xFFFBF000, 4096, 0),
        (Event.INVALIDATE_DEVICE_TLB, 0x100, NOT_TOLD, NOT_TOLD, 0xFFFF8000, 4096, 0),
        (Event.INVALIDATE_DEVICE_TLB, 0x100, NOT_TOLD, NOT_TOLD, 0, 1 << 26, 0),
        (Event.INVALIDATE_INTERRUPT, NOT_TOLD, NOT_TOLD, NOT_TOLD, 8, 1, 0),
        (Event.INVALIDATE_CONTEXT_DEVICE, 0x10, 0, NOT_TOLD, 0, 0, 0),
        (Event.INVALIDATE_IOTLB_PAGES, NOT_TOLD, 4, 5, 0x7000, 4096, 0),
        (Event.UNKNOWN, NOT_TOLD, NOT_TOLD, NOT_TOLD, 0, 0, 0),
    ]
    told, _ = lines(
        tmp_path,
        qemu_vtd.FORMAT,
        DESCRIBED + P + "vtd_inv_desc_iotlb_pages iotlb invalidate domain 0x4 addr 0xfffbf000 mask 0x2",
    )
    assert told.select("event", "size").rows() == [
        (Event.INVALIDATE_DEVICE_TLB, 4096),
        (Event.INVALIDATE_DEVICE_TLB, 1 << 26),
        (Event.UNKNOWN, 0),
        (Event.INVALIDATE_IOTLB_PAGES, 4 * 4096),
    ]


def test_other_events_of_the_emulator(tmp_path: Path) -> None:
    log = f"""
        {P}vtd_page_walk_one domain 0x4 iova 0x10000 -> gpa 0x90000 mask 0xfff perm 3
        {P}vtd_page_walk_one domain 0x4 iova 0x10000 -> gpa 0x0 mask 0x1fffff perm 0
        {P}vtd_as_unmap_whole Device 00:03.0 start 0x0 size 0x8000000000
        {P}vtd_ir_remap index 20 trigger 0 vector 37 deliver 0 dest 0x1 mode 1
        {P}vtd_inv_desc_cc_domain context invalidate domain 0x7
        {P}vtd_inv_desc_iotlb_pasid iotlb invalidate domain 0x7 pasid 0x9
        {P}vtd_inv_desc_wait_irq One pending, skip current
        {P}vtd_dmar_enable enable 1
        {P}vtd_iotlb_reset IOTLB reset (reason: full)
        {P}amdvi_intr_inval Interrupt table invalidated
        {P}vtd_dmar_fault sid 0xzz fault 5 addr 0x0 write 1
        qemu-system-x86_64: warning: something else
        {P}pci_nvme_read cid 0
        pci_nvme_read cid 0
    """
    rows, report = lines(tmp_path, qemu_vtd.FORMAT, log)
    assert rows.select("event", "source", "domain", "pasid", "address", "size", "target").rows() == [
        (Event.MAP, NOT_TOLD, 4, NOT_TOLD, 0x10000, 4096, 0x90000),
        (Event.UNMAP, NOT_TOLD, 4, NOT_TOLD, 0x10000, 1 << 21, 0),
        (Event.UNMAP, 0x18, NOT_TOLD, NOT_TOLD, 0, 1 << 39, 0),
        (Event.INTERRUPT, NOT_TOLD, NOT_TOLD, NOT_TOLD, 20, 0, 37),
        (Event.INVALIDATE_CONTEXT_DOMAIN, NOT_TOLD, 7, NOT_TOLD, 0, 0, 0),
        (Event.INVALIDATE_IOTLB_PASID, NOT_TOLD, 7, 9, 0, 0, 0),
        (Event.WAIT, NOT_TOLD, NOT_TOLD, NOT_TOLD, 0, 0, 0),
        (Event.SWITCH, NOT_TOLD, NOT_TOLD, NOT_TOLD, 0, 0, 1),
    ]
    for sentence in ("IOTLB resets", "events of amdvi_intr_inval", "events of pci_nvme_read"):
        assert report.notes[sentence] == 1
    assert sorted(row[1] for row in report.take_refused().rows()) == [11, 12, 14]


@given(st.integers(0, (1 << 52) - 1), st.integers(0, 30))
def test_range_of__undoes_what_a_driver_does(page: int, order: int) -> None:
    page = page >> order << order
    coded = page | ((1 << order - 1) - 1 if order else 0)
    first, count = range_of(np.array([coded << 12], np.uint64), np.array([order > 0]))
    assert (int(first[0]), int(count[0])) == (page << 12, 4096 << order)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_descriptors__of_any_bits_are_something(low: int, high: int) -> None:
    found = decoded(np.array([low], np.uint64), np.array([high], np.uint64))
    assert int(found["event"][0]) in set(Event)


def test_kernel_events__of_every_tracer(tmp_path: Path) -> None:
    mapped = "IOMMU: iova=0x1000 - 0x3000 paddr=0x9000 size=8192"
    logs = (
        f"     bash-129   [001] d..1.     5.917140: map: {mapped}",
        f"     bash-129   (    77) [001] d..1.     5.917140: map: {mapped}",
        f"  my-app 2-129   [001] 5.917140: map:        {mapped}",
        f"     bash   129 [001]     5.917140: iommu:map: {mapped}",
        "     bash-129   [001] d..1.     5.917140: map: IOMMU: iova=0x1000 paddr=0x9000 size=8192",
    )
    for log in logs:
        assert iommu_ftrace.FORMAT.sniff("x", log.encode() + b"\n")
        rows, report = lines(tmp_path, iommu_ftrace.FORMAT, log)
        assert rows.select("time", "event", "address", "size", "target").rows() == [
            (5917140000, 1, 0x1000, 8192, 0x9000)
        ]
        assert not report.notes
    log = """
        # entries-in-buffer/entries-written: 10/25   #P:2
        CPU:1 [LOST 7 EVENTS]
        a-1 [001] d..1. 1.000001: unmap: IOMMU: iova=0x1000 - 0x3000 size=8192 unmapped_size=4096
        a-1 [001] d..1. 1.000002: io_page_fault: IOMMU:nvme 0001:02:1f.3 iova=0xbad000 flags=0x0001
        a-1 [001] d..1. 1.000003: map_single: dev=0000:00:02.0 dev_addr=0x5000 phys_addr=0x6000 size=512
        a-1 [001] d..1. 1.000004: unmap_sg: dev=pci-x dev_addr=0x5000 size=512
        a-1 [001] d..1. 1.000005: map: IOMMU: iova=0xzz
        nonsense
    """
    rows, report = lines(tmp_path, iommu_ftrace.FORMAT, log)
    assert rows.select("event", "source", "address", "size", "write").rows() == [
        (Event.UNMAP, NOT_TOLD, 0x1000, 4096, 2),
        (Event.FAULT, 0x102FB, 0xBAD000, 0, 1),
        (Event.MAP, 0x10, 0x5000, 512, 2),
        (Event.UNMAP, NOT_TOLD, 0x5000, 512, 2),
    ]
    assert report.notes["events lost, as the trace says"] == 15 + 7
    assert report.notes["unmaps of which less was unmapped than asked"] == 1
    assert report.refused == 2


def test_tables__keep_what_is_not_known_and_refuse_what_is_none(tmp_path: Path) -> None:
    log = f"""
        {dma_tsv.HEADER}
        10 boot translate 0018 0xffffe040 0x1098d1000 1 4
        11 boot inv_iotlb_pages - 0xfffff000 8 - 4
        12 boot inv_context_device - 01:1f.07 - - -
        13 boot page_request 0018 0x1000 - - -
        13 boot translate 0018 0x5000 0x5000 - -
        14 boot nvme_read 0018 0x0 4096 - -
        x boot inv_wait - - - - -
    """
    rows, report = lines(tmp_path, dma_tsv.FORMAT, log)
    assert rows.select("event", "source", "domain", "address", "size", "raw").rows() == [
        (Event.ACCESS, 0x18, 4, 0xFFFFE040, 0, "translate"),
        (Event.INVALIDATE_IOTLB_PAGES, NOT_TOLD, 4, 0xFFFFF000, 8 * 4096, "inv_iotlb_pages"),
        (Event.INVALIDATE_CONTEXT_DEVICE, 0x1FF, NOT_TOLD, 0, 0, "inv_context_device"),
        (Event.UNKNOWN, NOT_TOLD, NOT_TOLD, 0, 0, "page_request"),
        (Event.ACCESS, 0x18, NOT_TOLD, 0x5000, 0, "translate"),
    ]
    assert rows["hit"].to_list() == [Told.YES, *[Told.NOT_TOLD] * 4]
    assert report.notes == {"header lines": 1, "requests of block devices": 1, "events that are not known": 1}
    assert report.refused == 1


HITS = "".join(
    f"{7 + i % 2}@100.{i:06d}:vtd_iotlb_page_{'hit IOTLB page hit' if i % 3 else 'update IOTLB page update'} sid 0x18 "
    f"iova {i << 12:#x} slpte {i << 13:#x} domain 0x4\n"
    f"{7 + i % 2}@100.{i:06d}:vtd_dmar_translate dev 00:03.00 iova {i << 12:#x} -> gpa {i << 13:#x} mask 0xfff\n"
    for i in range(40)
)
SAMPLES = {
    "qemu-vtd": (qemu_vtd.FORMAT, (HITS + "\n".join(map(str.strip, DESCRIBED.strip().splitlines())) + "\n").encode()),
    "dma-tsv": (
        dma_tsv.FORMAT,
        (dma_tsv.HEADER + "\n" + "10 boot translate 0018 0xffffe040 0x1098d1000 1 4\n" * 30).encode(),
    ),
    "iommu-ftrace": (
        iommu_ftrace.FORMAT,
        b" bash-129 [001] d..1. 5.917140: map: IOMMU: iova=0x1000 - 0x3000 paddr=0x9000 size=8192\n"
        b" bash-129 [001] d..1. 5.917141: qi_submit: iotlb_inv dmar0: 0x200e2 0x0 0x0 0x0\n" * 15,
    ),
}


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("name", SAMPLES)
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, size: int) -> None:
    how, whole = SAMPLES[name]
    path = tmp_path / "x"
    path.write_bytes(whole)
    want = read(how, [path])
    monkeypatch.setattr(_template, "_CHUNK", size)
    rows, report = read(how, [path])
    assert_frame_equal(rows, want[0])
    assert report.notes == want[1].notes


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=80)
@given(data=st.data())
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, name: str, data: Any) -> None:
    how, whole = SAMPLES[name]
    costs_few(how, tmp_path_factory.mktemp("trace") / "x.txt", whole, data.draw(damaged(whole)), rows=8)


@pytest.mark.parametrize("how", [qemu_vtd.FORMAT, dma_tsv.FORMAT, iommu_ftrace.FORMAT], ids=lambda how: how.name)
@settings(max_examples=60)
@given(data=st.binary(max_size=300) | st.text("[01]:. x-map\t\r\n@vtd_", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, how: Format, data: bytes) -> None:
    survives(how, tmp_path_factory.mktemp("trace") / "x", data)
