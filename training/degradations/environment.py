"""Rooms, and sounds around a listener and on the wire, synthesized: traffic, crowds, wind, mains hum, DC and rumble."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import fft, signal

from .draws import Ranges, either_sign, log_uniform, one_of, uniform
from .grammar import Array, condition
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


def coloured(rng: np.random.Generator, samples: int, rate: int, gain: Callable[[Array], Array]) -> Array:
    """Gaussian noise [samples] whose amplitude spectrum is a function of Hz."""
    length = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(rng.standard_normal(length)) * gain(fft.rfftfreq(length, 1 / rate))
    return np.asarray(fft.irfft(spectrum, length)[:samples])


def swell(rng: np.random.Generator, samples: int, rate: int, *parts: tuple[float, float]) -> Array:
    """A random gain [samples] that changes slowly, its logarithm normally distributed.

    Args:
        rng: what is drawn from.
        samples: how many.
        rate: Hz.
        parts: Hz below which a part of the logarithm changes, and its standard deviation.
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
    """An amplitude ratio by Hz: Butterworth's, -3 dB at both edges."""

    def gain(hz: Array) -> Array:
        below = (np.maximum(hz, 1e-3) / high) ** (2 * order)
        above = (low / np.maximum(hz, 1e-3)) ** (2 * order)
        return np.asarray(1 / np.sqrt((1 + below) * (1 + above)))

    return gain


# Around the listener


@condition(t60=(0.05, 10), wet=(0.001, 30), damping=(0.05, 1), delay=(0, 200))
def room(
    x: Array, rate: int, rng: np.random.Generator, *, t60: float, wet: float, damping: float, delay: float
) -> Array:
    """A room: early reflections, then a diffuse tail whose high frequencies decay faster.

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


@condition(snr=(-30, 80))
def traffic(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """A road: steady low-frequency rumble, and vehicles that pass, each a swell of tyre noise and of an engine's
    harmonics that fall in pitch by the Doppler effect; one in about four seconds, and at least one."""
    seconds = np.arange(len(x)) / rate
    far = coloured(rng, len(x), rate, lambda hz: band(25, 400, 1)(hz) * (1 + (hz / 120) ** 2) ** -0.5)
    noise = 0.5 * far / rms(far) * swell(rng, len(x), rate, (0.4, 0.3))
    for _ in range(max(rng.poisson(seconds[-1] / 4), 1)):
        noise += _vehicle(rng, seconds, rate)
    return mix(x, noise, snr)


def _vehicle(rng: np.random.Generator, seconds: Array, rate: int) -> Array:
    """The sound [n] of a vehicle that passes at a time within `seconds` [n]; an RMS of about one when it is nearest."""
    speed, distance = rng.uniform(8, 25), rng.uniform(3, 12)  # m/s, m
    along = speed * (seconds - rng.uniform(seconds[0], seconds[-1]))
    away = np.sqrt(along**2 + distance**2)
    centre = rng.uniform(500, 1000)
    tyres = coloured(rng, len(seconds), rate, band(centre / 4, centre * 1.6, 1))
    # The phase of what is emitted when it arrives `away` metres later, less the delay at the start.
    turns = rng.uniform(25, 60) * (seconds - (away - distance) / SOUND_SPEED)
    wave = np.zeros(1025)
    for order, level in enumerate(rng.lognormal(0, 0.5, 12), start=1):
        wave += level / order * np.cos(2 * np.pi * (order * np.arange(1025) / 1024 + rng.random()))
    engine = np.interp(turns % 1.0, np.arange(1025) / 1024, wave)
    return np.asarray((tyres / rms(tyres) + rng.uniform(0.3, 1) * engine / rms(wave)) * distance / away)


CROWD_BANDS: Final = 8


@condition(snr=(-30, 80))
def crowd(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """A crowd without a word: noise with the long-term spectrum of speech, in eight bands from 100 Hz to 7 kHz whose
    levels fluctuate at the rate of syllables, partly together, and swell slowly."""
    length = fft.next_fast_len(len(x), real=True)
    hz = fft.rfftfreq(length, 1 / rate)
    # ANSI S3.5: flat to 500 Hz, then -9 dB per octave.
    spectrum = fft.rfft(rng.standard_normal(length)) * np.maximum(hz / 500, 1.0) ** -1.5
    noise = np.zeros(len(x))
    edges = np.geomspace(100, 7_000, CROWD_BANDS + 1)
    for low, high in itertools.pairwise(edges.tolist()):
        part = fft.irfft(spectrum * band(low, high, 3)(hz), length)[: len(x)]
        noise += part * swell(rng, len(x), rate, (rng.uniform(2.5, 6), 0.4))
    return mix(x, noise * swell(rng, len(x), rate, (4.0, 0.3), (0.3, 0.25)), snr)


@condition(snr=(-40, 80), gust=(0, 1))
def wind(x: Array, rate: int, rng: np.random.Generator, *, snr: float, gust: float) -> Array:
    """Wind at a microphone: turbulence below some hundred Hz, stronger and brighter in gusts, and the microphone's
    clipping where the sum exceeds one and a half times the music's peak.

    Args:
        snr: dB, of the music to the wind before clipping.
        gust: how uneven the wind is: 0 is steady, 1 rises and falls with a standard deviation of some 10 dB.
    """
    corner = np.exp(rng.uniform(np.log(60), np.log(250)))
    gain = swell(rng, len(x), rate, (0.7, gust), (4.0, 0.5 * gust))
    # Turbulence falls by 5/3 of an order in power up to a corner that rises with the speed, and faster above it.
    base = coloured(rng, len(x), rate, lambda hz: _turbulence(hz, corner))
    bright = coloured(rng, len(x), rate, lambda hz: _turbulence(hz, 4 * corner))
    noise = gain * (base / rms(base) + 0.3 * gain * bright / rms(bright))
    limit = 1.5 * np.abs(x).max()
    return np.clip(mix(x, noise, snr), -limit, limit)


def _turbulence(hz: Array, corner: float) -> Array:
    return np.asarray(
        (hz > 5) * np.maximum(hz, 20) ** (-5 / 6) * np.exp(-0.2 * hz / corner) / (1 + (hz / corner) ** 2) ** 0.5
    )


# On the wire


@condition(hz=(40, 70), snr=(-30, 80), harmonics=(1, 200), buzz=(0, 1))
def mains_hum(
    x: Array, rate: int, rng: np.random.Generator, *, hz: float, snr: float, harmonics: float, buzz: float
) -> Array:
    """Mains hum with strong harmonics.

    Args:
        hz: the mains' frequency.
        snr: dB.
        harmonics: as many, the fundamental among them, below half the sampling rate.
        buzz: 0 falls by 12 dB per octave and sounds round, 1 is as strong in all harmonics, in phase, and the even ones
            (twice a period) by 6 dB stronger: the pulses of rectifiers and dimmers.
    """
    order = np.arange(1, min(int(harmonics), int(0.49 * rate / hz)) + 1)
    amplitudes = rng.lognormal(0.0, 0.4, len(order)) * order ** (-2.0 * (1 - buzz)) * (1 + buzz * (order % 2 == 0))
    phases = rng.random() + (1 - buzz) * rng.random(len(order))
    turns = np.arange(8193) / 8192
    period = fft.irfft(np.append(0, amplitudes * np.exp(2j * np.pi * phases)), 8192)
    wave = np.interp((np.arange(len(x)) * (hz / rate)) % 1.0, turns, np.append(period, period[0]))
    return mix(x, wave, snr)


@condition(inaudible=True, offset=(-50, 50))
def dc(x: Array, rate: int, rng: np.random.Generator, *, offset: float) -> Array:  # noqa: ARG001
    """A constant offset, in multiples of the music's RMS."""
    return x + offset * rms(x)


@condition(inaudible=True, snr=(-40, 80))
def rumble(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Noise from 3 to 30 Hz, 60 dB lower at 60 Hz: a turntable, a stage, an air conditioner."""
    return mix(x, coloured(rng, len(x), rate, band(3, 30, 10)), snr)
