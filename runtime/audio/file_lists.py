"""Read lists of audio files: text files with a path per line, and m3u playlists."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ..errors import AudioFileError, AudioFileNotFoundError, OptionError
from ..files import display_name, is_file

PLAYLIST_SUFFIXES: Final = (".m3u", ".m3u8")
_MARK: Final = "@"
_MAX_BYTES: Final = 1 << 28


def is_file_list(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a list of files: `@LIST`, or a playlist by its suffix."""
    text = os.fsdecode(path)
    return text.startswith(_MARK) or text.lower().endswith(PLAYLIST_SUFFIXES)


def read_file_list(path: str | os.PathLike[str]) -> list[Path]:
    """Return the paths in a list of files.

    - `@LIST` is a text file with one path per line, relative to the current folder. `@-` is standard input. If the file
      contains a zero byte, zero bytes separate the paths, as `find -print0` writes them.
    - An m3u or m3u8 playlist has paths that are relative to its folder, or `file:` URLs. Lines that begin with `#` are
      no paths. With `@`, a playlist is read in the same way.

    Args:
        path: `@LIST`, or the path of a playlist.

    Raises:
        AudioFileNotFoundError: if there is no such list.
        AudioFileError: if it cannot be read.
        OptionError: if it names no files, or an address in a network.
    """
    text = os.fsdecode(path).removeprefix(_MARK)
    name = display_name(text)
    data = _read(text, name)
    is_playlist = text.lower().endswith(PLAYLIST_SUFFIXES)
    lines = [line.strip(b"\r\n") for line in data.split(b"\0" if b"\0" in data else b"\n")]
    if lines and lines[0].startswith(b"\xef\xbb\xbf"):
        lines[0] = lines[0][3:]
    paths = []
    for line in lines:
        if not line.strip() or (is_playlist and line.lstrip().startswith(b"#")):
            continue
        paths.append(_playlist_entry(line, Path(text).parent, name) if is_playlist else Path(os.fsdecode(line)))
    if not paths:
        raise OptionError(f"{name} names no files: give a list with one path per line")
    return paths


def _read(text: str, name: str) -> bytes:
    try:
        if text == "-":
            if sys.stdin is None or sys.stdin.closed:
                raise AudioFileError("standard input is closed: pipe a list of files into it")
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(text).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise AudioFileNotFoundError(f"{name} does not exist: give a list of files after @, or a playlist") from error
    except OSError as error:
        raise AudioFileError(f"{name} cannot be read ({error.strerror or error}): give a list of files") from error
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
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path, errors="surrogateescape"))
    if "://" in text:
        raise OptionError(f"{name} names {display_name(text)}, which is no file: download it, and name the file")
    others = (line.decode("latin-1"), text.replace("\\", "/"), line.decode("latin-1").replace("\\", "/"))
    return next((path for other in (text, *others) if is_file(path := folder / other)), folder / text)
