"""The settings that come with Strata: every file is a grid that can be run as its first lines say."""

import re
from pathlib import Path

import pytest

import flows
from flows import jobs
from flows.settings import from_file
from traces.store import Store

STUDIES = sorted((Path(flows.__file__).parent / "studies").glob("*.toml"))


@pytest.mark.kernels
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_can_be_planned(path: Path, tmp_path: Path) -> None:
    command = re.search(r"strata replay TRACE (\S+) --config (\S+)", path.read_text())
    assert command
    assert command[2] == f"flows/studies/{path.name}"
    store = Store(tmp_path / "store")
    jobs.generate(store, "uniform", name="t", settings={"requests": 100, "capacity": 1 << 22})
    settings = from_file(path)
    plans = jobs.plan_grid(store, "t", command[1], settings).plans
    assert len(plans) == len(jobs.combinations(settings)) > 3
