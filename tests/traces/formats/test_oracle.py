import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Op
from traces.formats import oracle
from traces.formats.inputs import inputs
from traces.formats.oracle import FORMAT, WITH_OPS

pytestmark = pytest.mark.kernels

NEVER = (1 << 63) - 1


def trace(ids: list[int], base: int = 1, never: int = -1) -> bytes:
    """A trace of these objects, a second apart."""
    out = b""
    for i, each in enumerate(ids):
        later = next((j + base for j in range(i + 1, len(ids)) if ids[j] == each), never)
        out += struct.pack("<IQIq", 100 + i, each, 512 * (each + 1), later)
    return out


IDS = [1, 2, 3, 1, 2, 9, 3, 1, 1]


def test_facts(shared: Path) -> None:
    name = "cloudphysics/cloudPhysicsIO.oracleGeneral.bin"
    known = json.loads((shared / "public-traces/FACTS.json").read_text())[name]
    path = shared / "public-traces" / name
    rows, report = read(FORMAT, [path])
    assert (rows.height, report.refused, len(report.volumes)) == (known["records"], 0, 1)
    assert rows["offset"].n_unique() == known["unique_obj_id"]
    assert rows["length"].sum() == known["sum_obj_size"]
    assert rows["time"][0] == known["first_ts"] * 10**9
    assert rows["time"].max() - rows["time"].min() == known["span_s"] * 10**9  # type: ignore[operator]
    assert (rows["op"] == Op.UNKNOWN).all()
    assert report.notes == {
        "object ids taken to be sectors of 512 bytes": known["records"],
        "sizes are those of the object's first request": known["records"],
    }
    assert FORMAT.sniff("x", inputs(path)[0].head())


def test_requests__stand_where_the_vscsi_trace_has_them(shared: Path) -> None:
    from traces.formats.vscsi import FORMAT as VSCSI

    folder = shared / "public-traces/cloudphysics"
    rows, _ = read(FORMAT, [folder / "cloudPhysicsIO.oracleGeneral.bin"])
    origin, _ = read(VSCSI, [folder / "cloudPhysicsIO.vscsi"])
    assert rows["offset"].equals(origin["offset"])
    assert (rows["length"] != origin["length"]).sum() == 13_671  # the size is the object's first


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("never", [-1, NEVER])
def test_sniff__follows_the_links(base: int, never: int) -> None:
    assert FORMAT.sniff("x", trace(IDS, base, never)) == (
        "records of 24 bytes in time order of which 5 name the object's next record rightly"
    )


def test_sniff__believes_nothing_else() -> None:
    good = trace(IDS)
    assert FORMAT.sniff("x", good[:72]) is None  # nothing is asked for twice: no evidence
    assert FORMAT.sniff("x", b"\0" * 2400) is None
    assert FORMAT.sniff("x", good[1:]) is None
    assert FORMAT.sniff("x", good[24:48] + good[:24] + good[48:]) is None  # time runs backward
    assert FORMAT.sniff("x", good[:16] + struct.pack("<q", 3) + good[24:]) is None  # object 2's record
    assert FORMAT.sniff("x", b"1 2 3 4 5 6 7 8 9 0 1 2\n" * 40) is None


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(trace([1, 7, 1]) + struct.pack("<IQIq", 103, 1 << 54, 1, -1) + struct.pack("<IQIq", 5, 9, 0, 1))
    rows, report = read(FORMAT, [path])
    assert rows.select("time", "op", "offset", "length").rows() == [
        (100 * 10**9, Op.UNKNOWN, 512, 1024),
        (101 * 10**9, Op.UNKNOWN, 7 * 512, 8 * 512),
        (102 * 10**9, Op.UNKNOWN, 512, 1024),
        (5 * 10**9, Op.UNKNOWN, 9 * 512, 0),
    ]
    assert report.notes["next accesses that lie in the past"] == 1
    assert report.take_refused().select("line", "reason").rows() == [(72, "the object is no sector of 512 bytes")]


def test_holes__are_refused(tmp_path: Path) -> None:
    whole, path = trace(IDS * 3), tmp_path / "x.oracleGeneral"
    path.write_bytes(whole[: 24 * 5] + bytes(24 * 8) + whole[24 * 13 :])
    rows, report = read(FORMAT, [path])
    assert rows.height == 3 * len(IDS) - 8
    assert report.take_refused().select("line", "reason").rows() == [(120, "a hole: 8 records of zeros in a row")]
    assert report.notes["records of zeros, a hole in the file: refused, a row a run"] == 8
    assert "next accesses that lie in the past" not in report.notes


def test_batches__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(trace(IDS * 20) + b"rest")
    want, before = read(FORMAT, [path])
    monkeypatch.setattr(oracle, "ROWS", 7)
    have, after = read(FORMAT, [path])
    assert have.equals(want)
    assert after.notes == before.notes
    assert after.take_refused().equals(before.take_refused())


@settings(max_examples=150)
@given(data=damaged(trace(IDS * 5)) | st.binary(max_size=400))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    done = survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
    if done is not None:
        assert done[0].height + done[1].refused == -(-len(data) // 24)


def with_ops(ids: list[int], ops: list[int]) -> bytes:
    """The same with operations, each in a namespace of its own."""
    plain = trace(ids)
    records = [plain[i : i + 24] for i in range(0, len(plain), 24)]
    return b"".join(
        each[:16] + struct.pack("<BH", op, 100 + i) + each[16:]
        for i, (each, op) in enumerate(zip(records, ops, strict=True))
    )


def test_operations_and_namespaces__where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(with_ops([1, 7, 1, 3], [1, 3, 9, 200]) + b"\0" * 5)
    rows, report = read(WITH_OPS, [path])
    assert rows.select("time", "op", "offset", "length", "stream", "raw").rows() == [
        (100 * 10**9, Op.READ, 512, 1024, 100, "get"),
        (101 * 10**9, Op.WRITE, 7 * 512, 4096, 101, "set"),
        (102 * 10**9, Op.DISCARD, 512, 1024, 102, "delete"),
        (103 * 10**9, Op.UNKNOWN, 3 * 512, 2048, 103, "200"),
    ]
    assert report.first.startswith("line 108: cut short: 5 of a record's 27 bytes")
    assert "next accesses that lie in the past" not in report.notes


def test_sniff__tells_the_two_layouts_apart() -> None:
    data = with_ops(IDS, [1] * len(IDS))
    assert WITH_OPS.sniff("x", data) == (
        "records of 27 bytes in time order of which 5 name the object's next record rightly"
    )
    assert FORMAT.sniff("x", data) is None
    assert WITH_OPS.sniff("x", trace(IDS)) is None


@settings(max_examples=100)
@given(data=damaged(with_ops(IDS, list(range(len(IDS))))))
def test_damage_of_records_with_operations__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(WITH_OPS, tmp_path_factory.mktemp("trace") / "x", data)
