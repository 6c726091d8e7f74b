import functools
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Op
from traces.errors import TraceError
from traces.formats import fio_iolog, text
from traces.formats.fio_iolog import FORMAT
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[2] / "golden/dev-trimwrite.iolog"
OPENED = "fio version 3 iolog\n1 /f add\n2 /f open\n"


def log(tmp_path: Path, whole: str) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "x.iolog"
    path.write_text(whole)
    return read(FORMAT, [path])


def sums(rows: pl.DataFrame) -> dict[int, tuple[int, int]]:
    counted = rows.group_by("op").agg(pl.len(), pl.col("length").sum())
    return {op: (count, length) for op, count, length in counted.iter_rows()}


def test_golden() -> None:
    rows, report = read(FORMAT, [GOLDEN])
    assert sums(rows) == {Op.DISCARD: (100, 6_553_600), Op.WRITE: (100, 6_553_600)}
    assert rows["time"][0] == 6_717_000
    assert rows["offset"].to_list()[:4] == [0, 0, 65536, 65536]
    assert report.volumes == {"/dev/nvme0n1": 0}
    assert report.clock == "relative"
    assert report.notes == {"'add' lines": 1, "'open' lines": 1, "'close' lines": 1}


def test_facts(shared: Path) -> None:
    facts = json.loads((shared / "public-traces/FACTS.json").read_text())["fio_iolog/t0038.iolog"]
    rows, report = read(FORMAT, [shared / "public-traces/fio_iolog/t0038.iolog"])
    assert sums(rows) == {
        Op.DISCARD: (facts["ops"]["trim"], facts["bytes"]["trim"]),
        Op.WRITE: (facts["ops"]["write"], facts["bytes"]["write"]),
    }
    assert rows.height + sum(report.notes.values()) == facts["records"]
    assert report.refused == 0


def test_captures(shared: Path) -> None:
    folder = shared / "captures/F_iolog"
    rows, report = read(FORMAT, [folder / "host-randrw-zipf.iolog.zst"])
    assert sums(rows) == {Op.READ: (28_877, 118_280_192), Op.WRITE: (12_083, 49_491_968), Op.FLUSH: (139, 0)}
    assert report.refused == 0
    rows, _ = read(FORMAT, [folder / "dev-trimwrite.iolog"])
    assert sums(rows) == {Op.DISCARD: (1024, 67_108_864), Op.WRITE: (1024, 67_108_864)}


def test_version_3__has_microseconds(tmp_path: Path) -> None:
    rows, report = log(tmp_path, OPENED + "10 /f write 0 512\n12 /f sync 0 0\n13 /f datasync\n15 /f trim 512 512\n")
    assert rows["time"].to_list() == [10_000, 12_000, 13_000, 15_000]
    assert rows["op"].to_list() == [Op.WRITE, Op.FLUSH, Op.FLUSH, Op.DISCARD]
    assert rows["raw"].to_list() == ["write", "sync", "datasync", "trim"]
    assert rows["length"].to_list() == [512, 0, 0, 512]
    assert report.refused == 0


def test_version_2__takes_its_time_from_waits_and_has_else_none(tmp_path: Path) -> None:
    begin = "fio version 2 iolog\n/f add\n/g add\n/f open\n/g open\n/f read 0 512\n"
    rows, report = log(tmp_path, begin + "/f wait 250 0\n/g write 0 512\n/g wait 50 0\n/f sync\n/f close\n")
    assert rows["time"].to_list() == [0, 250_000, 300_000]
    assert rows["volume"].to_list() == [0, 1, 0]
    assert report.volumes == {"/f": 0, "/g": 1}
    assert (report.clock, report.notes["'wait' lines"]) == ("relative", 2)
    rows, report = log(tmp_path, begin + "/g write 0 512\n/f sync\n")
    assert rows["time"].to_list() == [0, 1, 2]
    assert report.clock == "ordinal"


def test_a_file__must_be_added_and_opened(tmp_path: Path) -> None:
    rows, report = log(
        tmp_path,
        "fio version 3 iolog\n1 /f read 0 512\n2 /f open\n3 /f add\n4 /f read 0 512\n5 /f open\n6 /f read 0 512\n"
        "7 /f close\n8 /f read 0 512\n9 /g read 0 512\n10 /f open\n11 /f read 0 512\n",
    )
    assert rows["time"].to_list() == [6000, 11000]
    refused = report.take_refused()
    assert refused["line"].to_list() == [2, 3, 5, 9, 10]
    assert refused["reason"][0] == "the file is not open: it must be added and opened by a line before"
    assert refused["reason"][1] == "the file was not added by a line before"


def test_odd_lines__are_refused_with_reason(tmp_path: Path) -> None:
    bad = [
        "10 /f write 0",
        "11 /f write -1 512",
        "12 /f write x 512",
        "13 /f wait 5 0",
        "14 /f fallocate 0 512",
        "-1 /f read 0 512",
        "9223372036854775807 /f read 0 512",
        "16",
        "17 /f write 9223372036854775807 512",
    ]
    rows, report = log(tmp_path, OPENED + "\n".join(bad) + "\n\n18 /f read 0 512\n")
    assert rows["time"].to_list() == [18_000]
    refused = report.take_refused()
    assert refused["line"].to_list() == list(range(4, 13))
    assert refused["text"].to_list() == bad
    assert "version 3 has no 'wait'" in refused["reason"][3]
    assert "unknown action (known: read, write," in refused["reason"][4]
    assert report.notes["empty lines"] == 1


@pytest.mark.parametrize("head", ["0, 4096, 4096\n", "", "fio version 3 iolog 2\n"])
def test_version_1__is_refused(tmp_path: Path, head: str) -> None:
    assert FORMAT.sniff("x.iolog", head.encode()) is None
    with pytest.raises(TraceError, match=r"x\.iolog: the first line is not .* Version 1"):
        log(tmp_path, head)


def test_an_unknown_version__is_named(tmp_path: Path) -> None:
    assert FORMAT.sniff("x", b"fio version 4 iolog\n") == "first line 'fio version 4 iolog'"
    with pytest.raises(TraceError, match="version 4; only versions 2 and 3"):
        log(tmp_path, "fio version 4 iolog\n")


@pytest.mark.parametrize("size", [1, 100, 3000])
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    want = read(FORMAT, [GOLDEN])
    monkeypatch.setattr(fio_iolog, "chunks", functools.partial(text.chunks, size=size))
    rows, report = read(FORMAT, [GOLDEN])
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


action = st.sampled_from(["add", "open", "close", "read 0 512", "write 512 512", "sync", "wait 5 0", "trim 0 1", "x"])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("fgh"), action), max_size=30), st.sampled_from([1, 60, 1 << 20]))
def test_any_log__is_followed_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, str]], size: int
) -> None:
    known, opened, now, times, refused = set(), set(), 0, [], []
    for number, (file, what) in enumerate(told, 2):
        if what == "add":
            known.add(file)
        elif what == "x" or (what in ("open", "close") and file not in known):
            refused.append(number)
        elif what == "open":
            opened.add(file)
        elif what == "close":
            opened.discard(file)
        elif what.startswith("wait"):
            now += 5000
        elif file in opened:
            times.append(now)
        else:
            refused.append(number)
    path = tmp_path_factory.mktemp("log") / "x.iolog"
    path.write_text("fio version 2 iolog\n" + "".join(f"{file} {what}\n" for file, what in told))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fio_iolog, "chunks", functools.partial(text.chunks, size=size))
        rows, report = read(FORMAT, [path])
    waits = any(what.startswith("wait") for _, what in told)
    assert rows["time"].to_list() == (times if waits else list(range(len(times))))
    assert report.take_refused()["line"].to_list() == refused


@settings(max_examples=150)
@given(data=damaged(GOLDEN.read_bytes()[:4000]))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("log") / "x.iolog", data)


@settings(max_examples=150)
@given(data=st.binary(max_size=300), version=st.sampled_from([b"2", b"3"]))
def test_nonsense__is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, version: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "x.iolog"
    survives(FORMAT, path, data)
    done = survives(FORMAT, path, b"fio version " + version + b" iolog\n" + data)
    assert done is not None
    assert done[0].is_empty()
