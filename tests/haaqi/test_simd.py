"""Eight lanes at once compute what numpy does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from haaqi_edge.haaqi import simd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

Single = NDArray[np.float32]
EPSILON = 2e-7
"""relative, of log2 and exp2"""


def lanes(low: float, high: float) -> st.SearchStrategy[Single]:
    """Float32 [24]."""
    numbers = st.floats(float(np.float32(low)), float(np.float32(high)), width=32)
    return hnp.arrays(np.float32, 24, elements=numbers)


def mapped(operation: Any) -> Callable[..., None]:
    """A compiled loop that applies an operation of one or two vectors to arrays, eight elements at a time."""

    @numba.njit
    def unary(x: Any, out: Any) -> None:
        for i in range(0, len(x), 8):
            simd.store(out, i, operation(simd.load(x, i)))

    @numba.njit
    def binary(x: Any, y: Any, out: Any) -> None:
        for i in range(0, len(x), 8):
            simd.store(out, i, operation(simd.load(x, i), simd.load(y, i)))

    def run(*arrays: Single) -> None:
        (unary if len(arrays) == 2 else binary)(*arrays)

    return run


log2, exp2 = mapped(simd.log2), mapped(simd.exp2)


@settings(deadline=None)
@given(lanes(1.2e-38, 3.4e38))
def test_log2(x: Single) -> None:
    got = np.empty_like(x)
    log2(x, got)
    wanted = np.log2(x.astype(np.float64))
    np.testing.assert_allclose(got, wanted, rtol=EPSILON, atol=EPSILON)


@settings(deadline=None)
@given(lanes(-126, 127))
def test_exp2(x: Single) -> None:
    got = np.empty_like(x)
    exp2(x, got)
    np.testing.assert_allclose(got, np.exp2(x.astype(np.float64)), rtol=EPSILON)


def test_whole_powers_are_exact() -> None:
    powers = np.arange(-126, 122).astype(np.float32)
    got = np.empty_like(powers)
    exp2(powers, got)
    np.testing.assert_array_equal(got, np.exp2(powers))
    log2(np.exp2(powers), got)
    np.testing.assert_allclose(got, powers, atol=EPSILON)


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        (simd.add, np.add),
        (simd.sub, np.subtract),
        (simd.mul, np.multiply),
        (simd.div, np.divide),
        (simd.minimum, np.minimum),
        (simd.maximum, np.maximum),
    ],
)
def test_operations_of_two(operation: Any, wanted: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 24)).astype(np.float32)
    got = np.empty_like(x)
    mapped(operation)(x, y, got)
    np.testing.assert_allclose(got, wanted(x, y), rtol=1e-7)


@pytest.mark.parametrize(
    ("operation", "wanted"), [(simd.sqrt, np.sqrt), (simd.absolute, np.abs), (simd.floor, np.floor)]
)
def test_operations_of_one(operation: Any, wanted: Any) -> None:
    x = np.array([0, 0.25, 1, 2, 2.5, 3.999, 100.5, 1e20] * 3, np.float32) * (1 if operation is simd.sqrt else -1)
    got = np.empty_like(x)
    mapped(operation)(x, got)
    np.testing.assert_allclose(got, wanted(x), rtol=1e-7)


@numba.njit
def arithmetic(x: Any, out: Any) -> None:
    v = simd.load(x, 0)
    simd.store(out, 0, 1.0 - v * 2.0 + 3 / v - simd.splat(np.float32(0.5)))


def test_numbers_stand_for_all_lanes() -> None:
    x = np.arange(1, 9).astype(np.float32)
    got = np.empty_like(x)
    arithmetic(x, got)
    np.testing.assert_allclose(got, 1 - 2 * x + 3 / x - 0.5, rtol=1e-6)


@numba.njit
def moved(x: Any, at: int, out: Any, out_at: int) -> float:
    v = simd.load(x, at)
    simd.store(out, out_at, v)
    return simd.lane_sum(v)


@settings(deadline=None)
@given(st.integers(0, 16), st.integers(0, 16), hnp.arrays(np.float32, (4, 6), elements=st.integers(-99, 99)))
def test_vectors_are_read_and_written_anywhere(at: int, out_at: int, x: Single) -> None:
    out = np.full(24, np.nan, np.float32)
    total = moved(x, at, out, out_at)  # of two dimensions: the index is a flat one
    wanted = np.full(24, np.nan, np.float32)
    wanted[out_at : out_at + 8] = x.ravel()[at : at + 8]
    np.testing.assert_array_equal(out, wanted)
    assert total == x.ravel()[at : at + 8].sum()


@pytest.mark.parametrize("array", [np.zeros(16), np.zeros(16, np.int32), np.zeros(32, np.float32)[::2]])
def test_other_arrays_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(Exception, match="contiguous float32"):
        moved(array, 0, np.zeros(8, np.float32), 0)


@numba.njit
def transposed(x: Any, out: Any) -> None:
    tile = (
        simd.load(x, 0),
        simd.load(x, 8),
        simd.load(x, 16),
        simd.load(x, 24),
        simd.load(x, 32),
        simd.load(x, 40),
        simd.load(x, 48),
        simd.load(x, 56),
    )
    tile = simd.transpose(tile)
    for row in range(8):
        simd.store(out, 8 * row, tile[row])


def test_rows_and_columns_change_places() -> None:
    x = np.arange(64).astype(np.float32)
    got = np.empty_like(x)
    transposed(x, got)
    np.testing.assert_array_equal(got.reshape(8, 8), x.reshape(8, 8).T)
