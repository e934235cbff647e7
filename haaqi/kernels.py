"""The auditory bands of HAAQI as numba kernels, eight bands at a time in float32 (`simd`).

Band signals are contiguous float32 [32, PAD + samples + PAD] with zeros in the pads, so that a shifted read past
either end is a read of zeros, as the model wants it. Parameters come as float32 [parameters, 8], one column a band.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import simd
from .simd import jit

DECIMATION: Final = 8
"""of the base-band signals that are correlated coarsely"""
RESTART: Final = 1024
"""samples after which a carrier starts from its exact phase again"""
PAD: Final = 4096
"""samples; more than the longest alignment (2,400) and band delay (450) together"""
SMOOTHING: Final = 96
"""samples, half of a smoothing window of 8 ms"""
_TINY: Final = 1e-30
_DB: Final = 6.020599913279624
"""of a factor of two in amplitude"""
_LAG_ZERO: Final = np.tan(np.pi * 800 / 24_000) / (1 + np.tan(np.pi * 800 / 24_000))
_LAG_POLE: Final = 1 - 2 * _LAG_ZERO
"""first-order Butterworth low-pass at 800 Hz, for the compression gains"""

Array = npt.NDArray[Any]
_ZERO: Final = np.float32(0.0)
_ALL: Final = -1
"""a mask that keeps an index as it is"""


@jit
def _rows(array: Array, start: int, stride: int) -> Any:  # pragma: no cover - compiled
    """Eight vectors that lie `stride` elements apart."""
    return (
        simd.load(array, start),
        simd.load(array, start + stride),
        simd.load(array, start + 2 * stride),
        simd.load(array, start + 3 * stride),
        simd.load(array, start + 4 * stride),
        simd.load(array, start + 5 * stride),
        simd.load(array, start + 6 * stride),
        simd.load(array, start + 7 * stride),
    )


@jit
def _put_rows(array: Array, start: int, stride: int, tile: Any) -> None:  # pragma: no cover - compiled
    simd.store(array, start, tile[0])
    simd.store(array, start + stride, tile[1])
    simd.store(array, start + 2 * stride, tile[2])
    simd.store(array, start + 3 * stride, tile[3])
    simd.store(array, start + 4 * stride, tile[4])
    simd.store(array, start + 5 * stride, tile[5])
    simd.store(array, start + 6 * stride, tile[6])
    simd.store(array, start + 7 * stride, tile[7])


@jit
def _accumulate(total: Array, part: Any, scratch: Array) -> None:  # pragma: no cover - compiled
    simd.store(scratch, 0, part)
    for k in range(simd.LANES):
        total[k] += scratch[k]


@jit
def control_path(
    x: Array, carrier: Array, filters: Array, compression: Array, gains: Array
) -> Any:  # pragma: no cover - compiled
    """The control path of eight bands: its mean squares, and the compression gains that follow from its envelope.

    Args:
        x: middle-ear output [samples].
        carrier: cosine and sine of each band at every `RESTART`th sample [restarts, 2, 8].
        filters: pole, 4 pole, 4 pole^2, gain, cosine and sine of a sample's phase [6, 8].
        compression: level of power 1 in dB SPL, knee in dB SPL, and offset and slope of log2(gain) over dB SPL [4, 8].
        gains: takes the gains [samples, 8], after the first-order low-pass at 800 Hz that delays them by 0.2 ms.

    Returns:
        float64 [8].
    """
    pole, zero1, zero2 = simd.load(filters, 0), simd.load(filters, 8), simd.load(filters, 16)
    gain, turn_c, turn_s = simd.load(filters, 24), simd.load(filters, 32), simd.load(filters, 40)
    level, knee = simd.load(compression, 0), simd.load(compression, 8)
    offset, slope = simd.load(compression, 16), simd.load(compression, 24)
    power, scratch = np.zeros(8), np.zeros(8, np.float32)
    zero = simd.splat(_ZERO)
    re1 = re2 = re3 = re4 = re5 = im1 = im2 = im3 = im4 = im5 = zero
    last = smoothed = zero
    samples = len(x)
    for start in range(0, samples, RESTART):
        c = simd.load(carrier, start // RESTART * 16)
        s = simd.load(carrier, start // RESTART * 16 + 8)
        part = zero
        for i in range(start, min(start + RESTART, samples)):
            v = simd.splat(x[i])
            re1 = pole * re1 + v * c
            im1 = pole * im1 + v * s
            re2 = pole * re2 + re1
            im2 = pole * im2 + im1
            re3 = pole * re3 + re2
            im3 = pole * im3 + im2
            re = pole * re4 + re3
            im = pole * im4 + im3
            u = (re + zero1 * re4 + zero2 * re5) * gain
            w = (im + zero1 * im4 + zero2 * im5) * gain
            re5, im5, re4, im4 = re4, im4, re, im
            p = u * u + w * w
            part = part + p
            heard = simd.log2(simd.maximum(p, simd.splat(np.float32(1e-37)))) * (0.5 * _DB) + level
            heard = simd.minimum(simd.maximum(heard, knee), simd.splat(np.float32(100.0)))
            now = simd.exp2(heard * slope + offset)
            smoothed = smoothed * _LAG_POLE + (now + last) * _LAG_ZERO
            last = now
            simd.store(gains, 8 * i, smoothed)
            c, s = c * turn_c + s * turn_s, s * turn_c - c * turn_s
        _accumulate(power, part, scratch)
    return power / samples


@jit
def signal_path(
    x: Array,
    carrier: Array,
    filters: Array,
    gains: Array,
    env: Array,
    bm: Array,
    first: int,
    stride: int,
    coarse: Array,
) -> Any:  # pragma: no cover - compiled
    """Compressed envelopes and basilar-membrane motion of eight bands.

    Args:
        x, carrier, filters: see `control_path`.
        gains: of the compression [samples, 8].
        env, bm: take the bands' signals; `first` is the flat index of the first sample of the first band, `stride` the
            length of a row.
        coarse: takes the envelope and the real and imaginary parts of the base-band signal, all compressed, as sums
            over `DECIMATION` samples [ceil(samples / DECIMATION), 3, 8].

    Returns:
        mean squares of the envelopes before compression, float64 [8].
    """
    pole, zero1, zero2 = simd.load(filters, 0), simd.load(filters, 8), simd.load(filters, 16)
    gain, turn_c, turn_s = simd.load(filters, 24), simd.load(filters, 32), simd.load(filters, 40)
    power, scratch = np.zeros(8), np.zeros(8, np.float32)
    tile_env, tile_bm = np.zeros(64, np.float32), np.zeros(64, np.float32)
    zero = simd.splat(_ZERO)
    re1 = re2 = re3 = re4 = re5 = im1 = im2 = im3 = im4 = im5 = zero
    samples = len(x)
    for start in range(0, samples, RESTART):
        c = simd.load(carrier, start // RESTART * 16)
        s = simd.load(carrier, start // RESTART * 16 + 8)
        part = zero
        for block in range(start, min(start + RESTART, samples), DECIMATION):
            count = min(DECIMATION, samples - block)
            if count < DECIMATION:
                tile_env[:] = 0
                tile_bm[:] = 0
            sum_env = sum_re = sum_im = zero
            for t in range(count):
                v = simd.splat(x[block + t])
                re1 = pole * re1 + v * c
                im1 = pole * im1 + v * s
                re2 = pole * re2 + re1
                im2 = pole * im2 + im1
                re3 = pole * re3 + re2
                im3 = pole * im3 + im2
                re = pole * re4 + re3
                im = pole * im4 + im3
                u = (re + zero1 * re4 + zero2 * re5) * gain
                w = (im + zero1 * im4 + zero2 * im5) * gain
                re5, im5, re4, im4 = re4, im4, re, im
                p = u * u + w * w
                part = part + p
                g = simd.load(gains, 8 * (block + t))
                e, u, w = simd.sqrt(p) * g, u * g, w * g
                simd.store(tile_env, 8 * t, e)
                simd.store(tile_bm, 8 * t, u * c + w * s)
                sum_env, sum_re, sum_im = sum_env + e, sum_re + u, sum_im + w
                c, s = c * turn_c + s * turn_s, s * turn_c - c * turn_s
            _put_rows(env, first + block, stride, simd.transpose(_rows(tile_env, 0, 8)))
            _put_rows(bm, first + block, stride, simd.transpose(_rows(tile_bm, 0, 8)))
            simd.store(coarse, 3 * block, sum_env)
            simd.store(coarse, 3 * block + 8, sum_re)
            simd.store(coarse, 3 * block + 16, sum_im)
        _accumulate(power, part, scratch)
    return power / samples


@jit
def hair_cells(
    env: Array,
    bm: Array,
    env_at: Array,
    bm_at: Array,
    level: Array,
    circuit: Array,
    window: Array,
    noise: Array,
    noise_at: Array,
    rising: Array,
    falling: Array,
    out: Array,
    first: int,
    stride: int,
    samples: int,
) -> None:  # pragma: no cover - compiled
    """Envelopes in dB above threshold with inner-hair-cell adaptation, smoothed; the motion with the same gain.

    Args:
        env, bm: the bands' signals.
        env_at, bm_at: flat indices of what each of the eight bands has at sample 0 of the output [8].
        level: dB above threshold of an envelope of 1 [8].
        circuit: the adaptation's update matrix of two states [2, 3] (from input, first, second) and output gain.
        window: rising and falling half of the smoothing window [2, SMOOTHING].
        noise: table of noise at the auditory threshold, a power of two long, and its first seven values again.
        noise_at: where each band starts in the table, which it reads round and round [8].
        rising, falling: take the weighted sums of the envelope over blocks of `SMOOTHING` samples [blocks, 8].
        out, first, stride: take the motion, as in `signal_path`.
        samples: how many.
    """
    base = simd.load(level, 0)
    m00, m01, m02 = circuit[0], circuit[1], circuit[2]
    m10, m11, m12, overshoot = circuit[3], circuit[4], circuit[5], circuit[6]
    tile_env, tile_bm = np.zeros(64, np.float32), np.zeros(64, np.float32)
    zero, tiny = simd.splat(_ZERO), simd.splat(np.float32(_TINY))
    state1 = state2 = rise = fall = zero
    for block in range(0, samples, 8):
        place = block % SMOOTHING
        _put_rows(tile_env, 0, 8, simd.transpose(_gather(env, env_at, block, _ALL)))
        _put_rows(tile_bm, 0, 8, simd.transpose(_gather(bm, bm_at, block, _ALL)))
        for t in range(8):
            e = simd.load(tile_env, 8 * t)
            v = simd.maximum(simd.log2(simd.maximum(e, tiny)) * _DB + base, zero)
            state1, state2 = (
                v * m00 + state1 * m01 + state2 * m02,
                v * m10 + state1 * m11 + state2 * m12,
            )
            y = simd.maximum((v - state1) * overshoot, zero)
            rise = rise + y * window[place + t]
            fall = fall + y * window[SMOOTHING + place + t]
            simd.store(tile_bm, 8 * t, simd.load(tile_bm, 8 * t) * ((y + tiny) / (e + tiny)))
        tile = simd.transpose(_rows(tile_bm, 0, 8))
        hiss = _gather(noise, noise_at, block, len(noise) - simd.LANES)
        tile = (
            tile[0] + hiss[0],
            tile[1] + hiss[1],
            tile[2] + hiss[2],
            tile[3] + hiss[3],
            tile[4] + hiss[4],
            tile[5] + hiss[5],
            tile[6] + hiss[6],
            tile[7] + hiss[7],
        )
        _put_rows(out, first + block, stride, tile)
        if place + 8 == SMOOTHING:
            simd.store(rising, block // SMOOTHING * 8, rise)
            simd.store(falling, block // SMOOTHING * 8, fall)
            rise = fall = zero


@jit
def _gather(array: Array, at: Array, block: int, mask: int) -> Any:  # pragma: no cover - compiled
    """Eight vectors that begin `block` elements after `at`, of whose indices the bits of `mask` count."""
    return (
        simd.load(array, (at[0] + block) & mask),
        simd.load(array, (at[1] + block) & mask),
        simd.load(array, (at[2] + block) & mask),
        simd.load(array, (at[3] + block) & mask),
        simd.load(array, (at[4] + block) & mask),
        simd.load(array, (at[5] + block) & mask),
        simd.load(array, (at[6] + block) & mask),
        simd.load(array, (at[7] + block) & mask),
    )


@jit
def correlations(x: Array, y: Array, x_at: int, y_at: int, samples: int) -> Any:  # pragma: no cover - compiled
    """sum x[n] y[n + lag] for lags -1, 0 and 1; the arrays hold seven zeros or more after `samples`."""
    before = here = after = 0.0
    zero = simd.splat(_ZERO)
    for start in range(0, samples, RESTART):
        a = b = c = zero
        for i in range(start, min(start + RESTART, samples), 8):
            v = simd.load(x, x_at + i)
            a = a + v * simd.load(y, y_at + i - 1)
            b = b + v * simd.load(y, y_at + i)
            c = c + v * simd.load(y, y_at + i + 1)
        before += simd.lane_sum(a)
        here += simd.lane_sum(b)
        after += simd.lane_sum(c)
    return before, here, after
