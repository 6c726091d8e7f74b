"""What a real device answered, command by command: the table of cases, and all of a recording."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.ftl.zoned.manage import command
from pipeline.ftl.zoned.state import Geometry, Profile, State, Zones, new_zones
from tests.damage import read
from tests.reference.zns import Namespace
from tests.reference.zns_hidden import Hidden, Told, find
from traces.block import Flag, Op
from traces.formats import nvme_tsv, qemu_nvme
from traces.kernel import lean_kernel
from traces.nvme import recorded_status
from traces.table import I64, U8, U16

pytestmark = pytest.mark.kernels

BLOCK = 4096
QEMU: dict[str, Any] = {"profile": Profile.QEMU, "largest": 128}
SMALL = Geometry(32, 256, 96, max_open=4, max_active=6, extension=64, **QEMU)
# of ns2 and ns3 the recording shows no limit: six and sixteen zones were open at once, and none was closed by itself
NAMESPACES = {
    "ns1": SMALL,
    "ns2": Geometry(128, 1024, 768, **QEMU),
    "ns3": Geometry(64, 2048, 2048, **QEMU),
}
RANDOM = Geometry(32, 256, 96, max_open=4, max_active=6, zrwa=8, granularity=2, zrwas=3, **QEMU)  # ns4
STATES = {
    "EMPTY": State.EMPTY,
    "IOPEN": State.IMPLICITLY_OPEN,
    "EOPEN": State.EXPLICITLY_OPEN,
    "CLOSED": State.CLOSED,
    "FULL": State.FULL,
}
NAMES = {state: name for name, state in STATES.items()}
COMMANDS = {
    "WRITE": Op.WRITE,
    "APPEND": Op.ZONE_APPEND,
    "WRITE_ZEROES": Op.WRITE_ZEROES,
    "READ": Op.READ,
    "OPEN": Op.ZONE_OPEN,
    "CLOSE": Op.ZONE_CLOSE,
    "FINISH": Op.ZONE_FINISH,
    "RESET": Op.ZONE_RESET,
    "OFFLINE": Op.ZONE_OFFLINE,
    "SET_ZDE": Op.ZONE_SET_EXTENSION,
    "SEND?": Op.ZONE_MANAGE,
}


@lean_kernel
def answers(zones: Zones, op: U8, slba: I64, blocks: I64, flags: U16, status: U16, lba: I64) -> None:
    for row in range(op.size):
        status[row], lba[row] = command(zones, op[row], slba[row], blocks[row], flags[row])


def answer(zones: Zones, op: Op, slba: int, blocks: int = 0, flags: int = 0) -> tuple[int, int]:
    status, lba = np.zeros(1, np.uint16), np.zeros(1, np.int64)
    one = (np.array([op], np.uint8), np.array([slba]), np.array([blocks]), np.array([flags], np.uint16))
    answers(zones, *one, status, lba)
    return int(status[0]), int(lba[0])


def counts(zones: Zones) -> list[int]:
    return [int((zones.state == state).sum()) for state in (State.IMPLICITLY_OPEN, State.EXPLICITLY_OPEN, State.CLOSED)]


def prepared(zones: Zones, zone: int, state: State, wp: int) -> None:
    """Bring a zone of an empty namespace to a state by commands."""
    start = zone * zones.size
    answer(zones, Op.ZONE_RESET, 0, flags=Flag.ALL_ZONES)
    if state == State.EXPLICITLY_OPEN:
        answer(zones, Op.ZONE_OPEN, start)
    if wp > 0:
        answer(zones, Op.WRITE, start, wp)
    if state == State.CLOSED:
        answer(zones, Op.ZONE_CLOSE, start)
    if state == State.FULL:
        answer(zones, Op.ZONE_FINISH, start)


def test_table__every_case(shared: Path) -> None:
    lines = (shared / "captures/C_zns/zone-table.tsv").read_text().splitlines()
    zones, cases, made = new_zones(SMALL), 0, 0
    for line in lines:
        if line.startswith("#"):
            continue
        number, tag, name, slba_, nlb, before, wp_, counted, status_, _, after, wp_after, notes = line.split("\t")
        slba, wp = int(slba_), int(wp_)
        zone = min(slba // zones.size, zones.zones - 1)
        told = [int(each) for each in counted.split("/")]
        if int(number) < 150 or (told, before) == ([0, 0, 0], "EMPTY"):  # the cases after 149 go on from each other
            prepared(zones, zone, STATES[before], wp)
            made += 1
        found = (counts(zones), NAMES[State(zones.state[zone])])
        assert found == (told, before), tag
        assert wp == -1 or zones.wp[zone] == wp, tag
        was = zones.state.copy()
        every = name.endswith("_ALL")
        op = COMMANDS[name.removesuffix("_ALL")]
        status, lba = answer(zones, op, slba, int(nlb), Flag.ALL_ZONES * every)
        assert status == int(status_, 16), tag
        assert NAMES[State(zones.state[zone])] == after, tag
        assert int(wp_after) == -1 or zones.wp[zone] == int(wp_after), tag
        moved = [
            f"z{each}:{NAMES[State(was[each])]}>{NAMES[State(zones.state[each])]}"
            for each in np.flatnonzero(was != zones.state)
            if each != zone
        ]
        assert ([f"alba={lba}"] if lba >= 0 else []) + moved == notes.split(), tag
        cases += 1
    assert (cases, made) == (187, 156)


@pytest.fixture(scope="module")
def table(shared: Path) -> pl.DataFrame:
    path = shared / "captures/C_zns/zns.tsv.zst"
    rows, report = read(nvme_tsv.FORMAT, [path])
    names = {number: name for name, number in report.volumes.items()}
    told = pl.read_csv(path, separator="\t", columns=["slba", "appended_lba", "errors"], infer_schema=False)
    return rows.with_columns(
        pl.col("volume").replace_strict(names).alias("namespace"),
        pl.Series("recorded", recorded_status(rows)),
        (told["slba"] != "-").alias("told"),
        told["errors"],
        told["appended_lba"].replace("-", "-1").cast(pl.Int64).alias("lba"),
    )


def replayed(geometry: Geometry, rows: pl.DataFrame) -> tuple[Zones, U16, I64]:
    zones = new_zones(geometry)
    status, lba = np.zeros(rows.height, np.uint16), np.zeros(rows.height, np.int64)
    slba, blocks = (rows[name].cast(pl.Int64).to_numpy() // BLOCK for name in ("offset", "length"))
    answers(zones, rows["op"].to_numpy(), slba, blocks, rows["flags"].to_numpy(), status, lba)
    return zones, status, lba


@pytest.mark.parametrize(("namespace", "commands", "untold"), [("ns1", 12904, 3), ("ns2", 22141, 0), ("ns3", 1996, 0)])
def test_recording__every_status(table: pl.DataFrame, namespace: str, commands: int, untold: int) -> None:
    rows = table.filter(pl.col("namespace") == namespace)
    assert rows.height == commands
    _, status, lba = replayed(NAMESPACES[namespace], rows)
    wrong = rows.with_columns(pl.Series("status", status)).filter(pl.col("status") != pl.col("recorded"))
    # the table has no addresses of these: they went past the namespace, as three commands that the log does not tell
    assert wrong.height == untold
    assert not wrong["told"].any()
    assert wrong["recorded"].to_list() == [0x080] * untold
    assert (lba == rows["lba"].to_numpy()).all()


ACTIONS = {
    Op.WRITE: "write",
    Op.ZONE_APPEND: "append",
    Op.ZONE_OPEN: "open",
    Op.ZONE_CLOSE: "close",
    Op.ZONE_FINISH: "finish",
    Op.ZONE_RESET: "reset",
    Op.ZONE_MANAGE: "hidden",
}


def hidden(geometry: Geometry, rows: pl.DataFrame) -> Hidden | None:
    """What can have been given to a namespace where the table does not tell it."""
    columns = ("op", "offset", "length", "flags", "recorded", "lba", "errors")
    commands = [
        Told(
            ACTIONS[Op(op)],
            offset // BLOCK,
            length // BLOCK,
            bool(flags & Flag.ALL_ZONES),
            status,
            lba,
            error,
        )
        for op, offset, length, flags, status, lba, error in rows.select(columns).iter_rows()
    ]
    return find(Namespace(**geometry._asdict() | {"profile": geometry.profile.name.lower()}), commands)


def test_recording__random_write_areas(table: pl.DataFrame) -> None:
    """Inputs that the table does not tell can be found so that every answer comes out, of one geometry alone."""
    rows = table.filter(pl.col("namespace") == "ns4")
    told = pl.col("op").is_in([Op.READ, Op.ZONE_REPORT]).not_()
    others, rows = rows.filter(~told), rows.filter(told)
    assert (rows.height, others.height) == (3001, 3006)
    assert others.filter(pl.col("recorded") != 0)["told"].to_list() == [False]  # a report past the namespace
    for zrwa, granularity, zrwas in ((6, 2, 3), (10, 2, 3), (8, 1, 3), (8, 4, 3), (8, 2, 2), (8, 2, 4)):
        assert hidden(RANDOM._replace(zrwa=zrwa, granularity=granularity, zrwas=zrwas), rows) is None
    found = hidden(RANDOM, rows)
    assert found
    assert (len(found.areas), len(found.flushes), len(found.certain)) == (442, 24, 146)
    op, flags, offset = rows["op"].to_numpy().copy(), rows["flags"].to_numpy().copy(), rows["offset"].to_numpy().copy()
    op[list(found.flushes)] = Op.ZONE_FLUSH_ZRWA
    offset[list(found.flushes)] = np.array(list(found.flushes.values())) * BLOCK
    flags[[row for row, area in found.areas.items() if area]] |= np.uint16(Flag.ZRWA)
    zones, status, lba = replayed(RANDOM, rows.with_columns(op=op, flags=flags, offset=offset))
    assert (status == rows["recorded"].to_numpy()).all()
    assert (lba == rows["lba"].to_numpy()).all()
    assert np.flatnonzero(zones.state == State.IMPLICITLY_OPEN).tolist() == [4]
    assert np.flatnonzero(zones.state == State.EXPLICITLY_OPEN).tolist() == [1, 6]


def closed_at_the_end(shared: Path) -> list[int]:
    """First blocks of the zones that the device closed when it was shut down, in its order."""
    log = pl.read_csv(
        shared / "captures/C_zns/zns.qemu.log.zst", has_header=False, separator="\x01", quote_char=None
    ).to_series()
    return log.str.extract(r"clear_ns_close zone state=\d, slba=(\d+)").drop_nulls().cast(pl.Int64).to_list()


def test_recording__the_zones_left_open(table: pl.DataFrame, shared: Path) -> None:
    """When it is shut down the device closes zones implicitly open, then those explicitly open, as they were opened."""
    left = []
    for name, geometry in NAMESPACES.items():
        zones, _, _ = replayed(geometry, table.filter(pl.col("namespace") == name))
        for state in (State.IMPLICITLY_OPEN, State.EXPLICITLY_OPEN):
            zone = zones.links[geometry.zones + state, 0]
            while zone < geometry.zones:
                left.append(int(zone) * geometry.size)
                zone = zones.links[zone, 0]
    assert [*left, 1024, 256, 1536] == closed_at_the_end(shared)  # of ns4: see above
    assert len(left) == 11


def test_log__every_status(shared: Path) -> None:
    """The log tells what the table does not: where commands were to go that were refused for it."""
    rows, report = read(qemu_nvme.FORMAT, [shared / "captures/C_zns/zns.qemu.log.zst"])
    for name, geometry in NAMESPACES.items():
        some = rows.filter(pl.col("volume") == report.volumes[name])
        _, status, _ = replayed(geometry, some)
        assert (status == recorded_status(some)).all()
