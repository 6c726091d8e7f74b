import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from tests.reference import blktrace as reference
from traces.block import Op
from traces.errors import TraceError
from traces.formats import _requests, blktrace
from traces.formats.blktrace import FORMAT
from traces.formats.inputs import Input
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("delete_fstrim.blktrace.*"))
ACTIONS = ("Q", "D", "C")


def expected(files: Sequence[bytes], action: str, order: str = "<") -> list[reference.Request]:
    trace = list(reference.merged([list(reference.events(data, order)) for data in files]))
    wall = reference.wall_clock(files, order) or 0
    return [row._replace(time=row.time + wall) for row in reference.requests(trace, action)]


def got(paths: Sequence[Path], action: str) -> list[reference.Request]:
    rows, report = read(FORMAT, paths, action)
    names = {number: key for key, number in report.volumes.items()}
    columns = ["time", "op", "volume", "offset", "length", "latency", "stream", "flags", "raw"]
    return [reference.Request(*row)._replace(volume=names[row[2]]) for row in rows.select(columns).iter_rows()]


def swapped(data: bytes) -> bytes:
    """The same recording from a machine of the other byte order."""
    out, at = [], 0
    while at < len(data):
        fields = struct.unpack_from("<IIQQIIIIIHH", data, at)
        payload = data[at + 48 : at + 48 + fields[-1]]
        if fields[5] == 1 << 26 | 1:
            payload = struct.pack(">II", *struct.unpack("<II", payload[:8])) + payload[8:]
        out.append(struct.pack(">IIQQIIIIIHH", *fields) + payload)
        at += 48 + fields[-1]
    return b"".join(out)


def unpacked(path: Path, folder: Path) -> Path:
    target = folder / path.name.removesuffix(".zst")
    with Input(path, str(path)).open() as source, target.open("wb") as plain:
        shutil.copyfileobj(source, plain)
    return target


def starts(data: bytes | bytearray) -> list[int]:
    out, at = [], 0
    while at < len(data):
        out.append(at)
        at += 48 + struct.unpack_from("<H", data, at + 46)[0]
    return out


def pages(rows: pl.DataFrame) -> int:
    """Distinct pages of 4 KiB."""
    found: set[int] = set()
    for offset, length in rows.filter(pl.col("length") > 0).select("offset", "length").iter_rows():
        found.update(range(offset // 4096, (offset + length - 1) // 4096 + 1))
    return len(found)


def note(report: Report, begin: str) -> int:
    return sum(count for sentence, count in report.notes.items() if sentence.startswith(begin))


@pytest.mark.parametrize("action", ACTIONS)
def test_records__are_the_references(action: str) -> None:
    assert got(GOLDEN, action) == expected([path.read_bytes() for path in GOLDEN], action)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("phase", ["mkfs_copy", "sqlite"])
def test_records__of_captures_are_the_references(shared: Path, tmp_path: Path, phase: str, action: str) -> None:
    files = sorted((shared / "captures/B_nvme/blktrace").glob(f"{phase}.blktrace.*"))
    plain = [unpacked(path, tmp_path) for path in files]
    want = expected([path.read_bytes() for path in plain], action)
    assert got(plain, action) == want == got(files, action)  # compressed files are read as they are


@pytest.mark.parametrize("action", ACTIONS)
def test_records__of_the_other_byte_order_are_the_same(tmp_path: Path, action: str) -> None:
    for path in GOLDEN:
        (tmp_path / path.name).write_bytes(swapped(path.read_bytes()))
    paths = sorted(tmp_path.iterdir())
    assert got(paths, action) == got(GOLDEN, action)
    assert FORMAT.sniff("x", paths[0].read_bytes()) == "blktrace's magic number 0x65617407, big-endian"


def test_golden__has_what_blkparse_counted() -> None:
    rows, report = read(FORMAT, GOLDEN)
    assert report.clock == "unix"
    assert report.volumes == {"259,0": 0}
    assert dict(rows["raw"].value_counts().iter_rows()) == {"DS": 25, "FN": 14, "WFSM": 10, "WS": 57, "WSM": 22}
    assert rows.filter(pl.col("op") != Op.FLUSH)["length"].sum() == 496492 * 1024
    assert (rows["latency"] >= 0).all()
    assert note(report, "events of action Q") == 144
    assert note(report, "completions without bytes") == 14
    assert report.refused == 0


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ["keks.blktrace.[0-7]", "sample.blktrace.0"])
def test_facts(shared: Path, name: str, action: str) -> None:
    folder = shared / "public-traces/blktrace_bin"
    every = json.loads((shared / "public-traces/FACTS.json").read_text())[f"blktrace_bin/{name}"]
    rows, report = read(FORMAT, sorted(folder.glob(name)), action)
    for letter, count in every["events_by_action"].items():
        if letter != action:
            assert note(report, f"events of action {letter} ") == count
    assert note(report, "notifications: process names") == every["notify"]["process"]
    assert note(report, "events missing") == every["per_cpu_sequence_gaps_nonnotify"] == 0
    assert report.clock == ("unix" if every["abs_start"] else "monotonic")
    facts = every.get(f"action_{action}")
    if facts is None:
        assert rows.is_empty()
        return
    ops = rows["op"]
    assert rows.height == facts["records"]
    assert (ops == Op.READ).sum() == facts["reads"]
    assert (ops == Op.WRITE).sum() == facts["writes"]
    assert rows.filter(ops == Op.READ)["length"].sum() == facts["bytes_read"]
    assert rows.filter(ops == Op.WRITE)["length"].sum() == facts["bytes_written"]
    assert dict(rows["raw"].value_counts().iter_rows()) == facts["rwbs"]
    assert (rows["length"] == 0).sum() == facts["odd"]["zero_length"]
    assert (rows["flags"] & 128 > 0).sum() == facts["odd"]["completion_errors"]
    assert (rows["time"].diff().drop_nulls() < 0).sum() == facts["odd"]["timestamp_decreases"]
    assert (rows["offset"] + rows["length"]).max() == facts["max_end_offset"]
    assert rows["length"].max() == facts["max_request_bytes"]
    assert rows["time"].max() - rows["time"].min() == round(facts["span_s"] * 1e9)  # type: ignore[operator]
    if every["abs_start"] is None:
        assert rows["time"][0] == int(facts["first_ts"])
    files = [path.read_bytes() for path in sorted(folder.glob(name))]
    assert got(sorted(folder.glob(name)), action) == expected(files, action)
    pages = pl.concat(
        [
            pl.int_range(a // 4096, (a + n - 1) // 4096 + 1, eager=True)
            for a, n in zip(rows["offset"], rows["length"], strict=True)
            if n
        ]
    )
    assert pages.n_unique() == facts["pages4k"]


@pytest.mark.parametrize("phase", ["mkfs_copy", "sqlite", "delete_fstrim"])
def test_captures__agree_with_what_ftrace_saw(shared: Path, phase: str) -> None:
    facts = json.loads((shared / "captures/B_nvme/block_ftrace.facts.json").read_text())["phases"][phase]
    files = sorted((shared / "captures/B_nvme/blktrace").glob(f"{phase}.blktrace.*"))
    for action, event in (("D", "issue"), ("C", "complete")):
        rows, report = read(FORMAT, files, action)
        # ftrace counts the second completions of flushes as writes of nothing
        nothing = note(report, "completions without bytes") if action == "C" else 0
        # blktrace has no bit for a write of zeroes: such a request is a write there
        for op, names in ((1, ("write", "write_zeroes")), (0, ("read",)), (2, ("dsm",)), (3, ("flush",))):
            want = [facts.get(f"{event}:{name}", [0, 0]) for name in names]
            found = rows.filter(pl.col("op") == op)
            assert found.height == sum(count for count, _ in want) - (nothing if op == 1 else 0)
            assert found["length"].sum() == 4096 * sum(blocks for _, blocks in want)


event = st.tuples(
    st.integers(0, 30),
    st.sampled_from([1, 6, 7, 7, 7, 8, 8, 8, 2, 9]),
    st.sampled_from(["8,0", "8,16"]),
    st.integers(0, 3),
    st.sampled_from([0, 0, 512, 1024, 1536]),
    st.sampled_from([0, 1 << 17, 1 << 17 | 1 << 18, 1 << 18, 1 << 29 | 1 << 17, 1 << 19, 1 << 25]),
    st.booleans(),
)


@settings(max_examples=300)
@given(st.lists(st.lists(event, max_size=25), min_size=1, max_size=3), st.sampled_from(ACTIONS), st.sampled_from("<>"))
def test_any_events__are_merged_and_matched_as_by_the_reference(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, ...]]], action: str, order: str
) -> None:
    folder = tmp_path_factory.mktemp("trace")
    data = []
    for cpu, file in enumerate(files):
        made = []
        for time, code, device, sector, length, bits, failed in file:
            one = reference.Event(time, "", str(device), sector, length, code, "", False, bool(failed))
            made.append((one, code | bits, cpu))
        data.append(reference.written(made, order))
        (folder / f"x.blktrace.{cpu}").write_bytes(data[-1])
    assert got(sorted(folder.iterdir()), action) == expected(data, action, order)


@pytest.mark.parametrize("action", ACTIONS)
def test_small_chunks_and_windows__change_nothing(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    want = got(GOLDEN, action)
    monkeypatch.setattr(blktrace, "CHUNK", 1)
    monkeypatch.setattr(blktrace, "SMALLEST", 100)
    monkeypatch.setattr(_requests, "HOLD", 64)
    monkeypatch.setattr(_requests, "WINDOW", 64)
    monkeypatch.setattr(_requests, "RING", 256)
    assert got(GOLDEN, action) == want


def test_open_requests__are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_requests, "HOLD", 16)
    monkeypatch.setattr(_requests, "WINDOW", 16)
    monkeypatch.setattr(_requests, "RING", 64)
    issued = [reference.Event(i, "", "8,0", 8 * i, 4096, 1, "", False, False) for i in range(300)]
    completed = [one._replace(time=1000 + i) for i, one in enumerate(issued)]
    path = tmp_path / "x.blktrace.0"
    path.write_bytes(reference.written([(e, 7, 0) for e in issued] + [(e, 8, 0) for e in completed]))
    rows, report = read(FORMAT, [path])
    assert rows["time"].to_list() == list(range(300))
    unknown = int((rows["latency"] < 0).sum())
    assert unknown == note(report, "requests issued whose") + note(report, "completions found too late")
    assert 0 < unknown < 300
    assert note(report, "completions of what was not seen") == note(report, "requests issued whose")


def whole(number: int = 0) -> bytes:
    return GOLDEN[number].read_bytes()


def one(tmp_path: Path, data: bytes) -> tuple[pl.DataFrame, Report]:
    path = tmp_path / "x.blktrace.0"
    path.write_bytes(data)
    return read(FORMAT, [path])


def test_cut_off__is_refused_with_its_byte(tmp_path: Path) -> None:
    data = whole()
    at = starts(data)[-1]
    rows, report = one(tmp_path, data[: at + 20])
    (refused,) = report.take_refused().rows()
    assert refused[1:] == (at, "cut short: the record's end is missing; 20 bytes skipped", data[at : at + 20].hex())
    assert rows.height == one(tmp_path, data[:at])[0].height


def test_garbage__costs_what_it_covers(tmp_path: Path) -> None:
    data = whole()
    at = starts(data)[100]
    rows, report = one(tmp_path, data[:at] + b"?" * 1000 + data[at:])
    (refused,) = report.take_refused().rows()
    assert refused[1:3] == (at, "no magic number where a record should begin; 1000 bytes skipped")
    assert rows.equals(one(tmp_path, data)[0])


def test_a_record_that_lies_about_its_length__swallows_no_other(tmp_path: Path) -> None:
    data = bytearray(whole())
    at = starts(data)[100]
    want, _ = one(tmp_path, bytes(data))
    data[at + 46 : at + 48] = (3001).to_bytes(2, "little")
    rows, report = one(tmp_path, bytes(data))
    assert rows.equals(want)
    assert report.refused == 1
    assert f"read again from byte {at + 48}" in report.first
    data[at + 46 : at + 48] = (50_001).to_bytes(2, "little")  # past the end of the file
    rows, report = one(tmp_path, bytes(data))
    assert rows.height >= want.height - 1
    assert report.refused == 1
    assert report.first.startswith(f"line {at}: cut short: the record's end is missing; 48 bytes skipped")


def test_another_version__is_told(tmp_path: Path) -> None:
    data = bytearray(whole())
    data[starts(data)[5]] = 8
    _, report = one(tmp_path, bytes(data))
    assert "a record of version 0x08, little-endian" in report.first
    data[0] = 8
    assert FORMAT.sniff("x", bytes(data)) == "blktrace's magic number 0x65617408, little-endian"
    with pytest.raises(TraceError, match="blktrace version 0x08; only version 0x07 is known"):
        one(tmp_path, bytes(data))


def test_what_begins_with_something_else__is_read_from_its_first_record(tmp_path: Path) -> None:
    rows, report = one(tmp_path, b"header" + whole())
    assert rows.equals(one(tmp_path, whole())[0])
    assert report.take_refused().rows()[0][1:3] == (0, "no magic number where a record should begin; 6 bytes skipped")
    rows, report = one(tmp_path, b"no trace at all" * 9)
    assert rows.is_empty()
    assert report.refused == 1


def test_impossible_numbers__are_refused(tmp_path: Path) -> None:
    base = reference.Event(5, "", "8,0", 8, 4096, 1, "", False, False)
    made = [base, base._replace(time=1 << 63), base._replace(sector=1 << 60), base._replace(sector=(1 << 64) - 1)]
    rows, report = one(tmp_path, reference.written([(e, 7 | 1 << 17, 0) for e in made]))
    assert rows["offset"].to_list() == [4096, 0]
    assert [(row[1], row[2].split(" ")[0]) for row in report.take_refused().rows()] == [(48, "time"), (96, "sector")]


def test_actions__that_nobody_knows_are_counted(tmp_path: Path) -> None:
    base = reference.Event(5, "", "8,0", 8, 4096, 1, "", False, False)
    made = [(base, 7, 0), (base, 99, 0), (base, 0x107, 0)]  # the last belongs to a cgroup
    rows, report = one(tmp_path, reference.written(made))
    assert rows.height == 2
    assert note(report, "events of unknown actions") == 1


def test_missing_files__and_lost_events_are_noted(tmp_path: Path) -> None:
    base = reference.Event(5, "", "8,0", 8, 4096, 1, "", False, False)
    data = reference.written([(base, 8, 2)] * 4)
    (tmp_path / "sda.blktrace.0").write_bytes(b"")
    (tmp_path / "sda.blktrace.2").write_bytes(data[:48] + data[3 * 48 :])
    _, report = read(FORMAT, sorted(tmp_path.iterdir()))
    assert report.notes["sda: files of CPUs are missing (1): their events are not there"] == 1
    assert note(report, "events missing in the numbering") == 2
    assert note(report, "empty files") == 1
    assert note(report, "completions of what was not seen to be issued") == 2


def test_messages_and_unknown_notifications__are_counted(tmp_path: Path) -> None:
    base = reference.Event(5, "", "8,0", 0, 0, 1, "", False, False)
    made = [(base, 1 << 26 | 2, 0), (base, 1 << 26 | 0x102, 0), (base, 1 << 26 | 9, 0)]
    _, report = one(tmp_path, reference.written(made))
    assert report.notes == {"notifications: messages": 2, "notifications: of unknown kind 9": 1}


def test_sniff__claims_nothing_else() -> None:
    assert FORMAT.sniff("x", whole()) == "blktrace's magic number 0x65617407, little-endian"
    assert FORMAT.sniff("sda.blktrace.0", b"") is None
    assert FORMAT.sniff("sda.blktrace.0", b"259,0 0 1 0.000000000 1 D R 0 + 8 [x]\n" * 9) is None


@settings(max_examples=150)
@given(data=damaged(whole()[:12000]))
def test_damage__costs_little_and_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("trace") / "x.blktrace.0"
    done = survives(FORMAT, path, data)
    path.write_bytes(whole()[:12000])
    intact, _ = read(FORMAT, [path])
    cut = len(data) < 12000 and whole().startswith(data)
    if done is not None and not cut:
        assert done[0].height >= intact.height - 6


@settings(max_examples=150)
@given(data=st.binary(max_size=400))
def test_nonsense__is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    done = survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
    if done and data:
        assert done[0].is_empty()
        assert done[1].refused == 1
