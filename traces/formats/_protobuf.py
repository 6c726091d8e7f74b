"""Numbers of Protocol Buffers: seven bits a byte, the lowest first, as the binary formats that use them share it.

Source: Protocol Buffers, Encoding (protobuf.dev/programming-guides/encoding).
"""

from typing import Any

import numpy as np

from traces.kernel import lean_kernel
from traces.table import U8

CUT, TOO_LONG = -1, -2  # in place of where a number ends


@lean_kernel
def varint(data: U8, i: Any, end: Any) -> tuple[Any, Any]:
    """The number at ``i``, unsigned, and where it ends: `CUT` where the bytes end first, `TOO_LONG` past ten bytes."""
    value, shift = np.uint64(0), np.uint64(0)
    while i < end and shift < np.uint64(70):
        byte = np.uint64(data[i])
        value |= (byte & np.uint64(127)) << shift
        i += 1
        if byte < np.uint64(128):
            return value, i
        shift += np.uint64(7)
    return np.uint64(0), -1 if shift < np.uint64(70) else -2
