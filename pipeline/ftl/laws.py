"""What must hold of every drive at any moment: pages balance, however they were written, moved and trimmed."""

from typing import Any

import numpy as np

from pipeline.ftl.drive import ONE, Drive
from pipeline.ftl.fleet import Fleet, drive_in, drive_of
from pipeline.ftl.victim import Phase
from pipeline.ftl.wear.model import exported
from traces.kernel import lean_kernel


class BrokenLawError(AssertionError):
    """A drive's books do not balance: a mistake in Strata, never in a trace."""


RECOUNT = np.dtype(
    [
        (name, "i8")
        for name in (
            "erases",  # of all blocks
            "closed",  # blocks
            "erased",  # blocks
            "retired",  # blocks, those bad from the factory among them
            "valid",  # pages, by the blocks
            "mapped",  # pages, by the map
            "strays",  # map entries whose cell does not count or holds another page
        )
    ]
)


def check_programs(fleet: Fleet) -> tuple[Any, Any]:
    """X1 by counters alone, so cheap that every batch is checked; pages programmed, and those in open blocks."""
    now = fleet.tally[::2]
    room = fleet.room.reshape(-1, fleet.frontiers)
    in_open = np.where(room > 0, fleet.pages - room, 0).sum(axis=1)
    programs = now.closed + in_open
    told = now.host + now.gc + now.levelled + now.map + now.prefill
    _hold({"X1: programs = host + GC + wear levelling + map + prefill": (programs, told)})
    return programs, in_open


def check_laws(fleet: Fleet) -> None:
    """X1, X2, X3 and X7 over the whole state, counted anew; BrokenLawError."""
    now = fleet.tally[::2]
    programs, in_open = check_programs(fleet)
    found = np.zeros(now.size, RECOUNT).view(np.recarray)
    recount_all(fleet, found)
    erases = now.prefill_erases + found.erases
    bad = np.zeros(now.size, np.int64)
    if fleet.wear is not None:
        bad = fleet.wear.state.factory_bad + fleet.wear.state.grown_bad
    _hold(
        {
            "X2: programs = pages of erased generations + pages programmed now": (
                programs,
                fleet.pages * (erases + found.closed) + in_open,
            ),
            "X3: mapped pages = sum of validity counts": (now.mapped, found.valid),
            "X3: mapped pages = recount of the map": (now.mapped, found.mapped),
            "X3: map entries that their cell does not answer to": (found.strays, np.zeros_like(found.strays)),
            "erases counted = erases of all blocks": (now.prefill_erases + now.erases, erases),
            "erased blocks counted = erased blocks": (fleet.head.erased, found.erased),
            "X7: blocks not in use = factory bad + retired": (bad, found.retired),
            "X7: mapped pages beyond those exported": (np.maximum(now.mapped - _exported(fleet), 0), 0 * now.mapped),
        }
    )


def _exported(fleet: Fleet) -> Any:
    """Logical pages that each drive can hold."""
    if fleet.wear is None:
        return fleet.start.logical[:-1]
    drives = (drive_in(fleet, volume) for volume in range(fleet.head.size))
    return np.array([exported.py_func(drive.blocks, drive.wear) for drive in drives])  # type: ignore[attr-defined]


def _hold(laws: dict[str, tuple[Any, Any]]) -> None:
    """BrokenLawError with the first volume for which a law does not hold."""
    broken = []
    for law, (have, want) in laws.items():
        if (off := np.flatnonzero(have != want)).size:
            broken.append(f"{law}: {have[off[0]]} != {want[off[0]]} (volume {off[0]})")
    if broken:
        raise BrokenLawError("; ".join(broken))


@lean_kernel
def recount_all(fleet: Fleet, found: Any) -> None:
    """A RECOUNT of every drive that is prepared."""
    for volume in range(found.size):
        if fleet.tally[2 * volume].round_pages:
            recount(drive_of(fleet, volume), found[volume])


@lean_kernel
def recount(drive: Drive, found: Any) -> None:
    """What the whole state of one drive comes to."""
    blocks = drive.blocks
    for block in range(blocks.total):
        found.erases += blocks.erases[block]
        found.valid += blocks.valid[block]
        if blocks.phase[block] == Phase.CLOSED:
            found.closed += 1
        elif blocks.phase[block] == Phase.ERASED:
            found.erased += 1
        elif blocks.phase[block] == Phase.RETIRED:
            found.retired += 1
    for page in range(drive.logical):
        cell = np.int64(drive.where[page]) - 1
        if cell >= 0:
            found.mapped += 1
            held = drive.holds[(cell >> drive.shift) * drive.pages + (cell & ((1 << drive.shift) - 1))]
            bit = (drive.counts[cell >> 6] >> np.uint64(cell & 63)) & ONE
            if bit != ONE or held != page:
                found.strays += 1
