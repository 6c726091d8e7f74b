"""Macros of the catalog, and tables of many volumes."""

import json
import re

import pytest

from tests.flows.conftest import Strata
from traces.block import Op


def test_the_macros_answer(strata: Strata) -> None:
    strata("replay", "small", "toy", "--set", "scale=1,2")
    sql = "SELECT run_config(run, 'scale') AS s, run_config(run, 'nothing') AS n FROM runs ORDER BY s"
    assert json.loads(strata("sql", sql, "--json").stdout) == [{"s": "1.0", "n": None}, {"s": "2.0", "n": None}]
    sql = "SELECT key, value FROM run_settings() WHERE value <> '6' ORDER BY ALL"
    assert len(json.loads(strata("sql", sql, "--json").stdout)) == 8
    (window,) = json.loads(strata("sql", "FROM load('small')", "--json").stdout)
    assert window == {"second": 0.0, "reads": 2, "writes": 4, "bytes_read": 8192, "bytes_written": 16384}
    sql = "SELECT settings FROM run_differences('small', 'toy') ORDER BY settings"
    assert json.loads(strata("sql", sql, "--json").stdout) == [{"settings": "scale=1.0"}, {"settings": "scale=2.0"}]
    sql = "SELECT settings FROM run_differences('small', 'toy', but := ['scale'])"
    assert json.loads(strata("sql", sql, "--json").stdout) == [{"settings": ""}] * 2
    strata("replay", "small", "toy", "--set", "sizes=1;2;3;4;5,7;8")
    sql = "SELECT DISTINCT settings FROM run_differences('small', 'toy', but := ['scale']) ORDER BY settings"
    told = [row["settings"] for row in json.loads(strata("sql", sql, "--json").stdout)]
    assert told == ["sizes=1;... (5 values, sum 15)", "sizes=1;2", "sizes=7;8"]
    assert strata("sql", "FROM wa_curve('small')").exit_code == 0


def test_op_name_names_every_operation(strata: Strata) -> None:
    told = json.loads(
        strata("sql", f"SELECT op_name(o) AS n FROM unnest({[int(op) for op in Op]}) t(o)", "--json").stdout
    )
    assert [row["n"] for row in told] == [op.name.lower().replace("_", " ") for op in Op]


@pytest.mark.kernels
def test_many_volumes__are_told_in_few_rows_and_together(strata: Strata) -> None:
    made = ("--set", "volumes=30", "--set", "requests=3000", "--set", "capacity=256KiB", "--set", "reads=0.2")
    assert strata("generate", "uniform", "--name", "many", *made).exit_code == 0
    done = strata("replay", "many", "ftl.page_mapped", "--set", "spare=0.2,0.4", "--set", "block_pages=8")
    assert done.exit_code == 0, done.output
    assert "40 more rows" in done.stderr
    assert "grown_to" not in done.stderr
    small = ("--set", "spare=0.05", "--set", "block_pages=8", "--set", "frontiers=separate")
    done = strata("replay", "many", "ftl.page_mapped", *small)
    assert re.search("run [0-9a-f]{8}: grown_to in 30 of 30 rows, at most 456, volume 0 - pages from", done.stderr)
    told = json.loads(strata("sql", "FROM wa_fleet('many')", "--json").stdout)
    assert [(row["spare"], row["volumes"]) for row in told] == [(0.05, 30), (0.2, 30), (0.4, 30)]
    assert ["frontiers=separate" in row["settings"] for row in told] == [True, False, False]
    assert all("spare" not in row["settings"] for row in told)
    curve = json.loads(strata("sql", "SELECT DISTINCT settings, run FROM wa_curve('many')", "--json").stdout)
    assert {row["run"]: row["settings"] for row in curve} == {row["run"]: row["settings"] for row in told}
    sql = "SELECT run, sum(programs) / sum(host_programs) AS wa, min(wa) AS low FROM ftl_summary GROUP BY run"
    rows = {row["run"]: row for row in json.loads(strata("sql", sql, "--json").stdout)}
    for row in told:
        assert row["wa"] == pytest.approx(rows[row["run"]]["wa"])
        assert row["wa_min"] == rows[row["run"]]["low"] <= row["wa"] <= row["wa_max"]
    assert told[1]["wa"] > told[2]["wa"] > 1
