"""Mutations of valid files: a typed error, or all of the audio, but never a part of it without a word."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from functools import cache

import pytest
import soundfile
from audio_files import Read, encode, read_audio
from haaqi_edge.runtime.errors import HaaqiEdgeError
from sounds import as_int16, music

RATE = 24_000
PAGES = {"page_duration": "100000"}
RUNS = 60
"""Mutations of each file."""


@cache
def seed_file(kind: str) -> bytes:
    """Return a valid file."""
    import io

    sound = music(1.2, RATE, start=3)
    if kind in ("wav", "rf64", "aiff", "w64", "ima", "float"):
        file = io.BytesIO()
        form = {"rf64": "RF64", "aiff": "AIFF", "w64": "W64"}.get(kind, "WAV")
        subtype = {"ima": "IMA_ADPCM", "float": "FLOAT"}.get(kind, "PCM_16")
        soundfile.write(file, sound if kind == "float" else as_int16(sound), RATE, format=form, subtype=subtype)
        return file.getvalue()
    codec, container, options = {
        "vorbis": ("libvorbis", "ogg", PAGES),
        "opus": ("libopus", "ogg", PAGES),
        "flac in ogg": ("flac", "ogg", PAGES),
        "flac": ("flac", "flac", {}),
        "mp3": ("libmp3lame", "mp3", {}),
        "bare mp3": ("libmp3lame", "mp3", {"write_xing": "0", "id3v2_version": "0"}),
        "mp2": ("mp2", "mp2", {}),
        "m4a": ("aac", "ipod", {}),
        "webm": ("libopus", "webm", {}),
        "wavpack": ("wavpack", "wv", {}),
        "adts": ("aac", "adts", {}),
    }[kind]
    return encode(sound, RATE, codec, container, bitrate=48_000, container_options=options)


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


@pytest.mark.parametrize(
    "kind",
    [
        "wav", "rf64", "aiff", "w64", "ima", "float", "vorbis", "opus", "flac in ogg", "flac", "mp3", "bare mp3", "mp2",
        "m4a", "webm", "wavpack", "adts",
    ],
)  # fmt: skip
def test_mutations(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = read_audio(seed_file(kind))
    seconds = len(whole.samples) / whole.rate
    generator = random.Random(kind)
    scored = 0
    for number in range(RUNS):
        data = bytearray(seed_file(kind))
        mutate = generator.choice(MUTATIONS)
        mutate(data, generator)
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            read = read_or_refuse(bytes(data))
        assert time.perf_counter() - started < 10
        if read is None or issued:
            continue
        label = f"{kind} {number} {mutate.__name__}"
        if read.rate != whole.rate:
            continue  # nothing contradicts it
        scored += 1
        assert len(read.samples) / read.rate > seconds - 0.1, label
    assert scored
    assert capfd.readouterr().err == ""
