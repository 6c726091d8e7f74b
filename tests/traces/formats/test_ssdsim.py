from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import accounted, damaged, read, survives
from tests.facts import facts, hold
from traces.block import Op
from traces.formats.spc import FORMAT as SPC
from traces.formats.ssdsim import FORMAT

pytestmark = pytest.mark.kernels

TEXT = b"0 0 303567 7 0\n26214000 1 55590 6 1\n"


def test_facts(shared: Path) -> None:
    name = "disksim_ascii/ssdsim_example.ascii"
    rows, report = read(FORMAT, [shared / "public-traces" / name])
    hold(facts(shared, name), rows, report)


def test_example__is_what_it_was_made_from_but_for_its_times(shared: Path) -> None:
    folder = shared / "public-traces"
    rows, report = read(FORMAT, [folder / "disksim_ascii/ssdsim_example.ascii"])
    (note,) = [note for note in report.notes if note.startswith("suspect times")]
    assert report.notes[note] == (rows["time"] % 1000 != 0).sum()
    origin, _ = read(SPC, [folder / "spc/Financial_mini.spc"])
    same = ["op", "volume", "offset", "length"]
    assert rows.select(same).head(949).equals(origin.select(same))
    assert (rows["time"].head(949) - origin["time"]).abs().max() <= 1800  # type: ignore[operator]


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.ascii"
    path.write_bytes(TEXT + b"x 0 0 8 1\n")
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "volume", "offset", "length").rows() == [
        (0, Op.WRITE, 0, 303567 * 512, 7 * 512),
        (26214000, Op.READ, 1, 55590 * 512, 6 * 512),
    ]
    assert report.take_refused()["line"].to_list() == [3]
    assert FORMAT.sniff("x", TEXT) is None


def test_sound_times__are_not_suspected(tmp_path: Path) -> None:
    path = tmp_path / "x.ascii"
    path.write_bytes(b"".join(b"%d 0 0 8 1\n" % (i * 1_000_003) for i in range(100)))
    assert read(FORMAT, [path])[1].notes == {}
    path.write_bytes(b"".join(b"%d 0 0 8 1\n" % (i * 1000) for i in range(100)))
    assert read(FORMAT, [path])[1].notes == {}


@settings(max_examples=100)
@given(data=damaged(TEXT * 9) | st.binary(max_size=300))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    accounted(survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data), data)
