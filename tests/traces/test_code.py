from pathlib import Path

import pytest

from traces import code
from traces.code import code_hash


def test_code__follows_imports_however_far() -> None:
    names = set(code._closure("traces.ingest"))
    assert {"traces.ingest", "traces.formats.msr", "traces.formats.text", "traces.kernel", "traces.block"} <= names
    assert not any(name.startswith(("numpy", "flows")) for name in names)


def test_code__changes_with_any_file_that_computes_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"traces.a": "from traces import b\n", "traces.b": "X = 1\n", "traces.c": "Y = 1\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "_file", lambda name: tmp_path / f"{name}.py" if name in files else None)

    def fresh() -> str:
        code._imports.cache_clear()
        code_hash.cache_clear()
        return code_hash("traces.a")

    before = fresh()
    (tmp_path / "traces.c.py").write_text("Y = 2\n")
    assert fresh() == before
    (tmp_path / "traces.b.py").write_text("X = 2\n")
    assert fresh() != before
    code._imports.cache_clear()
    code_hash.cache_clear()
