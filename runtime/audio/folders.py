"""Find the audio files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import AudioFileNotFoundError
from ..files import display_name
from .decoding import ffmpeg_available

SUFFIXES: Final = frozenset(
    {
        ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".fla", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mp1",
        ".mpga", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".avr", ".paf", ".ircam", ".sf",
        ".8svx", ".svx",
    }
)  # fmt: skip
"""Suffixes of files that libsndfile reads. A folder search finds them; a file that is named may have any suffix."""
FFMPEG_SUFFIXES: Final = frozenset(
    {
        ".m4a", ".m4b", ".mp4", ".mov", ".aac", ".alac", ".webm", ".mka", ".mkv", ".wma", ".asf", ".wv", ".ape",
        ".tta", ".mpc", ".spx", ".amr", ".3gp", ".dsf", ".dff", ".ac3", ".dts", ".voc", ".avi", ".flv",
    }
)  # fmt: skip
"""Suffixes of files that FFmpeg reads, by the extra `ffmpeg`."""
_MAX_NAMES: Final = 5
"""Maximum number of files that a message names."""


class FolderSearch(NamedTuple):
    """What a folder holds.

    Attributes:
        files: audio files, sorted.
        left_out: the other files, and hidden audio files, sorted. Other hidden files are ignored.
    """

    files: list[Path]
    left_out: list[Path]

    def summary(self) -> str:
        """Return a sentence on the files that were left out, or an empty string."""
        return describe_left_out(self.left_out)


def describe_left_out(paths: Sequence[Path]) -> str:
    """Return a sentence on files that were left out, with their number, suffixes and first names; empty for none."""
    if not paths:
        return ""
    counts = Counter(path.suffix.lower() or "no suffix" for path in paths)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    verb = "file was" if len(paths) == 1 else "files were"
    names = ", ".join(display_name(path) for path in paths[:_MAX_NAMES])
    more = f" and {len(paths) - _MAX_NAMES} more" if len(paths) > _MAX_NAMES else ""
    text = f"{len(paths)} {verb} left out ({display_name(kinds)}): {names}{more}"
    if any(suffix in FFMPEG_SUFFIXES for suffix in counts) and not ffmpeg_available():
        text += "; pip install 'haaqi-edge[ffmpeg]' to read compressed audio such as m4a"
    return text


def search_folder(folder: Path) -> FolderSearch:
    """Find the audio files below a folder, by their suffixes.

    Links to folders are followed, each folder once.

    Args:
        folder: the folder.
    """
    suffixes = SUFFIXES | FFMPEG_SUFFIXES if ffmpeg_available() else SUFFIXES
    found: list[Path] = []
    left_out: list[Path] = []
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        fresh = []
        for name in sorted(folders):
            real = os.path.realpath(Path(parent) / name)
            if real not in seen:
                seen.add(real)
                fresh.append(name)
        folders[:] = fresh
        for name in names:
            path = Path(parent) / name
            hidden, readable = name.startswith("."), path.suffix.lower() in suffixes
            if (hidden and not readable) or not path.is_file():
                continue
            (found if readable and not hidden else left_out).append(path)
    return FolderSearch(sorted(found), sorted(left_out))


def find_audio(folder: Path) -> list[Path]:
    """Return the audio files below a folder, sorted; see `search_folder`."""
    return search_folder(folder).files


def audio_in(folder: Path) -> list[Path]:
    """Return the audio files below a folder, as `find_audio` does.

    Raises:
        AudioFileNotFoundError: if there are none.
    """
    return search_audio(folder).files


def search_audio(folder: Path) -> FolderSearch:
    """Find the audio files below a folder, as `search_folder` does.

    Raises:
        AudioFileNotFoundError: if there are none.
    """
    found = search_folder(folder)
    if not found.files:
        rest = found.summary()
        raise AudioFileNotFoundError(
            f"no audio in {display_name(folder)}: expected files that end in {', '.join(sorted(SUFFIXES))}"
            + (f"; {rest}" if rest else "")
        )
    return found
