from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from traces.block import Op
from traces.errors import TraceError
from traces.formats.fio_log import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"1, 31250, 0, 4096, 8192, 0\n1, 40000, 1, 4096, 12288, 0\n2, 50000, 2, 65536, 0, 0\n"


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "job_clat.1.log"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "latency").rows() == [
        (1_000_000, Op.READ, 0, 8192, 4096, 31_250),
        (1_000_000, Op.WRITE, 0, 12288, 4096, 40_000),
        (2_000_000, Op.DISCARD, 0, 0, 65536, 50_000),
    ]
    assert report.notes == {
        "logs whose latencies were taken to be nanoseconds, as fio 3 writes them": 1,
        "logs whose times are milliseconds, of a request's end": 1,
    }


def test_bandwidth__is_no_latency(tmp_path: Path) -> None:
    path = tmp_path / "job_bw.1.log"
    path.write_bytes(b"".join(line.rsplit(b",", 1)[0] + b"\n" for line in TEXT.splitlines()))  # five columns
    rows, report = read(FORMAT, [path])
    assert rows["latency"].to_list() == [-1, -1, -1]
    assert report.notes["logs whose values are no latencies"] == 1


def test_issue_times__are_used_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "job_lat.log"
    path.write_bytes(b"1, 31250, 0, 4096, 8192, 0x0000, 963001\n2, 40000, 1, 4096, 12288, 0x0000, 1963001\n")
    rows, report = read(FORMAT, [path])
    assert rows["time"].to_list() == [963_001, 1_963_001]
    assert len(report.notes) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1, 31250, 0, 4096\n", r"no offsets \(there are four columns\).*log_offset=1"),
        (b"1, 31250, 0, 4096, 0\n2, 3, 0, 4096, 1\n", r"the fifth column is the priority"),
        (b"1, 31250, 0, 4096, 0x8001\n", r"the fifth column is the priority"),
        (b"no log\n", "no fio log"),
        (b"", "no fio log"),
    ],
)
def test_logs_without_offsets__are_no_traces(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "job_lat.1.log"
    path.write_bytes(text)
    with pytest.raises(TraceError, match=message):
        read(FORMAT, [path])


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("job_lat.1.log", TEXT) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 5) | st.binary(max_size=300).map(lambda rest: TEXT + rest))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x_lat.log", data), data)
