"""Which files are which traces: the per-CPU files of a recording together, a folder that holds one, any other alone."""

import re
import stat
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from traces.errors import TraceError
from traces.formats import FORMATS
from traces.formats.inputs import inputs, told, unpacked
from traces.formats.reader import Options
from traces.formats.recognise import BESIDE, detect

_PER_CPU = re.compile(r"(?P<base>.+)\.blktrace\.\d+$")
_PLAIN = {".csv", ".txt", ".log", ".trace", ".iolog", ".vscsi", ".bin", ".tsv", ".dat"}


class Gathered(NamedTuple):
    """The files of one trace, and what stands beside them and is not read."""

    files: list[Path]
    skipped: list[str]


def gather(paths: Sequence[Path], name: str | None, declared: str | None, options: Options) -> dict[str, Gathered]:
    """Trace name to its files, with what folders hold; TraceError where a path is none or a folder no recording.

    With a ``name`` all is one trace.
    """
    folders: dict[Path, list[Path]] = {}
    odd: dict[Path, list[str]] = {}  # a folder -> what in it is not read
    for path in paths:
        with told(path, str(path)):
            if path.is_dir():
                files = sorted(path.iterdir())
                folders[path] = [each for each in files if each.is_file() and not each.name.startswith(".")]
                odd[path] = [
                    f"{each.name}/" * each.is_dir() or each.name for each in files if each not in folders[path]
                ]
            elif not stat.S_ISREG(path.stat().st_mode):
                raise TraceError(f"{path}: a pipe or device, which can be read only once: save it to a file first")
    every = [file for path in paths for file in folders.get(path, [path])]
    skip = _companions(every, declared, options)
    for folder, files in folders.items():
        folders[folder] = [file for file in files if file not in skip]
        _check_folder(folder, folders[folder], odd[folder], (name, declared, options))
    named = [path for path in paths if path not in skip]
    groups = {name: [file for path in named for file in folders.get(path, [path])]} if name else grouped(named, folders)
    for file in skip:
        odd.setdefault(file.parent, []).append(file.name)
    return {
        trace: Gathered(
            files, [each for parent in dict.fromkeys(f.parent for f in files) for each in odd.get(parent, [])]
        )
        for trace, files in groups.items()
    }


def grouped(paths: Iterable[Path], folders: dict[Path, list[Path]] | None = None) -> dict[str, list[Path]]:
    """Trace name to its files: per-CPU files that share a base together, those of a folder, any other file alone.

    A file that only accompanies others (`Format.beside`) is no trace where it stands beside one.
    """
    groups: dict[str, list[Path]] = {}
    folders = folders or {}
    loose = [path for path in paths if path not in folders]
    for path in paths:
        plain, files = unpacked(path.name), folders.get(path, [path])
        if path in folders and all(_PER_CPU.match(unpacked(file.name)) for file in files):
            for base, more in grouped(files).items():
                groups.setdefault(base, []).extend(more)
            continue
        if path not in folders:
            if plain in BESIDE and any(other.parent == path.parent for other in loose if other != path):
                continue  # the reader of the other file finds it there
            if cpu := _PER_CPU.match(plain):
                groups.setdefault(cpu["base"], []).append(path)
                continue
        else:
            plain = path.resolve().name
        stem = Path(plain).stem if Path(plain).suffix.lower() in _PLAIN else plain
        stem = re.sub(r"[^A-Za-z0-9._+-]", "_", stem).lstrip("._+-") or "trace"
        if stem in groups:
            raise TraceError(
                f"{path} and {groups[stem][0]} would both be trace '{stem}': ingest them apart with --name"
            )
        groups[stem] = files
    return groups


def _companions(files: Sequence[Path], declared: str | None, options: Options) -> list[Path]:
    """Those of the files that stand with a recording and are none (`Format.companions`)."""
    if options.columns and declared is None:
        return []
    formats = [FORMATS[declared]] if declared in FORMATS else [] if declared else list(FORMATS.values())
    patterns = [pattern for each in formats for pattern in each.companions]
    found = [file for file in files if any(fnmatch(unpacked(file.name), pattern) for pattern in patterns)]
    return [file for file in found if any(other.parent == file.parent for other in files if other not in found)]


def _check_folder(
    folder: Path, files: Sequence[Path], others: Sequence[str], asked: tuple[str | None, str | None, Options]
) -> None:
    """Raise TraceError unless the files of a folder are one recording, or a ``name`` makes them one."""
    name, declared, options = asked
    if not files:
        within = f"; in it stand {', '.join(others[:8])}: name one of those" if others else ""
        raise TraceError(f"{folder}: a folder without a recording in it{within}")
    recordings = [file for file in files if unpacked(file.name) not in BESIDE and file.stat().st_size] or list(files)
    found: dict[str, Path] = {}
    for file in recordings:
        try:
            found.setdefault(detect(inputs(file), declared, options)[0].name, file)
        except TraceError as error:
            raise TraceError(
                f"{folder}: a folder in which not all files are recordings: name those that are. {error}"
            ) from None
    if len(found) > 1:
        kinds = ", ".join(f"{file.name} is {format_}" for format_, file in found.items())
        raise TraceError(f"{folder}: a folder of several formats ({kinds}): name the files of one")
    (only,) = found
    if len(recordings) > 1 and not (name or FORMATS[only].together):
        raise TraceError(
            f"{folder}: a folder; each of its {len(recordings)} files is a trace of its own in {only}: "
            "name the files, or give a --name to make one trace of them"
        )
