"""Inspect a file: what it is, which parts of it a decoder reads, and whether all of it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from .adts import inspect_adts
from .aiff import inspect_aiff
from .byte_source import ByteSource, Layout
from .flac import inspect_flac
from .mpeg import find_first_frame, inspect_mpeg
from .ogg import inspect_ogg
from .other import (
    inspect_asf,
    inspect_au,
    inspect_caf,
    inspect_iff,
    inspect_matroska,
    inspect_mp4,
    inspect_nist,
    inspect_whole,
)
from .parts import Findings, Part
from .riff import inspect_riff, inspect_wave64
from .signatures import FFMPEG_ONLY, foreign, recognize
from .tags import skip_tags

_HEAD: Final = 512
_Inspect: TypeAlias = Callable[[ByteSource, int, int, Findings], list[Part]]
_INSPECTIONS: Final[dict[str, _Inspect]] = {
    "riff": inspect_riff,
    "wave64": inspect_wave64,
    "aiff": inspect_aiff,
    "iff": inspect_iff,
    "flac": inspect_flac,
    "ogg": inspect_ogg,
    "mpeg": inspect_mpeg,
    "au": inspect_au,
    "caf": inspect_caf,
    "nist": inspect_nist,
    "adts": inspect_adts,
    "asf": inspect_asf,
    "mp4": inspect_mp4,
    "matroska": inspect_matroska,
    "": inspect_whole,
}


def inspect(source: ByteSource, findings: Findings) -> tuple[str, list[Part]]:
    """Find the audio of a file.

    Args:
        source: the file.
        findings: takes notes and damage.

    Returns:
        The kind of the file, see `recognize`, and its parts in order.

    Raises:
        AudioFileError: if the file holds no audio, or if parts of it are corrupt or missing.
    """
    start = skip_tags(source, 0, source.size)
    kind = recognize(source.get(start, _HEAD))
    if kind in ("", "mpeg", "adts", "ac3"):
        # Their signatures are short: frames must follow each other.
        first = find_first_frame(source, 0, source.size)
        if first is not None:
            kind, start = "mpeg", 0
        elif kind == "mpeg":
            kind = ""
    if not kind and (what := foreign(source.get(start, _HEAD))):
        raise findings.unreadable(f"it is {what}")
    if kind in FFMPEG_ONLY and kind not in _INSPECTIONS:
        return kind, [Part(Layout().add_range(0, source.size), "ffmpeg")]
    return kind, _INSPECTIONS[kind](source, start, source.size, findings)
