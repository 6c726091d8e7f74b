"""A learned map, told in sets and lists: slow, and plainly what is meant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GROUP, ROOM, DEPTH, STRIDE, ONE = 256, 512, 258, 127, 1 << 15


def rounded(slope: int, offset: int) -> int:
    return (slope * offset + ONE // 2) // ONE


@dataclass
class Segment:
    """A line and the pages (offsets in their group) that it covers."""

    pages: set[int]
    slope: int
    intercept: int
    approximate: bool

    @property
    def first(self) -> int:
        return min(self.pages)

    @property
    def last(self) -> int:
        return max(self.pages)

    def overlaps(self, others: Iterable["Segment"]) -> bool:
        return any(self.first <= other.last and other.first <= self.last for other in others)

    def guess(self, offset: int) -> int:
        return self.intercept + rounded(self.slope, offset)

    def lose(self, pages: set[int]) -> None:
        """Of an approximate one any page; of an accurate one those at its ends, for the others follow from the line."""
        if self.approximate:
            self.pages -= pages
        while self.pages and self.first in pages:
            self.pages.remove(self.first)
        while self.pages and self.last in pages:
            self.pages.remove(self.last)


Points = Sequence[tuple[int, int]]  # offset, cell


class Learned:
    def __init__(self, gamma: int, pages: int, shift: int, most: int) -> None:
        self.gamma, self.pages, self.shift, self.most = gamma, pages, shift, most
        self.groups: dict[int, list[list[Segment]]] = {}

    # lines

    def accurate(self, points: Points) -> Segment:
        """Through as many of the first points as it can."""
        (first, cell), slope, taken = points[0], ONE, 1
        if len(points) > 1 and points[1][0] - first <= STRIDE:
            stride = points[1][0] - first
            slope = (ONE + stride // 2) // stride
            intercept = cell - rounded(slope, first)
            for i, (offset, at) in enumerate(points):
                if (offset, at) != (first + i * stride, cell + i) or intercept + rounded(slope, offset) != at:
                    break
                taken = i + 1
            slope = slope if taken > 1 else ONE
        return Segment({p for p, _ in points[:taken]}, slope, cell - rounded(slope, first), False)

    def approximate(self, points: Points) -> Segment:
        (first, cell), low, high, taken = points[0], 0.0, 1.0, 1
        for offset, at in points[1:]:
            least, most = (at - cell - self.gamma) / (offset - first), (at - cell + self.gamma) / (offset - first)
            if at >> self.shift != cell >> self.shift or max(low, least) > min(high, most):
                break
            low, high, taken = max(low, least), min(high, most), taken + 1
        slope = max(1, int((low + high) * 0.5 * ONE + 0.5))
        while True:
            errors = [at - rounded(slope, offset) for offset, at in points[:taken]]
            line = Segment({p for p, _ in points[:taken]}, slope, (min(errors) + max(errors)) // 2, True)
            near = max(errors) - min(errors) <= 2 * self.gamma
            begin = cell >> self.shift << self.shift
            if near and all(begin <= line.guess(offset) < begin + self.pages for offset in line.pages):
                return line
            taken -= 1

    def fit(self, points: Points) -> list[Segment]:
        out = []
        while points:
            line = self.accurate(points)
            if self.gamma:
                other = self.approximate(points)
                instead, done = 0, 0
                while done < len(other.pages):
                    done += len(self.accurate(points[done:]).pages)
                    instead += 1
                line = other if 8 + len(other.pages) + 1 < 8 * instead else line
            out.append(line)
            points = points[len(line.pages) :]
        return out

    # levels

    def learn(self, pages: Sequence[int], cells: Sequence[int]) -> None:
        for begin in range(0, len(pages), self.most):
            self.learn_part(pages[begin : begin + self.most], cells[begin : begin + self.most])

    def learn_part(self, pages: Sequence[int], cells: Sequence[int]) -> None:
        groups: dict[int, dict[int, int]] = {}
        for page, cell in zip(pages, cells, strict=True):
            groups.setdefault(page // GROUP, {})[page % GROUP] = cell
        for number, cell_of in groups.items():
            levels = self.groups.get(number, [])
            if sum(map(len, levels)) + len(cell_of) > ROOM or len(levels) + 1 >= DEPTH:
                levels = self.compacted(levels)
            for level in levels:
                for seg in level:
                    if seg.approximate:
                        seg.lose(set(cell_of))
            levels = self.tidy(levels)
            self.groups[number] = self.entered(levels, self.fit(sorted(cell_of.items())))

    def entered(self, levels: list[list[Segment]], fresh: list[Segment]) -> list[list[Segment]]:
        """The levels with new segments on top."""
        pages = set().union(*(seg.pages for seg in fresh))
        top, rest = (levels[0], levels[1:]) if levels else ([], [])
        for seg in top:
            seg.lose(pages)
        top = [seg for seg in top if seg.pages]
        victims = [seg for seg in top if seg.overlaps(fresh)]
        second = rest[0] if rest else []
        own = [seg for seg in victims if seg.overlaps(second)]
        below = [seg for seg in victims if not seg.overlaps(second)]
        return self.tidy([fresh + [seg for seg in top if seg not in victims], own, second + below, *rest[1:]])

    def tidy(self, levels: list[list[Segment]]) -> list[list[Segment]]:
        return [kept for level in levels if (kept := [seg for seg in level if seg.pages])]

    def compacted(self, levels: list[list[Segment]]) -> list[list[Segment]]:
        covered: set[int] = set()
        out: list[list[Segment]] = []
        for level in levels:
            for seg in sorted(level, key=lambda each: each.first):
                if not seg.approximate:
                    seg.lose(covered)
                if seg.pages:
                    covered |= seg.pages
                    depth = max((i + 1 for i, kept in enumerate(out) if seg.overlaps(kept)), default=0)
                    out.extend([] for _ in range(depth + 1 - len(out)))
                    out[depth].append(seg)
        return out

    def compact(self) -> None:
        self.groups = {number: self.compacted(levels) for number, levels in self.groups.items()}

    def forget(self, page: int) -> None:
        levels, offset = self.groups.get(page // GROUP, []), page % GROUP
        if sum(map(len, levels)) + len(levels) > ROOM:
            levels = self.compacted(levels)
        for level in levels:
            for seg in [seg for seg in level if offset in seg.pages]:
                later = {p for p in seg.pages if p > offset}
                seg.pages.remove(offset)
                if not seg.approximate and later and len(later) < len(seg.pages):
                    seg.pages -= later
                    level.append(Segment(later, seg.slope, seg.intercept, False))
        self.groups[page // GROUP] = self.tidy(levels)

    # answers

    def predict(self, page: int) -> tuple[int, bool, int]:
        levels = self.groups.get(page // GROUP, [])
        for depth, level in enumerate(levels):
            for seg in level:
                if page % GROUP in seg.pages:
                    return seg.guess(page % GROUP), True, depth + 1
        return 0, False, len(levels)

    def figures(self) -> dict[str, int]:
        every = [seg for levels in self.groups.values() for level in levels for seg in level]
        inexact = [seg for seg in every if seg.approximate]
        depths = [len(levels) for levels in self.groups.values()]
        return {
            "accurate": len(every) - len(inexact),
            "approximate": len(inexact),
            "covered": sum(len(seg.pages) for seg in inexact),
            "groups": sum(depth > 0 for depth in depths),
            "deepest": max(depths, default=0),
            "levels": sum(depths),
        }
