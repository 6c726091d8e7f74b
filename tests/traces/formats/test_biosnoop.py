import functools
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.formats import biosnoop, text
from traces.formats.biosnoop import FORMAT, IOSNOOP
from traces.formats.reader import Format, Report

pytestmark = pytest.mark.kernels

BCC = """\
TIME(s)     COMM           PID    DISK    T SECTOR     BYTES   LAT(ms)
0.000004    supervise      1950   xvda1   W 13092560   4096       0.74
0.000178    tmux: server   1950   xvda1   R 8          131072     0.61
0.100000    ?              0      <unknown> R 18446744073709551615 0   0.61
0.200000    sync           7      xvdb    W 0          0          1.00
"""
QUEUED = """\
TIME(s)     COMM           PID    DISK    T SECTOR     BYTES  P  QUE(ms) LAT(ms)
5.332998    xfsaild/nvme0n 1061   nvme1n1 W 545728     16384   S    0.01    0.61
"""
LIBBPF = """\
TIME(s)     COMM           PID     DISK      T    SECTOR     BYTES   LAT(ms)
1.000000    fio            9       nvme0n1   RA   16         4096      0.500
1.000001    fio            9       nvme0n1   DS   16         4096      0.500
1.000002    kworker/0:1H   10      nvme0n1   FF   0          0         2.000
1.000003    fio            9       nvme0n1   R    24         4096      0.500
"""
IO = """\
Tracing block I/O. Ctrl-C to end.
STARTs         ENDs           COMM             PID    TYPE DEV      BLOCK        BYTES     LATms
6037559.121523 6037559.121685 Web Content      22341  R    202,32   29295416     8192       0.16
6037595.999508 6037596.000051 supervise        1692   WS   202,1    12862968     4096       0.54
"""
IO_BARE = """\
COMM             PID    TYPE DEV      BLOCK        BYTES     LATms
supervise        1809   W    202,1    17039968     4096       1.32
"""


def trace(tmp_path: Path, lines: str, how: Format = FORMAT) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "trace.txt"
    path.write_text(lines)
    return read(how, [path])


def test_bcc(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, BCC)
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "stream", "raw").rows() == [
        (4_000 - 740_000, Op.WRITE, 0, 13092560 * 512, 4096, 740_000, 1950, "W"),
        (178_000 - 610_000, Op.READ, 0, 4096, 131072, 610_000, 1950, "R"),
        (100_000_000 - 610_000, Op.UNKNOWN, 1, 0, 0, 610_000, 0, "R"),
        (200_000_000 - 1_000_000, Op.FLUSH, 2, 0, 0, 1_000_000, 7, "W"),
    ]
    assert list(report.volumes) == ["xvda1", "<unknown>", "xvdb"]
    assert (report.clock, report.refused) == ("relative", 0)
    assert report.notes == {
        "header lines": 1,
        "times that are the completion's less the latency (to 0.01 ms)": 4,
        "requests R without bytes: flushes or others, which is not told": 1,
        "requests W without bytes, taken to be flushes": 1,
        "requests R, taken to be reads: bcc's biosnoop calls discards so too": 1,
        "requests of disks that have no name (<unknown>): they may be several": 1,
    }


def test_columns__are_those_of_the_last_header(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, BCC + QUEUED)
    assert rows.select("time", "offset", "length").rows()[-1] == (5_332_998_000 - 610_000, 545728 * 512, 16384)
    assert report.notes["header lines"] == 2
    assert report.refused == 0


def test_libbpf__tells_flushes_and_discards(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, LIBBPF)
    assert rows["op"].to_list() == [Op.READ, Op.DISCARD, Op.FLUSH, Op.READ]
    assert rows["flags"].to_list() == [Flag.AHEAD, Flag.SYNC, Flag.PREFLUSH, 0]
    assert not any("bcc" in sentence for sentence in report.notes)


def test_iosnoop__tells_when_requests_began_or_nothing(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, IO, IOSNOOP)
    assert rows.select("time", "op", "offset", "latency", "stream", "flags").rows() == [
        (6037559_121_523_000, Op.READ, 29295416 * 512, 160_000, 22341, 0),
        (6037595_999_508_000, Op.WRITE, 12862968 * 512, 540_000, 1692, Flag.SYNC),
    ]
    assert list(report.volumes) == ["202,32", "202,1"]
    rows, report = trace(tmp_path, IO_BARE + IO, IOSNOOP)
    assert report.clock == "ordinal"
    assert rows["time"].is_sorted()
    rows, report = trace(tmp_path, IO + IO_BARE, IOSNOOP)
    assert rows.height == 2
    assert [row[1:3] for row in report.take_refused().rows()][-1] == (
        6,
        "a line without a time in a file that has times",
    )


def test_examples__amid_prose(shared: Path) -> None:
    path = shared / "public-traces/biosnoop/biosnoop_example.txt"
    facts = json.loads((shared / "public-traces/FACTS.json").read_text())["biosnoop/biosnoop_example.txt"]
    rows, report = read(FORMAT, [path])
    assert rows.height == facts["records"]
    assert dict(rows["raw"].value_counts().iter_rows()) == facts["by"]
    assert facts["records"] + report.refused + report.notes["header lines"] == facts["lines"]
    path = shared / "public-traces/ftrace/iosnoop_example.txt"
    rows, report = read(IOSNOOP, [path])
    assert dict(rows["raw"].value_counts().iter_rows()) == {"W": 41, "WS": 21, "R": 22, "RM": 11}
    assert rows["length"].min() == 4096
    assert report.refused + rows.height + sum(report.notes.values()) == len(path.read_text().splitlines())


@pytest.mark.parametrize(
    "line",
    [
        "0.000004    a 1950   xvda1   W 13092560   4096",
        "0.000004    a 1950   xvda1   Write 13092560   4096 0.7",
        "0.000004    a x   xvda1   W 13092560   4096 0.7",
        "0.000004    a 1950   xvda1   W 36893488147419103231   4096 0.7",
        "0.000004    a 1950   xvda1   W 18446744073709551615   x 0.7",
        "0.000004    a 1950   xvda1   W 13092560   -1 0.7",
        "99999999999 a 1950   xvda1   W 13092560   4096 0.7",
        "0.000004    a 99999999999   xvda1   W 13092560   4096 0.7",
    ],
)
def test_bad_lines__are_refused(tmp_path: Path, line: str) -> None:
    rows, report = trace(tmp_path, BCC + line + "\n")
    assert (rows.height, report.refused) == (4, 1)
    assert report.take_refused()["line"].to_list() == [6]


@pytest.mark.parametrize("size", [1, 100])
def test_small_chunks__change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    want = trace(tmp_path, BCC + QUEUED + LIBBPF)
    monkeypatch.setattr(biosnoop, "chunks", functools.partial(text.chunks, size=size))
    rows, report = trace(tmp_path, BCC + QUEUED + LIBBPF)
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


def test_sniff__knows_the_header() -> None:
    for told in (BCC, QUEUED, LIBBPF):
        assert FORMAT.sniff("x", told.encode()) is not None
        assert IOSNOOP.sniff("x", told.encode()) is None
    for told in (IO, IO_BARE):
        assert IOSNOOP.sniff("x", told.encode()) is not None
        assert FORMAT.sniff("x", told.encode()) is None
    for other in (b"", b"\0" * 9, BCC.split("\n", 1)[1].encode()):
        assert FORMAT.sniff("biosnoop.txt", other) is None


@settings(max_examples=150)
@given(data=damaged((BCC + QUEUED + LIBBPF + IO).encode()))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("trace")
    assert survives(FORMAT, folder / "x.txt", data) is not None
    assert survives(IOSNOOP, folder / "x.txt", data) is not None


@settings(max_examples=150)
@given(data=st.binary(max_size=300) | st.text("0. RW1xTIME(s)\n\r\t", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
