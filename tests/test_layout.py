"""Our package names are plain words: be sure that nobody else in this environment uses them."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["traces", "pipeline", "models", "flows"])
def test_a_package_name_is_ours_alone(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"strata"}


def test_the_lock_names_no_address_and_hashes_everything() -> None:
    lock = (HOUSE / "requirements.txt").read_text()
    assert "://" not in lock
    for line in lock.splitlines():
        if re.match(r"[A-Za-z]", line):
            assert re.fullmatch(r"[\w.\[\]-]+==\S+( ; .+)? \\", line), line


def test_make_lists_its_targets() -> None:
    makefile = (HOUSE / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.M), target
