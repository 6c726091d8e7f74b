"""LRU caches of keys, one for each size; and the sample that stands for them, as a list in the order of last use."""

from collections import OrderedDict
from collections.abc import Sequence

from tests.reference.profile import Reuse

Looked = Sequence[tuple[int, bool]]  # a key, and whether a read looked it up


def lru(lookups: Looked, size: int) -> tuple[int, int]:
    """Hits of a cache of so many keys: of all lookups, and of reads."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = of_reads = 0
    for key, read in lookups:
        if key in cache:
            hits += 1
            of_reads += read
            cache.move_to_end(key)
            continue
        cache[key] = None
        if len(cache) > size:
            cache.popitem(last=False)
    return hits, of_reads


class Sample:
    """Distances of the lookups of ``most`` keys at most, each as many times as its key stands for."""

    def __init__(self, most: int, lookups: Looked) -> None:
        self.reuse, self.lookups = Reuse(most), lookups
        self.distances: dict[bool, list[int]] = {True: [], False: []}
        self.cold = {True: 0, False: 0}
        for key, read in lookups:
            page, before = (-1, key), len(self.reuse.distances)
            known = page in self.reuse.sampled.known
            self.reuse.use(page)
            self.distances[read] += self.reuse.distances[before:]
            if not known and page in self.reuse.sampled.known:
                self.cold[read] += self.step

    @property
    def step(self) -> int:
        return 1 << self.reuse.sampled.shift

    @property
    def keys(self) -> int:
        return sum(self.cold.values())

    def hits(self, size: int, *, reads: bool) -> int:
        """Hits of a cache of so many keys, a multiple of the step; what is missing or too many hits every one."""
        kinds = [True] if reads else [True, False]
        distances = [d for kind in kinds for d in self.distances[kind]]
        lookups = sum(read in kinds for _, read in self.lookups)
        cold = sum(self.cold[kind] for kind in kinds)
        missing = lookups - cold - len(distances)
        return max(sum(d < size for d in distances) + missing, 0)
