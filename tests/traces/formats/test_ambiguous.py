from pathlib import Path

import pytest

from traces.errors import TraceError
from traces.formats import FORMATS
from traces.formats.ambiguous import _SHAPES, candidates
from traces.ingest import ingest
from traces.store import Store


def formats(head: bytes) -> list[str]:
    return [line.split("--format ")[1].split()[0] for line in candidates("x", head).splitlines() if "--format" in line]


def test_candidates__are_the_formats_that_lines_fit() -> None:
    assert formats(b"938513000 4 264719034 16 0\n" * 3) == ["mqsim", "ssdsim", "disksim", "replayer"]
    assert formats(b"13.191135 30 0 5 1\n") == ["disksim", "replayer"]
    assert formats(b"13.191135 30 0 5 1f\n") == ["disksim"]
    assert formats(b"1538323200,12910952,128,0,1063\n") == ["tencent", "tencent-bytes"]
    assert formats(b"0.000,85,1,4096,200626176,0.004,4096\n") == ["replayer-log"]
    assert formats(b"1, 31250, 0, 4096, 8192, 0\n") == ["fio-log"]
    for head in (b"", b"\0\1", b"hello\n", b"1 2 x\n", b"1 2 3 4 5\nx\n"):
        assert candidates("x", head) == ""


def test_candidates__are_declared_formats_that_never_claim() -> None:
    for shape in _SHAPES:
        assert FORMATS[shape.format].sniff("x", b"1 2 3 4 1\n" * 5) is None


def test_five_columns__are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "five columns.trace"
    path.write_bytes(b"938513000 4 264719034 16 0\n" * 9)
    with pytest.raises(TraceError, match="not recognised") as told:
        ingest(Store(tmp_path / "data"), [path])
    for name in ("mqsim", "disksim", "ssdsim", "replayer"):
        assert f"strata ingest '{path}' --format {name}" in str(told.value)
    assert "--columns" in str(told.value)


@pytest.mark.kernels
def test_declared__they_differ(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    path.write_bytes(b"1000 4 8 16 0\n3000 4 8 16 1\n")
    spans = {}
    for name in ("mqsim", "disksim", "ssdsim", "replayer"):
        (done,) = ingest(Store(tmp_path / name), [path], format=name)
        spans[name] = (done.info.span, done.info.volumes[0].extent)
    assert spans == {
        "mqsim": (2000, 24 * 512),
        "ssdsim": (2000, 24 * 512),
        "disksim": (2_000_000_000, 24 * 512),
        "replayer": (2_000_000_000, 24),
    }
