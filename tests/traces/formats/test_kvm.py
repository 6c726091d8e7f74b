import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.damage import damaged, read, survives
from traces.errors import TraceError
from traces.formats import _template
from traces.formats.inputs import Input
from traces.formats.kvm import FORMAT
from traces.formats.reader import Options, Report
from traces.ingest import ingest
from traces.store import Store

pytestmark = pytest.mark.kernels

WANTED = ["op", "mechanism", "cpu", "bus", "device", "function", "register", "width", "value", "present", "raw"]


def lines(tmp_path: Path, trace: str, window: str = "") -> tuple[pl.DataFrame, Report]:
    """A trace told in short: process, seconds, event."""
    path, report = tmp_path / "x.txt", Report()
    out = []
    for line in filter(None, map(str.strip, trace.splitlines())):
        pid, time, rest = line.split(" ", 2)
        out.append(f"  CPU 0/KVM-{pid}  [003] d....   {time}: {rest}")
    path.write_text("\n".join(out) + "\n")
    batches = list(FORMAT.read([Input(path, str(path))], Options(columns=window), report))
    rows = pl.concat(batches) if batches else pl.DataFrame()
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String)), report


def note(report: Report, begin: str) -> int:
    return sum(count for sentence, count in report.notes.items() if sentence.startswith(begin))


def test_facts(shared: Path) -> None:
    every = json.loads((shared / "public-traces/FACTS.json").read_text())
    for path in sorted((shared / "public-traces/kvm_events").iterdir()):
        rows, report = read(FORMAT, [path])
        facts = every[f"kvm_events/{path.name}"]
        assert {event: report.notes[f"events of {event}"] for event in facts["by"]} == facts["by"]
        assert (rows.height, report.refused) == (0, 0)
        assert report.notes["exits whose guest address the page fault after them tells"] == 2


@pytest.mark.parametrize("vcpu", [None, 5])
def test_ports__are_followed_by_thread_in_both_generations(tmp_path: Path, vcpu: int | None) -> None:
    if vcpu is None:
        exit_ = "kvm_exit: reason IO_INSTRUCTION rip 0x40359f info cf80003 0"
    else:
        exit_ = (
            f"kvm_exit: vcpu {vcpu} reason IO_INSTRUCTION rip 0x1 info1 0x000000000cf80003 info2 0x0000000000000000 "
            "intr_info 0x00000000 error_code 0x00000000"
        )
    trace = f"""
        71 1.000001 {exit_}
        71 1.000002 kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x80011a44
        72 1.000003 kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x8000f800
        71 1.000004 {exit_}
        71 1.000005 kvm_pio: pio_read at 0xcfe size 2 count 1 val 0xabcd
        72 1.000006 kvm_pio: pio_write at 0xcfc size 1 count 1 val 0x7
        72 1.000007 kvm_pio: pio_read at 0x3f8 size 1 count 1 val 0x60
        73 1.000008 kvm_pio: pio_read at 0xcfc size 4 count 1 val 0xffffffff
        71 1.000009 kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x0
        71 1.000010 kvm_pio: pio_read at 0xcfc size 4 count 1 val 0xffffffff
        71 1.000011 kvm_hypercall: nr 0x5 a0 0x1 a1 0x2 a2 0x3 a3 0x4
    """
    rows, report = lines(tmp_path, trace)
    cpu = vcpu or 0
    assert rows.select(WANTED).rows() == [
        (0, 0, cpu, 1, 3, 2, 0x46, 2, 0xABCD, 2, "kvm_pio"),
        (1, 0, 0, 0, 31, 0, 0, 1, 7, 2, "kvm_pio"),
    ]
    assert note(report, "reads of other ports") == 1
    assert note(report, "accesses to the data port before") == 1
    assert note(report, "accesses to the data port while") == 1
    assert note(report, "writes of the address port") == 3
    assert report.notes["events of kvm_hypercall"] == 1
    assert report.notes["exits IO_INSTRUCTION"] == 2


MEMORY = """
    71 1.000001 kvm_exit: reason EPT_MISCONFIG rip 0xffff info 0 0
    71 1.000002 kvm_mmio: mmio unsatisfied-read len 4 gpa 0xb0100004 val 0x0
    72 1.000003 kvm_mmio: mmio write len 2 gpa 0xb00fb104 val 0x1234
    71 1.000004 kvm_mmio: mmio read len 4 gpa 0xb0100004 val 0x100006
    71 1.000005 kvm_entry: vcpu 1
    71 1.000006 kvm_mmio: mmio unsatisfied-read len 2 gpa 0xb0008000 val 0x0
    71 1.000007 kvm_exit: reason EPT_VIOLATION rip 0xffff info 181 0
    71 1.000008 kvm_page_fault: address b0010000 error_code 181
    71 1.000009 kvm_exit: reason EPT_VIOLATION rip 0xffff info 182 0
    71 1.000010 kvm_page_fault: address b0010010 error_code 182
    71 1.000011 kvm_mmio: mmio write len 4 gpa 0xb0010010 val 0x5
    71 1.000012 kvm_mmio: mmio unsatisfied-read len 4 gpa 0xfee00020 val 0x0
    71 1.000013 kvm_mmio: mmio read len 4 gpa 0xfee00020 val 0x9
    71 1.000014 kvm_page_fault: address b0010020 error_code 181
"""


def test_window__is_read_where_it_is_declared(tmp_path: Path) -> None:
    rows, report = lines(tmp_path, MEMORY, "ecam=0xb0000000")
    assert rows.select(WANTED).rows() == [
        (1, 1, 0, 0, 31, 3, 0x104, 2, 0x1234, 2, "kvm_mmio"),
        (0, 1, 0, 1, 0, 0, 4, 4, 0x100006, 2, "kvm_mmio"),
        (0, 1, 1, 0, 1, 0, 0, 2, 0, 2, "kvm_mmio"),
        (0, 1, 1, 0, 2, 0, 0, 0, 0, 2, "kvm_page_fault"),
        (1, 1, 1, 0, 2, 0, 0x10, 4, 5, 2, "kvm_mmio"),
    ]
    assert note(report, "reads told twice") == 2
    assert note(report, "reads whose value was not seen") == 1
    assert note(report, "exits whose guest address") == 2
    assert note(report, "reads of memory-mapped registers elsewhere") == 1


def test_memory__is_counted_where_no_window_is_declared(tmp_path: Path) -> None:
    rows, report = lines(tmp_path, MEMORY)
    assert rows.is_empty()
    assert note(report, "reads of memory-mapped registers elsewhere") == 3
    assert note(report, "writes of memory-mapped registers elsewhere") == 2


@pytest.mark.parametrize("window", ["0xb0000000", "ecam=b0000000", "ecam=0xb0000000:1GiB", "ecam=0xb0000000:much"])
def test_a_window__must_be_told_well(tmp_path: Path, window: str) -> None:
    with pytest.raises(TraceError, match="--columns"):
        lines(tmp_path, MEMORY, window)


def test_other_tracers_and_older_events(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        "CPU 0/KVM  71 [003]  1.000002: kvm:kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x80000000 \n"
        "CPU 0/KVM  71 [003]  1.000003: kvm:kvm_pio: pio_read at 0xcfc size 2 count 1 val 0x8086 \n"
        "CPU 0/KVM  71 [003]  1.000004: kvm:kvm_entry: vcpu 2, rip 0x1\n"
        "CPU 0/KVM  71 [003]  1.000005: kvm:kvm_pio: pio_read at 0xcfc size 2 count 3 val 0x8086 (...)\n"
        "CPU 0/KVM  71 [003]  1.000006: kvm:kvm_pio: pio_read at 0xcfc size 1 count 1\n"
        "CPU 0/KVM  71 [003]  1.000007: kvm:kvm_pio: pio_look at 0xcfc size 1 count 1\n"
        "CPU 0/KVM  71 [003]  1.000008: kvm:kvm_cr: cr_write 3 = 0x1\n"
        "CPU 0/KVM  71 [003]  1.000009: kvm:kvm_exit: odd\n"
    )
    assert FORMAT.sniff("x", path.read_bytes())
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "cpu", "width", "value").rows() == [
        (1000003000, 0, 2, 0x8086),
        (1000005000, 2, 2, 0x8086),
        (1000006000, 2, 1, 0),
    ]
    assert note(report, "port accesses of strings") == 1
    assert note(report, "port accesses whose value is not told") == 1
    assert report.notes["events of kvm:kvm_cr"] == 1
    assert sorted(row[1] for row in report.take_refused().rows()) == [6, 8]


WHOLE = (
    "".join(
        f" CPU 0/KVM-{71 + i % 2}  [003] d....   1.{i:06d}: kvm_pio: pio_{way} size 4 count 1 val 0x80000{i:02x}0\n"
        for i in range(30)
        for way in ("write at 0xcf8", "read at 0xcfc")
    )
).encode()


@pytest.mark.parametrize("size", [1, 700])
def test_small_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(WHOLE)
    want = read(FORMAT, [path])
    monkeypatch.setattr(_template, "_CHUNK", size)
    rows, report = read(FORMAT, [path])
    assert_frame_equal(rows, want[0])
    assert report.notes == want[1].notes


@pytest.mark.parametrize(
    ("window", "why"), [("", "no ECAM window was declared"), ("ecam=0xb0000000", "none to the ECAM")]
)
def test_a_trace_without_an_access__is_told_so(shared: Path, tmp_path: Path, window: str, why: str) -> None:
    files = sorted((shared / "public-traces/kvm_events").iterdir())
    for path, count in zip(files, (18, 6), strict=True):
        message = rf"as kvm \(no access to PCI configuration space among {count} events: .*{why}"
        with pytest.raises(TraceError, match=message):
            ingest(Store(tmp_path), [path], options=Options(columns=window), format="kvm")


@settings(max_examples=80)
@given(data=damaged(WHOLE))
def test_damage__costs_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Any = tmp_path_factory.mktemp("trace") / "x"
    done = survives(FORMAT, path, data)
    assert done is not None
    if not WHOLE.startswith(data):
        assert done[0].height >= 30 - 8


@settings(max_examples=60)
@given(data=st.binary(max_size=300) | st.text("[01]:. x-kvm_pio\t\r\n", max_size=300).map(str.encode))
def test_nonsense__is_refused_or_noted(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
