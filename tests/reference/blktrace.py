"""blktrace told record by record, in tuples, lists and dicts: slow, and plainly right."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

READ, WRITE, DISCARD, FLUSH, UNKNOWN = 0, 1, 2, 3, 255
PREFLUSH, FUA, SYNC, META, AHEAD, ERROR = 1, 2, 4, 8, 16, 128
LETTERS = dict(enumerate("QMFGSRDCPU", 1)) | {11: "UT", 12: "I", 13: "X", 14: "B", 15: "A", 16: "AB", 17: "DRV"}


class Event(NamedTuple):
    time: int
    letter: str
    device: str
    sector: int
    length: int
    pid: int
    rwbs: str
    command: bool  # passed through
    failed: bool


class Request(NamedTuple):
    time: int
    op: int
    volume: str
    offset: int
    length: int
    latency: int
    stream: int
    flags: int
    raw: str


def rwbs(action: int, length: int) -> str:
    """What blkparse prints: blkparse_fmt.c, fill_rwbs."""

    def has(bit: int) -> bool:
        return bool(action >> 16 >> bit & 1)

    what = "D" if has(13) else "W" if has(1) else "R" if length else "N"
    return "F" * has(2) + what + "F" * has(15) + "A" * has(11) + "S" * has(3) + "M" * has(12)


def events(data: bytes, order: str = "<") -> Iterator[Event]:
    """The events of one intact file, without notifications."""
    at = 0
    while at < len(data):
        fields = struct.unpack_from(order + "IIQQIIIIIHH", data, at)
        magic, _, time, sector, length, action, pid, device, _, error, more = fields
        assert magic == 0x65617407
        at += 48 + more
        if action >> 16 >> 10 & 1:
            continue
        letter, command = LETTERS[action & 0xFF], bool(action >> 16 >> 9 & 1)
        word = rwbs(action, length)
        told = length or letter in "CR" or word[0] in "WD"
        yield Event(
            time=time,
            letter=letter,
            device=f"{device >> 20},{device & 0xFFFFF}",
            sector=sector if told and not command else 0,
            length=length,
            pid=pid,
            rwbs=word,
            command=command,
            failed=letter == "C" and error != 0,
        )


def wall_clock(files: Sequence[bytes], order: str = "<") -> int | None:
    """Nanoseconds from the trace's clock to Unix time, as the first time stamp found tells."""
    for data in files:
        at = 0
        while at < len(data):
            fields = struct.unpack_from(order + "IIQQIIIIIHH", data, at)
            if fields[5] >> 16 >> 10 & 1 and fields[5] & 0xFF == 1:
                seconds, nanoseconds = struct.unpack_from(order + "II", data, at + 48)
                return int(seconds) * 10**9 + int(nanoseconds) - int(fields[2])
            at += 48 + fields[-1]
    return None


def merged(files: Sequence[Sequence[Event]]) -> Iterator[Event]:
    """blkparse's order: blkparse.c, ms_sort and ms_resort."""
    waiting: list[list[Event]] = []  # the head's next event is taken; events stand backward, the next one last

    def insert(stream: list[Event]) -> None:
        time = stream[-1].time
        if not waiting or time < waiting[0][-1].time:
            waiting.insert(0, stream)
            return
        place = 1
        while place < len(waiting) and waiting[place][-1].time < time:
            place += 1
        waiting.insert(place, stream)

    for file in files:
        if file:
            insert(list(reversed(file)))
    while waiting:
        head = waiting[0]
        yield head.pop()
        if not head:
            waiting.pop(0)
        elif len(waiting) > 1 and head[-1].time > waiting[1][-1].time:
            insert(waiting.pop(0))


def op(word: str, length: int) -> int:
    front, letter = word.startswith("F"), word.lstrip("F")[0]
    if not length and (front or letter == "N"):
        return FLUSH
    return {"D": DISCARD, "W": WRITE, "R": READ, "N": UNKNOWN}[letter]


def flags(word: str) -> int:
    rest = word.lstrip("F")[1:]
    names = {"F": FUA, "A": AHEAD, "S": SYNC, "M": META}
    return PREFLUSH * word.startswith("F") + sum(names[c] for c in rest)


def kind(event: Event, action: str) -> str:
    """What must agree between a request and its completion beside the place."""
    letter = event.rwbs.lstrip("F")[0]
    if event.command:
        return "command"
    if action != "Q":
        return letter + "F" * event.rwbs.startswith("F")
    if event.length:
        return letter
    return "never" if event.letter == "C" and letter == "N" and event.rwbs.startswith("F") else "empty"


def requests(trace: Sequence[Event], action: str) -> list[Request]:
    """The requests that the chosen action stands for, in the trace's order; matching goes by time."""
    begins = "Q" if action == "Q" else "D"
    open_: dict[tuple[str, int, str], list[list[int]]] = {}  # place -> [length, time, number], the youngest last
    latency = [-1] * len(trace)
    failed = [event.failed for event in trace]
    gone = set()

    def find(key: tuple[str, int, str], length: int) -> list[int] | None:
        there = [entry for entry in reversed(open_.get(key, [])) if bool(entry[0]) == bool(length)]
        return next((entry for entry in there if entry[0] == length), there[0] if there else None)

    for number in sorted(range(len(trace)), key=lambda i: trace[i].time):
        event = trace[number]
        what = kind(event, action)
        sector, rest = event.sector * 512, 0 if event.command else event.length
        if event.letter == begins:
            open_.setdefault((event.device, sector, what), []).append([rest, event.time, number])
        elif event.letter == "R" and action != "Q":
            entry = find((event.device, sector, what), rest)
            if entry:
                open_[event.device, sector, what].remove(entry)
                gone.add(entry[2])
        elif event.letter == "C":
            entry = find((event.device, sector, what), rest)
            if not entry and action == "C" and not event.command and not rest and op(event.rwbs, 0) in (READ, WRITE):
                gone.add(number)  # the second completion of a flush
            while entry := find((event.device, sector, what), rest):
                length, time, begun = entry
                open_[event.device, sector, what].remove(entry)
                record = number if action == "C" else begun
                if action != "C":
                    failed[begun] |= event.failed
                if (action == "C" and latency[number] < 0) or (action != "C" and length <= rest):
                    latency[record] = event.time - time
                if length > rest:
                    open_.setdefault((event.device, sector + rest, what), []).append([length - rest, time, begun])
                    break
                sector, rest = sector + length, rest - length
                if not rest:
                    break
    return [
        Request(
            time=event.time,
            op=UNKNOWN if event.command else op(event.rwbs, event.length),
            volume=event.device,
            offset=event.sector * 512,
            length=event.length,
            latency=latency[number],
            stream=event.pid,
            flags=flags(event.rwbs) | ERROR * failed[number],
            raw=event.rwbs,
        )
        for number, event in enumerate(trace)
        if event.letter == action and number not in gone
    ]


def written(trace: Sequence[tuple[Event, int, int]], order: str = "<") -> bytes:
    """The bytes of events: each with its raw action and CPU."""
    out = []
    for sequence, (event, action, cpu) in enumerate(trace, 1):
        major, minor = map(int, event.device.split(","))
        numbers = (event.time, event.sector, event.length, action, event.pid, major << 20 | minor, cpu, event.failed, 0)
        out.append(struct.pack(order + "IIQQIIIIIHH", 0x65617407, sequence, *numbers))
    return b"".join(out)
