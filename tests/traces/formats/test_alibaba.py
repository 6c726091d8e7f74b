import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from traces.block import Op
from traces.formats.alibaba import FORMAT
from traces.ingest import ingest
from traces.store import Store

pytestmark = pytest.mark.kernels

TEXT = b"""\
0,R,126703661056,4096,1577808000000046
3,W,8192,16384,1577808000000047
0,W,0,512,1577808000000048
"""
SIZES = b"device_id,capacity\n0,126703665152\n3,24575\n9,7\n"
PAST = "requests past their disk's capacity (kept)"


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "io_traces.csv"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length").rows() == [
        (1577808000_000046000, Op.READ, 0, 126703661056, 4096),
        (1577808000_000047000, Op.WRITE, 1, 8192, 16384),
        (1577808000_000048000, Op.WRITE, 0, 0, 512),
    ]
    assert report.volumes == {"0": 0, "3": 1}
    assert (report.clock, report.notes, report.refused) == ("unix", {}, 0)


def test_capacities__beside_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "io_traces.csv"
    path.write_bytes(TEXT + b"7,R,0,1,1577808000000049\n")
    (tmp_path / "device_size.csv").write_bytes(SIZES + b"8;5\n")
    rows, report = read(FORMAT, [path])
    assert rows.height == 4  # what lies past the end is kept
    assert report.notes == {
        "disks with a capacity in device_size.csv": 3,
        "disks without a capacity in device_size.csv": 1,
        PAST: 1,
    }
    assert report.take_refused().select("line", "text").rows() == [(5, "8;5")]


@pytest.mark.parametrize("place", ["elsewhere", "beside", "archive", "under one name"])
def test_capacities__given_with_the_trace(tmp_path: Path, place: str) -> None:
    store, folder = Store(tmp_path / "data"), tmp_path / "in"
    folder.mkdir()
    trace, sizes = folder / "io_traces.csv", folder / "device_size.csv"
    trace.write_bytes(TEXT)
    if place == "archive":
        with zipfile.ZipFile(folder / "set.zip", "w") as archive:
            archive.writestr("set/device_size.csv", SIZES)
            archive.writestr("set/io_traces.csv", TEXT)
        (done,) = ingest(store, [folder / "set.zip"])
    elif place == "elsewhere":
        (tmp_path / "other").mkdir()
        sizes = tmp_path / "other/device_size.csv"
        sizes.write_bytes(SIZES)
        (done,) = ingest(store, [sizes, trace], name="set")
    else:
        sizes.write_bytes(SIZES)
        (done,) = ingest(store, [sizes, trace], name="set" if place == "under one name" else None)
    assert (done.info.format, done.info.rows, done.info.notes[PAST]) == ("alibaba", 3, 1)
    assert pl.read_parquet(done.path)["time"].to_list() == [0, 1000, 2000]


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(TEXT + b"0,R,1,512\n0,R,1,512,1,2\n0,X,1,512,1\n0,R,1,512,99999999999999999\n0,R,-1,512,1\n")
    rows, report = read(FORMAT, [path])
    assert rows["op"].to_list()[3:] == [Op.UNKNOWN]
    assert report.take_refused()["line"].to_list() == [4, 5, 7, 8]


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT)
    assert FORMAT.sniff("x", b"device_id,opcode,offset,length,timestamp\n" + TEXT)
    for other in (b"", b"\0", SIZES, b"0,R,126703661056,4096,1577808000\n", b"0,20941264,8192,W,0.551706\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 6) | st.binary(max_size=300), sizes=damaged(SIZES))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes, sizes: bytes) -> None:
    folder = tmp_path_factory.mktemp("trace")
    accounted(survives(FORMAT, folder / "x", data), data)
    (folder / "device_size.csv").write_bytes(sizes)
    survives(FORMAT, folder / "x", data)
