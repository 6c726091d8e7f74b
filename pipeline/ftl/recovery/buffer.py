"""The write buffer of a drive that may lose power: what was acknowledged and is not yet programmed."""

import numpy as np
from numpy.typing import NDArray

from pipeline.ftl.page_mapped import by_volume
from pipeline.ftl.replay import Request
from traces.block import Op
from traces.table import I64, empty


def chosen(rows: Request, which: NDArray[np.bool_]) -> Request:
    """Some of the rows, read-only as `traces.table.arrays` gives them: kernels are compiled for each kind anew."""
    out = Request._make(column[which] for column in rows)
    for column in out:
        column.setflags(write=False)
    return out


class Buffer:
    """Of each volume the last ``size`` pages that were written, at most: first in, first out.

    A write to a page that stands in it takes another place. Flushes wait until it is empty, and so do discards and
    write-zeroes that unmap, lest they overtake a write of the same page. Memory: ``size`` requests a volume.
    """

    def __init__(self, size: int, page_shift: int, program_zeroes: bool) -> None:
        self.size, self.page_shift = size, page_shift
        self.writes = [Op.WRITE, Op.WRITE_ZEROES] if program_zeroes else [Op.WRITE]
        self.empties = [Op.FLUSH, Op.DISCARD, *([] if program_zeroes else [Op.WRITE_ZEROES])]
        self.held = empty(Request, 0)

    def take(self, rows: Request) -> Request:
        """What leaves the buffer when these requests come: volume after volume, each in order but for its reads.

        Reads wait for nothing: they change nothing either.
        """
        if not self.size:
            return rows
        rows, begins = by_volume(Request(*(np.concatenate([a, b]) for a, b in zip(self.held, rows, strict=True))))
        volume = np.repeat(np.arange(begins.size - 1), np.diff(begins))
        index = np.arange(rows.time.size)
        pages = self._pages(rows)
        written = pages.cumsum()
        behind = written[begins[1:] - 1][volume] - written
        emptied = np.maximum.reduceat(np.where(np.isin(rows.op, self.empties), index, -1), begins[:-1])[volume]
        held = (pages > 0) & (index > emptied) & (behind < self.size)
        self.held = chosen(rows, held)
        return chosen(rows, ~held)

    def standing(self, volumes: int) -> I64:
        """Pages in the buffer of each volume."""
        pages = np.bincount(self.held.volume, self._pages(self.held), volumes).astype(np.int64)
        return np.minimum(pages, self.size)

    def drain(self) -> Request:
        """Empty it: what is to be programmed."""
        held, self.held = self.held, empty(Request, 0)
        return held

    def lose(self, volumes: int) -> tuple[Request, I64]:
        """Forget what stands in it.

        What is left to be programmed of requests that stood there in part; how many of each volume's stood there whole.
        """
        held = self.drain()
        pages = self._pages(held)
        over = np.bincount(held.volume, pages, volumes).astype(np.int64) - self.size
        many = np.bincount(held.volume, minlength=volumes)
        oldest = np.zeros(held.time.size, np.bool_)
        oldest[np.unique(held.volume, return_index=True)[1]] = True
        cut = chosen(held, oldest & (over[held.volume] > 0))
        first = (cut.address >> np.uint64(self.page_shift)).astype(np.int64)
        length = ((first + over[cut.volume]) << self.page_shift).astype(np.uint64) - cut.address
        length.setflags(write=False)
        return cut._replace(length=length), many - np.bincount(cut.volume, minlength=volumes)

    def _pages(self, rows: Request) -> I64:
        """That each request writes."""
        shift = np.uint64(self.page_shift)
        many = ((rows.address + rows.length - np.uint64(1)) >> shift) - (rows.address >> shift) + np.uint64(1)
        return np.where(np.isin(rows.op, self.writes) & (rows.length > 0), many, 0).astype(np.int64)
