"""Source files as streams of plain bytes, however they are compressed.

gzip, zstd, xz and bzip2 are told by their first bytes; each member of a zip or tar archive is an input of
its own. Reading counts compressed bytes, so that progress is true.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from traces.errors import TraceError

_MAGIC: dict[bytes, str] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
_BROKEN = (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
PACKED = frozenset({".gz", ".zst", ".xz", ".bz2", ".zip", ".tar", ".tgz"})  # endings that say nothing of the content
HEAD = 1 << 16


def _nobody(count: int) -> None:
    """Tell nobody how far reading has come."""


class _Counted(io.RawIOBase):
    """A file that tells how many of its bytes have been read."""

    def __init__(self, raw: BinaryIO, progress: Callable[[int], None]) -> None:
        self._raw, self._progress = raw, progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer)  # type: ignore[attr-defined]
        self._progress(count)
        return int(count)


def _decompressed(stream: Any) -> BinaryIO:
    head = stream.peek(8)[:8]
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            match name:
                case "gzip":
                    return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
                case "zstd":
                    # zstandard's own reader ends in silence where a file is cut short
                    return cast(BinaryIO, pa.CompressedInputStream(stream, "zstd"))
                case "xz":
                    return cast(BinaryIO, lzma.LZMAFile(stream))
                case _:
                    return cast(BinaryIO, bz2.BZ2File(stream))
    return cast(BinaryIO, stream)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


@contextmanager
def _plain(raw: BinaryIO, member: str | None, progress: Callable[[int], None]) -> Iterator[BinaryIO]:
    counted = io.BufferedReader(_Counted(raw, progress), 1 << 20)
    with _decompressed(counted) as stream:
        if member is None:
            yield stream
        elif counted.peek(4)[:4] == b"PK\x03\x04":
            with (
                zipfile.ZipFile(stream) as archive,
                archive.open(member) as inside,
                _decompressed(_buffered(inside)) as s,
            ):
                yield s
        else:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                entry = next((entry for entry in tar if entry.name == member), None)
                unpacked = tar.extractfile(entry) if entry else None
                if unpacked is None:
                    raise TraceError(f"the archive no longer holds {member}")
                yield _decompressed(_buffered(unpacked))


def _buffered(stream: Any) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)


@dataclass(frozen=True)
class Input:
    """One stream of plain bytes: a file, or a member of an archive.

    ``name`` is how the user knows it: the path as it was given, ``archive.zip:member`` for members.
    """

    path: Path
    name: str
    member: str | None = None
    progress: Callable[[int], None] = _nobody  # is told how many bytes of the file were read since the last call
    odd: str = ""  # what a user should know of it
    label: str = ""  # `unpacked` name, or the whole one where another input of the trace has the same

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", unpacked(self.name))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The plain bytes; a TraceError says what is wrong with a file that cannot be read to its end."""
        with told(self.path, self.name), self.path.open("rb") as raw, _plain(raw, self.member, self.progress) as stream:
            yield stream

    def head(self) -> bytes:
        """The first 64 KiB of plain bytes, fewer where there are fewer."""
        with replace(self, progress=_nobody).open() as stream:
            return _full(stream, HEAD)


def unpacked(name: str) -> str:
    """A file's name without its folders and without the endings that compression gave it."""
    plain = PurePath(name).name
    while PurePath(plain).suffix.lower() in PACKED:
        plain = PurePath(plain).stem
    return plain


def _full(stream: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@contextmanager
def told(path: Path, name: str) -> Iterator[None]:
    """Turn what goes wrong while reading a source into a message about that source."""
    try:
        yield
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TraceError(f"{path}: a folder; name the files in it") from None
    except PermissionError:
        raise TraceError(f"{path}: no permission to read it") from None
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the file's content
        raise TraceError(f"{name}: the compressed file is damaged or cut short ({error}); nothing was kept") from None


def apart(sources: Sequence[Input]) -> list[Input]:
    """The same inputs, those that share a label told apart by their whole names."""
    labels = Counter(source.label for source in sources)
    return [replace(each, label=each.name) if labels[each.label] > 1 else each for each in sources]


def inputs(path: Path, progress: Callable[[int], None] = _nobody) -> list[Input]:
    """The streams of one file: itself, or the members of the zip or tar archive that it is."""
    whole = Input(path, str(path), None, progress)
    head = whole.head()
    with told(path, str(path)):
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(path) as bundle:
                names = [entry.filename for entry in bundle.infolist() if not entry.is_dir()]
        elif _is_tar(head):
            try:
                with whole.open() as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                    names = [entry.name for entry in archive if entry.isfile()]
            except TraceError:
                # published excerpts begin with a stray tar header (its file longer than what is there) before plain
                # lines; an archive that breaks off holds its file's bytes up to the break
                if b"\0" in head[1536:]:
                    raise
                return [replace(whole, odd="an archive's header without its archive: what follows is read as it is")]
        else:
            return [whole]
    if not names:
        raise TraceError(f"{path}: the archive holds no file")
    return [Input(path, f"{path}:{name}", name, progress) for name in names]
