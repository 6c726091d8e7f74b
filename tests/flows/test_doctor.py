"""`strata doctor`: what it finds, and that what it measures runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import doctor
from tests.flows.conftest import Strata
from traces.store import _HERE, Store


@pytest.fixture
def quick_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement of kernels that compiles none, and is not kept beside the real ones."""
    monkeypatch.setattr("traces.kernel.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(doctor, "_COMPILE", "print(0.25)")


@pytest.mark.usefixtures("quick_doctor")
def test_doctor_finds_what_is_wrong(
    strata: Strata, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def findings(*arguments: str, where: Path | None = None) -> dict[str, tuple[str, str]]:
        done = strata("doctor", "--json", *arguments, where=where)
        told = {each["what"]: (each["state"], each["told"]) for each in json.loads(done.stdout)}
        assert done.exit_code == int(any(state == "wrong" for state, _ in told.values())), done.output
        return told

    assert findings()["catalog"][0] == "odd"
    assert findings("--rebuild")["catalog"] == ("ok", "current")
    assert findings()["duckdb"][0] == "ok"
    left = store.root / "runs" / f".part-{_HERE}-999999999-0-run=a"
    left.mkdir(parents=True)
    assert findings()["leftovers"][0] == "odd"
    assert findings("--sweep")["leftovers"][0] == "ok"
    assert not left.exists()

    moved = tmp_path / "moved"
    store.root.rename(moved)
    assert findings(where=moved)["catalog"][0] == "wrong"
    assert findings("--rebuild", where=moved)["catalog"][0] == "ok"
    (moved / "strata.duckdb").write_text("nonsense")
    assert findings(where=moved)["catalog"][0] == "wrong"
    (moved / "traces" / "block" / "bad.parquet").write_text("nonsense")
    assert findings(where=moved)["trace block/bad"][0] == "wrong"
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert findings(where=moved)["prefect server"][0] == "wrong"
    assert strata("doctor", "--rebuild", where=tmp_path / "nowhere").exit_code == 2


@pytest.mark.usefixtures("quick_doctor")
def test_doctor_measures_the_kernels_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = doctor._kernels(anew=False)
    assert [each["what"] for each in measured] == ["kernels, cold", "kernels, warm"]
    assert measured[0]["told"].startswith("0.2 s, the whole process")
    monkeypatch.setattr(doctor, "_COMPILE", "raise SystemExit('no compiler')")
    assert doctor._kernels(anew=False) == measured
    (wrong,) = doctor._kernels(anew=True)
    assert (wrong["state"], wrong["told"]) == ("wrong", "no compiler")


def test_what_doctor_measures__runs() -> None:
    """With the kernels that other tests left: anew, all that `tests/pipeline` compiles was compiled once more."""
    code = [sys.executable, "-c", doctor._COMPILE]
    done = subprocess.run(code, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 0
