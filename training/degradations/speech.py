"""Speech behind the music: multi-talker babble, one or two talkers, noise with the spectrum of speech.

The voices come from the speech bank (`training.corpus.speech`) as a `Speech`: the voices of one split at 16 kHz. They
are mixed at that rate, so that nothing is added above 8 kHz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft

from .chains import Array, Speech, degradation
from .haaqi_studies import subtract
from .signals import mix

SPEECH_RATE: Final = 16_000
"""sample rate of all voices in Hz"""
HUMAN: Final = 0.75
"""share of human talkers"""
SPREAD: Final = 4.0
"""standard deviation of the talkers' levels, in dB"""
STUDIED: Final = frozenset({"babble", "speech_noise", "speech_babble_subtraction"})
"""degradations of this module that are part of the HAAQI studies"""

RANGES: Final[Mapping[str, Mapping[str, Callable[[np.random.Generator], float]]]] = {
    "babble": {
        "snr": lambda rng: float(rng.uniform(-5, 40)),
        "talkers": lambda rng: float(rng.integers(4, 21)),
        "room": lambda rng: float(rng.uniform(0, 1)),
    },
    "talker": {
        "snr": lambda rng: float(rng.uniform(-5, 40)),
        "talkers": lambda rng: float(rng.integers(1, 3)),
    },
    "speech_noise": {"snr": lambda rng: float(rng.uniform(-5, 40))},
    "speech_babble_subtraction": {
        "snr": lambda rng: float(rng.uniform(-5, 35)),
        "over": lambda rng: float(rng.uniform(0.8, 4)),
        "talkers": lambda rng: float(rng.integers(4, 21)),
    },
}
"""distribution of each parameter in `sampling`"""

_BANDS: Final = 3
"""bandwidths of talkers: wide, a telephone's, dull"""
_BAND_SHARES: Final = (0.6, 0.2, 0.2)
_ROOMS: Final = 2


@degradation(needs_speech=True, snr=(-20, 80), talkers=(1, 64), room=(0, 1))
def babble(
    x: Array, rate: int, rng: np.random.Generator, speech: Speech, *, snr: float, talkers: float, room: float
) -> Array:
    """Add babble of a number of talkers, `snr` dB below the music in RMS. The share `room` of them is in two
    reverberant rooms.
    """
    return mix(x, _crowd(len(x), rate, rng, speech, int(talkers), room), snr)


@degradation(needs_speech=True, snr=(-20, 80), talkers=(1, 3))
def talker(x: Array, rate: int, rng: np.random.Generator, speech: Speech, *, snr: float, talkers: float) -> Array:
    """Add one or a few talkers with pauses between their phrases. `snr` is that of the whole clip including pauses."""
    return mix(x, _crowd(len(x), rate, rng, speech, int(talkers), 0.3, pauses=True), snr)


@degradation(needs_speech=True, snr=(-20, 80))
def speech_noise(x: Array, rate: int, rng: np.random.Generator, speech: Speech, *, snr: float) -> Array:
    """Add stationary noise with the long-term average spectrum of the voices, up to 8 kHz."""
    length = fft.next_fast_len(len(x), real=True)
    spectrum = fft.rfft(rng.standard_normal(length))
    hz, amplitude = speech.spectrum()
    spectrum *= np.interp(fft.rfftfreq(length, 1 / rate), hz, amplitude, right=0.0)
    return mix(x, fft.irfft(spectrum, length)[: len(x)], snr)


@degradation(needs_speech=True, snr=(-20, 80), over=(0, 10), talkers=(1, 64))
def speech_babble_subtraction(
    x: Array, rate: int, rng: np.random.Generator, speech: Speech, *, snr: float, over: float, talkers: float
) -> Array:
    """Add babble at `snr` dB, then subtract `over` times its mean magnitude spectrum."""
    return subtract(x, mix(x, _crowd(len(x), rate, rng, speech, int(talkers), 0.5), snr), rate, over)


def _crowd(
    length: int,
    rate: int,
    rng: np.random.Generator,
    speech: Speech,
    count: int,
    room: float,
    *,
    pauses: bool = False,
) -> Array:
    """Mix talkers at 16 kHz, then filter the mix and convert it to `rate` in one spectrum.

    Talkers with the same bandwidth are mixed before filtering, and so are those in the same room, so that the cost
    hardly depends on their number.

    Args:
        length: number of samples at `rate` Hz.
        count: number of talkers.
        room: probability that a talker is reverberant.
        pauses: whether talkers pause between phrases.

    Returns:
        float64 [length].
    """
    # A length that both rates divide, so that the spectrum's inverse at `rate` has whole samples.
    common = math.gcd(rate, SPEECH_RATE)
    unit = SPEECH_RATE // common
    samples = unit * fft.next_fast_len(-(-length // (rate // common)), real=True)
    buses = np.zeros((_BANDS + _ROOMS, samples))
    for chosen in _cast(rng, speech, count):
        voice = speech.stretch(chosen, int(rng.integers(speech.talkers[chosen].frames)), samples)
        voice *= 10 ** (rng.normal(0.0, SPREAD) / 20)
        if pauses:
            _pause(voice, rng)
        band = int(rng.choice(_BANDS, p=_BAND_SHARES))
        wet = 10 ** (rng.uniform(-8, 8) / 10)  # energy of reverberation against direct sound
        if rng.random() < room:
            buses[_BANDS + int(rng.integers(_ROOMS))] += voice * math.sqrt(wet / (1 + wet))
            voice *= math.sqrt(1 / (1 + wet))
        buses[band] += voice
    hz = fft.rfftfreq(samples, 1 / SPEECH_RATE)
    filters = [*_bandwidths(hz, rng), *(_reverberation(hz, samples, rng) for _ in range(_ROOMS))]
    total = np.zeros(len(hz), dtype=np.complex128)
    for bus, response in zip(buses, filters, strict=True):
        if np.any(bus):
            total += fft.rfft(bus) * response
    # Circular: what rings on beyond the end is heard at the beginning, as if the talkers had spoken before.
    scaled = samples // unit * (rate // common)
    return np.asarray(fft.irfft(total, scaled)[:length])


def _cast(rng: np.random.Generator, speech: Speech, count: int) -> list[int]:
    """Draw indices [count] of voices: most are human, and women and men are equally likely. Repetitions are avoided."""
    free: dict[tuple[bool, bool], list[int]] = {}
    for index, voice in enumerate(speech.talkers):
        free.setdefault((voice.human, voice.female), []).append(index)
    chosen: list[int] = []
    for _ in range(count):
        human, female = bool(rng.random() < HUMAN), bool(rng.random() < 0.5)
        wanted = ((human, female), (human, not female), (not human, female), (not human, not female))
        group = next((free[kind] for kind in wanted if free.get(kind)), None)
        if group is None:  # all talk already
            chosen.append(int(rng.integers(len(speech.talkers))))
        else:
            chosen.append(group.pop(int(rng.integers(len(group)))))
    return chosen


def _pause(voice: Array, rng: np.random.Generator) -> None:
    """Silence a voice [n] in place for 0.2 to 1.5 s between phrases of 1 to 5 s. The cuts are at soft places."""
    step = SPEECH_RATE // 100
    levels = np.square(voice[: len(voice) // step * step]).reshape(-1, step).sum(axis=1)
    gate = np.ones(len(levels))
    at = float(rng.uniform(-1.0, 3.0))
    while at * 100 < len(levels):
        if at > 0:
            near = slice(max(round(at * 100) - 25, 0), round(at * 100) + 25)
            begin = near.start + int(np.argmin(levels[near]))
            gate[begin : begin + round(rng.uniform(20, 150))] = 0.0
        at += float(rng.uniform(1.2, 6.0))
    if np.any(gate):
        places = np.arange(len(voice)) / step - 0.5
        voice *= np.interp(places, np.arange(len(gate)), gate)


def _bandwidths(hz: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return amplitude responses [bins] of the transmission of talkers: none, a telephone, a wall or their back."""
    ratio = np.maximum(hz, 1.0)
    telephone = 1 / np.sqrt((1 + (300 / ratio) ** 8) * (1 + (ratio / 3400) ** 16))
    dull = 1 / np.sqrt(1 + (ratio / rng.uniform(1500, 5000)) ** 4)
    return np.asarray(ratio > 40, dtype=np.float64), telephone, dull


def _reverberation(hz: Array, samples: int, rng: np.random.Generator) -> npt.NDArray[np.complex128]:
    """Return the response [bins] of a room: decaying noise of unit energy with damped high frequencies."""
    t60 = float(np.exp(rng.uniform(np.log(0.25), np.log(1.5))))
    tail = np.zeros(samples)
    begin = min(int(rng.uniform(0.002, 0.02) * SPEECH_RATE), samples // 2)
    length = min(int(t60 * 0.75 * SPEECH_RATE), samples - begin)
    tail[begin : begin + length] = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / (t60 * SPEECH_RATE))
    tail /= np.sqrt(np.sum(tail**2))
    return np.asarray(fft.rfft(tail) / np.sqrt(1 + (hz / rng.uniform(2000, 6000)) ** 2))
