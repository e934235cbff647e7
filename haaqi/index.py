"""HAAQI version 1: the music-quality index that the networks learn to predict.

Kates & Arehart (2016), "The Hearing-Aid Audio Quality Index (HAAQI)", IEEE/ACM Transactions on Audio, Speech, and
Language Processing 24(2). The results are those of pyclarity's `compute_haaqi`, the oracle of the tests, which takes
some fifty times as long (`benchmarks.haaqi` measures both). What is computed otherwise: the bands as float32 kernels
(`bands`), the reference's side once for all that is compared with it, the bands' alignment from decimated signals
(`alignment`), and the threshold's noise from a fixed table.

    Reference(clean, rate, Ear("N3")).score(processed, rate).score
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import signal

from ..runtime.audio.levels import LEVEL1, check_level, nal_r_filter
from ..runtime.audio.reading import checked_rate
from ..runtime.audiogram import Audiogram, AudiogramLike, as_audiogram
from ..runtime.errors import AudioError
from .alignment import Aligner
from .bands import Array, Bands, Room, Single, filtered, hair_cells
from .cochlea import (
    RATE,
    Gammatone,
    Loss,
    broad_delay,
    correlation_spectrum,
    middle_ear,
    resample,
    shift,
    spectrum_level,
)
from .terms import (
    audible_segments,
    cepstral_correlation,
    covariances,
    loud_windows,
    modulations,
    spectrum_terms,
    synchrony,
)

HAAQI_FREQUENCIES: Final = (250, 500, 1000, 2000, 4000, 6000)
"""Hz; the only hearing levels that the index reads"""
LEAST_SECONDS: Final = 0.2
"""of a reference's sounding part; the bands are aligned within 0.1 s either way"""
MOST_SECONDS: Final = 120.0
"""of a signal; a second of a comparison takes 20 MB"""
_LOUDEST: Final = 1e6
"""the largest amplitude taken for a sample: music at 85 dB SPL, amplified for a profound loss, reaches 1e4"""
_DISPERSION: Final = RATE * 2 // 1000
"""samples, 2 ms, that the processed signal is left behind when it is aligned"""


class Haaqi(NamedTuple):
    """The index, 0 to 1, and what it is made of."""

    score: float
    nonlinear: float
    linear: float
    cepstral: float
    """cepstral correlation of the envelope modulations, high modulation rates"""
    synchrony: float
    """basilar-membrane vibration correlation with loss of synchrony at high frequencies"""
    loudness: float
    """1 minus the standard deviation of the loudness spectra's difference"""
    spectrum: float
    """1 minus the standard deviation of the normalised spectra's difference"""


@dataclass(frozen=True, init=False)
class Ear:
    """Who listens, and how loud.

    Args:
        audiogram: what `as_audiogram` takes (a name, 8 numbers, a mapping of Hz to dB HL, an `Audiogram`), or 6 numbers
            at `HAAQI_FREQUENCIES`.
        level1: dB SPL of a signal whose RMS is 1.0.

    Raises:
        AudiogramError: something else, or a level that is not a number from -10 to 120.
        OptionError: a level1 outside 0 to 140.
    """

    audiogram: Audiogram
    level1: float

    def __init__(self, audiogram: AudiogramLike, level1: float = LEVEL1) -> None:
        given = audiogram.tolist() if isinstance(audiogram, np.ndarray) else audiogram
        if isinstance(given, list | tuple) and len(given) == len(HAAQI_FREQUENCIES):
            listener = Audiogram.from_pairs(HAAQI_FREQUENCIES, given)
        else:
            listener = as_audiogram(given)
        object.__setattr__(self, "audiogram", listener)
        object.__setattr__(self, "level1", check_level("level1", level1))

    @cached_property
    def loss(self) -> Loss:
        """What the hearing loss does to each band."""
        return Loss.of(self.audiogram.at(HAAQI_FREQUENCIES))


class Tiles(NamedTuple):
    """What the nonlinear part of the index is made of, by band and time.

    Attributes:
        start: where the comparison begins in the reference, in samples at `RATE`; the bands come 450 samples later.
        synchrony: covariance of the motion in segments of 16 ms every 8 ms, [32, segments]; NaN where the reference is
            inaudible.
        reference, processed: envelopes in dB above threshold in windows of 8 ms every 4 ms, [32, windows].
    """

    start: int
    synchrony: Single
    reference: Array
    processed: Array


class Reference:
    """A clean signal, as a listener would hear it amplified by NAL-R, to compare processed ones with.

    Args:
        signal: float [samples] in [-1, 1], the unamplified original.
        rate: Hz. The model rounds rates to whole kHz, as pyclarity does: a processed signal should have the
            reference's rate, or both whole kHz.
        ear: the listener.
        seed: of the noise that stands for the auditory threshold.

    Raises:
        AudioError: no finite samples of one channel, silence, less than `LEAST_SECONDS` of sound, more than
            `MOST_SECONDS`, or an unusable rate.
    """

    def __init__(self, signal: Array, rate: int, ear: Ear, seed: int = 0) -> None:
        self._signal = _at_model_rate(signal, rate, "reference")
        self._ear, self._seed = ear, seed
        self._whole = _Side(self._signal, ear, seed)
        self._cut = self._whole

    def score(self, processed: Array, rate: int) -> Haaqi:
        """The quality of a processed (and amplified) version, float [samples] at `rate` Hz, at the same `level1`.

        Where it is longer than the reference its end doesn't count; where it is shorter, the reference's doesn't.

        Raises:
            AudioError: no finite samples of one channel, too few of them, too many, or an unusable rate.
        """
        return self.compare(processed, rate)[0]

    def compare(self, processed: Array, rate: int) -> tuple[Haaqi, Tiles]:
        """What `score` gives, and the tiles behind it."""
        y = _at_model_rate(processed, rate, "processed")
        side = self._side(min(len(y), len(self._signal)))
        return side.compare(y[: side.samples])

    def _side(self, samples: int) -> _Side:
        """The reference's side for processed signals of that many samples; the last shortened one is kept."""
        if samples == self._whole.samples:
            return self._whole
        if samples != self._cut.samples:
            try:
                self._cut = _Side(self._signal[:samples], self._ear, self._seed)
            except AudioError as error:
                raise AudioError(
                    f"the processed signal ends after {1000 * samples / RATE:.2f} ms: until there, {error}"
                ) from error
        return self._cut


class _Side:
    """All that depends on the reference alone, float [samples] at `RATE`."""

    def __init__(self, x: Array, ear: Ear, seed: int) -> None:
        self.samples, self._ear, self._seed = len(x), ear, seed
        sounding = np.flatnonzero(np.abs(x) > 0.001 * np.abs(x).max())
        if len(sounding) == 0:
            raise AudioError("the reference signal is silent: HAAQI compares with music")
        self._start, self._stop = int(sounding[0]), int(sounding[-1]) + 1
        count = self._stop - self._start
        if count < LEAST_SECONDS * RATE:
            raise AudioError(
                f"the reference signal sounds for {1000 * count / RATE:.2f} ms only: "
                f"HAAQI needs {1000 * LEAST_SECONDS:g} ms or more"
            )
        self._clean, self._spectrum = x, correlation_spectrum(x)
        taps = nal_r_filter(ear.audiogram, RATE)
        amplified = signal.oaconvolve(x[self._start : self._stop], taps)[len(taps) - 1 :]
        amplified = np.pad(amplified, (0, max(count - len(amplified), 0)))[:count]
        room = Room.of(count)
        weakref.finalize(self, room.free).atexit = False
        bands = filtered(middle_ear(amplified), ear.loss, ear.level1, room)
        self._env = Aligner(bands.env, bands.coarse_env, False, bands.energy_env)
        self._bm = Aligner(bands.bm, bands.coarse_bm, True, bands.energy_bm)
        self._level = self._long_term(bands)
        self._later = Gammatone.of(bands.bandwidth).delay_to_latest()
        self._nerve = hair_cells(bands, ear.loss, ear.level1, self._later, seed=seed, room=room)
        self._audible = audible_segments(self._nerve.motion, count)
        self._loud = loud_windows(self._nerve.smooth)
        self._modulations = modulations(self._nerve.smooth[:, self._loud]) if len(self._loud) else None

    def compare(self, y: Array) -> tuple[Haaqi, Tiles]:
        """See `Reference.compare`; `y` has as many samples as the reference."""
        y = shift(y, broad_delay(self._clean, y, self._spectrum) - _DISPERSION)[self._start : self._stop]
        ear, room = self._ear, Room.of(len(y))
        bands = filtered(middle_ear(y), ear.loss, ear.level1, room)
        delays = (
            self._env.delays(bands.env, bands.coarse_env, bands.energy_env),
            self._bm.delays(bands.bm, bands.coarse_bm, bands.energy_bm),
        )
        nerve = hair_cells(bands, ear.loss, ear.level1, self._later, delays, self._seed, room)
        cepstral = 0.0
        if self._modulations is not None:
            cepstral = cepstral_correlation(self._modulations, modulations(nerve.smooth[:, self._loud]))
        covariance = covariances(self._nerve.motion, nerve.motion, self._audible)
        room.free()
        in_step = synchrony(covariance, self._audible)
        loudness, spectrum = spectrum_terms(self._level, self._long_term(bands))
        nonlinear = 0.754 * cepstral**3 + 0.246 * in_step
        linear = 0.329 * loudness + 0.671 * spectrum
        score = 0.336 * nonlinear + 0.001 * linear + 0.501 * nonlinear**2 + 0.161 * linear**2
        tiles = Tiles(
            self._start,
            np.where(self._audible, covariance, np.float32(np.nan)),
            self._nerve.smooth,
            nerve.smooth,
        )
        return Haaqi(score, nonlinear, linear, cepstral, in_step, loudness, spectrum), tiles

    def _long_term(self, bands: Bands) -> Array:
        """The long-term spectrum of bands [32] in dB above threshold."""
        return spectrum_level(bands.power, bands.control_power, self._ear.loss, self._ear.level1)


def _at_model_rate(samples: npt.ArrayLike, rate: int, which: str) -> Array:
    """A signal at `RATE`, after making sure that it is one."""
    given = np.asarray(samples)
    if given.ndim != 1 or len(given) == 0 or given.dtype.kind != "f":
        raise AudioError(
            f"the {which} signal must be samples of one channel, floating point [samples] with full scale 1.0, "
            f"got shape {given.shape} and type {given.dtype}"
        )
    rate, x = checked_rate(rate, f"the {which} signal"), given.astype(np.float64)
    usable = np.abs(x) <= _LOUDEST  # false for NaN too
    if not usable.all():
        first = int(np.argmin(usable))
        raise AudioError(
            f"the {which} signal holds a sample of {x[first]:g} at {first / rate:.3f} s: expected finite numbers, "
            "full scale 1.0"
        )
    if len(x) > MOST_SECONDS * rate:
        raise AudioError(
            f"the {which} signal lasts {len(x) / rate:.1f} s: HAAQI takes up to {MOST_SECONDS:g} s as a whole; "
            "give excerpts of it"
        )
    return resample(x, rate)
