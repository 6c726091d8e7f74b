"""What a user is told of a file that no format claims."""

import zlib
from pathlib import Path

import pytest

from traces.errors import TraceError
from traces.formats import FORMATS
from traces.formats.inputs import Input
from traces.formats.reader import Options
from traces.formats.recognise import detect

MSR = b"".join(b"%d,usr,0,Read,%d,4096,100\n" % (128166372000000000 + i, 4096 * i) for i in range(400))


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(TraceError) as told:
        detect([Input(path, str(path))], None, Options())
    return str(told.value)


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (b"PERFILE2" + bytes(200), "perf script -i "),
        (b"2ELIFREP" + bytes(200), "perf script -i "),
        (b"\x17\x08\x44tracing6\0", "trace-cmd report "),
        (zlib.compress(b'[\n {\n "kdamond_idx": null' + b" " * 5000), "damo report raw --input "),
        (b'[\n {\n "kdamond_idx": null', "damo report raw --input "),
    ],
)
def test_what_programs_keep_for_themselves__is_to_be_printed_first(
    tmp_path: Path, content: bytes, command: str
) -> None:
    path = tmp_path / "a recording"
    assert f"ingest that: {command}'{path}'" in refusal(path, content)


@pytest.mark.parametrize(("name", "command"), [("perf.data.zst", "perf script"), ("damon.data.zst", "damo report raw")])
def test_recordings_of_perf_and_damo(shared: Path, name: str, command: str) -> None:
    path = shared / "public-traces/damon" / name
    with pytest.raises(TraceError, match=rf"unpack it, print it .*{command}.*\.data(\.txt)?$"):
        detect([Input(path, str(path))], None, Options())


@pytest.mark.parametrize("damage", [b"\0" * 300, bytes(range(256)), b"\xff\xfe\0"])
def test_a_damaged_head__is_told_with_what_it_began_like(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x"
    said = refusal(path, MSR[:5000] + damage + MSR[5000:])
    assert f"bytes are like msr ({FORMATS['msr'].sniff('x', MSR)})" in said
    assert f"strata ingest {path} --format msr" in said


def test_all_formats__are_not_listed_but_where_to_find_them(tmp_path: Path) -> None:
    for content in (b"1 2 3 4 5\n" * 10, b"what is this\n", bytes(range(256))):
        said = refusal(tmp_path / "x", content)
        assert "`strata formats` lists them" in said
        assert "soft-dirty" not in said
        assert len(said) < 900
    said = refusal(tmp_path / "x", b"1 2 3 4 1\n" * 10)
    assert said.index("--format mqsim") < said.index("strata formats")
