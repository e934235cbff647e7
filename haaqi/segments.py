"""Numba kernels for segments of the basilar membrane's motion: mean squares, and covariances of two signals.

Windowed segments of 16 ms start every 8 ms. The first and the last have half a window. Signals have the layout of
`kernels`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import simd
from .simd import jit

SEGMENT: Final = 384
"""length of a segment in samples, 16 ms"""
LAGS: Final = 24
"""maximum lag of the covariance in samples, 1 ms"""
_TINY: Final = 1e-30
_ZERO: Final = np.float32(0.0)

Array = npt.NDArray[Any]


@jit
def window_segment(
    x: Array, at: int, window: Array, window_at: int, count: int, out: Array, out_at: int
) -> Any:  # pragma: no cover - compiled
    """Write `count` windowed samples without their mean, and return the sum of their squares."""
    zero = simd.splat(_ZERO)
    total = zero
    for i in range(0, count, 8):
        v = simd.load(x, at + i) * simd.load(window, window_at + i)
        simd.store(out, out_at + i, v)
        total = total + v
    mean = simd.splat(np.float32(simd.lane_sum(total) / count))
    total = zero
    for i in range(0, count, 8):
        v = simd.load(out, out_at + i) - mean
        simd.store(out, out_at + i, v)
        total = total + v * v
    return simd.lane_sum(total)


@jit
def _segment(index: int, segments: int) -> Any:  # pragma: no cover - compiled
    """Return the start and the length of the window of a segment. The first and the last segment have half a window."""
    half = SEGMENT // 2
    if index == 0:
        return half, half
    if index == segments - 1:
        return 0, half
    return 0, SEGMENT


@jit
def mean_squares(
    x: Array, first: int, stride: int, window: Array, power: Array, out: Array
) -> None:  # pragma: no cover - compiled
    """Write the mean squares [bands, segments] of segments. `power` has those of the whole and the half window."""
    scratch = np.zeros(SEGMENT, np.float32)
    bands, segments = out.shape
    for band in range(bands):
        for segment in range(segments):
            window_at, count = _segment(segment, segments)
            at = first + band * stride + segment * (SEGMENT // 2)
            energy = window_segment(x, at, window, window_at, count, scratch, 0)
            out[band, segment] = energy / power[0 if count == SEGMENT else 1]


@jit
def covariances(
    x: Array, y: Array, first: int, stride: int, window: Array, norms: Array, active: Array, out: Array
) -> None:  # pragma: no cover - compiled
    """Compute the largest normalized covariance within `LAGS` of active segments.

    Args:
        x, y, first, stride: motion of both signals, see `kernels.signal_path`.
        window: [SEGMENT].
        norms: ratio of mean square and unbiased covariance of each lag, for whole and half window, [2, 2 LAGS + 1].
        active: bool [bands, segments].
        out: output, covariances [bands, segments]; inactive segments are not changed.
    """
    bands, segments = out.shape
    a = np.zeros(SEGMENT, np.float32)
    b = np.zeros(SEGMENT + 2 * LAGS + 16, np.float32)
    for band in range(bands):
        for segment in range(segments):
            if not active[band, segment]:
                continue
            window_at, count = _segment(segment, segments)
            if count < SEGMENT:
                b[:] = 0
            at = first + band * stride + segment * (SEGMENT // 2)
            energy = window_segment(x, at, window, window_at, count, a, 0) * window_segment(
                y, at, window, window_at, count, b, LAGS
            )
            peak = 0.0
            kind = 0 if count == SEGMENT else 1
            for lag in range(0, 2 * LAGS + 1, 7):
                c0 = c1 = c2 = c3 = c4 = c5 = c6 = simd.splat(_ZERO)
                for i in range(0, count, 8):
                    v = simd.load(a, i)
                    c0 = c0 + v * simd.load(b, i + lag)
                    c1 = c1 + v * simd.load(b, i + lag + 1)
                    c2 = c2 + v * simd.load(b, i + lag + 2)
                    c3 = c3 + v * simd.load(b, i + lag + 3)
                    c4 = c4 + v * simd.load(b, i + lag + 4)
                    c5 = c5 + v * simd.load(b, i + lag + 5)
                    c6 = c6 + v * simd.load(b, i + lag + 6)
                peak = max(peak, abs(simd.lane_sum(c0)) * norms[kind, lag])
                peak = max(peak, abs(simd.lane_sum(c1)) * norms[kind, lag + 1])
                peak = max(peak, abs(simd.lane_sum(c2)) * norms[kind, lag + 2])
                peak = max(peak, abs(simd.lane_sum(c3)) * norms[kind, lag + 3])
                peak = max(peak, abs(simd.lane_sum(c4)) * norms[kind, lag + 4])
                peak = max(peak, abs(simd.lane_sum(c5)) * norms[kind, lag + 5])
                peak = max(peak, abs(simd.lane_sum(c6)) * norms[kind, lag + 6])
            if energy > _TINY:
                out[band, segment] = min(peak / np.sqrt(energy), 1.0)
