"""Which stages a trace can feed: every fact, and what it spoils."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl
import pytest

from traces.block import Block
from traces.fitness import _ABOVE_CACHES, _VIRTUAL, Fit, Look, fitness, look
from traces.formats import FORMATS
from traces.info import TraceInfo, Volume
from traces.making import write
from traces.memory import Memory
from traces.message import Message
from traces.profile import profile
from traces.store import Store
from traces.table import I64, U8, U64, schema_of


class Times(NamedTuple):
    time: Annotated[U64, "see block.time"]
    op: Annotated[U8, "see block.op"]


class Places(NamedTuple):
    op: Annotated[U8, "see block.op"]
    address: Annotated[U64, "see block.address"]
    length: Annotated[U64, "see block.length"]


class Latencies(NamedTuple):
    latency: Annotated[I64, "see block.latency"]


class Stage(NamedTuple):
    name: str
    reads: type[Any]
    takes: type[Any]


STAGES = [Stage("times", Block, Times), Stage("places", Block, Places), Stage("latencies", Block, Latencies)]
GOOD = Look(tick=1, latency_known=1.0)


def info(**given: Any) -> TraceInfo:
    volume = {"requests": 10, "reads": 5, "writes": 5, "bytes_read": 1, "bytes_written": 1} | given.pop("volume", {})
    settled: dict[str, Any] = {"format": "generated:uniform", "clock": "unix", "span": 10, "rows": 10} | given
    return TraceInfo(volumes=[Volume(name="v", **volume)], **settled)


def fits(known: TraceInfo, looked: Look = GOOD) -> tuple[set[str], dict[str, str]]:
    facts, verdicts = fitness(known, looked, STAGES)
    return {fact.fact for fact in facts}, {verdict.stage: verdict.fit.value for verdict in verdicts}


YES = dict.fromkeys(("times", "places", "latencies"), "yes")


def test_a_trace_of_which_all_is_known_feeds_every_stage() -> None:
    assert fits(info()) == (set(), YES)


@pytest.mark.parametrize(
    ("given", "looked", "fact", "spoilt"),
    [
        ({"clock": "ordinal"}, GOOD, "no times", {"times": "with care"}),
        ({}, Look(10**9, 1.0), "times in whole seconds", {"times": "with care"}),
        ({}, Look(5 * 10**6, 1.0), "times in whole milliseconds", {"times": "with care"}),
        ({"volume": {"bytes_read": 0, "bytes_written": 0}}, GOOD, "no sizes", {"places": "no"}),
        ({"notes": {"requests of no bytes that should have some": 3}}, GOOD, "sizes missing", {"places": "with care"}),
        (
            {"notes": {"sizes are those of the object's first request": 10}},
            GOOD,
            "sizes of another request",
            {"places": "with care"},
        ),
        ({"volume": {"reads": 0}}, GOOD, "no reads", {}),
        ({"volume": {"writes": 0}}, GOOD, "no writes", {"times": "with care", "places": "with care"}),
        (
            {"notes": {"requests of an operation that is not known": 4}},
            GOOD,
            "operations not known",
            {"times": "with care", "places": "with care"},
        ),
        (
            {"notes": {"requests of an operation that is not known": 10}},
            GOOD,
            "operations not known",
            {"times": "no", "places": "no"},
        ),
        ({}, Look(1, 0.0), "no latencies", {"latencies": "no"}),
        ({}, Look(1, 0.5), "latencies missing", {"latencies": "with care"}),
        (
            {"notes": {"in x: events lost, as the trace says": 2}},
            GOOD,
            "events lost",
            dict.fromkeys(YES, "with care"),
        ),
        (
            {"notes": {"x: files of CPUs are missing (1): their events are not there": 1}},
            GOOD,
            "CPU files missing",
            dict.fromkeys(YES, "with care"),
        ),
        ({"refused": 5}, GOOD, "rows refused", {"times": "with care", "places": "with care"}),
        (
            {"options": {"sampled": {"rate": 0.1, "factor": 10.0, "seeds": [0]}}},
            GOOD,
            "sampled",
            {"places": "with care"},
        ),
        ({"notes": {"suspect: all is odd": 1}}, GOOD, "suspect", {"times": "with care", "places": "with care"}),
        ({"format": "msr"}, GOOD, "beneath caches", {}),
        ({"format": "cut:x", "options": {"recorded": "msr"}}, GOOD, "beneath caches", {}),
        ({"notes": {"last line without an end: the file may have been cut off": 1}}, GOOD, "perhaps cut off", {}),
    ],
)
def test_a_fact_speaks_against_the_stages_that_take_what_it_spoils(
    given: dict[str, Any], looked: Look, fact: str, spoilt: dict[str, str]
) -> None:
    assert fits(info(**given), looked) == ({fact}, YES | spoilt)


def test_another_kind_of_trace_cannot_be_fed() -> None:
    known = info(kind="memory", format="lackey")
    facts, verdicts = fitness(known, Look(1, None), STAGES)
    assert [fact.fact for fact in facts] == ["virtual addresses"]
    assert {verdict.fit for verdict in verdicts} == {Fit.NO}
    assert verdicts[0].because == ("it replays block traces",)


def test_formats_are_called_as_they_are() -> None:
    assert set(FORMATS) >= _VIRTUAL | _ABOVE_CACHES


@pytest.mark.kernels
def test_look__at_the_profile_or_at_the_first_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [(i * 2_000_000, 0, 0, 0, 512, i % 2 - 1, 0, 0, "R") for i in range(4)]
    write(
        store, "b", TraceInfo(format="toy"), [pl.DataFrame(rows, schema=schema_of(Block), orient="row")], volumes=["v"]
    )
    known = store.info("block", "b")
    first = look(store, "block", "b", known)
    assert first == Look(2_000_000, 0.5)
    profile(store, "b")
    assert look(store, "block", "b", known) == first
    schema = schema_of(Memory)
    frame = pl.DataFrame([{name: "L" if name == "raw" else 0 for name in schema}], schema=schema)
    write(store, "m", TraceInfo(format="toy", kind="memory"), [frame], volumes=["a"])
    assert look(store, "memory", "m", store.info("memory", "m")) == Look(0, None)


def messages(store: Store, seen: list[int]) -> tuple[set[str], Look]:
    rows = {name: [0] * 4 for name in schema_of(Message)} | {"time": [0, 1, 2, 3], "op": [0, 0, 0, 1], "seen": seen}
    batch = pl.DataFrame(rows | {"receiver": ["a"] * 4, "raw": [""] * 4, "length": [8] * 4}, schema=schema_of(Message))
    made = write(store, "it", TraceInfo(format="toy", kind="message"), [batch], volumes=["p"])
    looked = look(store, "message", "it", made.info)
    return {fact.fact for fact in fitness(made.info, looked, STAGES)[0]}, looked


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("seen", "facts"),
    [([5, 6, 7, -1], set()), ([-1] * 4, {"not told when seen"}), ([5, -1, 7, -1], {"detection times missing"})],
)
def test_messages__are_told_by_whether_the_agent_saw_them(tmp_path: Path, seen: list[int], facts: set[str]) -> None:
    found, looked = messages(Store(tmp_path), seen)
    assert found == facts
    assert looked.seen_known == sum(each >= 0 for each in seen[:3]) / 3


def test_messages__missing_from_their_ring_are_told() -> None:
    known = info(kind="message", notes={"records missing in the numbering of their ring": 3})
    assert fits(known)[0] == {"events lost"}
