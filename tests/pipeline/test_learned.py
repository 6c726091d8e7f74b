"""The learned map against a dictionary and against its own reference."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.l2p.learned import Figures, compact, figures, forget, learn, new_learned, predict
from pipeline.ftl.l2p.learned_fit import GROUP
from pipeline.ftl.l2p.learned_levels import Learned
from tests.reference import learned as reference
from traces.kernel import lean_kernel
from traces.table import I64, Bool

pytestmark = pytest.mark.kernels


@lean_kernel
def _predict_all(m: Learned, guess: I64, found: Bool, steps: I64) -> None:
    for page in range(guess.size):
        guess[page], found[page], steps[page] = predict(m, page)


def answers(m: Learned, pages: int) -> list[tuple[int, bool, int]]:
    guess, found, steps = np.zeros(pages, np.int64), np.zeros(pages, np.bool_), np.zeros(pages, np.int64)
    _predict_all(m, guess, found, steps)
    return list(zip(guess.tolist(), found.tolist(), steps.tolist(), strict=True))


class Both:
    """The map, its reference and the truth, told the same."""

    def __init__(self, logical: int, gamma: int = 0, pages: int = 64, shift: int = 6, most: int = 1 << 12) -> None:
        self.logical, self.gamma, self.pages, self.shift = logical, gamma, pages, shift
        self.map = new_learned(logical, gamma=gamma, pages=pages, shift=shift, most=most)
        self.reference = reference.Learned(gamma, pages, shift, most)
        self.truth: dict[int, int] = {}
        self.programmed = 0

    def cells(self, count: int) -> list[int]:
        """The next ones: blocks are filled one after the other, and stand 2**shift apart."""
        at = range(self.programmed, self.programmed + count)
        self.programmed += count
        return [(i // self.pages << self.shift) + i % self.pages for i in at]

    def learn(self, pages: Sequence[int], cells: Sequence[int]) -> None:
        learn(self.map, np.array(pages, np.int64), np.array(cells, np.int64), len(pages))
        self.reference.learn(pages, cells)
        self.truth.update(zip(pages, cells, strict=True))

    def write(self, pages: Sequence[int]) -> None:
        """A write buffer's pages, in the order of the pages."""
        self.learn(sorted(set(pages)), self.cells(len(set(pages))))

    def forget(self, page: int) -> None:
        forget(self.map, page)
        self.reference.forget(page)
        self.truth.pop(page, None)

    def compact(self) -> None:
        compact(self.map)
        self.reference.compact()

    def check(self) -> Figures:
        """All pages are found where they are, within gamma and in their block; no other is found."""
        have = answers(self.map, self.logical)
        for page, (guess, found, _) in enumerate(have):
            assert found == (page in self.truth), page
            if found:
                assert abs(guess - self.truth[page]) <= self.gamma, page
                assert self.gamma == 0 or guess >> self.shift == self.truth[page] >> self.shift
                assert guess & ((1 << self.shift) - 1) < self.pages
        assert have == [self.reference.predict(page) for page in range(self.logical)]
        told = figures(self.map)
        assert told._asdict() == self.reference.figures()
        assert told.bytes == 8 * (told.accurate + told.approximate) + told.covered + told.approximate
        return Figures(*told)


def history(both: Both, seed: int, steps: int) -> Iterator[None]:
    """Flushes of scattered pages and of runs, pages moved in no order, discards and compactions."""
    chance, n = np.random.default_rng(seed), both.logical
    for _ in range(steps):
        what = chance.choice(6, p=[0.3, 0.3, 0.15, 0.1, 0.05, 0.1])
        if what == 0:
            both.write(chance.choice(n, min(n, int(chance.integers(1, 90))), replace=False).tolist())
        elif what == 1:
            first, step = int(chance.integers(0, n)), int(chance.integers(1, 5))
            both.write(range(first, min(n, first + int(chance.integers(1, 120)) * step), step))
        elif what == 2:  # pages of one or more runs, as a collected block holds them; some are moved twice
            moved = [p for p in chance.integers(0, n, chance.integers(1, 70)).tolist() if p in both.truth]
            both.learn(moved, both.cells(len(moved)))
        elif what == 3:
            for page in chance.integers(0, n, 12).tolist():
                both.forget(page)
        elif what == 4:
            both.compact()
        else:
            both.cells(int(chance.integers(0, 40)))  # another's pages
        yield


geometries = st.sampled_from([(64, 6), (5, 3), (70, 7), (256, 8)])


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(1, 3 * GROUP), st.sampled_from([0, 0, 1, 2, 7, 40]), geometries)
def test_learned__finds_all_pages_and_is_the_reference(
    seed: int, logical: int, gamma: int, geometry: tuple[int, int]
) -> None:
    both = Both(logical, gamma, *geometry, most=50)
    for _ in history(both, seed, 30):
        pass
    both.check()
    both.compact()
    both.check()


@pytest.mark.parametrize("gamma", [0, 1, 8])
def test_learned__after_each_step_of_a_long_history(gamma: int) -> None:
    both = Both(2 * GROUP - 3, gamma, 70, 7)
    for step, _ in enumerate(history(both, 11 + gamma, 300)):
        if step % 20 == 0:
            both.check()
    told = both.check()
    assert (told.approximate > 0) == (gamma > 0)
    assert told.deepest > 5


@pytest.mark.parametrize("gamma", [0, 4])
def test_learned__group_never_needs_more_room(gamma: int) -> None:
    """Pages on their own, again and again without compaction: what is full is compacted by itself."""
    both, chance = Both(GROUP, gamma, 16, 4), np.random.default_rng(5)
    for _ in range(40):
        order = chance.permutation(GROUP).tolist()
        both.learn(order, both.cells(GROUP))
        for page in chance.integers(0, GROUP, 9).tolist():
            both.forget(page)
        both.write(chance.integers(0, GROUP, 30).tolist())
    both.check()


def test_learned__sequential_pages_are_a_segment_a_group() -> None:
    both = Both(10 * GROUP)
    both.write(range(10 * GROUP))
    assert both.check() == Figures(accurate=10, approximate=0, covered=0, groups=10, deepest=1, levels=10)
    both.write(range(10 * GROUP))  # again, elsewhere: nothing of the old ones is left
    assert both.check().bytes == 80


@pytest.mark.parametrize("gamma", [0, 8])
def test_learned__runs_end_with_the_block_where_blocks_stand_apart(gamma: int) -> None:
    both = Both(GROUP, gamma, 60, 6)
    both.write(range(GROUP))
    told = both.check()
    assert (told.accurate, told.approximate) == (5, 0)  # 60, 60, 60, 60 and 16 pages


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 31, 64, 85, 100, 126, 127, 128, 200, 255])
def test_learned__strides_are_exact(stride: int) -> None:
    for first in range(min(stride, GROUP - stride)):
        both = Both(GROUP)
        pages = range(first, GROUP, stride)
        both.write(pages)
        assert both.check().accurate == (1 if stride <= 127 else len(pages))


def test_learned__approximate_segments_save_bytes() -> None:
    pages = [0, 1, 3, 4, 6, 8, 9, 12, 13, 15, 17, 18, 20, 21, 24, 25]
    exact, near = Both(GROUP, 0), Both(GROUP, 1)
    for both in (exact, near):
        both.write(pages)
    assert exact.check().bytes > 8 * 6
    assert near.check() == Figures(accurate=0, approximate=1, covered=16, groups=1, deepest=1, levels=1)
    assert near.check().bytes == 8 + 16 + 1
    near.forget(0)
    near.forget(9)
    near.write([12, 25])
    assert near.check().covered == 12


def test_learned__last_of_a_page_given_twice_counts() -> None:
    for most in (2, 100):
        both = Both(GROUP, most=most)
        both.learn([5, 4, 5, 6, 4], [10, 11, 12, 13, 14])
        both.check()
        assert both.truth == {5: 12, 4: 14, 6: 13}


def test_forget__cuts_a_page_out_of_every_level() -> None:
    both = Both(GROUP)
    both.write(range(100))
    both.write(range(0, 100, 2))
    both.write(range(0, 100, 3))
    assert both.check().levels == 3
    both.forget(60)  # covered by all three
    assert both.check().accurate == 6
    for page in range(100):
        both.forget(page)
    assert both.check() == Figures(0, 0, 0, 0, 0, 0)
    both.forget(7)  # it stands nowhere
    both.write([7])
    assert both.check().accurate == 1


def test_compact__drops_what_is_covered_and_changes_no_answer() -> None:
    both = Both(GROUP)
    for _ in range(20):
        both.write(range(0, GROUP, 2))
        both.write(range(1, GROUP, 3))
        both.write(range(40))
    before = both.check()
    both.compact()
    after = both.check()
    assert after.accurate < before.accurate
    assert after.deepest <= before.deepest
    both.compact()
    assert both.check() == after


def test_cells__to_the_last_of_32_bits() -> None:
    both = Both(GROUP, 2, 64, 6)
    last = (1 << 32) - 64
    both.learn([255, *range(10, 60)], [last + 63, *range(last, last + 50)])
    both.learn(range(200, 250), range(50))  # where lines begin before the first cell
    both.check()
