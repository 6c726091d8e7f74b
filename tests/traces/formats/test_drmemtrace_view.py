from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, lines_kept, one
from tests.damage import damaged
from traces.formats import _template
from traces.formats.drmemtrace_view import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

START = 13_386_385_969_186_755
UNIX = (START - 11_644_473_600_000_000) * 1000
NEW = f"""\
Output format:
<--record#-> <--instr#->: <---tid---> <record details>
------------------------------------------------------------
           1           0:     2765542 <marker: version 5>
           6           0:     2765542 <marker: timestamp {START}>
           7           0:     2765542 <marker: tid 2765542 on core 8>
       47444       37769:     2765543 ifetch       6 byte(s) @ 0x0000000000404a78 0f 84 5b 01 00 00    jz     $0x404bd9
       47446       37770:     2765543 read         8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e
       47447       37770:     2765543 <marker: timestamp {START + 5}>
       47448       37770:     2765542 write        4 byte(s) @ 0x00007fdf64e2adc0 by PC 0x0000000000404a80
       47449       37770:     2765542 pref-r-L1    1 byte(s) @ 0x00007fdf64e2adc0 by PC 0x0000000000404a80
       47450       37770:     2765542 <thread 2765542 exited>
View tool results:
          250000 : total instructions
"""
WORKLOADS = NEW.replace("    2765543", "W0.T2765543").replace("    2765542", "W1.T2765542")
OLD = f"""\
T342625 <marker: timestamp {START}>
T342625 ifetch       3 byte(s) @ 0x00007f8e0f0e3100 48 89 e7             mov    %rsp -> %rdi
T342626 write        8 byte(s) @ 0x00007ffd0f0e3108 by PC 0x00007f8e0f0e3103
"""
SAID = ("lines of the tool's own", "times", "markers other than times", "records that are neither accesses nor markers")


def test_records__as_newer_versions_print_them(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, NEW)
    assert columns(rows, "time", "op", "cpu", "address", "size", "ip", "raw") == [
        (UNIX, Op.FETCH, 2765543, 0x404A78, 6, 0x404A78, "ifetch"),
        (UNIX, Op.LOAD, 2765543, 0x7FDF64E2ADC8, 8, 0x404A7E, "read"),
        (UNIX + 5000, Op.STORE, 2765542, 0x7FDF64E2ADC0, 4, 0x404A80, "write"),
        (UNIX + 5000, Op.UNKNOWN, 2765542, 0x7FDF64E2ADC0, 1, 0x404A80, "pref-r-L1"),
    ]
    assert (report.clock, report.volumes, report.refused) == ("unix", {"program.txt": 0}, 0)
    assert report.notes == dict(zip(SAID, (5, 2, 2, 1), strict=True))


def test_records__with_workloads(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, WORKLOADS)
    assert columns(rows, "space", "cpu") == [(0, 2765543), (0, 2765543), (1, 2765542), (1, 2765542)]
    assert report.volumes == {"workload 0": 0, "workload 1": 1}


def test_records__as_older_versions_print_them(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, OLD)
    assert columns(rows, "time", "op", "cpu", "address", "ip") == [
        (UNIX, Op.FETCH, 342625, 0x7F8E0F0E3100, 0x7F8E0F0E3100),
        (UNIX, Op.STORE, 342626, 0x7FFD0F0E3108, 0x7F8E0F0E3103),
    ]
    assert report.refused == 0


def test_records__without_times_have_their_order(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, "\n".join(OLD.splitlines()[1:]))
    assert (report.clock, rows["time"].to_list()) == ("ordinal", [0, 1])


def test_times__past_the_largest_are_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, OLD + f"T1 <marker: timestamp {(1 << 63) - 1}>\nwhat\n" + OLD)
    assert (rows.height, report.refused) == (4, 2)


def test_sniff() -> None:
    for text in (NEW, WORKLOADS, OLD):
        assert FORMAT.sniff("x", text.encode()) is not None
    assert FORMAT.sniff("x", b"1 2: 3 hello\n") is None


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = OLD + NEW + WORKLOADS
    want, report = one(FORMAT, tmp_path, text * 3)
    monkeypatch.setattr(_template, "_CHUNK", 150)
    rows, again = one(FORMAT, tmp_path, text * 3)
    assert rows.equals(want)
    assert (again.notes, again.volumes) == (report.notes, report.volumes)


@settings(max_examples=150)
@given(data=damaged((OLD + NEW).encode()))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data, SAID)
