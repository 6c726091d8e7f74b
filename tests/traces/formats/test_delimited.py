from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.block import Op
from traces.errors import TraceError
from traces.formats.delimited import FORMAT
from traces.formats.inputs import inputs
from traces.formats.msr import FORMAT as MSR
from traces.formats.reader import Format, Options, Report

pytestmark = pytest.mark.kernels


def read(path: Path, text: str, columns: str = "", how: Format = FORMAT) -> tuple[pl.DataFrame, Report]:
    path.write_text(text)
    report = Report()
    batches = list(how.read(inputs(path), Options(columns=columns), report))
    return pl.concat(batches) if batches else pl.DataFrame(), report


def test_columns__map_any_delimited_text(tmp_path: Path) -> None:
    rows, report = read(
        tmp_path / "t.txt",
        "7;1577808000000046;x;R;8;4096\n9;1577808000000047;x;w;9;512\n",
        "time=1:us@unix,op=3,offset=4:sector,length=5:B,volume=0",
    )
    assert rows["time"].to_list() == [1577808000000046000, 1577808000000047000]
    assert rows["op"].to_list() == [Op.READ, Op.WRITE]
    assert rows["offset"].to_list() == [4096, 4608]
    assert rows["length"].to_list() == [4096, 512]
    assert report.volumes == {"7": 0, "9": 1}
    assert report.clock == "unix"
    assert rows["raw"].cast(pl.String).to_list() == ["R", "w"]


def test_columns__may_be_named_by_the_header(tmp_path: Path) -> None:
    rows, report = read(
        tmp_path / "t.csv",
        "Timestamp,Response,IOType,LUN,Offset,Size\n1.000000001,0.5,R,4,1024,512\n",
        "time=Timestamp:s@unix,op=IOType,offset=Offset,length=Size,volume=LUN,latency=Response:s",
    )
    assert rows.row(0)[:6] == (1_000_000_001, 0, 0, 1024, 512, 500_000_000)
    assert (report.notes, report.refused) == ({"header lines": 1}, 0)


def test_columns__words_and_constants(tmp_path: Path) -> None:
    rows, _ = read(tmp_path / "a", "0 4096 512\n1 0 512\n2 0 1\n", "op=0:0=R/1=W,offset=1,length=2")
    assert rows["op"].to_list() == [Op.READ, Op.WRITE, Op.UNKNOWN]
    assert rows["time"].to_list() == [0, 1, 2]  # no clock: the order itself
    rows, report = read(tmp_path / "b", "4096 1f\n", "op=write,offset=0,length=1:hex*sector")
    assert rows.row(0)[1:5] == (Op.WRITE, 0, 4096, 0x1F * 512)
    assert report.clock == "ordinal"
    assert report.volumes == {"b": 0}


def test_volumes__of_several_columns_are_never_aliased(tmp_path: Path) -> None:
    rows, report = read(
        tmp_path / "t", "a,1,R,0,1\na,2,R,0,1\nb,1,R,0,1\na,1,R,0,1\n", "volume=0+1,op=2,offset=3,length=4"
    )
    assert rows["volume"].to_list() == [0, 1, 2, 0]
    assert list(report.volumes) == ["a_1", "a_2", "b_1"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("op=0,offset=1", "'length' is missing"),
        ("op=0,offset=1,length=2,tme=3", "unknown key 'tme'; did you mean 'time'"),
        ("op=0,offset=1:furlong,length=2", "'furlong' is no unit"),
        ("op=0,offset=1,length=2,time=3:weeks", "unknown unit 'weeks'"),
        ("op=0,offset=1,length=1", "column 1 is used twice"),
        ("op=0,offset=nowhere,length=2", "no such column"),
        ("op=0:1=X,offset=1,length=2", "'X' is no operation"),
        ("op=0,offset=1,length=2,sep=ab", "one character"),
        ("op=0,offset=,length=2", "'offset' is empty"),
    ],
)
def test_columns__mistakes_are_told(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read(tmp_path / "t", "R,1,2,3\n", columns)


def test_rows__that_cannot_be_used_are_refused_with_line_and_reason(tmp_path: Path) -> None:
    text = "1,R,0,512\n\n2,R,-1,512\n3,R,1\n4,W,x,5\n5,R,9223372036854775807,1\n6,Q,0,1\n7,R,0,51"
    rows, report = read(tmp_path / "t.csv", text, "time=0:s,op=1,offset=2,length=3")
    assert rows["time"].to_list() == [10**9, 6 * 10**9, 7 * 10**9]
    refused = report.take_refused()
    assert refused.select("line", "text").rows() == [
        (2, ""),
        (3, "2,R,-1,512"),
        (4, "3,R,1"),
        (5, "4,W,x,5"),
        (6, "5,R,9223372036854775807,1"),
    ]
    assert [reason.split(":")[0] for reason in refused["reason"]] == [
        "empty line",
        "offset (field 2) is not an integer between 0 and 2**63 bytes",
        "too few fields",
        "offset (field 2) is not an integer between 0 and 2**63 bytes",
        "the request ends past 2**63 bytes",
    ]
    assert report.notes == {
        "operation 'Q' is not known": 1,
        "last line without an end: the file may have been cut off": 1,
    }


MSR_ROW = "128166372003061629,usr,0,Read,7014609920,24576,41286\n"


def test_msr__is_exact(tmp_path: Path) -> None:
    rows, report = read(tmp_path / "m.csv", MSR_ROW + "128166372003061630,web,2,Write,0,512,1\n", how=MSR)
    # 2007-02-22 17:00:00 UTC, and 306,162,900 ns: a float would lose about 16 ticks
    assert rows["time"].to_list() == [1172163600306162900, 1172163600306163000]
    assert rows.row(0)[1:6] == (Op.READ, 0, 7014609920, 24576, 4128600)
    assert list(report.volumes) == ["usr_0", "web_2"]


def test_msr__is_recognised_by_its_rows_alone() -> None:
    assert MSR.sniff("x", MSR_ROW.encode() * 3)
    assert MSR.sniff("x", b"Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime\n" + MSR_ROW.encode() * 2)
    for head in (b"", b"\x00" * 100, b"1,2,3\n", b"a,b,c,Read,d,e,f\n", b"0 0 0 0 0\n" * 5):
        assert MSR.sniff("x.csv", head) is None


def test_msr__counts_match_the_published_excerpt(shared: Path) -> None:
    report = Report()
    source = shared / "public-traces/derived/msr_csv_shape_from_heimdall_cuts.csv"
    rows = pl.concat(MSR.read(inputs(source), Options(), report))
    assert rows.height == 30000
    assert rows.filter(pl.col("op") == Op.READ)["length"].sum() == 58892800
    assert rows.filter(pl.col("op") == Op.WRITE)["length"].sum() == 174941184
    assert (rows["time"].max() - rows["time"].min()) == 242_904_693_000  # type: ignore[operator]
    assert rows.height - rows.n_unique() == 1871
    assert report.refused == 0
    assert len(report.volumes) == 3


damage = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=30)


@given(damage, st.integers(0, 500))
def test_msr__damage_is_refused_never_lost(
    tmp_path_factory: pytest.TempPathFactory, edits: Sequence[tuple[int, int]], cut: int
) -> None:
    data = bytearray(MSR_ROW.encode() * 9)
    for place, byte in edits:
        data[place % len(data)] = byte
    data = data[: len(data) - cut % len(data)]
    path = tmp_path_factory.mktemp("d") / "m.csv"
    path.write_bytes(data)
    report = Report()
    read_rows = sum(b.height for b in MSR.read(inputs(path), Options(), report))
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    assert read_rows + report.refused + report.notes.get("header lines", 0) == lines


def test_volumes__are_named_by_lines_that_are_read(tmp_path: Path) -> None:
    bad = "128166372003061629,other,7,Read,x,24576,41286\n"
    rows, report = read(
        tmp_path / "m.csv", "Timestamp,Hostname,DiskNumber,Type,Offset,Size,R\n" + MSR_ROW + bad, how=MSR
    )
    assert report.volumes == {"usr_0": 0}
    assert rows["volume"].to_list() == [0]
    text = "a b c 1 R 0 512\na b d 1 R 0 512\na b c 2 R 0 512\n"
    rows, report = read(tmp_path / "d", text, "volume=0+1+2,time=3,op=4,offset=5,length=6")
    assert report.volumes == {"a_b_c": 0, "a_b_d": 1}
    assert rows["volume"].to_list() == [0, 1, 0]


def test_times__that_no_clock_shows_are_refused(tmp_path: Path) -> None:
    times = (2**63 - 1, -(2**63), 2**62, 2**62 + 1)
    text = "".join(f"{time},v{time},R,0,512\n" for time in times)
    rows, report = read(tmp_path / "t.csv", text, "time=0:ns,volume=1,op=2,offset=3,length=4")
    assert rows["time"].to_list() == [2**62]
    assert list(report.volumes) == [f"v{2**62}"]
    rows, report = read(tmp_path / "m.csv", f"{2**63 - 1},usr,0,Read,0,512,1\n{MSR_ROW}", how=MSR)
    assert (rows.height, report.refused) == (1, 1)
    assert report.first.startswith("line 1: the time is past the largest there is")
