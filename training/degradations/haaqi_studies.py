"""The degradations of the HAAQI studies: noise, nonlinear processing and linear filtering.

Sources: Arehart, Kates & Anderson (2011), Effects of noise, nonlinear processing, and linear filtering on perceived
music quality, International Journal of Audiology 50(3); Kates & Arehart (2016), The Hearing-Aid Audio Quality Index
(HAAQI), IEEE/ACM Transactions on Audio, Speech, and Language Processing 24(2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

from .chains import Array, degradation
from .signals import apply_tilt, mix, peak_envelope, pole, rms

# Noise


@degradation(snr=(-20, 80))
def noise(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Add stationary noise with the long-term spectrum of speech (ANSI S3.5: flat to 500 Hz, then -9 dB per octave)."""
    length = fft.next_fast_len(len(x), real=True)
    hz = fft.rfftfreq(length, 1 / rate)
    above = np.maximum(hz / 500.0, 1.0)
    spectrum = fft.rfft(rng.standard_normal(length))
    spectrum *= (hz > 50) / (above * np.sqrt(above))
    return mix(x, fft.irfft(spectrum, length)[: len(x)], snr)


@degradation(snr=(-20, 80))
def music_babble(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Add four shifted and reversed copies of the same recording: unintelligible music behind the music."""
    reverse = x[::-1]
    layers = sum(np.roll(reverse, int(shift)) for shift in rng.integers(rate // 4, max(len(x), rate // 2), 4))
    return mix(x, np.asarray(layers), snr)


# Nonlinear processing


@degradation(peak=(0.001, 1))
def clip(x: Array, rate: int, rng: np.random.Generator, *, peak: float) -> Array:  # noqa: ARG001
    """Clip peaks symmetrically at a fraction of the maximum."""
    limit = peak * np.abs(x).max()
    return np.clip(x, -limit, limit)


@degradation(bits=(1, 24))
def quantize(x: Array, rate: int, rng: np.random.Generator, *, bits: float) -> Array:  # noqa: ARG001
    """Quantize uniformly, relative to the full scale of the excerpt."""
    step = 2.0 * np.abs(x).max() / 2.0**bits
    return np.asarray(np.round(x / step) * step)


@degradation(ratio=(1, 100), attack=(0.1, 1000), release=(1, 5000))
def compress(x: Array, rate: int, rng: np.random.Generator, *, ratio: float, attack: float, release: float) -> Array:  # noqa: ARG001
    """Compress the wide-band dynamic range, with a threshold 20 dB below the RMS level. Times are in ms."""
    level = peak_envelope(x, pole(attack, rate), pole(release, rate))
    threshold = rms(x) / 10.0
    return np.asarray(x * np.maximum(level / threshold, 1.0) ** (1.0 / ratio - 1.0))


@degradation(snr=(-20, 80), over=(0, 10))
def spectral_subtraction(x: Array, rate: int, rng: np.random.Generator, *, snr: float, over: float) -> Array:
    """Add noise at `snr` dB, then subtract `over` times its mean magnitude spectrum, which causes musical noise."""
    return subtract(x, noise(x, rate, rng, snr=snr), rate, over)


@degradation(snr=(-20, 80), over=(0, 10))
def babble_subtraction(x: Array, rate: int, rng: np.random.Generator, *, snr: float, over: float) -> Array:
    """Add music babble at `snr` dB, then subtract `over` times its mean magnitude spectrum."""
    return subtract(x, music_babble(x, rate, rng, snr=snr), rate, over)


def subtract(x: Array, disturbed: Array, rate: int, over: float) -> Array:
    """Subtract `over` times the mean magnitude spectrum of a disturbance from the disturbed music [n].

    At least 2% of each magnitude is kept. Segments have 512 samples at 24 kHz and overlap by half, with the square root
    of a Hann window before and after. This is not `signal.ShortTimeFFT`, because that takes ten times as long.
    """
    half = 2 ** round(np.log2(rate * 256 / 24_000))
    window = np.sqrt(np.hanning(2 * half + 1)[:-1])

    def segments(signal: Array) -> npt.NDArray[np.complex128]:
        padded = np.pad(signal, (half, 2 * half))
        return fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, 2 * half)[::half] * window)

    spectrum = segments(disturbed)
    floor = np.abs(segments(disturbed - x)).mean(axis=0)
    spectrum *= np.maximum(1.0 - over * floor / np.maximum(np.abs(spectrum), 1e-12), 0.02)
    parts = fft.irfft(spectrum) * window
    return np.asarray((parts[1:, :half] + parts[:-1, half:]).ravel()[: len(x)])


# Linear filtering


@degradation(hz=(100, 24_000))
def lowpass(x: Array, rate: int, rng: np.random.Generator, *, hz: float) -> Array:  # noqa: ARG001
    """Apply a sixth-order Butterworth low-pass."""
    return np.asarray(signal.sosfilt(signal.butter(6, min(hz, 0.49 * rate), "low", fs=rate, output="sos"), x))


@degradation(hz=(20, 6_000))
def highpass(x: Array, rate: int, rng: np.random.Generator, *, hz: float) -> Array:  # noqa: ARG001
    """Apply a sixth-order Butterworth high-pass."""
    return np.asarray(signal.sosfilt(signal.butter(6, hz, "high", fs=rate, output="sos"), x))


@degradation(low=(20, 6_000), high=(100, 24_000))
def bandpass(x: Array, rate: int, rng: np.random.Generator, *, low: float, high: float) -> Array:
    """Apply a high-pass, then a low-pass."""
    return lowpass(highpass(x, rate, rng, hz=low), rate, rng, hz=high)


@degradation(slope=(-12, 12))
def tilt(x: Array, rate: int, rng: np.random.Generator, *, slope: float) -> Array:  # noqa: ARG001
    """Apply a spectral tilt in dB per octave around 1 kHz. A negative slope sounds duller."""
    return apply_tilt(x, rate, slope)


@degradation(hz=(100, 6_000), gain=(0, 40), peaks=(1, 5))
def resonance(x: Array, rate: int, rng: np.random.Generator, *, hz: float, gain: float, peaks: float) -> Array:  # noqa: ARG001
    """Add one or several resonance peaks (Q of 6) of `gain` dB, at octaves from `hz` upwards."""
    y = x
    for octave in range(int(peaks)):
        centre = hz * 2**octave
        if centre < 0.45 * rate:
            y = y + (10 ** (gain / 20) - 1) * signal.lfilter(*signal.iirpeak(centre, 6.0, fs=rate), x)
    return y
