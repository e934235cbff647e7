"""Cutting of clips from recorded tracks, by rules of quality.

A track is a file, or a file in memory, that soundfile can read. Only windows that may become clips are decoded, so that
an hour of music takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ...runtime.errors import CorpusError
from ..configuration import Min, NonNegativeFloat, PositiveInt

RATE: Final = 24_000
"""sample rate of all clips in Hz"""
PEAK: Final = 0.9
"""maximum peak of a clip; louder clips are scaled down"""
_MARGIN: Final = 0.1
"""seconds decoded on both sides of a clip, which contain the edge effects of the resampler"""
_FRAME: Final = 0.1
"""duration of the frames that are tested for silence, in seconds"""
_BAND: Final = 250.0
"""width of the bands for the search of low-pass edges, in Hz"""
_FLOOR: Final = 1e-20
"""power of silence, so that levels stay finite (-200 dB)"""


@dataclass(frozen=True)
class CutRules:
    """Requirements for a track and its windows to become clips.

    Attributes:
        rate: minimum sample rate in Hz.
        bit_rates: minimum kbit/s for mono and for stereo, by soundfile's subtype. Other subtypes are lossless.
        shortest: minimum duration of a track in seconds.
        length: duration of a clip in seconds.
        per_track: maximum number of clips per track.
        gap: minimum distance of two clips in seconds.
        level: minimum RMS of a clip in dBFS.
        silence: maximum share of frames of 100 ms below `silence_level`.
        silence_level: in dBFS.
        clipping: maximum share of samples (of any channel) at full scale.
        treble_from: frequency in Hz above which a clip must have energy.
        treble: minimum power above `treble_from`, in dB relative to the total power of the clip.
        edge: minimum frequency of a low-pass edge in Hz.
        edge_step: fall of the spectrum in dB within 500 Hz, without a rise above, that counts as a low-pass edge. Music
            in the public clips falls by at most 31 dB, the same music after a brick-wall filter at 6.5 kHz by 60 dB or
            more.
    """

    rate: PositiveInt = 22_050
    bit_rates: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {
            "VORBIS": (45.0, 80.0),
            "OPUS": (40.0, 64.0),
            "MPEG_LAYER_I": (64.0, 192.0),
            "MPEG_LAYER_II": (64.0, 160.0),
            "MPEG_LAYER_III": (64.0, 110.0),
        }
    )
    shortest: NonNegativeFloat = 20.0
    length: Annotated[float, Min(1)] = 12.0
    per_track: PositiveInt = 4
    gap: NonNegativeFloat = 3.0
    level: float = -45.0
    silence: NonNegativeFloat = 0.10
    silence_level: float = -60.0
    clipping: NonNegativeFloat = 0.001
    treble_from: NonNegativeFloat = 8_000.0
    treble: float = -78.0
    edge: NonNegativeFloat = 7_000.0
    edge_step: NonNegativeFloat = 40.0


@dataclass(frozen=True)
class Quality:
    """Measurements of a window, before resampling and scaling.

    Attributes:
        level: RMS, dBFS.
        silence: share of frames of 100 ms below the silence level.
        clipping: share of samples at full scale.
        treble: power above `CutRules.treble_from` relative to all, dB.
        edge: low-pass edge in Hz, or half of the rate if there is none.
    """

    level: float
    silence: float
    clipping: float
    treble: float
    edge: float


@dataclass(frozen=True)
class CutClip:
    """A clip: its start in the track in seconds, float32 [n] mono at `RATE`, and its quality."""

    start: float
    samples: npt.NDArray[np.float32]
    quality: Quality

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / RATE


def cut_clips(
    audio: Path | BinaryIO, rules: CutRules | None = None, *, name: str = "", refused: list[str] | None = None
) -> list[CutClip]:
    """Cut clips from a track, spread over its duration.

    The track is divided into `rules.per_track` equal parts, or fewer if it is short. In each part the middle is tried
    first, then positions before and after it. The same audio and rules give the same clips.

    Args:
        audio: path, or a file in memory opened for reading.
        rules: None uses the defaults.
        name: of the track in messages. By default the path.
        refused: receives a line for the track, or for each window, that did not meet the rules.

    Returns:
        Up to `rules.per_track` clips in order of time. The list is empty if the track does not meet the rules.

    Raises:
        CorpusError: the audio cannot be read.
    """
    rules = rules or CutRules()
    name = name or (str(audio) if isinstance(audio, Path) else "audio in memory")
    refused = refused if refused is not None else []
    clips: list[CutClip] = []
    try:
        with soundfile.SoundFile(audio) as file:
            reason = rejection_reason(file, _size(audio), rules)
            if reason:
                refused.append(reason)
                return []
            duration = file.frames / file.samplerate
            for places in _candidate_starts(duration, rules):
                for start in places:
                    window, inner = _window(file, start, rules.length)
                    if len(window) < inner.stop:  # damaged, or its header says more than there is
                        refused.append(f"{start:.1f} s: the file ends within the window")
                        continue
                    quality = measure_quality(window[inner], file.samplerate, rules)
                    reason = _first_violation(quality, rules)
                    if reason is None:
                        first = round(start * file.samplerate) / file.samplerate
                        clips.append(CutClip(first, _to_corpus_format(window, inner, file.samplerate), quality))
                        break
                    refused.append(f"{start:.1f} s: {reason}")
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(f"cannot read {name}: {error}; expected audio that libsndfile reads") from error
    return clips


def rejection_reason(file: soundfile.SoundFile, size: int, rules: CutRules) -> str | None:
    """Return why a whole track does not meet the rules, or None if it does.

    Args:
        file: the open track.
        size: of its file in bytes.
        rules: those for rate, bit rate and duration are tested.
    """
    if file.samplerate < rules.rate:
        return f"rate {file.samplerate} Hz, at least {rules.rate} is required"
    seconds = file.frames / file.samplerate
    if seconds < max(rules.shortest, rules.length):
        return f"{seconds:.1f} s long, at least {max(rules.shortest, rules.length):g} s are required"
    lowest = rules.bit_rates.get(file.subtype)
    if lowest is not None:
        rate, least = size * 8 / seconds / 1000, lowest[min(file.channels, 2) - 1]
        if rate < least:
            kind = "mono" if file.channels == 1 else "stereo"
            return f"{rate:.0f} kbit/s, at least {least:g} are required of {kind} {file.subtype}"
    return None


def measure_quality(window: npt.NDArray[np.float32], rate: int, rules: CutRules) -> Quality:
    """Measure the quality of a window.

    Args:
        window: samples [n, channels], full scale is 1.
        rate: in Hz.
        rules: provide levels and frequencies.
    """
    clipping = float(np.mean(np.abs(window) >= 1 - 2**-14))
    mono = window.mean(axis=1, dtype=np.float64)
    frame = round(_FRAME * rate)
    whole = mono[: len(mono) // frame * frame].reshape(-1, frame)
    frames = 10 * np.log10(np.mean(np.square(whole), axis=1) + _FLOOR)
    level = float(10 * np.log10(np.mean(np.square(mono)) + _FLOOR))
    bands, treble = _spectrum(mono, rate, rules.treble_from)
    edge = _edge(bands[: int(rate / 2 / _BAND)], rules.edge_step)
    silence = float(np.mean(frames < rules.silence_level))
    return Quality(level, silence, clipping, treble, rate / 2 if edge is None else edge)


def _spectrum(mono: npt.NDArray[np.float64], rate: int, treble_from: float) -> tuple[npt.NDArray[np.float64], float]:
    """Return the power in bands of 250 Hz, and above a frequency, both in dB relative to the total power."""
    size = 2048
    frames = mono[: len(mono) // size * size].reshape(-1, size) * np.blackman(size)
    power = np.asarray(np.mean(np.square(np.abs(np.fft.rfft(frames.astype(np.float32)))), axis=0, dtype=np.float64))
    hz = np.arange(len(power)) * rate / size
    total = power.sum() + _FLOOR
    bands = np.asarray(np.bincount((hz / _BAND).astype(np.int64), weights=power), dtype=np.float64)
    above = power[hz >= treble_from].sum()
    return 10 * np.log10(bands / total + _FLOOR), float(10 * np.log10(above / total + _FLOOR))


def _edge(bands: npt.NDArray[np.float64], step: float) -> float | None:
    """Return the lowest frequency in Hz, from 2 kHz on, where band levels [n] in dB fall for good, or None."""
    highest = np.maximum.accumulate(bands[::-1])[::-1]
    for band in range(round(2_000 / _BAND), len(bands) - 3):
        if bands[band - 2 : band].mean() - highest[band + 2] > step:
            return band * _BAND
    return None


def _first_violation(quality: Quality, rules: CutRules) -> str | None:
    """Return the first rule that a window does not meet, or None."""
    if not quality.level > rules.level:  # NaN, too
        return f"level {quality.level:.1f} dBFS, above {rules.level:g} is required"
    if quality.silence > rules.silence:
        return f"{quality.silence:.0%} silence, at most {rules.silence:.0%} is allowed"
    if quality.clipping > rules.clipping:
        return f"{quality.clipping:.2%} of samples at full scale, at most {rules.clipping:.2%} is allowed"
    if quality.edge < rules.edge:
        return f"a low-pass edge at {quality.edge:.0f} Hz, at least {rules.edge:g} is required"
    if not quality.treble >= rules.treble:
        return f"{quality.treble:.0f} dB above {rules.treble_from:g} Hz, at least {rules.treble:g} is required"
    return None


def _candidate_starts(duration: float, rules: CutRules) -> Iterator[list[float]]:
    """Yield, for each part of a track, starts in seconds in the order in which to try them."""
    room = duration - 2 * _MARGIN
    parts = max(min(rules.per_track, int((room + rules.gap) / (rules.length + rules.gap))), 1)
    part = (room + rules.gap) / parts
    slack = part - rules.gap - rules.length
    for index in range(parts):
        first = _MARGIN + index * part
        shares = (0.5, 0.15, 0.85, 0.0, 1.0) if slack > rules.length / 2 else (0.5,)
        yield [max(first + share * slack, 0.0) for share in shares]


def _window(file: soundfile.SoundFile, start: float, length: float) -> tuple[npt.NDArray[np.float32], slice]:
    """Return samples [n, channels] of a window with margins, and the position of the window in them."""
    rate = file.samplerate
    first, margin = round(start * rate), round(_MARGIN * rate)
    before = min(margin, first)
    file.seek(first - before)
    window = file.read(before + round(length * rate) + margin, dtype="float32", always_2d=True)
    return window, slice(before, before + round(length * rate))


def _to_corpus_format(window: npt.NDArray[np.float32], inner: slice, rate: int) -> npt.NDArray[np.float32]:
    """Convert a window [n, channels] to float32 [m], mono at `RATE`, with a peak of at most `PEAK`."""
    mono = window.mean(axis=1, dtype=np.float64)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="VHQ")
    first = round(inner.start * RATE / rate)
    samples = mono[first : first + round((inner.stop - inner.start) * RATE / rate)]
    peak = float(np.abs(samples).max())
    return np.asarray(samples * min(1.0, PEAK / peak if peak else 1.0), dtype=np.float32)


def _size(audio: Path | BinaryIO) -> int:
    """Return the size of a file in bytes."""
    if isinstance(audio, Path):
        return audio.stat().st_size
    place = audio.tell()
    size = audio.seek(0, 2)
    audio.seek(place)
    return size
