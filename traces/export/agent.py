"""The shared agent's capture, as `traces.formats.agent` describes it; the agent itself writes it through `Capture`.

A message trace does not tell how large its rings are: that is left untold. Times are those of the trace's own clock.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from traces.crc32c import crc32c
from traces.errors import TraceError
from traces.export.exporter import Export, Outgoing, Target
from traces.formats._capture import HEADER, LAST, MAGIC, MARKER, NAME, NAMED_AT, NOBODY, SLOT, VERSION, What
from traces.kernel import kernel
from traces.message import WORDS, Message, words
from traces.table import I64, U8, U32, columns_of

_SEALED_FROM = SLOT.fields["number"][1] if SLOT.fields else 0
_NOT_CARRIED = f"records of a producer or receiver whose name is longer than {NAME} bytes, left out"


@kernel
def _checksums(data: U8, size: int, begin: int, out: U32) -> None:
    for i in range(out.size):
        out[i] = crc32c(data, i * size + begin, (i + 1) * size)


class Capture:
    """A capture that is being written: every call appends whole slots, which are safe once the file has them.

    Rings, producers and receivers are told of before the first record that has their number.
    """

    def __init__(self, file: Target, *, unix: int = 0, monotonic: int = 0) -> None:
        """Write the header: what both clocks showed (ns) when the capture was begun; ``unix`` 0: not told."""
        self._file, self._slots = file, 0
        header = np.zeros(1, HEADER)
        header["magic"], header["version"], header["slot"] = MAGIC, VERSION, SLOT.itemsize
        header["unix"], header["monotonic"] = unix, monotonic
        header["crc"] = crc32c(header.view(np.uint8), 0, HEADER.itemsize - 4)
        file.write(header.tobytes())

    def ring(self, number: int, size: int = 0) -> None:
        """Tell of a ring and the bytes that its data have; 0: not told."""
        self._append(What.RING, producer=number, length=size)

    def producer(self, number: int, name: str) -> None:
        """Tell a producer's name; TraceError where the format has no room for it."""
        self._append(What.PRODUCER, producer=number, name=name)

    def receiver(self, number: int, name: str) -> None:
        """Tell a receiver's name; TraceError where the format has no room for it."""
        self._append(What.RECEIVER, producer=number, name=name)

    def records(self, records: NDArray[np.void]) -> None:
        """Append records: an array of `SLOT`, of which this fills in what makes slots of them."""
        records["what"], records["zero"], records["spare"] = What.RECORD, 0, 0
        self._seal(records)

    def _append(self, what: What, name: str = "", **columns: int) -> None:
        slot = np.zeros(1, SLOT)
        slot["what"] = what
        for key, value in columns.items():
            slot[key] = value
        if name or what != What.RING:
            if not fits(name):
                raise TraceError(
                    f"{name!r} cannot be a name in a capture: 1 to {NAME} bytes of UTF-8, none of them zero"
                )
            encoded = name.encode()
            slot.view(np.uint8)[NAMED_AT : NAMED_AT + len(encoded)] = np.frombuffer(encoded, np.uint8)
        self._seal(slot)

    def _seal(self, slots: NDArray[np.void]) -> None:
        """Number the slots, add the checksums and write."""
        slots["marker"] = int.from_bytes(MARKER, "little")
        slots["number"] = np.arange(self._slots, self._slots + slots.size)
        sums = np.empty(slots.size, np.uint32)
        _checksums(slots.view(np.uint8), SLOT.itemsize, _SEALED_FROM, sums)
        slots["crc"] = sums
        self._file.write(slots.tobytes())
        self._slots += slots.size


def fits(name: str) -> bool:
    """Whether the format has room for a name."""
    return 0 < len(name.encode()) <= NAME and "\0" not in name


class _Told:
    """Which names and rings the capture knows already."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._rings: set[int] = set()
        self._receivers: dict[str, int] = {"": NOBODY}

    def rings(self, batch: pl.DataFrame) -> None:
        for ring in batch["ring"].unique(maintain_order=True):
            if ring not in self._rings:
                self._rings.add(ring)
                self._capture.ring(ring)

    def receivers(self, batch: pl.DataFrame) -> I64:
        """[record] -> its receiver's number; -1 where the format has no room for the name."""
        receivers = batch["receiver"].cast(pl.Categorical)
        distinct = receivers.unique(maintain_order=True)
        numbers = []
        for name in distinct.cast(pl.String):
            if name not in self._receivers and fits(name):
                self._receivers[name] = len(self._receivers) - 1
                self._capture.receiver(self._receivers[name], name)
            numbers.append(self._receivers.get(name, -1))
        places = distinct.to_physical().to_numpy()
        table = np.zeros(int(places.max()) + 1, np.int64)
        table[places] = numbers
        of_each: I64 = table[receivers.to_physical().to_numpy()]
        return of_each


def _write(out: Outgoing) -> int:
    info = out.info
    dated = info.origin if info.clock in ("unix", "monotonic") else 0
    if not 0 <= dated <= LAST - info.span:
        raise TraceError(f"the trace's times, from {dated} on for {info.span} ns, are not within 0..2**61")
    unix = dated if info.clock == "unix" else 0
    shift = dated - unix
    out.lose("times, which count records: written as nanoseconds", info.rows if info.clock == "ordinal" else 0)
    capture = Capture(out.file, unix=unix, monotonic=shift)
    names = [volume.name for volume in info.volumes]
    for number, name in enumerate(names):
        if fits(name):
            capture.producer(number, name)
    nameless = [number for number, name in enumerate(names) if not fits(name)]
    told, written = _Told(capture), 0
    for batch in out.rows([column.name for column in columns_of(Message)]):
        receivers = told.receivers(batch)
        kept = (receivers >= 0) & ~batch["producer"].is_in(nameless).to_numpy()
        out.lose(_NOT_CARRIED, int(np.count_nonzero(~kept)))
        if not kept.any():
            continue
        rows = batch.filter(pl.Series(kept))
        told.rings(rows)
        slots = _slots(rows, shift)
        slots["receiver"] = receivers[kept]
        own = pl.Series(WORDS).gather(words(slots["op"], slots["outcome"]))
        out.lose(
            "words of the source, for which the format has its own", int((rows["raw"].cast(pl.String) != own).sum())
        )
        capture.records(slots)
        written += rows.height
    return written


def _slots(rows: pl.DataFrame, shift: int) -> NDArray[Any]:
    slots = np.empty(rows.height, SLOT)
    for name in ("op", "outcome", "producer", "ring", "checksum", "sequence", "address", "length"):
        slots[name] = rows[name].to_numpy()
    published = rows["time"].to_numpy().astype(np.int64) + shift
    slots["published"] = published
    for name in ("seen", "delivered"):
        after = rows[name].to_numpy()
        slots[name] = np.where(after >= 0, published + after, -1)
    return slots


EXPORT = Export("agent", "the shared agent's capture", ".agent", frozenset({"message"}), _write)
