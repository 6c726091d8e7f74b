from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts
from traces.block import Op
from traces.errors import TraceError
from traces.formats.inputs import inputs
from traces.formats.thesios import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"""\
start_time,filename,op_type,request_io_size_bytes,file_offset,simulated_latency
1705305600.015989780,aa,WRITE,3390,2453358,0.000124652
1705305600.019597054,bb,READ,1050624,7354368,0.004246402
1705305600.019597055,aa,READ,0,0,
"""


def test_facts(shared: Path) -> None:
    name = "thesios/thesios_sample_data.csv"
    known = facts(shared, name)
    path = shared / "public-traces" / name
    rows, report = read(FORMAT, [path])
    assert (rows.height, report.refused, report.notes["header lines"]) == (known["records"], 0, 1)
    assert (rows["op"] == Op.READ).sum() == known["reads"]
    assert (rows["op"] == Op.WRITE).sum() == known["writes"]
    assert rows["length"].sum() == known["bytes_requested"]
    assert (rows["length"] == 0).sum() == known["zero_length"]
    span = rows["time"].max() - rows["time"].min()  # type: ignore[operator]
    assert span == round(known["span_s"] * 1e9)
    assert rows["time"][0] == 1705305600_015989780
    assert rows["latency"][7] == 67_845_808
    assert (len(report.volumes), report.clock) == (5, "unix")
    assert FORMAT.sniff("x", inputs(path)[0].head())


def test_columns__are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "raw").rows() == [
        (1705305600_015989780, Op.WRITE, 0, 2453358, 3390, 124_652, "WRITE"),
        (1705305600_019597054, Op.READ, 1, 7354368, 1050624, 4_246_402, "READ"),
        (1705305600_019597055, Op.READ, 0, 0, 0, -1, "READ"),
    ]
    assert report.volumes == {"aa": 0, "bb": 1}


def test_columns_that_miss__are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(TEXT.replace(b"op_type", b"what").replace(b"file_offset", b"where"))
    with pytest.raises(TraceError, match="names no column file_offset, op_type"):
        read(FORMAT, [path])
    path.write_bytes(b"")
    with pytest.raises(TraceError, match="names no column filename"):
        read(FORMAT, [path])


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(TEXT + b"1705305601.0,cc,READ,x,0,0\n1705305602.0,cc,READ,1,0\n1705305603.0,cc,LIST,1,0,0\n")
    rows, report = read(FORMAT, [path])
    assert rows["op"].to_list()[3:] == [Op.UNKNOWN]
    assert report.take_refused()["line"].to_list() == [5, 6]


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT)
    for other in (b"", b"\0", TEXT.replace(b"op_type", b"what"), b"filename,file_offset\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 3) | st.binary(max_size=300).map(lambda rest: TEXT + rest))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
