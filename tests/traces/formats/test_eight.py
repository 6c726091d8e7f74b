import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traces.formats import _eight as eight
from traces.formats.text import key, keys
from traces.table import U8

pytestmark = pytest.mark.kernels

text = st.text("0189afAFgGx \t.:[/@`{'\x10\x1f\x00\u00e9\u00b0", max_size=30).map(lambda text: text.encode("latin-1"))


def as_bytes(line: bytes) -> U8:
    return np.frombuffer(line, np.uint8)


def leading(line: bytes, of: bytes) -> int:
    return len(line) - len(line.lstrip(of))


@given(text, st.integers(0, 12))
@example(b"        ", 8)
@example(b"0123456789abcdef" * 2, 0)
def test_places__are_those_of_one_byte_after_the_other(line: bytes, more: int) -> None:
    data = as_bytes(line + b"\n" + b"0" * more)
    assert eight.line_end(data, 0) == len(line)
    assert eight.next_byte(data, 0, ord(":")) == (line + b":").index(b":")
    assert eight.past_blanks(data, 0) == leading(line, b" \t")
    ends = [i for i, byte in enumerate(line) if byte <= 32 or byte == ord("]")]
    assert eight.word_end(data, 0, ord("]")) == (ends or [len(line)])[0]


@given(text, st.integers(0, 12))
@example(b"18446744073709551615", 0)
@example(b"00000000000000000000000001", 3)
def test_numbers__are_pythons(line: bytes, more: int) -> None:
    data = as_bytes(line + b"\n" + b"0" * more)
    decimal, hexadecimal = eight.digits(data, 0, np.int64(0)), eight.hex_digits(data, 0)
    for (value, at), figures in ((decimal, b"0123456789"), (hexadecimal, b"0123456789abcdefABCDEF")):
        end = leading(line, figures)
        assert at == end
        assert (int(value) - int(line[:end] or b"0", 10 if len(figures) == 10 else 16)) % (1 << 64) == 0


@given(text, text, st.integers(0, 12))
def test_what_two_words_share(one: bytes, other: bytes, more: int) -> None:
    words = [np.uint64(eight.eight(as_bytes(line + b"0" * more), 0)) for line in (one, other)]
    padded = [(line + b"0" * more)[:8].ljust(8, b"\0") for line in (one, other)]
    assert [int(word) for word in words] == [int.from_bytes(each, "little") for each in padded]
    alike = [a == b for a, b in zip(*padded, strict=True)]
    assert eight.alike(*words) == [*alike, False].index(False)
    assert int(eight.first_of(words[0], more)) == int.from_bytes(padded[0][:more], "little")


@given(st.lists(text.filter(bool), min_size=2, max_size=20, unique=True))
@example([b"12345678", b"123456789", b"12345678\0", b"1234567"])
def test_keys__are_the_same_with_and_without_a_kernel_and_differ(lines: list[bytes]) -> None:
    words = [line.decode("latin-1").encode() for line in lines]
    made = [int(key(as_bytes(word + b"\n"), 0, len(word))) for word in words]
    assert made == keys([word.decode() for word in words]).tolist()
    assert len(set(made)) == len(words)
