"""Mutations of valid files: a typed error, or all of the audio, but never a part of it without a word."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import soundfile
from audio_files import Read, encode, read_audio
from haaqi_edge.runtime.errors import HaaqiEdgeError
from sounds import music

PAGES = {"page_duration": "100000"}
BARE = {"write_xing": "0", "id3v2_version": "0"}
SECONDS = 0.8
FAST_RUNS, SLOW_RUNS = 6, 100
"""Mutations of each file."""
SOUNDFILE = {
    "wav": ("WAV", "PCM_16"), "wav24": ("WAV", "PCM_24"), "wav32": ("WAV", "PCM_32"), "wav8": ("WAV", "PCM_U8"),
    "float": ("WAV", "FLOAT"), "double": ("WAV", "DOUBLE"), "ulaw": ("WAV", "ULAW"), "alaw": ("WAV", "ALAW"),
    "ima": ("WAV", "IMA_ADPCM"), "wavex": ("WAVEX", "PCM_16"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "flac24": ("FLAC", "PCM_24"),
}  # fmt: skip
"""soundfile's container and subtype."""
PYAV: dict[str, tuple[str, str, dict[str, str]]] = {
    "vorbis": ("libvorbis", "ogg", PAGES),
    "opus": ("libopus", "ogg", PAGES),
    "flac in ogg": ("flac", "ogg", PAGES),
    "flac": ("flac", "flac", {}),
    "mp3": ("libmp3lame", "mp3", {}),
    "bare mp3": ("libmp3lame", "mp3", BARE),
    "mp2": ("mp2", "mp2", {}),
    "m4a": ("aac", "ipod", {}),
    "alac": ("alac", "ipod", {}),
    "webm": ("libopus", "webm", {}),
    "wavpack": ("wavpack", "wv", {}),
    "adts": ("aac", "adts", {}),
}
"""PyAV's encoder, container, and options of the container."""
FORMS = {"mono": (24_000, 1), "stereo": (16_000, 2)}
"""Rate in Hz and number of channels."""
SEEDS = [f"{kind}, {form}" for kind in (*SOUNDFILE, *PYAV) for form in FORMS][:50]
"""The 50 valid files."""


@cache
def seed_file(seed: str) -> bytes:
    """Return a valid file."""
    import io

    kind, form = seed.split(", ")
    rate, channels = FORMS[form]
    sound = np.stack([music(SECONDS, rate, start=3.0 + 5 * channel) for channel in range(channels)], axis=1)
    if kind in SOUNDFILE:
        file = io.BytesIO()
        container, subtype = SOUNDFILE[kind]
        soundfile.write(file, sound, rate, format=container, subtype=subtype)
        return file.getvalue()
    codec, container, options = PYAV[kind]
    return encode(sound, rate, codec, container, bitrate=48_000, container_options=options)


def _overwrite(data: bytearray, random: random.Random) -> None:
    at, size = random.randrange(len(data)), random.choice([1, 4, 40, 500, 5000])
    size = min(size, len(data) - at)
    data[at : at + size] = bytes(size) if random.random() < 0.5 else random.randbytes(size)


def _flip(data: bytearray, random: random.Random) -> None:
    limit = len(data) if random.random() < 0.6 else min(len(data), 200)
    for _ in range(random.choice([1, 1, 2, 5])):
        data[random.randrange(limit)] ^= 1 << random.randrange(8)


def _cut(data: bytearray, random: random.Random) -> None:
    del data[random.randrange(len(data)) if random.random() < 0.5 else len(data) - random.randrange(1, 300) :]


def _delete(data: bytearray, random: random.Random) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.choice([1, 4, 40, 500, 5000])]


def _insert(data: bytearray, random: random.Random) -> None:
    at, size = random.randrange(len(data)), random.choice([1, 4, 40, 500, 5000])
    data[at:at] = random.randbytes(size) if random.random() < 0.5 else data[at : at + size]


def _set_size(data: bytearray, random: random.Random) -> None:
    at = random.randrange(min(len(data) - 4, 200))
    size = random.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, random.randrange(2**32)])
    data[at : at + 4] = size.to_bytes(4, random.choice(["little", "big"]))  # type: ignore[arg-type]


def _surround(data: bytearray, random: random.Random) -> None:
    garbage = random.choice([bytes, random.randbytes])(random.choice([1, 100, 3000, 30_000]))
    data[(0 if random.random() < 0.3 else len(data)) : 0] = garbage


def _swap(data: bytearray, random: random.Random) -> None:
    size = random.choice([100, 2000])
    first, second = (random.randrange(max(1, len(data) - size)) for _ in range(2))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    _flip, _flip, _overwrite, _cut, _delete, _insert, _set_size, _surround, _swap,
]  # fmt: skip


def read_or_refuse(data: bytes) -> Read | None:
    """Read a file, and return None if it is refused."""
    try:
        return read_audio(data)
    except HaaqiEdgeError:
        return None


def test_there_are_50_files() -> None:
    assert len(set(SEEDS)) == 50
    assert len(SEEDS) * FAST_RUNS >= 300
    assert len(SEEDS) * SLOW_RUNS >= 5_000


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("runs", [FAST_RUNS, pytest.param(SLOW_RUNS, marks=pytest.mark.slow)])
def test_mutations(runs: int, seed: str, capfd: pytest.CaptureFixture[str]) -> None:
    valid = seed_file(seed)
    whole = read_audio(valid)
    seconds = len(whole.samples) / whole.rate
    assert seconds == pytest.approx(SECONDS, abs=0.15)
    generator = random.Random(f"{seed} {runs}")
    for number in range(runs):
        data = bytearray(valid)
        mutate = generator.choice(MUTATIONS)
        mutate(data, generator)
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            read = read_or_refuse(bytes(data))
        assert time.perf_counter() - started < 10
        if read is None or issued or read.rate != whole.rate:  # nothing contradicts another rate
            continue
        assert len(read.samples) / read.rate > seconds - 0.1, f"{seed} {number} {mutate.__name__}"
    assert capfd.readouterr().err == ""
