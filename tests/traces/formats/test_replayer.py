from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.replayer import FORMAT, LOG_FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"0.000 0 200626176 4096 0\n223.412 1 3159347200 36864 1\n"
LOG = b"0.000,85,1,4096,200626176,0.004,4096\n1.500,1020,0,8192,512,1.523,-1\n"


def test_facts(shared: Path) -> None:
    name = "msr_heimdall_replayer/msr.cut.per_10k.rw_20_80.105.trace"
    rows, report = read(FORMAT, [shared / "public-traces" / name])
    hold(facts(shared, name), rows, report)
    assert report.notes == {}


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_bytes(TEXT)
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length").rows() == [
        (0, Op.WRITE, 0, 200626176, 4096),
        (223_412_000, Op.READ, 1, 3159347200, 36864),
    ]
    assert report.volumes == {"0": 0, "1": 1}


def test_suspect_addresses__are_noted(tmp_path: Path) -> None:
    path = tmp_path / "tencent.trace"
    path.write_bytes(b"".join(b"%d000 0 %d 4096 1\n" % (i // 9, 4096 * (i % 26_000)) for i in range(100)))
    _, report = read(FORMAT, [path])
    (note,) = report.notes.items()
    assert note[0].startswith("suspect addresses")
    assert note[1] == 100
    for sound in (b"1.5 0 0 4096 1\n", b"20000 0 512 512 1\n", b"20000 0 109051904 4096 0\n"):
        path.write_bytes(path.read_bytes() + sound)
        assert read(FORMAT, [path])[1].notes == {}
        path.write_bytes(path.read_bytes()[: -len(sound)])


def test_log(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(LOG)
    rows, _ = read(LOG_FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length", "latency").rows() == [
        (4000, Op.READ, 0, 200626176, 4096, 85_000),
        (1_523_000, Op.WRITE, 0, 512, 8192, 1_020_000),
    ]
    path.write_bytes(b"0.250,85,1,4096,200626176\n")  # an older replayer's
    rows, _ = read(LOG_FORMAT, [path])
    assert rows.row(0)[:6] == (250_000, Op.READ, 0, 200626176, 4096, 85_000)


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("x.trace", TEXT * 9) is None
    assert LOG_FORMAT.sniff("x.log", LOG * 9) is None


@settings(max_examples=100)
@given(data=damaged(TEXT * 9) | damaged(LOG * 5) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("trace")
    accounted(survives(FORMAT, folder / "x", data), data)
    accounted(survives(LOG_FORMAT, folder / "x", data), data)
