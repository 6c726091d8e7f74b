"""The traces of a world are kept all together or not at all, and what the name stood for before goes."""

from pathlib import Path

import pytest

from tests.generated import OTHERS
from traces.errors import TraceError
from traces.store import Store
from traces.workloads.vm_life import WORLD
from traces.workloads.worlds import generate
from traces.writer import TraceWriter

pytestmark = pytest.mark.kernels

SMALL = OTHERS["vm-life"]
BRIEF = SMALL | {"life": "boot; work 40ms"}  # no commit yet, hence no message
NO_MESSAGE = "no message trace beside it: it would hold no record"


def files(store: Store) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_make__leaves_out_a_kind_without_a_row_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = generate(store, "vm-life", "vm", BRIEF)
    assert [each.kind for each in made] == [kind for kind in WORLD.kinds if kind != "message"]
    assert all(each.fresh and each.info.notes == {NO_MESSAGE: 1} for each in made)
    assert all(store.info(each.kind, "vm").notes == {NO_MESSAGE: 1} for each in made)
    assert not [path for path in files(store) if "message" in path.parts]
    again = generate(store, "vm-life", "vm", BRIEF)
    assert [(each.kind, each.fresh) for each in again] == [(each.kind, False) for each in made]
    made[0].path.unlink()  # of which nobody said that it would be missing
    assert all(each.fresh for each in generate(store, "vm-life", "vm", BRIEF))


def test_make__takes_away_what_the_name_stood_for_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    generate(store, "vm-life", "vm", SMALL)
    with pytest.raises(TraceError, match="made with other settings: life = "):
        generate(store, "vm-life", "vm", BRIEF)
    generate(store, "vm-life", "vm", BRIEF, replace=True)
    assert not [path for path in files(store) if "message" in path.parts]
    generate(store, "messages", "vm", {"messages": 100})
    with pytest.raises(TraceError, match=r"made otherwise \(generated:messages\)"):
        generate(store, "vm-life", "vm", BRIEF)
    generate(store, "vm-life", "vm", BRIEF, replace=True)
    assert not [path for path in files(store) if "message" in path.parts]


def test_make__puts_nothing_in_place_before_all_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, close = Store(tmp_path), TraceWriter.close

    def fail(self: TraceWriter) -> None:
        if self.info.kind == WORLD.kinds[-1]:
            raise OSError(28, "No space left on device")
        close(self)

    generate(store, "vm-life", "vm", BRIEF)
    before = {path: path.stat().st_mtime_ns for path in files(store)}
    monkeypatch.setattr(TraceWriter, "close", fail)
    with pytest.raises(OSError, match="No space"):
        generate(store, "vm-life", "vm", SMALL, replace=True)
    assert {path: path.stat().st_mtime_ns for path in files(store)} == before
