"""From a sound to what its 32 auditory bands tell the nerve: filters, compression, hair cells.

Kates (2013), "An auditory model for intelligibility and quality predictions", Proc. Meet. Acoust. 19, 050184; the
steps `gammatone_basilar_membrane` to `group_delay_compensate` of pyclarity's `eb.ear_model`, and `env_smooth`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import kernels
from .cochlea import BANDS, RATE, Gammatone, Loss, adjusted_bandwidth, centre_frequencies, widest
from .kernels import PAD, SMOOTHING
from .simd import LANES

_NOISE: Final = -10.0
"""dB re threshold, of the noise that stands for it"""
_NOISE_TABLE: Final = 1 << 20
"""samples, a power of two"""
_NOISE_STEP: Final = 31_337
"""samples from where a band reads the table to where the next does"""

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Bands(NamedTuple):
    """A signal behind the cochlear filters.

    Attributes:
        env, bm: compressed envelopes and basilar-membrane motion, [32, PAD + samples + PAD].
        coarse_env, coarse_bm: the same at base band, summed over `DECIMATION` samples, [32, samples / DECIMATION].
        power, control_power: mean squares [32] of the envelopes before compression, and of the control path's.
        bandwidth: of the filters [32], in units of a normal ear's.
    """

    env: Single
    bm: Single
    coarse_env: npt.NDArray[np.complex64]
    coarse_bm: npt.NDArray[np.complex64]
    power: Array
    control_power: Array
    bandwidth: Array

    @property
    def samples(self) -> int:
        """Of the signal."""
        return int(self.env.shape[1]) - 2 * PAD


class Nerve(NamedTuple):
    """What the inner hair cells make of bands.

    Attributes:
        smooth: envelopes in dB above threshold, averaged over 8 ms every 4 ms, [32, windows].
        motion: of the basilar membrane in dB above threshold, with the threshold's noise, [32, PAD + samples + PAD].
    """

    smooth: Array
    motion: Single


def filtered(x: Single, loss: Loss, level1: float) -> Bands:
    """Filter and compress a signal [samples] that comes from the middle ear; `level1` is the dB SPL of power 1."""
    samples = len(x)
    blocks = -(-samples // kernels.DECIMATION)
    carrier = _carrier(-(-samples // kernels.RESTART))
    env, bm = padded(samples), padded(samples)
    gains = np.empty((samples, LANES), np.float32)
    coarse = np.empty((BANDS // LANES, blocks, 3, LANES), np.float32)
    compression = _compression(loss, level1)
    control_filters = _filters(widest())
    power, control_power, bandwidth = (np.empty(BANDS) for _ in range(3))
    for group in range(BANDS // LANES):
        of = slice(group * LANES, (group + 1) * LANES)
        control_power[of] = kernels.control_path(x, carrier[group], control_filters[group], compression[group], gains)
        bandwidth[of] = adjusted_bandwidth(control_power, loss.bandwidth, level1)[of]
        filters = _filters(np.where(np.arange(BANDS) // LANES == group, bandwidth, 1.0))[group]
        first, row = of.start * env.shape[1] + PAD, env.shape[1]
        power[of] = kernels.signal_path(x, carrier[group], filters, gains, env, bm, first, row, coarse[group])
    parts = coarse.transpose(2, 0, 3, 1).reshape(3, BANDS, blocks)
    return Bands(env, bm, parts[0].astype(np.complex64), parts[1] + 1j * parts[2], power, control_power, bandwidth)


def hair_cells(
    bands: Bands,
    loss: Loss,
    level1: float,
    later: Integers,
    delays: tuple[Integers, Integers] | None = None,
    seed: int = 0,
) -> Nerve:
    """Adapt bands as the inner hair cells do, add the threshold's noise, and bring all bands to one group delay.

    Args:
        bands: overwritten where alignment pushes samples out before the start.
        loss, level1: the ear.
        later: samples [32] by which the bands are put off (`Gammatone.delay_to_latest` of the reference's filters).
        delays: samples [32] by which a processed signal's envelopes and motion come late; they are moved to the
            front. None for the reference. The noise of the two differs.
        seed: of the noise.
    """
    samples, row = bands.samples, bands.env.shape[1]
    env_delay, bm_delay = delays or (np.zeros(BANDS, np.int64),) * 2
    for part, delay in ((bands.env, env_delay), (bands.bm, bm_delay)):
        for band in np.flatnonzero(delay > 0):
            part[band, PAD : PAD + delay[band]] = 0
    at = np.arange(BANDS) * row + PAD - later
    blocks = -(-samples // SMOOTHING)
    rising, falling = (np.zeros((BANDS // LANES, blocks, LANES), np.float32) for _ in range(2))
    motion = padded(samples)
    noise = _noise(seed, 10 ** ((_NOISE - level1) / 20))
    noise_at = (np.arange(BANDS) + (BANDS if delays else 0)) * _NOISE_STEP % _NOISE_TABLE
    window = np.hanning(2 * SMOOTHING).astype(np.float32)
    halves = np.concatenate([window[:SMOOTHING], window[SMOOTHING:]])
    for group in range(BANDS // LANES):
        of = slice(group * LANES, (group + 1) * LANES)
        kernels.hair_cells(
            bands.env,
            bands.bm,
            (at + env_delay)[of],
            (at + bm_delay)[of],
            (level1 - loss.inner)[of].astype(np.float32),
            _circuit(),
            halves,
            noise,
            noise_at[of],
            rising[group],
            falling[group],
            motion,
            of.start * row + PAD,
            row,
            samples,
        )
    for number in range(BANDS):
        motion[number, PAD : PAD + later[number]] = 0
    rise, fall = (part.swapaxes(1, 2).reshape(BANDS, blocks).astype(np.float64) for part in (rising, falling))
    return Nerve(_smoothed(rise, fall, samples), motion)


def padded(samples: int) -> Single:
    """Room [32, PAD + samples + PAD] for bands' signals, the pads zero."""
    room = np.empty((BANDS, samples + 2 * PAD), np.float32)
    room[:, :PAD] = 0
    room[:, PAD + samples :] = 0
    return room


def _compression(loss: Loss, level1: float) -> Single:
    """What `kernels.control_path` asks for [groups, 4, 8]."""
    slope = -(1 - 1 / loss.ratio) / 20 * np.log2(10)
    rows = [np.full(BANDS, level1), loss.knee, -loss.outer / 20 * np.log2(10) - loss.knee * slope, slope]
    return _grouped(rows)


def _filters(bandwidth: Array) -> Single:
    """Coefficients [groups, 6, 8] for the kernels of filters of bandwidths [32]."""
    filters = Gammatone.of(bandwidth)
    turn = 2 * np.pi / RATE * centre_frequencies()
    rows = [filters.pole, 4 * filters.pole, 4 * filters.pole**2, filters.gain, np.cos(turn), np.sin(turn)]
    return _grouped(rows)


def _grouped(rows: list[Array]) -> Single:
    """Parameters of 32 bands as [groups, parameters, 8]."""
    return np.ascontiguousarray(np.stack(rows).reshape(len(rows), -1, LANES).swapaxes(0, 1), np.float32)


@lru_cache(maxsize=8)
def _carrier(restarts: int) -> Single:
    """Cosine and (by pyclarity's rotation) minus sine [groups, restarts, 2, 8] of the carriers where they restart."""
    phase = 2 * np.pi / RATE * centre_frequencies() * (np.arange(restarts) * kernels.RESTART)[:, None]
    both = np.stack([np.cos(phase), -np.sin(phase)], axis=1).reshape(restarts, 2, -1, LANES)
    return np.ascontiguousarray(both.transpose(2, 0, 1, 3), np.float32)


def _smoothed(rise: Array, fall: Array, samples: int) -> Array:
    """Averages over half-overlapping windows, the first and the last of half a window, from sums over half windows."""
    windows = 1 + samples // (2 * SMOOTHING) + (samples - SMOOTHING) // (2 * SMOOTHING)
    total = np.hanning(2 * SMOOTHING).sum()
    smooth = np.empty((len(rise), windows))
    smooth[:, 1:-1] = (rise[:, 1 : windows - 1] + fall[:, 2:windows]) / total
    smooth[:, 0] = fall[:, 0] / (total / 2)
    smooth[:, -1] = rise[:, windows - 1] / (total / 2)
    return smooth


@lru_cache(maxsize=1)
def _circuit() -> Single:
    """The adaptation of the inner hair cells (2 and 60 ms) as an update of two states: [2, 3] and the output gain."""
    r1, r2 = 0.5, 0.25
    fast, slow = (0.002 * (r1 + r2) / (r1 * r2)) * RATE, (0.060 / ((r1 + r2) * r2)) * RATE
    first, second = r1 * r2 * fast, r2 * r2 * slow
    matrix = np.linalg.inv(np.array([[r1 + r2 + first, -r1], [-r2, 2 * r2 + second]]))
    update = matrix @ np.array([[r2, first, 0.0], [0.0, 0.0, second]])
    return np.append(update.ravel(), 1 / r1).astype(np.float32)


@lru_cache(maxsize=4)
def _noise(seed: int, gain: float) -> Single:
    """A table of Gaussian noise of that RMS; its first values stand behind its end again."""
    table = np.random.default_rng(seed).standard_normal(_NOISE_TABLE, dtype=np.float32) * np.float32(gain)
    return np.concatenate([table, table[: LANES - 1]])
