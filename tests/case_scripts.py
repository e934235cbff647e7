"""Run the scripts of the reference material that make audio files and audiograms as people have them.

The script for audio calls ffmpeg and sox. Their calls are answered in this process, by PyAV, whose version is fixed.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import soundfile
from audio_files import SAMPLE_FORMATS, encode

_BY_SUFFIX: Final = {
    ".wav": ("wav", "pcm_s16le"), ".caf": ("caf", "pcm_s16be"), ".au": ("au", "pcm_s16be"),
    ".aiff": ("aiff", "pcm_s16be"), ".m4a": ("ipod", "aac"), ".aac": ("adts", "aac"), ".webm": ("webm", "libopus"),
    ".mka": ("matroska", "libopus"), ".wv": ("wv", "wavpack"), ".wma": ("asf", "wmav2"), ".mp3": ("mp3", "libmp3lame"),
    ".mp2": ("mp2", "mp2"), ".ogg": ("ogg", "libvorbis"), ".oga": ("ogg", "flac"), ".opus": ("opus", "libopus"),
    ".flac": ("flac", "flac"), "wav": ("wav", "pcm_s16le"), "ogg": ("ogg", "libvorbis"), "flac": ("flac", "flac"),
}  # fmt: skip
"""FFmpeg's container and default encoder, by the suffix of a file or the name of a container."""
_CONTAINER_OPTIONS: Final = ("rf64", "write_bext", "write_xing", "id3v2_version")
_DEFAULT_BITRATE: Final = 128_000
_SOX_SIZE: Final = 0x7FFFF000


def run_script(script: Path, *arguments: str) -> None:
    """Run a script. Its calls of ffmpeg and sox are answered by this module."""
    if not script.is_file():
        reason = f"no {script}: this reference material lacks the scripts for files as people have them"
        if os.environ.get("HAAQI_EDGE_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(subprocess, "run", _answer)
        patch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")


def _answer(argv: Sequence[str], **options: Any) -> None:
    data = _sox(argv) if argv[0] == "sox" else _ffmpeg(argv)
    if argv[-1] == "-":
        options["stdout"].write(data)
    else:
        Path(argv[-1]).write_bytes(data)


def _sox(argv: Sequence[str]) -> bytes:
    """Return a wav file as sox writes it into a pipe."""
    program, source, *rest = argv
    assert (program, *rest) == ("sox", "-t", "wav", "-")
    data = bytearray(Path(source).read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = _SOX_SIZE.to_bytes(4, "little")
    data[4:8] = (_SOX_SIZE + at - 4).to_bytes(4, "little")
    return bytes(data)


def _ffmpeg(argv: Sequence[str]) -> bytes:
    """Return what ffmpeg writes for options that the script uses."""
    program, *rest, target = argv
    assert (program, rest[:3]) == ("ffmpeg", ["-v", "error", "-y"]) or rest[:2] == ["-v", "error"]
    rest = [word for word in rest if word != "-y"]
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    assert given.pop("-v") == "error"
    sound, rate = soundfile.read(given.pop("-i"), dtype="float32", always_2d=True)
    container, codec = _BY_SUFFIX[given.pop("-f", Path(target).suffix)]
    codec = given.pop("-c:a", codec)
    bits = given.pop("-b:a", None)
    quality = given.pop("-q:a", None)
    options = {} if quality is None else {"flags": "+qscale", "global_quality": str(int(quality) * 118)}
    for_container = {name: given.pop(f"-{name}") for name in _CONTAINER_OPTIONS if f"-{name}" in given}
    given.pop("-metadata", None)
    to_rate, channels = int(given.pop("-ar", rate)), int(given.pop("-ac", sound.shape[1]))
    assert not given
    if to_rate != rate:
        import soxr

        sound, rate = soxr.resample(sound, rate, to_rate), to_rate
    if channels != sound.shape[1]:
        silence = np.zeros((len(sound), channels - sound.shape[1]), np.float32)
        sound = np.concatenate([sound, silence], axis=1)
    assert codec in SAMPLE_FORMATS
    return encode(
        np.ascontiguousarray(sound, dtype=np.float32),
        rate,
        codec,
        container,
        bitrate=int(bits.removesuffix("k")) * 1000 if bits else _DEFAULT_BITRATE if quality is None else None,
        options=options,
        container_options=for_container,
        pipe=target == "-",
    )
