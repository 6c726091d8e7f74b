from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.damage import damaged, read, survives
from traces.block import Op
from traces.errors import TraceError
from traces.formats import text
from traces.formats.etw import FORMAT

pytestmark = pytest.mark.kernels

HEADER = b"""\
BeginHeader
              DiskRead,  TimeStamp,     Process Name ( PID),   ThreadID,             IrpPtr,   ByteOffset,     IOSize, \
ElapsedTime,  DiskNum, IrpFlags, DiskSvcTime, I/O Pri,  VolSnap,         FileObject, FileName
             DiskWrite,  TimeStamp,     Process Name ( PID),   ThreadID,             IrpPtr,   ByteOffset,     IOSize, \
ElapsedTime,  DiskNum, IrpFlags, DiskSvcTime, I/O Pri,  VolSnap,         FileObject, FileName
          DiskReadInit,  TimeStamp,     Process Name ( PID),   ThreadID,             IrpPtr
             DiskFlush,  TimeStamp,     Process Name ( PID),   ThreadID,             IrpPtr,  \
ElapsedTime,  DiskNum, IrpFlags, DiskSvcTime, I/O Pri
EndHeader
"""
ROWS = b"""\
          DiskReadInit,     198820,     store.exe (2612),       3264, 0xfffffade5c4e7ab0
             DiskWrite,     199000,     store.exe (2612),       3264, 0xfffffade5c4e7ab0, 0x00000c9a0a000, 0x00002000, \
       320,        4, 0x060043,         318,  Normal,  ,  0xfffffade5c4e7ab0, "D:\\db, log.edb"
             DiskFlush,     199500,     System (   4),         72, 0xfffffade5c4e7ab0,         90,        0, 0x000000, \
         88,  Normal
              DiskRead,     200000,     store.exe (2612),       3265, 0xfffffade5c4e7ab0, 0x00000c9a0c000, 0x00000200, \
      1020,        0, 0x060043,        1018,  Normal,  ,  0xfffffade5c4e7ab0, "Unknown"
"""


def test_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER + ROWS)
    for size in (1 << 23, 700):  # the header in a chunk of its own
        monkeypatch.setattr(text.chunks, "__defaults__", (size,))
        rows, report = read(FORMAT, [path])
        assert rows.drop("flags").rows() == [
            (199_000_000, Op.WRITE, 0, 0xC9A0A000, 0x2000, 320_000, 3264, "DiskWrite"),
            (199_500_000, Op.FLUSH, 1, 0, 0, 90_000, 72, "DiskFlush"),
            (200_000_000, Op.READ, 1, 0xC9A0C000, 0x200, 1_020_000, 3265, "DiskRead"),
        ]
        assert set(report.volumes) == {"4", "0"}
        assert (report.notes, report.refused) == ({"events that are no request": 1}, 0)


def test_bad_rows__are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    bad = ROWS.replace(b"0x00000c9a0a000", b"0xg").replace(b"     199500", b"x").replace(b"200000", b"4611686018427388")
    path.write_bytes(HEADER + ROWS + bad + b"DiskRead, 7\n")
    rows, report = read(FORMAT, [path])
    assert rows.height == 3
    assert sorted(report.take_refused()["line"].to_list()) == [12, 13, 14, 15]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ROWS, "no header between BeginHeader and EndHeader"),
        (b"BeginHeader\nCSwitch, TimeStamp\nEndHeader\n", "names none of DiskRead"),
        (HEADER.replace(b"ByteOffset", b"Where") + ROWS, "names no column ByteOffset for DiskRead"),
    ],
)
def test_headers_that_do_not_do__are_told(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=message):
        read(FORMAT, [path])


def test_sniff() -> None:
    assert FORMAT.sniff("x", HEADER.replace(b"\n", b"\r\n") + ROWS) == (
        "a header between BeginHeader and EndHeader that names the columns of DiskRead, DiskWrite, DiskFlush"
    )
    for other in (b"", b"\0", ROWS, b"BeginHeader\nCSwitch, TimeStamp\nEndHeader\n"):
        assert FORMAT.sniff("x", other) is None


@settings(max_examples=150)
@given(data=damaged(HEADER + ROWS * 4) | st.binary(max_size=300).map(lambda rest: HEADER + ROWS + rest))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(FORMAT, tmp_path_factory.mktemp("trace") / "x", data)
