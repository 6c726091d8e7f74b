"""docs/adding.md shows code of this repository: it must be what stands there."""

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
_BLOCK = re.compile(r"`((?:traces|tests)/[\w/]+\.py)`[^`]*\n\n```python\n(.*?)```", re.S)
BLOCKS = _BLOCK.findall((HOUSE / "docs/adding.md").read_text())


def test_every_block_of_code__says_whose_it_is() -> None:
    assert len(BLOCKS) == (HOUSE / "docs/adding.md").read_text().count("```python") == 2


@pytest.mark.parametrize(("path", "code"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_code_of_adding_md__stands_in_its_file(path: str, code: str) -> None:
    text, at = (HOUSE / path).read_text(), 0
    for part in code.split("...\n"):
        assert part in text[at:], f"{path} has no longer:\n{part}"
        at = text.index(part, at) + len(part)


def test_files_that_adding_md_names__are_there() -> None:
    named = re.findall(r"`((?:traces|tests|docs|flows|pipeline)/[\w/]+\.\w+)`", (HOUSE / "docs/adding.md").read_text())
    assert named
    assert [path for path in named if not (HOUSE / path).exists()] == []
