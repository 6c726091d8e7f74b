"""How long a drive lasts: what it can take in all, what that is a day, and when it ends.

A drive stands ``endurance * physical`` bytes of programs, of which the host gets one in WA. From that everything
follows. Symbols: PE cycles that a block stands, WA (or WAF) write amplification, rho over-provisioning (physical /
exported pages - 1), Y years.

- TBW = capacity * PE / WA. Capacity is the physical one, so that it agrees with the next; with the exported one
  it would be less by 1 + rho.
- DWPD = PE (1 + rho) / (365 Y WA): full writes of the exported capacity a day, every day of Y years.
- Days = PE P / (w WA), P physical bytes and w bytes that the host writes a day.

JEDEC's JESD218 and JESD219 say which workload and which retention a rating is for; here the workload is the trace's.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np

from pipeline.ftl.fleet import Fleet, drive_in
from pipeline.ftl.summary import FtlSummary
from pipeline.ftl.victim import Blocks, Phase
from pipeline.ftl.wear.config import DAY
from pipeline.ftl.wear.model import exported, good_blocks
from pipeline.ftl.wear.state import Wear
from traces.kernel import lean_kernel
from traces.table import F64, I64, U32, U64, Bool, Unknown, empty

TERABYTE = 1e12
YEAR = 365.0  # days


def bytes_written(physical: float, endurance: float, wa: float) -> float:
    """TBW: bytes that the host can write to a new drive of so many physical bytes and program/erase cycles a block.

    ValueError where write amplification is below 1: there is none.
    """
    return physical * endurance / _amplification(wa)


def writes_per_day(spare: float, endurance: float, wa: float, years: float) -> float:
    """DWPD: exported capacities that can be written each day for so many years; spare is 1 - exported / physical.

    ValueError where one of them cannot be.
    """
    if not 0 <= spare < 1 or years <= 0:
        raise ValueError(f"spare must lie in [0, 1) and years above 0, got {spare} and {years}")
    return endurance / (1 - spare) / (YEAR * years * _amplification(wa))


def days(physical: float, endurance: float, daily: float, wa: float) -> float:
    """Days that so many physical bytes with so many cycles left last, if the host writes ``daily`` bytes a day.

    ValueError where it writes nothing or write amplification is below 1.
    """
    if daily <= 0:
        raise ValueError(f"bytes a day must be more than 0, got {daily}")
    return bytes_written(physical, endurance, wa) / daily


def _amplification(wa: float) -> float:
    if not wa >= 1:
        raise ValueError(f"write amplification is at least 1, got {wa}")
    return wa


class FtlLife(NamedTuple):
    """How worn a drive is at the end of the trace, and how long it lasts if all goes on like this; one row a volume."""

    volume: Annotated[U32, "which of the trace's volumes, counted from 0"]
    worn_out: Annotated[
        Bool, "whether a worn block could not be spared any more, or a page found no room on a drive that shrank"
    ]
    worn_out_request: Annotated[
        I64,
        "the volume's request, counted from 0, with which the replay ended because of that; NULL if it did not",
        Unknown(-1),
    ]
    endurance: Annotated[U64, "program/erase cycles that a block stands, mean"]
    cycles_before: Annotated[U64, "cycles of every block before the trace"]
    factory_bad_blocks: Annotated[U64, "blocks that are bad from the factory"]
    retired_blocks: Annotated[U64, "blocks retired since"]
    deferred_retirements: Annotated[
        U64, "times that a worn block was used again, because it could not be retired without touching the reserve"
    ]
    physical_pages: Annotated[U64, "pages of the blocks in use"]
    exported_pages: Annotated[U64, "logical pages that the drive can still hold"]
    wl_blocks: Annotated[U64, "blocks emptied by static wear levelling"]
    wl_programs: Annotated[U64, "pages copied by that"]
    refreshed_blocks: Annotated[U64, "blocks emptied because a read of them took many retries"]
    refresh_programs: Annotated[U64, "pages copied for that"]
    read_retries: Annotated[U64, "times that a page was read again"]
    uncorrectable_reads: Annotated[U64, "page reads that no retry could correct"]
    tbw: Annotated[
        F64,
        "terabytes (1e12 bytes) that the host can write to the drive when it is new, all blocks but the factory bad at "
        "the mean endurance and the trace's write amplification; NULL if nothing was written",
        Unknown(-1),
    ]
    dwpd: Annotated[
        F64,
        "the same as exported capacities a day over the years of `warranty`; NULL if nothing was written",
        Unknown(-1),
    ]
    erases_left: Annotated[U64, "erases that the blocks in use still stand, all together"]
    written_left: Annotated[
        F64,
        "bytes that the host can still write until then, 0 if the drive is worn out; NULL if nothing was written",
        Unknown(-1),
    ]
    days_left: Annotated[
        F64,
        "days until then at the rate at which the trace writes: the end of a drive that is levelled; NULL if nothing "
        "was written or the trace takes no time",
        Unknown(-1),
    ]
    days_to_first: Annotated[
        F64,
        "days until the least-lived block is worn, if each goes on as in the trace; NULL if none was erased or the "
        "trace takes no time",
        Unknown(-1),
    ]


class Served(NamedTuple):
    """What a replay did to one drive."""

    host: int  # pages programmed for the host
    wa: float  # write amplification; anything below 1 where nothing was written
    wl_programs: int
    page: int  # bytes
    span: int  # ns of the trace
    years: float  # `Wearing.warranty`


@lean_kernel
def left(blocks: Blocks, wear: Wear) -> tuple[int, float]:
    """Erases that the blocks in use still stand; spans of the trace until the first is worn, -1 if none was erased."""
    total, first = np.int64(0), -1.0
    for block in range(blocks.total):
        if blocks.phase[block] == Phase.RETIRED:
            continue
        erases = np.int64(blocks.erases[block])
        rest = max(np.int64(wear.limit[block]) - wear.age - erases, np.int64(0))
        total += rest
        if erases and (first < 0 or rest / erases < first):
            first = rest / erases
    return int(total), first


def life_of(blocks: Blocks, wear: Wear, served: Served) -> dict[str, Any]:
    """The columns of `FtlLife` for one drive, all but ``volume``. ``wear`` must be on: see `Wearing.wears`."""
    state = wear.state[0]
    good = int(good_blocks.py_func(blocks, wear))  # type: ignore[attr-defined]
    erases, first = left(blocks, wear)
    whole = blocks.pages * served.page
    new = (blocks.total - int(state.factory_bad)) * whole
    written = served.wa >= 1 and served.host > 0
    daily = served.host * served.page * DAY / served.span if served.span else 0.0
    rest = (0.0 if state.worn_out else erases * whole / served.wa) if written else -1.0
    return {
        "worn_out": bool(state.worn_out),
        "worn_out_request": int(state.worn_out_request),
        "endurance": wear.endurance,
        "cycles_before": wear.age,
        "factory_bad_blocks": int(state.factory_bad),
        "retired_blocks": int(state.grown_bad),
        "deferred_retirements": int(state.deferred),
        "physical_pages": good * blocks.pages,
        "exported_pages": int(exported.py_func(blocks, wear)),  # type: ignore[attr-defined]
        "wl_blocks": int(state.wl_blocks),
        "wl_programs": served.wl_programs,
        "refreshed_blocks": int(state.refreshed),
        "refresh_programs": int(state.refresh_programs),
        "read_retries": int(state.read_retries),
        "uncorrectable_reads": int(state.uncorrectable),
        "tbw": bytes_written(new, wear.endurance, served.wa) / TERABYTE if written else -1.0,
        "dwpd": writes_per_day(1 - wear.logical * served.page / new, wear.endurance, served.wa, served.years)
        if written
        else -1.0,
        "erases_left": erases,
        "written_left": rest,
        "days_left": rest / daily if written and daily else -1.0,
        "days_to_first": first * served.span / DAY if first >= 0 and served.span else -1.0,
    }


def lives(fleet: Fleet, told: FtlSummary, span: int, years: float) -> FtlLife:
    """A row for each volume of the summary; the trace took ``span`` ns."""
    rows = empty(FtlLife, told.volume.size)
    for row, volume in enumerate(told.volume.tolist()):
        drive = drive_in(fleet, volume)
        assert drive.wear is not None
        served = Served(
            host=int(told.host_programs[row]),
            wa=float(told.wa[row]),
            wl_programs=int(told.wl_programs[row] - drive.wear.state[0].refresh_programs),
            page=1 << fleet.page_shift,
            span=span,
            years=years,
        )
        rows.volume[row] = volume
        for name, value in life_of(drive.blocks, drive.wear, served).items():
            getattr(rows, name)[row] = value
    return rows
