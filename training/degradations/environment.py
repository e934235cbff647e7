"""Rooms, synthesized sounds around a listener (traffic, crowds, wind), and electrical disturbances (mains hum, DC,
rumble).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import fft, signal

from .chains import Array, degradation
from .distributions import Ranges, either_sign, log_uniform, one_of, uniform
from .signals import mix, rms

RANGES: Final[Ranges] = {
    "room": {
        "t60": log_uniform(0.15, 3.5),
        "wet": log_uniform(0.02, 10),
        "damping": log_uniform(0.15, 1),
        "delay": log_uniform(1, 60),
    },
    "traffic": {"snr": uniform(-10, 35)},
    "crowd": {"snr": uniform(-5, 35)},
    "wind": {"snr": uniform(-20, 30), "gust": uniform(0.1, 1)},
    "mains_hum": {
        "hz": one_of(50, 60),
        "snr": uniform(-10, 40),
        "harmonics": one_of(3, 8, 20, 40, 80),
        "buzz": uniform(0, 1),
    },
    "dc": {"offset": either_sign(log_uniform(0.05, 10))},
    "rumble": {"snr": uniform(0, 30)},
}
SOUND_SPEED: Final = 343.0
"""m/s"""


def coloured_noise(rng: np.random.Generator, samples: int, rate: int, gain: Callable[[Array], Array]) -> Array:
    """Generate Gaussian noise [samples] whose amplitude spectrum is a function of the frequency in Hz."""
    length = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(rng.standard_normal(length)) * gain(fft.rfftfreq(length, 1 / rate))
    return np.asarray(fft.irfft(spectrum, length)[:samples])


def random_swell(rng: np.random.Generator, samples: int, rate: int, *parts: tuple[float, float]) -> Array:
    """Generate a random gain [samples] that changes slowly. Its logarithm is normally distributed.

    Args:
        rng: random generator.
        samples: number of samples.
        rate: in Hz.
        parts: highest frequency in Hz of each part of the logarithm, and its standard deviation.
    """
    step = rate / (8 * max(hz for hz, _ in parts))
    points = int(samples / step) + 2
    logarithm = np.zeros(points)
    for hz, deviation in parts:
        # Noise under a Hann window of two periods of `hz`.
        kernel = np.hanning(int(2 * rate / step / hz) + 3)[1:-1]
        white = rng.standard_normal(points + len(kernel) - 1)
        logarithm += deviation * signal.fftconvolve(white, kernel / np.sqrt(np.sum(kernel**2)), "valid")
    return np.interp(np.arange(samples) / step, np.arange(points), np.exp(logarithm))


def band(low: float, high: float, order: int = 4) -> Callable[[Array], Array]:
    """Return the amplitude ratio of a Butterworth band-pass as a function of Hz, with -3 dB at both edges."""

    def gain(hz: Array) -> Array:
        below = (np.maximum(hz, 1e-3) / high) ** (2 * order)
        above = (low / np.maximum(hz, 1e-3)) ** (2 * order)
        return np.asarray(1 / np.sqrt((1 + below) * (1 + above)))

    return gain


# Around the listener


@degradation(t60=(0.05, 10), wet=(0.001, 30), damping=(0.05, 1), delay=(0, 200))
def room(
    x: Array, rate: int, rng: np.random.Generator, *, t60: float, wet: float, damping: float, delay: float
) -> Array:
    """Add a room: early reflections, then a diffuse tail in which high frequencies decay faster.

    Args:
        x: float [n].
        rate: Hz.
        rng: random generator.
        t60: reverberation time in seconds at low frequencies.
        wet: energy of reflections and tail relative to the direct sound.
        damping: reverberation time above about 2 kHz, relative to `t60`.
        delay: from the direct sound to the first reflection, in ms.
    """
    length = min(int(rate * t60), len(x))
    begin = min(int(rate * delay * 1e-3) + 1, length - 1)
    seconds = np.arange(length) / rate
    low_pass = signal.butter(1, rng.uniform(1_200, 3_500), fs=rate, output="sos")
    white = rng.standard_normal(length)
    dull = np.asarray(signal.sosfilt(low_pass, white))
    tail = dull * 10 ** (-3 * seconds / t60) + (white - dull) * 10 ** (-3 * seconds / (t60 * damping))
    # The tail builds up while reflections are still apart.
    tail *= np.clip((seconds - seconds[begin]) / rng.uniform(0.01, 0.05), 0.0, 1.0)
    early = np.zeros(length)
    places = begin + rng.exponential(rng.uniform(0.004, 0.02) * rate, int(rng.integers(4, 20))).astype(np.int64)
    places = places[places < length]
    strengths = rng.choice([-1.0, 1.0], len(places)) * 10 ** (-3 * seconds[places] / (t60 * damping))
    np.add.at(early, places, strengths * rng.uniform(0.3, 1.0, len(places)))
    share = rng.uniform(0.1, 0.6)
    response = np.zeros(length)
    for part, energy in ((early, share), (tail, 1 - share)):
        response += part * np.sqrt(energy / max(float(np.sum(part**2)), 1e-12))
    response *= np.sqrt(wet / max(float(np.sum(response**2)), 1e-12))
    return x + signal.oaconvolve(x, response)[: len(x)]


@degradation(snr=(-30, 80))
def traffic(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Add a road: steady low-frequency rumble, and passing vehicles with tyre noise and Doppler-shifted engine
    harmonics.

    There is one vehicle in about four seconds, and at least one.
    """
    seconds = np.arange(len(x)) / rate
    far = coloured_noise(rng, len(x), rate, lambda hz: band(25, 400, 1)(hz) * (1 + (hz / 120) ** 2) ** -0.5)
    noise = 0.5 * far / rms(far) * random_swell(rng, len(x), rate, (0.4, 0.3))
    for _ in range(max(rng.poisson(seconds[-1] / 4), 1)):
        noise += _vehicle(rng, seconds, rate)
    return mix(x, noise, snr)


def _vehicle(rng: np.random.Generator, seconds: Array, rate: int) -> Array:
    """Return the sound [n] of a vehicle that passes at a time within `seconds` [n], with an RMS of about one at the
    nearest point.
    """
    speed, distance = rng.uniform(8, 25), rng.uniform(3, 12)  # m/s, m
    along = speed * (seconds - rng.uniform(seconds[0], seconds[-1]))
    away = np.sqrt(along**2 + distance**2)
    centre = rng.uniform(500, 1000)
    tyres = coloured_noise(rng, len(seconds), rate, band(centre / 4, centre * 1.6, 1))
    # The phase of what is emitted when it arrives `away` metres later, less the delay at the start.
    turns = rng.uniform(25, 60) * (seconds - (away - distance) / SOUND_SPEED)
    wave = np.zeros(1025)
    for order, level in enumerate(rng.lognormal(0, 0.5, 12), start=1):
        wave += level / order * np.cos(2 * np.pi * (order * np.arange(1025) / 1024 + rng.random()))
    engine = np.interp(turns % 1.0, np.arange(1025) / 1024, wave)
    return np.asarray((tyres / rms(tyres) + rng.uniform(0.3, 1) * engine / rms(wave)) * distance / away)


CROWD_BANDS: Final = 8


@degradation(snr=(-30, 80))
def crowd(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Add a crowd without words: noise with the spectrum of speech and fluctuations at the rate of syllables.

    The noise has eight bands from 100 Hz to 7 kHz. Their levels fluctuate partly together, and change slowly in
    addition.
    """
    length = fft.next_fast_len(len(x), real=True)
    hz = fft.rfftfreq(length, 1 / rate)
    # ANSI S3.5: flat to 500 Hz, then -9 dB per octave.
    spectrum = fft.rfft(rng.standard_normal(length)) * np.maximum(hz / 500, 1.0) ** -1.5
    noise = np.zeros(len(x))
    edges = np.geomspace(100, 7_000, CROWD_BANDS + 1)
    for low, high in itertools.pairwise(edges.tolist()):
        part = fft.irfft(spectrum * band(low, high, 3)(hz), length)[: len(x)]
        noise += part * random_swell(rng, len(x), rate, (rng.uniform(2.5, 6), 0.4))
    return mix(x, noise * random_swell(rng, len(x), rate, (4.0, 0.3), (0.3, 0.25)), snr)


@degradation(snr=(-40, 80), gust=(0, 1))
def wind(x: Array, rate: int, rng: np.random.Generator, *, snr: float, gust: float) -> Array:
    """Add wind at a microphone: turbulence below a few hundred Hz, stronger and brighter in gusts, and clipping.

    The microphone clips at one and a half times the peak of the music.

    Args:
        snr: of the music to the wind before clipping, in dB.
        gust: variation of the wind: 0 is steady, 1 has a standard deviation of about 10 dB.
    """
    corner = np.exp(rng.uniform(np.log(60), np.log(250)))
    gain = random_swell(rng, len(x), rate, (0.7, gust), (4.0, 0.5 * gust))
    # Turbulence falls by 5/3 of an order in power up to a corner that rises with the speed, and faster above it.
    base = coloured_noise(rng, len(x), rate, lambda hz: _turbulence(hz, corner))
    bright = coloured_noise(rng, len(x), rate, lambda hz: _turbulence(hz, 4 * corner))
    noise = gain * (base / rms(base) + 0.3 * gain * bright / rms(bright))
    limit = 1.5 * np.abs(x).max()
    return np.clip(mix(x, noise, snr), -limit, limit)


def _turbulence(hz: Array, corner: float) -> Array:
    return np.asarray(
        (hz > 5) * np.maximum(hz, 20) ** (-5 / 6) * np.exp(-0.2 * hz / corner) / (1 + (hz / corner) ** 2) ** 0.5
    )


# On the wire


@degradation(hz=(40, 70), snr=(-30, 80), harmonics=(1, 200), buzz=(0, 1))
def mains_hum(
    x: Array, rate: int, rng: np.random.Generator, *, hz: float, snr: float, harmonics: float, buzz: float
) -> Array:
    """Add mains hum with strong harmonics.

    Args:
        hz: frequency of the mains.
        snr: in dB.
        harmonics: number of harmonics including the fundamental, below half the sample rate.
        buzz: 0 falls by 12 dB per octave. 1 has equally strong harmonics in phase, with even ones 6 dB stronger, as the
            pulses of rectifiers and dimmers.
    """
    order = np.arange(1, min(int(harmonics), int(0.49 * rate / hz)) + 1)
    amplitudes = rng.lognormal(0.0, 0.4, len(order)) * order ** (-2.0 * (1 - buzz)) * (1 + buzz * (order % 2 == 0))
    phases = rng.random() + (1 - buzz) * rng.random(len(order))
    turns = np.arange(8193) / 8192
    period = fft.irfft(np.append(0, amplitudes * np.exp(2j * np.pi * phases)), 8192)
    wave = np.interp((np.arange(len(x)) * (hz / rate)) % 1.0, turns, np.append(period, period[0]))
    return mix(x, wave, snr)


@degradation(inaudible=True, offset=(-50, 50))
def dc(x: Array, rate: int, rng: np.random.Generator, *, offset: float) -> Array:  # noqa: ARG001
    """Add a constant offset, in multiples of the music's RMS."""
    return x + offset * rms(x)


@degradation(inaudible=True, snr=(-40, 80))
def rumble(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Add noise from 3 to 30 Hz, 60 dB lower at 60 Hz: a turntable, a stage, an air conditioner."""
    return mix(x, coloured_noise(rng, len(x), rate, band(3, 30, 10)), snr)
