"""The 32 auditory bands of a sound: filters, compression, and inner hair cells.

Source: Kates (2013), "An auditory model for intelligibility and quality predictions", Proc. Meet. Acoust. 19, 050184.
The steps are those of pyclarity from `gammatone_basilar_membrane` to `group_delay_compensate` in `eb.ear_model`, and
`env_smooth`.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import kernels
from .cochlea import BANDS, RATE, Gammatone, Loss, adjusted_bandwidth, centre_frequencies, widest_bandwidths
from .kernels import PAD, SMOOTHING
from .simd import APPROXIMATIONS, LANES

_NOISE: Final = -10.0
"""level of the noise at threshold, in dB re threshold"""
_NOISE_TABLE: Final = 1 << 20
"""length of the noise table in samples, a power of two"""
_NOISE_STEP: Final = 31_337
"""samples between the positions at which two neighbouring bands read the table"""

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Bands(NamedTuple):
    """A signal after the cochlear filters.

    Attributes:
        env, bm: compressed envelopes and basilar-membrane motion, [32, PAD + samples + PAD].
        coarse_env, coarse_bm: the same at base band, summed over `DECIMATION` samples, [32, samples / DECIMATION].
            The first is real, the second complex.
        power, control_power: mean squares [32] of the envelopes before compression, and of the control path.
        bandwidth: of the filters [32], in units of a normal ear's.
        energy_env, energy_bm: sums of squares [2, 32] of `env` and `bm`, and of their coarse signals. None if they were
            not computed.
    """

    env: Single
    bm: Single
    coarse_env: Single
    coarse_bm: npt.NDArray[np.complex64]
    power: Array
    control_power: Array
    bandwidth: Array
    energy_env: Array | None = None
    energy_bm: Array | None = None

    @property
    def samples(self) -> int:
        """Number of samples of the signal."""
        return int(self.env.shape[1]) - 2 * PAD


class HairCellOutput(NamedTuple):
    """The output of the inner hair cells.

    Attributes:
        smooth: envelopes in dB above threshold, averaged over 8 ms every 4 ms, [32, windows].
        motion: of the basilar membrane in dB above threshold, with the threshold's noise, [32, PAD + samples + PAD].
    """

    smooth: Array
    motion: Single


class Workspace(NamedTuple):
    """Memory for the bands of one signal. It is reused, because allocating memory takes longer than filtering.

    Attributes:
        env, bm, motion: see `allocate_padded`.
        gains: of the compression [samples, 8].
        memory: the block that contains them.
    """

    env: Single
    bm: Single
    motion: Single
    gains: Single
    memory: Single

    @classmethod
    def of(cls, samples: int) -> Workspace:
        """Return memory for a signal of `samples` samples, reused if possible."""
        bands, gains = BANDS * (samples + 2 * PAD), samples * LANES
        memory = _reuse_or_allocate(3 * bands + gains)
        env, bm, motion = (memory[k * bands : (k + 1) * bands].reshape(BANDS, -1) for k in range(3))
        for part in (env, bm, motion):
            _clear_pads(part)
        return cls(env, bm, motion, memory[3 * bands : 3 * bands + gains].reshape(samples, LANES), memory)

    def free(self) -> None:
        """Release the memory for the next signal. It must not be used afterwards."""
        if self.memory.size <= _MAX_REUSED_SIZE:
            _free.append(self.memory)
            del _free[:-_MAX_REUSED]


_MAX_REUSED: Final = 2
_MAX_REUSED_SIZE: Final = 10 * RATE * (3 * BANDS + LANES) + 6 * BANDS * PAD
"""largest block that is reused, in samples; enough for 10 s"""
_free: Final[list[Single]] = []


def _reuse_or_allocate(size: int) -> Single:
    """Return memory for `size` samples, reused if possible."""
    with contextlib.suppress(IndexError):  # another thread took the last block
        for _ in range(len(_free)):
            memory = _free.pop(0)
            if memory.size >= size:
                return memory
    return np.empty(size, np.float32)


def filter_bands(x: Single, loss: Loss, level1: float, workspace: Workspace | None = None) -> Bands:
    """Filter and compress a signal from the middle ear.

    Args:
        x: [samples].
        loss: the hearing loss.
        level1: dB SPL of power 1.
        room: takes `env` and `bm`, if not new memory.
    """
    samples = len(x)
    if workspace is None:
        env, bm, gains = allocate_padded(samples), allocate_padded(samples), np.empty((samples, LANES), np.float32)
    else:
        env, bm, gains = workspace.env, workspace.bm, workspace.gains
    carrier, wave = _carrier(-(-samples // kernels.RESTART), kernels.RESTART), _carrier(kernels.RESTART, 1)
    blocks = -(-samples // kernels.DECIMATION)
    coarse_env, coarse_bm = np.empty((BANDS, blocks), np.float32), np.empty((BANDS, blocks, 2), np.float32)
    compression = _compression(loss, level1)
    control_filters = _filters(widest_bandwidths())
    control_power, bandwidth = np.empty(BANDS), np.empty(BANDS)
    sums = np.empty((5, BANDS))
    for group in range(BANDS // LANES):
        of = slice(group * LANES, (group + 1) * LANES)
        control_power[of] = kernels.control_path(
            x, wave[group], control_filters[group], compression[group], APPROXIMATIONS, gains
        )
        bandwidth[of] = adjusted_bandwidth(control_power, loss.bandwidth, level1)[of]
        filters = _filters(np.where(np.arange(BANDS) // LANES == group, bandwidth, 1.0))[group]
        row = env.shape[1]
        sums[:, of] = kernels.signal_path(
            x,
            wave[group],
            carrier[group],
            filters,
            gains,
            env,
            bm,
            of.start * row + PAD,
            row,
            coarse_env[of],
            coarse_bm[of],
        )
    base_band = coarse_bm.view(np.complex64)[..., 0]
    return Bands(env, bm, coarse_env, base_band, sums[0] / samples, control_power, bandwidth, sums[1:3], sums[3:])


def hair_cells(
    bands: Bands,
    loss: Loss,
    level1: float,
    later: Integers,
    delays: tuple[Integers, Integers] | None = None,
    seed: int = 0,
    workspace: Workspace | None = None,
) -> HairCellOutput:
    """Apply the adaptation of the inner hair cells, add the noise at threshold, and equalize the bands' group delays.

    Args:
        bands: samples that alignment moves before the start are overwritten.
        loss, level1: see `filter_bands`.
        later: samples [32] by which the bands are delayed (`Gammatone.delay_to_latest` of the reference's filters).
        delays: samples [32] by which the envelopes and the motion of a processed signal are late. They are moved to
            earlier times. None for the reference, whose noise differs.
        seed: of the noise.
        room: takes `motion`, if not new memory.
    """
    samples, row = bands.samples, bands.env.shape[1]
    env_delay, bm_delay = delays or (np.zeros(BANDS, np.int64),) * 2
    for part, delay in ((bands.env, env_delay), (bands.bm, bm_delay)):
        for band in np.flatnonzero(delay > 0):
            part[band, PAD : PAD + delay[band]] = 0
    at = np.arange(BANDS) * row + PAD - later
    blocks = -(-samples // SMOOTHING)
    rising, falling = (np.zeros((BANDS // LANES, blocks, LANES), np.float32) for _ in range(2))
    motion = workspace.motion if workspace else allocate_padded(samples)
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
            APPROXIMATIONS,
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
    return HairCellOutput(_smooth_windows(rise, fall, samples), motion)


def allocate_padded(samples: int) -> Single:
    """Allocate memory [32, PAD + samples + PAD] for the signals of bands, with pads of zeros."""
    workspace = np.empty((BANDS, samples + 2 * PAD), np.float32)
    _clear_pads(workspace)
    return workspace


def _clear_pads(part: Single) -> None:
    part[:, :PAD] = 0
    part[:, -PAD:] = 0


def _compression(loss: Loss, level1: float) -> Single:
    """Return the parameters of `kernels.control_path`, [groups, 4, 8]."""
    lowest, highest = (10 ** ((level - level1) / 10) for level in (loss.knee, np.full(BANDS, 100.0)))
    slope = -(1 - 1 / loss.ratio) / 2  # amplitude over power
    rows = [lowest, highest, -loss.outer / 20 * np.log2(10) - np.log2(lowest) * slope, slope]
    return _group_bands(rows)


def _filters(bandwidth: Array) -> Single:
    """Return the coefficients [groups, 6, 8] of filters with bandwidths [32], for the kernels."""
    filters = Gammatone.of(bandwidth)
    turn = 2 * np.pi / RATE * centre_frequencies() * kernels.RESTART
    rows = [filters.pole, 4 * filters.pole, 4 * filters.pole**2, filters.gain, np.cos(turn), np.sin(turn)]
    return _group_bands(rows)


def _group_bands(rows: list[Array]) -> Single:
    """Arrange parameters of 32 bands as [groups, parameters, 8]."""
    return np.ascontiguousarray(np.stack(rows).reshape(len(rows), -1, LANES).swapaxes(0, 1), np.float32)


@lru_cache(maxsize=8)
def _carrier(count: int, step: int) -> Single:
    """Return cosine and minus sine (as in pyclarity) [groups, count, 2, 8] of the carriers, every `step` samples."""
    phase = 2 * np.pi / RATE * centre_frequencies() * (np.arange(count) * step)[:, None]
    both = np.stack([np.cos(phase), -np.sin(phase)], axis=1).reshape(count, 2, -1, LANES)
    return np.ascontiguousarray(both.transpose(2, 0, 1, 3), np.float32)


def _smooth_windows(rise: Array, fall: Array, samples: int) -> Array:
    """Compute averages over half-overlapping windows from sums over half windows. The outer windows are halves."""
    windows = 1 + samples // (2 * SMOOTHING) + (samples - SMOOTHING) // (2 * SMOOTHING)
    total = np.hanning(2 * SMOOTHING).sum()
    smooth = np.empty((len(rise), windows))
    smooth[:, 1:-1] = (rise[:, 1 : windows - 1] + fall[:, 2:windows]) / total
    smooth[:, 0] = fall[:, 0] / (total / 2)
    smooth[:, -1] = rise[:, windows - 1] / (total / 2)
    return smooth


@lru_cache(maxsize=1)
def _circuit() -> Single:
    """Return the adaptation of the inner hair cells (2 and 60 ms) as an update [2, 3] of two states, and a gain."""
    r1, r2 = 0.5, 0.25
    fast, slow = (0.002 * (r1 + r2) / (r1 * r2)) * RATE, (0.060 / ((r1 + r2) * r2)) * RATE
    first, second = r1 * r2 * fast, r2 * r2 * slow
    matrix = np.linalg.inv(np.array([[r1 + r2 + first, -r1], [-r2, 2 * r2 + second]]))
    update = matrix @ np.array([[r2, first, 0.0], [0.0, 0.0, second]])
    return np.append(update.ravel(), 1 / r1).astype(np.float32)


@lru_cache(maxsize=4)
def _noise(seed: int, gain: float) -> Single:
    """Return a table of Gaussian noise with RMS `gain`. Its first values are repeated after its end."""
    table = np.random.default_rng(seed).standard_normal(_NOISE_TABLE, dtype=np.float32) * np.float32(gain)
    return np.concatenate([table, table[: LANES - 1]])
