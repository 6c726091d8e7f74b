import io
import time
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.reference.template import fit as reference
from traces.formats import _template
from traces.formats._template import Templates
from traces.formats.reader import Report

pytestmark = pytest.mark.kernels


def fit(text: str, *templates: str, **notes: str) -> tuple[list[dict[str, int]], Report]:
    """The places of every line that fits."""
    report, rows = Report(), list[dict[str, int]]()
    made = Templates(templates, {value: key for key, value in notes.items()})
    for found in made.read(io.BytesIO(text.encode()), "x", report):
        columns = {name: found[name].tolist() for name in made.slots} | {"which": found.which.tolist()}
        rows += [{name: column[row] for name, column in columns.items()} for row in range(found.count)]
    return rows, report


def number(text: str, kind: str) -> int | None:
    rows, report = fit(f"{text}\n", f"{{n:{kind}}}")
    assert len(rows) + report.refused == 1
    return rows[0]["n"] if rows else None


@given(st.integers(0, 2**70))
@example(2**64 - 1)
@example(2**64)
@example(10 * 2**64)
def test_numbers__of_up_to_64_bits(value: int) -> None:
    want = value if value < 2**64 else None
    assert number(str(value), "u") == number(f"{value:x}", "x") == number(f"0x{value:X}", "x") == want
    assert number(f"000{value}", "u") == number(f"000{value:x}", "x") == want


@given(st.integers(0, 2**33))
def test_numbers__of_fewer_bits(value: int) -> None:
    want = value if value < 2**32 else None
    assert number(str(value), "u32") == number(f"{value:x}", "x32") == want


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "0x", "12g", "1 2", "é"])
def test_what_is_no_number__is_refused(text: str) -> None:
    assert number(text, "u") is None
    assert number(text, "x") is None


@given(st.decimals(0, 10**9, places=11).map("{:f}".format) | st.integers(0, 10**9).map(str))
@example("1.")
@example("0.000000001")
@example("9223372036.854775799")
def test_fixed_points__are_exact(text: str) -> None:
    want = int(Decimal(text.rstrip(".")) * 10**9)
    assert number(text, "t9") == want
    assert number("-" + text, "t9") == (-want) % 2**64


@pytest.mark.parametrize("text", [".5", "1.2.3", "99999999999", "1e3", "-", ""])
def test_fixed_points__refuse_the_rest(text: str) -> None:
    assert fit(f"a{text}\n", "a{n:t9}")[0] == []


def test_places__characters_and_blanks() -> None:
    rows, report = fit("7 \t R 0x10\r\n7R 10\n", "{a:u} R {b:x}")
    assert rows == [{"a": 7, "b": 16, "which": 0}]
    assert report.take_refused().rows() == [("x", 2, "no blank", "7R 10")]


def test_the_place_that_came_furthest__is_the_reason() -> None:
    _, report = fit("R 1 2 x\nR 1 2 3 4\nQ\nR 1 99999999999\n", "R {a:u} {b:u32} {c:u}", "W {a:u}")
    assert report.take_refused()["reason"].to_list() == [
        "c is not a number of up to 64 bits",
        "more than there should be",
        "no 'R'",
        "b is not a number of up to 32 bits",
    ]


def test_lines__may_end_early_and_leave_nothing_behind() -> None:
    rows, _ = fit("1 2 3\n1 2\n9 1 2\n", "{a:u} {b:u}{?} {c:u}")
    assert rows == [
        {"a": 1, "b": 2, "c": 3, "which": 0},
        {"a": 1, "b": 2, "c": 0, "which": 0},
        {"a": 9, "b": 1, "c": 2, "which": 0},
    ]
    rows, _ = fit(
        "x 1 7 y; 5 6\n", "{*} {a:u} {c:u};{?} {b:u}", "{*}; {a:u}{?} {b:u} {c:u}", "{*}; {a:u} {b:u}{?} {c:u}"
    )
    assert rows == [{"a": 5, "c": 0, "b": 6, "which": 2}]


def test_skips__take_as_little_as_they_must() -> None:
    rows, report = fit("a b 12 [3] 4.5: x: 6\na 1: 2\n4.5: 6\n", "{*}{t:t1}: {*}{n:u}")
    assert [(row["t"], row["n"]) for row in rows] == [(45, 6), (10, 2), (45, 6)]
    assert not report.refused
    assert fit("abc\n", "{*}d")[1].refused == 1


def test_words__have_codes_from_chunk_to_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_template, "_CHUNK", 8)
    made, seen = Templates(["{w:w}:{?} {n:u}", "{n:u}"]), []
    for found in made.read(io.BytesIO(b"ab: 1\na-longer-one: 2\nab:\n5\nc:\n"), "x", Report()):
        codes, words = found.words("w")
        seen += [words[code] for code in codes]
    assert seen == ["ab", "a-longer-one", "ab", "", "c"]


def test_notes__are_counted() -> None:
    rows, report = fit("# x\n\n  \n1\n#\n", "{a:u}", comments="#{*}")
    assert len(rows) == 1
    assert report.notes == {"comments": 2, "empty lines": 2}


@given(st.text(" 0x1Rf.:\t\r\n", max_size=60), st.integers(1, 9))
def test_chunks__change_nothing(text: str, size: int) -> None:
    templates = ("{a:x} R{?} {b:u}", "{*}: {c:t3}")
    with pytest.MonkeyPatch.context() as patch:
        want, report = fit(text, *templates)
        patch.setattr(_template, "_CHUNK", size)
        have, again = fit(text, *templates)
    assert have == want
    assert again.take_refused().rows() == report.take_refused().rows()
    assert again.notes == report.notes


PIECES = ["{*}", "{a:u}", "{b:x8}", "{c:t3}", "{v:w}", "{w:w}", "{s:s}", "{?}", " ", "~", ":", "R", "Re", "W", "[", "]"]
TOKENS = ["7", "42", "0x1f", "300", "1.5", "-2", "R", "Re", "W", ":", "[", "]", " ", "  ", "\t", "ab", "f", "."]
BEGINS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


@st.composite
def alike(draw: st.DrawFn) -> list[str]:
    """Templates, many of which begin alike."""
    begins = draw(st.lists(BEGINS, min_size=1, max_size=3))
    begins += [draw(st.sampled_from(begins)) + draw(BEGINS)]
    ends = draw(st.lists(BEGINS.filter(bool), min_size=1, max_size=7))
    return [draw(st.sampled_from(begins)) + end for end in ends]


@settings(max_examples=1500)
@given(alike(), st.lists(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=14).map("".join), max_size=6))
@example(
    ["{*} {c:t3}: R{a:u}", "{*} {c:t3}: W", "{*} {c:t3}: {v:w} {*}"], ["x   1.5: W", "x 1.5: R 2.5: W", "x  1.5: "]
)
@example(["{*}{a:u}:R", "{*}{a:u}:W", "{*}{a:u}:{v:w}"], ["7:42:W", "42:ab", "7:Re:42:R"])
def test_templates__are_as_if_tried_one_by_one(templates: list[str], lines: list[str]) -> None:
    lines = [line for line in lines if line.strip(" \t")]
    made, report, have = Templates(templates), Report(), dict[int, object]()
    for found in made.read(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), "x", report):
        words = {name: found.words(name) for name in ("v", "w") if name in made.slots}
        for row in range(found.count):
            which = int(found.which[row])
            values = {
                name: words[name][1][words[name][0][row]] if name in words else int(found.signed(name)[row])
                for name in made.slots
                if f"{{{name}:" in templates[which]
            }
            have[found.number(row)] = (which, values)
            elsewhere = [name for name in made.slots if name not in values]
            assert not any(found.signed(name)[row] for name in elsewhere)
            for name in words.keys() & values.keys():
                data, begin, end = found.span(name)
                assert not values[name] or bytes(data[begin[row] : end[row]]).decode() == values[name]
    have |= {line: reason for _, line, reason, _ in report.take_refused().rows()}
    assert have == {i: reference(templates, line) for i, line in enumerate(lines, 1)}


@given(st.lists(st.integers(0, 79), min_size=1, max_size=20), st.sampled_from(["", "{*}[{cpu:u32}]{*} {time:t9}: "]))
def test_templates__beyond_those_that_have_a_bit_in_a_mask(numbers: list[int], before: str) -> None:
    templates = [f"{before}event_{number} {{value:u}}" for number in range(79)]
    shown = "x [2] 1.5: " if before else ""
    lines = [f"{shown}event_{number} {number}" for number in numbers]
    rows, report = fit("\n".join(lines), *templates)
    found = [reference(templates, line) for line in lines]
    assert [row["which"] for row in rows] == [each[0] for each in found if not isinstance(each, str)]
    assert report.take_refused()["reason"].to_list() == [each for each in found if isinstance(each, str)]


def test_reading__stops_with_its_consumer() -> None:
    stream = io.BytesIO(b"1\n" * (1 << 24))
    reading = Templates(["{value:u}"]).read(stream, "x", Report())
    assert next(reading).count
    reading.close()  # type: ignore[attr-defined]
    at = stream.tell()
    assert 0 < at < 1 << 25
    time.sleep(0.05)
    assert stream.tell() == at
