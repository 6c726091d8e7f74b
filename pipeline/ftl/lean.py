"""Kernels that own no memory: they fill arrays they are given and allocate nothing.

Numba counts the owners of every array that it takes out of a NamedTuple. With a drive of a dozen arrays this was
nearly all there was to see: 145 ns a programmed page; without the counting 11 ns. A lean kernel therefore makes
no array, and calls and is called by lean kernels alone: inlined into another kernel it is slow again.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numba

import traces.kernel  # noqa: F401  names the cache folder before the first kernel is declared

F = TypeVar("F", bound=Callable[..., object])


class _Decorator(Protocol):
    def __call__(self, function: F, /) -> F: ...


_njit: Any = numba.njit  # its types know nothing of _nrt
lean_kernel: _Decorator = _njit(cache=True, error_model="numpy", nogil=True, _nrt=False)
inline_lean_kernel: _Decorator = _njit(cache=True, error_model="numpy", nogil=True, _nrt=False, inline="always")
