"""HAAQI version 1: the music-quality index that the networks learn to predict.

Kates & Arehart (2016), "The Hearing-Aid Audio Quality Index (HAAQI)", IEEE/ACM Transactions on Audio, Speech, and
Language Processing 24(2). The results agree with pyclarity's `compute_haaqi` within 1e-3 (the tests compare them).
pyclarity takes about fifty times as long (`haaqi-edge bench study haaqi` measures both). The implementation differs in
this: bands are computed by float32 kernels (`bands`), the reference is analysed once for all signals that are compared
with it, bands are aligned by decimated signals (`alignment`), and the noise at threshold comes from a fixed table.

    Reference(clean, rate, Listener("N3", level1=65.0)).score(processed, rate).score

Level: `level1` is the sound pressure level of a signal whose RMS is 1.0. It has no default, because defaults differ:
pyclarity's `compute_haaqi` takes 65 dB SPL, version 0.1 of this package took 85. For the same number from both, give
both the same level:

    Listener(levels, level1=65.0)       compute_haaqi(...)               or compute_haaqi(..., level1=65.0)
    Listener(levels, level1=85.0)       compute_haaqi(..., level1=85.0)

Labels, `haaqi-edge haaqi` and the shipped models use 85 dB SPL (`runtime.audio.levels.LEVEL1`).
"""

from __future__ import annotations

import warnings
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import signal

from ..runtime.audio.levels import LEVEL1, decibels, nal_r_filter
from ..runtime.audio.reading import checked_rate
from ..runtime.audiogram import Audiogram, AudiogramLike, as_audiogram
from ..runtime.errors import AudioError, OptionError
from .alignment import Aligner
from .bands import Array, Bands, Single, Workspace, filter_bands, hair_cells
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
"""frequencies in Hz of the hearing levels that the index uses"""
MIN_SECONDS: Final = 0.2
"""minimum duration of the reference without silence at its ends; bands are aligned within 0.1 s to each side"""
MAX_SECONDS: Final = 120.0
"""maximum duration of a signal; a comparison takes 20 MB per second"""
_MAX_AMPLITUDE: Final = 1e6
"""largest accepted amplitude of a sample: music at 85 dB SPL, amplified for a profound loss, reaches 1e4"""
_MAX_LEVEL1: Final = 200.0
"""largest accepted `level1` in dB SPL: that of music whose RMS is 3e-7, if it is played at 65 dB SPL"""
Equalisation: TypeAlias = Literal[1, 2]
"""1: the reference is unamplified, and HAAQI amplifies it (NAL-R); 2: the reference is amplified already"""
_DISPERSION: Final = RATE * 2 // 1000
"""samples (2 ms) by which the processed signal remains delayed after its alignment"""


class Haaqi(NamedTuple):
    """The index, 0 to 1, and its terms.

    Attributes:
        score: the index.
        nonlinear: combination of `cepstral` and `synchrony`.
        linear: combination of `loudness` and `spectrum`.
        cepstral: cepstral correlation of the envelopes, at high modulation rates.
        synchrony: correlation of the basilar membrane's motion, with the loss of synchrony at high frequencies.
        loudness: 1 minus the standard deviation of the difference of the loudness spectra.
        spectrum: 1 minus the standard deviation of the difference of the normalized spectra.
    """

    score: float
    nonlinear: float
    linear: float
    cepstral: float
    synchrony: float
    loudness: float
    spectrum: float


@dataclass(frozen=True, init=False)
class Listener:
    """A listener's audiogram, and the level at which signals are presented.

    Args:
        audiogram: as for `as_audiogram` (a name, 8 numbers, a mapping of Hz to dB HL, an `Audiogram`), or 6 numbers at
            `HAAQI_FREQUENCIES`.
        level1: dB SPL of a signal whose RMS is 1.0. There is no default, because defaults differ: pyclarity's
            `compute_haaqi` takes 65 dB SPL, version 0.1 of this package and its command line take 85 (`LEVEL1`). With
            the same level in both, both give the same number: `level1=65.0` here for pyclarity's default, or
            `compute_haaqi(..., level1=85.0)` there.

    Raises:
        AudiogramError: the audiogram has another form, or a level is not a number from -10 to 120.
        OptionError: `level1` is not a number from 0 to 200. Levels above 140 occur for quiet samples, see `level1_of`.
    """

    audiogram: Audiogram
    level1: float

    def __init__(self, audiogram: AudiogramLike, *, level1: float) -> None:
        given = audiogram.tolist() if isinstance(audiogram, np.ndarray) else audiogram
        if isinstance(given, list | tuple) and len(given) == len(HAAQI_FREQUENCIES):
            # HAAQI reads no level at 8 kHz. The level at 6 kHz stands for it.
            levels = Audiogram.from_pairs((*HAAQI_FREQUENCIES, 8000), (*given, given[-1]))
        else:
            levels = as_audiogram(given)
        object.__setattr__(self, "audiogram", levels)
        if isinstance(level1, bool) or not 0 <= level1 <= _MAX_LEVEL1:
            raise OptionError(
                f"level1={level1!r} is not a sound pressure level: give dB SPL of RMS 1.0, from 0 to {_MAX_LEVEL1:g}, "
                f"usually 65, {LEVEL1:g}, or that of level1_of(reference, 65)"
            )
        object.__setattr__(self, "level1", float(level1))

    @cached_property
    def loss(self) -> Loss:
        """Effect of the hearing loss on each band."""
        return Loss.of(self.audiogram.at(HAAQI_FREQUENCIES))


def level1_of(signal: npt.ArrayLike, spl: float = 65.0) -> float:
    """Return the level at which a signal is presented at a sound pressure level: spl - 20 log10(RMS).

    This is the rule of the Cadenza challenges, for the unamplified reference of each ear.

    Args:
        signal: [samples], full scale 1.0.
        spl: level of the whole signal, dB SPL.

    Returns:
        `level1` of `Listener`, dB SPL of RMS 1.0.

    Raises:
        AudioError: the signal is silent or not finite.
    """
    samples = np.asarray(signal, dtype=np.float64)
    rms = float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0
    if not 0.0 < rms < np.inf:
        raise AudioError("the signal is silent or not finite: its level cannot be set; give level1, or another signal")
    return spl - decibels(rms)


def check_equalisation(equalisation: object) -> Equalisation:
    """Return the equalisation of the reference, 1 or 2.

    Raises:
        OptionError: it is another value.
    """
    if equalisation in (1, 2) and not isinstance(equalisation, bool):
        return 1 if equalisation == 1 else 2
    reason = (
        "0 is for intelligibility (HASPI), where the reference is for normal hearing; " if equalisation == 0 else ""
    )
    raise OptionError(
        f"equalisation={equalisation!r}: {reason}give 1 (the reference is unamplified, and HAAQI amplifies it by "
        "NAL-R) or 2 (the reference is amplified already)"
    )


class _Ear(Listener):
    """Former name of `Listener`, with a default level. It creates a `Listener`."""

    def __new__(cls, audiogram: AudiogramLike, level1: float = LEVEL1) -> Listener:  # type: ignore[misc]
        return Listener(audiogram, level1=level1)


def _deprecated_ear() -> type[_Ear]:
    """Return `_Ear`, and warn the caller of the module's `__getattr__`."""
    warnings.warn(
        "Ear is now called Listener, and its level1 (dB SPL of RMS 1.0; Ear's default is 85) must be given: "
        "Listener(audiogram, level1=85.0)",
        DeprecationWarning,
        stacklevel=3,
    )
    return _Ear


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "Ear":
            return _deprecated_ear()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Tiles(NamedTuple):
    """Intermediate results of the nonlinear terms, by band and time.

    Attributes:
        start: start of the comparison in the reference, in samples at `RATE`. The bands are delayed by 450 samples.
        synchrony: covariance of the motion in segments of 16 ms every 8 ms, [32, segments]; NaN where the reference is
            inaudible.
        reference, processed: envelopes in dB above threshold in windows of 8 ms every 4 ms, [32, windows].
    """

    start: int
    synchrony: Single
    reference: Array
    processed: Array


class Reference:
    """A clean signal, analysed as the listener hears it with NAL-R, for comparison with processed signals.

    Args:
        signal: float [samples] in [-1, 1], the original: unamplified, or amplified with `equalisation=2`.
        rate: in Hz. The model rounds rates to whole kHz, as pyclarity does. A processed signal should therefore have
            the rate of the reference, or both rates should be whole kHz.
        listener: the listener.
        seed: of the noise that represents the auditory threshold.
        equalisation: as in pyclarity. 1: the signal is unamplified, and is amplified for the listener (NAL-R). 2: the
            signal is amplified already.

    Raises:
        OptionError: `equalisation` is neither 1 nor 2.
        AudioError: the signal is not finite samples of one channel, is silent, has less than `MIN_SECONDS` of sound or
            more than `MAX_SECONDS`, or the rate is unusable.
    """

    def __init__(
        self, signal: Array, rate: int, listener: Listener, seed: int = 0, *, equalisation: Equalisation = 1
    ) -> None:
        self._equalisation = check_equalisation(equalisation)
        self._signal = _at_model_rate(signal, rate, "reference")
        self._listener, self._seed = listener, seed
        self._whole = _ReferenceAnalysis(self._signal, listener, seed, self._equalisation)
        self._cut = self._whole

    def score(self, processed: Array, rate: int) -> Haaqi:
        """Compute HAAQI of a processed and amplified version, float [samples] at `rate` Hz, at the same `level1`.

        If the two signals differ in length, the end of the longer one is ignored.

        Raises:
            AudioError: the signal is not finite samples of one channel, or is too short or too long, or the rate is
                unusable.
        """
        return self.compare(processed, rate)[0]

    def compare(self, processed: Array, rate: int) -> tuple[Haaqi, Tiles]:
        """Return the result of `score`, and the intermediate results by band and time."""
        y = _at_model_rate(processed, rate, "processed")
        analysis = self._analysis_until(min(len(y), len(self._signal)))
        return analysis.compare(y[: analysis.samples])

    def _analysis_until(self, samples: int) -> _ReferenceAnalysis:
        """Return the analysis of the first samples of the reference. The last one that was cut is stored."""
        if samples == self._whole.samples:
            return self._whole
        if samples != self._cut.samples:
            try:
                self._cut = _ReferenceAnalysis(self._signal[:samples], self._listener, self._seed, self._equalisation)
            except AudioError as error:
                raise AudioError(
                    f"the processed signal ends after {1000 * samples / RATE:.2f} ms: until there, {error}"
                ) from error
        return self._cut


class _ReferenceAnalysis:
    """All results that depend on the reference alone, float [samples] at `RATE`."""

    def __init__(self, x: Array, listener: Listener, seed: int, equalisation: Equalisation) -> None:
        self.samples, self._listener, self._seed = len(x), listener, seed
        sounding = np.flatnonzero(np.abs(x) > 0.001 * np.abs(x).max())
        if len(sounding) == 0:
            raise AudioError("the reference signal is silent: HAAQI compares with music")
        self._start, self._stop = int(sounding[0]), int(sounding[-1]) + 1
        count = self._stop - self._start
        if count < MIN_SECONDS * RATE:
            raise AudioError(
                f"the reference signal sounds for {1000 * count / RATE:.2f} ms only: "
                f"HAAQI needs {1000 * MIN_SECONDS:g} ms or more"
            )
        self._clean, self._spectrum = x, correlation_spectrum(x)
        amplified = x[self._start : self._stop]
        if equalisation == 1:
            taps = nal_r_filter(listener.audiogram, RATE)
            amplified = signal.oaconvolve(amplified, taps)[len(taps) - 1 :]
            amplified = np.pad(amplified, (0, max(count - len(amplified), 0)))[:count]
        workspace = Workspace.of(count)
        weakref.finalize(self, workspace.free).atexit = False
        bands = filter_bands(middle_ear(amplified), listener.loss, listener.level1, workspace)
        self._env = Aligner(bands.env, bands.coarse_env, False, bands.energy_env)
        self._bm = Aligner(bands.bm, bands.coarse_bm, True, bands.energy_bm)
        self._level = self._long_term(bands)
        self._later = Gammatone.of(bands.bandwidth).delay_to_latest()
        self._hair_cells = hair_cells(
            bands, listener.loss, listener.level1, self._later, seed=seed, workspace=workspace
        )
        self._audible = audible_segments(self._hair_cells.motion, count)
        self._loud = loud_windows(self._hair_cells.smooth)
        self._modulations = modulations(self._hair_cells.smooth[:, self._loud]) if len(self._loud) else None

    def compare(self, y: Array) -> tuple[Haaqi, Tiles]:
        """See `Reference.compare`. `y` has as many samples as the reference."""
        y = shift(y, broad_delay(self._clean, y, self._spectrum) - _DISPERSION)[self._start : self._stop]
        listener, workspace = self._listener, Workspace.of(len(y))
        bands = filter_bands(middle_ear(y), listener.loss, listener.level1, workspace)
        delays = (
            self._env.delays(bands.env, bands.coarse_env, bands.energy_env),
            self._bm.delays(bands.bm, bands.coarse_bm, bands.energy_bm),
        )
        output = hair_cells(bands, listener.loss, listener.level1, self._later, delays, self._seed, workspace)
        cepstral = 0.0
        if self._modulations is not None:
            cepstral = cepstral_correlation(self._modulations, modulations(output.smooth[:, self._loud]))
        covariance = covariances(self._hair_cells.motion, output.motion, self._audible)
        workspace.free()
        in_step = synchrony(covariance, self._audible)
        loudness, spectrum = spectrum_terms(self._level, self._long_term(bands))
        nonlinear = 0.754 * cepstral**3 + 0.246 * in_step
        linear = 0.329 * loudness + 0.671 * spectrum
        score = 0.336 * nonlinear + 0.001 * linear + 0.501 * nonlinear**2 + 0.161 * linear**2
        tiles = Tiles(
            self._start,
            np.where(self._audible, covariance, np.float32(np.nan)),
            self._hair_cells.smooth,
            output.smooth,
        )
        return Haaqi(score, nonlinear, linear, cepstral, in_step, loudness, spectrum), tiles

    def _long_term(self, bands: Bands) -> Array:
        """Return the long-term spectrum of bands [32] in dB above threshold."""
        return spectrum_level(bands.power, bands.control_power, self._listener.loss, self._listener.level1)


def _at_model_rate(samples: npt.ArrayLike, rate: int, which: str) -> Array:
    """Check a signal and resample it to `RATE`."""
    given = np.asarray(samples)
    if given.ndim != 1 or len(given) == 0 or given.dtype.kind != "f":
        raise AudioError(
            f"the {which} signal must be samples of one channel, floating point [samples] with full scale 1.0, "
            f"got shape {given.shape} and type {given.dtype}"
        )
    rate, x = checked_rate(rate, f"the {which} signal"), given.astype(np.float64)
    usable = np.abs(x) <= _MAX_AMPLITUDE  # false for NaN too
    if not usable.all():
        first = int(np.argmin(usable))
        raise AudioError(
            f"the {which} signal holds a sample of {x[first]:g} at {first / rate:.3f} s: expected finite numbers, "
            "full scale 1.0"
        )
    if len(x) > MAX_SECONDS * rate:
        raise AudioError(
            f"the {which} signal lasts {len(x) / rate:.1f} s: HAAQI takes up to {MAX_SECONDS:g} s as a whole; "
            "give excerpts of it"
        )
    return resample(x, rate)
