from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.mqsim import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"938513000 4 264719034 16 0\n938828000 3 197570570 1 1 \r\n"


def test_facts(shared: Path) -> None:
    name = "mqsim_ascii/tpcc-small.trace"
    rows, report = read(FORMAT, [shared / "public-traces" / name])
    known = facts(shared, name)
    hold(known, rows, report)
    assert rows["time"][0] == int(known["first_ts"])


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_bytes(TEXT + b"1 2 3\n1.5 0 0 8 1\n1 0 0 8 1 9\n1 0 0 8 2\n")
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length").rows() == [
        (938513000, Op.WRITE, 0, 264719034 * 512, 8192),
        (938828000, Op.READ, 1, 197570570 * 512, 512),
        (1, Op.UNKNOWN, 2, 0, 4096),
    ]
    assert report.volumes == {"4": 0, "3": 1, "0": 2}
    assert report.take_refused()["line"].to_list() == [3, 4, 5]


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("mqsim.trace", TEXT * 9) is None


@settings(max_examples=100)
@given(data=damaged(TEXT * 9) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
