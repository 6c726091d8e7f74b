from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.spc import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"""\
0,20941264,8192,W,0.551706
0, 20939840, 8192, w, 0.554041, anything, 7
11,20939840,0,r,10.000000001
"""


@pytest.mark.parametrize("name", ["spc/Financial_mini.spc", "derived/Financial1_first10000_rebuilt_from_ssdsim.spc"])
def test_facts(shared: Path, name: str) -> None:
    rows, report = read(FORMAT, [shared / "public-traces" / name])
    known = facts(shared, name)
    hold(known, rows, report)
    assert rows["raw"].is_in(["r", "w"]).sum() == known["odd"]["lowercase_opcode"]
    assert rows["time"][0] == int(known["first_ts"])


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.spc"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "raw").rows() == [
        (551_706_000, Op.WRITE, 0, 20941264 * 512, 8192, "W"),
        (554_041_000, Op.WRITE, 0, 20939840 * 512, 8192, "w"),
        (10_000_000_001, Op.READ, 1, 20939840 * 512, 0, "r"),
    ]
    assert report.volumes == {"0": 0, "11": 1}  # the same block of two units is two blocks
    assert (report.clock, report.notes, report.refused) == ("relative", {}, 0)


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.spc"
    path.write_bytes(TEXT + b"2 448003,1024,w,1.0\n0,-1,512,r,2.0\n0,1,512,x,3.0\n0,36028797018963967,512,r,4.0\n")
    rows, report = read(FORMAT, [path])
    assert rows["op"].to_list()[3:] == [Op.UNKNOWN]
    assert report.notes == {"operation 'x' is not known": 1}
    assert report.take_refused()["line"].to_list() == [4, 5, 7]


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT)
    assert FORMAT.sniff("x", TEXT + b"2 448003,1024,w,1.0\n")  # the specification's own mistyped row
    for other in (b"", b"\0", b"0,R,126703661056,4096,1577808000000046\n", b"1,2,3,r,5\n", b"1 2 3 r 5.0\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 8) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x.spc", data), data)
