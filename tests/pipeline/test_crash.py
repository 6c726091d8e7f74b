from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.config import Layout, Prefill, Zeroes
from pipeline.ftl.drive import Frontiers
from pipeline.ftl.fleet import drive_in
from pipeline.ftl.laws import BrokenLawError
from pipeline.ftl.placement import Placement
from pipeline.ftl.recovery.buffer import Buffer
from pipeline.ftl.recovery.config import Duplicates, Merge, Partition, RecoveryConfig
from pipeline.ftl.recovery.crash_config import CrashConfig, Shutdown
from pipeline.ftl.recovery.drives import Drives
from pipeline.ftl.recovery.power import block_table, geometry_of, journalled_counts, lose_power, restore
from pipeline.ftl.recovery.recover import PowerLostError, Recovering, recover
from pipeline.ftl.recovery.stage import STAGE
from pipeline.ftl.recovery.summary import Mechanism, settings_of
from pipeline.ftl.replay import Request
from pipeline.ftl.victim import Victim
from tests.reference import ftl as reference
from tests.reference.recovery import Buffered, hashed, recovered
from traces.config import configured, plain, spelled
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.table import arrays, columns_of, frame, name_of, schema_of

pytestmark = pytest.mark.kernels

PAGE = 512
Row = tuple[int, int, int, int, int, int]  # time, op, volume, address, length, stream
Tables = dict[str, pl.DataFrame]
REBUILT = (Victim.GREEDY_FIRST, Victim.FIFO, Victim.RANDOM, Victim.D_CHOICES)


def trace(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(Request), orient="row")


def fitted(config: CrashConfig, rows: list[Row]) -> CrashConfig:
    info = TraceInfo(format="test", rows=len(rows), span=rows[-1][0] if rows else 0)
    return STAGE.fit(config, info, lambda: [trace(rows)])


def run(config: CrashConfig, *batches: pl.DataFrame) -> Tables:
    out: dict[str, list[pl.DataFrame]] = {}
    for part in STAGE.run(iter(batches), config):
        out.setdefault(name_of(type(part)), []).append(frame(part))
    return {name: pl.concat(parts) for name, parts in out.items()}


def replayed(config: CrashConfig, rows: list[Row]) -> Tables:
    return run(fitted(config, rows), trace(rows))


def busy(many: int = 3000, volumes: int = 1, seed: int = 3) -> list[Row]:
    """Small overwrites, a few reads, discards, flushes and write-zeroes."""
    chance = np.random.default_rng(seed)
    ops = chance.choice([0, 1, 2, 3, 4], many, p=[0.1, 0.8, 0.06, 0.02, 0.02])
    pages, lengths = (chance.random(many) ** 2 * 90).astype(int), chance.choice([100, PAGE, 3 * PAGE], many)
    whole = ops != 1
    return [
        (10 * i, int(op), int(v), int(page) * PAGE, int(PAGE * (1 + length // PAGE) if w else length), i % 3)
        for i, (op, v, page, length, w) in enumerate(
            zip(ops, chance.integers(0, volumes, many), pages, lengths, whole, strict=True)
        )
    ]


def settled(**keys: Any) -> CrashConfig:
    return CrashConfig(**{"page": PAGE, "block_pages": 8, "spare": 0.2, "write_buffer": 20} | keys)


def plainly(config: CrashConfig, rows: list[Row]) -> dict[int, Buffered]:
    """The uninterrupted drives of the reference."""
    out: dict[int, Buffered] = {}
    crash = config.crash_at
    for number, (_, op, volume, offset, length, stream) in enumerate([*rows, (0, 3, -1, 0, 0, 0)]):
        if number == crash:
            crash = number + config.crash_every if config.crash_every else -1
            for each in out.values():
                if config.protected:
                    each.program(len(each.waiting))
                else:
                    each.lose()
        if volume >= 0 and volume not in out:
            drive = reference.PageMapped(
                config.blocks(volume),
                config.block_pages,
                config.logical(volume),
                victim=spelled(config.victim),
                choices=config.choices,
                frontiers=spelled(config.frontiers),
                reserve=config.reserve,
                seed=config.seed + volume,
                placement=spelled(config.placement),
                streams=config.classes,
            )
            compact, zeroes = config.layout == Layout.COMPACT, config.write_zeroes == Zeroes.PROGRAM
            served = reference.Volume(drive, config.page, compact, zeroes)
            out[volume] = Buffered(served, config.write_buffer, spelled(config.prefill))
        if volume >= 0:
            out[volume].serve(op, offset, length, stream)
    for each in out.values():
        each.program(len(each.waiting))
    return out


@st.composite
def requests(draw: st.DrawFn) -> list[Row]:
    chance, volumes = np.random.default_rng(draw(st.integers(0, 1 << 32))), draw(st.integers(1, 3))
    weights = np.array(draw(st.sampled_from([(2, 12, 1, 1, 1, 1), (1, 30, 0, 0, 0, 0), (1, 8, 4, 2, 4, 1)])))
    extent, out = PAGE * draw(st.integers(8, 60)), []
    for i in range(draw(st.integers(1, 300))):
        op = int(chance.choice([0, 1, 2, 3, 4, 9], p=weights / weights.sum()))
        offset = int(chance.integers(0, extent))
        length = int(min(chance.choice([0, 100, PAGE, 2 * PAGE, 12 * PAGE]), extent - offset))
        if chance.random() < 0.7:
            offset, length = offset // PAGE * PAGE, length // PAGE * PAGE
        out.append((3 * i, op, int(chance.integers(0, volumes)), offset, length, int(chance.integers(0, 5))))
    return out


configs = st.builds(
    CrashConfig,
    page=st.just(PAGE),
    block_pages=st.sampled_from([2, 3, 8, 70]),
    spare=st.sampled_from([0.12, 0.3, 0.6]),
    layout=st.sampled_from(Layout),
    victim=st.sampled_from(REBUILT),
    choices=st.integers(1, 4),
    frontiers=st.sampled_from(Frontiers),
    placement=st.sampled_from([Placement.NONE, Placement.STREAM]),
    reserve=st.integers(1, 2),
    prefill=st.sampled_from(Prefill),
    write_zeroes=st.sampled_from(Zeroes),
    window=st.sampled_from([1, 25, 1000]),
    seed=st.integers(0, 1 << 40),
    crash_at=st.just(-1),
    crash_every=st.sampled_from([0, 1, 7, 50]),
    shutdown=st.sampled_from(Shutdown),
    write_buffer=st.sampled_from([0, 1, 5, 40]),
    power_loss_protection=st.booleans(),
    journal_records=st.sampled_from([1, 6, 1000]),
    cores=st.integers(1, 3),
    partition=st.sampled_from(Partition),
    merge=st.sampled_from(Merge),
    batch=st.sampled_from([16, 1 << 20]),
    duplicates=st.sampled_from(Duplicates),
)


@settings(deadline=None, max_examples=100)
@given(configs, requests())
def test_an_interrupted_drive_is_the_uninterrupted_reference(config: CrashConfig, rows: list[Row]) -> None:
    config = fitted(config, rows)
    tables, want = run(config, trace(rows)), plainly(config, rows)
    summary = tables["ftl_recovery_summary"]
    assert summary["volume"].to_list() == [volume for volume in sorted(want) for _ in Mechanism]
    for have in summary.iter_rows(named=True):
        drive = want[have["volume"]]
        assert have["victims"] == len(drive.victims)
        assert have["victims_hash"] == hashed(drive.victims)
        assert have["host_programs"] == drive.volume.drive.count["host"]
        assert have["lost_pages"] == drive.lost
        assert (have["counts_wrong"], have["out_of_range"], have["duplicates"]) == (0, 0, 0)
        assert have["victims_same"]
        assert have["state_same"]
    crashes = tables.get("ftl_recovery_crashes", pl.DataFrame())
    if crashes.height:
        assert crashes["victims_same"].all()
        assert (crashes["victims_unrecovered"] == 0).all()
        assert (crashes["lost_pages"] <= crashes["buffered_pages"]).all()
        assert (crashes["buffered_pages"] <= config.write_buffer).all()


@settings(deadline=None, max_examples=40)
@given(configs, requests(), st.lists(st.integers(0, 300), max_size=3))
def test_cutting_the_trace_changes_nothing(config: CrashConfig, rows: list[Row], cuts: list[int]) -> None:
    config, whole = fitted(config, rows), trace(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    have, want = run(config, *(whole[begin:end] for begin, end in pairwise(edges))), run(config, whole)
    measured = [column.name for table in STAGE.writes for column in columns_of(table) if column.measured]
    assert have.keys() == want.keys()
    for name, table in want.items():
        assert table.drop(measured, strict=False).equals(have[name].drop(measured, strict=False)), name


# the specification's behaviours, one by one


def filled(config: CrashConfig, rows: list[Row] | None = None) -> Drives:
    """Both drives after a trace, before any loss of power."""
    rows = rows or busy()
    drives = Drives(fitted(config, rows))
    drives.feed(arrays(Request, trace(rows)))
    return drives


@pytest.mark.parametrize("merge", Merge, ids=spelled)
@pytest.mark.parametrize("partition", Partition, ids=spelled)
def test_1_the_counts_are_brute_force_for_every_core_count_partition_merge_and_schedule(
    partition: Partition, merge: Merge
) -> None:
    drive = drive_in(filled(settled()).interrupted, 0)
    want = recovered(drive.where.tolist(), drive.blocks.total, drive.pages, unmapped=0, first=1)
    for cores in (1, 2, 3, 5, 8):
        for shuffle in (-1, 1, 2):
            asked = RecoveryConfig(cores=cores, partition=partition, merge=merge, shuffle=shuffle, batch=16, stride=4)
            have = recover(drive.where, geometry_of(drive), asked)
            assert have.counts.tolist() == want.counts == drive.blocks.valid.tolist()


def test_2_their_sum_is_the_mapped_addresses() -> None:
    crashes = replayed(settled(crash_every=500, prefill=Prefill.NONE), busy(volumes=2))["ftl_recovery_crashes"]
    rows = busy(volumes=2)
    assert crashes["crash"].to_list() == [0, 0, 1, 1, 2, 2, 3, 3]
    for crash in crashes.iter_rows(named=True):
        drives = Drives(fitted(settled(prefill=Prefill.NONE), rows))
        drives.feed(arrays(Request, trace(rows[: crash["requests"]])))
        drives._serve(drives.buffer.drain())
        where = drive_in(drives.steady, crash["volume"]).where
        assert crash["mapped_pages"] == np.count_nonzero(where) <= crash["entries"] == where.size


def test_3_each_address_is_checked_once() -> None:
    for partition in Partition:
        summary = replayed(settled(cores=3, partition=partition, batch=16, crash_every=700), busy())[
            "ftl_recovery_summary"
        ]
        logical = fitted(settled(), busy()).logical(0)
        scans = summary.filter(pl.col("mechanism") != "journal")
        assert scans["recoveries"].to_list() == [3, 3, 3]
        assert scans["entries"].to_list() == [3 * logical] * 3


@pytest.mark.parametrize("merge", Merge, ids=spelled)
def test_4_it_can_be_repeated_also_after_power_is_lost_in_the_midst_of_the_merge(merge: Merge) -> None:
    drive = drive_in(filled(settled()).interrupted, 0)
    table, want = block_table(drive), drive.blocks.valid.tolist()
    lose_power(drive)
    asked = RecoveryConfig(cores=3, merge=merge, partition=Partition.CONTIGUOUS)
    losses = 0
    for step in range(12):
        recovering = Recovering(drive.where, geometry_of(drive), asked)
        try:
            recovering.run(step)
        except PowerLostError:
            losses += 1
        recovering.run()
        assert recovering.result().counts.tolist() == want
        restore(drive, table, recovering.result().counts)
        assert drive.blocks.valid.tolist() == want
    assert losses >= 3


@pytest.mark.parametrize("many", [2, 5])
def test_5_addresses_on_one_physical_address_are_flagged(many: int) -> None:
    drives = filled(settled(write_buffer=0), busy())
    drive = drive_in(drives.interrupted, 0)
    drive.where[:many] = drive.where[0]
    have = recover(drive.where, geometry_of(drive), settings_of(Mechanism.PARALLEL, drives.config))
    assert (have.duplicates, have.corrupt) == (many - 1, True)
    drives.next_crash = drives.given
    with pytest.raises(
        BrokenLawError, match=f"volume 0 is corrupt after loss 0 .* {many - 1} have that of another one"
    ):
        list(drives.crash_if_due())


def test_6_unmapped_is_not_counted_and_what_is_out_of_range_is_flagged() -> None:
    drives = filled(settled(prefill=Prefill.NONE, write_buffer=0))
    drive = drive_in(drives.interrupted, 0)
    want = drive.blocks.valid.copy()
    assert 0 < np.count_nonzero(drive.where == 0) < drive.where.size
    page = int(np.flatnonzero(drive.where)[0])
    want[(int(drive.where[page]) - 1) >> drive.shift] -= 1
    for wild in (geometry_of(drive).last + 1, (1 << 32) - 1):
        drive.where[page] = wild
        have = recover(drive.where, geometry_of(drive), settings_of(Mechanism.PARALLEL, drives.config))
        assert (have.out_of_range, have.stray, have.corrupt) == (1, page, True)
        assert have.counts.tolist() == want.tolist()
    drives.next_crash = drives.given
    with pytest.raises(BrokenLawError, match=rf"1 entries are no address \(the first is {page}\)"):
        list(drives.crash_if_due())


@pytest.mark.parametrize("victim", REBUILT, ids=spelled)
def test_7_a_clean_shutdown_skips_recovery_and_an_abnormal_one_is_recovered_before_a_victim_is_chosen(
    victim: Victim,
) -> None:
    tables = {
        kind: replayed(settled(victim=victim, crash_every=200, shutdown=kind), busy(volumes=2)) for kind in Shutdown
    }
    for kind, have in tables.items():
        summary, crashes = have["ftl_recovery_summary"], have["ftl_recovery_crashes"]
        clean = kind == Shutdown.CLEAN
        assert (summary["crashes"] == 8).all()
        assert (summary["recoveries"] == (0 if clean else 8)).all()
        assert summary["entries"][0] == (0 if clean else 8 * crashes["entries"][0])
        assert (crashes["clean"] == clean).all()
        assert (crashes["victims_unrecovered"] == 0).all()
        assert (crashes["victims_until_next"] > 0).all()
        assert summary["state_same"].all()
    columns = ["victims", "victims_hash", "host_programs", "wa", "run_bytes"]
    skipped, done = (tables[kind]["ftl_recovery_summary"].select(columns) for kind in Shutdown)
    assert skipped.equals(done)


@pytest.mark.parametrize("frontiers", Frontiers, ids=spelled)
@pytest.mark.parametrize("victim", REBUILT, ids=spelled)
def test_8_victims_after_recovery_are_those_of_an_uninterrupted_run(victim: Victim, frontiers: Frontiers) -> None:
    keys = {"victim": victim, "frontiers": frontiers, "placement": Placement.STREAM, "streams": 3}
    rows = busy(4000, volumes=2)
    often = replayed(settled(crash_at=100, crash_every=100, **keys), rows)["ftl_recovery_summary"]
    never = plainly(replace(fitted(settled(**keys), rows), crash_at=0), rows)
    assert often["crashes"][0] == 40
    for have in often.iter_rows(named=True):
        victims = never[have["volume"]].victims
        assert have["victims_after"] > 100
        assert (have["victims"], have["victims_hash"]) == (len(victims), hashed(victims))
        assert (have["victims_same"], have["state_same"]) == (True, True)


# what is lost, and that it would be noticed


def test_without_protection_the_write_buffer_is_lost_and_told() -> None:
    rows = [(i, 1, 0, i * 7 % 64 * PAGE, PAGE, 0) for i in range(90)]
    rows += [(90, 1, 0, 3 * PAGE + 10, 9 * PAGE, 0), (91, 0, 0, 0, PAGE, 0), (92, 1, 0, 0, PAGE, 0)]
    keys = {"crash_at": 92, "write_buffer": 4, "prefill": Prefill.NONE}
    kept, lost = (
        replayed(settled(power_loss_protection=each, **keys), rows)["ftl_recovery_crashes"].row(0, named=True)
        for each in (True, False)
    )
    assert (kept["buffered_pages"], kept["lost_pages"], kept["lost_requests"]) == (4, 0, 0)
    assert (lost["buffered_pages"], lost["lost_pages"], lost["lost_requests"]) == (4, 4, 0)  # the rest was programmed
    flushed = [*rows[:91], (91, 3, 0, 0, 0, 0), rows[92]]
    told = replayed(settled(power_loss_protection=False, **keys), flushed)["ftl_recovery_crashes"].row(0, named=True)
    assert (told["buffered_pages"], told["lost_pages"]) == (0, 0)


def test_a_buffer_keeps_the_last_pages_of_each_volume() -> None:
    rows = [(i, 1, i % 2, i * PAGE, PAGE, 0) for i in range(10)] + [(10, 1, 0, 0, 3 * PAGE, 0), (11, 3, 1, 0, 0, 0)]
    buffer = Buffer(4, 9, False)
    out = buffer.take(arrays(Request, trace(rows)))
    assert buffer.held.time.tolist() == [8, 10]
    assert buffer.standing(3).tolist() == [4, 0, 0]
    assert sorted(out.time.tolist()) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11]
    part, whole = buffer.lose(3)
    assert part.time.size == 0
    assert whole.tolist() == [2, 0, 0]
    assert buffer.standing(3).tolist() == [0, 0, 0]


def test_counts_that_are_not_recovered_would_change_the_victims() -> None:
    rows = busy()
    drives = filled(settled(), rows)
    drive = drive_in(drives.interrupted, 0)
    table, counts = block_table(drive), drive.blocks.valid.astype(np.uint32)
    lose_power(drive)
    assert not np.isin(drive.blocks.valid, counts).any()
    restore(drive, table, counts[::-1].copy())
    drives.enter(5)
    drives.feed(arrays(Request, trace([(10_000_000 + row[0], *row[1:]) for row in rows])))
    drives.enter(6)
    assert drives.differs[0] == 5 * drives.config.window
    assert not drives._alike(0)["victims_same"]


@settings(deadline=None, max_examples=30)
@given(configs, requests())
def test_the_journal_has_the_counts(config: CrashConfig, rows: list[Row]) -> None:
    drives = filled(config, rows)
    for volume in drives.totals:
        drive = drive_in(drives.interrupted, volume)
        assert journalled_counts(drive, block_table(drive)).tolist() == drive.blocks.valid.tolist()
        head, now = drive.blocks.head[0], drive.tally[0]
        assert head.records <= config.journal_records
        full, rest = divmod(int(head.recorded), config.journal_records)
        assert head.checkpoints == full - (rest == 0 and full > 0)
        if config.prefill == Prefill.NONE:  # what was programmed and no longer counts, and erasures
            assert head.recorded == now.host - now.mapped + now.erases


def test_the_journal_pays_when_recovery_is_long_and_losses_are_many() -> None:
    rows = busy()
    keys = {"journal_records": 16, "scaled_block_pages": 64}
    cheap, dear = (
        replayed(settled(journal_write=each, check=1e6, **keys), rows)["ftl_recovery_summary"].row(3, named=True)
        for each in (1.0, 0.001)
    )
    assert cheap["mechanism"] == "journal"
    assert cheap["run_bytes"] > 0 == cheap["entries"]
    assert cheap["pays_below_pages"] == pytest.approx(1000 * dear["pays_below_pages"])
    assert dear["pays_above_crashes"] == pytest.approx(1000 * cheap["pays_above_crashes"])
    never = replayed(settled(record=1e9, **keys), rows)["ftl_recovery_summary"].row(3, named=True)
    assert (never["pays_below_pages"], never["pays_above_crashes"]) == (0, -1)


def test_the_model_has_every_core_partition_and_merge() -> None:
    model = replayed(settled(), busy())["ftl_recovery_model"]
    assert model.height == 5 * (7 * len(Merge) * len(Partition) + 1)
    assert sorted(set(model["entries"])) == [fitted(settled(), busy()).logical(0), *(10**n for n in range(6, 10))]
    alone = model.filter(pl.col("cores") == 1)
    assert (alone["speed_up"] == 1).all()
    assert (model["speed_up"] <= model["cores"] * 1.001).all()
    large = model.filter((pl.col("entries") == 10**9) & (pl.col("cores") == 64) & (pl.col("partition") == "map-page"))
    times = dict(large.select("mechanism", "time").iter_rows())
    assert max(times, key=times.__getitem__) == "shared"


# configuration


@pytest.mark.parametrize("victim", [v for v in Victim if v not in REBUILT], ids=spelled)
def test_policies_whose_order_is_lost_are_refused(victim: Victim) -> None:
    with pytest.raises(ConfigError, match=f"the order of {spelled(victim)} depends on when .* greedy-first .* fifo"):
        configured(CrashConfig, {"victim": spelled(victim)})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"placement": "recency"}, "what recency remembers of pages is lost with the power; possible are none"),
        ({"spare": 0.001, "layout": "direct", "capacity": "1MiB"}, "spare 0.001 is too small"),
        ({"cores": 65}, "cores"),
        ({"write_buffer": -1}, "write_buffer"),
    ],
)
def test_the_configuration_refuses(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(CrashConfig, keys)


def test_power_is_lost_within_the_trace() -> None:
    rows = busy(100)
    assert fitted(settled(), rows).crash_at == 50
    with pytest.raises(ConfigError, match="crash_at is 101; the trace has 100 requests"):
        fitted(settled(crash_at=101), rows)
    with pytest.raises(ConfigError, match="crash_at is 100; the trace has 99 requests"):
        run(fitted(settled(crash_at=100), rows), trace(rows[:99]))
    with pytest.raises(ConfigError, match="must be settled by the trace"):
        run(settled(), trace(rows))
    last = replayed(settled(crash_at=100), rows)["ftl_recovery_crashes"].row(0, named=True)
    assert (last["requests"], last["time"], last["victims_until_next"]) == (100, 990, 0)


def test_rows_that_cannot_be_replayed_are_refused() -> None:
    rows = busy(100)
    config = fitted(settled(layout=Layout.DIRECT), rows)
    with pytest.raises(TraceError, match="block row 100: volume 1 is beyond the 1 volumes"):
        run(config, trace(rows), trace([(2000, 1, 1, 0, PAGE, 0)]))


def test_an_empty_trace_loses_nothing() -> None:
    tables = replayed(settled(), [])
    assert tables["ftl_recovery_summary"].height == 0
    assert plain(fitted(settled(), []))["crash_at"] == 0
