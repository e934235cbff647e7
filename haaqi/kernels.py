"""Numba kernels of HAAQI's auditory bands, for eight bands at a time in float32 (`simd`).

The signals of bands are contiguous float32 [32, PAD + samples + PAD] with pads of zeros, so that a shifted read beyond
an end gives zeros, as the model requires. Parameters are float32 [parameters, 8], with one column per band.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import simd
from .simd import jit

DECIMATION: Final = 8
"""decimation of the base-band signals for the coarse correlation"""
RESTART: Final = 1024
"""samples after which carriers restart from their exact phase"""
_STRETCH: Final = 64
"""samples of the control path that are computed together; a divisor of `RESTART`"""
PAD: Final = 4096
"""samples of a pad; more than the sum of the longest alignment (2,400) and band delay (450)"""
SMOOTHING: Final = 96
"""samples in half of a smoothing window of 8 ms"""
_TINY: Final = 1e-30
_DB: Final = 6.020599913279624
"""dB of a factor of two in amplitude"""
_LAG_ZERO: Final = np.tan(np.pi * 800 / 24_000) / (1 + np.tan(np.pi * 800 / 24_000))
_LAG_POLE: Final = 1 - 2 * _LAG_ZERO
"""first-order Butterworth low-pass at 800 Hz, for the compression gains"""

Array = npt.NDArray[Any]
_ZERO: Final = np.float32(0.0)
_ALL: Final = -1
"""mask that does not change an index"""


@jit
def _rows(array: Array, start: int, stride: int) -> Any:  # pragma: no cover - compiled
    """Load eight vectors with a distance of `stride` elements."""
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
def _log2_coefficients(table: Array) -> Any:  # pragma: no cover - compiled
    return (
        simd.load(table, 0),
        simd.load(table, 8),
        simd.load(table, 16),
        simd.load(table, 24),
        simd.load(table, 32),
        simd.load(table, 40),
    )


@jit
def _exp2_coefficients(table: Array) -> Any:  # pragma: no cover - compiled
    return (
        simd.load(table, 48),
        simd.load(table, 56),
        simd.load(table, 64),
        simd.load(table, 72),
        simd.load(table, 80),
    )


@jit
def control_path(
    x: Array, wave: Array, filters: Array, compression: Array, approximations: Array, gains: Array
) -> Any:  # pragma: no cover - compiled
    """Compute the control path of eight bands, and the compression gains from its envelope.

    Args:
        x: middle-ear output [samples].
        wave: cosine and minus sine of each band's carrier at the first `RESTART` samples [RESTART, 2, 8].
        filters: pole, 4 pole, 4 pole^2, gain, cosine and sine of the phase of `RESTART` samples [6, 8].
        compression: lowest and highest power of the range in which the gain changes, and offset and slope of
            log2(gain) over log2(power), [4, 8].
        approximations: `simd.APPROXIMATIONS`.
        gains: output, the gains [samples, 8] after a first-order low-pass at 800 Hz, which delays them by 0.2 ms.

    Returns:
        mean squares of the control path, float64 [8].
    """
    pole, zero1, zero2 = simd.load(filters, 0), simd.load(filters, 8), simd.load(filters, 16)
    gain, turn_c, turn_s = simd.load(filters, 24), simd.load(filters, 32), simd.load(filters, 40)
    lowest, highest = simd.load(compression, 0), simd.load(compression, 8)
    offset, slope = simd.load(compression, 16), simd.load(compression, 24)
    log2, exp2 = _log2_coefficients(approximations), _exp2_coefficients(approximations)
    power, scratch = np.zeros(8), np.zeros(8, np.float32)
    powers = np.empty(8 * _STRETCH, np.float32)
    zero = simd.splat(_ZERO)
    lag_pole, lag_zero = simd.splat(np.float32(_LAG_POLE)), simd.splat(np.float32(_LAG_ZERO))
    re1 = re2 = re3 = re4 = re5 = im1 = im2 = im3 = im4 = im5 = zero
    last = smoothed = part = zero
    quiet = simd.approximate_exp2(simd.approximate_log2(lowest, log2) * slope + offset, exp2)
    samples = len(x)
    for start in range(0, samples, _STRETCH):
        place = start % RESTART
        if place == 0 and start > 0:
            re1, im1 = _rotate(re1, im1, turn_c, turn_s)
            re2, im2 = _rotate(re2, im2, turn_c, turn_s)
            re3, im3 = _rotate(re3, im3, turn_c, turn_s)
            re4, im4 = _rotate(re4, im4, turn_c, turn_s)
            re5, im5 = _rotate(re5, im5, turn_c, turn_s)
        loudest = zero
        count = min(_STRETCH, samples - start)
        # Three loops let the processor compute several samples at once.
        for i in range(count):
            v = simd.splat(x[start + i]) * gain
            at = 16 * (place + i)
            re1 = simd.fma(pole, re1, v * simd.load(wave, at))
            im1 = simd.fma(pole, im1, v * simd.load(wave, at + 8))
            re2 = simd.fma(pole, re2, re1)
            im2 = simd.fma(pole, im2, im1)
            re3 = simd.fma(pole, re3, re2)
            im3 = simd.fma(pole, im3, im2)
            re = simd.fma(pole, re4, re3)
            im = simd.fma(pole, im4, im3)
            u = simd.fma(zero2, re5, simd.fma(zero1, re4, re))
            w = simd.fma(zero2, im5, simd.fma(zero1, im4, im))
            re5, im5, re4, im4 = re4, im4, re, im
            p = simd.fma(u, u, w * w)
            part = part + p
            loudest = simd.maximum(loudest, p)
            simd.store(powers, 8 * i, p)
        if simd.lane_sum(simd.maximum(loudest - lowest, zero)) > 0:
            for i in range(count):
                p = simd.minimum(simd.maximum(simd.load(powers, 8 * i), lowest), highest)
                simd.store(
                    powers, 8 * i, simd.approximate_exp2(simd.fma(simd.approximate_log2(p, log2), slope, offset), exp2)
                )
        else:
            for i in range(count):
                simd.store(powers, 8 * i, quiet)
        for i in range(count):
            now = simd.load(powers, 8 * i)
            smoothed = simd.fma(lag_pole, smoothed, (now + last) * lag_zero)
            last = now
            simd.store(gains, 8 * (start + i), smoothed)
        if place + _STRETCH == RESTART or start + _STRETCH >= samples:
            _accumulate(power, part, scratch)
            part = zero
    return power / samples


@jit
def _rotate(re: Any, im: Any, c: Any, s: Any) -> Any:  # pragma: no cover - compiled
    """Multiply complex numbers by c + i s."""
    return re * c - im * s, im * c + re * s


@jit
def signal_path(
    x: Array,
    wave: Array,
    carrier: Array,
    filters: Array,
    gains: Array,
    env: Array,
    bm: Array,
    first: int,
    stride: int,
    coarse_env: Array,
    coarse_bm: Array,
) -> Any:  # pragma: no cover - compiled
    """Compute compressed envelopes and basilar-membrane motion of eight bands.

    Args:
        x, wave, filters: see `control_path`.
        carrier: cosine and minus sine of each band's carrier at every `RESTART`th sample [restarts, 2, 8].
        gains: of the compression [samples, 8].
        env, bm: outputs, the signals of the bands.
        first, stride: flat index of the first sample of the first band, and length of a row.
        coarse_env, coarse_bm: outputs, sums over `DECIMATION` samples of the compressed envelopes, and of the real and
            imaginary parts of the compressed base-band signals: [8, n] and [8, n, 2] with
            n = ceil(samples / DECIMATION).

    Returns:
        sums of squares [5, 8]: the envelopes before compression; `env`; `coarse_env`; `bm`; `coarse_bm`.
    """
    pole, zero1, zero2 = simd.load(filters, 0), simd.load(filters, 8), simd.load(filters, 16)
    gain, turn_c, turn_s = simd.load(filters, 24), simd.load(filters, 32), simd.load(filters, 40)
    sums, scratch = np.zeros((5, 8)), np.zeros(8, np.float32)
    base_band = np.zeros(16 * _STRETCH, np.float32)
    tile_env, tile_bm = np.zeros(64, np.float32), np.zeros(64, np.float32)
    coarse = np.zeros(24, np.float32)
    zero = simd.splat(_ZERO)
    re1 = re2 = re3 = re4 = re5 = im1 = im2 = im3 = im4 = im5 = zero
    part = part_env = part_bm = part_coarse_env = part_coarse_bm = zero
    samples = len(x)
    for start in range(0, samples, _STRETCH):
        place = start % RESTART
        if place == 0 and start > 0:
            re1, im1 = _rotate(re1, im1, turn_c, turn_s)
            re2, im2 = _rotate(re2, im2, turn_c, turn_s)
            re3, im3 = _rotate(re3, im3, turn_c, turn_s)
            re4, im4 = _rotate(re4, im4, turn_c, turn_s)
            re5, im5 = _rotate(re5, im5, turn_c, turn_s)
        for i in range(min(_STRETCH, samples - start)):
            v = simd.splat(x[start + i]) * gain
            at = 16 * (place + i)
            re1 = simd.fma(pole, re1, v * simd.load(wave, at))
            im1 = simd.fma(pole, im1, v * simd.load(wave, at + 8))
            re2 = simd.fma(pole, re2, re1)
            im2 = simd.fma(pole, im2, im1)
            re3 = simd.fma(pole, re3, re2)
            im3 = simd.fma(pole, im3, im2)
            re = simd.fma(pole, re4, re3)
            im = simd.fma(pole, im4, im3)
            simd.store(base_band, 16 * i, simd.fma(zero2, re5, simd.fma(zero1, re4, re)))
            simd.store(base_band, 16 * i + 8, simd.fma(zero2, im5, simd.fma(zero1, im4, im)))
            re5, im5, re4, im4 = re4, im4, re, im
        c = simd.load(carrier, start // RESTART * 16)
        s = simd.load(carrier, start // RESTART * 16 + 8)
        for block in range(start, min(start + _STRETCH, samples), DECIMATION):
            count = min(DECIMATION, samples - block)
            if count < DECIMATION:
                tile_env[:] = 0
                tile_bm[:] = 0
            sum_env = sum_re = sum_im = zero
            for t in range(count):
                at = 16 * (block - start + t)
                u, w = simd.load(base_band, at), simd.load(base_band, at + 8)
                p = simd.fma(u, u, w * w)
                part = part + p
                g = simd.load(gains, 8 * (block + t))
                e, u, w = simd.sqrt(p) * g, u * g, w * g
                at += 16 * place
                m = simd.fma(u, simd.load(wave, at), w * simd.load(wave, at + 8))
                simd.store(tile_env, 8 * t, e)
                simd.store(tile_bm, 8 * t, m)
                part_env, part_bm = simd.fma(e, e, part_env), simd.fma(m, m, part_bm)
                sum_env, sum_re, sum_im = sum_env + e, sum_re + u, sum_im + w
            _put_rows(env, first + block, stride, simd.transpose(_rows(tile_env, 0, 8)))
            _put_rows(bm, first + block, stride, simd.transpose(_rows(tile_bm, 0, 8)))
            part_coarse_env = simd.fma(sum_env, sum_env, part_coarse_env)
            part_coarse_bm = simd.fma(sum_re, sum_re, simd.fma(sum_im, sum_im, part_coarse_bm))
            sum_re, sum_im = _rotate(sum_re, sum_im, c, s)
            simd.store(coarse, 0, sum_env)
            simd.store(coarse, 8, sum_re)
            simd.store(coarse, 16, sum_im)
            for k in range(simd.LANES):
                coarse_env[k, block // DECIMATION] = coarse[k]
                coarse_bm[k, block // DECIMATION, 0] = coarse[8 + k]
                coarse_bm[k, block // DECIMATION, 1] = coarse[16 + k]
        if place + _STRETCH == RESTART or start + _STRETCH >= samples:
            _accumulate(sums[0], part, scratch)
            _accumulate(sums[1], part_env, scratch)
            _accumulate(sums[2], part_coarse_env, scratch)
            _accumulate(sums[3], part_bm, scratch)
            _accumulate(sums[4], part_coarse_bm, scratch)
            part = part_env = part_bm = part_coarse_env = part_coarse_bm = zero
    return sums


@jit
def hair_cells(
    env: Array,
    bm: Array,
    env_at: Array,
    bm_at: Array,
    level: Array,
    circuit: Array,
    approximations: Array,
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
    """Apply the adaptation of the inner hair cells to envelopes in dB above threshold, and its gain to the motion.

    Args:
        env, bm: the signals of the bands.
        env_at, bm_at: flat index for sample 0 of the output, per band [8].
        level: dB above threshold of an envelope of 1 [8].
        circuit: update matrix [2, 3] of the two states of the adaptation (from input, first and second state), and the
            output gain.
        approximations: `simd.APPROXIMATIONS`.
        window: rising and falling half of the smoothing window [2, SMOOTHING].
        noise: noise at the auditory threshold: a power of two of values, followed by the first seven values again.
        noise_at: start of each band in the noise, which is read cyclically [8].
        rising, falling: outputs, weighted sums of the envelope over blocks of `SMOOTHING` samples [blocks, 8].
        out, first, stride: output, the motion, as in `signal_path`.
        samples: number of samples.
    """
    base = simd.load(level, 0)
    m00, m01, m02 = simd.splat(circuit[0]), simd.splat(circuit[1]), simd.splat(circuit[2])
    m10, m11, m12 = simd.splat(circuit[3]), simd.splat(circuit[4]), simd.splat(circuit[5])
    overshoot = simd.splat(circuit[6])
    log2 = _log2_coefficients(approximations)
    tile_env, tile_out = np.zeros(64, np.float32), np.zeros(64, np.float32)
    zero, tiny = simd.splat(_ZERO), simd.splat(np.float32(_TINY))
    decibel = simd.splat(np.float32(_DB))
    state1 = state2 = rise = fall = zero
    for block in range(0, samples, 8):
        place = block % SMOOTHING
        e_rows = _gather(env, env_at, block, _ALL)
        _put_rows(tile_env, 0, 8, simd.transpose(e_rows))
        for t in range(8):
            e = simd.maximum(simd.load(tile_env, 8 * t), tiny)
            simd.store(tile_env, 8 * t, simd.maximum(simd.fma(simd.approximate_log2(e, log2), decibel, base), zero))
        for t in range(8):
            v = simd.load(tile_env, 8 * t)
            state1, state2 = (
                simd.fma(m01, state1, simd.fma(m02, state2, v * m00)),
                simd.fma(m11, state1, simd.fma(m12, state2, v * m10)),
            )
            y = simd.maximum((v - state1) * overshoot, zero)
            rise = rise + y * window[place + t]
            fall = fall + y * window[SMOOTHING + place + t]
            simd.store(tile_out, 8 * t, y)
        y_rows = simd.transpose(_rows(tile_out, 0, 8))
        b_rows = _gather(bm, bm_at, block, _ALL)
        hiss = _gather(noise, noise_at, block, len(noise) - simd.LANES)
        tile = (
            _inner_hair_cell(y_rows[0], e_rows[0], b_rows[0], hiss[0], tiny),
            _inner_hair_cell(y_rows[1], e_rows[1], b_rows[1], hiss[1], tiny),
            _inner_hair_cell(y_rows[2], e_rows[2], b_rows[2], hiss[2], tiny),
            _inner_hair_cell(y_rows[3], e_rows[3], b_rows[3], hiss[3], tiny),
            _inner_hair_cell(y_rows[4], e_rows[4], b_rows[4], hiss[4], tiny),
            _inner_hair_cell(y_rows[5], e_rows[5], b_rows[5], hiss[5], tiny),
            _inner_hair_cell(y_rows[6], e_rows[6], b_rows[6], hiss[6], tiny),
            _inner_hair_cell(y_rows[7], e_rows[7], b_rows[7], hiss[7], tiny),
        )
        _put_rows(out, first + block, stride, tile)
        if place + 8 == SMOOTHING:
            simd.store(rising, block // SMOOTHING * 8, rise)
            simd.store(falling, block // SMOOTHING * 8, fall)
            rise = fall = zero


@jit
def _inner_hair_cell(y: Any, e: Any, b: Any, hiss: Any, tiny: Any) -> Any:  # pragma: no cover - compiled
    """Apply to the motion b the gain between the envelope e and the output y of the hair cells, and add noise."""
    return simd.fma(b, (y + tiny) / (e + tiny), hiss)


@jit
def _gather(array: Array, at: Array, block: int, mask: int) -> Any:  # pragma: no cover - compiled
    """Load eight vectors that start `block` elements after `at`. Indices are masked by `mask`."""
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
def correlation_around(x: Array, y: Array, x_at: int, y_at: int, samples: int) -> Any:  # pragma: no cover - compiled
    """Return the sum of x[n] y[n + lag] for lag 0, and how much larger it is for lags -1 and 1.

    The differences are sums over differences of `y`, because the correlations of smooth envelopes at neighbouring lags
    differ by less than the precision of a float32 sum. The arrays have seven or more zeros after `samples`.
    """
    before = here = after = 0.0
    zero = simd.splat(_ZERO)
    for start in range(0, samples, RESTART):
        a = b = c = zero
        for i in range(start, min(start + RESTART, samples), 8):
            v, w = simd.load(x, x_at + i), simd.load(y, y_at + i)
            a = simd.fma(v, simd.load(y, y_at + i - 1) - w, a)
            b = simd.fma(v, w, b)
            c = simd.fma(v, simd.load(y, y_at + i + 1) - w, c)
        before += simd.lane_sum(a)
        here += simd.lane_sum(b)
        after += simd.lane_sum(c)
    return here, before, after
