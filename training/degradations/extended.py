"""Degradations by hearing aids, rooms, transmission and codecs, in addition to those of the HAAQI studies."""

from __future__ import annotations

import io

import numba
import numpy as np
import soundfile
from scipy import fft, signal

from .chains import Array, degradation
from .signals import mix, peak_envelope, pole, rms, spectra

GAIN_RATE = 1000
"""Rate in Hz at which the gains of multi-band compression are computed."""
MP3_DELAY = 1105
"""Delay of MP3 in samples, if its header has no space to store it: 576 of the encoder, 529 of the decoder."""

# Hearing aids


@degradation(bands=(1, 16), ratio=(1, 20), threshold=(-60, 20), attack=(0.1, 1000), release=(1, 5000))
def wdrc(
    x: Array,
    rate: int,
    rng: np.random.Generator,  # noqa: ARG001
    *,
    bands: float,
    ratio: float,
    threshold: float,
    attack: float,
    release: float,
) -> Array:
    """Apply multi-band wide dynamic range compression.

    Args:
        bands: number of bands. Their crossovers are evenly spaced in log frequency from 250 Hz to 6 kHz. With two
            bands, the crossover is at 250 Hz.
        ratio: ratio of level changes before and after compression, above the threshold.
        threshold: in dB relative to the RMS of the whole signal. It is the same in all bands, so that soft bands,
            usually the high ones, are emphasized.
        attack, release: in ms.
    """
    spectrum, hz, length = spectra(x, rate)
    knee = rms(x) * 10 ** (threshold / 20)
    hop = rate // GAIN_RATE
    up, down = pole(attack, rate), pole(release, rate)
    # The responses of neighbouring bands cross at -6 dB, fall by 24 dB per octave and add up to one.
    edges = np.geomspace(250, 6000, int(bands) - 1) if bands >= 2 else np.empty(0)
    below = [1.0 / (1.0 + np.square(np.square(hz / edge))) for edge in edges]
    shares = np.diff(np.array([np.zeros_like(hz), *below, np.ones_like(hz)]), axis=0)
    y = np.zeros_like(x)
    for share in shares:
        band = fft.irfft(spectrum * share, length)[: len(x)]
        gains = np.maximum(peak_envelope(band, up, down)[::hop] / knee, 1.0) ** (1.0 / ratio - 1.0)
        _add_scaled(y, band, gains, hop)
    return y


@numba.njit(cache=True)
def _add_scaled(y: Array, band: Array, gains: Array, hop: int) -> None:  # pragma: no cover - compiled
    """Add to `y` [n] the band [n] times linearly interpolated gains [n / hop]."""
    for i in range(len(gains)):
        here, there = gains[i], gains[min(i + 1, len(gains) - 1)]
        for j in range(min(hop, len(y) - i * hop)):
            y[i * hop + j] += band[i * hop + j] * (here + (there - here) * j / hop)


@degradation(drive=(-20, 60))
def softclip(x: Array, rate: int, rng: np.random.Generator, *, drive: float) -> Array:  # noqa: ARG001
    """Saturate with a hyperbolic tangent. The peak exceeds the knee of the curve by `drive` dB."""
    knee = np.abs(x).max() * 10 ** (-drive / 20)
    return np.asarray(np.tanh(x / knee) * knee)


@degradation(hz=(200, 6_000), gain=(-20, 6))
def ringing(x: Array, rate: int, rng: np.random.Generator, *, hz: float, gain: float) -> Array:
    """Simulate acoustic feedback near howling: narrow tones around `hz` that grow, hold and decay.

    The output returns to the input after 7 ms, through a band-pass (Q of 8) and a limiter. The loop gain varies between
    `gain` dB and 8 dB below it, with a period of one to three seconds. Below 0 dB the loop rings, above 0 dB it howls.
    """
    centre = hz * 2 ** rng.uniform(-0.1, 0.1)
    swing = (np.arange(len(x)) / rate / rng.uniform(1, 3) + rng.random()) * 2 * np.pi
    loop = 10 ** ((gain - 4.0 + 4.0 * np.cos(swing)) / 20)
    b, a = signal.iirpeak(centre, 8.0, fs=rate)
    return _feed_back(x, loop, float(b[0]), float(a[1]), float(a[2]), round(0.007 * rate), float(np.abs(x).max()))


@numba.njit(cache=True)
def _feed_back(
    x: Array, loop: Array, b0: float, a1: float, a2: float, delay: int, limit: float
) -> Array:  # pragma: no cover - compiled
    """Run x [n] through a feedback loop with gains `loop` [n], a band-pass and a soft limiter.

    The band-pass is b0 (1 - z^-2) / (1 + a1 z^-1 + a2 z^-2).
    """
    y = np.empty_like(x)
    v1, v2 = 0.0, 0.0
    for n in range(len(x)):
        d0 = y[n - delay] if n >= delay else 0.0
        d2 = y[n - delay - 2] if n >= delay + 2 else 0.0
        v0 = b0 * (d0 - d2) - a1 * v1 - a2 * v2
        v1, v2 = v0, v1
        back = loop[n] * v0
        y[n] = x[n] + back / (1.0 + abs(back) / limit)
    return y


@degradation(hz=(0.1, 20), depth=(0, 0.99), skew=(0.02, 0.98))
def modulation(x: Array, rate: int, rng: np.random.Generator, *, hz: float, depth: float, skew: float) -> Array:
    """Modulate the gain periodically: it falls by the share `depth` in the share `skew` of a period, then recovers.

    A skew of 0.5 sounds like tremolo, a small one like pumping.
    """
    phase = (np.arange(len(x)) * (hz / rate) + rng.random()) % 1.0
    warped = np.interp(phase, [0.0, skew, 1.0], [0.0, 0.5, 1.0])
    return np.asarray(x * (1.0 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * warped))))


# Rooms and transmission


@degradation(t60=(0.05, 5), wet=(0.001, 20))
def reverb(x: Array, rate: int, rng: np.random.Generator, *, t60: float, wet: float) -> Array:
    """Convolve with exponentially decaying noise. `wet` is the energy ratio of reverberation to direct sound."""
    tail = rng.standard_normal(int(rate * t60)) * 10 ** (-3 * np.arange(int(rate * t60)) / (rate * t60))
    tail *= np.sqrt(wet / np.sum(tail**2))
    return x + signal.fftconvolve(x, tail[: len(x)])[: len(x)]


@degradation(hz=(40, 70), snr=(-20, 80))
def hum(x: Array, rate: int, rng: np.random.Generator, *, hz: float, snr: float) -> Array:
    """Add mains hum: `hz` and its harmonics up to the twentieth, which fall by about 6 dB per octave."""
    order = np.arange(1, 21)
    amplitudes = rng.lognormal(0.0, 0.5, len(order)) / order
    turns = np.arange(1025) / 1024
    waves = np.cos(2 * np.pi * (order[:, None] * turns + rng.random((len(order), 1))))
    period = np.sum(amplitudes[:, None] * waves, axis=0)
    return mix(x, np.interp((np.arange(len(x)) * (hz / rate)) % 1.0, turns, period), snr)


@degradation(per_second=(0.01, 20), ms=(1, 500))
def dropouts(x: Array, rate: int, rng: np.random.Generator, *, per_second: float, ms: float) -> Array:
    """Insert gaps with 2 ms ramps, as in a radio link with packet loss. At least a tenth of the energy remains."""
    gate = np.ones(len(x))
    width = max(int(rate * ms * 1e-3), 1)
    energy = x * x
    spare = 0.9 * energy.sum()
    for start in rng.integers(0, len(x), max(rng.poisson(per_second * len(x) / rate), 1)):
        gap = slice(start, start + width)
        spare -= np.sum(energy[gap] * gate[gap])
        if spare > 0:
            gate[gap] = 0.0
    ramp = np.hanning(int(rate * 4e-3))
    return np.asarray(x * np.clip(signal.oaconvolve(gate, ramp / ramp.sum(), "same"), 0, 1))


@degradation(hz=(2_000, 48_000))
def resample(x: Array, rate: int, rng: np.random.Generator, *, hz: float) -> Array:  # noqa: ARG001
    """Resample to a lower rate (rounded to 100 Hz) and back. A rate that is not lower changes nothing."""
    narrow = 100 * round(hz / 100)
    if narrow >= rate:
        return x
    return np.asarray(signal.resample_poly(signal.resample_poly(x, narrow, rate), rate, narrow)[: len(x)])


# Codecs: libsndfile encodes in memory. `level` is its compression level, 0 to 1.


@degradation(kbps=(8, 320))
def mp3(x: Array, rate: int, rng: np.random.Generator, *, kbps: float) -> Array:  # noqa: ARG001
    """Encode as MP3 (LAME) at the nearest constant bit rate that the sampling rate allows: 8 to 160 kbit/s below 32 kHz
    (MPEG-2), otherwise 32 to 320 kbit/s."""
    high, low = (160, 8) if rate < 32_000 else (320, 32)
    level = (high - min(max(kbps, low), high)) / (high - low)
    y = _encode(x, rate, "MP3", "MPEG_LAYER_III", level, bitrate_mode="CONSTANT")
    return _fit_length(y[MP3_DELAY:] if len(y) > len(x) else y, len(x))


@degradation(quality=(0, 1))
def vorbis(x: Array, rate: int, rng: np.random.Generator, *, quality: float) -> Array:  # noqa: ARG001
    """Encode as Ogg Vorbis at a quality from 0 to 1 (oggenc's 0 to 10)."""
    return _fit_length(_encode(x, rate, "OGG", "VORBIS", 1.0 - quality), len(x))


@degradation(kbps=(6, 256))
def opus(x: Array, rate: int, rng: np.random.Generator, *, kbps: float) -> Array:  # noqa: ARG001
    """Encode as Opus at about `kbps` kbit/s, via 48 kHz if Opus does not support the sampling rate."""
    known = rate if rate in {16_000, 24_000, 48_000} else 48_000
    y = _encode(signal.resample_poly(x, known, rate), known, "OGG", "OPUS", 1.0 - (kbps - 6) / 250)
    return _fit_length(signal.resample_poly(y, rate, known), len(x))


def _encode(x: Array, rate: int, form: str, subtype: str, level: float, bitrate_mode: str | None = None) -> Array:
    """Encode and decode `x` [n] at a peak of 0.9, restore its level, and return [n or a few more] samples."""
    scale = 0.9 / max(float(np.abs(x).max()), 1e-12)
    # libsndfile rejects level 1 for MP3.
    options = {"compression_level": min(max(level, 0.0), 0.999), "bitrate_mode": bitrate_mode}
    file = io.BytesIO()
    soundfile.write(file, (x * scale).astype(np.float32), rate, format=form, subtype=subtype, **options)
    file.seek(0)
    y, _ = soundfile.read(file, dtype="float64")
    return np.asarray(y / scale)


def _fit_length(y: Array, length: int) -> Array:
    """Cut or zero-pad samples to a length."""
    return np.pad(y[:length], (0, max(length - len(y), 0)))
