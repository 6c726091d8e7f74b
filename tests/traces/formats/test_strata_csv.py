"""What `strata export TRACE csv` writes comes back exactly, and damage is refused with line and reason."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.test_export_kinds import add
from traces.block import Block
from traces.export import export
from traces.formats import strata_csv
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
