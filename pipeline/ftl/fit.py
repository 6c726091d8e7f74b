"""What of a page-mapped drive's configuration is left to the trace: sizes and windows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.ftl.config import ADDRESSES, Config, Layout, Zeroes
from pipeline.ftl.fleet import zeros
from pipeline.ftl.replay import Request
from traces.block import Op
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.kernel import lean_kernel
from traces.table import I64, U8, arrays

C = TypeVar("C", bound=Config)
WINDOWS = 150  # what an automatic window aims at
FINEST, LARGEST = 4096, 1 << 24  # bytes of the pages that one reading counts; a configuration's are LARGEST at most


def fit(config: C, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> C:
    """Settle capacity, footprint and window by the trace; it is read through only for a footprint.

    A volume too small for its spare to work is given more pages. ConfigError if the sizes cannot be had.
    """
    extents = [volume.extent for volume in info.volumes] or _reached(info, rows)
    for name, sizes in (("capacity", config.capacity), ("footprint", config.footprint)):
        if len(sizes) not in (0, 1, len(extents)):
            raise ConfigError(f"{name}: {len(sizes)} values for the trace's {len(extents)} volumes")
    capacity = tuple(-(-max(size, 1) // config.page) * config.page for size in config.capacity or extents)
    footprint = config.footprint
    if config.layout == Layout.COMPACT:
        footprint = footprint or _footprint(config, info, extents, rows)
        capacity, footprint = _each(capacity, footprint), _each(footprint, capacity)
    elif config.capacity:
        capacity = _each(capacity, tuple(extents))
    else:
        capacity = tuple(config.page * config.grown(size // config.page) for size in capacity)
    window = config.window or _round_up(info.span // WINDOWS)
    try:
        return replace(config, capacity=capacity, footprint=footprint, window=window)
    except ValueError as error:
        raise ConfigError(str(error)) from None


# so that a grid reads the trace once: (trace, bytes of a page) -> [volume, 1 with write-zeroes] distinct pages written
_footprints: dict[tuple[str, int], NDArray[np.int64]] = {}
_extents_of: dict[str, list[int]] = {}


def _footprint(
    config: Config, info: TraceInfo, extents: list[int], rows: Callable[[], Iterable[pl.DataFrame]]
) -> tuple[int, ...]:
    """Bytes that each volume's drive exports: what the trace writes, and as much as it takes for the spare to work."""
    for volume, extent in enumerate(extents):
        if extent // config.page > ADDRESSES:
            raise ConfigError(
                f"volume {volume} reaches to byte {extent}, more than {ADDRESSES} pages of {config.page} bytes; "
                "take a larger page"
            )
    if not info.content or (info.content, config.page) not in _footprints:
        _footprints.update(((info.content, page), pages) for page, pages in _written(config.page, extents, rows()))
    each = _footprints[info.content, config.page][:, int(config.write_zeroes == Zeroes.PROGRAM)]
    return tuple(config.page * config.grown(int(pages)) for pages in each)


def _each(sizes: tuple[int, ...], volumes: tuple[int, ...]) -> tuple[int, ...]:
    """One value for all volumes as one for each."""
    return sizes * len(volumes) if len(sizes) == 1 else sizes


def _round_up(span: int) -> int:
    """The next 1, 2 or 5 times a power of ten."""
    step: int = 10 ** (len(str(max(span, 1))) - 1)
    return next(digit * step for digit in (1, 2, 5, 10) if digit * step >= span)


def _reached(info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> list[int]:
    """One past the last byte that the requests of each volume touch, for a trace that does not tell."""
    if not info.content or info.content not in _extents_of:
        _extents_of[info.content] = _extents(rows())
    return _extents_of[info.content]


def _extents(trace: Iterable[pl.DataFrame]) -> list[int]:
    extents = [0]
    for batch in trace:
        touching = batch.filter(pl.col("op").is_in([Op.READ, Op.WRITE, Op.DISCARD, Op.WRITE_ZEROES]))
        for volume, end in touching.group_by("volume").agg((pl.col("address") + pl.col("length")).max()).iter_rows():
            extents.extend([0] * (volume + 1 - len(extents)))
            extents[volume] = max(extents[volume], end)
    return extents


def _written(page: int, extents: list[int], trace: Iterable[pl.DataFrame]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Of pages of this many bytes and of every larger size: ([volume, 1 with write-zeroes] distinct pages written).

    Also of those from `FINEST` on, so that a grid over pages of different sizes reads the trace once; only a page that
    is smaller than all before and than `FINEST` takes another reading. Four bits of memory a page, where it is written.
    """
    finest = min(page, FINEST) if max(extents) // FINEST <= ADDRESSES else page
    shift = finest.bit_length() - 1
    levels = LARGEST.bit_length() - shift
    sizes = [(extent >> shift >> level) // 4 + 1 for level in range(levels) for extent in extents]
    begins = np.cumsum([0, *sizes])
    bits = zeros(int(begins[-1]), np.uint8)
    pages = np.zeros((levels, len(extents), 2), np.int64)
    for batch in trace:
        rows = arrays(Request, batch)
        row = mark_written(rows, shift, Written(begins, bits, pages))
        if row >= 0:
            volume = int(rows.volume[row])
            if volume >= len(extents):
                raise TraceError(f"block.volume: {volume} is not one of the trace's {len(extents)} volumes")
            raise TraceError(
                f"block.address: a write ends at {int(rows.address[row]) + int(rows.length[row])}, past the "
                f"{extents[volume]} bytes that the trace's metadata gives volume {volume}; ingest it again"
            )
    for level in range(levels):
        yield finest << level, pages[level]


class Written(NamedTuple):
    """The pages of each volume that were written, in every size: a level is pages twice as large as those below."""

    begins: I64  # [level * volumes + volume, and one past the last] where its bytes of ``bits`` begin
    bits: U8  # [page / 4] two bits for each page: whether it was written, and whether it was written or zeroed
    pages: I64  # [level, volume, which of the two bits] how many


@lean_kernel
def mark_written(trace: Request, page_shift: int, written: Written) -> int:
    """Note the pages that are written; the row of a write that reaches past the end of its volume, or -1."""
    begins, bits, pages = written.begins, written.bits, written.pages
    levels, volumes = pages.shape[0], pages.shape[1]
    for i in range(trace.time.size):
        op = trace.op[i]
        start = np.int64(trace.address[i])
        end = start + np.int64(trace.length[i])
        if end > start and (op == Op.WRITE or op == Op.WRITE_ZEROES):
            marks = 3 if op == Op.WRITE else 2
            volume = trace.volume[i]
            last = (end - 1) >> page_shift
            if volume >= volumes or last >> 2 >= begins[volume + 1] - begins[volume]:
                return i
            for page in range(start >> page_shift, last + 1):
                for level in range(levels):
                    at = begins[level * volumes + volume] + (page >> level >> 2)
                    place = (page >> level & 3) << 1
                    new = marks & ~(bits[at] >> place)
                    if not new:
                        break  # nor is it new to the larger ones
                    bits[at] |= new << place
                    pages[level, volume, 0] += new & 1
                    pages[level, volume, 1] += new >> 1
    return -1
