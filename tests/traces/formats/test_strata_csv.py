"""What `strata export TRACE csv` writes comes back exactly, and damage is refused with line and reason."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.damage import damaged
from tests.reference import quoted as reference
from tests.traces.test_export_kinds import add
from traces.block import Block
from traces.errors import TraceError
from traces.export import export
from traces.formats import FORMATS, _csv, strata_csv
from traces.formats._csv import BAD, GOOD, MORE, Table
from traces.formats.inputs import Input
from traces.formats.reader import Options, Report
from traces.info import TraceInfo
from traces.ingest import ingest
from traces.kinds import KINDS
from traces.ledger import Refused
from traces.making import write
from traces.store import Store, read
from traces.table import schema_of

pytestmark = pytest.mark.kernels

HEADER = "time,op,volume,address,length,latency,stream,flags,raw,volume_name\n"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind__comes_back_as_it_left(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "store")
    add(store, kind, "it", 300)
    export(store, "it", "csv", tmp_path / "back.csv.gz")
    (back,) = ingest(store, [tmp_path / "back.csv.gz"])
    assert (back.kind, back.info.format, back.info.refused) == (kind, f"csv-{kind}", 0)
    assert back.info.content == store.info(kind, "it").content


words = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=5)
row = st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 3), st.sampled_from([-1, 0, 7]), words)


@given(rows=st.lists(row, min_size=1, max_size=20), chunk=st.integers(1, 200))
def test_block__whatever_its_words_and_the_order_of_its_volumes(
    rows: list[tuple[int, int, int, int, str]], chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("x")
    store, time, whole = Store(folder / "store"), -rows[0][0], []
    for step, op, volume, latency, word in rows:
        time += step
        whole.append((time, op, volume, 512 * volume, 512, latency, 1, 2, word))
    names = ['a, "b"', "c", "d", "e"][: max(each[2] for each in whole) + 1]
    frame = pl.DataFrame(whole, schema=schema_of(Block), orient="row")
    made = write(store, "it", TraceInfo(format="toy"), [frame], volumes=names)
    export(store, "it", "csv", folder / "back.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata_csv, "CHUNK", chunk)
        patch.setattr(_csv, "_MANY", chunk % 2)  # words are forgotten at once, or nearly
        (back,) = ingest(store, [folder / "back.csv"])
    assert pl.concat(read(Block, back.path)).rows() == whole
    assert [volume.requests for volume in back.info.volumes] == [volume.requests for volume in made.info.volumes]
    if {each[2] for each in whole} == set(range(len(names))):
        assert back.info.content == made.info.content


def test_damage__is_refused_with_line_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "it.csv"
    good = "0,0,0,0,512,,0,0,R,disk\n"
    bad = [
        ("x,0,0,0,512,,0,0,R,disk", "'x' is no value of column 'time'"),
        ("0,256,0,0,512,,0,0,R,disk", "'256' is no value of column 'op'"),
        ("0,0,0", "no value in column 'address'"),
        ("0,0,0,0,512,,0,0,R,disk,1", "more than the header names"),
        ("9223372036854775807,0,0,0,512,,0,0,R,disk", "the time, or the request's end, is past the largest there is"),
        ("0,0,0,9223372036854775807,512,,0,0,R,disk", "the time, or the request's end, is past the largest there is"),
    ]
    for quotes in ([], [('0,0,0,0,512,,0,0,"R"x,disk', "',' expected after '\"'")]):
        file.write_text(HEADER + good + "".join(f"{line}\n" for line, _ in [*bad, *quotes]) + "\n" + good)
        store = Store(tmp_path / f"store{len(quotes)}")
        (made,) = ingest(store, [file])
        assert made.info.rows == 2
        refused = pl.concat(read(Refused, store.refused_path("block", "it")))
        assert sorted(refused.select("line", "reason").rows()) == [
            (line, reason) for line, (_, reason) in enumerate([*bad, *quotes], 3)
        ]


def test_volumes__of_several_files(tmp_path: Path) -> None:
    for name, volume in (("a", 1), ("b", 0)):
        (tmp_path / f"{name}.csv").write_text(f"{HEADER}0,0,{volume},0,512,,0,0,R,disk {name}\n")
    store = Store(tmp_path / "store")
    (made,) = ingest(store, [tmp_path / "a.csv", tmp_path / "b.csv"], name="both")
    assert {v.name: v.requests for v in made.info.volumes} == {"volume 0": 0, "disk a": 1, "disk b": 1}
    assert made.info.notes["volumes without a row, whose names the file does not tell"] == 1


COLUMNS: dict[str, tuple[int, int] | None] = {
    "small": (0, 255),
    "signed": (-(1 << 63), (1 << 63) - 1),
    "word": None,
    "large": (0, (1 << 64) - 1),
    "middle": (0, (1 << 32) - 1),
    "last": None,
}
TYPES = (pl.UInt8(), pl.Int64(), pl.String(), pl.UInt64(), pl.UInt32(), pl.String())
UNKNOWN = {"signed": -1, "middle": (1 << 32) - 1}

numbers = st.one_of(
    *(st.integers(0, 1 << bits).map(str) for bits in (3, 8, 32, 64, 70)),
    st.integers(-(1 << 64), 1 << 64).map(str),
    st.sampled_from(
        ["", '""', '"7"', "-", "+5", "1.5", " 1", "007", "9" * 25, "0" * 25 + "1", '"7', '7"', "18446744073709551615"]
    ),
    *(st.integers((1 << bits) - 2, (1 << bits) + 1).map(str) for bits in (8, 32, 63, 64)),
)
plainly = st.text(st.sampled_from('abR, é\r\n"'), max_size=20)
texts = plainly | plainly.map(lambda text: '"' + text.replace('"', '""') + '"')
line = st.tuples(numbers, numbers, texts, numbers, numbers, texts).map(",".join) | st.lists(texts | numbers).map(
    ",".join
)
lines = st.lists(st.tuples(line, st.sampled_from(["\n", "\r\n"])).map("".join), min_size=1, max_size=12)


@given(
    chunks=st.lists(lines.map(lambda each: "".join(each).encode()), min_size=1, max_size=3),
    many=st.sampled_from([0, 99]),
)
def test_table__agrees_with_reference(chunks: list[bytes], many: int) -> None:
    table = Table(dict(zip(COLUMNS, TYPES, strict=True)), UNKNOWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_csv, "_MANY", many)  # words are forgotten all the time, or never
        for chunk in chunks:
            found = table.scan(np.frombuffer(chunk, np.uint8))
            expected = list(reference.records(chunk, COLUMNS, UNKNOWN))
            status = [
                GOOD if r.wrong is None else MORE if r.wrong == reference.MORE else BAD + int(r.wrong) for r in expected
            ]
            assert found.status.tolist() == status
            assert found.start.tolist() == [each.begin for each in expected]
            bad = [row for row, each in enumerate(status) if each != GOOD]
            assert [found.span(row) for row in bad] == [expected[row][:2] for row in bad]
            good = np.flatnonzero(found.status == GOOD)
            columns = [found.series(name, good).to_list() for name in COLUMNS]
            words = [
                [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in r.values]
                for r in expected
                if r.wrong is None
            ]
            assert list(zip(*columns, strict=True)) == [tuple(each) for each in words]


def test_table__of_more_words_than_it_begins_with() -> None:
    table = Table(dict(zip(COLUMNS, TYPES, strict=True)), UNKNOWN)
    words = [f"{'long ' * (i % 50)}word {i}" for i in range(9_000)]
    chunk = "".join(f'{i % 256},,{word},{i},{i},"{word[::-1]}"""\n' for i, word in enumerate(words)).encode()
    for _ in range(2):
        found = table.scan(np.frombuffer(chunk, np.uint8))
        assert not found.status.any()
        assert found.series("word", slice(None)).to_list() == words
        assert found.series("last", slice(None)).to_list() == [word[::-1] + '"' for word in words]
        assert found.series("large", slice(None)).to_list() == list(range(9_000))


PLAIN = HEADER.encode() + b"".join(b"%d,%d,0,%d,512,,7,0,W,disk\n" % (i * i, i % 2, 512 * i) for i in range(20))


@given(data=damaged(PLAIN).filter(lambda data: b'"' not in data), chunk=st.sampled_from([1, 60, 1 << 20]))
def test_damage__is_accounted_for(data: bytes, chunk: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("x") / "it.csv"
    path.write_bytes(data)
    report = Report()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata_csv, "CHUNK", chunk)
        stream = FORMATS["csv-block"].read([Input(path, "it.csv")], Options(), report)
        if data.partition(b"\n")[0].rstrip(b"\r") != HEADER.rstrip().encode():
            with pytest.raises(TraceError, match="its first line must be time,op,"):
                list(stream)
            return
        batches = list(stream)
    lines = data.split(b"\n")[1:]
    assert sum(batch.height for batch in batches) + report.refused == sum(line not in (b"", b"\r") for line in lines)
    for line, text in report.take_refused().select("line", "text").rows():
        assert lines[line - 2].decode("utf-8", "replace").rstrip("\r") == text
