"""Randomly composed music, which adds clean music for training to the limited number of recordings.

A piece has one to four voices (struck and plucked strings, bells, bowed, blown and sung tones, electronic waves). The
voices repeat motifs in a scale, often with drums, in a room. A piece is defined by its number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import signal

from ..degradations.chains import Array
from ..degradations.extended import reverb
from ..degradations.signals import mix
from .oscillators import add_decaying_partials, add_harmonics

Rng: TypeAlias = np.random.Generator
RATE: Final = 24_000
"""Rate of all pieces in Hz."""
_SCALES: Final = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
    (0, 2, 3, 5, 7, 8, 11),
    tuple(range(12)),
)
_STEPS: Final = 16
"""Number of sixteenths in a bar."""


class Note(NamedTuple):
    """Start and length of a note in seconds, its frequency in Hz, and its loudness as an amplitude."""

    start: float
    length: float
    hz: float
    loudness: float


def synthesize_piece(number: int, seconds: float) -> Array:
    """Generate a piece of music.

    Args:
        number: of the piece, 0 or more.
        seconds: duration.

    Returns:
        float64 [samples] at `RATE`, not silent.
    """
    rng = np.random.default_rng([13, number])
    out = np.zeros(round(seconds * RATE))
    beat = 60 / rng.uniform(55, 180)
    scale = np.array(_SCALES[rng.integers(len(_SCALES))])
    key = rng.uniform(0, 12)
    drums = rng.random() < 0.35
    voices = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])) if not drums or rng.random() < 0.85 else 0
    for _ in range(voices):
        voice = np.zeros_like(out)
        sound = _INSTRUMENTS[rng.integers(len(_INSTRUMENTS))](rng)
        for note in _part(rng, seconds, beat, scale, key):
            _add(voice, note.start, sound(note), note.loudness)
        out += _set_level(voice, rng)
    if drums:
        out += _set_level(_drums(rng, len(out), beat), rng)
    if not np.any(out):  # all notes were replaced by rests
        return synthesize_piece(number + 1_000_000_007, seconds)
    if rng.random() < 0.7:
        wet = float(np.exp(rng.uniform(np.log(0.005), np.log(0.6))))
        out = reverb(out, RATE, rng, t60=float(rng.uniform(0.2, 2.5)), wet=wet)
    if rng.random() < 0.4:  # noise of a recording
        out = mix(out, rng.standard_normal(len(out)), float(rng.uniform(45, 80)))
    return out


def _set_level(voice: Array, rng: Rng) -> Array:
    power = float(np.sqrt(np.mean(np.square(voice))))
    return voice * (10 ** (rng.uniform(-14, 0) / 20) / power) if power else voice


def _add(voice: Array, start: float, tone: Array, loudness: float) -> None:
    """Add a tone [n] from `start` seconds on, as far as it fits."""
    at = round(start * RATE)
    tone = tone[: len(voice) - at]
    voice[at : at + len(tone)] += loudness * tone


def _part(rng: Rng, seconds: float, beat: float, scale: npt.NDArray[np.int64], key: float) -> list[Note]:
    """Compose the notes of a voice: a motif of two to eight beats that repeats with slight changes."""
    units = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    shares = rng.dirichlet(np.full(len(units), 0.5))
    register = rng.uniform(36, 84)
    polyphony = int(rng.choice([1, 2, 3, 4], p=[0.6, 0.15, 0.15, 0.1]))
    rests, held = rng.uniform(0, 0.3), rng.uniform(0.3, 1.3)
    span = float(rng.choice([2, 4, 8]))
    motif: list[tuple[float, float, int]] = []
    at, degree = 0.0, 0
    while at < span:
        length = float(rng.choice(units, p=shares))
        degree += int(rng.integers(-3, 4))
        if rng.random() >= rests:
            motif.append((at, length, degree))
        at += length
    notes: list[Note] = []
    begin, shift = -float(rng.uniform(0, span)), 0
    while begin * beat < seconds:
        for place, length, step in motif:
            start = (begin + place) * beat + rng.normal(0, 0.008)
            if 0 <= start < seconds - 0.02:
                notes += [
                    Note(start, length * beat * held, _hz(register, key, scale, step + shift + 2 * voice), _accent(rng))
                    for voice in range(polyphony)
                ]
        begin, shift = begin + span, shift + int(rng.choice([-2, -1, 0, 0, 0, 1, 2]))
    return notes


def _accent(rng: Rng) -> float:
    return float(10 ** (rng.normal(0, 2.5) / 20))


def _hz(register: float, key: float, scale: npt.NDArray[np.int64], degree: int) -> float:
    """Return the frequency of a degree of the scale, from the key's note nearest to a register (MIDI number)."""
    octave, place = divmod(degree, len(scale))
    root = key + 12 * round((register - key) / 12)
    midi = np.clip(root + 12 * octave + scale[place], 28, 103)
    return float(440 * 2 ** ((midi - 69) / 12))


# Instruments: each function draws an instrument and returns a function that plays a note

Sound: TypeAlias = Callable[[Note], Array]


def _orders(hz: float, most: int) -> Array:
    """Return 1, 2 and so on, for up to `most` harmonics below 0.45 of the rate."""
    return np.arange(1, max(min(int(0.45 * RATE / hz), most), 1) + 1, dtype=np.float64)


def _struck_string(rng: Rng) -> Sound:
    """Draw a struck or plucked string: stiff, with a knock, and with partials that decay faster the higher they are."""
    stiffness = float(np.exp(rng.uniform(np.log(1e-5), np.log(1e-3))))
    roll, place = rng.uniform(0.7, 2.2), rng.uniform(0.06, 0.45)
    decay, damping, release = rng.uniform(0.3, 3.0), rng.uniform(0.02, 0.5), rng.uniform(0.03, 0.4)
    knock, strings = 10 ** (rng.uniform(-50, -20) / 20), int(rng.integers(1, 4))

    def play(note: Note) -> Array:
        n = _orders(note.hz, 40)
        partials = note.hz * n * np.sqrt(1 + stiffness * n**2)
        amplitudes = n**-roll * np.abs(np.sin(np.pi * place * n)) * rng.uniform(0.5, 1.5, len(n))
        rates = decay * (note.hz / 262) ** 0.5 * (1 + damping * n)
        samples = round(min(note.length + 3 * release, 7 / decay + 0.05) * RATE)
        tone = np.zeros(samples)
        for _ in range(strings):
            phases = rng.uniform(0, 2 * np.pi, len(n))
            add_decaying_partials(
                tone, partials * 2 ** (rng.normal(0, 1.0) / 1200) / RATE, amplitudes, rates / RATE, phases
            )
        burst = round(0.02 * RATE)
        tone[:burst] += knock * strings * rng.standard_normal(burst)[:samples] * np.linspace(1, 0, burst)[:samples]
        return tone * _envelope(samples, 0.002, note.length, release)

    return play


def _bell(rng: Rng) -> Sound:
    """Draw a bell, bar or bowl: a few inharmonic partials."""
    ratios = np.sort(np.concatenate([[1.0], rng.uniform(1.5, 9, int(rng.integers(2, 9)))]))
    amplitudes = ratios ** -rng.uniform(0.3, 1.5) * rng.uniform(0.3, 1, len(ratios))
    rates = rng.uniform(0.5, 6) * ratios ** rng.uniform(0.2, 1.2)

    def play(note: Note) -> Array:
        fits = note.hz * ratios < 0.45 * RATE
        tone = np.zeros(round(min(note.length + 2.0, 7 / rates[0]) * RATE))
        phases = rng.uniform(0, 2 * np.pi, int(fits.sum()))
        add_decaying_partials(tone, note.hz * ratios[fits] / RATE, amplitudes[fits], rates[fits] / RATE, phases)
        return tone * _envelope(len(tone), 0.001, note.length + 1.5, 0.2)

    return play


def _sustained_tone(rng: Rng) -> Sound:
    """Draw a bowed, blown or sung tone: harmonics with formants, vibrato, random pitch variation and breath noise."""
    roll = rng.uniform(0.5, 1.8)
    formants, widths = rng.uniform(250, 4500, 4), rng.uniform(80, 700, 4)
    heights = rng.uniform(0, 6, 4)
    attack, release = float(np.exp(rng.uniform(np.log(0.01), np.log(0.3)))), rng.uniform(0.03, 0.4)
    pace, depth, onset = rng.uniform(4, 7), rng.uniform(0, 60) * (rng.random() < 0.7), rng.uniform(0, 0.5)
    breath, wander, odd = 10 ** (rng.uniform(-60, -22) / 20), rng.uniform(0, 8), rng.random() < 0.15
    players = int(rng.choice([1, 1, 1, 3, 5]))

    def play(note: Note) -> Array:
        samples = round((note.length + 3 * release) * RATE)
        t = np.arange(samples) / RATE
        n = _orders(note.hz, 40)
        hz = n * note.hz
        amplitudes = n**-roll * (1 + (heights / (1 + ((hz[:, None] - formants) / widths) ** 2)).sum(1))
        if odd:
            amplitudes[1::2] *= 0.05
        tone = np.zeros(samples)
        for _ in range(players):
            swing = depth * np.sin(2 * np.pi * (pace * t + rng.random())) * np.clip((t - onset) * 3, 0, 1)
            cents = swing + wander * _slow_variation(rng, samples) + (rng.normal(0, 8) if players > 1 else 0.0)
            phase = 2 * np.pi * (np.cumsum(note.hz * 2 ** (cents / 1200)) / RATE + rng.random())
            add_harmonics(tone, phase, amplitudes)
        air = np.asarray(signal.lfilter([1, -0.95], [1, -0.9], rng.standard_normal(samples)))
        shimmer = 1 + 0.1 * _slow_variation(rng, samples)
        gains = _envelope(samples, attack, note.length, release)
        return np.asarray((tone * shimmer + breath * np.abs(tone).max() * air) * gains)

    return play


def _electronic_tone(rng: Rng) -> Sound:
    """Draw a pulse, sawtooth, triangle, sine or FM tone, often through a low-pass filter that closes."""
    kind, width = int(rng.integers(5)), rng.choice([0.5, 0.25, 0.125])
    attack, release = float(np.exp(rng.uniform(np.log(0.002), np.log(0.2)))), rng.uniform(0.01, 0.3)
    fall = rng.uniform(0, 5) * (rng.random() < 0.6)
    ratio, index = float(rng.choice([0.5, 1, 2, 3, 1.41, 3.5])), rng.uniform(0.5, 5)
    opened, closing = rng.uniform(1, 30), rng.uniform(0, 6)

    def play(note: Note) -> Array:
        samples = round((note.length + 3 * release) * RATE)
        t = np.arange(samples) / RATE
        phase = 2 * np.pi * note.hz * t
        tone = np.zeros(samples)
        n = _orders(note.hz, 60)
        if kind == 4:
            swing = min(index, max((0.45 * RATE / note.hz - 1) / ratio - 1, 0.0))
            tone += np.sin(phase + swing * np.exp(-closing * t) * np.sin(ratio * phase))
        else:
            series = (np.sin(np.pi * width * n) / n, 1 / n, (n % 2) / n**2, (n == 1) * 1.0)[kind]
            dark, bright = np.zeros(samples), np.zeros(samples)
            add_harmonics(bright, phase, series)
            add_harmonics(dark, phase, series / (1 + (n / opened) ** 4))
            tone += dark + (bright - dark) * np.exp(-closing * t)
        return tone * np.exp(-fall * t) * _envelope(samples, attack, note.length, release)

    return play


_INSTRUMENTS: Final[tuple[Callable[[Rng], Sound], ...]] = (
    *[_struck_string] * 3,
    _bell,
    *[_sustained_tone] * 3,
    _electronic_tone,
)


def _envelope(samples: int, attack: float, held: float, release: float) -> Array:
    """Return gains [samples] that rise in `attack` s and fall after `held` s, with the time constant `release`."""
    t = np.arange(samples) / RATE
    end = np.minimum(1, (samples / RATE - t) / 0.01)
    return np.asarray(np.minimum(1, t / attack) * np.exp(-np.maximum(t - held, 0) / release) * end)


def _slow_variation(rng: Rng, samples: int) -> Array:
    """Return a random curve [samples] with a standard deviation of about 1 and about five cycles per second."""
    knots = rng.standard_normal(samples * 10 // RATE + 3)
    return np.asarray(np.interp(np.arange(samples) * (10 / RATE), np.arange(len(knots)), knots))


def _drums(rng: Rng, samples: int, beat: float) -> Array:
    """Compose a bar of kick, snare, cymbal and skin, and repeat it."""
    out = np.zeros(samples)
    step = beat / 4
    for kind in rng.choice(4, int(rng.integers(1, 5)), replace=False):
        hit = _HITS[kind](rng)
        pattern = rng.random(_STEPS) < rng.uniform(0.08, 0.5)
        pattern[int(rng.integers(4)) * 4] = True
        loudness = 10 ** (rng.uniform(-12, 0) / 20)
        for number in range(int(samples / RATE / step)):
            if pattern[number % _STEPS]:
                start = max(number * step + rng.normal(0, 0.004), 0.0)
                _add(out, start, hit, loudness * _accent(rng))
    return out


def _kick(rng: Rng) -> Array:
    t = np.arange(round(0.4 * RATE)) / RATE
    low, sweep, pace = rng.uniform(40, 90), rng.uniform(50, 300), rng.uniform(15, 60)
    phase = 2 * np.pi * (low * t + sweep / pace * (1 - np.exp(-pace * t)))
    return np.asarray(np.sin(phase) * np.exp(-t * rng.uniform(6, 25)) * np.minimum(1, t / 0.001))


def _snare(rng: Rng) -> Array:
    t = np.arange(round(0.35 * RATE)) / RATE
    body = np.sin(2 * np.pi * rng.uniform(140, 260) * t) * np.exp(-t * rng.uniform(15, 40))
    return np.asarray(body + rng.uniform(0.3, 1.5) * rng.standard_normal(len(t)) * np.exp(-t * rng.uniform(10, 40)))


def _cymbal(rng: Rng) -> Array:
    t = np.arange(round(0.6 * RATE)) / RATE
    b, a = signal.butter(2, rng.uniform(3000, 8000), "high", fs=RATE)
    return np.asarray(signal.lfilter(b, a, rng.standard_normal(len(t))) * np.exp(-t * rng.uniform(5, 70)))


def _skin(rng: Rng) -> Array:
    t = np.arange(round(0.5 * RATE)) / RATE
    out = np.zeros_like(t)
    ratios = np.array([1.0, 1.59, 2.14, 2.3, 2.65])
    add_decaying_partials(
        out,
        rng.uniform(80, 500) * ratios / RATE,
        rng.uniform(0.2, 1, 5) / ratios,
        rng.uniform(6, 25) * ratios / RATE,
        rng.uniform(0, 6, 5),
    )
    return out * np.minimum(1, t / 0.001)


_HITS: Final = (_kick, _snare, _cymbal, _skin)
