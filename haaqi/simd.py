"""An eight-lane float32 vector for numba kernels.

numba leaves a loop over a few channels scalar when it cannot prove that the arrays in it do not overlap. Here the
lanes are one LLVM vector value, so that a kernel's state stays in registers: about ten times faster for recursive
filters that run side by side. LLVM maps the lanes to what the processor has (one AVX register, two of NEON).
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

# numba's own types cover a part of it, and are wrong where compiled code calls an intrinsic.
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
    """Compile a kernel: floating-point sums may be reordered, divisions by zero give infinity, no lock is held."""
    settings: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}, "nogil": True}
    compiled: Function = numba.njit(cache=True, **settings)(function)
    return compiled


def intrinsic(function: Emit) -> Any:
    """A function of compiled code that is written in LLVM's terms."""
    return extending.intrinsic(function)


def inlined(function: Function) -> Function:
    """A function that compiled code may call."""
    callable_there: Function = extending.register_jitable(function)
    return callable_there


class Float32x8(types.Type):  # type: ignore[misc]
    """numba's type of eight float32 lanes."""

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


def _named(name: str) -> Emit:
    """A call of LLVM's own function of that name, vectors in, vector out."""

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
fma: Final = _ternary(_named("fmuladd"))
"""x y + z; the compiler is free to choose which product of a sum of two it fuses, which counts where x is recursive"""
minimum: Final = _binary(_named("minnum"))
maximum: Final = _binary(_named("maxnum"))
sqrt: Final = _unary(_named("sqrt"))
absolute: Final = _unary(_named("fabs"))
floor: Final = _unary(_named("floor"))


@_unary
def _exponent(builder: Any, x: Any) -> Any:
    """The binary exponent of positive normal numbers, as floats."""
    bits = builder.lshr(builder.bitcast(x, _VI), _splat(_VI, 23))
    return builder.sitofp(builder.sub(bits, _splat(_VI, 127)), _VF)


@_unary
def _mantissa(builder: Any, x: Any) -> Any:
    """The mantissa of positive normal numbers, in 1 to 2."""
    bits = builder.and_(builder.bitcast(x, _VI), _splat(_VI, 0x007FFFFF))
    return builder.bitcast(builder.or_(bits, _splat(_VI, 0x3F800000)), _VF)


@_unary
def _power_of_two(builder: Any, x: Any) -> Any:
    """2 to whole numbers from -126 to 127."""
    exponent = builder.add(builder.fptosi(x, _VI), _splat(_VI, 127))
    return builder.bitcast(builder.shl(exponent, _splat(_VI, 23)), _VF)


@intrinsic
def splat(typingctx: Any, x: Any) -> Any:  # noqa: ARG001
    """All lanes the same float32."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        first = builder.insert_element(ir.Constant(_VF, ir.Undefined), values[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, ir.Constant(_VF, ir.Undefined), _splat(_VI, 0))

    return f32x8(types.float32), emit


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Eight elements of a contiguous float32 array from a flat index on; bounds are the caller's duty."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, values), align=4)

    return f32x8(array, types.intp), emit


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Write eight elements of a contiguous float32 array from a flat index on; bounds are the caller's duty."""

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
    """The sum of the lanes, float32."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VF])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), values[0]], fastmath=("reassoc",))

    return types.float32(f32x8), emit


@intrinsic
def transpose(typingctx: Any, tile: Any) -> Any:  # noqa: ARG001
    """Eight vectors of eight lanes, rows and columns exchanged."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ARG001
        rows = cgutils.unpack_tuple(builder, values[0], LANES)
        for step in (4, 2, 1):  # exchange blocks of 4, 2 and 1 lanes between rows that lie as far apart
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
"""coefficients of `near_log2` and of `near_exp2`, best in the sense of Chebyshev, in all lanes"""


@inlined
def log2(x: Any) -> Any:
    """Base-2 logarithm of positive normal numbers, to 2e-7 absolute or relative (Cephes' logf)."""
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


@inlined
def exp2(x: Any) -> Any:
    """2 to a power from -126 to 127, to 2e-7 relative (Cephes' expf)."""
    whole = floor(x + 0.5)
    z = (x - whole) * _LN2
    p = z * 1.9875691500e-4 + 1.3981999507e-3
    p = p * z + 8.3334519073e-3
    p = p * z + 4.1665795894e-2
    p = p * z + 1.6666665459e-1
    p = p * z + 5.0000001201e-1
    return (p * z * z + z + 1.0) * _power_of_two(whole)


@inlined
def near_log2(x: Any, k: Any) -> Any:
    """Base-2 logarithm of positive normal numbers, to 2.5e-6 absolute.

    `k` holds the six coefficients, loaded from `APPROXIMATIONS` before the loop: constants would be loaded in it.
    """
    z = _mantissa(x) * 0.7071067811865476 - 1.0  # -0.293 to 0.414
    square = z * z
    even = fma(fma(k[4], square, k[2]), square, k[0])
    odd = fma(fma(k[5], square, k[3]), square, k[1])
    return fma(fma(odd, z, even), z, _exponent(x) + 0.5)


@inlined
def near_exp2(x: Any, k: Any) -> Any:
    """2 to a power from -126 to 127, to 3e-6 relative; `k` holds the five coefficients, as in `near_log2`."""
    whole = floor(x + 0.5)
    z = x - whole
    square = z * z
    return fma(fma(fma(k[4], z, k[3]), z, k[2]), square, fma(k[1], z, k[0])) * _power_of_two(whole)
