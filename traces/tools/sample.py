"""A trace thinned by place: some places with all their requests, the others with none.

What a place sees (reuse, overwriting, its share in the skew) stays as it was, hence figures of a cache or a drive of a
size scaled by the rate stand for the whole: spatially hashed sampling (Waldspurger, Park, Garthwaite, Ahmad: Efficient
MRC Construction with SHARDS, FAST 2015). Counts are to be multiplied with the factor kept in the trace's options. The
time between requests is not preserved.

A request becomes its sampled parts: it is cut at the bounds of places. Flushes and zone management have no place and
are all kept; so a sample of less than all has too many of them. An access to memory is a request of its bytes, of one
where their number is not told. What a monitor counted in a region is not to be cut: such rows must lie in one place.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import xxhash
from pydantic import Field

from traces import memory
from traces.block import Op
from traces.config import Bytes
from traces.errors import ConfigError, TraceError
from traces.kernel import kernel
from traces.made import Ingested
from traces.progress import Progress, nobody
from traces.store import Store
from traces.table import I64, U8, U32, U64, arrays
from traces.tools.derive import SAMPLED, Parent, Wanted, derive, parent, reading
from traces.workloads.draws import SHARE, chance, draw

_PLACES = 1 << 24  # of one request; more (a discard of a whole disk) take long and make long traces
_PARTS = 1 << 21  # rows of a batch
_ROWS = 1 << 18  # rows read at once
_SIZE = {"block": "length", "memory": "size"}  # kind -> the column that tells how many bytes
_GAPS = "gaps, which count from accesses that may not be sampled"
_CUT, _LEFT = "requests cut to their sampled parts", "requests that were not sampled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which places."""

    rate: Annotated[float, Field(gt=0, le=1, description="share of places to keep")] = 0.01
    grain: Annotated[
        Bytes, Field(ge=512, le=1 << 40, multiple_of=512, description="bytes of a place; addresses are multiples of it")
    ] = 4096
    seed: Annotated[int, Field(ge=0, lt=1 << 63, description="another seed keeps other places")] = 0

    def __post_init__(self) -> None:
        if self.share < 1:
            raise ValueError(f"rate {self.rate} is less than 2**-53")

    @property
    def share(self) -> int:
        """The rate as `chance` takes it."""
        return round(self.rate * SHARE)


class _Taken(NamedTuple):
    """What the kernel needs of a request."""

    op: Annotated[U8, "block.op"]
    volume: Annotated[U32, "block.volume"]
    address: Annotated[U64, "block.address"]
    length: Annotated[U64, "block.length"]


class _Rule(NamedTuple):
    """Which places are sampled."""

    keys: U64  # [volume]
    share: int  # as `chance` takes it
    grain: int  # bytes


class _Parts(NamedTuple):
    """Sampled parts of requests, in their order."""

    row: I64
    address: U64
    length: U64


def sample(
    store: Store,
    trace: str,
    config: Sample,
    name: str,
    *,
    replace: bool = False,
    progress: Progress = nobody,  # records read, records in all
) -> Ingested:
    """Keep some places of a trace as a trace of its own; see `traces.tools.derive.derive`.

    ConfigError where the trace, or one it descends from, was sampled with the same seed: the same places would be
    chosen again. TraceError where a request covers more than 2**24 places.
    """
    whole = parent(store, trace, "sample", tuple(_SIZE))
    before = whole.info.options.get(SAMPLED, {"rate": 1.0, "seeds": []})
    if config.seed in before["seeds"]:
        raise ConfigError(f"seed: '{whole.name}' was sampled with seed {config.seed} already; take another")
    rate = before["rate"] * (config.share / SHARE)
    notes: dict[str, int] = {}
    # by name: a volume's sample is the same whatever else is in the trace
    keys = np.array([xxhash.xxh3_64_intdigest(name.encode(), config.seed) for name in whole.volumes], np.uint64)
    rule = _Rule(keys, config.share, config.grain)

    def batches(columns: Iterable[str] | None, tell: Callable[[int], None]) -> Iterator[pl.DataFrame]:
        least = ("time", "op", whole.place, "address", _SIZE[whole.kind]) if columns is not None else None
        return _sampled(whole, rule, least, tell, notes)

    wanted = Wanted(
        tool="sample",
        parents=(whole,),
        config=config,
        clock=whole.info.clock,
        batches=batches,
        volumes=whole.volumes,
        module=__name__,
        origins=reading(whole.info),
        more={SAMPLED: {"rate": rate, "factor": 1 / rate, "seeds": [*before["seeds"], config.seed]}},
        notes=notes,
    )
    return derive(wanted, name, replace=replace, progress=progress)


def _sampled(
    whole: Parent,
    rule: _Rule,
    columns: Iterable[Any] | None,
    tell: Callable[[int], None],
    notes: dict[str, int],
) -> Iterator[pl.DataFrame]:
    size = _SIZE[whole.kind]
    # an access always has a place, whatever it does
    op = pl.col("op") if whole.kind == "block" else pl.lit(0, pl.UInt8).alias("op")
    for batch in whole.rows(columns, _ROWS, tell):
        taken = batch.select(op, pl.col(str(whole.place)).alias("volume"), "address", pl.col(size).alias("length"))
        requests = arrays(_Taken, taken)
        count = np.empty(batch.height, np.int64)
        if (row := _count(requests, rule, count)) >= 0:
            raise TraceError(
                f"{whole.kind}.{size}: a request of {requests.length[row]} bytes covers more than {_PLACES} places of "
                f"{rule.grain} bytes; raise grain"
            )
        ends = np.cumsum(count)
        begin = 0
        while begin < batch.height:
            base = int(ends[begin - 1]) if begin else 0
            end = max(int(np.searchsorted(ends, base + _PARTS, "right")), begin + 1)
            n = int(ends[end - 1]) - base
            parts = _Parts(np.empty(n, np.int64), np.empty(n, np.uint64), np.empty(n, np.uint64))
            whole_ones = _fill(requests, rule, begin, end, parts)
            _add(notes, _LEFT, int(np.count_nonzero(count[begin:end] == 0)))
            _add(notes, _CUT, int(np.count_nonzero(count[begin:end])) - whole_ones)
            made = batch[parts.row]
            if whole.kind == "memory":
                _check(made, parts, notes, rule)
            yield made.with_columns(pl.Series("address", parts.address), pl.Series(size, parts.length))
            begin = end


def _check(made: pl.DataFrame, parts: _Parts, notes: dict[str, int], rule: _Rule) -> None:
    """TraceError where what a monitor counted would be cut; a note of gaps."""
    torn = (made["op"] == int(memory.Op.SAMPLED)) & (made["size"] != pl.Series(parts.length))
    if torn.any():
        raise TraceError(
            f"memory.accesses: a monitor counted accesses in a region of {made['size'].filter(torn)[0]} bytes, which "
            f"share of them came to a place of {rule.grain} bytes is not told; raise grain"
        )
    if "gap" in made.columns and rule.share < SHARE:
        _add(notes, _GAPS, int((made["gap"] != 0).sum()))


def _add(notes: dict[str, int], sentence: str, count: int) -> None:
    if count:
        notes[sentence] = notes.get(sentence, 0) + count


@kernel
def _placeless(op: np.uint8) -> bool:
    return bool(op == Op.FLUSH or Op.ZONE_OPEN <= op <= Op.ZONE_MANAGE)


@kernel
def _places(r: _Taken, i: int, grain: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The first place of a request and one past its last; one of no bytes counts as one of one byte."""
    first = r.address[i] // grain
    more = max(r.length[i], np.uint64(1)) - np.uint64(1)
    return first, (r.address[i] + more) // grain + np.uint64(1)


@kernel
def _count(r: _Taken, rule: _Rule, count: I64) -> int:
    """[request] how many parts it becomes. -1, or the row of a request of too many places."""
    limit, size = np.uint64(rule.share), np.uint64(rule.grain)
    for i in range(r.op.size):
        if _placeless(r.op[i]):
            count[i] = 1
            continue
        first, stop = _places(r, i, size)
        if stop - first > np.uint64(_PLACES):
            return i
        parts, inside = 0, False
        key = rule.keys[r.volume[i]]
        for place in range(first, stop):
            sampled = chance(draw(key, np.uint64(place)), limit)
            parts += sampled and not inside
            inside = sampled
        count[i] = parts
    return -1


@kernel
def _fill(r: _Taken, rule: _Rule, begin: int, end: int, out: _Parts) -> int:
    """The parts of some requests; how many of these were kept as they are."""
    limit, size = np.uint64(rule.share), np.uint64(rule.grain)
    n, same = 0, 0
    for i in range(begin, end):
        address, length = r.address[i], r.length[i]
        begun = n
        if _placeless(r.op[i]):
            out.row[n], out.address[n], out.length[n] = i, address, length
            n += 1
        else:
            first, stop = _places(r, i, size)
            key = rule.keys[r.volume[i]]
            inside = False
            for place in range(first, stop):
                sampled = chance(draw(key, np.uint64(place)), limit)
                low = max(np.uint64(place) * size, address)
                high = min((np.uint64(place) + np.uint64(1)) * size, address + length)
                if sampled and not inside:
                    out.row[n], out.address[n], out.length[n] = i, low, high - low
                    n += 1
                elif sampled:
                    out.length[n - 1] = high - out.address[n - 1]
                inside = sampled
        same += n == begun + 1 and out.length[begun] == length
    return same
