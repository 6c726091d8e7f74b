"""Source files as streams of plain bytes, however they are compressed.

gzip, zstd, xz and bzip2 are told by their first bytes; each member of a zip or tar archive is an input of
its own. Reading counts compressed bytes, so that progress is true.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from traces.errors import TraceError

_MAGIC: dict[bytes, str] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
_BROKEN = (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, tarfile.TarError)
HEAD = 1 << 16


def _nobody(count: int) -> None:
    """Tell nobody how far reading has come."""


@dataclass(frozen=True)
class Input:
    """One stream of plain bytes: a file, or a member of an archive.

    ``name`` is how the user knows it: the path as it was given, ``archive.zip:member`` for members.
    """

    path: Path
    name: str
    member: str | None = None
    progress: Callable[[int], None] = _nobody  # is told how many bytes of the file itself were read since the last call

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The plain bytes; a TraceError says where a compressed file breaks off."""
        try:
            with self.path.open("rb") as raw:
                counted = _Counted(raw, self.progress)
                yield from _plain(counted, self.member)
        except FileNotFoundError:
            raise TraceError(f"{self.path}: no such file") from None
        except IsADirectoryError:
            raise TraceError(f"{self.path}: a folder; name the files in it") from None
        except PermissionError:
            raise TraceError(f"{self.path}: no permission to read it") from None
        except (*_BROKEN, gzip.BadGzipFile) as error:
            raise TraceError(f"{self.name}: the compressed file is damaged or cut short ({error})") from None

    def head(self) -> bytes:
        """The first 64 KiB of plain bytes."""
        with Input(self.path, self.name, self.member).open() as stream:
            return stream.read(HEAD)
