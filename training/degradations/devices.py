"""Degradations of hearing aids and phones besides compression.

They are feedback cancellation, directional microphones, noise reduction, gain control and frequency lowering.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from .chains import Array, degradation
from .distributions import Ranges, log_uniform, uniform
from .signals import filter_zero_phase, mix, peak_envelope, pole

RANGES: Final[Ranges] = {
    "feedback_tremolo": {
        "hz": log_uniform(300, 3_000),
        "shift": log_uniform(2, 20),
        "wet": uniform(0.1, 1),
        "step": log_uniform(1e-4, 0.1),
    },
    "directional_mic": {"hz": log_uniform(150, 2_500), "mm": log_uniform(5, 40), "snr": uniform(5, 50)},
    "noise_reduction": {"db": uniform(2, 30), "over": log_uniform(0.3, 4)},
    "agc": {"ratio": log_uniform(1.5, 30), "attack": log_uniform(5, 500), "release": log_uniform(30, 3_000)},
    "frequency_lowering": {"hz": log_uniform(1_000, 8_000), "ratio": log_uniform(1.1, 4)},
}

LOOP_DELAY: Final = 0.005
"""delay of a hearing aid's processing in seconds"""
CANCELLER: Final = 0.003
"""length of a feedback canceller's filter in seconds"""


@degradation(hz=(100, 8_000), shift=(0, 100), wet=(0, 1), step=(0, 1))
def feedback_tremolo(
    x: Array, rate: int, rng: np.random.Generator, *, hz: float, shift: float, wet: float, step: float
) -> Array:
    """Simulate the artefacts of a feedback canceller for tonal music without feedback (entrainment).

    Above a crossover, an adaptive filter (NLMS) predicts the music from the aid's output 5 ms earlier and subtracts the
    prediction as feedback, so that tones fade and warble. The output is shifted in frequency and beats with the direct
    sound from the vent.

    Args:
        hz: the crossover, with 24 dB per octave.
        shift: upward frequency shift in Hz.
        wet: share of the aid's output above the crossover, relative to the direct sound.
        step: of NLMS. 0 is no canceller; with larger steps it adapts faster and removes more.
    """
    high = filter_zero_phase(x, rate, lambda f: 1 / (1 + (hz / np.maximum(f, 1e-3)) ** 4))
    phase = rng.random()
    left = high
    if step > 0:
        delayed = np.roll(_shift_frequency(high, rate, shift, phase), round(rate * LOOP_DELAY))
        delayed[: round(rate * LOOP_DELAY)] = 0.0
        left = _cancel_feedback(high, delayed, round(rate * CANCELLER), step, 1e-3 * float(np.mean(high**2)))
    return x - high + (1 - wet) * high + wet * _shift_frequency(left, rate, shift, phase)


def _shift_frequency(x: Array, rate: int, hz: float, phase: float) -> Array:
    """Increase all frequencies of `x` [n] by `hz`: the upper sideband, by the analytic signal."""
    length = fft.next_fast_len(len(x) + rate // 50)
    spectrum = fft.fft(x, length)
    spectrum[length // 2 + 1 :] = 0.0
    spectrum[1 : (length + 1) // 2] *= 2.0
    analytic = fft.ifft(spectrum)[: len(x)]
    return np.asarray((analytic * np.exp(2j * np.pi * (np.arange(len(x)) * (hz / rate) + phase))).real)


@numba.njit(cache=True, fastmath=True)
def _cancel_feedback(
    x: Array, reference: Array, taps: int, step: float, floor: float
) -> Array:  # pragma: no cover - compiled
    """Subtract from `x` [n] its NLMS prediction from a reference [n]."""
    padded = np.zeros(len(x) + taps)
    padded[taps:] = reference
    weights, y, energy = np.zeros(taps), np.empty_like(x), 0.0
    for n in range(len(x)):
        past = padded[n + 1 : n + 1 + taps]
        energy = np.dot(past, past) if n % 4096 == 0 else energy + past[-1] ** 2 - padded[n] ** 2
        error = x[n] - np.dot(weights, past)
        weights += (step * error / (max(energy, 0.0) + taps * floor)) * past
        y[n] = error
    return y


@degradation(hz=(20, 6_000), mm=(2, 200), snr=(-20, 80))
def directional_mic(x: Array, rate: int, rng: np.random.Generator, *, hz: float, mm: float, snr: float) -> Array:
    """Simulate a directional microphone with two ports towards the music: less bass, a comb, and microphone noise.

    Args:
        hz: frequency below which the bass falls by 6 dB per octave. Above it, the aid compensates for the fall.
        mm: distance of the ports. The comb of a cardioid has its first zero at the speed of sound over twice that.
        snr: of the music after the microphone to its noise, in dB. The aid amplifies the noise in the bass above `hz`.
    """
    delay = 2 * mm * 1e-3 / 343.0

    def made_up(f: Array) -> Array:  # for the 6 dB per octave of a difference, down to `hz`
        return np.asarray(1 / (2 * np.pi * delay * np.sqrt(f**2 + hz**2)))

    y = filter_zero_phase(x, rate, lambda f: 2 * np.abs(np.sin(np.pi * f * delay)) * made_up(f))
    return mix(y, filter_zero_phase(rng.standard_normal(len(x)), rate, made_up), snr)


# Segments of 512 samples at 24 kHz, three quarters overlapping


def _segments(x: Array, rate: int) -> tuple[npt.NDArray[np.complex128], Array, int]:
    """Return spectra [segments, bins] of `x` [n] with the root of a Hann window, the window, and the hop in samples."""
    size = 2 ** round(np.log2(rate * 512 / 24_000))
    window = np.sqrt(np.hanning(size + 1)[:-1])
    padded = np.pad(x, (size, 2 * size))
    return fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4] * window), window, size // 4


def _overlap_add(spectra: npt.NDArray[np.complex128], window: Array, hop: int, samples: int) -> Array:
    """Invert `_segments`: [samples]."""
    parts = (fft.irfft(spectra, len(window)) * window / 2).reshape(len(spectra), 4, hop)
    y = np.zeros((len(spectra) + 3, hop))
    for quarter in range(4):
        y[quarter : quarter + len(spectra)] += parts[:, quarter]
    return y.ravel()[len(window) :][:samples]


@degradation(db=(0, 60), over=(0, 10))
def noise_reduction(x: Array, rate: int, rng: np.random.Generator, *, db: float, over: float) -> Array:  # noqa: ARG001
    """Apply single-microphone noise reduction, which reduces sustained tones as noise and adds musical noise.

    The noise estimate follows the minima of the smoothed power. The gain is that of a Wiener filter with a
    decision-directed estimate of the signal-to-noise ratio (Ephraim & Malah 1984).

    Args:
        db: maximum reduction of noise.
        over: factor of the estimated noise power.
    """
    spectra, window, hop = _segments(x, rate)
    power = np.square(spectra.real) + np.square(spectra.imag)
    spectra *= _wiener(power, hop / rate, 10 ** (-db / 20), over, 1e-9 * float(power.mean()) + 1e-300)
    return _overlap_add(spectra, window, hop, len(x))


@numba.njit(cache=True)
def _wiener(power: Array, hop: float, floor: float, over: float, least: float) -> Array:  # pragma: no cover - compiled
    """Return gains [segments, bins] of power [segments, bins], given the hop in s, the lowest gain, and the lowest
    noise power.
    """
    smoothing, rise = np.exp(-hop / 0.05), 10 ** (hop * 0.5)  # the noise's estimate rises by 5 dB per second
    gains = np.empty_like(power)
    for bin in range(power.shape[1]):
        smooth = power[:8, bin].mean() + least
        noise, before = smooth, 1.0
        for segment in range(power.shape[0]):
            smooth = smoothing * smooth + (1 - smoothing) * power[segment, bin]
            # Minima lie below the mean by some 2 dB.
            noise = max(min(noise * rise, smooth), least)
            ratio = power[segment, bin] / max(1.5 * over * noise, least)
            prior = 0.96 * before + 0.04 * max(ratio - 1.0, 0.0)
            gain = max(prior / (1.0 + prior), floor)
            before = gain * gain * ratio
            gains[segment, bin] = gain
    return gains


@degradation(ratio=(1, 100), attack=(1, 5_000), release=(1, 20_000))
def agc(x: Array, rate: int, rng: np.random.Generator, *, ratio: float, attack: float, release: float) -> Array:  # noqa: ARG001
    """Apply slow automatic gain control to the whole band: it raises soft and lowers loud passages, with overshoot.

    The level is followed with `attack` and `release` in ms, without look-ahead. The gain is limited to -30 to 30 dB.
    """
    level = peak_envelope(x, pole(attack, rate), pole(release, rate))
    relative = np.clip(level / max(float(level.mean()), 1e-300), 10**-1.5, 10**1.5)
    return np.asarray(x * relative ** (1 / ratio - 1))


@degradation(hz=(500, 12_000), ratio=(1, 10))
def frequency_lowering(x: Array, rate: int, rng: np.random.Generator, *, hz: float, ratio: float) -> Array:  # noqa: ARG001
    """Apply nonlinear frequency compression: above `hz`, distances in octaves are divided by `ratio`.

    A phase vocoder moves each peak of the spectrum with the bins around it (Laroche & Dolson 1999).
    """
    spectra, window, hop = _segments(x, rate)
    return _overlap_add(
        _lower_frequencies(spectra, hop, len(window), hz * len(window) / rate, ratio), window, hop, len(x)
    )


@numba.njit(cache=True)
def _lower_frequencies(
    spectra: npt.NDArray[np.complex128], hop: int, length: int, cut: float, ratio: float
) -> npt.NDArray[np.complex128]:  # pragma: no cover - compiled
    """Lower the peaks of spectra [segments, bins] above the cut, given in bins."""
    segments, bins = spectra.shape
    y = np.zeros_like(spectra)
    first = min(int(np.ceil(cut)), bins)
    turn = 2 * np.pi * hop / length
    rotation, rotated = np.zeros(bins), np.zeros(bins)
    for segment in range(segments):
        now, before = spectra[segment], spectra[max(segment - 1, 0)]
        y[segment, :first] += now[:first]
        power = now.real**2 + now.imag**2
        start = first
        while start < bins:
            # A region ends at the minimum after its peak.
            peak = start
            while peak + 1 < bins and power[peak + 1] >= power[peak]:
                peak += 1
            end = peak + 1
            while end < bins and power[end] < power[end - 1]:
                end += 1
            # The peak's frequency in bins, by how far its phase has turned since the segment before.
            turned = np.angle(now[peak] * np.conj(before[peak])) - turn * peak
            place = max(peak + (turned - 2 * np.pi * np.round(turned / (2 * np.pi))) / turn, cut)
            target = cut * (place / cut) ** (1 / ratio)
            moved = round(target - place)
            # All bins around it turn as the peak must; a move by an odd number of bins changes signs, as the phases
            # refer to the segments' start and not their centres.
            angle = rotation[peak] + turn * (target - place)
            factor = np.exp(1j * angle) * (1 - 2 * (moved % 2))
            for bin in range(start, end):
                rotated[bin] = angle
                if bin + moved >= 0:
                    y[segment, bin + moved] += now[bin] * factor
            start = end
        rotation[:] = rotated
    return y
