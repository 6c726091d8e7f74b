"""What of a page-mapped drive's configuration is left to the trace: sizes and windows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.ftl.config import ADDRESSES, Config, Layout, Zeroes
from pipeline.ftl.fleet import zeros
from pipeline.ftl.replay import Request
from traces.block import Op
from traces.errors import ConfigError, TraceError
from traces.info import TraceInfo
from traces.kernel import lean_kernel
from traces.table import I64, U8, arrays

WINDOWS = 150  # what an automatic window aims at


def fit(config: Config, info: TraceInfo, rows: Callable[[], Iterable[pl.DataFrame]]) -> Config:
    """Settle capacity, footprint and window by the trace; it is read through only for a footprint.

    A volume too small for its spare to work is given more pages. ConfigError if the sizes cannot be had.
    """
    extents = [volume.extent for volume in info.volumes] or _extents(rows())
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


_footprints: dict[tuple[str, int, Zeroes], tuple[int, ...]] = {}  # pages, so that a grid reads the trace once


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
    key = info.content, config.page, config.write_zeroes
    if not info.content or key not in _footprints:
        _footprints[key] = _written(config, extents, rows())
    return tuple(config.page * config.grown(pages) for pages in _footprints[key])


def _each(sizes: tuple[int, ...], volumes: tuple[int, ...]) -> tuple[int, ...]:
    """One value for all volumes as one for each."""
    return sizes * len(volumes) if len(sizes) == 1 else sizes


def _round_up(span: int) -> int:
    """The next 1, 2 or 5 times a power of ten."""
    step: int = 10 ** (len(str(max(span, 1))) - 1)
    return next(digit * step for digit in (1, 2, 5, 10) if digit * step >= span)


def _extents(trace: Iterable[pl.DataFrame]) -> list[int]:
    """One past the last byte that the requests of each volume touch, for a trace that does not tell."""
    extents = [0]
    for batch in trace:
        touching = batch.filter(pl.col("op").is_in([Op.READ, Op.WRITE, Op.DISCARD, Op.WRITE_ZEROES]))
        for volume, end in touching.group_by("volume").agg((pl.col("address") + pl.col("length")).max()).iter_rows():
            extents.extend([0] * (volume + 1 - len(extents)))
            extents[volume] = max(extents[volume], end)
    return extents


def _written(config: Config, extents: list[int], trace: Iterable[pl.DataFrame]) -> tuple[int, ...]:
    """Distinct pages that each volume's requests write: one bit of memory a page of the extent."""
    begins = np.cumsum([0, *(extent // config.page // 8 + 1 for extent in extents)])
    bits, pages = zeros(int(begins[-1]), np.uint8), np.zeros(len(extents), np.int64)
    for batch in trace:
        rows = arrays(Request, batch)
        zeroes = config.write_zeroes == Zeroes.PROGRAM
        row = mark_written(rows, config.page.bit_length() - 1, zeroes, Written(begins, bits, pages))
        if row >= 0:
            volume = int(rows.volume[row])
            if volume >= len(extents):
                raise TraceError(f"block.volume: {volume} is not one of the trace's {len(extents)} volumes")
            raise TraceError(
                f"block.address: a write ends at {int(rows.address[row]) + int(rows.length[row])}, past the "
                f"{extents[volume]} bytes that the trace's metadata gives volume {volume}; ingest it again"
            )
    return tuple(pages.tolist())


class Written(NamedTuple):
    """The pages of each volume that were written."""

    begins: I64  # [volume, and one past the last] where its bytes of ``bits`` begin
    bits: U8  # [page / 8] a bit for each page
    pages: I64  # [volume] how many


@lean_kernel
def mark_written(trace: Request, page_shift: int, zeroes: bool, written: Written) -> int:
    """Note the pages that are written; the row of a write that reaches past the end of its volume, or -1."""
    for i in range(trace.time.size):
        op = trace.op[i]
        start = np.int64(trace.address[i])
        end = start + np.int64(trace.length[i])
        if end > start and (op == Op.WRITE or (zeroes and op == Op.WRITE_ZEROES)):
            volume = trace.volume[i]
            last = (end - 1) >> page_shift
            if volume >= written.pages.size or last >> 3 >= written.begins[volume + 1] - written.begins[volume]:
                return i
            for page in range(start >> page_shift, last + 1):
                at = written.begins[volume] + (page >> 3)
                if not written.bits[at] >> (page & 7) & 1:
                    written.bits[at] |= 1 << (page & 7)
                    written.pages[volume] += 1
    return -1
