"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# the first call of a kernel compiles it: no deadline, and the same examples every time
settings.register_profile("strata", deadline=None, derandomize=True)
settings.load_profile("strata")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings beside the repository: ``../shared``, or ``$STRATA_SHARED``."""
    folder = Path(os.environ.get("STRATA_SHARED") or Path(__file__).parents[2] / "shared")
    if not (folder / "captures").is_dir():
        pytest.skip(f"the recordings are not at {folder}: set STRATA_SHARED to their folder")
    return folder
