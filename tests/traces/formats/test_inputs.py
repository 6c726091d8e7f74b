import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from traces.errors import TraceError
from traces.formats.inputs import inputs

TEXT = b"a line of a trace\n" * 10_000
PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("how", PACK)
def test_input__is_read_as_plain_bytes_whatever_its_name(tmp_path: Path, how: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(PACK[how](TEXT))
    counted: list[int] = []
    (one,) = inputs(path, counted.append)
    assert one.head() == TEXT[: 1 << 16]
    counted.clear()
    with one.open() as stream:
        assert stream.read() == TEXT
    assert sum(counted) == path.stat().st_size


@pytest.mark.parametrize("how", ["gz", "zst", "xz", "bz2"])
def test_input__of_several_compressed_parts_is_read_to_its_end(tmp_path: Path, how: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(PACK[how](TEXT) + PACK[how](b"more\n"))
    with inputs(path)[0].open() as stream:
        assert stream.read() == TEXT + b"more\n"


@pytest.mark.parametrize("how", ["gz", "xz", "bz2", "zst"])
def test_input__cut_short_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "trace"
    path.write_bytes(PACK[how](TEXT * 3)[:-9])
    with pytest.raises(TraceError, match="damaged or cut short"), inputs(path)[0].open() as stream:
        shutil.copyfileobj(stream, io.BytesIO())


def test_archives__hold_an_input_a_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as bundle:
        bundle.writestr("one.csv", TEXT)
        bundle.writestr("two.csv.gz", gzip.compress(b"second"))
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as tar:
        for name, data in (("one.csv", TEXT), ("two.csv.gz", gzip.compress(b"second"))):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    for archive in ("z", "t.tgz"):
        members = inputs(tmp_path / archive)
        assert [m.name for m in members] == [f"{tmp_path / archive}:one.csv", f"{tmp_path / archive}:two.csv.gz"]
        contents = []
        for member in members:
            with member.open() as stream:
                contents.append(stream.read())
        assert contents == [TEXT, b"second"]


def test_input__that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        inputs(tmp_path / "missing")
    with pytest.raises(TraceError, match="a folder"):
        inputs(tmp_path)
