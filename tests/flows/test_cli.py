"""The command line: what it answers, where it prints it, how it ends."""

import json
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from flows import jobs
from tests.flows.conftest import Strata, add_trace
from traces.block import Block
from traces.errors import StoreError
from traces.formats import FORMATS
from traces.info import TraceInfo
from traces.making import write
from traces.memory import Memory
from traces.store import Store, part, read
from traces.table import schema_of

MSR = "128166372003061629,hm,0,Read,8192,4096,151\n128166372013061629,hm,0,Write,4096,4096,151\nnot,a,row\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "hm_0.csv"
    path.write_text(MSR * 20)
    return path


def test_ingest_says_what_it_read_and_what_it_refused(strata: Strata, recording: Path) -> None:
    done = strata("ingest", str(recording), "--format", "msr")
    assert done.exit_code == 0, done.output
    assert "40 rows" in done.stdout
    assert "msr" in done.stdout
    assert "refused rows" in done.stdout
    assert "not,a,row" in done.stdout
    assert "15 more" in done.stderr
    again = strata("ingest", str(recording), "--format", "msr")
    assert again.exit_code == 0
    assert "kept already" in again.stdout
    told = json.loads(strata("ingest", str(recording), "--format", "msr", "--json").stdout)
    assert told[0]["trace"] == "hm_0"
    assert told[0]["rows"] == 40
    assert told[0]["refused"] == 20
    assert not told[0]["fresh"]
    listed = json.loads(strata("sql", "SELECT trace, rows FROM traces ORDER BY trace", "--json").stdout)
    assert listed == [{"trace": "hm_0", "rows": 40}, {"trace": "small", "rows": 6}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "{tmp}/nowhere.csv"), "nowhere.csv"),
        (("ingest", "{tmp}/empty.csv"), "empty"),
        (("ingest", "{tmp}/empty.csv", "--format", "mrs"), "did you mean 'msr'?"),
        (("ingest", "{tmp}/empty.csv", "--action", "X"), "unknown event 'X'"),
        (("replay", "smal", "toy"), "did you mean 'small'?"),
        (("replay", "{tmp}/empty.csv", "toy"), "is a recording, not a trace yet"),
        (("replay", "small", "toi"), "did you mean 'toy'?"),
        (("replay", "small", "toy", "--set", "scal=2"), "did you mean 'scale'?"),
        (("replay", "small", "toy", "--set", "scale=200"), "scale: Input should be less than 100"),
        (("replay", "small", "toy", "--set", "policy=greedi"), "did you mean 'greedy'?"),
        (("replay", "small", "toy", "--set", "scale"), "KEY=VALUE"),
        (("replay", "small", "toy", "--set", "scale=1,,2"), "between commas is missing"),
        (("replay", "small", "toy", "--set", "scale=1", "--set", "scale=2"), "given twice"),
        (("replay", "small", "toy", "--config", "{tmp}/nowhere.toml"), "No such file"),
        (("replay", "small", "toy", "--config", "{tmp}/bad.toml"), "not TOML"),
        (("stages", "toi"), "did you mean 'toy'?"),
        (("workloads", "unifor"), "did you mean 'uniform'?"),
        (("generate", "unifor"), "did you mean 'uniform'?"),
        (("show", "smal"), "did you mean 'small'?"),
        (("sql", "SELECT nothing FROM traces"), '"nothing" not found'),
        (("sql", "SELEC 1"), "syntax error"),
        (("sql", "  "), "empty"),
        (("sql", "DROP TABLE runs"), "DROP is no question"),
    ],
)
def test_a_mistake_is_named_on_stderr_with_status_2(
    strata: Strata, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bad.toml").write_text("scale = = 2")
    done = strata(*(each.replace("{tmp}", str(tmp_path)) for each in arguments))
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""
    assert not list(tmp_path.glob("data/runs/*"))


def test_one_replay_tells_every_figure_with_its_meaning(strata: Strata) -> None:
    done = strata("replay", "small", "toy", "--set", "scale=2")
    assert done.exit_code == 0, done.output
    assert "ratio" in done.stdout
    assert "writes x scale / requests" in done.stdout
    assert "1.3333" in done.stdout


def test_a_grid_runs_every_combination_once(strata: Strata, store: Store, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('scale = [1, 2.5]\npolicy = "greedy"\n')
    arguments = ("replay", "small", "toy", "--config", str(tmp_path / "grid.toml"), "--set", "policy=greedy,fifo")
    told = json.loads(strata(*arguments, "--json").stdout)
    assert [(each["config"]["scale"], each["config"]["policy"]) for each in told] == [
        (1.0, "greedy"),
        (1.0, "fifo"),
        (2.5, "greedy"),
        (2.5, "fifo"),
    ]
    assert all(each["fresh"] and each["toy_summary"][0]["requests"] == 6 for each in told)
    assert len(list(store.root.glob("runs/run=*"))) == 4
    again = strata(*arguments)
    assert "4 of 4 runs were kept already" in again.stderr
    assert again.stdout.split()[:4] == ["run", "scale", "policy", "ratio"]
    more = strata("replay", "small", "toy", "--set", "scale=2.5,4")
    assert "1 of 2 runs were kept already" in more.stderr


def test_settings_that_come_to_the_same_are_one_run(strata: Strata) -> None:
    told = json.loads(strata("replay", "small", "toy", "--set", "limit=0,6", "--json").stdout)
    assert len(told) == 1


def test_a_grid_is_checked_before_anything_runs(strata: Strata, store: Store) -> None:
    done = strata("replay", "small", "toy", "--set", "scale=1,2,500")
    assert done.exit_code == 2
    assert "500" in done.stderr
    assert not list(store.root.glob("runs/*"))


def test_a_key_that_changes_nothing_is_refused(strata: Strata, store: Store) -> None:
    for keys in (["depth=5"], ["depth=5,6"], ["depth=4,5", "scale=1,2"], ["scale=77,1", "depth=5"]):
        done = strata("replay", "small", "toy", *(word for key in keys for word in ("--set", key)))
        assert done.exit_code == 2
        assert done.stderr == "error: depth has no effect unless policy is fifo\n"
    assert not list(store.root.glob("runs/*"))
    assert strata("replay", "small", "toy", "--set", "depth=5", "--set", "policy=fifo").exit_code == 0
    assert strata("replay", "small", "toy", "--set", "depth=4").exit_code == 0


def test_a_key_of_a_grid_is_at_its_default_where_it_changes_nothing(strata: Strata) -> None:
    arguments = ("replay", "small", "toy", "--set", "policy=greedy,fifo", "--set", "depth=1,32")
    done = strata(*arguments, "--json")
    assert done.exit_code == 0
    told = [(each["config"]["policy"], each["config"]["depth"]) for each in json.loads(done.stdout)]
    assert told == [("greedy", 4), ("fifo", 1), ("fifo", 32)]
    assert (
        "depth has no effect unless policy is fifo: runs of such settings have it at its default"
        in strata(*arguments).stderr
    )


def test_combinations_that_cannot_be_do_not_stop_the_others(strata: Strata) -> None:
    done = strata("replay", "small", "toy", "--set", "policy=greedy,fifo", "--set", "scale=2,77")
    assert done.exit_code == 2
    assert "1 of 4 runs could not be made: policy=fifo, scale=77: scale 77 does not go with fifo" in done.stderr
    assert json.loads(strata("sql", "SELECT count(*) AS n FROM toy_summary", "--json").stdout) == [{"n": 3}]
    alone = strata("replay", "small", "toy", "--set", "policy=fifo", "--set", "scale=77")
    assert alone.stderr == "error: scale 77 does not go with fifo\n"


def test_a_list_is_written_with_semicolons_and_told_in_few_words(strata: Strata) -> None:
    done = strata("replay", "small", "toy", "--set", "sizes=1,2")
    assert done.exit_code == 2
    assert "sizes: " in done.stderr
    assert "a list is written a;b;c (commas make a grid of runs)" in done.stderr
    told = strata("replay", "small", "toy", "--set", f"sizes={';'.join('8' * 1000)},1;2;3;4,5;6")
    assert [line.split("  ")[1].strip() for line in told.stdout.splitlines()[2:]] == [
        "8 (1000 times)",
        "1;2;3;... (4 values)",
        "5;6",
    ]
    assert "list: a;b;c" in strata("stages", "toy").stdout


def test_a_run_that_cannot_be_made_does_not_stop_the_others(strata: Strata) -> None:
    done = strata("replay", "small", "toy", "--set", "limit=2,50")
    assert done.exit_code == 2
    assert "1 of 2 runs could not be made: limit=2: toy: 6 requests are more than limit = 2" in done.stderr
    assert "0.6667" in done.stdout
    assert json.loads(strata("sql", "SELECT count(*) AS n FROM toy_summary", "--json").stdout) == [{"n": 1}]


def test_an_unexpected_error_ends_all_runs_and_is_one_line(
    strata: Strata, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(todo: object, workers: object, progress: object) -> None:
        raise ZeroDivisionError("of nothing\nat all")

    monkeypatch.setattr(jobs, "replay_together", broken)
    done = strata("replay", "small", "toy", "--set", "scale=1,2")
    assert done.exit_code == 1
    assert done.stderr.strip() == "error: ZeroDivisionError: of nothing (--verbose tells where)"
    with pytest.raises(ZeroDivisionError):
        raise strata("replay", "small", "toy", "--verbose").exception or AssertionError


def test_traces_are_listed_and_shown(strata: Strata, tmp_path: Path) -> None:
    assert "small" in strata("traces").stdout
    assert json.loads(strata("traces", "--json").stdout)[0]["notes"] == {"odd": 2}
    shown = strata("show", "block/small", "--rows", "2").stdout
    assert "first 2 rows" in shown
    assert "odd" in shown
    assert "disk" in shown
    told = json.loads(strata("--json", "show", "small", "--rows", "3").stdout)
    assert [row["time"] for row in told["first"]] == [0, 1, 2]
    nothing = strata("traces", where=tmp_path / "other")
    assert nothing.exit_code == 0
    assert nothing.stdout == ""
    assert "no traces" in nothing.stderr
    assert strata("traces", "-q", where=tmp_path / "other").stderr == ""


def test_a_name_of_several_kinds_lists_them(strata: Strata, store: Store) -> None:
    rows = pl.DataFrame(
        [{name: "L" if name == "raw" else 0 for name in schema_of(Memory)}], schema=schema_of(Memory), orient="row"
    )
    write(store, "small", TraceInfo(format="toy", kind="memory"), [rows], volumes=["a"])
    done = strata("show", "small")
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [["small", "block"], ["small", "memory"]]
    assert "strata show block/small" in done.stderr
    told = json.loads(strata("show", "small", "--json").stdout)
    assert [(each["kind"], each["rows"]) for each in told] == [("block", 6), ("memory", 1)]


def test_a_damaged_trace_does_not_take_the_others_with_it(strata: Strata, store: Store) -> None:
    store.trace_path("block", "bad").write_text("nonsense")
    for verb in (("traces",), ("sql", "SELECT trace FROM traces")):
        done = strata(*verb)
        assert done.exit_code == 0, done.output
        assert "small" in done.stdout
        assert "trace block/bad is left out: " in done.stderr
    assert json.loads(strata("sql", "SELECT trace FROM traces", "--json").stdout) == [{"trace": "small"}]


def test_show_tells_what_was_asked_and_notes_in_order(strata: Strata, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "it.iolog"
    log.write_text("fio version 2 iolog\n/f add\n/f open\n/f write 0 4096\n/f close\n")
    assert strata("ingest", str(log)).exit_code == 0
    assert "action=" not in strata("show", "it").stdout
    notes = {"mark at 113.6 s": 1, "mark at 13.1 s": 1, "common": 2, "1 more": 1}
    info = store.info("block", "small")
    write(
        store,
        "marked",
        TraceInfo(format="blkparse", options={"action": "Q"}, notes=notes),
        read(Block, store.trace_path("block", "small")),
        volumes=[volume.name for volume in info.volumes],
    )
    shown = strata("show", "marked").stdout
    assert "action=Q" in shown
    places = [shown.index(sentence) for sentence in ("common", "1 more", "mark at 13.1 s", "mark at 113.6 s")]
    assert places == sorted(places)


def test_a_run_is_shown_by_the_beginning_of_its_id(strata: Strata) -> None:
    told = json.loads(strata("replay", "small", "toy", "--set", "scale=1,2", "--json").stdout)
    run = told[1]["run"]
    shown = strata("show", run[:10])
    assert "toy_summary" in shown.stdout
    assert run in shown.stdout
    whole = json.loads(strata("show", run, "--json").stdout)
    assert whole["config"] == told[1]["config"]
    assert whole["tables"] == [{"table": "toy_summary", "rows": 1}]
    assert "begins the ids of 2 runs" in strata("show", "").stderr


def test_stages_formats_and_workloads_are_listed_with_their_keys(strata: Strata) -> None:
    assert "toy_summary" in strata("stages").stdout
    keys = json.loads(strata("stages", "toy", "--json").stdout)
    assert keys[0] == {
        "key": "scale",
        "type": "number",
        "default": "1.0",
        "bounds": "> 0, < 100",
        "meaning": "what counts are multiplied with",
    }
    assert json.loads(strata("stages", "toy", "--schema").stdout)["properties"]["scale"]["exclusiveMaximum"] == 100
    assert "msr" in strata("formats").stdout
    assert "uniform" in strata("workloads").stdout
    assert "requests" in strata("workloads", "uniform").stdout
    assert "properties" in json.loads(strata("workloads", "uniform", "--schema").stdout)


def test_sql_answers_as_a_table_csv_json_and_parquet(strata: Strata, tmp_path: Path) -> None:
    query = "SELECT time, raw, latency, 0.5::DOUBLE AS half FROM block WHERE trace = 'small' AND time < 2 ORDER BY 1"
    assert strata("sql", query).stdout.split()[:4] == ["time", "raw", "latency", "half"]
    assert strata("sql", query, "--csv").stdout == "time,raw,latency,half\n0,W,,0.5\n1,W,,0.5\n"
    assert json.loads(strata("sql", query, "--json").stdout)[1] == {"time": 1, "raw": "W", "latency": None, "half": 0.5}
    assert strata("sql", "--csv", stdin="SELECT 1 AS a").stdout == "a\n1\n"
    assert strata("sql", "-", "--csv", stdin="SELECT 1 AS a").stdout == "a\n1\n"
    out = tmp_path / "answer.parquet"
    assert strata("sql", query, "--parquet", str(out)).exit_code == 0
    assert pq.read_table(out).num_rows == 2
    assert not part(out).exists()
    nowhere = strata("sql", query, "--parquet", str(tmp_path / "no" / "answer.parquet"))
    assert nowhere.exit_code == 2
    assert "no rows (a)" in strata("sql", "SELECT 1 AS a WHERE false").stderr
    long = strata("sql", "FROM range(2000)")
    assert len(long.stdout.splitlines()) == 1002
    assert "first 1,000 rows" in long.stderr
    assert json.loads(strata("sql", "SELECT 'nan'::DOUBLE AS x, DATE '2024-01-02' AS d", "--json").stdout) == [
        {"x": None, "d": "2024-01-02"}
    ]


def test_sql_sees_what_came_since_the_catalog_was_built(strata: Strata, store: Store) -> None:
    count = ("sql", "SELECT count(*) AS n FROM traces", "--csv")
    assert strata(*count).stdout == "n\n1\n"
    add_trace(store, "another")
    assert strata(*count).stdout == "n\n2\n"


def test_sql_without_a_store_says_how_to_make_one(strata: Strata, tmp_path: Path) -> None:
    done = strata("sql", "SELECT 1", where=tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "no store at" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_options_may_stand_before_or_after_the_verb(strata: Strata, store: Store) -> None:
    assert strata("--json", "traces").stdout == strata("traces", "--json").stdout
    assert strata("traces", "--json", "--store", str(store.root), where=store.root / "nowhere").stdout != "[]\n"
    assert strata("--version").stdout.strip() == "0.1.0"


def test_the_environment_names_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    monkeypatch.setenv("STRATA_STORE", str(store.root))
    assert "small" in CliRunner().invoke(app, ["traces"]).stdout


def test_completion_knows_names(strata: Strata, store: Store) -> None:
    from types import SimpleNamespace

    from flows import cli, verbs

    root = SimpleNamespace(params={"store": store.root})
    context = SimpleNamespace(find_root=lambda: root)
    assert verbs.trace_names(context, "sm") == ["small"]  # type: ignore[arg-type]
    assert cli._stages("to") == ["toy"]
    assert "msr" in cli._formats("m")
    assert cli._workloads("unif") == ["uniform"]


def test_the_catalog_opens_with_plain_duckdb(strata: Strata, store: Store) -> None:
    strata("replay", "small", "toy")
    with duckdb.connect(store.catalog, read_only=True) as db:
        assert db.execute("SELECT ratio FROM toy_summary").fetchall() == [(pytest.approx(2 / 3),)]


def test_an_old_catalog_serves_where_no_new_one_can_be_made(
    strata: Strata, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    strata("sql", "SELECT 1")
    add_trace(store, "another")

    def unwritable(_: Store) -> None:
        raise StoreError("no permission")

    monkeypatch.setattr("flows.catalog.publish", unwritable)
    done = strata("sql", "SELECT count(*) AS n FROM traces", "--csv")
    assert done.exit_code == 0
    assert done.stdout == "n\n1\n"
    assert "cannot be made anew: no permission" in done.stderr
    store.catalog.unlink()
    assert strata("sql", "SELECT 1").exit_code == 2


def test_help_of_ingest__names_what_readers_ask_for(strata: Strata) -> None:
    told = strata("ingest", "--help").stdout
    asking = [name for name, each in FORMATS.items() if "columns" in each.declares]
    assert len(asking) >= 3
    assert [name for name in asking if name not in told] == []
