"""Producers, rings and the agent: against the reference, and each draw against its law."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare, kstest

from tests.reference import messages as reference
from tests.reference.workloads import splitmix64, zipf
from traces.config import configured
from traces.errors import ConfigError
from traces.message import Op, Outcome
from traces.workloads._channel import Lane
from traces.workloads.messages import WORKLOAD, Messages, _new_plan, generate

pytestmark = pytest.mark.kernels

N = 200_000


def asked(**given: Any) -> Messages:
    return configured(Messages, {"messages": N} | given)


def made(**given: Any) -> pl.DataFrame:
    return pl.concat(generate(asked(**given)))


def payload(key: int, ring: int, sequence: int, length: int) -> bytes:
    """As the module says it: zeros, and a draw by ring and number in the last eight bytes."""
    gamma = 0x9E3779B97F4A7C15
    of_ring = splitmix64(key + ring * gamma, 1)[0]
    word = splitmix64(of_ring + sequence * gamma, 1)[0].to_bytes(8, "little")
    return bytes(max(length - 8, 0)) + word[: min(length, 8)]


channels = st.fixed_dictionaries(
    {
        "producers": st.integers(3, 5),
        "rings": st.integers(1, 3),
        "ring": st.sampled_from([512, 1024, 8192]),
        "length": st.sampled_from([1, 7, 64, 100]),
        "longest": st.sampled_from([100, 300, 448]),
        "lengths": st.sampled_from(["fixed", "two-point", "log-normal"]),
        "rate": st.sampled_from([1e4, 1e6, 1e7]),
        "arrival": st.sampled_from(["fixed", "poisson"]),
        "poll": st.sampled_from([1000, 9999, 100_000]),
        "handling": st.sampled_from([0, 100, 3000]),
        "torn": st.sampled_from([0, 0.2]),
        "closed": st.sampled_from([0, 0.1]),
        "unknown": st.sampled_from([0, 0.1]),
        "corrupt": st.sampled_from([0, 0.1]),
        "seed": st.integers(0, 5),
    }
)


@settings(max_examples=60, deadline=None)
@given(given_=channels, batch=st.integers(1, 400))
def test_messages__are_those_of_the_reference(given_: dict[str, Any], batch: int) -> None:
    if given_["lengths"] == "fixed":
        given_ = {key: value for key, value in given_.items() if key != "longest"}
    config = asked(messages=600, **given_)
    rows = pl.concat(generate(config, batch))
    plan = _new_plan(config)[0]
    channel = reference.Channel(config.ring, plan.first, config.poll, config.handling)
    records = [
        channel.write(row["time"], row["ring"], row["length"], row["op"] == Op.TORN)
        for row in rows.iter_rows(named=True)
    ]
    while channel.waiting:
        channel.look()
    key = int(plan.lanes[Lane.PAYLOAD])
    truth = dict(
        pl.concat(
            [pl.DataFrame(schema={"row": pl.UInt64, "truth": pl.String}), *WORKLOAD.truth(config)["records"]]
        ).iter_rows()
    )
    for number, (row, record) in enumerate(zip(rows.iter_rows(named=True), records, strict=True)):
        assert (row["op"] == Op.FULL) == record.full
        assert (row["sequence"], row["address"]) == (record.sequence, record.address)
        assert row["ring"] == row["producer"] % config.rings
        if row["op"] != Op.PUBLISHED:
            assert (row["seen"], row["delivered"], row["checksum"], row["outcome"]) == (-1, -1, 0, Outcome.NOT_TOLD)
            assert truth.pop(number) == ("ring full" if record.full else "torn")
            continue
        assert row["seen"] == record.seen - row["time"]
        want = record.done - row["time"] if row["outcome"] == Outcome.DELIVERED else -1
        assert row["delivered"] == want
        assert row["checksum"] == reference.crc32c(payload(key, row["ring"], row["sequence"], row["length"]))
        names = {"nobody": "unknown receiver", "closed": "receiver not allowed"}
        why = {Outcome.DELIVERED: None, Outcome.REFUSED: names.get(row["receiver"]), Outcome.CORRUPT: "corrupt"}
        assert truth.pop(number, None) == why[row["outcome"]]
        assert (row["outcome"] == Outcome.REFUSED) == (row["receiver"] in names)
    assert not truth


def test_seen__is_uniform_on_the_interval_of_an_agent_that_keeps_up() -> None:
    seen = made(rate=1e4, poll="100us", handling=0)["seen"].to_numpy()
    assert 0 <= seen.min() <= seen.max() < 100_000
    assert kstest((seen + 0.5) / 100_000, "uniform").pvalue > 1e-3


def test_an_agent_that_cannot_keep_up__hands_over_what_it_can() -> None:
    rows = made(rate=1e6, poll="1us", handling="2us", ring="8KiB")
    done = rows.filter(op=int(Op.PUBLISHED))
    assert done.height == pytest.approx(rows["time"][-1] / 2000, rel=0.02), "one record every 2 us"
    assert (rows["op"] == int(Op.FULL)).mean() == pytest.approx(0.5, abs=0.02)
    larger = made(rate=1e6, poll="1us", handling="2us", ring="1MiB")
    assert larger["seen"].max() > 50 * rows["seen"].max(), "a larger ring loses no less, it only makes them wait"  # type: ignore[operator]


def test_rings__are_written_without_gaps_and_never_over_unread_data() -> None:
    rows = made(rings=3, producers=6, ring="16KiB", rate=2e6).filter(op=int(Op.PUBLISHED))
    for ring in range(3):
        its = rows.filter(ring=ring)
        assert its["sequence"].to_list() == list(range(its.height))
        size = 64 + (its["length"] + 63) // 64 * 64
        assert its["address"][1:].to_list() == (size.cum_sum() % (16 << 10))[:-1].to_list()
    assert sorted(rows["producer"].unique().to_list()) == list(range(6))


def test_producers_and_receivers__are_drawn() -> None:
    rows = made(producers=5, receivers=6, theta=0.8)
    assert chisquare(rows["producer"].value_counts()["count"].to_numpy()).pvalue > 1e-3
    often = dict(rows["receiver"].cast(pl.String).value_counts().iter_rows())
    counts = [often[f"receiver-{k}"] for k in range(6)]
    assert chisquare(counts, np.array(zipf(6, 0.8)) * N).pvalue > 1e-3
    alike = made(receivers=6)["receiver"].value_counts()["count"].to_numpy()
    assert chisquare(alike).pvalue > 1e-3


def test_lengths__follow_their_laws() -> None:
    big: dict[str, Any] = {"ring": "4MiB", "longest": "1MiB", "rate": 100}
    assert set(made(lengths="fixed", length=300)["length"]) == {300}
    two = made(lengths="two-point", length=100, longest=4000, long=0.3)["length"]
    assert set(two) == {100, 4000}
    assert binom.ppf(1e-6, N, 0.3) <= (two == 4000).sum() <= binom.ppf(1 - 1e-6, N, 0.3)
    log = np.log(made(**big, length=20_000, sigma=0.5)["length"].to_numpy() / 20_000)
    assert kstest(log, "norm", args=(0, 0.5)).pvalue > 1e-3
    assert kstest(log, "norm", args=(0, 0.52)).pvalue < 1e-6
    cut = made(length=100, sigma=3, longest=1000)["length"]
    assert (cut.min(), cut.max()) == (1, 1000)


@pytest.mark.parametrize(
    ("key", "word"), [("torn", "torn"), ("unknown", "refused"), ("closed", "refused"), ("corrupt", "corrupt")]
)
def test_fates__have_their_share(key: str, word: str) -> None:
    others = {"torn": 0.05, "unknown": 0.05, "closed": 0.05, "corrupt": 0.05} | {key: 0.1}
    rows = made(**others, ring="1MiB")
    name = {"unknown": "nobody", "closed": "closed"}.get(key)
    its = rows["raw"].cast(pl.String) == word
    if name:
        its &= rows["receiver"].cast(pl.String) == name
    assert binom.ppf(1e-6, N, 0.1) <= its.sum() <= binom.ppf(1 - 1e-6, N, 0.1)
    assert not (rows["op"] == int(Op.FULL)).any()


def test_arrivals__are_those_that_were_asked_for() -> None:
    gaps = made(rate=1e4)["time"].diff().drop_nulls().cast(pl.Float64).to_numpy()
    assert kstest(gaps, "expon", args=(0, 1e5)).pvalue > 1e-3
    assert made(rate=1e4, arrival="fixed")["time"][:3].to_list() == [0, 100_000, 200_000]
    for arrival, key, values in (("on-off", "burst", ["1ms", "1s"]), ("on-off", "busy", [0.1, 0.5])):
        one, other = (made(arrival=arrival, messages=2000, **{key: value})["time"] for value in values)
        assert not one.equals(other)
    for key, values in (("bias", [0.6, 0.9]), ("grain", ["1us", "10ms"])):
        one, other = (made(arrival="b-model", messages=2000, **{key: value})["time"] for value in values)
        assert not one.equals(other)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"rings": 5}, "some would be idle"),
        ({"lengths": "fixed", "sigma": 3}, "^sigma has no effect where lengths is fixed$"),
        ({"lengths": "fixed", "longest": 3000}, "^longest has no effect where lengths is fixed$"),
        ({"lengths": "two-point", "sigma": 3}, "^sigma has no effect where lengths is two-point$"),
        ({"long": 0.5}, "^long has no effect where lengths is log-normal$"),
        ({"grain": 5}, "^grain has no effect where arrival is poisson; it is for b-model$"),
        ({"longest": 100}, "longest .100 bytes. is less than length"),
        ({"ring": 1024}, "a payload of 4096 bytes takes 4160 of a ring's 1024 bytes"),
        ({"torn": 0.6, "corrupt": 0.6}, "more than 1 together"),
        ({"messages": 1 << 40, "rate": 1}, "raise rate"),
        ({"ring": 1000}, "multiple of 64"),
    ],
)
def test_impossible_settings__are_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(**given_)
