"""Sounds for the tests: a clip of music, synthetic ones, and files of every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

DEMO: Final = Path(__file__).resolve().parents[1] / "demo" / "clean.flac"
RATE: Final = 16_000
PATCH: Final = 2_560
"""samples from one patch to the next"""
READ: Final = 2_800
"""samples that one patch reads"""

Sound = npt.NDArray[np.float32]


class Format(NamedTuple):
    """A kind of file: its suffix, soundfile's names of it, and whether decoding gives the samples back."""

    suffix: str
    container: str
    subtype: str
    lossless: bool


FORMATS: Final = {
    "wav": Format(".wav", "WAV", "PCM_16", True),
    "wav24": Format(".wav", "WAV", "PCM_24", True),
    "wavfloat": Format(".wav", "WAV", "FLOAT", True),
    "wavex": Format(".wav", "WAVEX", "PCM_16", True),
    "rf64": Format(".wav", "RF64", "PCM_16", True),
    "flac": Format(".flac", "FLAC", "PCM_16", True),
    "aiff": Format(".aiff", "AIFF", "PCM_16", True),
    "ogg": Format(".ogg", "OGG", "VORBIS", False),
    "opus": Format(".opus", "OGG", "OPUS", False),
    "mp3": Format(".mp3", "MP3", "MPEG_LAYER_III", False),
}


def music(seconds: float = 20.0, rate: int = RATE, start: float = 0.0, clip: str = "clean") -> Sound:
    """The demo clip, clean or degraded, up to 20 s, at any rate: float32 [n]."""
    samples, own = soundfile.read(DEMO.with_stem(clip), dtype="float32")
    samples = samples if own == rate else soxr.resample(samples, own, rate)
    return np.ascontiguousarray(samples[int(start * rate) : int((start + seconds) * rate)], dtype=np.float32)


def noise(samples: int, seed: int = 0, channels: int | None = None) -> Sound:
    """White noise of RMS 0.1: float32 [n], or [n, channels]."""
    shape = (samples,) if channels is None else (samples, channels)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def as_int16(sound: Sound) -> npt.NDArray[np.int16]:
    """Rounded to 16 bits."""
    return np.round(sound.astype(np.float64) * 32767).clip(-32768, 32767).astype(np.int16)


def write(path: Path, sound: npt.NDArray[Any], rate: int, kind: str) -> Path:
    """Write a sound as a key of `FORMATS`; gives the path, its suffix set."""
    form = FORMATS[kind]
    path = path.with_suffix(form.suffix)
    soundfile.write(path, sound, rate, format=form.container, subtype=form.subtype)
    return path


def samples_for(patches: int) -> int:
    """The fewest samples at 16 kHz that hold so many patches."""
    return (patches - 1) * PATCH + READ
