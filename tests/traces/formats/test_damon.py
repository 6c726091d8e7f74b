from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accesses import columns, facts, lines_kept, one
from tests.damage import damaged, read
from traces.formats import _template
from traces.formats.damon import FORMAT
from traces.memory import Op

pytestmark = pytest.mark.kernels

OLD = (
    "       kdamond.0  4452 [000] 82820.952659: damon:damon_aggregated: target_id=18446623435582458880 nr_regions=2 "
    "94253027950592-94253031862272: 0\n"
    "       kdamond.0  4452 [000] 82820.952663: damon:damon_aggregated: target_id=18446623435582458880 nr_regions=2 "
    "94253031862272-94253040992256: 20\n"
)
NEW = "    kdamond.0 46568 [027] 79357.842179: damon:damon_aggregated: target_id=0 nr_regions=1 4096-12288: 7 864\n"
FTRACE = (
    "# tracer: nop\n"
    "        kdamond.0-78459   [015] ..... 116363.596202: damon_aggregated: target_id=1 nr_regions=1 8192-12288: 3 1\n"
    "CPU:3 [LOST 12 EVENTS]\n"
    "          my task-1   [015] ..... 116363.596203: sched_switch: prev_comm=x\n"
)
SAID = ("comments", "headers", "events other than damon_aggregated")


def test_regions__are_sampled(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, OLD + NEW)
    assert columns(rows, "time", "op", "space", "address", "size", "accesses") == [
        (82_820_952_659_000, Op.SAMPLED, 0, 94253027950592, 3911680, 0),
        (82_820_952_663_000, Op.SAMPLED, 0, 94253031862272, 9129984, 20),
        (79_357_842_179_000, Op.SAMPLED, 1, 4096, 8192, 7),
    ]
    assert report.volumes == {"target 18446623435582458880": 0, "target 0": 1}
    assert report.clock == "monotonic"
    assert report.notes == {"regions with an age, which is not kept": 1}


def test_ftrace__and_what_else_stands_in_it(tmp_path: Path) -> None:
    rows, report = one(FORMAT, tmp_path, FTRACE)
    assert columns(rows, "time", "address", "size", "accesses") == [(116_363_596_202_000, 8192, 4096, 3)]
    assert report.notes == {
        "comments": 1,
        "events lost, as the recording says": 12,
        "events other than damon_aggregated": 1,
        "regions with an age, which is not kept": 1,
    }


def test_what_is_no_region__is_refused(tmp_path: Path) -> None:
    bad = NEW.replace("4096-12288", "12288-4096") + "what\n" + NEW.replace("nr_regions=1", "nr_regions=x")
    rows, report = one(FORMAT, tmp_path, NEW + bad)
    assert (rows.height, report.refused) == (1, 2)
    assert sorted(report.take_refused()["reason"])[1] == "the region ends before it begins"
    assert report.notes["events other than damon_aggregated"] == 1
    rows, report = one(FORMAT, tmp_path, NEW.replace("4096-12288", "12288-4096"))
    assert (rows.height, report.volumes) == (0, {})


def test_facts(shared: Path) -> None:
    known = facts(shared, "damon/perf.data.script.zst")
    rows, report = read(FORMAT, [shared / "public-traces/damon/perf.data.script.zst"])
    assert (rows.height, report.refused, report.notes) == (known["records"], 0, {})
    assert len(report.volumes) == known["targets"]
    assert (rows["accesses"] == 0).sum() == known["nr_accesses_zero"]
    assert rows["accesses"].max() == known["nr_accesses_max"]
    assert rows["size"].sum() == known["sum_region_bytes"]
    assert rows["time"].max() - rows["time"].min() == round(known["span_s"] * 1e9)  # type: ignore[operator]
    assert (rows["address"] + rows["size"]).max() == int(known["max_addr"], 16)
    assert (rows["time"].diff().drop_nulls() < 0).sum() == known["odd"]["timestamp_decreases"]
    falls = rows["address"].cast(int).diff().drop_nulls() < 0
    assert falls.sum() + 1 == known["snapshots_by_address_reset"]


def test_sniff() -> None:
    for text in (OLD, NEW, FTRACE):
        assert FORMAT.sniff("x", text.encode()) is not None
    assert FORMAT.sniff("x", FTRACE.encode().replace(b"damon_agg", b"x")) is None


def test_chunks__change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    want, report = one(FORMAT, tmp_path, (OLD + FTRACE + NEW) * 4)
    monkeypatch.setattr(_template, "_CHUNK", 300)
    rows, again = one(FORMAT, tmp_path, (OLD + FTRACE + NEW) * 4)
    assert rows.equals(want)
    assert (again.notes, again.volumes) == (report.notes, report.volumes)


@settings(max_examples=150)
@given(data=damaged((OLD + NEW).encode() * 2))
def test_damage__is_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lines_kept(FORMAT, tmp_path_factory.mktemp("trace") / "x", data, SAID)
