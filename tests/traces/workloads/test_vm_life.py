"""A virtual machine's life hangs together: what it promises is asked of its traces alone."""

from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.catalog import publish
from tests.generated import OTHERS
from traces import catalog
from traces.block import Op as BlockOp
from traces.config import configured
from traces.dma import Event
from traces.errors import ConfigError, TraceError
from traces.kinds import KINDS
from traces.label import Category
from traces.memory import Op
from traces.store import Store, read
from traces.table import schema_of
from traces.truth import TRUTHS
from traces.workloads.vm_life import WORLD, VmLife
from traces.workloads.world import Era, Part
from traces.workloads.worlds import generate

pytestmark = pytest.mark.kernels

PAGE = 4096
SMALL = OTHERS["vm-life"]

Life = tuple[dict[str, pl.DataFrame], dict[tuple[str, str], pl.DataFrame], list[Era]]


def lived(asked: dict[str, Any], rows: int = 1 << 18) -> Life:
    """Rows by kind, truth by kind and table, eras."""
    parts: dict[str, list[pl.DataFrame]] = defaultdict(list)
    truth: dict[tuple[str, str], list[pl.DataFrame]] = defaultdict(list)
    eras = []
    for each in WORLD.parts(configured(VmLife, asked), rows):
        if isinstance(each, Era):
            eras.append(each)
            continue
        assert isinstance(each, Part)
        rows_of = each.rows.with_columns(pl.col("time").cast(pl.Int64), pl.col(pl.Categorical, pl.Enum).cast(pl.String))
        parts[each.kind].append(rows_of.select(schema_of(KINDS[each.kind]).keys()))
        for table, told in each.truth.items():
            truth[each.kind, table].append(told.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)))
    return (
        {kind: pl.concat(each) for kind, each in parts.items()},
        {key: pl.concat(each) for key, each in truth.items()},
        eras,
    )


@pytest.fixture(scope="module")
def life() -> Life:
    """One small life, for all to look at."""
    return lived(SMALL)


def test_eras__follow_each_other(life: Life) -> None:
    rows, _, eras = life
    assert [era.label for era in eras] == ["boot", "work", "migrate", "blackout", "work", "crash", "resume", "work"]
    assert eras[0].began == 0
    assert [era.ended for era in eras[:-1]] == [era.began for era in eras[1:]]
    lengths = {era.label: era.ended - era.began for era in eras}
    begun = rows["block"].filter(pl.col("time") <= eras[3].began, pl.col("latency") >= 0)
    drained = begun.select((pl.col("time").cast(pl.Int64) + pl.col("latency")).max()).item()
    assert eras[3].ended <= max(eras[3].began + 2_000_000, drained)
    assert lengths["crash"] == 50_000_000


def test_rows__are_of_their_kind_in_time_order(life: Life) -> None:
    rows, _, eras = life
    assert set(rows) == set(WORLD.kinds)
    for kind, each in rows.items():
        assert set(each.columns) == set(schema_of(KINDS[kind]))
        assert each["time"].is_sorted()
        assert each["time"][-1] <= eras[-1].ended


def test_guest__does_nothing_while_it_stands_still_or_has_no_power(life: Life) -> None:
    rows, _, eras = life
    for era in eras:
        for kind in ("memory", "block", "message"):
            if era.label == "blackout":
                during = rows[kind].filter(pl.col("time").is_between(era.began, era.ended, closed="none"))
                assert during.is_empty() or kind == "message", (kind, era)
            if era.label == "crash":
                assert rows[kind].filter(pl.col("time").is_between(era.began + 1, era.ended - 1)).is_empty()
    assert rows["dma"].filter(pl.col("time").is_between(eras[5].began + 1, eras[5].ended - 1)).is_empty()


def test_causes__come_before_what_they_lead_to(life: Life) -> None:
    rows, truth, _ = life
    for (kind, table), told in truth.items():
        if table != "causes":
            continue
        assert told["row"].is_sorted()
        times = rows[kind]["time"].gather(told["row"])
        for cause in told["cause_kind"].unique():
            its = (told["cause_kind"] == cause).arg_true()
            assert (rows[cause]["time"].gather(told["cause_row"].gather(its)) <= times.gather(its)).all()


def test_causes__are_known_of_all_that_does_not_come_by_itself(life: Life) -> None:
    rows, truth, _ = life
    for kind in ("block", "dma", "message"):
        assert truth[kind, "causes"]["row"].to_list() == list(range(rows[kind].height))
    dirty = (rows["memory"]["op"] == Op.DIRTY).arg_true()
    assert set(truth["memory", "causes"]["row"]) == set(dirty)
    assert set(truth["dma", "causes"]["cause_kind"]) == {"block"}
    told = truth["block", "causes"]["cause_kind"].value_counts()
    assert set(told["cause_kind"]) == {"memory", "block", "config"}


def test_dma__goes_through_mappings_that_live(life: Life) -> None:
    rows, _, eras = life
    crash = next(era.began for era in eras if era.label == "crash")
    live: dict[int, int] = {}
    accesses = 0
    for time, event, address, size, target in rows["dma"].select("time", "event", "address", "size", "target").rows():
        if time > crash:
            live, crash = {}, 1 << 62
        if event == Event.MAP:
            assert address not in live
            live[address] = target
        elif event == Event.ACCESS:
            assert live[address] == target
            accesses += 1
        elif event == Event.UNMAP:
            for each in range(address, address + size, PAGE):
                del live[each]
    assert accesses > 1000


def test_dma__carries_every_byte_of_every_command_once(life: Life) -> None:
    rows, truth, _ = life
    cause = truth["dma", "causes"].rename({"cause_row": "command"}).select("row", "command")
    dma = rows["dma"].with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64)).join(cause, on="row")
    moved = dma.filter(pl.col("event") == Event.ACCESS).group_by("command").agg(pl.col("size").sum(), pl.col("write"))
    mapped = dma.filter(pl.col("event") == Event.MAP).group_by("command").agg(pl.col("size").sum().alias("mapped"))
    block = rows["block"].with_row_index("command").with_columns(pl.col("command").cast(pl.UInt64))
    joined = block.join(moved, on="command", how="left").join(mapped, on="command", how="left").fill_null(0)
    assert (joined["length"] == joined["mapped"]).all()
    done = joined.filter(pl.col("latency") >= 0)
    assert (done["length"] == done["size"]).all()
    for op, length, write in done.select("op", "length", "write").rows():
        assert (write or []) == [int(op == BlockOp.READ)] * (length // PAGE)


def test_drive__serves_one_command_after_the_other(life: Life) -> None:
    rows, _, _ = life
    ends = rows["block"].filter(pl.col("latency") >= 0).select(pl.col("time").cast(pl.Int64) + pl.col("latency"))
    assert ends.to_series().is_sorted()


def test_messages__tell_of_flushes_that_have_completed(life: Life) -> None:
    rows, truth, _ = life
    flushes = rows["block"].gather(truth["message", "causes"]["cause_row"].to_numpy())
    assert set(flushes["op"]) == {BlockOp.FLUSH}
    assert (flushes["time"].cast(pl.Int64) + flushes["latency"]).to_list() == rows["message"]["time"].to_list()
    assert rows["message"]["sequence"].to_list() == list(range(rows["message"].height))
    assert rows["message"].filter(pl.col("seen") >= 0)["seen"].is_between(1, 50_000).all()


def test_reads__are_of_pages_that_were_not_cached(life: Life) -> None:
    """A page that was read and not written since is not read again before others had to make room."""
    rows, _, eras = life
    at_work = rows["block"].filter(pl.col("time") >= eras[0].ended, pl.col("op") == BlockOp.READ)
    first = at_work.filter(pl.col("length").cum_sum() <= 1 << 20)  # half of the cache
    runs = first.select("address", "length").rows()
    pages = [page for begin, length in runs for page in range(begin, begin + length, PAGE)]
    assert len(pages) == len(set(pages)) > 200


def test_image__is_read_in_order_at_every_boot(life: Life) -> None:
    rows, _, eras = life
    for era in (eras[0], eras[6]):
        image = rows["block"].filter(pl.col("time").is_between(era.began, era.ended), pl.col("address") < 1 << 20)
        assert image["address"].to_list() == list(range(0, 1 << 20, 1 << 17))
        assert set(image["op"]) == {BlockOp.READ}


def test_migration__tells_every_page_written_since_the_round_before(life: Life) -> None:
    """Of each window between two looks: exactly the pages that stores and DMA wrote."""
    rows, _, eras = life
    migrate, blackout = eras[2], eras[3]
    dirty = rows["memory"].filter(pl.col("op") == Op.DIRTY)
    looks = dirty["time"].unique().sort().to_list()
    assert looks[-1] in (blackout.began, blackout.ended)
    assert len(looks) >= 2
    began = migrate.began
    for look in looks:
        inside = pl.col("time").is_between(began, look, closed="right")
        stored = rows["memory"].filter(inside, pl.col("op") == Op.STORE)["address"] // PAGE
        loaded = rows["dma"].filter(inside, pl.col("event") == Event.ACCESS, pl.col("write") == 1)["target"] // PAGE
        runs = dirty.filter(pl.col("time") == look)
        told = {
            page
            for begin, size in runs.select("address", "size").rows()
            for page in range(begin // PAGE, (begin + size) // PAGE)
        }
        wrote = set(stored) | set(loaded)
        assert told == wrote, (look, len(told ^ wrote))
        assert runs["accesses"].sum() == len(told)
        began = look


def test_crash__loses_what_was_not_committed_and_nothing_else(life: Life) -> None:
    """By the traces alone: a page's last store before the crash is lost unless a flush or its own write covers it."""
    rows, truth, eras = life
    crash = eras[5].began
    small = {key: int(SMALL[key].removesuffix("MiB")) << 20 for key in ("memory", "cache", "image", "journal", "files")}
    cached = pl.col("address").is_between(small["memory"], small["memory"] + small["cache"], closed="left")
    before = rows["memory"].with_row_index("row").filter(pl.col("time") <= crash)
    stores = before.filter(cached, pl.col("op") == Op.STORE)
    lost = truth["memory", "records"]
    assert lost.height > 0
    assert set(lost["truth"]) == {"lost in a crash: stored and not committed"}
    assert set(lost["row"]) <= set(stores["row"])
    log = pl.col("address").is_between(small["image"], small["image"] + small["journal"], closed="left")
    begun = rows["block"].filter(pl.col("time") <= crash)
    flushed = begun.filter(pl.col("op") == BlockOp.FLUSH, pl.col("latency") >= 0)
    assert flushed.height > 2
    logged = begun.filter(log, pl.col("op") == BlockOp.WRITE, pl.col("time") <= flushed["time"][-1])
    assert before.gather(lost["row"].to_numpy())["time"].min() > logged["time"][-1]


def test_crash__commands_that_never_completed_are_told(life: Life) -> None:
    rows, truth, _ = life
    without = rows["block"].with_row_index("row").filter(pl.col("latency") < 0)["row"].to_list()
    assert truth["block", "records"]["row"].to_list() == without


def test_resume__writes_back_what_the_journal_holds(life: Life) -> None:
    rows, _, eras = life
    during = rows["block"].filter(pl.col("time").is_between(eras[6].began, eras[6].ended, closed="left"))
    written = during.filter(pl.col("op") == BlockOp.WRITE)
    read = during.filter(pl.col("op") == BlockOp.READ, pl.col("address") >= 1 << 20)
    assert written.height > 0
    assert read["length"].sum() == written["length"].sum()


@pytest.mark.parametrize("rows", [300, 5000])
def test_batches__change_nothing(life: Life, rows: int) -> None:
    again = lived(SMALL, rows)
    for kind, each in life[0].items():
        assert again[0][kind].equals(each), kind
    for key, told in life[1].items():
        assert again[1][key].equals(told), key
    assert again[2] == life[2]


def test_accesses__have_the_rate_and_the_shares(life: Life) -> None:
    rows, _, eras = life
    work = sum(era.ended - era.began for era in eras if era.label in ("work", "migrate"))
    own = rows["memory"].filter(pl.col("address") < 4 << 20, pl.col("op") != Op.DIRTY)
    assert own.height == pytest.approx(30_000 * 0.7 * work / 1e9, rel=0.15)  # processors wait for the drive at times
    assert (own["op"] == Op.STORE).mean() == pytest.approx(0.3, abs=0.02)
    assert own["cpu"].n_unique() == 2


def test_make__keeps_a_trace_of_every_kind(tmp_path: Path, life: Life) -> None:
    rows, truth, eras = life
    store = Store(tmp_path)
    made = generate(store, "vm-life", "vm", SMALL)
    assert [each.kind for each in made] == list(WORLD.kinds)
    for each in made:
        kept = pl.concat(read(KINDS[each.kind], each.path))
        assert kept.height == rows[each.kind].height
        assert (kept["time"] + each.info.origin).to_list() == rows[each.kind]["time"].to_list()
        labels = pl.concat(read(TRUTHS["labels"], store.truth_path("labels", each.kind, "vm")))
        told = list(zip(labels["began"] + each.info.origin, labels["maker"], strict=True))
        for began, maker in told[1:]:
            assert (began, maker) in [(era.began, f"vm-life {era.label}") for era in eras]
        words = [maker.removeprefix("vm-life ") for maker in labels["maker"]]
        if each.kind == "block":
            words = [Category.READ_SCAN if word == "boot" else Category.UNKNOWN for word in words]
        assert labels["label"].to_list() == words
        if (each.kind, "causes") in truth:
            causes = pl.concat(read(TRUTHS["causes"], store.truth_path("causes", each.kind, "vm")))
            assert causes["cause_row"].to_list() == truth[each.kind, "causes"]["cause_row"].to_list()
    again = generate(store, "vm-life", "vm", SMALL)
    assert not any(each.fresh for each in again)
    with pytest.raises(TraceError, match="made with other settings: seed = 5, not 6"):
        generate(store, "vm-life", "vm", SMALL | {"seed": 6})


def test_causes_of__joins_rows_to_what_led_to_them(tmp_path: Path, life: Life) -> None:
    rows, truth, _ = life
    store = Store(tmp_path)
    generate(store, "vm-life", "vm", SMALL)
    generate(store, "vm-life", "other", SMALL | {"seed": 6})
    publish(store)
    with catalog.connect(store) as db:
        for kind in ("block", "dma", "message", "memory"):
            sql = f"""SELECT "row", cause_kind, cause_row, time, later FROM causes_of('vm', '{kind}')"""
            told = pl.DataFrame(pl.from_arrow(db.sql(sql).to_arrow_table()))
            want = truth[kind, "causes"].sort("row", "cause_kind", "cause_row")
            for column in ("row", "cause_kind", "cause_row"):
                assert told[column].to_list() == want[column].to_list(), (kind, column)
            times = rows[kind]["time"].gather(want["row"])
            assert (told["time"] + store.info(kind, "vm").origin).to_list() == times.to_list()
            causes = [rows[k]["time"][row] for k, row in want.select("cause_kind", "cause_row").rows()]
            assert (times - pl.Series(causes)).to_list() == told["later"].to_list()
        assert db.sql("FROM causes_of('vm', 'text')").fetchall() == []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"life": "work 1s; boot"}, "begins with boot, not with 'work 1s'"),
        ({"life": "work 1s"}, "^life: it begins with boot, not with 'work 1s'$"),
        ({"life": ""}, "^life: it begins with boot, not with nothing$"),
        ({"life": "dance"}, "^life: 'dance' is no phase of a life: boot, work TIME, migrate, crash or resume$"),
        ({"life": "boot; crash"}, "crash comes after work, not after boot"),
        ({"life": "boot; work 1s; resume"}, "resume comes after crash, not after work"),
        (
            {"life": "boot; work 1s; crash; work 1s"},
            "work comes after boot or resume or migrate or work, not after crash",
        ),
        ({"life": "boot; sleep 1s"}, "'sleep 1s' is no phase of a life: boot, work TIME, migrate, crash or resume"),
        ({"life": "boot; work 1x"}, "1x"),
        ({"memory": 16_777_217}, "memory is 16777217 bytes: not whole pages of 4096"),
        ({"cache": "1GiB", "files": "1MiB"}, "cache .* is larger than all files"),
        ({"readahead": "256KiB"}, "readahead .* is more than one command"),
    ],
)
def test_config__refuses_lives_that_cannot_be(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured(VmLife, asked)


def test_config__spells_its_life_as_it_was_given() -> None:
    config = configured(VmLife, {"life": ["boot", "work 1s", "crash"]})
    assert [str(phase) for phase in config.life] == ["boot", "work 1s", "crash"]
    assert np.isclose(config.records, 1e5, rtol=0.1)


OTHERWISE: dict[str, Any] = {
    "life": "boot; work 700ms",
    "memory": "8MiB",
    "cache": "1MiB",
    "files": "4MiB",
    "image": "2MiB",
    "journal": "2MiB",
    "processors": 3,
    "rate": 20_000,
    "theta": 0.5,
    "file_share": 0.2,
    "file_writes": 0.6,
    "stores": 0.6,
    "commit": "30ms",
    "writeback": "20ms",
    "expire": "50ms",
    "readahead": "4KiB",
    "largest": "256KiB",
    "read_time": 90_000,
    "write_time": 30_000,
    "flush_time": 600_000,
    "page_time": 2000,
    "bandwidth": "300MiB",
    "downtime": "1ms",
    "rounds": 1,
    "reset": "10ms",
    "patches": 40,
    "poll": 70_000,
    "deliver": 9000,
    "topology": "00:00.0 mch; 00:04.0 nvme",
    "last_bus": 3,
    "seed": 6,
}


def test_settings__are_all_tried() -> None:
    assert set(OTHERWISE) == {each.name for each in fields(VmLife)}


@pytest.mark.parametrize("key", OTHERWISE)
def test_settings__all_change_the_life(key: str) -> None:
    asked = SMALL | {"expire": "40ms"}  # so that pages grow old before the cache is full of them
    (rows, _, eras), (others, _, other_eras) = lived(asked), lived(asked | {key: OTHERWISE[key]})
    assert eras != other_eras or any(not rows[kind].equals(others[kind]) for kind in rows)
