"""Which files are which traces: folders, and what stands in them beside recordings."""

import shutil
from pathlib import Path

import pytest

from tests.traces.formats.test_drmemtrace import END, thread, zipped
from traces.errors import TraceError
from traces.ingest import ingest
from traces.store import Store

pytestmark = pytest.mark.kernels

GOLDEN = Path(__file__).parents[2] / "golden"
MSR = "128166372003061629,usr,0,Read,7014609920,24576,41286\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recording of two threads as raw2trace leaves it."""
    path = tmp_path / "drmemtrace.app.1.dir"
    (path / "aux").mkdir(parents=True)
    for tid in (7, 8):
        zipped(path / f"drmemtrace.app.{tid}.trace.zip", [thread(tid) + END])
    zipped(path / "cpu_schedule.bin.zip", [b"\1\2\3", b"\4\5"])
    (path / "serial_schedule.bin.gz").write_bytes(b"\0\1")
    (path / "modules.log").write_text("Module Table: version 5, count 2\n")
    return path


SKIPPED = ["aux/", "cpu_schedule.bin.zip", "modules.log", "serial_schedule.bin.gz"]


def test_a_folder__is_its_recording(folder: Path, tmp_path: Path) -> None:
    (one,) = ingest(Store(tmp_path / "data"), [folder])
    assert (one.name, one.info.format, one.info.rows) == (folder.name, "drmemtrace", 10)
    assert [Path(each.file).name for each in one.info.sources] == [f"drmemtrace.app.{tid}.trace.zip" for tid in (7, 8)]
    beside = [note for note in one.info.notes if "not read" in note]
    assert beside == [f"beside the recording, not read: {name}" for name in SKIPPED]


def test_companions__among_files_are_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    store = Store(tmp_path / "data")
    (one,) = ingest(store, files, name="whole")
    assert one.info.rows == 10
    assert [f"beside the recording, not read: {name}" in one.info.notes for name in SKIPPED] == [False, *[True] * 3]
    assert [each.info.rows for each in ingest(store, files)] == [5, 5]
    with pytest.raises(TraceError, match=r"schedule.bin.zip \(chunk.0000 in it\): the format is not recognised"):
        ingest(store, [folder / "cpu_schedule.bin.zip"])


def test_facts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "public-traces/drmemtrace/dr_tests/drmemtrace.threadsig.x64.tracedir"
    files = sorted(folder.glob("*.trace.zip"))
    (one,) = ingest(Store(tmp_path / "a"), [folder])
    (same,) = ingest(Store(tmp_path / "b"), files, name="same")
    assert one.info.rows == same.info.rows
    assert one.info.sources == same.info.sources


def test_a_folder_of_per_cpu_files__is_as_many_traces_as_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    for cpu in (0, 1):
        for base in ("a", "b"):
            shutil.copy(GOLDEN / f"delete_fstrim.blktrace.{cpu}", folder / f"{base}.blktrace.{cpu}")
    made = ingest(Store(tmp_path / "data"), [folder])
    assert [(each.name, len(each.info.sources)) for each in made] == [("a", 2), ("b", 2)]


def test_folders_that_are_no_recording__are_told(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "data"), tmp_path / "folder"
    (folder / "trace").mkdir(parents=True)
    with pytest.raises(TraceError, match="without a recording in it; in it stand trace/: name one of those"):
        ingest(store, [folder])
    (folder / "a.csv").write_text(MSR)
    assert ingest(store, [folder])[0].name == "folder"
    (folder / "b.csv").write_text(MSR)
    with pytest.raises(TraceError, match=r"each of its 2 files is a trace of its own in msr: .*--name"):
        ingest(store, [folder])
    assert ingest(store, [folder], name="both")[0].info.rows == 2
    (folder / "c").write_text("what is this")
    with pytest.raises(TraceError, match=r"name those that are. .*c: the format is not recognised"):
        ingest(store, [folder])
    shutil.copy(GOLDEN / "delete_fstrim.blkparse.txt", folder / "c")
    with pytest.raises(TraceError, match=r"several formats \(a.csv is msr, c is blkparse\)"):
        ingest(store, [folder], name="x")
