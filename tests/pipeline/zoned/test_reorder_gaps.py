"""The gap timer of the reorder buffers, by hand."""

import pytest

from pipeline.ftl.zoned.reorder import Acknowledge, Buffers, GapAction, Rules, settle
from pipeline.ftl.zoned.state import State, Zones
from tests.pipeline.zoned.buffered import PUT, WAIT, made, performed, pieces, stored, waiting
from traces.block import Op
from traces.config import spelled

pytestmark = pytest.mark.kernels


def timed(action: GapAction, acknowledge: Acknowledge = Acknowledge.BUFFER, **limits: int) -> tuple[Zones, Buffers]:
    return made(Rules(64, 64, gap_timer=100, gap_action=action, acknowledge=acknowledge), count=2, **limits)


@pytest.mark.parametrize("acknowledge", Acknowledge, ids=spelled)
def test_timer_error(acknowledge: Acknowledge) -> None:
    zones, buffers = timed(GapAction.ERROR, acknowledge)
    performed(zones, buffers, [(PUT, 0, 8, 8, 0, 0), (PUT, 0, 24, 4, 0, 90), (WAIT, 0, 0, 0, 0, 99)])
    tally = buffers.tally[0]
    assert tally.timeouts == 0
    performed(zones, buffers, [(WAIT, 0, 0, 0, 0, 100), (WAIT, 0, 0, 0, 0, 1000)])
    assert tally.timeouts == 1
    lost, late = (2, 0) if acknowledge == Acknowledge.BUFFER else (0, 2)
    assert (tally.lost_writes, tally.lost_blocks, tally.late_writes, tally.late_blocks) == (
        lost,
        6 * lost,
        late,
        6 * late,
    )
    assert not pieces(buffers)
    assert stored(buffers) == {0: [], 1: []}
    assert not buffers.used.any()
    assert performed(zones, buffers, [(PUT, 0, 0, 8, 0, 1000), (PUT, 0, 16, 8, 0, 1001)]) == [0, 0]
    assert waiting(buffers) == [(0, 1101)]


def test_timer_pad() -> None:
    """The second gap begins when the first is padded, whenever the next command comes."""
    zones, buffers = timed(GapAction.PAD)
    performed(zones, buffers, [(PUT, 0, 8, 8, 0, 0), (PUT, 0, 24, 4, 0, 90), (WAIT, 0, 0, 0, 0, 1000)])
    tally = buffers.tally[0]
    assert pieces(buffers) == [(0, 0, 8, -1), (0, 8, 8, 0), (0, 16, 8, -1), (0, 24, 4, 1)]
    assert (tally.timeouts, tally.pads, tally.padded, tally.programmed) == (2, 2, 16, 12)
    assert tally.held == 100 + 110
    settle(buffers, 1000)
    assert tally.occupancy == 90 * 8 + 10 * 12 + 100 * 4
    assert not waiting(buffers)


def test_timer_pad__of_a_zone_that_can_not_be_opened() -> None:
    zones, buffers = timed(GapAction.PAD, max_open=1)
    steps = [(PUT, 0, 8, 8, 0, 0), (Op.ZONE_CLOSE, 0, 0, 0, 0, 0), (Op.ZONE_OPEN, 1, 0, 0, 0, 0)]
    performed(zones, buffers, [*steps, (WAIT, 0, 0, 0, 0, 100)])
    assert (buffers.tally[0].lost_writes, buffers.tally[0].pads) == (1, 0)
    assert zones.state.tolist() == [State.CLOSED, State.EXPLICITLY_OPEN]


def test_timer_notify() -> None:
    zones, buffers = timed(GapAction.NOTIFY)
    performed(zones, buffers, [(PUT, 0, 8, 8, 0, 0), (PUT, 0, 24, 4, 0, 200), (WAIT, 0, 0, 0, 0, 1000)])
    assert (buffers.tally[0].timeouts, buffers.tally[0].notified) == (1, 1)
    performed(zones, buffers, [(PUT, 0, 0, 8, 0, 1001), (WAIT, 0, 0, 0, 0, 1100)])
    assert buffers.tally[0].notified == 1
    assert zones.wp[0] == 16
    performed(zones, buffers, [(WAIT, 0, 0, 0, 0, 1101), (WAIT, 0, 0, 0, 0, 5000)])
    assert buffers.tally[0].notified == 2
    assert stored(buffers)[0] == [(24, 4, 1)]


def test_a_smaller_gap_is_the_same_gap() -> None:
    zones, buffers = timed(GapAction.ERROR)
    performed(zones, buffers, [(PUT, 0, 8, 8, 0, 0), (PUT, 1, 8, 8, 0, 10), (PUT, 0, 0, 4, 0, 50)])
    assert waiting(buffers) == [(0, 100), (1, 110)]
    performed(zones, buffers, [(PUT, 0, 4, 4, 0, 60)])
    assert waiting(buffers) == [(1, 110)]
