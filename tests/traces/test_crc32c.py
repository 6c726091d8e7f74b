import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import messages as reference
from traces.crc32c import after_zeros, crc32c, finished

pytestmark = pytest.mark.kernels


def crc(data: bytes) -> int:
    return int(crc32c(np.frombuffer(data, np.uint8), 0, len(data)))


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and what follows: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c__is_the_published_one(data: bytes, want: int) -> None:
    assert crc(data) == reference.crc32c(data) == want


@given(st.binary(max_size=70), st.integers(0, 9), st.integers(0, 9))
def test_crc32c__of_a_part(data: bytes, before: int, after: int) -> None:
    padded = np.frombuffer(bytes(before) + data + bytes(after), np.uint8)
    assert int(crc32c(padded, before, before + len(data))) == reference.crc32c(data)


@given(st.integers(0, 40), st.integers(0, (1 << 64) - 1), st.integers(0, 8))
def test_crc32c__of_zeros_and_a_word(zeros: int, word: int, count: int) -> None:
    sums = np.empty(zeros + 1, np.uint64)
    after_zeros(sums)
    data = bytes(zeros) + word.to_bytes(8, "little")[:count]
    assert int(finished(sums[zeros], np.uint64(word), np.uint64(count))) == reference.crc32c(data)
