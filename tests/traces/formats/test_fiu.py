from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.fiu import FORMAT
from traces.formats.inputs import inputs

pytestmark = pytest.mark.kernels

MD5 = "d6c75ba46e82326fefa545b57a12e221"
TEXT = f"""\
89966522969723 4270 rpc.mountd 18579576 8 W 6 0 {MD5}
89966527950584 4253 nfsd 508516672 8 R 6 0 {MD5}
89966527967123 12 my process: 3 508516680 16 W 8 1 {MD5}
89966527967124 12 7 7 7 7 1 1 R 8 1 {MD5}
""".encode()


def test_facts(shared: Path) -> None:
    known = facts(shared, "fiu/cheetah_sample")
    (path,) = (shared / "public-traces/fiu").iterdir()
    assert [each.path for each in inputs(path)] == [path]  # a tar header, yet no archive
    rows, report = read(FORMAT, [path])
    hold(known, rows, report)
    assert rows["time"][0] == int(known["first_ts"])
    assert rows["stream"].n_unique() == known["pids"]
    assert list(report.volumes) == ["6_0"]
    assert report.take_refused()["line"].to_list() == [1, 2, 3, 10001]
    assert FORMAT.sniff("x", inputs(path)[0].head())


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "stream", "raw").rows() == [
        (89966522969723, Op.WRITE, 0, 18579576 * 512, 4096, 4270, "W"),
        (89966527950584, Op.READ, 0, 508516672 * 512, 4096, 4253, "R"),
        (89966527967123, Op.WRITE, 1, 508516680 * 512, 8192, 12, "W"),
        (89966527967124, Op.READ, 1, 512, 512, 12, "R"),  # a process of the name '7 7 7 7'
    ]
    assert report.volumes == {"6_0": 0, "8_1": 1}
    assert (report.clock, report.notes, report.refused) == ("monotonic", {}, 0)


def test_digests_of_sectors(tmp_path: Path) -> None:
    path = tmp_path / "homes"
    path.write_bytes(TEXT.replace(MD5.encode(), b" ".join([MD5.encode()] * 8)))
    rows, report = read(FORMAT, [path])
    assert rows["offset"].to_list() == [18579576 * 512, 508516672 * 512, 508516680 * 512, 512]
    assert report.refused == 0
    assert FORMAT.sniff("x", path.read_bytes())


def test_bad_lines__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(TEXT + b"1 2 nfsd 3 8 W 6 0\n\n1 2 nfsd x 8 W 6 0 " + MD5.encode() + b"\n")
    rows, report = read(FORMAT, [path])
    assert rows.height == 4
    assert [reason.split(":")[0] for reason in report.take_refused()["reason"]] == [
        "too few fields",
        "empty line",
        "offset (field 3) is not an integer between 0 and 2**63 bytes",
    ]


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT)
    for other in (b"", b"\0" * 600, b"1 2 3 4 5\n" * 9, TEXT.replace(b" W ", b" X ").replace(b" R ", b" Y ")):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 5) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
