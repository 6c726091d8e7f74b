from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accesses import columns, one
from tests.damage import damaged, read, survives
from traces.formats import _template
from traces.formats.damo_raw import FORMAT, nanoseconds
from traces.formats.inputs import Input
from traces.memory import Op

pytestmark = pytest.mark.kernels

TEXT = """\
base_time_absolute: 8 m 59.809 s
data source: unknown

monitoring_start:                0 ns
monitoring_end:            104.599 ms
monitoring_duration:       104.599 ms
target_id: 7
nr_regions: 2
# start_addr     end_addr        length  nr_accesses   age
563ebaa00000-563ebadf3000 (   3.949 MiB)           0    -1
7fff66b0a000-7fff66bb2000 ( 672.000 KiB)           9     3

monitoring_start:       104.599 ms
monitoring_end:           1.204 s
target_id: 8
nr_regions: 1
00001000-00002000 (   4.000 KiB)           2     0
"""


def test_regions__stand_at_the_end_of_their_snapshot(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, TEXT + "00003000-00004000 (   4.000 KiB)   2\n")
    base = 539_809_000_000
    assert columns(rows, "time", "op", "space", "address", "size", "accesses") == [
        (base + 104_599_000, Op.SAMPLED, 0, 0x563EBAA00000, 0x3F3000, 0),
        (base + 104_599_000, Op.SAMPLED, 0, 0x7FFF66B0A000, 0xA8000, 9),
        (base + 1_204_000_000, Op.SAMPLED, 1, 0x1000, 0x1000, 2),
    ]
    assert report.volumes == {"target 7": 0, "target 8": 1}
    assert report.notes == {"comments": 1, "empty lines": 2, "headers": 4}
    assert report.take_refused()["reason"].to_list() == ["no blank"]  # a region without an age is not what damo prints


def test_snapshots__that_lack_regions(tmp_path: Path) -> None:
    _, report = one(FORMAT, tmp_path, TEXT.replace("nr_regions: 2", "nr_regions: 3"))
    assert report.notes["snapshots that do not have the regions they state"] == 1


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0 ns", 0),
        ("104.599 ms", 104_599_000),
        ("8 m 59.809 s", 539_809_000_000),
        ("1 d 2 h 3 m 4.5 s", 93_784_500_000_000),
        ("1,204.5 us", 1_204_500),
        ("5", None),
        ("", None),
        ("5 parsecs", None),
        ("99999999999 d", None),
    ],
)
def test_times(text: str, want: int | None) -> None:
    assert nanoseconds(text) == want


@given(st.integers(0, 10**12))
def test_times__are_exact_to_the_millisecond(ms: int) -> None:
    assert nanoseconds(f" {ms // 1000}.{ms % 1000:03} s") == ms * 10**6


def test_times_and_regions_that_are_none__are_refused(tmp_path: Path) -> None:
    bad = TEXT.replace("1.204 s", "soon").replace("00001000-00002000", "00002000-00001000")
    rows, report = one(FORMAT, tmp_path, bad)
    assert rows.height == 2
    assert sorted(report.take_refused()["reason"]) == ["not a time", "the region ends before it begins"]
    assert report.volumes == {"target 7": 0}


def test_facts(shared: Path) -> None:
    path = shared / "public-traces/damon/report-raw.txt.zst"
    with Input(path, str(path)).open() as stream:
        lines = stream.read().decode().splitlines()
    regions = [line.split() for line in lines if line[:1].isalnum() and "-" in line.split()[0]]
    rows, report = read(FORMAT, [path])
    assert (rows.height, report.refused) == (len(regions), 0)
    assert rows.height == 9773
    ends = [tuple(int(part, 16) for part in words[0].split("-")) for words in regions]
    assert rows["address"].to_list() == [start for start, _ in ends]
    assert rows["size"].to_list() == [end - start for start, end in ends]
    assert rows["accesses"].to_list() == [int(words[-2]) for words in regions]
    assert rows["time"].n_unique() == sum(line.startswith("monitoring_end") for line in lines)
    assert len(report.volumes) == len({line for line in lines if line.startswith("target_id")})
    assert "snapshots that do not have the regions they state" not in report.notes


def test_sniff() -> None:
    assert FORMAT.sniff("x", TEXT.encode()) is not None
    assert FORMAT.sniff("x", TEXT.encode()[10:]) is None


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    want, report = one(FORMAT, tmp_path, TEXT * 4)
    monkeypatch.setattr(_template, "_CHUNK", 70)
    rows, again = one(FORMAT, tmp_path, TEXT * 4)
    assert rows.equals(want)
    assert (again.notes, again.volumes) == (report.notes, report.volumes)


@settings(max_examples=150)
@given(data=damaged(TEXT.encode() * 2))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)


HEADS = (
    "base_time_absolute: 8 m 59.809 s",
    "base_time_absolute: 1 h 2 m 3.5 s",
    "base_time_absolute:",
    "monitoring_end: 104.599 ms",
    "monitoring_end: 1.5 m",
    "monitoring_end: 1,204 us",
    "monitoring_end: 1 d 2 h 3 m 4.5 s",
    "monitoring_end: 7 x",
    "target_id: 7",
    "target_id: 8",
    "nr_regions: 0",
    "nr_regions: 2",
    "1000-3000 ( 8 KiB) 2 0",
    "5000-4000 ( 4 KiB) 2 0",
)


def slowly(lines: list[str]) -> tuple[list[tuple[int, str]], int, list[int]]:
    """Time and target of each region, snapshots that state another number of regions, refused lines."""
    base = end = stated = seen = wrong = 0
    target, rows, refused = "", list[tuple[int, str]](), list[int]()
    for number, line in enumerate(lines, 1):
        word, _, rest = line.partition(":")
        if word in ("monitoring_end", "target_id"):
            wrong += stated != seen
            stated = seen = 0
        if word in ("monitoring_end", "base_time_absolute"):
            time = nanoseconds(rest)
            refused += [number] if time is None else []
            base, end = (time or 0, end) if word == "base_time_absolute" else (base, time or 0)
        elif word == "target_id":
            target = f"target {rest.strip()}"
        elif word == "nr_regions":
            stated = int(rest)
        else:
            seen += 1
            if line.startswith("5000"):
                refused.append(number)
            else:
                rows.append((base + end, target or "program.txt"))
    return rows, wrong + (stated != seen), refused


@settings(max_examples=150)
@given(lines=st.lists(st.sampled_from(HEADS), max_size=40), chunk=st.sampled_from([1 << 22, 150]))
def test_headers__hold_for_the_regions_after_them(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_template, "_CHUNK", chunk)
        rows, report = one(FORMAT, tmp_path_factory.mktemp("x"), "".join(f"{line}\n" for line in lines))
    want, wrong, refused = slowly(lines)
    names = {number: name for name, number in report.volumes.items()}
    assert [(time, names[space]) for time, space in rows.select("time", "space").rows()] == want
    assert report.notes.get("snapshots that do not have the regions they state", 0) == wrong
    assert sorted(report.take_refused()["line"].to_list()) == refused
