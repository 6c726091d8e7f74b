from typing import Any

import numpy as np
import pytest

from pipeline.ftl.l2p.config import L2pConfig, flat_sizes, two_level_sizes
from tests.pipeline.test_l2p import PAGE, replayed, trace
from traces.config import configured
from traces.errors import ConfigError, TraceError

pytestmark = pytest.mark.kernels

GIB, MIB = 1 << 30, 1 << 20


def test_sizes__are_those_of_4_tib() -> None:
    pages = (4 << 40) // 4096
    assert flat_sizes(pages, 4).dram == 4 * GIB
    for slots, want in ((0, 8), (1, 18), (4, 48)):
        assert two_level_sizes(pages, fanout=512, slots=slots, pointer=4, page=4096).dram == want * MIB
    full = configured(L2pConfig, {"fanout": 1024})
    assert full.fanout * full.pointer == full.page
    with pytest.raises(ConfigError, match="1025 pointers of 4 bytes do not fit a page of 4096 bytes; 1024 do"):
        configured(L2pConfig, {"fanout": 1025})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slots": 16, "fanout": 16}, "slots: 16 is not fewer than the 16 pointers of a map page"),
        ({"placement": "recency"}, "placement: 'recency' is not one of them"),
        ({"maps": "dftl", "slot_policy": "fifo"}, "slot_policy has no effect unless maps has two-level$"),
        ({"maps": "two-level", "gamma": 1, "cache_entries": 5}, "cache_entries .* maps has dftl; gamma .* learned$"),
        ({"maps": "learned", "flush": "oldest"}, "flush has no effect unless maps has two-level or dftl$"),
        ({"maps": "dftl", "cache_entries": 9, "slots": 2}, "slots has no effect unless maps has two-level, or dftl"),
        ({"power_loss_protection": False}, "power_loss_protection has no effect while crash_at is 0$"),
        ({"streams": 3}, "streams has no effect"),
        ({"maps": "flat; dftl"}, "not the flat one"),
        ({"maps": ""}, "names each map once"),
        ({"maps": "two-levle"}, "did you mean 'two-level'"),
        ({"pointer": 2, "layout": "direct", "capacity": "1GiB"}, "pointers of 2 bytes are too short"),
        ({"dirty_batch": 0}, "dirty_batch"),
        ({"gamma": 128}, "gamma"),
        ({"spare": 0.02, "layout": "direct", "capacity": "4MiB"}, "the smallest that works is"),
    ],
)
def test_config__refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(L2pConfig, given)


def test_config__the_smallest_spare_that_it_tells_works() -> None:
    with pytest.raises(ConfigError) as refused:
        configured(L2pConfig, {"spare": 0.02, "layout": "direct", "capacity": "4MiB"})
    least = float(str(refused.value).rsplit(" ", 1)[1])
    config = configured(L2pConfig, {"spare": least, "layout": "direct", "capacity": "4MiB", "window": 1000})
    chance = np.random.default_rng(1)
    rows = [(i, 1, 0, int(page) * 4096, 4096, 0) for i, page in enumerate(chance.integers(0, 1024, 3000))]
    assert replayed(config, trace(rows))[1]["unserved"].to_list() == [0, 0, 0, 0]


def test_l2p__refuses_more_data_than_the_footprint() -> None:
    config = L2pConfig(page=PAGE, block_pages=2, spare=0.5, capacity=(GIB,), footprint=(32 * PAGE,), window=10)
    rows = [(i, 1, 0, i * 4096, PAGE, 0) for i in range(33)]
    with pytest.raises(TraceError, match=r"the write at 131072 \(volume 0, 32 ns\) finds no number for its page"):
        replayed(config, trace(rows))
