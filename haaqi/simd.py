"""An eight-lane float32 vector type for numba kernels.

Numba does not vectorize a loop over a few channels if it cannot prove that its arrays do not overlap. With this type
the lanes are one LLVM vector, and the state of a kernel stays in registers. Parallel recursive filters become about
ten times faster. LLVM maps the lanes to the registers of the processor (one AVX or two NEON registers).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils as numba_cgutils
from numba.core import types as numba_types

# Numba's type hints are incomplete, and wrong for intrinsics that compiled code calls.
cgutils: Final[Any] = numba_cgutils
types: Final[Any] = numba_types
models: Final[Any] = extending.models

LANES: Final = 8
_I32: Final = ir.IntType(32)
_VF: Final = ir.VectorType(ir.FloatType(), LANES)
_VI: Final = ir.VectorType(_I32, LANES)
_FAST: Final = ("nnan", "ninf", "nsz", "contract", "reassoc")

Emit = Callable[..., Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile a kernel. Sums may be reordered, divisions by zero give infinity, and the GIL is released."""
    settings: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}, "nogil": True}
    compiled: Function = numba.njit(cache=True, **settings)(function)
    return compiled


def intrinsic(function: Emit) -> Any:
    """Register a function that emits LLVM code as callable from compiled code."""
    return extending.intrinsic(function)


def inline(function: Function) -> Function:
    """Register a function as callable from compiled code."""
    callable_there: Function = extending.register_jitable(function)
    return callable_there


class Float32x8(types.Type):  # type: ignore[misc]
    """Numba type of eight float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="float32x8")


f32x8: Final = Float32x8()
_TILE: Final = types.UniTuple(f32x8, LANES)


@extending.register_model(Float32x8)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VF)


def _unary(emit: Emit) -> Any:
    @intrinsic
    def call(typingctx: Any, x: Any) -> Any:  # noqa: ARG001
        return f32x8(f32x8), lambda _context, builder, _signature, values: emit(builder, *values)

    return call


def _binary(emit: Emit) -> Any:
    @intrinsic
    def call(typingctx: Any, x: Any, y: Any) -> Any:  # noqa: ARG001
        return f32x8(f32x8, f32x8), lambda _context, builder, _signature, values: emit(builder, *values)

    return call


def _ternary(emit: Emit) -> Any:
    @intrinsic
    def call(typingctx: Any, x: Any, y: Any, z: Any) -> Any:  # noqa: ARG001
        return f32x8(f32x8, f32x8, f32x8), lambda _context, builder, _signature, values: emit(builder, *values)

    return call


def _llvm_call(name: str) -> Emit:
    """Return an emitter that calls the LLVM intrinsic of that name on vectors."""

    def emit(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(_VF, [value.type for value in values])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), values)

    return emit


def _splat(kind: ir.VectorType, number: float | int) -> ir.Constant:
    return ir.Constant(kind, [number] * LANES)


add: Final = _binary(lambda builder, x, y: builder.fadd(x, y, flags=_FAST))
sub: Final = _binary(lambda builder, x, y: builder.fsub(x, y, flags=_FAST))
mul: Final = _binary(lambda builder, x, y: builder.fmul(x, y, flags=_FAST))
div: Final = _binary(lambda builder, x, y: builder.fdiv(x, y, flags=_FAST))
fma: Final = _ternary(_llvm_call("fmuladd"))
"""x y + z; in a sum of two products, the compiler chooses which one it fuses, which matters if x is recursive"""
minimum: Final = _binary(_llvm_call("minnum"))
maximum: Final = _binary(_llvm_call("maxnum"))
sqrt: Final = _unary(_llvm_call("sqrt"))
absolute: Final = _unary(_llvm_call("fabs"))
floor: Final = _unary(_llvm_call("floor"))


@_unary
def _exponent(builder: Any, x: Any) -> Any:
    """Return the binary exponent of positive normal numbers, as floats."""
    bits = builder.lshr(builder.bitcast(x, _VI), _splat(_VI, 23))
    return builder.sitofp(builder.sub(bits, _splat(_VI, 127)), _VF)


@_unary
def _mantissa(builder: Any, x: Any) -> Any:
    """Return the mantissa of positive normal numbers, from 1 to 2."""
    bits = builder.and_(builder.bitcast(x, _VI), _splat(_VI, 0x007FFFFF))
    return builder.bitcast(builder.or_(bits, _splat(_VI, 0x3F800000)), _VF)


@_unary
def _power_of_two(builder: Any, x: Any) -> Any:
    """Return 2 to the power of integers from -126 to 127."""
    exponent = builder.add(builder.fptosi(x, _VI), _splat(_VI, 127))
    return builder.bitcast(builder.shl(exponent, _splat(_VI, 23)), _VF)


@intrinsic
def splat(typingctx: Any, x: Any) -> Any:  # noqa: ARG001
    """Return a vector whose lanes all have the same float32."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        first = builder.insert_element(ir.Constant(_VF, ir.Undefined), values[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, ir.Constant(_VF, ir.Undefined), _splat(_VI, 0))

    return f32x8(types.float32), emit


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Load eight elements of a contiguous float32 array from a flat index on. Bounds are not checked."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, values), align=4)

    return f32x8(array, types.intp), emit


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Store eight elements to a contiguous float32 array from a flat index on. Bounds are not checked."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _pointer(context, builder, signature, values), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, f32x8), emit


def _pointer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    array = signature.args[0]
    if array.dtype != types.float32 or array.layout != "C":
        raise TypeError(f"load and store take contiguous float32 arrays, not {array}")
    data = context.make_array(array)(context, builder, values[0]).data
    return builder.bitcast(builder.gep(data, [values[1]]), _VF.as_pointer())


@intrinsic
def lane_sum(typingctx: Any, x: Any) -> Any:  # noqa: ARG001
    """Return the sum of the lanes, float32."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VF])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), values[0]], fastmath=("reassoc",))

    return types.float32(f32x8), emit


@intrinsic
def transpose(typingctx: Any, tile: Any) -> Any:  # noqa: ARG001
    """Transpose eight vectors of eight lanes."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        rows = cgutils.unpack_tuple(builder, values[0], LANES)
        for step in (4, 2, 1):  # exchange blocks of `step` lanes between rows with that distance
            low = [lane if not lane & step else lane - step + LANES for lane in range(LANES)]
            high = [lane + step if not lane & step else lane + LANES for lane in range(LANES)]
            for row in (row for row in range(LANES) if not row & step):
                pair = rows[row], rows[row + step]
                rows[row] = builder.shuffle_vector(*pair, ir.Constant(_VI, low))
                rows[row + step] = builder.shuffle_vector(*pair, ir.Constant(_VI, high))
        return context.make_tuple(builder, _TILE, rows)

    return _TILE(_TILE), emit


def _operator(which: Any, function: Any) -> None:
    @extending.overload(which, strict=False)
    def implementation(x: Any, y: Any) -> Any:
        if x is f32x8 and y is f32x8:
            return lambda x, y: function(x, y)
        if x is f32x8 and isinstance(y, types.Float | types.Integer):
            return lambda x, y: function(x, splat(np.float32(y)))
        if y is f32x8 and isinstance(x, types.Float | types.Integer):
            return lambda x, y: function(splat(np.float32(x)), y)
        return None


for _which, _function in ((operator.add, add), (operator.sub, sub), (operator.mul, mul), (operator.truediv, div)):
    _operator(_which, _function)

_LN2: Final = 0.6931471805599453
APPROXIMATIONS: Final = np.repeat(
    np.array(
        [
            *(1.4427134208, -0.7211322563, 0.479349700, -0.36748403654, 0.32214274670, -0.20660353110),
            *(0.99999926139, 0.69312181440, 0.24024744977, 0.055917863288, 0.0095700970675),
        ],
        np.float32,
    ),
    LANES,
)
"""minimax coefficients of `approximate_log2` and of `approximate_exp2`, in all lanes"""


@inline
def log2(x: Any) -> Any:
    """Return the base-2 logarithm of positive normal numbers, to 2e-7 absolute or relative (Cephes' logf)."""
    m = _mantissa(x) * 0.7071067811865476  # 0.707 to 1.414
    z = m - 1.0
    p = z * 7.0376836292e-2 - 1.1514610310e-1
    p = p * z + 1.1676998740e-1
    p = p * z - 1.2420140846e-1
    p = p * z + 1.4249322787e-1
    p = p * z - 1.6668057665e-1
    p = p * z + 2.0000714765e-1
    p = p * z - 2.4999993993e-1
    p = p * z + 3.3333331174e-1
    square = z * z
    return (p * z * square - 0.5 * square + z) * 1.4426950408889634 + (_exponent(x) + 0.5)


@inline
def exp2(x: Any) -> Any:
    """Return 2 to a power from -126 to 127, to 2e-7 relative (Cephes' expf)."""
    whole = floor(x + 0.5)
    z = (x - whole) * _LN2
    p = z * 1.9875691500e-4 + 1.3981999507e-3
    p = p * z + 8.3334519073e-3
    p = p * z + 4.1665795894e-2
    p = p * z + 1.6666665459e-1
    p = p * z + 5.0000001201e-1
    return (p * z * z + z + 1.0) * _power_of_two(whole)


@inline
def approximate_log2(x: Any, k: Any) -> Any:
    """Return the base-2 logarithm of positive normal numbers, to 2.5e-6 absolute.

    `k` has the six coefficients, loaded from `APPROXIMATIONS` before the loop. Constants would be loaded within it.
    """
    z = _mantissa(x) * 0.7071067811865476 - 1.0  # -0.293 to 0.414
    square = z * z
    even = fma(fma(k[4], square, k[2]), square, k[0])
    odd = fma(fma(k[5], square, k[3]), square, k[1])
    return fma(fma(odd, z, even), z, _exponent(x) + 0.5)


@inline
def approximate_exp2(x: Any, k: Any) -> Any:
    """Return 2 to a power from -126 to 127, to 3e-6 relative. `k` has five coefficients, as in `approximate_log2`."""
    whole = floor(x + 0.5)
    z = x - whole
    square = z * z
    return fma(fma(fma(k[4], z, k[3]), z, k[2]), square, fma(k[1], z, k[0])) * _power_of_two(whole)
