import functools
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.formats import blkparse, blktrace, text
from traces.formats.blkparse import FORMAT
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = FOLDER / "delete_fstrim.blkparse.txt"
ACTIONS = ("Q", "D", "C")


def lines(tmp_path: Path, trace: str, action: str = "D") -> tuple[pl.DataFrame, Report]:
    """A trace told in short: time in ns, then the line from the process on."""
    path = tmp_path / "trace.txt"
    out = []
    for number, line in enumerate(filter(None, map(str.strip, trace.splitlines())), 1):
        time, rest = line.split(" ", 1)
        out.append(f"  8,16   1 {number:8d}     0.{int(time):09d} {rest}\n")
    path.write_text("".join(out))
    return read(FORMAT, [path], action)


def note(report: Report, begin: str) -> int:
    return sum(count for sentence, count in report.notes.items() if sentence.startswith(begin))


def pages(rows: pl.DataFrame) -> int:
    """Distinct pages of 4 KiB."""
    found: set[int] = set()
    for offset, length in rows.filter(pl.col("length") > 0).select("offset", "length").iter_rows():
        found.update(range(offset // 4096, (offset + length - 1) // 4096 + 1))
    return len(found)


def same_as_binary(text_file: Path, files: list[Path], action: str) -> None:
    rows, report = read(FORMAT, [text_file], action)
    binary, other = read(blktrace.FORMAT, files, action)
    assert rows.height > 0
    since = (pl.col("time") - pl.col("time").first()).alias("time")
    assert rows.with_columns(since).equals(binary.with_columns(since))
    assert report.volumes == other.volumes
    assert report.refused == other.refused == 0
    ours = {
        sentence: n for sentence, n in report.notes.items() if "summary" not in sentence and "empty" not in sentence
    }
    theirs = {sentence: n for sentence, n in other.notes.items() if "notifications" not in sentence}
    assert ours == theirs


@pytest.mark.parametrize("action", ACTIONS)
def test_records__are_those_of_the_binary_trace(action: str) -> None:
    same_as_binary(GOLDEN, sorted(FOLDER.glob("delete_fstrim.blktrace.*")), action)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("phase", ["mkfs_copy", "sqlite", "delete_fstrim"])
def test_captures__are_those_of_the_binary_trace(shared: Path, phase: str, action: str) -> None:
    folder = shared / "captures/B_nvme"
    files = sorted((folder / "blktrace").glob(f"{phase}.blktrace.*"))
    same_as_binary(folder / f"{phase}.blkparse.txt.zst", files, action)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ["blkparseout_ext4", "leveldb_blk_data", "mbpa_blktrace"])
def test_facts(shared: Path, name: str, action: str) -> None:
    every = json.loads((shared / "public-traces/FACTS.json").read_text())[f"blkparse/{name}.txt"]
    rows, report = read(FORMAT, [shared / f"public-traces/blkparse/{name}.txt"], action)
    for letter, count in every["events_by_action"].items():
        if letter not in (action, "m"):
            assert note(report, f"events of action {letter} ") == count
    assert note(report, "times before 0") == every.get("wrapped_negative_timestamps_1266874889", 0)
    assert report.refused == 0
    assert (report.clock, len(report.volumes)) == ("relative", 1 if rows.height else 0)
    odd_lines = note(report, "lines of the summary") + note(report, "messages")
    assert odd_lines == every["non_record_lines"]
    facts = every.get(f"action_{action}")
    if facts is None:
        assert rows.is_empty()
        return
    # the facts leave out completions without "+ n", the second ones of flushes
    assert note(report, "completions without bytes") == (name == "mbpa_blktrace")
    ops = rows["op"]
    assert rows.height == facts["records"]
    assert (ops == Op.READ).sum() == facts["reads"]
    assert (ops == Op.WRITE).sum() == facts["writes"]
    assert rows.filter(ops == Op.READ)["length"].sum() == facts["bytes_read"]
    assert rows.filter(ops == Op.WRITE)["length"].sum() == facts["bytes_written"]
    assert dict(rows["raw"].value_counts().iter_rows()) == facts["rwbs"]
    assert (rows["offset"] + rows["length"]).max() == facts["max_end_offset"]
    assert rows["length"].max() == facts["max_request_bytes"]
    assert pages(rows) == facts["pages4k"]
    assert rows["time"][0] == int(facts["first_ts"])
    # the facts were counted on times as they are printed
    printed = rows["time"].map_elements(lambda t: t if t >= 0 else t + blkparse._WRAP, pl.Int64)
    assert printed.max() - printed.min() == pytest.approx(facts["span_s"] * 1e9, abs=300)  # type: ignore[operator]
    assert (printed.diff().drop_nulls() < 0).sum() == facts["odd"]["timestamp_decreases"]


def test_ext4__finds_every_completion_though_its_lines_are_out_of_order(shared: Path) -> None:
    rows, report = read(FORMAT, [shared / "public-traces/blkparse/blkparseout_ext4.txt"])
    assert (rows["latency"] > 0).all()
    assert rows["time"].min() == -882857
    assert note(report, "requests issued whose") == note(report, "completions of what") == 0


def test_latency__goes_from_the_chosen_event_to_the_completion(tmp_path: Path) -> None:
    trace = """
        100 7 Q WS 800 + 8 [a]
        200 7 D WS 800 + 8 [a]
        550 0 C WS 800 + 8 [0]
    """
    for action, latency, pid in (("Q", 450, 7), ("D", 350, 7), ("C", 350, 0)):
        rows, _ = lines(tmp_path, trace, action)
        assert rows.select("offset", "length", "latency", "stream", "op").rows() == [(409600, 4096, latency, pid, 1)]


def test_lines_out_of_order__are_matched_in_order_of_time(tmp_path: Path) -> None:
    trace = """
        300 0 C R 8 + 8 [0]
        700 0 C R 8 + 8 [0]
        600 1 D R 8 + 8 [a]
        100 1 D R 8 + 8 [a]
    """
    rows, report = lines(tmp_path, trace)
    assert rows.select("time", "latency").rows() == [(600, 100), (100, 200)]
    assert note(report, "requests") == note(report, "completions") == 0


def test_a_lost_completion__spoils_nothing_after_it(tmp_path: Path) -> None:
    trace = """
        100 1 D R 8 + 8 [a]
        500 1 D R 8 + 8 [a]
        600 0 C R 8 + 8 [0]
        700 1 D R 8 + 8 [a]
        800 0 C R 8 + 8 [0]
    """
    rows, report = lines(tmp_path, trace)
    assert rows["latency"].to_list() == [-1, 100, 100]
    assert note(report, "requests issued whose completion was not found") == 1


def test_a_completion__may_cover_a_part_or_several(tmp_path: Path) -> None:
    part = """
        100 1 D W 8 + 16 [a]
        200 0 C W 8 + 8 [0]
        300 0 C W 16 + 8 [0]
    """
    rows, report = lines(tmp_path, part)
    assert rows["latency"].to_list() == [200]
    assert note(report, "completions of a part") == 1
    merged = """
        100 1 Q W 8 + 8 [a]
        110 1 Q W 24 + 8 [a]
        120 1 Q W 16 + 8 [a]
        130 1 D W 8 + 24 [a]
        200 0 C W 8 + 24 [5]
    """
    rows, _ = lines(tmp_path, merged, "Q")
    assert rows["latency"].to_list() == [100, 90, 80]
    assert (rows["flags"] & Flag.ERROR > 0).all()


def test_errors__mark_the_request(tmp_path: Path) -> None:
    trace = """
        100 1 D R 8 + 8 [a]
        110 1 D R 16 + 8 [a]
        200 0 C R 8 + 8 [0]
        210 0 C R 16 + 8 [-5]
    """
    for action in "DC":
        rows, _ = lines(tmp_path, trace, action)
        assert rows["flags"].to_list() == [0, Flag.ERROR]


def test_a_requeue__takes_the_issue_back(tmp_path: Path) -> None:
    trace = """
        100 1 D R 8 + 8 [a]
        150 1 R R 8 + 8 [0]
        200 1 D R 8 + 8 [a]
        300 0 C R 8 + 8 [0]
        400 1 R R 8 + 8 [0]
    """
    rows, report = lines(tmp_path, trace)
    assert rows.select("time", "latency").rows() == [(200, 100)]
    assert note(report, "issues taken back by a requeue") == 1
    assert note(report, "requeues whose issue was not seen") == 1


def test_flushes__are_told_apart_from_what_they_carry(tmp_path: Path) -> None:
    trace = """
        100 1 Q FWFS 800 + 8 [a]
        110 1 D FN [kworker/0:1H]
        150 0 C FN 0 [0]
        160 1 D WFS 800 + 8 [kworker/0:1H]
        190 0 C WFS 800 + 8 [0]
        195 0 C WFS 800 [0]
        200 1 Q FWS [a]
        210 1 D FN [a]
        280 0 C FN 0 [0]
        285 0 C WS 0 [0]
    """
    rows, report = lines(tmp_path, trace)
    assert rows.select("op", "offset", "length", "latency").rows() == [
        (Op.FLUSH, 0, 0, 40),
        (Op.WRITE, 409600, 4096, 30),
        (Op.FLUSH, 0, 0, 70),
    ]
    assert rows["flags"].to_list() == [Flag.PREFLUSH, Flag.FUA | Flag.SYNC, Flag.PREFLUSH]
    assert note(report, "completions without bytes") == 2
    rows, _ = lines(tmp_path, trace, "Q")
    assert rows.select("op", "length", "latency").rows() == [(Op.WRITE, 4096, 90), (Op.FLUSH, 0, 85)]
    assert rows["flags"].to_list() == [Flag.PREFLUSH | Flag.FUA | Flag.SYNC, Flag.PREFLUSH | Flag.SYNC]
    rows, report = lines(tmp_path, trace, "C")
    assert rows.select("op", "offset", "length", "latency").rows() == [
        (Op.FLUSH, 0, 0, 40),
        (Op.WRITE, 409600, 4096, 30),
        (Op.FLUSH, 0, 0, 70),
    ]
    assert note(report, "completions without bytes") == 2


def test_commands_to_zones__are_told_but_not_their_place(shared: Path) -> None:
    rows, report = read(FORMAT, [shared / "captures/C_zns/f2fs.blkparse.txt.zst"])
    bare = rows.filter((pl.col("length") == 0) & (pl.col("op") == Op.WRITE))
    assert bare.height == note(report, "events without bytes that are no flush") == 24
    assert (bare["latency"] == -1).all()
    assert bare["offset"].unique().to_list() == [0]
    assert (rows["op"] == Op.UNKNOWN).sum() == 5  # reports of zones, passed through
    assert report.refused == 0


def test_words__become_operations_and_flags(tmp_path: Path) -> None:
    words = ["RA", "RM", "WBS", "DS", "DE", "N", "R", "FWFSM"]
    rows, report = lines(tmp_path, "\n".join(f"{i} 1 D {word} {8 * i} + 8 [a b]" for i, word in enumerate(words)))
    assert rows["op"].to_list() == [0, 0, 1, 2, 2, Op.UNKNOWN, 0, 1]
    assert rows["raw"].to_list() == words
    assert rows["flags"].to_list() == [16, 8, 64 | 4, 4, 32, 0, 0, 1 | 2 | 4 | 8]
    assert report.refused == 0


def test_commands_passed_through__have_no_place(tmp_path: Path) -> None:
    trace = """
        100 1 D R 36 (12 00 00 00 24 00 ..) [smartctl]
        200 1 D N 0 [smartctl]
        300 0 C R (12 00 ..) [0]
        400 0 C N [0]
        500 0 C NS 18446744073709551615 [0]
    """
    rows, _ = lines(tmp_path, trace)
    assert rows.select("op", "offset", "length").rows() == [(Op.UNKNOWN, 0, 36), (Op.UNKNOWN, 0, 0)]
    rows, _ = lines(tmp_path, trace, "C")
    assert rows["op"].to_list() == [Op.UNKNOWN, Op.UNKNOWN, Op.FLUSH]
    assert rows["offset"].to_list() == [0, 0, 0]


def test_other_lines__are_counted_or_refused(tmp_path: Path) -> None:
    trace = """
        100 1 D R 8 + 8 [tmux: server + 8]
        110 1 A R 8 + 8 <- (8,17) 0
        120 0 m N cfq18615S / insert_request
        130 0 1a,1 m N cfq18615S / insert_request
        140 1 P N [a]
        150 1 UT N [a] 1
        160 1 X WS 8 / 16 [a]
        170 1 D R 8 + x [a]
        180 1 D R 99999999999999999 + 8 [a]
        190 1 Z R 8 + 8 [a]
        200 1 D x 8 + 8 [a]
        210 9999999999 D R 8 + 8 [a]
        220 1 D R (     123) [a]
        230 1 D R 16 + 8 (     123) [a]
    """
    rows, report = lines(tmp_path, trace)
    assert rows["offset"].to_list() == [4096, 0, 8192]
    assert note(report, "messages") == 2
    assert sorted((row[1], row[2].split(" ")[0]) for row in report.take_refused().rows()) == [
        (8, "sector"),
        (9, "sector"),
        (10, "unknown"),
        (11, "not"),
        (12, "the"),
    ]


def test_the_summary__is_noted_with_what_it_says_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    whole = GOLDEN.read_text()
    path.write_text(whole.replace("Skips: 0 forward (0 -   0.0%)", "Skips: 2 forward (1,234 -   0.5%)"))
    _, report = read(FORMAT, [path])
    assert report.notes["events lost, as the summary says"] == 1234
    assert report.notes["lines of the summary at the end"] == 28
    assert report.notes["empty lines"] == 2
    path.write_text("what is this\n8,0 1 2 x 4 D R 8 + 8 [a]\n999999,0 1 2 0.1 4 D R 8 + 8 [a]\n")
    rows, report = read(FORMAT, [path])
    assert rows.is_empty()
    assert report.refused == 3


def test_times_before_zero__are_put_right_however_late_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "  8,0 1 1     0.000000500  7  C   R 8 + 8 [0]\n"
        "  8,0 1 2 1266874889.709551516  7  D   R 8 + 8 [a]\n"
        "  8,0 1 3 1266788489.709551616  7  D   R 8 + 8 [a]\n"
    )
    rows, _ = read(FORMAT, [path])
    assert rows["time"].to_list() == [-100, 1266788489709551616]
    assert rows["latency"].to_list() == [600, -1]


@pytest.mark.parametrize("size", [1, 200, 4096])
@pytest.mark.parametrize("action", ACTIONS)
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, action: str, size: int) -> None:
    want = read(FORMAT, [GOLDEN], action)
    monkeypatch.setattr(blkparse, "chunks", functools.partial(text.chunks, size=size))
    rows, report = read(FORMAT, [GOLDEN], action)
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


def test_sniff__knows_blkparse_by_its_lines(shared: Path) -> None:
    for path in [GOLDEN, *sorted((shared / "public-traces/blkparse").iterdir())]:
        assert FORMAT.sniff(path.name, path.read_bytes()[: 1 << 16]) is not None
    for other in (
        b"",
        b"\0" * 100,
        b"8,0 1 2 3 4 D R 8 + 8\n" * 9,
        b"1,2,3,4,5\n" * 9,
        b"8,0 1 1 0.000000000 1 Z R 8\n",
    ):
        assert FORMAT.sniff("blkparse.txt", other) is None


@settings(max_examples=150)
@given(data=damaged(GOLDEN.read_bytes()[:12000]))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("trace") / "x.txt"
    done = survives(FORMAT, path, data)
    assert done is not None
    path.write_bytes(GOLDEN.read_bytes()[:12000])
    intact, _ = read(FORMAT, [path])
    if not GOLDEN.read_bytes().startswith(data):
        assert done[0].height >= intact.height - 6


@settings(max_examples=150)
@given(data=st.binary(max_size=300) | st.text("8,0 1\n.DCQR+[]-x\r\t9", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
