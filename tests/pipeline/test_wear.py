"""Wear block by block: a life in the kernels and the reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ftl.victim import NONE, Phase, Victim, pick
from pipeline.ftl.wear.config import Levelling, Rber, Retirement, Spread, Wearing
from pipeline.ftl.wear.level import coldest, withdraw
from pipeline.ftl.wear.model import (
    FtlWear,
    begin_wear,
    erase_block,
    read_page,
    wear_row,
)
from tests.pipeline.worn import PAGES, closed, drawn, figures, lost, opened, phases, reference_of, worn
from traces.table import records

pytestmark = pytest.mark.kernels


def aged(config: Wearing, worn: float) -> Wearing:
    if not config.wears:  # drives do not call what is off
        config = replace(config, levelling=Levelling.STATIC)
    return replace(config, worn=worn if config.retirement or config.rber else 0.0)


settings_of = st.builds(
    Wearing,
    endurance=st.sampled_from([2, 5, 12, 2600]),
    endurance_spread=st.sampled_from([0.0, 0.2, 0.6]),
    spread=st.sampled_from(Spread),
    factory_bad=st.sampled_from([0.0, 0.02]),
    levelling=st.sampled_from(Levelling),
    levelling_gap=st.integers(1, 3),
    levelling_every=st.integers(1, 4),
    retirement=st.sampled_from([Retirement.FIXED, Retirement.CAPACITY_VARIANT, Retirement.NONE]),
    rber=st.sampled_from(Rber),
    retries=st.integers(0, 6),
    retention_unit=st.sampled_from([50, 10**6]),
)
configs = st.builds(aged, settings_of, st.sampled_from([0.0, 0.5, 0.9]))


class Life:
    """A drive's blocks and the reference's, lived through alike."""

    def __init__(self, config: Wearing, victim: Victim, logical: int, seed: int, before: int) -> None:
        total = 55  # one of them is bad at 0.02
        self.chance = np.random.default_rng(seed)
        self.blocks, self.wear = worn(config, total, logical, seed, victim=victim)
        self.want = reference_of(config, self.blocks, self.wear, drawn(config, total, seed)[1])
        self.now = self.mapped = 0
        for _ in range(before):  # a prefill: counted, and forgotten
            self.turn()
            while self.want.closed and self.chance.random() < 0.5:
                self.collect()
        self.blocks.erases[:] = 0
        self.want.erases = dict.fromkeys(self.want.erases, 0)
        self.want.most = self.want.since = 0
        begin_wear(self.blocks, self.wear)
        self.counting = True

    counting = False

    def turn(self) -> None:
        """Open a block, program all of it and close it."""
        if not self.want.erased:
            return
        block = opened(self.blocks, self.wear)
        assert block == self.want.open()
        self.blocks.valid[block] = PAGES
        closed(self.blocks, self.wear, block)
        self.want.close(block)
        self.blocks.head[0].clock += PAGES

    def collect(self) -> None:
        block = pick(self.blocks)
        assert block in self.want.closed
        if self.blocks.victim in (Victim.GREEDY, Victim.GREEDY_FIRST):
            assert self.blocks.valid[block] == min(self.blocks.valid[each] for each in self.want.closed)
        self.empty(block)

    def empty(self, block: int) -> None:
        self.want.closed.remove(block)
        if self.counting:
            assert erase_block(self.blocks, self.wear, block, self.mapped) == self.want.erase(block, self.mapped)
        else:
            assert not erase_block(self.blocks, self.wear, block, self.mapped)
            self.want.reads[block] = 0
            self.want.erased.append(block)

    def level(self) -> None:
        block = coldest(self.blocks, self.wear)
        assert (None if block == NONE else block) == self.want.coldest()
        if block != NONE:
            withdraw(self.blocks, block)
            self.empty(block)

    def lose(self) -> None:
        block = int(self.chance.choice(sorted(self.want.closed)))
        if self.blocks.valid[block]:
            lost(self.blocks, block)

    def read(self) -> None:
        block = int(self.chance.choice(sorted(self.want.closed)))
        assert read_page(self.blocks, self.wear, block) == self.want.read(block)

    def step(self) -> None:
        what = self.chance.choice(["turn", "collect", "lose", "read"], p=[0.35, 0.3, 0.25, 0.1])
        self.now += int(self.chance.choice([0, 7, 3000]))
        self.wear.state[0].now = self.want.now = self.now
        self.mapped = int(self.chance.integers(self.wear.logical + 1))
        if what == "turn":
            self.level()
            self.turn()
        elif self.want.closed:
            {"collect": self.collect, "lose": self.lose, "read": self.read}[what]()

    def check(self) -> None:
        blocks, wear, want, state = self.blocks, self.wear, self.want, self.wear.state[0]
        assert blocks.erases.tolist() == list(want.erases.values())
        assert phases(blocks, Phase.RETIRED) == want.retired
        assert phases(blocks, Phase.ERASED) == set(want.erased)
        assert state.factory_bad == want.bad
        assert state.factory_bad + state.grown_bad == len(want.retired)  # X7
        assert (state.deferred, state.read_retries, state.uncorrectable, bool(state.worn_out)) == (
            *(want.count[name] for name in ("deferred", "retries", "lost")),
            want.worn_out,
        )
        have = figures(blocks, wear, self.mapped)
        assert have[:2] == (want.good(), want.exported())
        assert have.refuses == (want.retirement == "capacity-variant" and self.mapped >= want.exported())
        data = self.mapped if want.retirement == "capacity-variant" else want.logical
        assert have.exhausted == (not want.spared(data))
        out = records(FtlWear, 1)
        wear_row(blocks, wear, True, out, 0)
        told, erases = {name: out[name][0] for name in FtlWear._fields}, want.distribution()
        shares = {f"cycles_p{p}": want.age + erases[-(-p * len(erases) // 100) - 1] for p in (10, 50, 90)}
        assert {name: told[name] for name in shares} == shares
        assert told["cycles_min"] == want.age + erases[0]
        assert told["cycles_max"] == want.age + erases[-1]
        assert told["cycles_mean"] == pytest.approx(want.age + np.mean(erases))
        assert told["cycles_std"] == pytest.approx(np.std(erases))
        assert told["physical_pages"] == PAGES * (blocks.total - want.bad - state.grown_bad)  # X7
        assert (told["retired_blocks"], told["factory_bad_blocks"]) == (state.grown_bad, state.factory_bad)
        assert told["exported_pages"] == want.exported()
        assert (told["read_retries"], told["uncorrectable_reads"]) == (want.count["retries"], want.count["lost"])


@settings(deadline=None, max_examples=150)
@given(
    configs,
    st.sampled_from(Victim),
    st.sampled_from([60, 150, 190]),
    st.integers(0, 1 << 32),
    st.integers(0, 30),
    st.integers(0, 400),
)
def test_wear__is_the_reference(
    config: Wearing, victim: Victim, logical: int, seed: int, before: int, steps: int
) -> None:
    life = Life(config, victim, logical, seed, before)
    for _ in range(steps):
        life.step()
    life.check()
    while life.want.closed:  # nothing was lost of what the policies choose from
        life.collect()
    while life.want.erased:  # nor of the order in which blocks are opened
        assert opened(life.blocks, life.wear) == life.want.open()


@pytest.mark.parametrize("retirement", [Retirement.FIXED, Retirement.CAPACITY_VARIANT])
@pytest.mark.parametrize("levelling", Levelling)
def test_wear__retires_as_the_reference_to_the_end(retirement: Retirement, levelling: Levelling) -> None:
    config = Wearing(endurance=9, endurance_spread=0.3, retirement=retirement, levelling=levelling, levelling_gap=2)
    life = Life(config, Victim.FIFO, 150, 3, 10)
    while not life.wear.state[0].worn_out:
        life.step()
    life.check()
    assert life.wear.state[0].grown_bad > 5
    good = life.want.good()
    # fixed: as few as hold all; variant: as few as held what was mapped, never less than that
    assert good >= (150 // PAGES + 3 if retirement == Retirement.FIXED else 3)
    if retirement == Retirement.FIXED:
        assert good == 150 // PAGES + 3
