import functools
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.errors import TraceError
from traces.formats import nvme_tsv, text
from traces.formats.inputs import Input
from traces.formats.nvme_tsv import FORMAT
from traces.formats.reader import Options, Report

pytestmark = pytest.mark.kernels

PLAIN = """\
t_us	phase	op	sqid	cid	slba	nlb	status	lat_us
100	boot	read	1	0	16	1	0	123
200	run	flush	1	768	-	-	0	62
300	run	dsm	1	769	0+8	8	0	193
400	run	dsm	2	770	0+1,0x10+2	3	0	70
500	run	write	2	771	8	2	641	-
600	run	erase	2	772	8	2	0	5
"""
ZONES = """\
t_us	phase	nsid	sqid	cid	op	slba	nlb	zone	status	appended_lba	errors	lat_us
100	a	1	1	0	WRITE	20	1	-	0x41bc	-	write_not_at_wp	15
200	a	2	1	1	ZONE_APPEND	0	4	-	0x0	4	-	164
300	a	2	2	2	ZONE_RESET	256	-	1	0x0	-	-	22
400	a	2	2	3	ZONE_RESET_ALL	0	-	0	0x0	-	-	22
500	a	2	2	4	MGMT_RECV	-	-	-	0x0	-	-	12
600	a	2	2	5	MGMT_SEND	-	-	-	0x4002	-	unaligned_zone_cmd	19
"""


def trace(tmp_path: Path, lines: str) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "run.tsv"
    path.write_text(lines)
    return read(FORMAT, [path])


def declared(tmp_path: Path, columns: str) -> tuple[pl.DataFrame, Report]:
    path, report = tmp_path / "run.tsv", Report()
    path.write_text(PLAIN)
    return pl.concat(FORMAT.read([Input(path, str(path))], Options(columns=columns), report)), report


def test_logical_blocks__have_the_size_that_is_declared(tmp_path: Path) -> None:
    want, _ = trace(tmp_path, PLAIN)
    for columns, block in (("block=512", 512), ("block=4KiB", 4096), (" block=16MiB ", 1 << 24)):
        rows, report = declared(tmp_path, columns)
        assert rows["offset"].to_list() == [each // 4096 * block for each in want["offset"]]
        assert rows["length"].to_list() == [each // 4096 * block for each in want["length"]]
        assert report.notes[f"commands whose blocks are declared to have {block} bytes"] == 5


@pytest.mark.parametrize(
    "columns", ["512", "block=", "block=500", "block=256", "block=32MiB", "block=x", "block=512,a=1"]
)
def test_a_logical_block_that_is_none__is_an_error(tmp_path: Path, columns: str) -> None:
    with pytest.raises(TraceError, match="--columns"):
        declared(tmp_path, columns)


def test_commands__of_one_volume(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, PLAIN)
    assert rows.select("time", "op", "offset", "length", "latency", "stream", "flags", "raw").rows() == [
        (100_000, Op.READ, 65536, 4096, 123_000, 1, 0, "read"),
        (200_000, Op.FLUSH, 0, 0, 62_000, 1, 0, "flush"),
        (300_000, Op.DISCARD, 0, 32768, 193_000, 1, 0, "dsm"),
        (400_000, Op.DISCARD, 0, 4096, 70_000, 2, 0, "dsm"),
        (400_000, Op.DISCARD, 65536, 8192, 70_000, 2, 0, "dsm"),
        (500_000, Op.WRITE, 32768, 8192, -1, 2, Flag.ERROR, "write 0x281"),
        (600_000, Op.UNKNOWN, 32768, 8192, 5_000, 2, 0, "erase"),
    ]
    assert report.volumes == {"run.tsv": 0}
    assert (report.clock, report.refused) == ("relative", 0)
    assert report.notes == {
        "operation 'erase' is not known": 1,
        "deallocations of several ranges, each a record": 1,
        "commands whose blocks are taken to have 4096 bytes": 5,
        "commands of phase 'boot'": 1,
        "commands of phase 'run'": 5,
    }


def test_commands__to_zones_of_several_volumes(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, ZONES)
    assert rows["op"].to_list() == [1, 5, Op.ZONE_RESET, Op.ZONE_RESET, Op.ZONE_REPORT, Op.ZONE_MANAGE]
    assert rows["flags"].to_list() == [Flag.ERROR, 0, 0, Flag.ALL_ZONES, 0, Flag.ERROR]
    assert rows["volume"].to_list() == [0, 1, 1, 1, 1, 1]
    assert rows["offset"].to_list() == [81920, 0, 1 << 20, 0, 0, 0]
    assert rows["raw"].to_list() == [
        "WRITE 0x41bc",
        "ZONE_APPEND",
        "ZONE_RESET",
        "ZONE_RESET_ALL",
        "MGMT_RECV",
        "MGMT_SEND 0x4002",
    ]
    assert report.volumes == {"ns1": 0, "ns2": 1}
    assert report.refused == 0
    assert report.notes["zone appends, whose place in the zone is not kept"] == 1


def test_nvme__has_its_facts(shared: Path) -> None:
    path = shared / "captures/B_nvme/nvme.tsv.zst"
    facts = json.loads((path.parent / "nvme.facts.json").read_text())
    rows, report = read(FORMAT, [path])
    assert (rows.height, report.refused) == (facts["io_commands"], 0)
    each = rows.group_by("raw").agg(pl.len(), pl.col("length").sum() // nvme_tsv.BLOCK)
    assert {raw: [n, blocks] for raw, n, blocks in each.iter_rows()} == facts["totals_cmds_blocks"]
    for phase, counts in facts["phases_cmds_blocks"].items():
        assert report.notes[f"commands of phase '{phase}'"] == sum(n for n, _ in counts.values())


def test_zns__has_its_facts(shared: Path) -> None:
    path = shared / "captures/C_zns/zns.tsv.zst"
    facts = json.loads((path.parent / "zns.facts.json").read_text())
    rows, report = read(FORMAT, [path])
    assert (rows.height, report.refused) == (facts["io_commands"], 0)
    status = rows["raw"].str.extract(r" (0x[0-9a-f]+)$").fill_null("0x0")
    assert dict(status.value_counts().iter_rows()) == facts["status"]
    volumes = {number: name for name, number in report.volumes.items()}
    good = pl.col("flags") & int(Flag.ERROR) == 0
    each = rows.group_by("volume", pl.col("raw").str.replace(" 0x.*", "")).agg(
        pl.len(), pl.col("length").filter(good).sum() // nvme_tsv.BLOCK, (~good).sum()
    )
    want: dict[tuple[str, str], list[int]] = {}
    for key, counts in facts["phase_ns_op_cmds_okblocks_errors"].items():
        for op, numbers in counts.items():
            place = (key.split("/")[1], op)
            want[place] = [a + b for a, b in zip(want.get(place, [0, 0, 0]), numbers, strict=True)]
    assert {(volumes[volume], raw): numbers for volume, raw, *numbers in each.iter_rows()} == want


@pytest.mark.parametrize(
    "line",
    [
        "700\trun\tread\t1\t0\t16\t1\t0",
        "x\trun\tread\t1\t0\t16\t1\t0\t5",
        "700\trun\t\t1\t0\t16\t1\t0\t5",
        "700\trun\tread\t1\t0\tx\t1\t0\t5",
        "700\trun\tread\t1\t0\t16\t1+1\t0\t5",
        "700\trun\tdsm\t1\t0\t16+\t1\t0\t5",
        "700\trun\tdsm\t1\t0\t1+9999999999999999\t1\t0\t5",
        "700\trun\tread\t1\t0\t99999999999999999999\t1\t0\t5",
        "700\trun\tread\t1\t0\t9999999999999999\t1\t0\t5",
    ],
)
def test_bad_lines__are_refused(tmp_path: Path, line: str) -> None:
    rows, report = trace(tmp_path, PLAIN + line + "\n")
    assert (rows.height, report.refused) == (7, 1)
    assert report.take_refused()["line"].to_list() == [8]


def test_refused_lines__make_no_volume(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, ZONES + "700\ta\t7\t2\t9\tDSM\t1+\t1\t-\t0x0\t-\t-\t5\n")
    assert (rows.height, report.refused, list(report.volumes)) == (6, 1, ["ns1", "ns2"])


@pytest.mark.parametrize("size", [1, 100])
def test_small_chunks__change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    want = trace(tmp_path, PLAIN)
    monkeypatch.setattr(nvme_tsv, "chunks", functools.partial(text.chunks, size=size))
    rows, report = trace(tmp_path, PLAIN)
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


def test_sniff__knows_the_columns() -> None:
    assert FORMAT.sniff("x", PLAIN.encode()) is not None
    assert FORMAT.sniff("x", ZONES.encode()) is not None
    for other in (b"", b"\0", PLAIN.split("\n", 1)[1].encode(), b"t_us\tphase\tkind\tsid\n"):
        assert FORMAT.sniff("x.tsv", other) is None


@settings(max_examples=150)
@given(data=damaged((PLAIN + ZONES).encode()))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x.tsv", data)


@settings(max_examples=150)
@given(data=st.binary(max_size=200) | st.text("0x1+2-,\t\n\rread", max_size=200).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", PLAIN.split("\n", 1)[0].encode() + b"\n" + data)
