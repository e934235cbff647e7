"""The bands' kernels against pyclarity's filters, compression and hair cells, and that they keep to their arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from haaqi_edge.haaqi import alignment, bands, kernels, segments, terms
from haaqi_edge.haaqi.bands import Bands, HairCellOutput, filter_bands, hair_cells
from haaqi_edge.haaqi.cochlea import BANDS, RATE, Gammatone, Loss, centre_frequencies, middle_ear, widest_bandwidths
from haaqi_edge.haaqi.kernels import DECIMATION, PAD, RESTART, SMOOTHING
from haaqi_edge.runtime.audiogram import Audiogram
from numpy.typing import NDArray
from oracle import eb
from sounds import music

Array = NDArray[np.float64]
Single = NDArray[np.float32]
LEVEL1 = 85.0
SOME = (0, 7, 8, 19, 31)
NONE = np.zeros(BANDS, np.int64)
LENGTHS = (4_800, 4_801, 4_896, 5_000 + 7, 5 * RESTART, 5 * RESTART + 1, 6 * RESTART - DECIMATION)
"""samples, at and beside where blocks begin and end"""


def loss_of(name: str) -> Loss:
    return Loss.of(Audiogram.named(name).at((250, 500, 1000, 2000, 4000, 6000)))


def sound(samples: int, start: float = 3.0) -> Single:
    """Music behind the middle ear."""
    return middle_ear(music(0.4, RATE, start)[:samples].astype(np.float64))


def inside(part: Single) -> Single:
    """Bands' signals without their pads."""
    return part[:, PAD:-PAD]


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("listener", ["NH", "N5"])
def test_filters_and_compression_are_pyclaritys(samples: int, listener: str) -> None:
    x, loss = sound(samples), loss_of(listener)
    got = filter_bands(x, loss, LEVEL1)
    assert got.samples == samples
    for band in SOME:
        width, centre = widest_bandwidths()[band], centre_frequencies()[band]
        control = eb.gammatone_basilar_membrane(x, width, x, width, RATE, centre)[0]
        bandwidth = eb.bandwidth_adjust(control, loss.bandwidth[band], width, LEVEL1)
        assert got.bandwidth[band] == pytest.approx(bandwidth, rel=1e-5)
        env, bm, _, _ = eb.gammatone_basilar_membrane(x, bandwidth, x, bandwidth, RATE, centre)
        assert got.control_power[band] == pytest.approx(np.mean(control**2), rel=1e-4)
        assert got.power[band] == pytest.approx(np.mean(env**2), rel=1e-4)
        parts = loss.outer[band], loss.knee[band], loss.ratio[band]
        wanted = eb.env_compress_basilar_membrane(env, bm, control, *parts, RATE, LEVEL1)
        for part, compressed in zip((got.env, got.bm), wanted, strict=True):
            np.testing.assert_allclose(inside(part)[band], compressed, rtol=1e-3, atol=1e-4 * np.abs(compressed).max())


@pytest.mark.parametrize("samples", [5_007, 5 * RESTART])
def test_coarse_signals_are_sums_at_base_band(samples: int) -> None:
    got = filter_bands(sound(samples), loss_of("N3"), LEVEL1)
    blocks = -(-samples // DECIMATION)
    whole = np.zeros((BANDS, blocks * DECIMATION))
    whole[:, :samples] = inside(got.env)
    sums = whole.reshape(BANDS, blocks, DECIMATION).sum(axis=2)
    np.testing.assert_allclose(got.coarse_env, sums, rtol=1e-4, atol=1e-6 * sums.max())
    # The envelope is the base band's magnitude, which a low band hardly changes within a block.
    np.testing.assert_allclose(np.abs(got.coarse_bm[0]), sums[0], rtol=0.02, atol=0.02 * sums[0].max())


def test_silence_stays_silence() -> None:
    got = filter_bands(np.zeros(5_000, np.float32), loss_of("N3"), LEVEL1)
    for part in (got.env, got.bm, got.power, got.control_power, got.coarse_env, got.coarse_bm):
        assert not part.any()


def made_up(samples: int, seed: int = 0) -> Bands:
    """Bands of noise whose envelopes cross the threshold now and then."""
    rng = np.random.default_rng(seed)
    env, bm = bands.allocate_padded(samples), bands.allocate_padded(samples)
    inside(env)[:] = 10 ** rng.uniform(-6, 0, (BANDS, samples))
    inside(bm)[:] = inside(env) * rng.uniform(-1, 1, (BANDS, samples))
    nothing = np.zeros(BANDS)
    coarse = np.zeros((BANDS, 1), np.complex64)
    return Bands(env, bm, coarse, coarse, nothing, nothing, nothing)


def heard(given: Bands, loss: Loss, band: int) -> tuple[Array, Array]:
    """A band's envelope and motion in dB above threshold, adapted, by pyclarity."""
    env, bm = (inside(part)[band].astype(np.float64) for part in (given.env, given.bm))
    return eb.inner_hair_cell_adaptation(*eb.envelope_sl(env, bm, loss.inner[band], LEVEL1), 2, RATE)  # type: ignore[no-any-return]


@pytest.mark.parametrize("samples", LENGTHS)
def test_hair_cells_are_pyclaritys(samples: int) -> None:
    given, loss = made_up(samples), loss_of("S3")
    got = hair_cells(given, loss, LEVEL1, NONE)
    assert not got.motion[:, :PAD].any()
    for band in SOME:
        env, bm = heard(given, loss, band)
        np.testing.assert_allclose(inside(got.motion)[band], bm, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(got.smooth[band], eb.env_smooth(env[None], 8, RATE)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("delay", [2_399, 17, 0, -1, -2_400])
def test_bands_are_aligned_and_put_off(delay: int) -> None:
    loss, later = loss_of("N2"), Gammatone.of(np.ones(BANDS)).delay_to_latest()
    moved = made_up(6_000)
    for part in (moved.env, moved.bm):  # as pyclarity's envelope_align does
        row = inside(part)
        row[:] = np.roll(row, -delay, axis=1)
        row[:, 6_000 - delay if delay > 0 else 0 : None if delay > 0 else -delay] = 0
    wanted = hair_cells(moved, loss, LEVEL1, NONE)
    got = hair_cells(made_up(6_000), loss, LEVEL1, later, (np.full(BANDS, delay), np.full(BANDS, delay)))
    noise = 0.001
    for band in SOME:
        lag = int(later[band])
        assert not inside(got.motion)[band, :lag].any()
        np.testing.assert_allclose(
            inside(got.motion)[band, lag:], inside(wanted.motion)[band, : 6_000 - lag], atol=noise, rtol=1e-4
        )


def test_the_threshold_is_noise_of_its_own_for_each_band_and_side() -> None:
    silent = filter_bands(np.zeros(9_600, np.float32), loss_of("N2"), LEVEL1)
    sides = [hair_cells(silent, loss_of("N2"), LEVEL1, NONE, delays) for delays in (None, (NONE, NONE))]
    again = hair_cells(silent, loss_of("N2"), LEVEL1, NONE)
    other = hair_cells(silent, loss_of("N2"), LEVEL1, NONE, seed=1)
    np.testing.assert_array_equal(again.motion, sides[0].motion)
    all_noise = np.concatenate([inside(side.motion) for side in (*sides, other)])
    assert all_noise.std() == pytest.approx(10 ** ((-10 - LEVEL1) / 20), rel=0.01)
    correlation = np.corrcoef(all_noise)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.06
    assert not sides[0].smooth.any()


def test_long_signals_hear_the_noise_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_NOISE_TABLE", 1 << 12)
    bands._noise.cache_clear()
    try:
        silent = filter_bands(np.zeros(10_000, np.float32), loss_of("N2"), LEVEL1)
        motion = inside(hair_cells(silent, loss_of("N2"), LEVEL1, NONE).motion)
    finally:
        bands._noise.cache_clear()
    table = np.random.default_rng(0).standard_normal(1 << 12, dtype=np.float32) * np.float32(10 ** (-95 / 20))
    for band in SOME:
        at = (band * bands._NOISE_STEP + np.arange(10_000)) % (1 << 12)
        np.testing.assert_array_equal(motion[band], table[at])


# Segments


def pair_of_motions(samples: int, mix: float = 0.6) -> tuple[Single, Single]:
    rng = np.random.default_rng(1)
    x, y = bands.allocate_padded(samples), bands.allocate_padded(samples)
    inside(x)[:] = rng.standard_normal((BANDS, samples))
    inside(y)[:] = mix * np.roll(inside(x), 5, axis=1) + (1 - mix) * rng.standard_normal((BANDS, samples))
    inside(y)[1, : samples // 2] = 0  # a band that is silent for a while
    return x, y


@pytest.mark.parametrize("samples", [4 * 192 - 1, 4 * 192, 4 * 192 + 1, 7 * 192 - 1, 7 * 192, 4_801])
def test_covariances_and_mean_squares_are_pyclaritys(samples: int) -> None:
    x, y = pair_of_motions(samples)
    few = slice(0, 3)
    covariance, mean_square, _ = eb.bm_covary(inside(x)[few].astype(float), inside(y)[few].astype(float), 16, RATE)
    got = terms.covariances(x, y, np.ones((BANDS, covariance.shape[1]), bool))
    np.testing.assert_allclose(got[few], covariance, rtol=1e-4, atol=1e-4)
    window, _, power = terms._windows()
    squares = np.empty((BANDS, covariance.shape[1]))
    segments.mean_squares(x, PAD, x.shape[1], window, power, squares)
    np.testing.assert_allclose(2 * squares[few], mean_square, rtol=1e-4)


def test_inaudible_segments_are_passed_over() -> None:
    x, y = pair_of_motions(2_000)
    audible = np.random.default_rng(2).random((BANDS, 10)) < 0.5
    assert audible.shape == terms.audible_segments(x, 2_000).shape
    got = terms.covariances(x, y, audible)
    assert not got[~audible].any()
    np.testing.assert_array_equal(got[audible], terms.covariances(x, y, np.ones_like(audible))[audible])


# Bounds


class Guarded:
    """Contiguous arrays between NaNs, which must stay there and never be read."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Any, int]] = []

    def __call__(self, array: NDArray[Any]) -> Any:
        guard = 512
        block = np.full(array.size + 2 * guard, np.nan, np.float32)
        inner = block[guard : guard + array.size]
        inner[:] = array.ravel()
        self._blocks.append((block, guard))
        return inner.reshape(array.shape)

    def check(self) -> None:
        for block, guard in self._blocks:
            assert np.isnan(block[:guard]).all()
            assert np.isnan(block[-guard:]).all()
            assert np.isfinite(block[guard:-guard]).all()


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("delay", [-2_400, 2_399])
def test_kernels_keep_to_their_arrays(samples: int, delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded, room = Guarded(), bands.allocate_padded
    monkeypatch.setattr(bands, "allocate_padded", lambda count: guarded(np.nan_to_num(room(count))))
    for name in ("_carrier", "_compression", "_filters", "_noise"):
        made = getattr(bands, name)
        monkeypatch.setattr(bands, name, lambda *given, made=made: guarded(made(*given)))
    loss, later = loss_of("N7"), Gammatone.of(np.ones(BANDS)).delay_to_latest()
    x, y = (filter_bands(guarded(sound(samples, start)), loss, LEVEL1) for start in (3.0, 6.0))
    far = np.full(BANDS, delay)
    nerves: list[HairCellOutput] = [hair_cells(x, loss, LEVEL1, later), hair_cells(y, loss, LEVEL1, later, (far, far))]
    audible = terms.audible_segments(nerves[0].motion, samples)
    covariance = terms.covariances(nerves[0].motion, nerves[1].motion, np.ones_like(audible))
    found = [
        alignment.Aligner(x.bm, x.coarse_bm, carried=True).delays(y.bm, y.coarse_bm),
        alignment.Aligner(x.env, x.coarse_env, carried=False).delays(y.env, y.coarse_env),
    ]
    assert (np.abs(found) <= alignment.LAGS).all()
    for part in (covariance, *(nerve.smooth for nerve in nerves), x.power, y.control_power, x.coarse_env, y.coarse_bm):
        assert np.isfinite(part).all()
    guarded.check()


def test_pads_are_longer_than_any_shift() -> None:
    assert alignment.LAGS + 450 + 16 <= PAD
    assert SMOOTHING % 8 == 0
    assert RESTART % DECIMATION == 0
    assert kernels.SMOOTHING * 250 == RATE
