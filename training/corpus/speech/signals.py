"""Measurement and modification of voices: active level, pauses, fundamental frequency, pitch, vocal tract, tempo."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import fft, signal

from ...degradations.chains import Array

RATE: Final = 16_000
"""sample rate of all voices in Hz"""
_STEP: Final = RATE // 100
"""samples per frame, 10 ms"""
_WINDOW: Final = 1024
_HOP: Final = 256
_LIFTER: Final = 28
"""cepstral coefficients of a spectral envelope: 1.75 ms, less than a pitch period of 570 Hz"""


def frame_levels(x: Array) -> Array:
    """Return the levels of frames of 10 ms [frames], in dB re full scale."""
    frames = x[: len(x) // _STEP * _STEP].reshape(-1, _STEP)
    return np.asarray(10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-12))


def active_level(x: Array) -> float:
    """Return the level of speech without its pauses, in dB re full scale, or -120 for silence.

    As in ITU-T P.56, active frames are less than 15.9 dB below the active level. The level is found by iteration over
    frames of 10 ms instead of from an envelope.
    """
    powers = 10 ** (frame_levels(x) / 10)
    if not len(powers) or powers.max() <= 1e-11:
        return -120.0
    level = float(powers.mean())
    for _ in range(50):
        after = float(powers[powers > level * 10**-1.59].mean())
        if abs(after / level - 1) < 1e-4:
            break
        level = after
    return float(10 * np.log10(level))


def pause_depth(x: Array) -> float:
    """Return how far the softest 5% of the frames are below the active level, in dB. Digital silence gives more than
    60.
    """
    levels = frame_levels(x)
    return active_level(x) - float(np.percentile(levels, 5)) if len(levels) else 0.0


def shorten_pauses(x: Array, longest: float, level: float, floor: float) -> Array:
    """Shorten all pauses, including those at both ends.

    Args:
        x: samples [n].
        longest: maximum duration of a pause after shortening, in seconds.
        level, floor: of the speaker's recordings, in dB re full scale. A pause is more than 30 dB below the active
            level, or less than 6 dB above the floor and more than 12 dB below the active level.

    Returns:
        float64 [samples], empty if there is no speech.
    """
    threshold = min(max(level - 30, floor + 6), level - 12)
    active = frame_levels(x) > threshold
    if not np.any(active):
        return np.empty(0)
    keep = round(longest * 100 / 2)  # frames on either side of a pause
    near = np.convolve(active, np.ones(2 * keep + 1), "same") > 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[0], near.astype(np.int8), [0]])))
    parts = [x[begin * _STEP : end * _STEP].copy() for begin, end in edges.reshape(-1, 2)]
    fade = np.linspace(0, 1, _STEP // 2)
    for part in parts:
        part[: len(fade)] *= fade
        part[-len(fade) :] *= fade[::-1]
    return np.concatenate(parts)


def fundamental_frequency(x: Array, seconds: float = 60.0) -> float:
    """Return the median fundamental frequency of a voice in Hz by YIN, or 0 if none is found.

    Source: de Cheveigne & Kawahara 2002.

    Args:
        x: samples [n] at 16 kHz.
        seconds: duration of the middle part that is analysed.
    """
    spare = max(len(x) - round(seconds * RATE), 0) // 2
    x = x[spare : len(x) - spare]
    length, shortest, longest = 1024, RATE // 500, RATE // 60
    if len(x) < 2 * length:
        return 0.0
    x = np.asarray(signal.sosfilt(signal.butter(2, (60, 1200), "band", fs=RATE, output="sos"), x))
    frames = np.lib.stride_tricks.sliding_window_view(x, length + longest)[::_HOP]
    powers = np.mean(np.square(frames), axis=1)
    frames = frames[powers > 0.3 * powers.mean()]
    size = fft.next_fast_len(length + 2 * longest, real=True)
    lags = np.arange(longest + 1)
    found = []
    for begin in range(0, len(frames), 256):  # bounds the memory
        some = frames[begin : begin + 256]
        cross = fft.irfft(fft.rfft(some, size) * np.conj(fft.rfft(some[:, :length], size)), size)[:, : longest + 1]
        sums = np.cumsum(np.pad(np.square(some), ((0, 0), (1, 0))), axis=1)
        energy = sums[:, length : length + longest + 1] - sums[:, : longest + 1]
        difference = np.maximum(energy[:, :1] + energy - 2 * cross, 0)
        normalized = difference[:, 1:] * lags[1:] / np.maximum(np.cumsum(difference[:, 1:], axis=1), 1e-12)
        for frame in normalized:
            below = np.flatnonzero(frame[shortest:] < 0.15)
            if len(below):
                lag = shortest + int(below[0])
                while lag + 1 < len(frame) and frame[lag + 1] < frame[lag]:
                    lag += 1
                found.append(RATE / (lag + 1))
    return float(np.median(found)) if len(found) >= 10 else 0.0


def change_tempo(x: Array, factor: float) -> Array:
    """Change the tempo without the pitch by a phase vocoder: samples [n] become [about n * factor]."""
    if len(x) < _WINDOW:
        return x
    window = np.hanning(_WINDOW + 1)[:-1]
    padded = np.pad(x, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectrum = fft.rfft(frames * window)
    places = np.arange(0, len(frames) - 1, 1 / factor)
    below = places.astype(np.int64)
    share = (places - below)[:, None]
    magnitudes = np.abs(spectrum)
    angles = np.angle(spectrum)
    expected = 2 * np.pi * _HOP * np.arange(_WINDOW // 2 + 1) / _WINDOW
    turn = angles[below + 1] - angles[below] - expected
    turn += expected - 2 * np.pi * np.round(turn / (2 * np.pi))
    phases = angles[:1] + np.concatenate([np.zeros((1, len(expected))), np.cumsum(turn[:-1], axis=0)])
    interpolated = magnitudes[below] * (1 - share) + magnitudes[below + 1] * share
    return _overlap_add(fft.irfft(interpolated * np.exp(1j * phases)), window, round(len(x) * factor))


def _overlap_add(parts: Array, window: Array, length: int) -> Array:
    """Overlap and add frames [frames, window], with a window that was also applied before."""
    out = np.zeros((len(parts) - 1) * _HOP + _WINDOW)
    norm = np.zeros_like(out)
    for number, part in enumerate(parts * window):
        at = slice(number * _HOP, number * _HOP + _WINDOW)
        out[at] += part
        norm[at] += window**2
    out /= np.maximum(norm, 0.1)
    out = out[_WINDOW // 2 : _WINDOW // 2 + length]
    return np.pad(out, (0, length - len(out)))


def change_voice(x: Array, pitch: float, tract: float, tempo: float) -> Array:
    """Change a voice to that of another talker.

    Args:
        x: samples [n] of a voice at 16 kHz.
        pitch: ratio of fundamental frequencies.
        tract: ratio of formant frequencies, above 1 for a shorter vocal tract.
        tempo: ratio of speeds.

    Returns:
        float64 [about n / tempo]. Resampling changes pitch and formants. Then the spectral envelope (from the cepstrum)
        is moved to the wanted formants, and a phase vocoder restores the tempo.
    """
    length = round(len(x) / tempo)
    # Resampling to n / pitch samples multiplies all frequencies by pitch.
    moved = np.asarray(signal.resample_poly(x, *_ratio(1 / pitch)))
    moved = _move_formants(change_tempo(moved, length / len(moved)), tract / pitch)
    if pitch < 0.9:  # what was resampled ends below 8 kHz; above it, where speech is noise, the pitch does not matter
        edge = 0.45 * RATE * pitch
        sos = signal.butter(6, edge, "high", fs=RATE, output="sos")
        above = np.asarray(signal.sosfilt(sos, change_tempo(x, 1 / tempo)))
        moved = moved[: len(above)] + above[: len(moved)]
    return moved


def _ratio(factor: float) -> tuple[int, int]:
    return round(factor * 100), 100


def _move_formants(x: Array, ratio: float) -> Array:
    """Multiply the formant frequencies of samples [n] by a ratio, without changing the pitch."""
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1])
    padded = np.pad(x, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectrum = fft.rfft(frames * window)
    log = np.log(np.abs(spectrum) + 1e-5)
    cepstrum = fft.irfft(log)
    cepstrum[:, _LIFTER + 1 : -_LIFTER] = 0
    envelope = fft.rfft(cepstrum).real
    bins = np.minimum(np.arange(_WINDOW // 2 + 1) / ratio, _WINDOW // 2)
    low = np.minimum(bins.astype(np.int64), _WINDOW // 2 - 1)
    target = envelope[:, low] * (1 - bins + low) + envelope[:, low + 1] * (bins - low)
    gain = np.exp(np.clip(target - envelope, -3, 3))
    return _overlap_add(fft.irfft(spectrum * gain), window, len(x))
