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


def test_traces_drop_columns_that_a_terminal_has_no_room_for(strata: Strata, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = strata("traces").stdout.splitlines()
    assert whole[0].split()[-1] == "refused"
    monkeypatch.setattr(terminal.Output, "width", 80)
    done = strata("traces")
    shown = done.stdout.splitlines()
    assert len(shown) == len(whole)
    assert shown[0].split()[:4] == ["trace", "kind", "format", "rows"]
    assert "refused" not in shown[0]
    assert "more columns" in done.stderr
    assert max(map(len, shown)) <= 80
    monkeypatch.setattr(terminal.Output, "width", 30)
    assert strata("traces").stdout.splitlines()[0].split() == ["trace", "kind", "rows"]


def test_long_text_is_cut_to_a_line_of_the_terminal(strata: Strata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.Output, "width", 80)
    query = "SELECT 1 AS n, repeat('x', 700) AS settings"
    done = strata("sql", query)
    assert done.stdout.count("x") == 79
    assert "longer than a line is cut" in done.stderr
    assert "x" * 700 in strata("sql", query, "--json").stdout
    assert "x" * 700 in strata("sql", query, "--csv").stdout


def test_hints_are_for_people(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", told := Screen())
    out = terminal.Output(store.root, json=False, quiet=False, verbose=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    out.hint("do this next")
    assert told.getvalue() == ""
    monkeypatch.setattr("sys.stdout", Screen())
    out.hint("do this next")
    assert "do this next" in told.getvalue()


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
