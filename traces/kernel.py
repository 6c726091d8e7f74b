"""The one place that knows how kernels are compiled and where they are cached.

Numba's cache does not see an edit in another file, so the cache directory is
named after the text of every package that holds kernels: an edit anywhere starts afresh.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np import linalg

_HOUSE = Path(__file__).parents[1]
_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$STRATA_CACHE`` (default ``~/.cache/strata``) / hash of the sources."""
    sources = sorted(p for floor in ("traces", "pipeline", "models") for p in (_HOUSE / floor).rglob("*.py"))
    key = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    checked = "-bounds" if _CHECKED else ""
    return Path(os.environ.get("STRATA_CACHE") or Path.home() / ".cache" / "strata") / (key + checked)


config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]
if _CHECKED:
    # Kernels that look for indexes out of range need not be fast: 7 % less to compile. At 0 Numba cannot cache them.
    config.OPT = config._OptLevel(1)  # type: ignore[attr-defined]


def _no_blas() -> None:
    """Answer Numba that kernels have no BLAS.

    It asks at the first call of any kernel, by importing ``scipy.linalg``: 0.15 s a process, for products of matrices
    that no kernel has.
    """
    raise ImportError("kernels have no linear algebra")


linalg.ensure_blas = _no_blas

F = TypeVar("F", bound=Callable[..., object])


class _Decorator(Protocol):
    def __call__(self, function: F, /) -> F: ...


_njit: Any = numba.njit  # its types know nothing of _nrt
# nogil: runs of a study share one process and all cores. no_cfunc_wrapper: nobody asks for a kernel's address, and a
# wrapper for C with every one was 3 % of all compiling.
_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
kernel: _Decorator = _njit(**_OPTIONS)
inline_kernel: _Decorator = _njit(**_OPTIONS, inline="always")
# Lean kernels fill arrays they are given and allocate nothing. Numba counts the owners of every array that it takes
# out of a NamedTuple: with a drive of a dozen arrays this was nearly all there was to see, 145 ns a programmed page;
# without the counting 11 ns. A lean kernel makes no array, and calls and is called by lean kernels alone: inlined into
# another kernel it is slow again.
lean_kernel: _Decorator = _njit(**_OPTIONS, _nrt=False)
inline_lean_kernel: _Decorator = _njit(**_OPTIONS, _nrt=False, inline="always")


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask the processor for ``array[index]`` ahead of its use. Reads nothing: an index out of range is harmless."""
    signature = types.void(array, index)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_type, index_type = sig.args
        struct = context.make_array(array_type)(context, builder, args[0])
        position = context.cast(builder, args[1], index_type, types.intp)
        pointer = builder.gep(struct.data, [position])
        address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        integer = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [address.type, integer, integer, integer]),
            "llvm.prefetch.p0",
        )
        builder.call(function, [address, integer(1), integer(3), integer(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def eight_bytes(typing_context: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of bytes as one uint64, the first lowest: all of them must be there."""
    signature = types.uint64(array, index)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_type, index_type = sig.args
        struct = context.make_array(array_type)(context, builder, args[0])
        position = context.cast(builder, args[1], index_type, types.intp)
        address = builder.bitcast(builder.gep(struct.data, [position]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return signature, codegen


@intrinsic
def move_rows(typing_context: Any, array: Any, source: Any, target: Any, count: Any) -> Any:
    """Copy ``count`` rows of an array to others of it, which may overlap; of a constant number without a branch."""
    signature = types.void(array, source, target, count)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_type = sig.args[0]
        struct = context.make_array(array_type)(context, builder, args[0])
        size = cgutils.unpack_tuple(builder, struct.strides)[0]
        begin, end, rows = (context.cast(builder, args[i], sig.args[i], types.intp) for i in (1, 2, 3))
        pointer, word, bit = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(1)
        base = builder.bitcast(struct.data, pointer)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer, pointer, word, bit]), "llvm.memmove.p0.p0.i64"
        )
        there, here = (builder.gep(base, [builder.mul(row, size)]) for row in (end, begin))
        builder.call(function, [there, here, builder.mul(rows, size), bit(0)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """How many zero bits stand below the lowest one of a uint64; 64 if it is zero."""
    signature = types.uint64(types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return signature, codegen


@intrinsic
def exchange(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Put a value into ``array[index]`` and return what stood there, in one step for all threads."""
    signature = array.dtype(array, index, value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array_type, index_type, value_type = sig.args
        struct = context.make_array(array_type)(context, builder, args[0])
        position = context.cast(builder, args[1], index_type, types.intp)
        new = context.cast(builder, args[2], value_type, array_type.dtype)
        return builder.atomic_rmw("xchg", builder.gep(struct.data, [position]), new, "seq_cst")

    return signature, codegen
