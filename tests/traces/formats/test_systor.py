import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from traces.block import Op
from traces.formats.systor import FORMAT

pytestmark = pytest.mark.kernels

HEADER = b"Timestamp,Response,IOType,LUN,Offset,Size\n"
ROWS = b"""\
1456135200.013118000,0.000284000,R,4,126703661056,4096
1456135200.013118001,0.1,W,4,512,65536
1456135200.5,,,6,8192,4096
1456135200.6,0.5,,6,8192,4096
"""


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "2016022219-LUN4.csv.gz"
    path.write_bytes(gzip.compress(HEADER + ROWS))
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "raw").rows() == [
        (1456135200_013118000, Op.READ, 0, 126703661056, 4096, 284_000, "R"),
        (1456135200_013118001, Op.WRITE, 0, 512, 65536, 100_000_000, "W"),
        (1456135200_500000000, Op.UNKNOWN, 1, 8192, 4096, -1, ""),
        (1456135200_600000000, Op.UNKNOWN, 1, 8192, 4096, 500_000_000, ""),
    ]
    assert report.volumes == {"4": 0, "6": 1}
    assert report.notes == {"header lines": 1, "requests without an operation": 2}
    assert (report.clock, report.refused) == ("unix", 0)


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(ROWS + b"1456135201.0,0.1,R,,0,512\n,0.1,R,4,0,512\n1456135202.0,0.1,R,4,0\n1,0.1,R,4,,512\n")
    rows, report = read(FORMAT, [path])
    assert rows.height == 4
    assert report.take_refused()["line"].to_list() == [5, 6, 7, 8]


def test_sniff() -> None:
    assert FORMAT.sniff("x", HEADER.replace(b"\n", b"\r\n") + ROWS)
    for other in (b"", ROWS, b"\0" + HEADER, b"Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(HEADER + ROWS * 4) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
