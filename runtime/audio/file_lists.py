"""Read lists of audio files: text files with a path per line, and m3u playlists."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ..errors import AudioFileError, AudioFileNotFoundError, OptionError
from ..files import display_name, is_file, is_folder
from .containers.signatures import recognize
from .folders import FFMPEG_SUFFIXES, SUFFIXES

PLAYLIST_SUFFIXES: Final = (".m3u", ".m3u8")
_MARK: Final = "@"
_FILE_URL: Final = re.compile(r"file://(?:localhost)?(/.*)", re.IGNORECASE | re.DOTALL)
_MAX_BYTES: Final = 1 << 28
_HEAD: Final = 512
"""Bytes by which an audio file is recognized."""


def is_file_list(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a list of files: `@LIST`, or a playlist by its suffix."""
    text = os.fsdecode(path)
    return text.startswith(_MARK) or text.lower().endswith(PLAYLIST_SUFFIXES)


def read_file_list(path: str | os.PathLike[str]) -> list[Path]:
    """Return the paths in a list of files.

    - `@LIST` is a text file with one path per line, relative to the current folder. `@-` is standard input. Lines that
      begin with `#` are comments, unless there is a file of that name. If the list contains a zero byte, zero bytes
      separate the paths, as `find -print0` writes them, and there are no comments.
    - An m3u or m3u8 playlist has paths that are relative to its folder, or `file:` URLs. `%20` and the like are decoded
      unless there is a file of the name as it is written. Lines that begin with `#` are comments. With `@`, a playlist
      is read in the same way.

    Args:
        path: `@LIST`, or the path of a playlist.

    Raises:
        AudioFileNotFoundError: if there is no such list.
        AudioFileError: if it cannot be read.
        OptionError: if it names no files, or an address in a network.
    """
    text = os.fsdecode(path).removeprefix(_MARK)
    name = display_name(text)
    data = _read(text, name, os.fsdecode(path))
    is_playlist = text.lower().endswith(PLAYLIST_SUFFIXES)
    separated = b"\0" in data
    lines = [line.strip(b"\r\n") for line in data.split(b"\0" if separated else b"\n")]
    if lines and lines[0].startswith(b"\xef\xbb\xbf"):
        lines[0] = lines[0][3:]
    paths = []
    for line in lines:
        if not line.strip():
            continue
        if is_playlist:
            if not line.lstrip().startswith(b"#"):
                paths.append(_playlist_entry(line, Path(text).parent, name))
            continue
        entry = Path(os.fsdecode(line))
        if separated or not line.startswith(b"#") or is_file(entry):
            paths.append(entry)
    if not paths:
        raise OptionError(f"{name} names no files: give a list with one path per line")
    return paths


def _read(text: str, name: str, given: str) -> bytes:
    """Return the content of a list.

    Args:
        text: path of the list, or `-`.
        name: the same, for messages.
        given: what was given, with the mark of a list.
    """
    hint = "give a list of files after @, or a playlist"
    if given.startswith(_MARK) and is_file(Path(given)):
        hint = f"for the audio file {display_name(given)}, write ./{display_name(given)}"
    try:
        if text == "-":
            if sys.stdin is None or sys.stdin.closed:
                raise AudioFileError("standard input is closed: pipe a list of files into it")
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(text).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise AudioFileNotFoundError(f"{name} does not exist: {hint}") from error
    except OSError as error:
        raise AudioFileError(f"{name} cannot be read ({error.strerror or error}): {hint}") from error
    is_named_audio = Path(text).suffix.lower() in SUFFIXES | FFMPEG_SUFFIXES
    if is_named_audio and (data[:3] == b"ID3" or recognize(data[:_HEAD])):
        raise AudioFileError(f"{name} is an audio file, not a list of files: leave out @, or {hint}")
    if len(data) > _MAX_BYTES:
        raise AudioFileError(f"{name} is no list of files: it has more than {_MAX_BYTES} bytes")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise AudioFileError(f"{name} cannot be read ({error}): write it as UTF-8") from error
    return data


def _playlist_entry(line: bytes, folder: Path, name: str) -> Path:
    """Return the path of a playlist's entry. Old playlists are in Latin-1, and those of Windows have backslashes."""
    text = os.fsdecode(line)
    if url := _FILE_URL.fullmatch(text):
        return _first_existing([Path(_decode(url[1])), Path(url[1])])
    if "://" in text:
        raise OptionError(f"{name} names {display_name(text)}, which is no file: download it, and name the file")
    spellings = [text, line.decode("latin-1"), text.replace("\\", "/"), line.decode("latin-1").replace("\\", "/")]
    return _first_existing([folder / one for one in (*spellings, *map(_decode, spellings))])


def _decode(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _first_existing(paths: list[Path]) -> Path:
    """Return the first path of a file or folder, or the first path."""
    return next((path for path in paths if is_file(path) or is_folder(path)), paths[0])
