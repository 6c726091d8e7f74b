import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.reference import text as reference
from traces.formats.reader import Report
from traces.formats.scanner import EMPTY, FEW, GOOD, MANY, Field, Kind, Scanner
from traces.formats.text import Codes, chunks, first_lines, is_text, keys

pytestmark = pytest.mark.kernels


def one(line: str, kind: Kind, scale: int = 0) -> int | None:
    scanned = Scanner([Field(0, kind, scale)], ",", ["value"]).scan(line.encode() + b",\n")
    return int(scanned.values(0)[0]) if scanned.status[0] == GOOD else None


number = st.text("0123456789+-.eE", min_size=1, max_size=22)


@settings(max_examples=400)
@given(number | st.integers(-(2**64), 2**64).map(str))
@example("9223372036854775807")
@example("9223372036854775808")
def test_integers__are_pythons(text: str) -> None:
    assert one(text, Kind.INTEGER) == reference.integer(text)


@given(st.text("0123456789", max_size=20), st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"\x80")))
@example("12345678", b":")
@example("1234567812345678", b"\xff/")
def test_numbers__are_the_same_at_the_end_of_a_chunk_and_far_from_it(digits: str, rest: bytes) -> None:
    line = digits.encode() + rest + b"\n"
    for field in (Field(0, Kind.INTEGER), Field(0, Kind.DECIMAL, 3)):
        last, within = (Scanner([field], ",", ["value"]).scan(text) for text in (line, line + b"0" * 16 + b"\n"))
        assert (last.status[0], last.values(0)[0]) == (within.status[0], within.values(0)[0])


@settings(max_examples=400)
@given(st.decimals(-(10**9), 10**9, places=7, allow_nan=False).map(str) | st.floats(-1e8, 1e8).map(repr))
@example("1266874889.709551616")
@example("1e-9")
@example("-0.000000001")
def test_decimals__are_exact_to_the_nanosecond(text: str) -> None:
    assert one(text, Kind.DECIMAL, 9) == reference.decimal(text, 9)


@given(number)
def test_decimals__take_nothing_that_is_no_number(text: str) -> None:
    try:
        float(text)
    except ValueError:
        assert one(text, Kind.DECIMAL, 9) is None


@given(st.integers(0, 2**63 - 1))
def test_hexadecimals__with_and_without_prefix(value: int) -> None:
    assert one(f"{value:x}", Kind.HEX) == one(f"0x{value:X}", Kind.HEX) == value


def test_hexadecimals__refuse_more_than_63_bits() -> None:
    assert one("8000000000000000", Kind.HEX) is None
    assert one("xyz", Kind.HEX) is None


words = st.text(st.characters(codec="ascii", exclude_characters=',\n\r\t "\0', categories=("L", "N", "P")), min_size=1)


@given(st.lists(st.tuples(words, st.integers(0, 10**18)), min_size=1, max_size=40), st.sampled_from([",", None]))
def test_lines__are_the_reference(rows: list[tuple[str, int]], separator: str | None) -> None:
    glue = " \t " if separator is None else " , "
    lines = [f"{word}{glue}{value}" for word, value in rows]
    scanner = Scanner([Field(1, Kind.INTEGER), Field(0, Kind.WORD)], separator, ["value", "word"])
    scanned = scanner.scan("\n".join(lines).encode() + b"\r\n")
    codes, known = scanned.words(1)
    have = [[known[c], str(v)] for c, v in zip(codes, scanned.values(0), strict=True)]
    assert have == [reference.fields(line, separator) for line in lines]


@given(st.lists(words, min_size=1))
def test_keys__are_those_of_the_scanner(some: list[str]) -> None:
    scanned = Scanner([Field(0, Kind.WORD)], "\t", ["word"]).scan("".join(f"{word}\n" for word in some).encode())
    assert keys(some).tolist() == scanned.values(0).tolist()


def test_status__says_what_is_wrong_with_a_line() -> None:
    scanner = Scanner([Field(0, Kind.INTEGER), Field(2, Kind.INTEGER)], ",", ["time", "size"], fewest=3, most=3)
    scanned = scanner.scan(b"1,a,2\n\n1,a\n1,a,2,3\nx,a,1\n")
    assert list(scanned.status[:4]) == [GOOD, EMPTY, FEW, MANY]
    assert [scanned.reason(i) for i in range(1, 5)] == [
        "empty line",
        "too few fields: at least 3 are needed",
        "too many fields: at most 3 are needed",
        "time (field 0) is not an integer",
    ]
    assert (scanned.number(4), scanned.line(4)) == (5, "x,a,1")


def test_units__are_multiplied_and_bounded() -> None:
    scanner = Scanner([Field(0, Kind.INTEGER, unit=512, unsigned=True)], ",", ["offset"])
    scanned = scanner.scan(f"8\n-1\n{2**63 // 512}\n{2**63 // 512 - 1}\n".encode())
    assert list(scanned.status == GOOD) == [True, False, False, True]
    assert list(scanned.values(0)[[0, 3]]) == [4096, 2**63 - 512]


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b".")), max_size=30), st.integers(1, 64))
def test_chunks__lose_nothing(lines: list[bytes], size: int) -> None:
    text = b"\n".join(lines)
    report = Report()
    scanner = Scanner([Field(0, Kind.WORD)], ",", ["word"])
    whole, expected = b"", 1
    for chunk in map(bytes, chunks(io.BytesIO(text), report, size)):
        scanned = scanner.scan(chunk)
        assert (scanned.first, scanned.count) == (expected, chunk.count(b"\n"))
        assert [scanned.line(i) for i in range(scanned.count)] == [
            line.decode("utf-8", "replace").rstrip("\r") for line in chunk[:-1].split(b"\n")
        ]
        assert all(scanned.data[end] == 10 for end in scanned.ends)
        expected += scanned.count
        whole += chunk
    assert whole == text + (b"\n" if text and not text.endswith(b"\n") else b"")
    assert bool(report.notes) == bool(text and not text.endswith(b"\n"))


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3000), max_size=3))
def test_codes__are_dense_in_order_of_first_appearance(batches: list[list[int]]) -> None:
    codes, known = Codes(), dict[int, int]()
    for batch in batches:
        have, fresh = codes.encode(np.array(batch, np.int64))
        new = [key for key in dict.fromkeys(batch) if key not in known]
        for key in new:
            known[key] = len(known)
        assert [int(c) for c in have] == [known[key] for key in batch]
        assert [batch[i] for i in fresh] == new


def test_codes__grow_past_any_table() -> None:
    some = np.arange(50_000, dtype=np.int64) * 7919
    have, fresh = Codes().encode(np.concatenate([some, some[::-1]]))
    assert np.array_equal(have[:50_000], np.arange(50_000))
    assert np.array_equal(have[50_000:], np.arange(50_000)[::-1])
    assert len(fresh) == 50_000


def test_text__is_told_from_binary() -> None:
    assert is_text(b"1,2,3\n")
    assert not is_text(b"")
    assert not is_text(bytes(range(64)))
    assert first_lines(b"a\n\nb\nhalf") == ["a", "b"]


@settings(max_examples=400)
@given(st.decimals(-(10**10), 10**10, places=11, allow_nan=False).map(str) | number, st.integers(0, 9))
def test_decimals__are_the_same_whatever_separates_them(text: str, scale: int) -> None:
    for separator, line in ((",", f"x,{text},x"), (",", f"x,{text}"), (None, f"x {text}\tx"), (None, f" x {text} \r")):
        scanned = Scanner([Field(1, Kind.DECIMAL, scale)], separator, ["value"]).scan(line.encode() + b"\n")
        have = int(scanned.values(0)[0]) if scanned.status[0] == GOOD else None
        assert have == one(text, Kind.DECIMAL, scale)


@given(st.lists(st.text("ab0", min_size=1), min_size=1, max_size=9), st.sampled_from([",", None]))
def test_wide_field__leaves_the_others_in_place(name: list[str], separator: str | None) -> None:
    glue = separator or " "
    scanner = Scanner(
        [Field(0, Kind.INTEGER), Field(2, Kind.INTEGER), Field(3, Kind.DECIMAL, 3)],
        separator,
        ["first", "second", "third"],
        fewest=4,
        most=4,
        wide=1,
    )
    lines = [f"7{glue}{glue.join(name)}{glue}8{glue}9.5", f"1{glue}x{glue}2{glue}3", f"1{glue}2{glue}3", ""]
    scanned = scanner.scan("\n".join(lines).encode() + b"\n")
    assert list(scanned.status) == [GOOD, GOOD, FEW, EMPTY]
    assert [scanned.values(i)[:2].tolist() for i in range(3)] == [[7, 1], [8, 2], [9500, 3000]]
