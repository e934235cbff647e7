"""What happens to music before it reaches the ear: named, seeded, parametric conditions and chains of them.

A chain is a short string such as `noise(snr=10)|clip(peak=0.4)`. With the clean samples and a seed it recreates the
degraded samples. The conditions are families of the HAAQI studies (Arehart, Kates & Anderson 2011; Kates & Arehart
2016): noise, nonlinear processing and linear filtering.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from typing import Final

import numba
import numpy as np
import numpy.typing as npt
from scipy import signal

from ..runtime.errors import OptionError

Array = npt.NDArray[np.float64]
Condition = Callable[..., Array]

CONDITIONS: Final[dict[str, Condition]] = {}
_CALL: Final = re.compile(r"^([a-z_]+)\(([^()]*)\)$")


def condition(function: Condition) -> Condition:
    """Enter a function `(x [samples], rate, rng, *, parameters) -> [samples]` into `CONDITIONS` under its name."""
    CONDITIONS[function.__name__] = function
    return function


def degrade(x: Array, rate: int, chain: str, seed: int) -> Array:
    """Apply a chain of conditions, left to right.

    Args:
        x: float [samples] in [-1, 1], not silent.
        rate: Hz.
        chain: conditions joined by `|`; the empty string leaves the music as it is.
        seed: of all that is random in the chain; every link draws from a generator of its own.

    Returns:
        float64 [samples] with the RMS of `x`.

    Raises:
        OptionError: a chain that names an unknown condition or parameter.
    """
    y = np.asarray(x, dtype=np.float64)
    for link, (function, parameters) in enumerate(parse_chain(chain)):
        y = function(y, rate, np.random.default_rng([seed, link]), **parameters)
    return y * (_rms(x) / max(_rms(y), 1e-12)) if chain else y


def parse_chain(chain: str) -> list[tuple[Condition, dict[str, float]]]:
    """The functions and parameters that a chain names."""
    links = []
    for text in filter(None, chain.split("|")):
        call = _CALL.match(text.strip())
        if call is None or call[1] not in CONDITIONS:
            raise OptionError(f"{text!r} is not a condition: expected name(parameter=value) of {sorted(CONDITIONS)}")
        function = CONDITIONS[call[1]]
        texts = dict(part.partition("=")[::2] for part in call[2].replace(" ", "").split(",") if part)
        known = {k for k, v in inspect.signature(function).parameters.items() if v.kind is v.KEYWORD_ONLY}
        if texts.keys() != known:
            raise OptionError(f"{call[1]} takes {sorted(known)}, got {sorted(texts)} in {text!r}")
        links.append((function, {key: _number(value, text) for key, value in texts.items()}))
    return links


def _number(text: str, origin: str) -> float:
    with contextlib.suppress(ValueError):
        value = float(text)
        if np.isfinite(value):
            return value
    raise OptionError(f"{text!r} in {origin!r} is not a finite number")


def chain_of(*links: tuple[str, dict[str, float]]) -> str:
    """The chain's string of conditions and their parameters, to three significant digits."""
    return "|".join(f"{name}({','.join(f'{k}={v:.3g}' for k, v in p.items())})" for name, p in links)


# Noise


@condition
def noise(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Stationary noise with the long-term spectrum of speech (ANSI S3.5: flat to 500 Hz, then -9 dB per octave)."""
    spectrum = np.fft.rfft(rng.standard_normal(len(x)))
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    return _add(x, np.fft.irfft(spectrum * np.maximum(hz / 500.0, 1.0) ** -1.5 * (hz > 50), len(x)), snr)


@condition
def music_babble(x: Array, rate: int, rng: np.random.Generator, *, snr: float) -> Array:
    """Four layers of the same recording, shifted and played backwards: unintelligible music behind the music."""
    reverse = x[::-1]
    layers = sum(np.roll(reverse, int(shift)) for shift in rng.integers(rate // 4, max(len(x), rate // 2), 4))
    return _add(x, np.asarray(layers), snr)


# Nonlinear processing


@condition
def clip(x: Array, rate: int, rng: np.random.Generator, *, peak: float) -> Array:  # noqa: ARG001
    """Symmetric peak clipping at a fraction of the peak."""
    limit = peak * np.abs(x).max()
    return np.clip(x, -limit, limit)


@condition
def quantize(x: Array, rate: int, rng: np.random.Generator, *, bits: float) -> Array:  # noqa: ARG001
    """Uniform quantization of the full scale of the excerpt."""
    step = 2.0 * np.abs(x).max() / 2.0**bits
    return np.asarray(np.round(x / step) * step)


@condition
def compress(x: Array, rate: int, rng: np.random.Generator, *, ratio: float, attack: float, release: float) -> Array:  # noqa: ARG001
    """Wide-band dynamic-range compression, threshold 20 dB below the RMS level; attack and release in ms."""
    envelope = np.abs(x)
    up, down = (np.exp(-1.0 / (rate * ms * 1e-3)) for ms in (attack, release))
    level = _follow(envelope, float(up), float(down))
    threshold = _rms(x) / 10.0
    return x * np.maximum(level / threshold, 1.0) ** (1.0 / ratio - 1.0)


@condition
def spectral_subtraction(x: Array, rate: int, rng: np.random.Generator, *, snr: float, over: float) -> Array:
    """Noise at `snr` dB, then magnitude spectral subtraction of `over` times its mean spectrum (musical noise)."""
    noisy = noise(x, rate, rng, snr=snr)
    _, _, spectrum = signal.stft(noisy, rate, nperseg=512)
    _, _, floor = signal.stft(noisy - x, rate, nperseg=512)
    magnitude = np.abs(spectrum)
    kept = np.maximum(magnitude - over * np.abs(floor).mean(axis=1, keepdims=True), 0.02 * magnitude)
    _, cleaned = signal.istft(spectrum * kept / np.maximum(magnitude, 1e-12), rate, nperseg=512)
    return np.asarray(cleaned[: len(x)])


# Linear filtering


@condition
def lowpass(x: Array, rate: int, rng: np.random.Generator, *, hz: float) -> Array:  # noqa: ARG001
    """Sixth-order Butterworth low-pass."""
    return np.asarray(signal.sosfilt(signal.butter(6, hz, "low", fs=rate, output="sos"), x))


@condition
def highpass(x: Array, rate: int, rng: np.random.Generator, *, hz: float) -> Array:  # noqa: ARG001
    """Sixth-order Butterworth high-pass."""
    return np.asarray(signal.sosfilt(signal.butter(6, hz, "high", fs=rate, output="sos"), x))


@condition
def bandpass(x: Array, rate: int, rng: np.random.Generator, *, low: float, high: float) -> Array:
    """A low-pass after a high-pass."""
    return lowpass(highpass(x, rate, rng, hz=low), rate, rng, hz=high)


@condition
def tilt(x: Array, rate: int, rng: np.random.Generator, *, slope: float) -> Array:  # noqa: ARG001
    """A spectral tilt in dB per octave around 1 kHz, negative for a duller sound."""
    hz = np.clip(np.fft.rfftfreq(len(x), 1 / rate), 50.0, None)
    return np.fft.irfft(np.fft.rfft(x) * 10 ** (slope * np.log2(hz / 1000.0) / 20), len(x))


@condition
def resonance(x: Array, rate: int, rng: np.random.Generator, *, hz: float, gain: float, peaks: float) -> Array:  # noqa: ARG001
    """One or several resonance peaks (Q of 6) of `gain` dB, an octave apart from `hz` upwards."""
    y = x
    for octave in range(int(peaks)):
        centre = hz * 2**octave
        if centre < 0.45 * rate:
            y = y + (10 ** (gain / 20) - 1) * signal.lfilter(*signal.iirpeak(centre, 6.0, fs=rate), x)
    return y


# Rooms and links


@condition
def reverb(x: Array, rate: int, rng: np.random.Generator, *, t60: float, wet: float) -> Array:
    """Convolution with exponentially decaying noise; `wet` is the energy ratio of reverberation to direct sound."""
    tail = rng.standard_normal(int(rate * t60)) * 10 ** (-3 * np.arange(int(rate * t60)) / (rate * t60))
    tail *= np.sqrt(wet / np.sum(tail**2))
    return x + signal.fftconvolve(x, tail)[: len(x)]


@condition
def dropouts(x: Array, rate: int, rng: np.random.Generator, *, per_second: float, ms: float) -> Array:
    """Gaps with 2 ms ramps, as a radio link loses packets."""
    gate = np.ones(len(x))
    width = int(rate * ms * 1e-3)
    for start in rng.integers(0, len(x), rng.poisson(per_second * len(x) / rate)):
        gate[start : start + width] = 0.0
    ramp = np.hanning(int(rate * 4e-3))
    return np.asarray(x * np.clip(signal.fftconvolve(gate, ramp / ramp.sum(), "same"), 0, 1))


def random_chain(rng: np.random.Generator) -> str:
    """Draw a chain: the clean music in 6%, one condition in 64%, two of different kinds in the rest."""
    first, second = rng.choice(len(_DRAWS), 2, replace=False)
    count = rng.choice(3, p=[0.06, 0.64, 0.30])
    return chain_of(*(_DRAWS[i](rng) for i in (first, second)[:count]))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _log_between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


_DRAWS: Final[list[Callable[[np.random.Generator], tuple[str, dict[str, float]]]]] = [
    lambda r: ("noise", {"snr": _between(r, -5, 40)}),
    lambda r: ("music_babble", {"snr": _between(r, -5, 40)}),
    lambda r: ("clip", {"peak": _log_between(r, 0.05, 0.8)}),
    lambda r: ("quantize", {"bits": _between(r, 3, 10)}),
    lambda r: (
        "compress",
        {"ratio": _log_between(r, 1.5, 20), "attack": _log_between(r, 1, 20), "release": _log_between(r, 20, 400)},
    ),
    lambda r: ("spectral_subtraction", {"snr": _between(r, 0, 30), "over": _between(r, 0.8, 3)}),
    lambda r: ("lowpass", {"hz": _log_between(r, 700, 9000)}),
    lambda r: ("highpass", {"hz": _log_between(r, 80, 3000)}),
    lambda r: ("bandpass", {"low": _log_between(r, 80, 900), "high": _log_between(r, 1500, 8000)}),
    lambda r: ("tilt", {"slope": _between(r, -8, 8)}),
    lambda r: (
        "resonance",
        {"hz": _log_between(r, 300, 3000), "gain": _between(r, 6, 30), "peaks": float(r.choice([1, 3]))},
    ),
    lambda r: ("reverb", {"t60": _log_between(r, 0.2, 2.0), "wet": _log_between(r, 0.03, 3)}),
    lambda r: ("dropouts", {"per_second": _log_between(r, 0.5, 8), "ms": _log_between(r, 10, 150)}),
]


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def _add(x: Array, disturbance: Array, snr: float) -> Array:
    return x + disturbance * (_rms(x) / max(_rms(disturbance), 1e-12) * 10 ** (-snr / 20))


@numba.njit(cache=True)
def _follow(envelope: Array, up: float, down: float) -> Array:  # pragma: no cover - compiled
    """Peak follower with attack and release poles."""
    level, out = 0.0, np.empty_like(envelope)
    for i in range(len(envelope)):
        pole = up if envelope[i] > level else down
        level = pole * level + (1.0 - pole) * envelope[i]
        out[i] = level
    return out
