"""Find the audio files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import AudioFileNotFoundError
from .decoding import ffmpeg_available
from .reading import display_name

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
        if not self.left_out:
            return ""
        counts = Counter(path.suffix.lower() or "no suffix" for path in self.left_out)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
        text = f"{len(self.left_out)} files were left out ({display_name(kinds)})"
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
    found = search_folder(folder)
    if not found.files:
        rest = found.summary()
        raise AudioFileNotFoundError(
            f"no audio in {display_name(folder)}: expected files that end in {', '.join(sorted(SUFFIXES))}"
            + (f"; {rest}" if rest else "")
        )
    return found.files
