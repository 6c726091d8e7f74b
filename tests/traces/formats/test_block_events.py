import functools
import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Flag, Op
from traces.formats import block_events, text
from traces.formats.block_events import FORMAT
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

# Written by hand from the formats in include/trace/events/block.h and the ways in which each tool begins a line.
FTRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 11/14   #P:2
     tmux: server-77      [001] .....     1.000001: block_bio_queue: 8,0 WS 800 + 8 [tmux: server]
     tmux: server-77      [001] .....     1.000002: block_rq_insert: 8,0 WS 4096 () 800 + 8 [tmux: server]
     tmux: server-77      [001] .....     1.000005: block_rq_issue: 8,0 WS 4096 () 800 + 8 none,0,0 [tmux: server]
          <idle>-0   (-----) [000] d.h1.     1.000105: block_rq_complete: 8,0 WS () 800 + 8 be,0,4 [0]
    kworker/0:1H-42  (     42) [000] .....     2.000000: block_rq_issue: 8,0 FF 0 () 0 + 0 [kworker/0:1H]
          <idle>-0       [000] d.h1.     2.000300: block_rq_complete: 8,0 FF () 18446744073709551615 + 0 [0]
          <idle>-0       [000] d.h2.     2.000310: block_rq_complete: 8,0 WS () 0 + 0 [0]
             dd-9        [000] .....     3.000000: block_rq_issue: 8,16 RA 131072 () 2048 + 256 [dd]
             dd-9        [000] d....     3.000900: block_rq_complete: 8,16 RA () 2048 + 256 [-5]
            bash-9       [000] .....     4.000000: tracing_mark_write: PHASE two
            bash-9       [000] .....     4.000001: sched_switch: prev_comm=bash [12] 1.5: next
"""
PERF = """\
# ========
kworker/u4:0-ev  1234/1240 [001]  100.123456789:     1 block:block_rq_issue: 259,0 DS 4096 () 0 + 8 [kworker/u4:0-ev]
         swapper     0 [000]  100.123556789: block:block_rq_complete: 259,0 DS () 0 + 8 [0]
        ffffffff8139d2a1 blk_update_request+0x1 ([kernel.kallsyms])

         swapper     0 [000]  100.200000000: PERF_RECORD_LOST lost 7
"""
TRACE_CMD = """\
version = 6
cpus=2
CPU:1 [204600 EVENTS DROPPED]
CPU:1 [EVENTS DROPPED]
           dd-900   [001]   217.975284: block_rq_issue:       8,0 N 65536 () 128 + 128 [dd]
           dd-900   [000]   217.975384: block_rq_complete:    8,0 N () 128 + 128 [0]
"""


def trace(tmp_path: Path, lines: str, action: str = "D") -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "trace.txt"
    path.write_text(lines)
    return read(FORMAT, [path], action)


def events(tmp_path: Path, told: str, action: str = "D") -> tuple[pl.DataFrame, Report]:
    """A trace told in short: event, then its fields; a millisecond lies between two lines."""
    short = {"Q": "block_bio_queue", "I": "block_rq_insert", "D": "block_rq_issue", "C": "block_rq_complete"}
    short["R"] = "block_rq_requeue"
    out = []
    for number, line in enumerate(filter(None, map(str.strip, told.splitlines()))):
        letter, rest = line.split(" ", 1)
        out.append(f"  a-7  [000] .....  {number // 1000}.{number % 1000:03d}000: {short[letter]}: {rest}\n")
    return trace(tmp_path, "".join(out), action)


def test_ftrace__issues_with_their_completions(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, FTRACE)
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "stream", "flags", "raw").rows() == [
        (1_000_005_000, Op.WRITE, 0, 409600, 4096, 100_000, 77, Flag.SYNC, "WS"),
        (2_000_000_000, Op.FLUSH, 0, 0, 0, 300_000, 42, Flag.PREFLUSH, "FF"),
        (3_000_000_000, Op.READ, 1, 1 << 20, 131072, 900_000, 9, Flag.AHEAD | Flag.ERROR, "RA"),
    ]
    assert report.volumes == {"8,0": 0, "8,16": 1}
    assert (report.clock, report.refused) == ("monotonic", 0)
    assert report.notes == {
        "lines of comment": 3,
        "events lost, overwritten in the kernel's buffer": 3,
        "mark at 4.000000000 s: PHASE two": 1,
        "events 'sched_switch', which are no requests": 1,
        "events of action Q (queued), not counted as requests": 1,
        "events of action I (inserted), not counted as requests": 1,
        "events of action C (completed), not counted as requests": 4,
        "completions without bytes of a request of their own (flushes)": 1,
    }


def test_the_action__may_be_queued_or_completed(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, FTRACE, "Q")
    assert rows.select("time", "offset", "latency").rows() == [(1_000_001_000, 409600, 104_000)]
    assert report.notes["events of action I (inserted), not counted as requests"] == 1
    inserted = "".join(line for line in FTRACE.splitlines(keepends=True) if "bio_queue" not in line)
    rows, report = trace(tmp_path, inserted, "Q")
    assert rows.select("time", "offset", "latency").rows() == [(1_000_002_000, 409600, 103_000)]
    rows, _ = trace(tmp_path, FTRACE, "C")
    assert rows["op"].to_list() == [Op.WRITE, Op.FLUSH, Op.WRITE, Op.READ]
    assert rows["length"].to_list() == [4096, 0, 0, 131072]
    assert rows["stream"].to_list() == [0, 0, 0, 0]


def test_perf_and_trace_cmd(tmp_path: Path) -> None:
    rows, report = trace(tmp_path, PERF)
    assert rows.select("time", "op", "length", "latency", "stream").rows() == [
        (100_123_456_789, Op.DISCARD, 4096, 100_000, 1234)
    ]
    assert report.notes["events lost, as the trace says"] == 7
    assert report.notes["lines of stack traces"] == 1
    assert report.refused == 0
    rows, report = trace(tmp_path, TRACE_CMD)
    assert rows.select("time", "op", "offset", "length", "stream").rows() == [
        (217_975_284_000, Op.WRITE_ZEROES, 65536, 65536, 900)
    ]
    assert report.notes["events lost, as the trace says"] == 204600
    assert report.notes["times that events were lost, how many is not told"] == 1
    assert [n for s, n in report.notes.items() if s.startswith("requests N with sectors")] == [1]
    assert report.refused == 0


@pytest.mark.parametrize("action", ["D", "C"])
def test_capture__has_its_facts(shared: Path, action: str) -> None:
    path = shared / "captures/B_nvme/block_ftrace.txt.zst"
    facts = json.loads((path.parent / "block_ftrace.facts.json").read_text())
    rows, report = read(FORMAT, [path], action)
    assert report.refused == 0
    names = {Op.READ: "read", Op.WRITE: "write", Op.FLUSH: "flush", Op.DISCARD: "dsm", Op.WRITE_ZEROES: "write_zeroes"}
    event = {"D": "issue", "C": "complete"}[action]

    def counted(part: pl.DataFrame) -> dict[str, list[int]]:
        each = part.group_by("op").agg(pl.len(), pl.col("length").sum() // 4096)
        return {f"{event}:{names[Op(op)]}": [n, blocks] for op, n, blocks in each.iter_rows()}

    def told(every: dict[str, list[int]]) -> dict[str, list[int]]:
        return {key: value for key, value in every.items() if key.startswith(event)}

    assert counted(rows) == told(facts["totals_reqs_4kblocks"])
    marks = {
        found[2]: round(float(found[1]) * 1e6) * 1000
        for sentence in report.notes
        if (found := re.match(r"mark at ([\d.]+) s: PHASE (\w+)", sentence))
    }
    assert set(marks) == {*facts["phases"], "end"}
    for (name, begin), end in zip(marks.items(), [*list(marks.values())[1:], 1 << 62], strict=True):
        if name != "end":
            assert counted(rows.filter(pl.col("time").is_between(begin, end, "left"))) == told(facts["phases"][name])
    assert (rows.filter(pl.col("length") > 0)["latency"] >= 0).all()
    if action == "C":
        assert rows.height == facts["complete_error"]["0"]
        assert (rows["flags"] & Flag.ERROR == 0).all()


def test_example__amid_prose(shared: Path) -> None:
    path = shared / "public-traces/ftrace/tpoint_example.txt"
    facts = json.loads((shared / "public-traces/FACTS.json").read_text())["ftrace/tpoint_example.txt"]
    issued, report = read(FORMAT, [path], "D")
    inserted, _ = read(FORMAT, [path], "Q")
    assert issued.height == facts["by"]["block_rq_issue"]
    assert inserted.height == facts["by"]["block_rq_insert"]
    assert issued["length"].sum() == 512 * sum(_sectors(path, "block_rq_issue"))
    others = report.notes["lines of stack traces"] + report.notes["lines of comment"]  # empty lines are not counted
    assert facts["records"] + report.refused + others == facts["lines"]


def _sectors(path: Path, event: str) -> list[int]:
    found = re.finditer(rf"{event}: [\d,]+ \w+ \d+ \(\) \d+ \+ (\d+)", path.read_text())
    return [int(each[1]) for each in found]


def test_words_of_the_kernel(tmp_path: Path) -> None:
    words = ["N", "WZ", "ZR", "ZRA", "ZA", "ZF", "ZO", "ZC", "DE", "FWFSM", "F", "FN"]
    told = "\n".join(f"D 8,0 {word} 4096 () {8 * i} + 8 [a]" for i, word in enumerate(words))
    rows, report = events(tmp_path, told)
    assert rows["op"].to_list() == [4, 4, 9, 9, 5, 8, 6, 7, 2, 1, 3, 4]
    assert rows["flags"][2:4].to_list() == [0, Flag.ALL_ZONES]
    assert rows["raw"].to_list() == words
    assert report.refused == 0
    zones = """
        D 8,0 N 0 () 524288 + 0 [a]
        D 8,0 ZR 0 () 524288 + 0 [a]
        C 8,0 ZR () 524288 + 0 [0]
        C 8,0 N () 524288 + 0 [0]
    """
    rows, _ = events(tmp_path, zones)
    assert rows.select("op", "offset", "latency").rows() == [
        (Op.UNKNOWN, 1 << 28, 3_000_000),
        (Op.ZONE_RESET, 1 << 28, 1_000_000),
    ]


def test_commands_for_the_device_itself__have_no_place(tmp_path: Path) -> None:
    told = """
        D 8,0 N 512 () 0 + 0 [smartctl]
        C 8,0 N () 18446744073709551615 + 1 [0]
        D 8,0 R 36 (12 00 00 00 24 00) 0 + 0 [smartctl]
        C 8,0 R (12 00 00 00 24 00) 18446744073709551615 + 0 [-5]
        D 8,0 FWS 0 () 18446744073709551615 + 0 [jbd2]
    """
    rows, report = events(tmp_path, told)
    assert rows.select("op", "offset", "length", "latency").rows() == [
        (Op.UNKNOWN, 0, 512, 1_000_000),
        (Op.UNKNOWN, 0, 36, 1_000_000),
        (Op.FLUSH, 0, 0, -1),
    ]
    assert rows["flags"].to_list() == [0, Flag.ERROR, Flag.PREFLUSH | Flag.SYNC]
    assert report.refused == 0


def test_a_requeue__takes_the_issue_back(tmp_path: Path) -> None:
    told = """
        D 8,0 R 4096 () 8 + 8 [a]
        R 8,0 R () 8 + 8 [0]
        D 8,0 R 4096 () 8 + 8 [a]
        C 8,0 R () 8 + 8 [0]
    """
    rows, _ = events(tmp_path, told)
    assert rows.select("time", "latency").rows() == [(2_000_000, 1_000_000)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("D 8,0 R 4096 () 8 + 8", "not the fields"),
        ("D 8,0 R 4096 () 8 + 8 [a", "not the fields"),
        ("D 8,0 R 4096 () 8 + [a]", "not the fields"),
        ("D 8,0 R 4096 ( 8 + 8 [a]", "not the fields"),
        ("D 8,0 Read 4096 () 8 + 8 [a]", "not an RWBS"),
        ("D 9999,0 R 4096 () 8 + 8 [a]", "the device"),
        ("D 8,0 R 4096 () 99999999999999999999 + 8 [a]", "sector"),
        ("D 8,0 R 4096 () 8 + 9999999999 [a]", "sector"),
        ("D 8,0 R 4096 () 99999999999999999 + 8 [a]", "sector"),
    ],
)
def test_bad_lines__are_refused_with_their_reason(tmp_path: Path, line: str, reason: str) -> None:
    rows, report = events(tmp_path, f"D 8,0 R 4096 () 8 + 8 [a]\n{line}")
    refused = report.take_refused()
    assert rows.height == 1
    assert refused["line"].to_list() == [2]
    assert refused["reason"][0].startswith(reason)


def test_lines_that_are_no_events__are_refused(tmp_path: Path) -> None:
    rows, report = trace(
        tmp_path,
        "what is this\n a-7 [000] ..... 123456: block_rq_issue: 8,0 R 4096 () 8 + 8 [a]\n"
        " a [000] ..... 1.5: block_rq_issue: 8,0 R 4096 () 8 + 8 [a]\n"
        " a-1 [000] ..... 99999999999.5: block_rq_issue: 8,0 R 4096 () 8 + 8 [a]\n",
    )
    assert rows.is_empty()
    assert [reason.split(":")[0] for reason in report.take_refused()["reason"]] == [
        "no event",
        "a time without decimals",
        "no process id before the [cpu]",
        "the time is past the largest that can be",
    ]


@pytest.mark.parametrize("size", [1, 100, 4096])
@pytest.mark.parametrize("action", ["Q", "D", "C"])
def test_small_chunks__change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, size: int) -> None:
    want = trace(tmp_path, FTRACE + TRACE_CMD, action)
    monkeypatch.setattr(block_events, "chunks", functools.partial(text.chunks, size=size))
    rows, report = trace(tmp_path, FTRACE + TRACE_CMD, action)
    assert rows.equals(want[0])
    assert report.notes == want[1].notes


def test_sniff__names_the_tool() -> None:
    for told, tool in ((FTRACE, "ftrace"), (PERF, "perf script"), (TRACE_CMD, "trace-cmd")):
        assert f"as {tool} prints" in (FORMAT.sniff("x", told.encode()) or "")
    for other in (b"", b"\0" * 99, b"block_rq_issue: 8,0 R 0 () 8 + 8 [a]\n", FTRACE.replace("8,", "x,").encode()):
        assert FORMAT.sniff("block.txt", other) is None


@settings(max_examples=150)
@given(data=damaged((FTRACE + PERF + TRACE_CMD).encode()))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    assert survives(FORMAT, tmp_path_factory.mktemp("trace") / "x.txt", data) is not None


@settings(max_examples=150)
@given(data=st.binary(max_size=300) | st.text("8,0 1\n.:block_rq[issue]()-+x\r\t", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
