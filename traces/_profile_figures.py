"""From what a pass counted to the figures of `traces.profile`'s tables."""

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces._profile import (
    BIN,
    BUCKETS,
    NOBODY,
    PAGE,
    READ_LATENCY,
    REGION,
    REUSE,
    SIZE,
    SUB,
    UPDATE,
    WRITE_LATENCY,
    Request,
    new_state,
    power_of_two,
)
from traces._profile_kinds import VIEWS, Distinct, Operations
from traces._profile_pass import close_window, follow
from traces.info import TraceInfo, Volume
from traces.profile import (
    REGIONS_SHOWN,
    Limits,
    TraceDistinct,
    TraceOperations,
    TraceProfile,
    TraceRegions,
    TraceWindows,
)
from traces.requests import KINDS, Numbering
from traces.table import F64, I64, arrays, schema_of

_STEPS = 50  # halvings of an interval of 16: theta to 1e-14


class Pass:
    """One pass over a trace."""

    def __init__(self, info: TraceInfo, limits: Limits) -> None:
        volumes = info.volumes
        self._timed = info.clock != "ordinal"
        busiest = sorted(range(len(volumes)), key=lambda v: (-volumes[v].requests, v))[: limits.volumes]
        detail = np.full(len(volumes), NOBODY)
        if len(volumes) > 1:  # a volume that is alone is as the whole
            detail[sorted(busiest)] = np.arange(1, len(busiest) + 1)
        pages = [_most_places(info.kind, v, PAGE) for v in volumes]
        regions = sum(_most_places(info.kind, v, REGION) for v in volumes)
        shown = [v for v in range(len(volumes)) if detail[v] != NOBODY]
        reuse = [limits.reuse, *(limits.volume_reuse for _ in shown)]
        wanted = [sum(pages), *(pages[v] for v in shown)]
        window = _round_up(max(info.span // limits.windows, 1))
        self._view, self._numbering = VIEWS[info.kind], Numbering(info.kind)
        self._columns = self._view.requests(info.kind)
        self._operations = Operations(info.kind, window)
        self._distinct = {what: Distinct(limits.distinct) for what in self._view.distinct}
        self._state = new_state(
            volumes=len(volumes),
            detail=detail,
            meanings=KINDS[info.kind].meanings,
            window=window,
            pages=min(limits.pages, sum(pages)),
            regions=min(limits.regions, regions),
            reuse=[min(most, power_of_two(want)) for most, want in zip(reuse, wanted, strict=True)],
        )
        self._windows: list[pl.DataFrame] = []

    def add(self, batch: pl.DataFrame) -> None:
        """Take a batch of rows, in time order."""
        mapped = self._numbering.requests(batch, self._columns)
        self._operations.add(batch, mapped)
        values = batch.select(**self._view.distinct)
        for what, distinct in self._distinct.items():
            distinct.add(values[what])
        requests, at = arrays(Request, mapped), 0
        while at < requests.time.size:
            at = follow(self._state, requests, at)
            if at < requests.time.size:
                self._close()

    def finish(self) -> dict[type[Any], pl.DataFrame]:
        """The tables."""
        self._close()
        self._adjust()
        windows = pl.concat(self._windows) if self._windows else pl.DataFrame(schema=schema_of(TraceWindows))
        distinct = [(what, each.count, each.rate) for what, each in self._distinct.items()]
        return {
            TraceProfile: self._profile(),
            TraceWindows: windows,
            TraceRegions: self._regions(),
            TraceOperations: self._operations.finish(),
            TraceDistinct: pl.DataFrame(distinct, schema=schema_of(TraceDistinct), orient="row"),
        }

    def _adjust(self) -> None:
        """Give every reuse sample as many reuses as there were: those uses that were not a page's first.

        A sample has more or fewer by the popular pages that are in it or not. As these come again soon, the difference
        is counted at distance 0 (after SHARDS-adj, which corrects all uses alike: where few of them are reuses, their
        share would be lost in its noise).
        """
        s = self._state
        pages = self._pages()[0]
        for row in [0, *(np.flatnonzero(s.detail != NOBODY) + 1)]:
            mine = s.detail[row - 1] if row else 0
            if s.samples["shift"][mine]:
                counts = s.histograms[mine, REUSE]
                missing = s.samples["uses"][mine] - pages[row] - counts.sum()
                counts[0] = max(counts[0] + missing, 0)

    def _close(self) -> None:
        """Keep the rows of the open window, if there is one."""
        s = self._state
        if s.books["window"][0] < 0:
            return
        volume = np.flatnonzero(s.windows["requests"])
        w = s.windows[volume]
        gap_mean, gap_cv = _gaps(w["gaps"], w["gap_sum"], w["gap_squares"])
        columns = {
            "time": np.full(volume.size, s.books["window"][0] * s.window),
            "volume": volume,
            **{name: w[name] for name in ("requests", "reads", "writes", "others", "bytes_read", "bytes_written")},
            "read_share": _share(w["reads"], w["reads"] + w["writes"]),
            "sequential": _share(w["sequential"], w["data"]),
            "pages": w["pages"],
            "new_pages": w["new_pages"],
            "gap_mean": gap_mean if self._timed else np.full(volume.size, -1.0),
            "gap_cv": gap_cv if self._timed else np.full(volume.size, -1.0),
            "depth": np.where(w["known"] > 0, w["latency"] / s.window, -1.0),
        }
        self._windows.append(_frame(TraceWindows, columns))
        close_window(s)

    def _profile(self) -> pl.DataFrame:
        s, t = self._state, self._state.total
        rows, books = t.size, s.books[0]
        detail = np.array([0, *np.where(s.detail == NOBODY, 0 if rows == 2 else NOBODY, s.detail)])
        page, page_read, page_written, shared = self._pages()
        skew = self._skew()
        span = int(t["last"][0])
        gap_mean, gap_cv = _gaps(np.maximum(t["requests"] - 1, 0), t["last"] - t["first"], t["gap_squares"])
        timed = {"gap_mean": gap_mean, "gap_cv": gap_cv, "dispersion": _dispersion(t, span // BIN)}
        samples = s.samples[np.maximum(detail, 0)]
        columns = {
            "volume": np.arange(-1, rows - 1),
            **{name: t[name] for name in ("requests", "reads", "writes", "discards", "flushes", "others")},
            **{name: t[name] for name in ("bytes_read", "bytes_written", "bytes_discarded")},
            "read_share": _share(t["reads"], t["reads"] + t["writes"]),
            **self._quantiles("size", SIZE, (10, 50, 90), detail),
            "size_max": np.where(t["data"] > 0, t["size_max"], -1),
            "aligned": _share(t["aligned"], t["data"]),
            "sequential": _share(t["sequential"], t["data"]),
            "pages": page,
            "pages_read": page_read,
            "pages_written": page_written,
            "pages_shared": shared,
            "page_rate": np.full(rows, 0.5 ** books["shift"]),
            "overwrites": _share(t["overwrites"], t["page_writes"]),
            **self._quantiles("update", UPDATE, (50, 90), detail if self._timed else np.full(rows, NOBODY)),
            **self._quantiles("reuse", REUSE, (50, 90), detail),
            "reuse_rate": np.where(detail == NOBODY, -1, 0.5 ** samples["shift"]),
            "region_bytes": np.full(rows, 1 << books["region_shift"]),
            **skew,
            **{name: values if self._timed else np.full(rows, -1.0) for name, values in timed.items()},
            "latency_known": _share(t["known"], t["requests"]),
            **self._quantiles("read_latency", READ_LATENCY, (50, 90, 99), detail),
            **self._quantiles("write_latency", WRITE_LATENCY, (50, 90, 99), detail),
            "tick": np.full(rows, books["tick"]),
            "window_length": np.full(rows, s.window),
        }
        return _frame(TraceProfile, columns)

    def _quantiles(self, name: str, which: int, percents: tuple[int, ...], detail: I64) -> dict[str, I64]:
        """A column a percent: the smallest value that so many percent do not exceed; -1 where there is none."""
        counts = self._state.histograms[:, which]
        columns = {}
        for percent in percents:
            values = np.array([_quantile(counts[row], percent) if row != NOBODY else -1 for row in detail.tolist()])
            columns[f"{name}_p{percent}"] = values
        return columns

    def _pages(self) -> list[I64]:
        """[row] distinct pages: touched, read, written, both."""
        s = self._state
        found = s.pages[s.pages["seen"] > 0]
        read, written = found["seen"] & 1 > 0, found["written"] > 0
        counts = []
        for which in (np.ones(found.size, np.bool_), read, written, read & written):
            volumes = np.bincount(found["volume"][which], minlength=s.keys.size) << s.books["shift"][0]
            counts.append(np.array([volumes.sum(), *volumes]))
        return counts

    def _skew(self) -> dict[str, NDArray[Any]]:
        """How unevenly requests spread over regions, a column a figure."""
        s = self._state
        used = s.regions[s.regions["used"] > 0]
        used = used[np.argsort(used["volume"], kind="stable")]
        counts = used["requests"]
        ends = np.searchsorted(used["volume"], np.arange(s.keys.size + 1))
        groups = [counts, *(counts[a:b] for a, b in pairwise(ends))]
        figures = [_skewness(-np.sort(-each)) for each in groups]
        return {
            "regions": np.array([each.size for each in groups]),
            **{name: np.array([row[i] for row in figures]) for i, name in enumerate(("top_1", "top_10", "zipf"))},
        }

    def _regions(self) -> pl.DataFrame:
        s = self._state
        used = s.regions[s.regions["used"] > 0]
        begun = used["requests"]
        order = np.lexsort((used["region"], used["volume"], -begun))[:REGIONS_SHOWN]
        top, size = used[order], 1 << int(s.books["region_shift"][0])
        columns = {
            "rank": np.arange(1, top.size + 1),
            "volume": top["volume"],
            "address": top["region"].astype(np.uint64) * np.uint64(size),
            "length": np.full(top.size, size),
            **{name: top[name] for name in ("requests", "reads", "writes", "bytes_read", "bytes_written")},
            "share": _share(begun[order], np.full(top.size, begun.sum())),
        }
        return _frame(TraceRegions, columns)


def _most_places(kind: str, volume: Volume, shift: int) -> int:
    """No fewer than the distinct pages or regions of a volume: as many as it has, or as its requests can touch."""
    touched = 2 * volume.requests + ((volume.bytes_read + volume.bytes_written) >> shift)
    if kind == "block":
        return max(min((volume.extent >> shift) + 1, touched), 1)
    # of memory, bytes of fetches and of dirty regions are counted nowhere
    return 1 << 40 if kind == "memory" else touched


def _round_up(span: int) -> int:
    """The next 1, 2 or 5 times a power of ten."""
    step: int = 10 ** (len(str(span)) - 1)
    return next(digit * step for digit in (1, 2, 5, 10) if digit * step >= span)


def _frame(table: type[Any], columns: dict[str, NDArray[Any]]) -> pl.DataFrame:
    schema = schema_of(table)
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _share(part: NDArray[Any], whole: NDArray[Any]) -> F64:
    """Part / whole; -1 where there is no whole."""
    return np.where(whole > 0, part / np.maximum(whole, 1), -1.0)


def _gaps(count: I64, total: I64, squares: F64) -> tuple[F64, F64]:
    """Mean and coefficient of variation; -1 where they are not known."""
    mean = _share(total, count)
    spread = np.sqrt(np.maximum(_share(squares, count) - mean * mean, 0.0))
    return mean, np.where((count > 0) & (mean > 0), spread / np.where(mean > 0, mean, 1.0), -1.0)


def _dispersion(total: Any, bins: int) -> F64:
    """Variance / mean of the requests in whole bins of time; -1 where there are fewer than two."""
    if bins < 2:
        return np.full(total.size, -1.0)
    last = np.where(total["bin"] < bins, total["in_bin"], 0)
    late = np.where(total["bin"] < bins, 0, total["in_bin"])  # in the last, unfinished bin
    mean = (total["requests"] - late) / bins
    variance = (total["bin_squares"] + last * last) / bins - mean * mean
    return np.where(mean > 0, variance / np.where(mean > 0, mean, 1.0), -1.0)


def lower(place: int) -> int:
    """The smallest number in a bucket of a histogram."""
    if place < 1 << SUB:
        return place
    shift = (place >> SUB) - 1
    return (place - (shift << SUB)) << shift


def _quantile(counts: I64, percent: int) -> int:
    total = int(counts.sum())
    if not total:
        return -1
    return lower(min(int(np.searchsorted(np.cumsum(counts), -(-total * percent // 100))), BUCKETS - 1))


def _skewness(counts: I64) -> tuple[float, float, float]:
    """Share of the top 1 % and 10 %, and Zipf's theta; ``counts`` fall."""
    total = int(counts.sum())
    if not total:
        return -1.0, -1.0, -1.0
    top = [float(counts[: -(-counts.size // part)].sum()) / total for part in (100, 10)]
    return top[0], top[1], zipf_theta(counts)


def zipf_theta(counts: I64) -> float:
    """The theta in 0..16 under which these counts, by falling popularity, are likeliest; -1 for fewer than two.

    At the maximum of the likelihood, the mean of ln(rank) over requests is what the law k**-theta expects it to be.
    """
    if counts.size < 2:
        return -1.0
    ranks = np.log(np.arange(1, counts.size + 1))
    seen = float(ranks @ counts) / float(counts.sum())
    low, high = 0.0, 16.0
    for _ in range(_STEPS):
        theta = (low + high) / 2
        weights = np.exp(-theta * ranks)
        low, high = (theta, high) if float(ranks @ weights) / float(weights.sum()) > seen else (low, theta)
    return high if high > 1e-12 else 0.0
