"""Comparison of the speech bank and its babble with speech: measurements and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import fft, signal

from ...degradations.chains import Array
from ...degradations.signals import rms
from ...degradations.speech import SPEECH_RATE, babble
from ..clips import Split
from .bank import SpeechBank, SpeechVoices, Voice

MODULATIONS: Final = 2.0 ** (np.arange(-3, 14) / 3)
"""centres of third-octave bands of modulation in Hz, 0.5 to 20 Hz"""
_OCTAVES: Final = (250, 500, 1000, 2000, 4000)
"""octave bands of sound in Hz whose envelopes are analysed"""
_THIRDS: Final = 1000 * 2.0 ** (np.arange(-10, 9) / 3)
"""centres of third-octave bands in Hz, 100 to 6,300 Hz"""
# International: 12 languages, men and women, 70 dB SPL; 100 to 6,300 Hz.
LTASS: Final = np.array(
    [54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7, 48.1, 46.8, 45.6, 44.5, 44.3]
)
"""long-term average speech spectrum at `_THIRDS` in dB (Byrne et al. 1994, JASA 96(4))"""
_BABBLES: Final = (4, 4, 6, 8, 10, 12, 16, 20)
"""numbers of talkers of the plotted babble"""
_SECONDS: Final = 30


def audit_speech(bank: SpeechBank, folder: Path) -> dict[str, Any]:
    """Measure a bank, and write the plots `babble.png`, `modulation.png`, `spectrum.png` and `fundamentals.png`.

    Args:
        bank: the voices.
        folder: destination of the plots. It is created if missing.

    Returns:
        Rounded results for JSON:

        - `hours` and `voices` of each split and kind (`train human`, ...).
        - `modulation_peak_hz`, the peak of the mean modulation spectrum of training's single talkers by kind and of
          babble of 4 and 20 talkers, and `modulation_index`, its height. Running speech peaks at 3 to 5 Hz (Houtgast &
          Steeneken 1985), single words and letters at lower frequencies.
        - `ltass_error_db` of each split: the root mean square difference of its human and derived voices' third-octave
          spectrum, 100 to 6,300 Hz, and `LTASS`, without differences of level.
        - `f0_hz` of each split: percentiles 5, 25, 50, 75 and 95 of the voices' median fundamental frequencies; and
          `women`, the share of voices with a high one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits: tuple[Split, ...] = get_args(Split)
    groups = sorted({(voice.split, voice.kind) for voice in bank.voices})
    of_group = {
        f"{split} {kind}": [v for v in bank.voices if (v.split, v.kind) == (split, kind)] for split, kind in groups
    }
    train = bank.of("train")
    modulations = _modulations(train)
    levels = {split: third_octave_levels(_long_term(bank.of(split))) for split in splits}
    error = {split: float(np.std(level - LTASS)) for split, level in levels.items()}
    f0 = {split: np.array([v.f0_hz for v in bank.voices if v.split == split and v.f0_hz]) for split in splits}
    _plot_babble(train, folder / "babble.png")
    _plot_modulations(modulations, folder / "modulation.png")
    _plot_spectra(levels, folder / "spectrum.png")
    _plot_fundamentals(bank.voices, folder / "fundamentals.png")
    return {
        "hours": {name: round(sum(v.seconds for v in voices) / 3600, 3) for name, voices in of_group.items()},
        "voices": {name: len(voices) for name, voices in of_group.items()},
        "modulation_peak_hz": {name: round(_peak(index), 2) for name, index in modulations.items()},
        "modulation_index": {name: round(float(index.max()), 3) for name, index in modulations.items()},
        "ltass_error_db": {split: round(value, 2) for split, value in error.items()},
        "f0_hz": {
            split: [round(float(value), 1) for value in np.percentile(values, (5, 25, 50, 75, 95))]
            for split, values in f0.items()
        },
        "women": {
            split: round(float(np.mean([v.female for v in bank.voices if v.split == split])), 3) for split in splits
        },
    }


def modulation_spectrum(x: Array) -> Array:
    """Return the modulation indices [17] in the bands of `MODULATIONS` of sound [n] at 16 kHz, 4 s or longer.

    The mean over octave bands of sound of the RMS of the intensity envelope's third-octave band times the square root
    of 2, relative to the mean intensity (Houtgast & Steeneken 1985): 1 for a full sinusoidal modulation.
    """
    rate, step = 100, SPEECH_RATE // 100
    found = []
    for centre in _OCTAVES:
        edges = (centre / 2**0.5, centre * 2**0.5)
        band = signal.sosfilt(signal.butter(4, edges, "band", fs=SPEECH_RATE, output="sos"), x)
        envelope = np.square(band[: len(band) // step * step]).reshape(-1, step).mean(axis=1)
        power = np.abs(fft.rfft(envelope)) ** 2
        hz = fft.rfftfreq(len(envelope), 1 / rate)
        bands = [power[(hz >= m * 2 ** (-1 / 6)) & (hz < m * 2 ** (1 / 6))].sum() for m in MODULATIONS]
        found.append(2 * np.sqrt(np.array(bands) / max(power[0], 1e-300)))
    return np.asarray(np.mean(found, axis=0))


def _peak(index: Array) -> float:
    """Return the frequency in Hz of the peak of a modulation spectrum [17], by parabolic interpolation."""
    top = int(index.argmax())
    if not 0 < top < len(index) - 1:
        return float(MODULATIONS[top])
    left, middle, right = index[top - 1 : top + 2]
    return float(MODULATIONS[top] * 2 ** ((left - right) / (left - 2 * middle + right) / 6))


def third_octave_levels(spectrum: tuple[Array, Array]) -> Array:
    """Return the levels in dB [19] of third-octave bands from 100 to 6,300 Hz. Their power sum is that of `LTASS`.

    Args:
        spectrum: Hz [bins], evenly spaced, and amplitudes there [bins].
    """
    hz, amplitude = spectrum
    width = hz[1] / 64
    fine = np.arange(0, hz[-1], width)  # bands at the low end are narrower than bins
    power = np.interp(fine, hz, np.square(amplitude))
    levels = [power[(fine >= f * 2 ** (-1 / 6)) & (fine < f * 2 ** (1 / 6))].sum() for f in _THIRDS]
    decibels = 10 * np.log10(np.maximum(levels, 1e-30))
    return np.asarray(decibels + _sum_level(LTASS) - _sum_level(decibels))


def _sum_level(levels: Array) -> float:
    return float(10 * np.log10(np.sum(10 ** (levels / 10))))


def _long_term(voices: SpeechVoices) -> tuple[Array, Array]:
    """Return the spectrum of the human and derived voices with 4 Hz resolution: Hz [bins], amplitudes [bins]."""
    powers = []
    for index, voice in enumerate(voices.talkers):
        if voice.human:
            hz, power = signal.welch(
                voices.stretch(index, 0, min(voice.frames, 60 * SPEECH_RATE)), SPEECH_RATE, nperseg=4096
            )
            powers.append(power)
    return hz, np.sqrt(np.mean(powers, axis=0))


def _modulations(voices: SpeechVoices) -> dict[str, Array]:
    """Return mean modulation spectra [17] of single talkers by kind, and of babble."""
    length = _SECONDS * SPEECH_RATE
    found: dict[str, Array] = {}
    single: dict[str, list[Array]] = {}
    for index, voice in enumerate(voices.talkers):
        if voice.frames >= length:
            # The others are recordings of letters and words.
            read = voice.kind == "synthetic" or voice.origin.startswith("asterisk")
            name = f"one {voice.kind} talker" if read else "one talker of letters and words"
            single.setdefault(name, []).append(modulation_spectrum(voices.stretch(index, 0, length)))
    for name, spectra in sorted(single.items()):
        found[name] = np.mean(spectra, axis=0)
    for count in (4, 20):
        mixed = [modulation_spectrum(_babble(voices, count, 0.0, length, seed)) for seed in range(8)]
        found[f"babble of {count}"] = np.mean(mixed, axis=0)
    return found


def _babble(voices: SpeechVoices, talkers: int, room: float, length: int, seed: int) -> Array:
    """Return babble alone [length] at 16 kHz: the degraded signal minus very soft music."""
    faint = np.full(length, 1e-3)
    rng = np.random.default_rng([16, seed])
    mixed = babble(faint, SPEECH_RATE, rng, speech=voices, snr=0.0, talkers=float(talkers), room=room) - faint
    return np.asarray(mixed / rms(mixed))


# Plots


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False))
    return figure, list(axes.ravel())


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)


def _plot_babble(voices: SpeechVoices, path: Path) -> None:
    """Plot spectrograms of eight examples, 5 s each."""
    figure, axes = _figure(4, 2, (12, 12))
    for number, (axis, count) in enumerate(zip(axes, _BABBLES, strict=True)):
        room = number % 2 * 0.7
        x = _babble(voices, count, room, 5 * SPEECH_RATE, number)
        hz, seconds, power = signal.spectrogram(x, SPEECH_RATE, nperseg=512, noverlap=384)
        image = 10 * np.log10(power + 1e-12)
        axis.imshow(image, origin="lower", aspect="auto", extent=(0, seconds[-1], 0, hz[-1] / 1000), vmin=-75, vmax=-25)
        axis.set_title(f"{count} talkers, {room:.0%} of them reverberant", fontsize=9)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    _save(figure, path)


def _plot_modulations(modulations: dict[str, Array], path: Path) -> None:
    figure, (axis,) = _figure(1, 1, (7, 4.5))
    for name, index in modulations.items():
        axis.semilogx(MODULATIONS, index, label=name)
    axis.axvspan(3, 5, color="0.9", label="3 to 5 Hz")
    axis.set_xticks([0.5, 1, 2, 4, 8, 16], labels=["0.5", "1", "2", "4", "8", "16"])
    axis.set_xlabel("modulation frequency in Hz")
    axis.set_ylabel("modulation index")
    axis.legend(fontsize=8)
    _save(figure, path)


def _plot_spectra(levels: dict[Split, Array], path: Path) -> None:
    figure, (axis,) = _figure(1, 1, (7, 4.5))
    for split, level in levels.items():
        axis.semilogx(_THIRDS, level, label=split)
    axis.semilogx(_THIRDS, LTASS, "k--", label="Byrne et al. 1994")
    axis.set_xticks([125, 250, 500, 1000, 2000, 4000], labels=["125", "250", "500", "1k", "2k", "4k"])
    axis.set_xlabel("Hz")
    axis.set_ylabel("third-octave level in dB at 70 dB SPL")
    axis.legend(fontsize=8)
    _save(figure, path)


def _plot_fundamentals(voices: Sequence[Voice], path: Path) -> None:
    splits: tuple[Split, ...] = get_args(Split)
    figure, axes = _figure(len(splits), 1, (7, 7))
    bins = np.geomspace(70, 400, 26)
    for axis, split in zip(axes, splits, strict=True):
        kinds = ("human", "derived", "synthetic")
        values = [[v.f0_hz for v in voices if v.split == split and v.kind == kind] for kind in kinds]
        axis.hist(values, bins=list(bins), stacked=True, label=kinds)
        axis.set_title(split, fontsize=9)
        axis.set_ylabel("voices")
    axes[0].legend(fontsize=8)
    axes[-1].set_xlabel("median fundamental frequency in Hz")
    _save(figure, path)
