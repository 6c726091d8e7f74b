"""What all memory generators share: who accesses, when, from where."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

from traces.config import configured
from traces.errors import ConfigError
from traces.memory import Op
from traces.workloads.memory.pointer_chase import PointerChase
from traces.workloads.memory.streaming import Streaming, generate
from traces.workloads.memory.zipf_pages import ZipfPages

pytestmark = pytest.mark.kernels


def rows(**settings: Any) -> pl.DataFrame:
    return pl.concat(generate(configured(Streaming, {"accesses": 10_000} | settings)))


def test_accesses__are_made_in_turn() -> None:
    made = rows(spaces=3, cpus=2)
    turn = np.arange(10_000) % 6
    assert made["space"].to_list() == (turn // 2).tolist()
    assert made["cpu"].to_list() == (turn % 2).tolist()


def test_accesses__come_at_their_rate() -> None:
    assert rows(rate=1e8)["time"][:4].to_list() == [0, 10, 20, 30]
    assert rows(rate=1e12)["time"][-1] == 10
    gaps = rows(rate=1e6, arrival="poisson")["time"].diff().drop_nulls().cast(pl.Float64)
    assert kstest(gaps.to_numpy(), "expon", args=(0, 1000)).pvalue > 1e-3
    bursts = {"arrival": "on-off", "burst": "20us", "rate": 1e6}
    spread = [float(rows(**bursts, busy=busy)["time"].diff().drop_nulls().std()) for busy in (0.1, 0.9)]  # type: ignore[arg-type]
    assert spread[0] > 2 * spread[1]
    shorter = rows(**(bursts | {"burst": "40us"}))["time"]
    assert not shorter.equals(rows(**bursts)["time"])
    bent = {"arrival": "b-model", "rate": 1e6}
    assert not rows(**bent, bias=0.9)["time"].equals(rows(**bent)["time"])
    assert not rows(**bent, grain="1ms")["time"].equals(rows(**bent)["time"])


def test_columns__say_what_was_asked_for() -> None:
    made = rows(size=16, gap=7, base=1 << 40)
    assert made["size"].unique().to_list() == [16]
    assert made["gap"].unique().to_list() == [7]
    assert made["weight"].unique().to_list() == [0]
    assert made["accesses"].unique().to_list() == [1]
    assert made["address"].min() == 1 << 40
    assert (made["address"] % 16 == 0).all()


def test_sites__have_one_instruction_each() -> None:
    made = rows(footprint="1KiB")
    sites = made.group_by(made["raw"].cast(pl.String)).agg(pl.col("ip").unique(), pl.col("op").unique())
    assert sites.height == 10
    assert all(len(ips) == len(ops) == 1 for _, ips, ops in sites.iter_rows())
    assert made["ip"].n_unique() == 10
    words = {word for word, _, ops in sites.iter_rows() if ops == [Op.STORE]}
    assert words == {"copy c", "scale b", "add c", "triad a"}


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (Streaming, {"size": 12}, "no power of two"),
        (Streaming, {"base": 100}, "not a multiple of 64"),
        (Streaming, {"base": (1 << 57) - 64}, "past the last address"),
        (Streaming, {"accesses": 1 << 40, "rate": 1}, "raise rate"),
        (Streaming, {"footprint": 64, "cpus": 3}, "three elements of 8 bytes a processor"),
        (PointerChase, {"node": 20}, "not a multiple of size"),
        (PointerChase, {"fields": 8}, "a pointer and 8 fields of 8 bytes are more than a node's 64"),
        (PointerChase, {"stores": 0.5}, "set fields"),
        (PointerChase, {"footprint": 64, "cpus": 2}, "fewer than processors"),
        (ZipfPages, {"page": 100}, "multiple of 64"),
        (ZipfPages, {"footprint": 1024}, "less than a page"),
    ],
)
def test_impossible_settings__are_refused(config: type[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(config, settings)
