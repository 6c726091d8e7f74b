"""The verbs for traces in the store: what they make, show and refuse."""

import json
from pathlib import Path

import pytest

from tests.flows.conftest import Strata, add_trace
from traces.store import Store

pytestmark = pytest.mark.kernels


def test_cut_sample_and_rescale_make_traces(strata: Strata, store: Store) -> None:
    done = strata("cut", "small", "--skip", "2", "--since", "1ns")
    assert done.exit_code == 0, done.output
    assert "cut:small" in done.stdout
    assert store.info("block", "small-cut").rows == 4
    assert "kept already" in strata("cut", "small", "--skip", "2", "--since", "1ns").stdout
    told = json.loads(strata("sample", "small", "--rate", "1", "--name", "all", "--json").stdout)
    assert (told[0]["trace"], told[0]["rows"], told[0]["fresh"]) == ("all", 6, True)
    assert told[0]["options"]["sampled"] == {"rate": 1.0, "factor": 1.0, "seeds": [0]}
    told = json.loads(strata("rescale", "small", "3/2", "--json").stdout)
    assert (told[0]["trace"], told[0]["span"]) == ("small-rescale", 7)
    names = json.loads(strata("sql", "SELECT trace, rows FROM traces ORDER BY 1", "--json").stdout)
    assert [row["trace"] for row in names] == ["all", "small", "small-cut", "small-rescale"]


def test_merge_makes_one_of_many(strata: Strata, store: Store) -> None:
    add_trace(store, "other", rows=3)
    done = strata("merge", "small", "other", "--align", "start")
    assert done.exit_code == 0, done.output
    assert [volume.name for volume in store.info("block", "small+other").volumes] == ["small:disk", "other:disk"]
    told = strata("merge", "small", "other", "--align", "start", "--volumes", "shared", "--replace", "--json")
    assert json.loads(told.stdout)[0]["volumes"][0]["requests"] == 9


def test_profile_tells_every_figure_with_its_meaning(strata: Strata, store: Store) -> None:
    assert strata("show", "small").stderr == ""  # the hint is for people
    assert json.loads(strata("show", "small", "--json").stdout)["profile"] is None
    done = strata("profile", "small")
    assert done.exit_code == 0, done.output
    assert "footprint: distinct 4 KiB pages" in done.stdout
    assert "top regions" in done.stdout
    told = json.loads(strata("profile", "block/small", "--json").stdout)
    assert not told["fresh"]
    assert told["profile"][0]["pages"] == 6
    assert told["profile"][0]["volume"] is None
    assert told["profile"][0]["read_latency_p50"] is None
    assert told["regions"][0]["reads"] + told["regions"][0]["writes"] == 6
    assert sum(row["requests"] for row in told["operations"]) == 6
    assert "operations" in done.stdout
    assert json.loads(strata("show", "small", "--json").stdout)["profile"] == told["profile"]
    assert "footprint" in strata("show", "small").stdout
    sql = "SELECT p.kind, p.trace, p.volume, p.pages, sum(w.requests)::INT AS requests FROM trace_profile p "
    sql += "JOIN trace_windows w USING (kind, trace) WHERE p.volume IS NULL GROUP BY ALL"
    assert json.loads(strata("sql", sql, "--json").stdout) == [
        {"kind": "block", "trace": "small", "volume": None, "pages": 6, "requests": 6}
    ]
    assert json.loads(strata("sql", "SELECT count(*) AS n FROM trace_regions", "--json").stdout) == [{"n": 1}]


def test_a_profile_of_what_a_trace_was_is_not_shown(strata: Strata, store: Store) -> None:
    strata("profile", "small")
    add_trace(store, "small", rows=4)
    assert json.loads(strata("sql", "SELECT count(*) AS n FROM trace_profile", "--json").stdout) == [{"n": 0}]
    assert json.loads(strata("show", "small", "--json").stdout)["profile"] is None
    strata("profile", "small")
    assert json.loads(strata("sql", "SELECT max(requests) AS n FROM trace_profile", "--json").stdout) == [{"n": 4}]


def test_show_and_ingest_say_which_stages_a_trace_feeds(strata: Strata, tmp_path: Path) -> None:
    shown = strata("show", "small").stdout
    assert "can be fed" in shown
    assert "no latencies" in shown
    told = json.loads(strata("show", "small", "--json").stdout)
    assert {"stage": "toy", "fit": "yes", "because": []} in told["fitness"]
    log = tmp_path / "it.iolog"
    log.write_text("fio version 2 iolog\n/f add\n/f open\n/f write 0 4096\n/f write 4096 4096\n/f close\n")
    done = strata("ingest", str(log))
    assert "ftl.page_mapped (no times)" in done.stdout
    told = json.loads(strata("ingest", str(log), "--json").stdout)
    (ftl,) = [each for each in told[0]["fitness"] if each["stage"] == "ftl.page_mapped"]
    assert ftl == {"stage": "ftl.page_mapped", "fit": "with care", "because": ["no times"]}
    assert {each["fact"] for each in told[0]["facts"]} == {"no times", "no reads", "no latencies"}


def test_export_tells_what_is_not_carried(strata: Strata, tmp_path: Path) -> None:
    done = strata("export", "small", "fio-iolog", str(tmp_path / "it.iolog"))
    assert done.exit_code == 0, done.output
    assert "times, cut to microseconds" in done.stdout
    assert (tmp_path / "it.iolog").read_text().startswith("fio version 3 iolog\n")
    told = json.loads(strata("export", "small", "mqsim", str(tmp_path / "it.trace"), "--json").stdout)
    assert (told["written"], told["lost"]) == (6, {})
    again = ("export", "small", "csv", str(tmp_path / "it.iolog"))
    assert "exists; --replace puts the export in its place" in strata(*again).stderr
    assert strata(*again, "--replace").exit_code == 0
    assert (tmp_path / "it.iolog").read_text().startswith("time,op,volume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cut", "smal"), "did you mean 'small'?"),
        (("cut", "small", "--since", "soon"), "since: 'soon' is no amount"),
        (("cut", "small", "--since", "1h"), "would hold no record"),
        (("cut", "small", "--volume", "dis"), "did you mean 'disk'?"),
        (("cut", "small", "--name", "small"), "exists, made otherwise"),
        (("sample", "small", "--rate", "2"), "rate: "),
        (("rescale", "small", "0"), "must be above 0"),
        (("merge", "small", "--align", "start"), "one trace of two or more"),
        (("merge", "small", "small", "--align", "never"), "align: 'never' is not one of them"),
        (("profile", "smal"), "did you mean 'small'?"),
        (("export", "small", "fio", "x"), "did you mean 'fio-iolog'?"),
        (("export", "small", "csv", "no/where/x"), "not a file in a folder that exists"),
    ],
)
def test_a_mistake_is_named_on_stderr_with_status_2(strata: Strata, arguments: tuple[str, ...], message: str) -> None:
    done = strata(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stdout == ""
