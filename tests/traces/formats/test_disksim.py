from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.disksim import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"13.191135\t30\t0\t5\t1\n17.829285 20 576560 6 0 ignored\n18 20 4294967296 6 0x13\n19.0000019 20 8 1 A\n"


def test_facts(shared: Path) -> None:
    name = "disksim_ascii/ascii.trace.zst"
    rows, report = read(FORMAT, [shared / "public-traces" / name])
    hold(facts(shared, name), rows, report)
    assert rows["time"][0] == 13_191_135


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_bytes(TEXT + b"20 1 8 1 read\n21 1 -8 1 1\n")
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "raw").rows() == [
        (13_191_135, Op.READ, 0, 0, 2560, "1"),
        (17_829_285, Op.WRITE, 1, 576560 * 512, 3072, "0"),
        (18_000_000, Op.READ, 1, 1 << 41, 3072, "0x13"),  # other bits say how urgent it was
        (19_000_001, Op.WRITE, 1, 4096, 512, "A"),
        (20_000_000, Op.UNKNOWN, 2, 4096, 512, "read"),
    ]
    assert report.take_refused()["line"].to_list() == [6]
    assert FORMAT.sniff("x", TEXT) is None


@settings(max_examples=100)
@given(data=damaged(TEXT * 9) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
