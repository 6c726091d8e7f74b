"""What all tests share."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# the first call of a kernel compiles it: no deadline, and the same examples every time
settings.register_profile("strata", deadline=None, derandomize=True)
settings.load_profile("strata")

# Most of the time goes into compiling kernels, and of that a tenth went into looking for garbage.
gc.set_threshold(50_000, 20, 50)

# Files are handed to processes in this order. Those of stages go first: one compiles for up to two minutes, and if it
# begins last the other cores are idle. No file of the rest takes long, and there are many.
_ORDER = ("pipeline", "flows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _ORDER.index(folder) if folder in _ORDER else len(_ORDER)

    items.sort(key=turn)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings beside the repository: ``../shared``, or ``$STRATA_SHARED``."""
    folder = Path(os.environ.get("STRATA_SHARED") or Path(__file__).parents[2] / "shared")
    if not (folder / "captures").is_dir():
        pytest.skip(f"the recordings are not at {folder}: set STRATA_SHARED to their folder")
    return folder
