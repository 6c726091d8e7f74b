import errno
import gzip
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from traces import ingest as module
from traces import writer as writer_module
from traces.ahead import ahead, in_turn
from traces.block import Block
from traces.code import _closure
from traces.errors import StoreError, TraceError
from traces.formats import FORMATS
from traces.formats.gather import grouped
from traces.formats.reader import Action, Format, Options
from traces.ingest import ingest
from traces.ledger import Refused
from traces.made import Ingested
from traces.order import sorted_on_disk
from traces.store import Store, read

pytestmark = pytest.mark.kernels

EPOCH = 128166372000000000


def msr_lines(count: int, start: int = 0, host: str = "usr") -> str:
    return "".join(
        f"{EPOCH + 10 * (start + i)},{host},{i % 2},{'Read' if i % 3 else 'Write'},{4096 * (i % 50)},4096,{i % 7}\n"
        for i in range(count)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows(store: Store, one: Ingested) -> pl.DataFrame:
    return pl.concat(read(Block, store.trace_path(one.kind, one.name)))


def left_over(store: Store) -> list[Path]:
    return [p for p in store.root.rglob("*") if ".part-" in str(p)]


def test_ingest__keeps_every_record_and_what_it_is(store: Store, tmp_path: Path) -> None:
    (one,) = ingest(store, [written(tmp_path / "usr_0.csv", msr_lines(1000))])
    whole = rows(store, one)
    assert (one.name, one.kind, one.info.format, one.fresh) == ("usr_0", "block", "msr", True)
    assert whole.height == one.info.rows == 1000
    assert whole["time"].to_list() == [1000 * i for i in range(1000)]
    assert one.info.span == 999_000
    assert (one.info.clock, one.info.origin) == ("unix", 1_172_163_600_000_000_000)
    assert one.info.total("reads") == 666
    assert one.info.total("writes") == 334
    assert [v.name for v in one.info.volumes] == ["usr_0", "usr_1"]
    assert one.info.volumes[0].extent == 49 * 4096
    assert one.info.sources[0].bytes == (tmp_path / "usr_0.csv").stat().st_size
    assert store.info("block", "usr_0") == one.info
    assert left_over(store) == []


def test_ingest__of_the_same_source_is_done_once(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "a.csv", msr_lines(10))
    first = ingest(store, [source])[0]
    stamp = first.path.stat().st_mtime_ns
    again = ingest(store, [source])[0]
    assert (again.fresh, again.info) == (False, first.info)
    assert first.path.stat().st_mtime_ns == stamp


def test_ingest__never_overwrites_another_trace_unasked(store: Store, tmp_path: Path) -> None:
    before = ingest(store, [written(tmp_path / "a.csv", msr_lines(10))])[0].info
    written(tmp_path / "a.csv", msr_lines(20))
    with pytest.raises(TraceError, match=r"trace 'a' exists.*--replace"):
        ingest(store, [tmp_path / "a.csv"])
    assert store.info("block", "a") == before
    assert ingest(store, [tmp_path / "a.csv"], replace=True)[0].info.rows == 20


def test_content__does_not_depend_on_file_cuts_or_compression(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "z").mkdir()
    text = msr_lines(5000)
    plain = ingest(store, [written(tmp_path / "a.csv", text)])[0]
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr("traces.formats.text.chunks.__defaults__", (777,))
    packed = ingest(store, [tmp_path / "b.csv.gz"])[0]
    assert packed.info.content == plain.info.content
    other = ingest(store, [written(tmp_path / "c.csv", text.replace("Write", "Read", 1))])[0]
    assert other.info.content != plain.info.content


def test_refused__rows_are_listed_beside_the_trace(store: Store, tmp_path: Path) -> None:
    text = msr_lines(3) + "not a row\n" + msr_lines(3, start=3) + f"{EPOCH},usr,0,Read,-5,4096,0\n"
    one = ingest(store, [written(tmp_path / "a.csv", text)])[0]
    refused = pl.concat(read(Refused, store.refused_path("block", "a")))
    assert one.info.refused == refused.height == 2
    assert refused["line"].to_list() == [4, 8]
    assert refused["text"][0] == "not a row"
    assert refused["file"][0] == str(tmp_path / "a.csv")
    ingest(store, [written(tmp_path / "a.csv", msr_lines(3))], replace=True)
    assert not store.refused_path("block", "a").exists()


def test_refused__of_a_file_without_any_good_row_do_not_pile_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traces.formats.reader._FLUSH", 10)
    sizes: list[int] = []
    original = writer_module.TraceWriter.refuse

    def refuse(self: writer_module.TraceWriter, frame: pl.DataFrame) -> None:
        sizes.append(frame.height)
        original(self, frame)

    monkeypatch.setattr(writer_module.TraceWriter, "refuse", refuse)
    text = msr_lines(10) + "x\n" * 1000
    assert ingest(store, [written(tmp_path / "a.csv", text)])[0].info.refused == 1000
    assert max(sizes) == 10


def test_order__is_mended_and_counted(store: Store, tmp_path: Path) -> None:
    lines = msr_lines(100).splitlines(keepends=True)
    lines[10], lines[20] = lines[20], lines[10]
    one = ingest(store, [written(tmp_path / "a.csv", "".join(lines))])[0]
    assert rows(store, one)["time"].is_sorted()
    assert one.info.moved == 10
    assert one.info.notes["steps backward in time"] == 2


def test_order__past_the_window_is_mended_on_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = msr_lines(2000, start=5000) + msr_lines(2000)
    in_memory = ingest(store, [written(tmp_path / "a.csv", text)])[0]
    monkeypatch.setattr(module, "HELD", 100)
    monkeypatch.setattr("traces.formats.text.chunks.__defaults__", (4096,))
    calls: list[Path] = []

    def spied(batches: Iterator[pl.DataFrame], folder: Path) -> Iterator[pl.DataFrame]:
        calls.append(folder)
        return sorted_on_disk(batches, folder)

    monkeypatch.setattr(module, "sorted_on_disk", spied)
    monkeypatch.setattr(module, "_MINIMUM_HELD", 10)
    on_disk = ingest(store, [tmp_path / "a.csv"], name="b")[0]
    assert len(calls) == 1
    assert on_disk.info.content == in_memory.info.content
    assert (on_disk.info.moved, on_disk.info.notes) == (in_memory.info.moved, in_memory.info.notes)
    assert on_disk.info.moved == 2000
    assert left_over(store) == []


@pytest.mark.parametrize("files", [3, 20])
def test_files__of_one_name_are_one_trace_in_time_order(store: Store, tmp_path: Path, files: int) -> None:
    paths = [written(tmp_path / f"{i}.csv", msr_lines(50, start=i, host=f"h{i}")) for i in range(files)]
    one = ingest(store, paths, name="all")[0]
    whole = rows(store, one)
    assert whole.height == 50 * files
    assert whole["time"].is_sorted()
    assert {v.name for v in one.info.volumes} == {f"h{i}_{d}" for i in range(files) for d in (0, 1)}
    assert all(v.requests == 25 for v in one.info.volumes)
    assert one.info.moved == 0
    assert len(one.info.sources) == files


def test_files__are_traces_of_their_own_but_for_per_cpu_ones() -> None:
    paths = [Path(p) for p in ("d/sqlite.blktrace.0.zst", "d/sqlite.blktrace.1.zst", "d/a.csv.gz", "b(1).vscsi")]
    assert grouped(paths) == {"sqlite": paths[:2], "a": [paths[2]], "b_1_": [paths[3]]}
    with pytest.raises(TraceError, match="would both be trace 'a'"):
        grouped([Path("x/a.csv"), Path("y/a.csv")])


def test_progress__reaches_the_whole(store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    paths = [written(tmp_path / f"{n}.csv", msr_lines(2000)) for n in "ab"]
    ingest(store, paths, progress=lambda done, total: told.append((done, total)))
    total = sum(p.stat().st_size for p in paths)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("content", "declared", "message"),
    [
        (b"", None, "the file is empty"),
        (bytes(range(256)) * 10, None, "the format is not recognised"),
        (b"1 2 3 4 5\n" * 10, None, "(?s)the format is not recognised.*--columns"),
        (b"garbage\n" * 3, "msr", r"nothing could be read as msr \(3 rows were refused, the first: line 1: .*few"),
        (b"1,2\n", "mrs", "unknown format 'mrs'; did you mean 'msr'"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-8], "msr", "damaged or cut short"),
    ],
)
def test_bad_sources__are_told_and_leave_nothing(
    store: Store, tmp_path: Path, content: bytes, declared: str | None, message: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message):
        ingest(store, [path], format=declared)
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_missing_files__are_told_before_anything_is_read(store: Store, tmp_path: Path) -> None:
    good = written(tmp_path / "a.csv", msr_lines(3))
    with pytest.raises(TraceError, match="no such file"):
        ingest(store, [good, tmp_path / "missing"])
    with pytest.raises(TraceError, match="cannot name a trace"):
        ingest(store, [good], name="../x")
    assert not store.root.exists()


def test_ambiguity__is_refused_with_the_candidates(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = FORMATS["msr"]
    monkeypatch.setitem(FORMATS, "twin", type(twin)("twin", "block", "", lambda name, head: "looks alike", twin.read))
    with pytest.raises(TraceError, match=r"more than one format fits.*--format msr.*--format twin \(looks alike\)"):
        ingest(store, [written(tmp_path / "a.csv", msr_lines(3))])


def test_columns__declare_a_format(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "0 0 8 8 1\n5 0 16 8 0\n")
    one = ingest(store, [path], options=Options(columns="time=0:ms,op=4:0=W/1=R,offset=2:sector,length=3:sector"))[0]
    assert one.info.format == "delimited"
    assert rows(store, one).select("time", "op", "address", "length").rows() == [
        (0, 0, 4096, 4096),
        (5000000, 1, 8192, 4096),
    ]


def interrupted(batch: pl.DataFrame) -> None:
    raise KeyboardInterrupt


def full(batch: pl.DataFrame) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("fault", "error"), [(interrupted, KeyboardInterrupt), (full, StoreError)])
def test_faults__in_the_middle_leave_nothing_half_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None], error: type[Exception]
) -> None:
    monkeypatch.setattr("traces.formats.text.chunks.__defaults__", (4096,))
    kept = ingest(store, [written(tmp_path / "a.csv", msr_lines(10))])[0]
    written(tmp_path / "a.csv", msr_lines(5000))
    original, calls = writer_module._File.write, 0

    def write(self: Any, batch: pl.DataFrame) -> None:
        nonlocal calls
        calls += 1
        fault(batch) if calls == 3 else original(self, batch)

    monkeypatch.setattr(writer_module._File, "write", write)
    with pytest.raises(error):
        ingest(store, [tmp_path / "a.csv"], replace=True)
    assert left_over(store) == []
    assert store.info("block", "a") == kept.info
    assert rows(store, kept).height == 10


def test_store__that_cannot_be_written_is_told(tmp_path: Path) -> None:
    source = written(tmp_path / "a.csv", msr_lines(3))
    with pytest.raises(StoreError, match="a file stands where a folder"):
        ingest(Store(written(tmp_path / "file", "x") / "store"), [source])


@pytest.mark.parametrize("name", FORMATS)
def test_format__is_told_by_the_source_that_declares_it(name: str) -> None:
    how = FORMATS[name]
    declared = [
        value for value in vars(import_module(how.sniff.__module__)).values() if isinstance(value, Format | tuple)
    ]
    assert any(value is how or (isinstance(value, tuple) and how in value) for value in declared)
    assert how.read.__module__ in _closure(how.sniff.__module__)


def test_ahead__gives_the_same_items_raises_the_same_errors_and_stops() -> None:
    assert list(ahead(range(100))) == list(range(100))

    def failing() -> Iterator[int]:
        yield 1
        raise TraceError("no further")

    stream = ahead(failing())
    assert next(stream) == 1
    with pytest.raises(TraceError, match="no further"):
        next(stream)

    produced: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            produced.append(len(produced))
            yield produced[-1]

    stream = ahead(endless())
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    count = len(produced)
    time.sleep(0.05)
    assert len(produced) == count <= 5


def test_in_turn__keeps_the_order_raises_the_same_errors_and_stops() -> None:
    done: list[tuple[int, int]] = []

    def worker(number: int) -> Callable[[int], int]:
        def work(item: int) -> int:
            if item == 7:
                raise TraceError("no seven")
            time.sleep(0.002 * (item % 3))
            done.append((number, item))
            return item * item

        return work

    workers = [worker(0), worker(1)]
    for count in range(6):
        assert list(in_turn(workers, range(count))) == [i * i for i in range(count)]
    assert all(item % 2 == number for number, item in done)
    found = in_turn(workers, range(20))
    assert [next(found) for _ in range(7)] == [i * i for i in range(7)]
    with pytest.raises(TraceError, match="no seven"):
        next(found)
    assert max(item for _, item in done) <= 8
    stream = in_turn(workers, iter(range(1000)))
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    count = len(done)
    time.sleep(0.02)
    assert len(done) == count


def test_memory__of_ids_is_dense(store: Store, tmp_path: Path) -> None:
    lines = [f"{EPOCH + i},host{i % 3000},0,Read,0,512,0\n" for i in range(9000)]
    one = ingest(store, [written(tmp_path / "a.csv", "".join(lines))])[0]
    counts = np.bincount(rows(store, one)["volume"].to_numpy())
    assert len(one.info.volumes) == 3000
    assert set(counts) == {3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(action=Action.QUEUE), "--action means something to .*blktrace.* alone, and .* is msr"),
        (Options(columns="op=3,offset=4,length=5"), "--columns means something to .*delimited.* alone, and .* is msr"),
    ],
)
def test_options__that_mean_nothing_to_a_format_are_refused(
    store: Store, tmp_path: Path, options: Options, message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        ingest(store, [written(tmp_path / "a.csv", msr_lines(3))], format="msr", options=options)


def test_volumes__of_files_with_the_same_name_are_never_aliased(store: Store, tmp_path: Path) -> None:
    paths = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        paths.append(written(tmp_path / folder / "same.txt", "0 R 0 512\n"))
    one = ingest(store, paths, name="both", options=Options(columns="time=0,op=1,offset=2,length=3"))[0]
    assert [v.name for v in one.info.volumes] == [str(path) for path in paths]


def test_empty_files__beside_others_are_no_reason_to_refuse_a_recording(
    store: Store, shared: Path, tmp_path: Path
) -> None:
    source = shared / "captures/B_nvme/blktrace/delete_fstrim.blktrace.1"
    (tmp_path / "x.blktrace.0").touch()
    (tmp_path / "x.blktrace.1").write_bytes(source.read_bytes())
    assert ingest(store, [tmp_path / "x.blktrace.0", tmp_path / "x.blktrace.1"])[0].info.rows > 0
