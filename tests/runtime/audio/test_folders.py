"""Folders: every file that can be read is found once, and what is left out is counted."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from haaqi_edge.runtime.audio import folders
from haaqi_edge.runtime.audio.folders import (
    FFMPEG_SUFFIXES,
    SUFFIXES,
    audio_in,
    describe_left_out,
    find_audio,
    search_folder,
)
from haaqi_edge.runtime.errors import AudioFileNotFoundError
from sounds import DEMO


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return sorted(folder / name for name in names)


def test_every_suffix_that_can_be_read_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = touch(tmp_path, *(f"a{suffix}" for suffix in SUFFIXES), "B.WAV", "deep/er/c.Flac")
    more = touch(tmp_path, *(f"a{suffix}" for suffix in FFMPEG_SUFFIXES))
    monkeypatch.setattr(folders, "ffmpeg_available", lambda: True)
    assert find_audio(tmp_path) == sorted(plain + more)
    monkeypatch.setattr(folders, "ffmpeg_available", lambda: False)
    search = search_folder(tmp_path)
    assert (search.files, search.left_out) == (plain, more)
    assert "pip install 'haaqi-edge[ffmpeg]' to read compressed audio such as m4a" in search.summary()


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    found = touch(tmp_path, "a.wav")
    left_out = touch(tmp_path, "notes.txt", "cover.jpg", "b/Cover.JPG", "readme", "._a.wav")
    touch(tmp_path, ".hidden")
    search = search_folder(tmp_path)
    assert (search.files, search.left_out) == (found, left_out)
    names = ", ".join(map(str, left_out))
    assert search.summary() == f"5 files were left out (2 .jpg, 1 .txt, 1 .wav, 1 no suffix): {names}"
    more = touch(tmp_path, "z.txt", "zz.txt")
    assert search_folder(tmp_path).summary().endswith(f"{left_out[-1]} and 2 more")
    assert describe_left_out(more[:1]) == f"1 file was left out (1 .txt): {more[0]}"
    assert search_folder(tmp_path / "absent").summary() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_are_followed_once(tmp_path: Path) -> None:
    album, other = tmp_path / "music" / "album", tmp_path / "other"
    touch(album, "1.wav")
    touch(other, "2.wav")
    (tmp_path / "music" / "loop").symlink_to(tmp_path / "music")
    (album / "up").symlink_to("..")
    (tmp_path / "music" / "linked").symlink_to(other)
    (tmp_path / "music" / "again").symlink_to(other)
    (tmp_path / "music" / "broken.wav").symlink_to("nowhere")
    (tmp_path / "music" / "link.wav").symlink_to(album / "1.wav")
    found = find_audio(tmp_path / "music")
    assert [str(path.relative_to(tmp_path / "music")) for path in found] == ["again/2.wav", "album/1.wav", "link.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="not every name is possible")
def test_names_of_every_kind(tmp_path: Path) -> None:
    names = ["new\nline.wav", "-a.wav", "with space.wav", os.fsdecode(b"latin\xe9.wav")]
    for name in names:
        shutil.copy(DEMO, tmp_path / name)
    assert find_audio(tmp_path) == sorted(tmp_path / name for name in names)


def test_a_folder_without_audio(tmp_path: Path) -> None:
    touch(tmp_path, "cover.jpg")
    with pytest.raises(
        AudioFileNotFoundError, match=r"no audio in .*: expected files that end in .*\.wav.*; 1 file was left"
    ):
        audio_in(tmp_path)
