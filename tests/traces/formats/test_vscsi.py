import json
import struct
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Op
from traces.errors import TraceError
from traces.formats import vscsi
from traces.formats.reader import Format, Report
from traces.formats.vscsi import CSV, FORMAT

pytestmark = pytest.mark.kernels


def v1(cmd: int = 0x28, length: int = 4096, lbn: int = 8, ts: int = 1, ver: int = 0x100) -> bytes:
    return struct.pack("<IIIHHQQ", 7, length, 1, cmd, ver, lbn, ts)


def v2(cmd: int = 0x28, length: int = 4096, lbn: int = 8, ts: int = 1, rt: int = 0, ver: int = 0x200) -> bytes:
    return struct.pack("<HHIIIQQQ", cmd, ver, 7, length, 1, lbn, ts, rt)


def one(tmp_path: Path, data: bytes) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "disk.vscsi"
    path.write_bytes(data)
    return read(FORMAT, [path])


@pytest.mark.parametrize(("name", "how"), [("cloudPhysicsIO.vscsi", FORMAT), ("cloudPhysicsIO.csv", CSV)])
def test_facts(shared: Path, name: str, how: Format) -> None:
    facts = json.loads((shared / "public-traces/FACTS.json").read_text())[f"cloudphysics/{name}"]
    rows, report = read(how, [shared / "public-traces/cloudphysics" / name])
    ops = rows["op"]
    assert (rows.height, report.refused, len(report.volumes)) == (facts["records"], 0, facts["devices"])
    assert (ops == Op.READ).sum() == facts["reads"]
    assert (ops == Op.WRITE).sum() == facts["writes"]
    assert rows.filter(ops == Op.READ)["length"].sum() == facts["bytes_read"]
    assert rows.filter(ops == Op.WRITE)["length"].sum() == facts["bytes_written"]
    assert (rows["offset"] + rows["length"]).max() == facts["max_end_offset"]
    assert rows["length"].max() == facts["max_request_bytes"]
    assert (rows["offset"] % 4096 != 0).sum() == facts["odd"]["offset_not_4096_aligned"]
    assert (rows["time"].diff().drop_nulls() == 0).sum() == facts["odd"]["duplicate_consecutive_timestamps"]
    tick = 1000 if how is FORMAT else 10**9
    assert rows["time"][0] == int(facts["first_ts"]) * tick
    span = rows["time"].max() - rows["time"].min()  # type: ignore[operator]
    assert span == round(facts["span_s"] * 1e9)
    assert set(rows["raw"]) == {"28", "2a"}
    assert (rows["latency"] == -1).all()
    pages: set[int] = set()
    for offset, length in rows.select("offset", "length").iter_rows():
        pages.update(range(offset // 4096, (offset + length - 1) // 4096 + 1))
    assert len(pages) == facts["pages4k"]


def test_twins__differ_in_their_clock_only(shared: Path) -> None:
    folder = shared / "public-traces/cloudphysics"
    binary, _ = read(FORMAT, [folder / "cloudPhysicsIO.vscsi"])
    rows, report = read(CSV, [folder / "cloudPhysicsIO.csv"])
    assert rows.drop("time").equals(binary.drop("time"))
    assert (rows["time"] // 10**9).equals(binary["time"] // 10**9)
    assert report.notes == {"header lines": 1}


def test_version_2__has_response_times(tmp_path: Path) -> None:
    rows, report = one(tmp_path, v2(ts=5, rt=70) + v2(ts=6, rt=(1 << 64) - 1))
    assert rows["time"].to_list() == [5000, 6000]
    assert rows["latency"].to_list() == [70_000, -1]
    assert rows["offset"].to_list() == [4096, 4096]
    assert report.notes["response times taken to be microseconds"] == 1
    assert report.notes["response times past the largest that can be: not known"] == 1
    assert FORMAT.sniff("x", v2() + v2()) == "records of 40 bytes that say they are of version 2"


def test_commands__become_operations(tmp_path: Path) -> None:
    known = {
        Op.READ: (0x08, 0x28, 0xA8, 0x88),
        Op.WRITE: (0x0A, 0x2A, 0xAA, 0x8A),
        Op.FLUSH: (0x35, 0x91),
        Op.WRITE_ZEROES: (0x41, 0x93),
        Op.DISCARD: (0x42,),
        Op.UNKNOWN: (0x12, 0x00, 0x1FF),
    }
    pairs = [(op, code) for op, codes in known.items() for code in codes]
    rows, report = one(tmp_path, b"".join(v1(cmd=code) for _, code in pairs))
    assert rows["op"].to_list() == [op for op, _ in pairs]
    assert rows["raw"].to_list() == [f"{code:02x}" for _, code in pairs]
    assert report.notes == {
        "commands that neither read, write, flush nor unmap": 3,
        "UNMAP commands, whose extents are not recorded": 1,
    }
    path = tmp_path / "x.csv"
    path.write_text("version,time,op,size,lbn\n" + "".join(f"1,3,{code:x},4096,8\n" for _, code in pairs))
    twin, _ = read(CSV, [path])
    assert twin["op"].to_list() == [op for op, _ in pairs]


def test_what_is_no_record__is_refused_with_its_byte(tmp_path: Path) -> None:
    data = [v1(), v1(), v1(ver=0x300), v1(lbn=1 << 60), v1(ts=1 << 63), *[v1()] * 40, v1()[:20]]
    rows, report = one(tmp_path, b"".join(data))
    assert rows.height == 42
    refused = report.take_refused()
    assert refused["line"].to_list() == [64, 96, 128, 45 * 32]
    assert refused["reason"][3] == "cut short: 20 of a record's 32 bytes"


def test_batches__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b"".join(v1(ts=i) for i in range(1000))
    want, _ = one(tmp_path, data)
    monkeypatch.setattr(vscsi, "ROWS", 7)
    assert one(tmp_path, data)[0].equals(want)


def test_neither_version__is_told(tmp_path: Path) -> None:
    for data in (b"", b"x" * 100, v1() + v2(), v1(ver=0x300) * 3):
        assert FORMAT.sniff("x.vscsi", data) is None
        with pytest.raises(TraceError, match="neither version 1"):
            one(tmp_path, data)


def test_sniff__of_the_twin() -> None:
    assert CSV.sniff("x", b"version,time,op,size,lbn\r\n1,2,28,512,0\r\n") == "header line 'version,time,op,size,lbn'"
    assert CSV.sniff("x", b"version,time,op,size\n") is None
    assert CSV.sniff("x", b"\0" * 10) is None


@settings(max_examples=150)
@given(data=damaged(b"".join(v1(ts=i) for i in range(60))) | damaged(b"".join(v2(ts=i) for i in range(60))))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    done = survives(FORMAT, tmp_path_factory.mktemp("trace") / "x.vscsi", data)
    if done is not None:
        size = 32 if FORMAT.sniff("x", data) == "records of 32 bytes that say they are of version 1" else 40
        assert done[0].height + done[1].refused == -(-len(data) // size) or len(data) < 80


@settings(max_examples=150)
@given(data=st.binary(max_size=400), lines=st.binary(max_size=200))
def test_nonsense__is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, lines: bytes) -> None:
    folder = tmp_path_factory.mktemp("trace")
    survives(FORMAT, folder / "x.vscsi", data)
    survives(CSV, folder / "x.csv", b"version,time,op,size,lbn\n" + lines)
    survives(CSV, folder / "x.csv", b"version,time,op,size,lbn\n1,5,28,512,8\n" + lines)
