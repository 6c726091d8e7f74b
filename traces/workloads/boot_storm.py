"""Many volumes that start within a short window: clones of one image, each going through its boot by itself.

A boot reads a small part of its image (Razavi, Kielmann: Scalable virtual machine deployment using VM image caches,
SC 2013), and clones of an image read the same part at the same addresses, in the same order: the footprint is a set of
extents that is common to all volumes, scattered in a seeded order. A boot has three phases; their shares of its
requests and their speeds are our choice:

    loading     10 %, twice as fast       the image's beginning, sequentially: boot loader, kernel
    services    70 %                      the footprint, extent after extent, each sequentially; some writes
    settling    20 %, a quarter as fast   the footprint again, at random, and writes

Writes, and a small share of the reads, are of each volume's own: anywhere in it. The first volume starts when the
window opens, the last when it closes, the others at random between. Each makes its equal share of the requests; the
trace is the merge of all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from traces.block import Op
from traces.config import Bytes
from traces.kernel import inline_kernel, kernel
from traces.kinds import ROWS
from traces.label import Category
from traces.table import F64, I64
from traces.workloads.arrival import Arrival
from traces.workloads.draws import SHARE, Shuffle, below, chance, draw, draws, ln, new_shuffle, shuffled, unit
from traces.workloads.workload import Common, Lane, Plan, Requests, Workload, asked, block, new_plan, whole

_LOADING, _SERVICES = 0.1, 0.7  # of a boot's requests; the others settle
_SPEEDS = (2.0, 1.0, 0.25)
_LENGTH = _LOADING / _SPEEDS[0] + _SERVICES / _SPEEDS[1] + (1 - _LOADING - _SERVICES) / _SPEEDS[2]
_NUMBERS = np.uint64(40)  # bits of a request's number within its volume: with the volume's, a number of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class BootStorm(Common):
    """Volumes that boot; the last has booted after about requests / rate."""

    volumes: Annotated[int, Field(ge=1, le=1 << 16, description="volumes that boot")] = 100
    capacity: Annotated[Bytes, Field(ge=512, le=1 << 60, description="bytes of each volume")] = 1 << 35
    size: Annotated[
        Bytes, Field(ge=512, multiple_of=512, description="bytes of each request; offsets are multiples of it")
    ] = 1 << 14
    reads: Annotated[
        float, Field(ge=0, le=1, description="share of the requests that read once services start; loading only reads")
    ] = 0.9
    window: Annotated[float, Field(ge=0, lt=1, description="share of the trace's time in which the volumes start")] = (
        0.5
    )
    footprint: Annotated[float, Field(gt=0, le=1, description="share of each volume that a boot reads")] = 0.01
    extent: Annotated[
        Bytes, Field(ge=512, description="bytes of the footprint that lie together; rounded down to a multiple of size")
    ] = 1 << 18
    own: Annotated[
        float, Field(ge=0, le=1, description="share of the reads that are of the volume's own data, anywhere in it")
    ] = 0.05

    def __post_init__(self) -> None:
        Common.__post_init__(self)
        if self.arrival not in (Arrival.FIXED, Arrival.POISSON):
            raise ValueError("arrival: a boot storm is a burst by itself: fixed or poisson")

    @property
    def extents(self) -> int:
        """How many extents the footprint has."""
        return max(1, round(self.footprint * (self.places // self.in_places(self.extent))))


class _Storm(NamedTuple):
    """All boots. What changes: each volume's next gap and number, and the tournament of the times."""

    gaps: F64  # [volume] -> the gap after its next request
    done: I64  # [volume] -> its requests so far
    times: F64  # [node] -> of the two that met there, the later time; [0]: of all, the earliest
    volumes: I64  # [node] -> whose time that is
    gap: F64  # [phase] -> mean gap of the requests of a volume
    poisson: bool
    begins: F64  # [phase] -> the share of a boot's requests before it
    extent: int
    extents: int
    own: int
    order: Shuffle


def _storm(config: BootStorm, plan: Plan) -> _Storm:
    span = plan.requests * 1e9 / config.rate
    booting = np.flatnonzero(_requests_of(plan, np.arange(plan.volumes)) > 0)
    window = span * config.window if booting.size > 1 else 0.0
    # 53 bits: a division of them is the same number everywhere
    starts = (draws(int(plan.lanes[Lane.START]), plan.volumes) >> np.uint64(11)).astype(np.float64)
    starts -= starts[booting].min()
    starts *= window / max(1.0, starts[booting].max())
    leaves = 1 << (plan.volumes - 1).bit_length()
    times = np.full(leaves, np.inf)
    times[booting] = starts[booting]
    gap = (span - window) / (plan.requests / plan.volumes * _LENGTH)
    extent = config.in_places(config.extent)
    storm = _Storm(
        gaps=np.empty(plan.volumes),
        done=np.zeros(plan.volumes, np.int64),
        times=times,
        volumes=np.arange(leaves),
        gap=np.array([gap / speed for speed in _SPEEDS]),
        poisson=config.arrival == Arrival.POISSON,
        begins=np.array([0.0, _LOADING, _LOADING + _SERVICES]),
        extent=extent,
        extents=config.extents,
        own=round(config.own * SHARE),
        order=new_shuffle(int(plan.lanes[Lane.ORDER]), 1, plan.places // extent),
    )
    _begin(plan, storm)
    return storm


def _requests_of(plan: Plan, volume: I64) -> I64:
    """How many requests a volume makes: the same for all, but for one more of the first."""
    return plan.requests // plan.volumes + (volume < plan.requests % plan.volumes)


@inline_kernel
def _gap(plan: Plan, storm: _Storm, v: int, k: int, count: int) -> float:
    """From a volume's request ``k`` to its next; infinite after the last."""
    if k + 1 >= count:
        return math.inf
    phase = 2 if k + 1 >= storm.begins[2] * count else (1 if k + 1 >= storm.begins[1] * count else 0)
    mean = float(storm.gap[phase])
    if storm.poisson:
        return -ln(unit(draw(plan.lanes[Lane.GAP], (np.uint64(v) << _NUMBERS) + np.uint64(k)))) * mean
    return mean


@kernel
def _begin(plan: Plan, storm: _Storm) -> None:
    """The first gaps, and the first round of the tournament: ``times`` come in as those of the leaves."""
    each, more = plan.requests // plan.volumes, plan.requests % plan.volumes
    for v in range(plan.volumes):
        storm.gaps[v] = _gap(plan, storm, v, 0, each + (1 if v < more else 0))
    leaves = storm.times.size
    times, volumes = np.empty(2 * leaves), np.empty(2 * leaves, np.int64)  # the winners
    times[leaves:], volumes[leaves:] = storm.times, storm.volumes
    for node in range(leaves - 1, 0, -1):
        one, other = 2 * node, 2 * node + 1
        if times[other] < times[one]:
            one, other = other, one
        times[node], volumes[node] = times[one], volumes[one]
        storm.times[node], storm.volumes[node] = times[other], volumes[other]
    storm.times[0], storm.volumes[0] = times[1], volumes[1]


@kernel
def _merge(plan: Plan, storm: _Storm, out: Requests) -> None:
    """Whose request is next and when: into ``time`` and ``volume``, its number within the volume into ``place``.

    A tournament tree, each node keeping who lost there (Knuth: The art of computer programming 3, 5.4.1): the way up is
    known before the comparisons are. Gaps are drawn one request ahead, so that nothing waits for them.
    """
    times, volumes, gaps, done = storm.times, storm.volumes, storm.gaps, storm.done
    each, more, leaves = plan.requests // plan.volumes, plan.requests % plan.volumes, storm.times.size
    t, v = times[0], volumes[0]
    for i in range(out.place.size):
        k = done[v]
        out.time[i], out.volume[i], out.place[i] = np.uint64(np.int64(t)), v, k
        done[v] = k + 1
        node = (v + leaves) >> 1
        t += gaps[v]
        gaps[v] = _gap(plan, storm, v, k + 1, each + (1 if v < more else 0))
        while node > 0:
            other, whose = times[node], volumes[node]
            later = (other < t) | ((other == t) & (whose < v))
            times[node], volumes[node] = (t if later else other), (v if later else whose)
            t, v = (other if later else t), (whose if later else v)
            node >>= 1
    times[0], volumes[0] = t, v


@kernel
def _boot(plan: Plan, storm: _Storm, out: Requests) -> None:
    """What each request is, given its volume and its number there."""
    ops, places, kinds = plan.lanes[Lane.OP], plan.lanes[Lane.PLACE], plan.lanes[Lane.KIND]
    reads, own, extent, extents = np.uint64(plan.reads), np.uint64(storm.own), storm.extent, storm.extents
    each, more, everywhere = plan.requests // plan.volumes, plan.requests % plan.volumes, np.uint64(plan.places)
    for i in range(out.place.size):
        v, k = out.volume[i], np.int64(out.place[i])
        count = each + (1 if v < more else 0)
        out.op[i] = Op.READ
        if k < storm.begins[1] * count:
            out.place[i] = k % plan.places
            continue
        number = (np.uint64(v) << _NUMBERS) + np.uint64(k)
        bits = draw(places, number)
        if not chance(draw(ops, number), reads):
            out.op[i] = Op.WRITE
            out.place[i] = below(bits, everywhere)
        elif chance(draw(kinds, number), own):
            out.place[i] = below(bits, everywhere)
        else:
            if k < storm.begins[2] * count:
                k -= np.int64(np.ceil(storm.begins[1] * count))
            else:
                k = np.int64(below(bits, np.uint64(extent * extents)))
            where = shuffled(storm.order, 0, np.uint64(k // extent % extents))
            out.place[i] = np.int64(where) * extent + k % extent


def generate(config: BootStorm, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The trace, in batches."""
    plan = new_plan(config)
    storm = _storm(config, plan)
    for _, out in asked(plan, rows):
        _merge(plan, storm, out)
        _boot(plan, storm, out)
        yield block(plan, out)


def _category(config: BootStorm) -> Category:
    """Two volumes are no storm."""
    return Category.BOOT_STORM if config.volumes >= 3 else Category.UNKNOWN


WORKLOAD = Workload(
    "boot-storm", "block", "many volumes that boot from one image", BootStorm, generate, whole("boot-storm", _category)
)
