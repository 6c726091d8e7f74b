from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, lines_kept, one
from tests.damage import damaged
from traces.formats.perf_mem import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

RAW = """\
# PID, TID, IP, ADDR, LOCAL WEIGHT, DSRC, SYMBOL
  381   382 0xffffffff8102a9e3 0xffff88021f50e2c0    77 0x5080142 /usr/lib/vmlinux:__switch_to
  381   381 0xffffffff8102a9e4 0xffff88021f50e2c8     0 0x5080144 ???:???
  400   400 0x00000000004005d0 0x0000000000000000     3 0x68100001 /bin/a b:main
"""
PHYSICAL = "# PID, TID, IP, ADDR, PHYS ADDR, LOCAL WEIGHT, DSRC, SYMBOL\n1,2,0x10,0x20,0x3000,5,0x110,/bin/x:f\n"
SCRIPT = (
    "  ls  2765/2766  [003]  3045.133000:          5  cpu/mem-loads,ldlat=30/P:     7ffd12345678      43     "
    "55b3c122bffc noploop+0x1c (/bin/perf)\n"
    "  my prog  2765  3045.133001: cpu/mem-stores/P:     7ffd12345680 0     55b3c122bff0 f\n"
    "  ls  2765 [003] 3045.133002: cpu/mem-loads,ldlat=30/P: 7ffd12345688 68100142 |OP LOAD|LVL L1 hit|SNP None|"
    "TLB L1 or L2 hit|LCK No|BLK  N/A      32     55b3 f\n"
    "  ls  2765 [003] 3045.133003: cycles: 55b3c122bffc f\n"
)
NAMES = ("op", "space", "cpu", "address", "ip", "weight", "raw")
SAID = ("comments", "events other than mem-loads and mem-stores, or without a weight")


def test_report(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, RAW)
    assert columns(rows, "time", *NAMES) == [
        (0, Op.LOAD, 0, 382, 0xFFFF88021F50E2C0, 0xFFFFFFFF8102A9E3, 77, "load"),
        (1, Op.STORE, 0, 381, 0xFFFF88021F50E2C8, 0xFFFFFFFF8102A9E4, 0, "store"),
        (2, Op.UNKNOWN, 1, 400, 0, 0x4005D0, 3, "n/a"),
    ]
    assert (report.clock, report.volumes, report.refused) == ("ordinal", {"pid 381": 0, "pid 400": 1}, 0)
    assert report.notes == {"comments": 1, "samples, not every access": 3, "samples without an address": 1}


def test_report__with_physical_addresses_and_another_separator(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, PHYSICAL)
    assert columns(rows, *NAMES) == [(Op.FETCH, 0, 2, 0x20, 0x10, 5, "fetch")]
    assert report.refused == 0


def test_script(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, SCRIPT)
    at = 3_045_133_000_000
    assert columns(rows, "time", *NAMES) == [
        (at, Op.LOAD, 0, 2766, 0x7FFD12345678, 0x55B3C122BFFC, 43, "load"),
        (at + 1000, Op.STORE, 1, 2765, 0x7FFD12345680, 0x55B3C122BFF0, 0, "store"),
        (at + 2000, Op.LOAD, 1, 2765, 0x7FFD12345688, 0x55B3, 32, "load"),
    ]
    assert (report.clock, report.volumes) == ("monotonic", {"pid 2765": 0, "program.txt": 1})
    assert report.notes[SAID[1]] == 1


def test_what_is_no_sample__is_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, RAW + "381 381 0x1\n381 381 0x1 0x2 x 0x5 f\nwhat\n")
    assert (rows.height, report.refused) == (3, 3)


def test_sniff() -> None:
    for text in (RAW, PHYSICAL, SCRIPT):
        assert FORMAT.sniff("x", text.encode()) is not None
    assert FORMAT.sniff("x", b"# PID, TID, IP, ADDR, SOMETHING\n") is None
    assert FORMAT.sniff("x", SCRIPT.splitlines()[-1].encode() + b"\n") is None


@settings(max_examples=100)
@given(data=damaged(RAW.encode()) | damaged(SCRIPT.encode()))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data, SAID)
