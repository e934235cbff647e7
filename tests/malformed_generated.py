"""Malformed inputs that follow from rules: cut files, headers with wrong fields, values out of range.

They extend the table in `malformed.py`.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from audio_files import chunk, encode, id3v2, riff
from haaqi_edge.runtime.audio.containers.signatures import _FOREIGN
from haaqi_edge.runtime.errors import (
    AudioError,
    AudioFileError,
    AudioFileNotFoundError,
    AudiogramError,
    HaaqiEdgeError,
    OptionError,
)
from malformed import Row
from sounds import as_int16, music

RATE: Final = 16_000
SECONDS: Final = 1.5

Build = Callable[[], bytes]


def _sound() -> Any:
    return music(SECONDS, RATE, start=3.0)


def _soundfile(form: str, subtype: str) -> Build:
    def build() -> bytes:
        file = io.BytesIO()
        soundfile.write(file, _sound(), RATE, format=form, subtype=subtype)
        return file.getvalue()

    return build


def _encoded(codec: str, container: str, rate: int = RATE, **options: Any) -> Build:
    def build() -> bytes:
        return encode(music(SECONDS, rate, start=3.0), rate, codec, container, bitrate=64_000, **options)

    return build


_PAGES: Final = {"page_duration": "100000"}
WHOLE: Final[dict[str, Build]] = {
    "wav": _soundfile("WAV", "PCM_16"),
    "wav24": _soundfile("WAV", "PCM_24"),
    "wavfloat": _soundfile("WAV", "FLOAT"),
    "ulaw": _soundfile("WAV", "ULAW"),
    "ima": _soundfile("WAV", "IMA_ADPCM"),
    "rf64": _soundfile("RF64", "PCM_16"),
    "w64": _soundfile("W64", "PCM_16"),
    "aiff": _soundfile("AIFF", "PCM_16"),
    "au": _soundfile("AU", "PCM_16"),
    "caf": _soundfile("CAF", "PCM_16"),
    "nist": _soundfile("NIST", "PCM_16"),
    "flac": _soundfile("FLAC", "PCM_16"),
    "vorbis": _encoded("libvorbis", "ogg", container_options=_PAGES),
    "opus": _encoded("libopus", "ogg", container_options=_PAGES),
    "oggflac": _encoded("flac", "ogg", container_options=_PAGES),
    "mp3": _encoded("libmp3lame", "mp3"),
    "m4a": _encoded("aac", "ipod"),
    "alac": _encoded("alac", "ipod"),
    "wv": _encoded("wavpack", "wv"),
    "wma": _encoded("wmav2", "asf"),
}
"""Whole files, of formats that tell how long they are."""
CUTS: Final = (0.35, 0.6, 0.85)


def _pcm() -> bytes:
    return as_int16(_sound()).astype("<i2").tobytes()


def _fmt(
    tag: int = 1, channels: int = 1, rate: int = RATE, align: int = 2, bits: int = 16, extra: bytes = b""
) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits) + extra)


def _wav(head: bytes) -> bytes:
    return riff(head, chunk(b"data", _pcm()))


HEADERS: Final[dict[str, Build]] = {
    "no channels": lambda: _wav(_fmt(channels=0)),
    "no rate": lambda: _wav(_fmt(rate=0)),
    "a rate of 4 kHz": lambda: _wav(_fmt(rate=4_000)),
    "a rate of 7999 Hz": lambda: _wav(_fmt(rate=7_999)),
    "a rate of 1 MHz": lambda: _wav(_fmt(rate=1_000_000)),
    "a rate of 4 GHz": lambda: _wav(_fmt(rate=0xFFFFFFFF)),
    "alignment 0": lambda: _wav(_fmt(align=0)),
    "alignment 3 of 2 channels": lambda: _wav(_fmt(channels=2, align=3)),
    "alignment 65535": lambda: _wav(_fmt(align=65_535)),
    "no bits": lambda: _wav(_fmt(bits=0)),
    "65 bits": lambda: _wav(_fmt(bits=65, align=9)),
    "12 bits of float": lambda: _wav(_fmt(tag=3, bits=12)),
    "an unknown codec": lambda: _wav(_fmt(tag=0x7777)),
    "codec 0": lambda: _wav(_fmt(tag=0)),
    "extensible without its extension": lambda: _wav(_fmt(tag=0xFFFE)),
    "extensible of another kind": lambda: _wav(
        _fmt(tag=0xFFFE, extra=struct.pack("<HHI", 22, 16, 4) + bytes(range(16)))
    ),
    "ADPCM without blocks": lambda: _wav(_fmt(tag=0x11, bits=4, align=0, extra=struct.pack("<HH", 2, 0))),
    "ADPCM of another size": lambda: _wav(_fmt(tag=0x11, bits=4, align=256, extra=struct.pack("<HH", 2, 7))),
    "a fmt of 8 bytes": lambda: _wav(chunk(b"fmt ", bytes(8))),
    "an empty fmt": lambda: _wav(chunk(b"fmt ", b"")),
    "no fmt": lambda: riff(chunk(b"data", _pcm())),
    "no data": lambda: riff(_fmt()),
    "no chunks": lambda: riff(),
    "RIFF of another kind": lambda: b"RIFF" + struct.pack("<I", 100) + b"WEBP" + bytes(96),
    "RIFF alone": lambda: b"RIFF",
    "12 bytes": lambda: b"RIFF\xff\xff\xff\xffWAVE",
    "100 channels of silence": lambda: riff(
        _fmt(channels=100, align=200), chunk(b"data", _pcm()[: len(_pcm()) // 200 * 200])
    ),
    "aiff without COMM": lambda: (
        b"FORM" + struct.pack(">I", 4 + 8 + 1000) + b"AIFFSSND" + struct.pack(">I", 1000) + bytes(1000)
    ),
    "aiff without SSND": lambda: b"FORM" + struct.pack(">I", 30) + b"AIFFCOMM" + struct.pack(">I", 18) + bytes(18),
    "au with a header of 4 GB": lambda: b".snd" + struct.pack(">5I", 0xFFFFFFF0, 1000, 3, RATE, 1) + bytes(1000),
    "au of an unknown encoding": lambda: b".snd" + struct.pack(">5I", 24, 1000, 99, RATE, 1) + bytes(1000),
    "flac of 4 bytes": lambda: b"fLaC",
    "flac without frames": lambda: WHOLE["flac"]()[:86],
    "flac of noise": lambda: b"fLaC" + np.random.default_rng(0).bytes(5_000),
    "ogg of 4 bytes": lambda: b"OggS",
    "ogg of noise": lambda: b"OggS" + np.random.default_rng(1).bytes(5_000),
    "ogg of one page": lambda: WHOLE["vorbis"]()[:58],
    "ogg without its first page": lambda: WHOLE["vorbis"]()[58:],
    "mp3 of a tag alone": lambda: id3v2(bytes(3_000)),
    "mp3 of a tag that is cut": lambda: id3v2(bytes(3_000))[:2_000],
    "mp3 of one frame": lambda: WHOLE["mp3"]()[:200],
    "mp4 of a box": lambda: struct.pack(">I", 24) + b"ftypM4A " + bytes(12),
    "mp4 without moov": lambda: (
        struct.pack(">I", 24) + b"ftypM4A " + bytes(12) + struct.pack(">I", 1008) + b"mdat" + bytes(1000)
    ),
    "matroska of noise": lambda: b"\x1aE\xdf\xa3" + np.random.default_rng(2).bytes(5_000),
    "asf of noise": lambda: bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + np.random.default_rng(3).bytes(5_000),
    "wavpack of noise": lambda: b"wvpk" + np.random.default_rng(4).bytes(5_000),
    "caf of 8 bytes": lambda: b"caff\0\x01\0\0",
    "nist of a header": lambda: b"NIST_1A\n   1024\n" + b" " * 1008,
    "zeros": lambda: bytes(10_000),
    "0xff": lambda: b"\xff" * 10_000,
    "noise": lambda: np.random.default_rng(5).bytes(10_000),
    "one byte": lambda: b"R",
}  # fmt: skip


def _float_wav(values: dict[int, float], scale: float = 1.0, form: str = "WAV", subtype: str = "FLOAT") -> Build:
    def build() -> bytes:
        sound = _sound().astype(np.float64) * scale
        for at, value in values.items():
            sound[at] = value
        file = io.BytesIO()
        soundfile.write(file, sound, RATE, format=form, subtype=subtype)
        return file.getvalue()

    return build


SAMPLES: Final[dict[str, tuple[Build, str]]] = {
    **{
        f"{name} at {at} of {form} {subtype}": (_float_wav({at: value}, form=form, subtype=subtype), words)
        for name, value, words in (
            ("NaN", math.nan, "not a finite number"),
            ("infinity", math.inf, "not a finite number"),
            ("20000", 20_000.0, "amplitude 20000"),
            ("-20000", -20_000.0, "amplitude 20000"),
        )
        for at in (0, 12_345, int(SECONDS * RATE) - 1)
        for form, subtype in (("WAV", "FLOAT"), ("AIFF", "DOUBLE"))
    },
    **{
        f"integers as float, times {scale}": (_float_wav({}, scale), r"dB SPL|amplitude")
        for scale in (1_000.0, 5_200.0, 32_768.0)
    },
    "all zeros": (_float_wav({}, 0.0), "is silent throughout"),
    "denormal": (_float_wav({}, 1e-39), "is silent throughout"),
}
FOREIGN: Final = {f"{magic[:12]!r}": magic for magic, _ in _FOREIGN}

AUDIOGRAM_TEXTS: Final = (
    "", " ", "N0", "N8", "S0", "S4", "N", "normal", "n3.5", "20", "1,2,3,4,5,6,7", "1,2,3,4,5,6,7,8,9", "1;2", "a,b,c",
    ",,,,,,,", "[1, 2, 3, 4, 5, 6, 7]", "[]", "[1, 2, 3", "[[1]]", "[1, 2, 3, 4, 5, 6, 7, null]", "null", "true",
    "[1, 2, 3, 4, 5, 6, 7, true]", '[1, 2, 3, 4, 5, 6, 7, "loud"]', "[1, 2, 3, 4, 5, 6, 7, NaN]", "1,2,3,4,5,6,7,inf",
    "-10.5,2,3,4,5,6,7,8", "1,2,121,4,5,6,7,8", "1e999,1,1,1,1,1,1,1", '{"250": 20}', "{}", '{"loud": 20, "500": 1}',
    '{"250": 20, "250.0": 30}', '{"250": 20, "250": 30}', '{"0": 20, "250": 30}', '{"-250": 20, "250": 30}',
    '{"250": 121, "500": 30}', '{"250": [1], "500": 2}', '{"250": null, "500": 2}', '{"20": 250, "30": 500}',
    '{"0.25": 20, "500": 30}', '{"50": 20, "500": 30}', '{"125": 20, "12000": 30}', "[[250, 20], [500, 30, 40]]",
    '{"frequencies": [250, 500], "levels": [10]}', '{"frequencies": 5, "levels": 3}', "nowhere.csv", "nowhere.json",
    "/", ".", "N3,N4", "\u0660\u0661,1,1,1,1,1,1,1", "\x00", "x" * 5_000,
)  # fmt: skip

OPTIONS: Final[dict[str, tuple[type[HaaqiEdgeError] | None, tuple[str, ...]]]] = {
    "--window": (
        OptionError,
        ("nan", "inf", "-inf", "0", "-1", "0.1", "60.5", "1e9", "ten", "", "10s", "1,5", "Whole"),
    ),
    "--spl": (OptionError, ("nan", "inf", "-inf", "1000", "-1000")),
    "--level1": (OptionError, ("nan", "inf", "1000", "-1000")),
    "--channel": (OptionError, ("middle", "-1", "1.5", "", "Left", "left right", "\u0661", "nan")),
    "--threads": (OptionError, ("0", "-1", "100000")),
    "--output": (OptionError, ("x", "x.txt", "x.xlsx", "x.csv.gz", "nowhere/x.csv", ".csv", "x.", "/")),
    "--plot": (OptionError, ("x", "x.pdf", "x.jpg", "nowhere/x.png", "/")),
    "--scheduler": (OptionError, ("tcp://127.0.0.1:1", "x", "")),
}
NOT_CONVERTED: Final[dict[str, tuple[str, ...]]] = {
    "--spl": ("loud", "65dB", "", "6,5"),
    "--level1": ("loud", "85 dB"),
    "--threads": ("two", "1.5", ""),
    "--batch-size": ("0", "-1", "many", "1.5"),
    "--jobs": ("0", "-1", "all", "2.5"),
    "--backend": ("threads", "Dask", ""),
}
"""Values that typer refuses."""

STREAM: Final = (
    ("--hop", ("0", "-1", "0.1", "0.17", "nan", "inf", "1e30")),
    ("--window", ("nan", "0", "61", "whole", "long")),
    ("--channel", ("middle", "-2", "")),
    ("--threads", ("0", "-5")),
)
CHANNELS_OF_MONO: Final = ("1", "2", "63", "1000000")


def write_generated(folder: Path) -> None:
    """Write the files of the rows."""
    (folder / "good.wav").write_bytes(WHOLE["wav"]())
    for kind, build in WHOLE.items():
        whole = build()
        for cut in CUTS:
            (folder / f"{kind} cut at {cut}").write_bytes(whole[: int(cut * len(whole))])
    for name, build in HEADERS.items():
        (folder / name).write_bytes(build())
    for name, (build, _) in SAMPLES.items():
        (folder / name).write_bytes(build())
    for number, magic in enumerate(FOREIGN.values()):
        (folder / f"foreign {number}.wav").write_bytes(magic + bytes(1_000))
    (folder / "empty.m3u").write_text("#EXTM3U\n")
    (folder / "address.m3u").write_text("http://radio.example/\n")
    (folder / "blank.txt").write_text("\n\n")


def generated_rows() -> Iterator[Row]:
    """Yield the rows."""

    def score(id: str, file: str, error: type[HaaqiEdgeError] | None, words: str, *options: str) -> Row:
        argv = ["score", *options, "--", "{d}/" + file]
        return Row(id, argv if "-a" in options else [argv[0], "-a", "N3", *argv[1:]], error, words)

    for kind in WHOLE:
        for cut in CUTS:
            yield score(
                f"{kind} cut at {cut}", f"{kind} cut at {cut}", AudioFileError, "truncated|damaged|cannot be read"
            )
    for name in HEADERS:
        yield score(name, name, None, ".")
    for name, (_, words) in SAMPLES.items():
        yield score(name, name, AudioError, words)
    for number, name in enumerate(FOREIGN):
        yield score(f"foreign {name}", f"foreign {number}.wav", AudioFileError, "cannot be read as audio")
    for text in AUDIOGRAM_TEXTS:
        yield score(f"audiogram {text[:40]!r}", "good.wav", AudiogramError, ".", "-a", text)
    for option, (error, values) in OPTIONS.items():
        for value in values:
            shown = value if value.startswith("/") or option not in ("--output", "--plot") else "{d}/" + value
            yield score(f"{option} {value!r}", "good.wav", error, ".", f"{option}={shown}")
    for option, values in NOT_CONVERTED.items():
        for value in values:
            yield Row(
                f"{option} {value!r}", ["score", "{d}/good.wav", "-a", "N3", f"{option}={value}"], None, "Invalid value"
            )
    for channel in CHANNELS_OF_MONO:
        yield score(f"channel {channel} of mono", "good.wav", AudioError, "has no channel", f"--channel={channel}")
    for option, values in STREAM:
        for value in values:
            argv = ["stream", "{d}/good.wav", "-a", "N3", "--pace", "fast", f"{option}={value}"]
            yield Row(f"stream {option} {value!r}", argv, OptionError, ".")
    for name, error in (
        ("@{d}/nowhere.txt", AudioFileNotFoundError),
        ("{d}/nowhere.m3u", AudioFileNotFoundError),
        ("@{d}", AudioFileError),
        ("{d}/empty.m3u", OptionError),
        ("{d}/address.m3u", OptionError),
        ("@{d}/blank.txt", OptionError),
        ("", AudioFileNotFoundError),
        ("{d}/nowhere", AudioFileNotFoundError),
        ("x" * 5_000, AudioFileNotFoundError),
        ("\x00", AudioFileNotFoundError),
    ):
        yield Row(f"path {name[:40]!r}", ["score", name, "-a", "N3"], error, ".")
