import struct
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, one
from tests.damage import damaged, read, survives
from traces.formats import champsim
from traces.formats.champsim import CLOUDSUITE, FORMAT, LOAD_TYPE
from traces.formats.reader import Format
from traces.memory import Op

pytestmark = pytest.mark.kernels


def plain(ip: int, dst: tuple[int, int] = (0, 0), src: tuple[int, int, int, int] = (0, 0, 0, 0)) -> bytes:
    return struct.pack("<QBB2B4B2Q4Q", ip, 1, 0, 6, 0, 6, 25, 0, 0, *dst, *src)


def cloud(ip: int, dst: tuple[int, int, int, int], src: tuple[int, int, int, int], asid: int) -> bytes:
    return struct.pack("<QBB4B4B6x4Q4QH6x", ip, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, *dst, *src, asid)


def test_an_instruction__is_a_fetch_its_loads_and_its_stores(tmp_path: Path) -> None:
    data = plain(0x400000, dst=(0x9000, 0), src=(0, 0x8000, 0, 0x8008)) + plain(0x400004)
    rows, report = one(FORMAT, tmp_path, data)
    assert columns(rows, "time", "op", "address", "ip", "raw") == [
        (0, Op.FETCH, 0x400000, 0x400000, "ip"),
        (1, Op.LOAD, 0x8000, 0x400000, "source"),
        (2, Op.LOAD, 0x8008, 0x400000, "source"),
        (3, Op.STORE, 0x9000, 0x400000, "destination"),
        (4, Op.FETCH, 0x400004, 0x400004, "ip"),
    ]
    assert (report.clock, report.volumes, report.refused) == ("ordinal", {"program.txt": 0}, 0)


def test_cloudsuite__has_address_spaces(tmp_path: Path) -> None:
    data = cloud(0x10, (0, 0, 0, 0x20), (0x30, 0, 0, 0), 7) + cloud(0x14, (0, 0, 0, 0), (0, 0, 0, 0), 3)
    assert len(data) == 192
    rows, report = one(CLOUDSUITE, tmp_path, data)
    assert columns(rows, "op", "address", "space") == [
        (Op.FETCH, 0x10, 0),
        (Op.LOAD, 0x30, 0),
        (Op.STORE, 0x20, 0),
        (Op.FETCH, 0x14, 1),
    ]
    assert report.volumes == {"program.txt: address space 7": 0, "program.txt: address space 3": 1}


def test_load_types__change_nothing_but_the_size(tmp_path: Path) -> None:
    instructions = [plain(0x400000, dst=(0x9000, 0), src=(0, 0x8000, 0, 0x8008)), plain(0x400004)]
    want, _ = one(FORMAT, tmp_path, b"".join(instructions))
    rows, report = one(LOAD_TYPE, tmp_path, b"".join(each + b"\x03" + b"\xff" * 7 for each in instructions))
    assert rows.equals(want)
    assert report.refused == 0


def test_two_files__keep_their_address_spaces(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(plain(1))
    assert read(FORMAT, [tmp_path / "a", tmp_path / "b"])[1].volumes == {"a": 0, "b": 1}


def test_a_record_cut_short__is_refused(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, plain(1) + plain(2)[:10])
    assert (rows.height, report.first[:40]) == (1, "line 64: cut short: 10 of a record's 64 ")


def test_batches__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b"".join(plain(i, src=(i, 0, 0, i * 2)) for i in range(200))
    want, _ = one(FORMAT, tmp_path, data)
    monkeypatch.setattr(champsim, "ROWS", 8 * 7)
    assert one(FORMAT, tmp_path, data)[0].equals(want)


def test_sniff__never_guesses() -> None:
    assert FORMAT.sniff("x.champsimtrace.xz", plain(1) * 9) is None


@pytest.mark.parametrize(("how", "size"), [(FORMAT, 64), (CLOUDSUITE, 96)])
@settings(max_examples=60)
@given(data=damaged(plain(0x400000, src=(0, 0x8000, 0, 0x8008)) * 9))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, how: Format, size: int, data: bytes) -> None:
    done = survives(how, tmp_path_factory.mktemp("trace") / "x", data)
    assert done is not None
    assert (done[0]["op"] == Op.FETCH).sum() == len(data) // size
    assert done[1].refused == bool(len(data) % size)
