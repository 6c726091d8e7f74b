import functools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.formats import nvme_tsv, qemu_nvme, text
from traces.formats.qemu_nvme import FORMAT
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

# Written by hand from hw/nvme/trace-events; times are thread@seconds.microseconds.
LOG = """\
7@1.000001:pci_nvme_admin_cmd cid 0 sqid 0 opc 0x1 opname 'NVME_ADM_CMD_CREATE_SQ'
7@1.000002:pci_nvme_create_sq create submission queue, addr=0x7ffd5000, sqid=3, cqid=1, qsize=255, qflags=1
7@1.000003:pci_nvme_enqueue_req_completion cid 0 cqid 0 dw0 0x0 dw1 0x0 status 0x0
7@1.000010:pci_nvme_io_cmd cid 9 nsid 0x1 sqid 3 opc 0x1 opname 'NVME_NVM_CMD_WRITE'
7@1.000011:pci_nvme_write cid 9 opname 'NVME_NVM_CMD_WRITE' nsid 1 nlb 8 count 4096 lba 0x10
7@1.000012:pci_nvme_io_cmd cid 9 nsid 0x2 sqid 2 opc 0x2 opname 'NVME_NVM_CMD_READ'
7@1.000013:pci_nvme_read cid 9 nsid 2 nlb 1 count 4096 lba 0x10
7@1.000100:pci_nvme_enqueue_req_completion cid 9 cqid 1 dw0 0x0 dw1 0x0 status 0x0
7@1.000200:pci_nvme_enqueue_req_completion cid 9 cqid 2 dw0 0x0 dw1 0x0 status 0x4281
7@2.000000:memory_region_ops_write cpu 1 mr 0x558868a74530 addr 0xe9 value 0x1 size 1 name 'isa-debugcon'
7@2.000010:pci_nvme_io_cmd cid 10 nsid 0x2 sqid 2 opc 0x79 opname 'NVME_ZONED_CMD_MGMT_SEND'
7@2.000011:pci_nvme_open_zone open zone, slba=256, idx=1, all=0
7@2.000012:pci_nvme_enqueue_req_completion cid 10 cqid 2 dw0 0x0 dw1 0x0 status 0x0
7@2.000020:pci_nvme_io_cmd cid 11 nsid 0x2 sqid 2 opc 0x79 opname 'NVME_ZONED_CMD_MGMT_SEND'
7@2.000021:pci_nvme_err_unaligned_zone_cmd unaligned zone op 0x4, got slba=257, zslba=256
7@2.000022:pci_nvme_err_req_status cid 11 nsid 2 status 0x4002 opc 0x79
7@2.000023:pci_nvme_enqueue_req_completion cid 11 cqid 2 dw0 0x0 dw1 0x0 status 0x4002
7@2.000030:pci_nvme_io_cmd cid 12 nsid 0x2 sqid 2 opc 0x79 opname 'NVME_ZONED_CMD_MGMT_SEND'
7@2.000031:pci_nvme_reset_zone reset zone, slba=0, idx=0, all=1
7@2.000040:pci_nvme_enqueue_req_completion cid 12 cqid 2 dw0 0x0 dw1 0x0 status 0x0
7@2.000050:pci_nvme_io_cmd cid 13 nsid 0x2 sqid 2 opc 0x7d opname 'NVME_ZONED_CMD_ZONE_APPEND'
7@2.000051:pci_nvme_write cid 13 opname 'NVME_ZONED_CMD_ZONE_APPEND' nsid 2 nlb 4 count 16384 lba 0x100
7@2.000060:pci_nvme_enqueue_req_completion cid 13 cqid 2 dw0 0x104 dw1 0x0 status 0x0
7@2.000070:pci_nvme_io_cmd cid 14 nsid 0x2 sqid 2 opc 0x7a opname 'NVME_ZONED_CMD_MGMT_RECV'
7@2.000080:pci_nvme_enqueue_req_completion cid 14 cqid 2 dw0 0x0 dw1 0x0 status 0x0
7@2.000090:pci_nvme_io_cmd cid 15 nsid 0x1 sqid 3 opc 0x0 opname 'NVME_NVM_CMD_FLUSH'
7@2.000091:pci_nvme_flush_ns nsid 0x1
"""
RANGES = """\
7@3.000000:pci_nvme_io_cmd cid 20 nsid 0x1 sqid 1 opc 0x9 opname 'NVME_NVM_CMD_DSM'
7@3.000001:pci_nvme_dsm nr 2 attr 0x4
7@3.000002:pci_nvme_dsm_deallocate slba 0 nlb 8
7@3.000010:pci_nvme_io_cmd cid 21 nsid 0x1 sqid 1 opc 0x9 opname 'NVME_NVM_CMD_DSM'
7@3.000011:pci_nvme_dsm nr 1 attr 0x4
7@3.000012:pci_nvme_dsm_deallocate slba 16 nlb 0x10
7@3.000020:pci_nvme_dsm_deallocate slba 8 nlb 1
7@3.000030:pci_nvme_enqueue_req_completion cid 20 cqid 1 dw0 0x0 dw1 0x0 status 0x0
7@3.000040:pci_nvme_enqueue_req_completion cid 21 cqid 1 dw0 0x0 dw1 0x0 status 0x0
7@4.000000:pci_nvme_io_cmd cid 22 nsid 0x1 sqid 1 opc 0x19 opname 'NVME_NVM_CMD_COPY'
7@4.000001:pci_nvme_copy cid 22 nsid 1 nr 2 format 0x0
7@4.000002:pci_nvme_copy_source_range slba 0x20 nlb 2
7@4.000003:pci_nvme_copy_out slba 0x40 nlb 2
7@4.000004:pci_nvme_copy_source_range slba 0x30 nlb 1
7@4.000005:pci_nvme_copy_out slba 0x42 nlb 1
7@4.000050:pci_nvme_enqueue_req_completion cid 22 cqid 1 dw0 0x0 dw1 0x0 status 0x0
7@5.000000:pci_nvme_io_cmd cid 23 nsid 0x1 sqid 1 opc 0x5 opname 'NVME_NVM_CMD_COMPARE'
7@5.000001:pci_nvme_compare cid 23 nsid 1 slba 0x8 nlb 1
7@5.000002:pci_nvme_io_cmd cid 24 nsid 0x1 sqid 1 opc 0x2 opname 'NVME_NVM_CMD_READ'
7@5.000003:pci_nvme_read cid 24 nsid 1 nlb 1 count 520 lba 0x0
"""


def trace(tmp_path: Path, lines: str) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "qemu.log"
    path.write_text(lines)
    return read(FORMAT, [path])


def test_commands__with_extent_latency_and_status(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, LOG)
    n, z = "NVME_NVM_CMD_", "NVME_ZONED_CMD_"
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "stream", "flags", "raw").rows() == [
        (1_000_010_000, Op.WRITE, 0, 16 * 512, 4096, 90_000, 3, 0, n + "WRITE"),
        (1_000_012_000, Op.READ, 1, 65536, 4096, 188_000, 2, Flag.ERROR, n + "READ 0x4281"),
        (2_000_010_000, Op.ZONE_OPEN, 1, 256 * 4096, 0, 2_000, 2, 0, z + "MGMT_SEND ZONE_OPEN"),
        (2_000_020_000, 9, 1, 257 * 4096, 0, 3_000, 2, 128, z + "MGMT_SEND ZONE_RESET unaligned 0x4002"),
        (2_000_030_000, Op.ZONE_RESET, 1, 0, 0, 10_000, 2, Flag.ALL_ZONES, z + "MGMT_SEND ZONE_RESET_ALL"),
        (2_000_050_000, Op.ZONE_APPEND, 1, 1 << 20, 16384, 10_000, 2, 0, z + "ZONE_APPEND"),
        (2_000_070_000, Op.ZONE_REPORT, 1, 0, 0, 10_000, 2, 0, z + "MGMT_RECV"),
        (2_000_090_000, Op.FLUSH, 0, 0, 0, -1, 3, 0, n + "FLUSH ?"),
    ]
    assert report.volumes == {"ns1": 0, "ns2": 1}
    assert (report.clock, report.refused) == ("unix", 0)
    assert report.notes == {
        "commands to the device itself": 1,
        "completions of commands to the device itself": 1,
        "events pci_nvme_flush_ns, which are no commands": 1,
        "mark at 2.000000: 0x1 written to the debug console": 1,
        "zone appends, whose place in the zone is not kept": 1,
        "commands whose completion was not found": 1,
    }


def test_ranges__are_records_of_their_own(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, RANGES)
    assert rows.select("time", "op", "offset", "length", "latency").rows() == [
        (3_000_000_000, Op.DISCARD, 0, 8 * 512, 30_000),
        (3_000_010_000, Op.DISCARD, 16 * 512, 16 * 512, 30_000),
        (3_000_000_000, Op.DISCARD, 8 * 512, 512, 30_000),
        (4_000_000_000, Op.READ, 0x20 * 512, 1024, 50_000),
        (4_000_000_000, Op.WRITE, 0x40 * 512, 1024, 50_000),
        (4_000_000_000, Op.READ, 0x30 * 512, 512, 50_000),
        (4_000_000_000, Op.WRITE, 0x42 * 512, 512, 50_000),
        (5_000_000_000, Op.UNKNOWN, 8 * 512, 512, -1),
        (5_000_002_000, Op.READ, 0, 512, -1),
    ]
    assert report.notes["further ranges of deallocations, each a record"] == 1
    assert report.notes["copies' writes, each a record beside those of the reads"] == 2
    assert report.refused == 0


def test_logs_without_times_or_commands__are_read_all_the_same(tmp_path: Path) -> None:
    bare = "".join(line.split(":", 1)[1] for line in LOG.splitlines(keepends=True))
    rows, report = trace(tmp_path, bare)
    assert (report.clock, report.refused, rows["time"].to_list()) == ("ordinal", 0, list(range(8)))
    assert (rows["latency"] == -1).all()
    assert rows["offset"].to_list() == trace(tmp_path, LOG)[0]["offset"].to_list()
    few = """\
        pci_nvme_read cid 1 nsid 1 nlb 8 count 4096 lba 0x0
        pci_nvme_write cid 2 opname 'NVME_NVM_CMD_WRITE_ZEROES' nsid 1 nlb 8 count 4096 lba 0x8
        pci_nvme_rw cid 3 'write' nlb 1 count 512 lba 0x0
        pci_nvme_dsm cid 4 nsid 1 nr 1 attr 0x4
        pci_nvme_dsm_deallocate cid 4 nsid 1 slba 8 nlb 8
        pci_nvme_enqueue_req_completion cid 2 cqid 1 status 0x4002
    """
    rows, report = trace(tmp_path, "\n".join(map(str.strip, few.splitlines())) + "\n")
    assert rows.select("op", "offset", "length", "flags").rows() == [
        (Op.READ, 0, 4096, 0),
        (Op.WRITE_ZEROES, 4096, 4096, Flag.ERROR),
        (Op.WRITE, 0, 512, 0),
        (Op.DISCARD, 4096, 4096, 0),
    ]


def test_the_size_of_blocks__must_be_told_somewhere(tmp_path: Path) -> None:
    zone = "".join(line for line in LOG.splitlines(keepends=True) if "@2.0000" in line and "cid 13" not in line)
    rows, report = trace(tmp_path, zone)
    assert rows["op"].to_list() == [Op.ZONE_RESET, Op.ZONE_REPORT, Op.FLUSH]
    assert [row[1:3] for row in report.take_refused().rows()] == [
        (2, "no read or write tells how large the namespace's blocks are"),
        (5, "no read or write tells how large the namespace's blocks are"),
    ]


def plain(path: Path) -> dict[int, int]:
    """Times in ns of the marks in a log, by value."""
    _, report = read(FORMAT, [path])
    found = {}
    for sentence in report.notes:
        if sentence.startswith("mark at "):
            time, value = sentence.split()[2].rstrip(":"), int(sentence.split()[3], 16)
            found[value] = int(time.replace(".", "")) * 1000
    return found


def phases(rows: pl.DataFrame, marks: dict[int, int], names: list[str]) -> pl.DataFrame:
    """Records with the phase they fall into; the marks stand in the order of the phases."""
    starts = sorted(marks.values())
    phase = pl.lit("boot")
    for name, start in zip(names, starts, strict=False):
        phase = pl.when(pl.col("time") >= start).then(pl.lit(name)).otherwise(phase)
    return rows.with_columns(phase.alias("phase"))


def test_nvme__has_its_facts(shared: Path) -> None:
    path = shared / "captures/B_nvme/nvme.qemu.log.zst"
    facts = json.loads((path.parent / "nvme.facts.json").read_text())
    rows, report = read(FORMAT, [path])
    assert rows.height == facts["io_commands"]
    assert (rows["latency"] >= 0).all()
    assert (rows["flags"] == 0).all()
    assert not any("not found" in sentence or "not seen" in sentence for sentence in report.notes)
    assert report.notes["commands to the device itself"] == sum(facts["admin"].values())
    assert report.refused == 0

    def counted(part: pl.DataFrame) -> dict[str, list[int]]:
        each = part.group_by("raw").agg(pl.len(), pl.col("length").sum() // facts["block_size"])
        return {raw.removeprefix("NVME_NVM_CMD_").lower(): [n, blocks] for raw, n, blocks in each.iter_rows()}

    assert counted(rows) == facts["totals_cmds_blocks"]
    named = [name for name in facts["phases_cmds_blocks"] if name != "boot"]
    for (name,), part in phases(rows, plain(path), named).partition_by("phase", as_dict=True).items():
        assert counted(part) == facts["phases_cmds_blocks"][str(name)]
    written = rows.filter(pl.col("op") == Op.WRITE)
    blocks = written.select(
        pl.int_ranges(pl.col("offset") // 4096, (pl.col("offset") + pl.col("length")) // 4096).explode().n_unique()
    ).item()
    assert blocks == facts["distinct_4k_lbas_written"]


def test_zns__has_its_facts(shared: Path) -> None:
    path = shared / "captures/C_zns/zns.qemu.log.zst"
    facts = json.loads((path.parent / "zns.facts.json").read_text())
    rows, report = read(FORMAT, [path])
    assert rows.height == facts["io_commands"]
    status = rows["raw"].str.extract(r" (0x[0-9a-f]+)$").fill_null("0x0")
    assert dict(status.value_counts().iter_rows()) == facts["status"]
    assert ((rows["flags"] & int(Flag.ERROR) != 0) == (status != "0x0")).all()
    assert report.refused == 0
    named = list(dict.fromkeys(key.split("/")[0] for key in facts["phase_ns_op_cmds_okblocks_errors"]))[1:]
    volumes = {number: name for name, number in report.volumes.items()}
    found: dict[str, dict[str, list[int]]] = {}
    word = pl.col("raw").str.replace("NVME_(NVM|ZONED)_CMD_", "").str.replace(" 0x.*", "")
    word = word.str.replace(r"MGMT_SEND .* unaligned", "MGMT_SEND").str.replace("MGMT_SEND ZONE", "ZONE")
    part = phases(rows, plain(path), named).group_by("phase", "volume", word.alias("word"), maintain_order=True)
    good = pl.col("flags") & int(Flag.ERROR) == 0
    for phase, volume, name, *numbers in part.agg(
        pl.len(), pl.col("length").filter(good).sum() // 4096, (~good).sum()
    ).iter_rows():
        found.setdefault(f"{phase}/{volumes[volume]}", {})[name] = numbers
    assert found == facts["phase_ns_op_cmds_okblocks_errors"]


def test_zones_past_the_namespace__are_told_by_the_refusal(tmp_path: Path) -> None:
    log = """\
7@1.000001:pci_nvme_io_cmd cid 1 nsid 0x1 sqid 1 opc 0x1 opname 'NVME_NVM_CMD_WRITE'
7@1.000002:pci_nvme_write cid 1 opname 'NVME_NVM_CMD_WRITE' nsid 1 nlb 1 count 4096 lba 0x8
7@1.000003:pci_nvme_err_invalid_lba_range Invalid LBA start=9 len=1 limit=8
7@1.000004:pci_nvme_enqueue_req_completion cid 1 cqid 1 dw0 0x0 dw1 0x0 status 0x4080
7@1.000005:pci_nvme_err_invalid_lba_range Invalid LBA start=7 len=1 limit=8
7@2.000001:pci_nvme_io_cmd cid 2 nsid 0x1 sqid 1 opc 0x79 opname 'NVME_ZONED_CMD_MGMT_SEND'
7@2.000002:pci_nvme_err_invalid_lba_range Invalid LBA start=16 len=0 limit=8
7@2.000003:pci_nvme_enqueue_req_completion cid 2 cqid 1 dw0 0x0 dw1 0x0 status 0x4080
"""
    rows, _ = trace(tmp_path, log)
    assert rows.select("op", "offset", "raw").rows() == [
        (Op.WRITE, 8 * 4096, "NVME_NVM_CMD_WRITE 0x4080"),
        (Op.ZONE_MANAGE, 16 * 4096, "NVME_ZONED_CMD_MGMT_SEND 0x4080"),
    ]


@pytest.mark.parametrize("run", ["B_nvme/nvme", "C_zns/zns"])
def test_log_and_table__agree_record_for_record(shared: Path, run: str) -> None:
    log, _ = read(FORMAT, [shared / f"captures/{run}.qemu.log.zst"])
    table, _ = read(nvme_tsv.FORMAT, [shared / f"captures/{run}.tsv.zst"])
    same: list[Any] = ["volume", "length", "latency", "stream", "flags", pl.col("time") - pl.col("time").first()]
    assert log.select(same).equals(table.select(same))
    # the table does not tell what these were to do, or where
    known = ~(table["raw"].str.starts_with("MGMT_SEND") | (table["raw"] == "MGMT_RECV 0x4080"))
    assert (~known).sum() in (0, 323)
    assert log.filter(known).select("op", "offset").equals(table.filter(known).select("op", "offset"))


@pytest.mark.parametrize(
    "line",
    [
        "7@9.000000:pci_nvme_read cid 1 nsid 1 nlb 8 count 4096",
        "7@9.000000:pci_nvme_read cid 1 nsid 1 nlb x count 4096 lba 0x0",
        "pci_nvme_read cid 1 nsid 1 nlb 8 count 4096 lba 0x0",
        "7@9.000000:pci_nvme_read cid 1 nsid 1 nlb 8 count 4096 lba 0xffffffffffffff",
        "qemu-system-x86_64: warning",
    ],
)
def test_bad_lines__are_refused(tmp_path: Path, line: str) -> None:
    rows, report = trace(tmp_path, LOG + line + "\n")
    assert (rows.height, report.refused) == (8, 1)
    assert report.take_refused()["line"].to_list() == [LOG.count("\n") + 1]


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_small_chunks__change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    want = trace(tmp_path, LOG + RANGES)
    monkeypatch.setattr(qemu_nvme, "chunks", functools.partial(text.chunks, size=size))
    rows, report = trace(tmp_path, LOG + RANGES)
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


def test_a_command_that_is_never_completed__holds_nothing_back_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_nvme, "chunks", functools.partial(text.chunks, size=100))
    monkeypatch.setattr(qemu_nvme, "HOLD", 2)
    lost = "7@0.5:pci_nvme_io_cmd cid 99 nsid 0x1 sqid 1 opc 0x0 opname 'NVME_NVM_CMD_FLUSH'\n"
    late = "7@9.5:pci_nvme_enqueue_req_completion cid 99 cqid 1 dw0 0x0 dw1 0x0 status 0x0\n"
    rows, report = trace(tmp_path, lost + LOG + late)
    assert rows.height == 9
    assert rows["latency"].to_list()[:2] == [-1, 90_000]
    assert report.notes["commands whose completion was not found"] == 2
    assert report.notes["completions of commands that were not seen"] == 1


def test_sniff__wants_mostly_nvme(shared: Path) -> None:
    assert FORMAT.sniff("x", LOG.encode()) is not None
    for other in (b"", b"\0", b"vtd_inv_desc x\n" * 30 + LOG.encode(), b"pci_nvme is nice\n"):
        assert FORMAT.sniff("qemu.log", other) is None


@settings(max_examples=150)
@given(data=damaged((LOG + RANGES).encode()))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert survives(FORMAT, tmp_path_factory.mktemp("trace") / "x.log", data) is not None


@settings(max_examples=150)
@given(data=st.binary(max_size=300) | st.text("7@1.0:pci_nvme_read cdnslb\n\r\t", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
