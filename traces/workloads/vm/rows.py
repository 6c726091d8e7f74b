"""What a guest did, out of its buffers and into the tables of the trace kinds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from traces.crc32c import crc32c
from traces.dma import Event, Request, Told
from traces.formats._rows import rows as of_kind
from traces.formats._rows import words
from traces.formats.reader import records
from traces.kinds import KINDS
from traces.memory import Op
from traces.message import WORDS, Outcome
from traces.message import words as in_words
from traces.table import first
from traces.truth import TraceCauses
from traces.workloads.vm.state import BLOCK, CONFIG, DMA, MEMORY, NO_CAUSE, PAGE, PAYLOAD, Guest
from traces.workloads.world import Part, told

_NAMES = {NO_CAUSE: "", MEMORY: "memory", CONFIG: "config", BLOCK: "block", DMA: "dma"}
_BLOCK_WORDS, _MEMORY_WORDS = ["R", "W", "D", "F"], ["L", "S", "I", "M", "", "dirty"]
_DMA_WORDS = [event.name.lower().replace("_", "-") for event in sorted(Event)]
RECEIVER = "monitor"


def causes(begin: int, kinds: Any, rows: Any) -> dict[str, pl.DataFrame]:
    """The truth about rows numbered from ``begin`` on; those that come by themselves are left out."""
    known = kinds != NO_CAUSE
    kind = words(list(_NAMES.values()), kinds[known])
    numbers = begin + np.flatnonzero(known)
    return {"causes": told(TraceCauses, row=numbers, cause_kind=kind, cause_row=rows[known])}


class Taken:
    """Takes rows out of the guest's buffers."""

    def __init__(self, guest: Guest, source: int) -> None:
        self.guest, self.source = guest, source

    @staticmethod
    def nothing(kind: str) -> pl.DataFrame:
        """No rows of a kind."""
        return pl.DataFrame(schema=records(KINDS[kind]))

    def parts(self) -> Iterator[Part]:
        """All rows since the last time; the buffers are empty then."""
        for kind, make in (("memory", _memory), ("block", _block), ("dma", self._dma), ("message", self._message)):
            used, total = int(self.guest.state[0][f"{kind}_used"]), int(self.guest.state[0][kind])
            if not used:
                continue
            its = first(getattr(self.guest, kind), used)
            its = type(its)(*(column.copy() for column in its))  # the buffers are filled again
            self.guest.state[0][f"{kind}_used"] = 0
            yield Part(kind=kind, rows=make(its, used), truth=causes(total - used, its.cause, its.row))

    def _dma(self, its: Any, count: int) -> pl.DataFrame:
        access = its.event == Event.ACCESS
        return of_kind(
            KINDS["dma"],
            count,
            time=its.time,
            event=its.event,
            request=np.where(access, np.uint8(Request.UNTRANSLATED), np.uint8(Request.NOT_TOLD)),
            source=self.source,
            domain=1,
            address=its.address,
            size=its.size,
            page=np.where(access, PAGE, 0),
            target=its.target,
            write=np.where(access, its.write, np.uint8(Told.NOT_TOLD)),
            raw=words(_DMA_WORDS, np.minimum(its.event, len(_DMA_WORDS) - 1)),
        )

    def _message(self, its: Any, count: int) -> pl.DataFrame:
        told = its.seen >= 0
        outcome = np.where(told, np.uint8(Outcome.DELIVERED), np.uint8(Outcome.NOT_TOLD))
        return of_kind(
            KINDS["message"],
            count,
            time=its.time,
            receiver=words([RECEIVER], np.zeros(count, np.uint32)),
            sequence=its.sequence,
            address=its.address,
            length=PAYLOAD,
            checksum=_checksums(its.sequence),
            seen=its.seen,
            delivered=np.where(told, its.seen + self.guest.fixed.deliver, -1),
            outcome=outcome,
            raw=words(WORDS, in_words(np.zeros(count, np.uint8), outcome)),
        )


def _memory(its: Any, count: int) -> pl.DataFrame:
    return of_kind(
        KINDS["memory"],
        count,
        time=its.time,
        op=its.op,
        cpu=its.cpu,
        address=its.address,
        size=its.size,
        accesses=1,
        raw=words(_MEMORY_WORDS, its.op),
    )


def _block(its: Any, count: int) -> pl.DataFrame:
    return of_kind(
        KINDS["block"],
        count,
        time=its.time,
        op=its.op,
        address=its.address,
        length=its.length,
        latency=its.latency,
        flags=its.flags,
        raw=words(_BLOCK_WORDS, its.op),
    )


def _checksums(sequence: Any) -> Any:
    """Of payloads that are zeros but for their last eight bytes, which are the commit's number."""
    payloads = np.zeros((sequence.size, PAYLOAD // 8), np.dtype("<u8"))
    payloads[:, -1] = sequence
    data = payloads.reshape(-1).view(np.uint8)
    return np.array([crc32c(data, at, at + PAYLOAD) for at in range(0, data.size, PAYLOAD)], np.uint32)


def dirty_rows(guest: Guest) -> Iterator[Part]:
    """Runs of pages that were written since a migration last looked, each with its last write as cause."""
    pages = np.flatnonzero(guest.touched)
    if not pages.size:
        return
    run = np.cumsum(np.diff(pages, prepend=pages[0]) != 1) - 1
    order = np.lexsort((guest.written[pages], run))
    last = pages[order[np.searchsorted(run[order], np.arange(run[-1] + 1), "right") - 1]]
    starts = np.searchsorted(run, np.arange(run[-1] + 1))
    count = np.diff(starts, append=pages.size)
    state = guest.state[0]
    rows = of_kind(
        KINDS["memory"],
        last.size,
        time=np.full(last.size, int(state["now"])),
        op=int(Op.DIRTY),
        address=pages[starts] * PAGE,
        size=count * PAGE,
        accesses=count,
        raw=words(_MEMORY_WORDS, np.full(last.size, int(Op.DIRTY))),
    )
    yield Part(kind="memory", rows=rows, truth=causes(int(state["memory"]), guest.writer[last], guest.writer_row[last]))
    state["memory"] += last.size
