from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from traces.block import Op
from traces.formats.diskmon import FORMAT

pytestmark = pytest.mark.kernels

TEXT = (
    b"0\t0.000000\t0.00003052\t0\tWrite\t25194495\t8\t\r\n"
    b"1\t0.103521\t0.00001526\t1\tRead\t3136\t256\t\r\n"
    b"2\t0.203521\t0.00001526\t1\tRead\t8486082789636758048\t256\t\r\n"
)


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "latency", "raw").rows() == [
        (0, Op.WRITE, 0, 25194495 * 512, 4096, 30_520, "Write"),
        (103_521_000, Op.READ, 1, 3136 * 512, 256 * 512, 15_260, "Read"),
    ]
    assert report.volumes == {"0": 0, "1": 1}
    assert report.take_refused()["line"].to_list() == [3]  # no disk has such a sector


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT)
    for other in (b"", b"\0", b"0 0.0 0.1 0 Open 1 8\n", b"1 2 3 4 Read 5 6\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(TEXT * 5) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
