"""What people see: bars, tables that fit, pages, amounts."""

import io
import json

import pytest

from flows import terminal
from flows.terminal import bytes_text, span_text, text
from tests.flows.conftest import Strata
from traces.store import Store


class Screen(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal_for_what_takes_long(
    strata: Strata, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(patience: float, *, quiet: bool = False, before: str = "") -> str:
        monkeypatch.setattr(terminal, "_PATIENCE", patience)
        monkeypatch.setattr("sys.stderr", screen := Screen())
        out = terminal.Output(store.root, json=False, quiet=quiet, verbose=False)
        with out.progress("reading", "rows", before) as tell:
            tell(1, 2)
            tell(2, 2)
        return screen.getvalue()

    assert "reading" in shown(-1.0)
    assert "2/2" in shown(-1.0)
    assert shown(60.0) == ""
    assert "flow run" in shown(60.0, before="flow run")
    assert "2/2" in shown(-1.0, before="flow run")
    assert shown(-1.0, quiet=True) == ""


def test_a_table_has_the_figures_that_fit_the_terminal(strata: Strata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.Output, "width", 34)
    done = strata("replay", "small", "toy", "--set", "scale=1,2")
    assert done.stdout.splitlines()[0].split() == ["run", "scale", "ratio"]
    assert "2 more figures" in done.stderr


def test_amounts_are_told_in_units_that_suit_them() -> None:
    assert [bytes_text(n) for n in (0, 1023, 1536, 1 << 40)] == ["0 B", "1023 B", "1.5 KiB", "1.0 TiB"]
    assert [span_text(n) for n in (5, 1500, 23_600_000_000, 90_000_000_000_000)] == [
        "5 ns",
        "1.5 us",
        "23.6 s",
        "1.04 d",
    ]
    assert [text(v) for v in (None, True, 1234567, 0.5, 1e-9, 2.0, "a")] == [
        "",
        "yes",
        "1,234,567",
        "0.5",
        "1e-09",
        "2",
        "a",
    ]


@pytest.mark.parametrize("arguments", [("workloads", "phases"), ("stages", "toy")])
def test_keys_are_told_on_a_page_of_80_columns(strata: Strata, arguments: tuple[str, str]) -> None:
    shown = strata(*arguments).stdout.splitlines()
    assert max(map(len, shown)) <= 80
    keys = [each["key"] for each in json.loads(strata(*arguments, "--json").stdout)]
    assert [line.split()[0] for line in shown if line[0] != " "] == ["key", *keys]
