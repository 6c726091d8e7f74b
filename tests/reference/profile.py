"""The characterisation of a trace, told in dicts and lists: slow, and plainly right."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

# what an operation does, in words; "seen" uses a page and is neither read nor written
BLOCK = {0: "read", 1: "write", 2: "discard", 3: "flush", 5: "write"}
MEMORY = {0: "read", 1: "write", 2: "fetch", 3: "read write", 4: "seen", 5: "dirty", 255: "seen"}
LOOKS, CHANGES = {"read", "fetch"}, {"write", "dirty"}
PAGE, LONGEST, BIN = 4096, 1 << 32, 100_000_000
M64 = (1 << 64) - 1

Row = tuple[int, int, int, int, int, int]  # time, op, volume, address, length, latency


def place(volume: int, page: int) -> int:
    """A hash of a page's place."""
    z = ((volume + 1) * 0xD1342543DE82EF95 + page * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def quantile(values: Sequence[int], percent: int) -> int:
    """Nearest rank, to 8 significant binary digits; -1 of nothing."""
    if not values:
        return -1
    value = sorted(values)[-(-len(values) * percent // 100) - 1]
    digits = max(value.bit_length() - 8, 0)
    return value >> digits << digits


def share(part: float, whole: float) -> float:
    return part / whole if whole else -1.0


class Sampled:
    """Places, of which so many at most are followed: 1 in 2**shift, by a hash of the place."""

    def __init__(self, most: int) -> None:
        self.most, self.shift = most, 0
        self.known: dict[tuple[int, int], dict[str, Any]] = {}

    def follows(self, page: tuple[int, int]) -> bool:
        return place(*page) <= M64 >> self.shift

    def use(self, page: tuple[int, int]) -> tuple[dict[str, Any], bool] | None:
        """What is known of a page, and whether it is new; None if it is not followed."""
        if not self.follows(page):
            return None
        new = page not in self.known
        while new and len(self.known) >= self.most:
            self.shift += 1
            self.known = {key: value for key, value in self.known.items() if self.follows(key)}
            if not self.follows(page):
                return None
        return self.known.setdefault(page, {}), new


class Reuse:
    """Stack distances: a list of pages in the order of their last use."""

    def __init__(self, most: int) -> None:
        self.sampled, self.stack = Sampled(most), list[tuple[int, int]]()
        self.distances: list[int] = []
        self.uses = 0

    def use(self, page: tuple[int, int]) -> None:
        self.uses += 1
        found = self.sampled.use(page)
        self.stack = [each for each in self.stack if each in self.sampled.known]
        if found is None:
            return
        weight = 1 << self.sampled.shift
        if not found[1]:
            behind = len(self.stack) - 1 - self.stack.index(page)
            self.distances += [behind * weight] * weight
            self.stack.remove(page)
        self.stack.append(page)

    def adjusted(self, pages: int) -> list[int]:
        """A sample's distances, with zeros more or fewer until they are as many as uses that were no page's first."""
        if not self.sampled.shift:
            return self.distances
        zeros = max(self.distances.count(0) + self.uses - pages - len(self.distances), 0)
        return [0] * zeros + [d for d in self.distances if d]


class Part:
    """What is counted of the whole trace, of a volume, or of a volume in a window."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.latencies: dict[str, list[int]] = {"read": [], "write": []}
        self.updates: list[int] = []
        self.gaps: list[int] = []
        self.times: list[int] = []

    def gap(self) -> tuple[float, float]:
        if not self.gaps:
            return -1.0, -1.0
        mean = sum(self.gaps) / len(self.gaps)
        spread = math.sqrt(max(sum(float(g) * g for g in self.gaps) / len(self.gaps) - mean * mean, 0.0))
        return mean, spread / mean if mean else -1.0

    def dispersion(self, bins: int) -> float:
        counts = [sum(time // BIN == each for time in self.times) for each in range(bins)]
        if bins < 2 or not sum(counts):
            return -1.0
        mean = sum(counts) / bins
        return (sum(c * c for c in counts) / bins - mean * mean) / mean


def profile(
    rows: Sequence[Row],
    volumes: int,
    *,
    window: int,
    pages: int,
    regions: int,
    reuse: Sequence[int],
    timed: bool,
    words: Mapping[int, str] = BLOCK,
    unsized: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of three tables; ``reuse`` is how many pages each sample holds, the whole trace's first.

    ``words`` tells what operations do, ``unsized`` that what has no bytes uses its page all the same.
    """
    parts = [Part() for _ in range(volumes + 1)]
    opened: dict[tuple[int, int], Part] = {}  # window, volume
    recent: dict[int, list[int]] = defaultdict(list)
    followed = Sampled(pages)
    samples = [Reuse(most) for most in reuse]
    grain = 1 << 20
    begun: dict[tuple[int, int], Counter[str]] = {}  # volume, region
    for time, op, volume, address, length, latency in rows:
        now = opened.setdefault((time // window, volume), Part())
        mine, does = (parts[0], parts[volume + 1]), set(words.get(op, "").split())
        both: list[str] = [each for each in ("read", "write") if each in does]
        if parts[volume + 1].times:
            now.gaps.append(time - parts[volume + 1].times[-1])
        for part in mine:
            if part.times:
                part.gaps.append(time - part.times[-1])
            part.times.append(time)
        if latency >= 0:
            now.count["latency"] += latency
        for part in (*mine, now):
            part.count["requests"] += 1
            part.count["known"] += latency >= 0
            for each in both or ["other"]:
                part.count[each] += 1
                part.count[f"bytes {each}"] += length
            part.count["discards"] += "discard" in does
            part.count["flushes"] += "flush" in does
            part.count["bytes discarded"] += length if "discard" in does else 0
            if latency >= 0 and both:
                part.latencies[both[0]].append(latency)
        if not does - {"discard", "flush"} or not (length or unsized):
            continue
        for part in (*mine, now) if length else ():
            part.sizes.append(length)
            part.count["aligned"] += address % PAGE == 0 and length % PAGE == 0
            part.count["sequential"] += address in recent[volume][-32:]
        if length:
            recent[volume].append(address + length)
        end = address + min(max(length, 1), LONGEST)

        at = address
        while at < end:
            key = volume, at // grain
            while key not in begun and len(begun) >= regions:
                grain *= 2
                coarser: dict[tuple[int, int], Counter[str]] = {}
                for (v, region), seen in begun.items():
                    coarser.setdefault((v, region // 2), Counter()).update(seen)
                begun, key = coarser, (volume, at // grain)
            stop = min((at // grain + 1) * grain, end)
            here = begun.setdefault(key, Counter())
            here["requests"] += at == address
            for each in both:
                here[each] += at == address
                here[f"bytes {each}"] += stop - at if length else 0
            at = stop

        for number in range(address // PAGE, -(-end // PAGE)):
            page = volume, number
            if found := followed.use(page):
                known, new = found
                weight = 1 << followed.shift
                now.count["pages"] += weight if known.get("window") != time // window else 0
                now.count["new pages"] += weight if new else 0
                known["window"] = time // window
                known["read"] = known.get("read", False) or bool(does & LOOKS)
                if does & CHANGES:
                    for part in mine:
                        part.count["page writes"] += weight
                        if "written" in known:
                            part.count["overwrites"] += weight
                            part.updates += [time - known["written"]] * weight
                    known["written"] = time
            samples[0].use(page)
            if len(samples) > 1:
                samples[volume + 1].use(page)

    bins = parts[0].times[-1] // BIN
    weight = 1 << followed.shift
    profiles = []
    for i, part in enumerate(parts):
        c, reads, writes = part.count, part.count["read"], part.count["write"]
        sample = samples[i if len(samples) > 1 else 0]
        mine_pages = [k for (v, _), k in followed.known.items() if i in (0, v + 1)]
        counts = sorted((r["requests"] for (v, _), r in begun.items() if i in (0, v + 1)), reverse=True)
        gap = part.gap() if timed else (-1.0, -1.0)
        distances = sample.adjusted(len(mine_pages) * weight)
        profiles.append(
            {
                "volume": i - 1,
                "requests": c["requests"],
                "reads": reads,
                "writes": writes,
                "discards": c["discards"],
                "flushes": c["flushes"],
                "others": c["other"] - c["discards"] - c["flushes"],
                "bytes_read": c["bytes read"],
                "bytes_written": c["bytes write"],
                "bytes_discarded": c["bytes discarded"],
                "read_share": share(reads, reads + writes),
                **{f"size_p{p}": quantile(part.sizes, p) for p in (10, 50, 90)},
                "size_max": max(part.sizes, default=-1),
                "aligned": share(c["aligned"], len(part.sizes)),
                "sequential": share(c["sequential"], len(part.sizes)),
                "pages": len(mine_pages) * weight,
                "pages_read": sum(k["read"] for k in mine_pages) * weight,
                "pages_written": sum("written" in k for k in mine_pages) * weight,
                "pages_shared": sum(k["read"] and "written" in k for k in mine_pages) * weight,
                "page_rate": 1 / weight,
                "overwrites": share(c["overwrites"], c["page writes"]),
                **{f"update_p{p}": quantile(part.updates, p) if timed else -1 for p in (50, 90)},
                **{f"reuse_p{p}": quantile(distances, p) for p in (50, 90)},
                "reuse_rate": 1 / (1 << sample.sampled.shift),
                "region_bytes": grain,
                "regions": len(counts),
                "top_1": share(sum(counts[: -(-len(counts) // 100)]), sum(counts)),
                "top_10": share(sum(counts[: -(-len(counts) // 10)]), sum(counts)),
                "gap_mean": gap[0],
                "gap_cv": gap[1],
                "dispersion": part.dispersion(bins) if timed else -1.0,
                "latency_known": share(c["known"], c["requests"]),
                **{
                    f"{what}_latency_p{p}": quantile(part.latencies[what], p)
                    for what in ("read", "write")
                    for p in (50, 90, 99)
                },
                "tick": math.gcd(*(row[0] for row in rows)),
                "window_length": window,
            }
        )

    windows = []
    for (number, volume), part in sorted(opened.items()):
        c, gap = part.count, part.gap() if timed else (-1.0, -1.0)
        windows.append(
            {
                "time": number * window,
                "volume": volume,
                "requests": c["requests"],
                "reads": c["read"],
                "writes": c["write"],
                "others": c["other"],
                "bytes_read": c["bytes read"],
                "bytes_written": c["bytes write"],
                "read_share": share(c["read"], c["read"] + c["write"]),
                "sequential": share(c["sequential"], len(part.sizes)),
                "pages": c["pages"],
                "new_pages": c["new pages"],
                "gap_mean": gap[0],
                "gap_cv": gap[1],
                "depth": c["latency"] / window if c["known"] else -1.0,
            }
        )

    total = sum(r["requests"] for r in begun.values())
    ranked = sorted(begun.items(), key=lambda each: (-each[1]["requests"], each[0]))[:32]
    top = [
        {
            "rank": rank,
            "volume": volume,
            "address": region * grain,
            "length": grain,
            "requests": r["requests"],
            "reads": r["read"],
            "writes": r["write"],
            "bytes_read": r["bytes read"],
            "bytes_written": r["bytes write"],
            "share": share(r["requests"], total),
        }
        for rank, ((volume, region), r) in enumerate(ranked, start=1)
    ]
    return profiles, windows, top
