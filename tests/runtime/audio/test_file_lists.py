"""Lists of files: a path per line, zero bytes between, and playlists of several programs."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from haaqi_edge.runtime.audio.file_lists import is_file_list, read_file_list
from haaqi_edge.runtime.errors import AudioFileError, AudioFileNotFoundError, HaaqiEdgeError, OptionError
from sounds import RATE, music

NAMES = ["a.wav", "sub/with space.flac", "-b.wav", "#1.wav", "ñ.ogg"]


def test_what_a_list_is() -> None:
    assert [is_file_list(text) for text in ("@list.txt", "@-", "a.m3u", Path("b.M3U8"))] == [True] * 4
    assert [is_file_list(text) for text in ("list.txt", "-", "a.wav", "./@list.txt")] == [False] * 4


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\0").encode(),
        lambda text: text.replace("\n", "\n\n  \n").encode(),
    ],
)
def test_a_path_per_line(encode: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "#1.wav").touch()  # a name, not a comment
    (tmp_path / "list.txt").write_bytes(encode("\n".join(NAMES) + "\n"))  # type: ignore[operator]
    assert read_file_list(f"@{tmp_path / 'list.txt'}") == [Path(name) for name in NAMES]


def test_lines_that_begin_with_a_number_sign_are_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("# takes of Monday\na.wav\n#b.wav\n./#b.wav\n")
    assert read_file_list("@list.txt") == [Path("a.wav"), Path("./#b.wav")]
    (tmp_path / "list.txt").write_bytes(b"#b.wav\0a.wav\0")  # as a program writes it
    assert read_file_list("@list.txt") == [Path("#b.wav"), Path("a.wav")]
    (tmp_path / "list.txt").write_text("# nothing else\n")
    with pytest.raises(OptionError, match="names no files"):
        read_file_list("@list.txt")


def test_standard_input_and_names_that_are_no_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"latin\xe9.wav\0new\nline.wav\0"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), closed=False))
    assert read_file_list("@-") == [Path(os.fsdecode(b"latin\xe9.wav")), Path("new\nline.wav")]


def test_playlists(tmp_path: Path) -> None:
    for name in ("one.wav", "zwölf.wav", "sub/two.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = "#EXTM3U\n#EXTINF:12,A song\none.wav\nsub\\two.wav\n  \nzwölf.wav\nfile:///music/a%20b.wav\n/abs/c.wav\n"
    expected = [
        tmp_path / "one.wav", tmp_path / "sub/two.wav", tmp_path / "zwölf.wav", Path("/music/a b.wav"),
        Path("/abs/c.wav"),
    ]  # fmt: skip
    for name, encoding in (("a.m3u8", "utf-8"), ("a.m3u", "latin-1")):
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert read_file_list(tmp_path / name) == expected
        assert read_file_list(f"@{tmp_path / name}") == expected


@pytest.mark.parametrize(
    ("entry", "files", "expected"),
    [
        ("a%20b.wav", ["a b.wav"], "a b.wav"),
        ("a%20b.wav", ["a b.wav", "a%20b.wav"], "a%20b.wav"),
        ("100%.wav", ["100%.wav"], "100%.wav"),
        ("sub%20x\\%C3%BC%23.wav", ["sub x/ü#.wav"], "sub x/ü#.wav"),
        ("missing%20.wav", [], "missing%20.wav"),
        ("file://{d}/a%20b.wav", ["a b.wav"], "a b.wav"),
        ("file://{d}/50%25.wav", ["50%.wav"], "50%.wav"),
        ("file://localhost{d}/a%20b.wav", ["a b.wav"], "a b.wav"),
        ("FILE://{d}/a%20b.wav", ["a%20b.wav"], "a%20b.wav"),
        ("file://{d}/what?#1.wav", ["what?#1.wav"], "what?#1.wav"),
        ("file://{d}/missing%20.wav", [], "missing .wav"),
        ("some%20folder", ["some folder/a.wav"], "some folder"),
    ],
)
def test_addresses_in_playlists(entry: str, files: list[str], expected: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a.m3u8").write_text(entry.replace("{d}", str(tmp_path)))
    assert read_file_list(tmp_path / "a.m3u8") == [tmp_path / expected]


def test_an_audio_file_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "@at.wav").touch()
    with pytest.raises(
        AudioFileNotFoundError, match=r"at\.wav does not exist: for the audio file @at\.wav, write \./@at"
    ):
        read_file_list("@at.wav")
    soundfile.write(tmp_path / "at.wav", music(0.5), RATE)
    with pytest.raises(AudioFileError, match=r"at\.wav is an audio file, not a list of files: leave out @, or for"):
        read_file_list("@at.wav")
    (tmp_path / "RIFF.txt").write_text("RIFF takes/a.wav\n")
    assert read_file_list("@RIFF.txt") == [Path("RIFF takes/a.wav")]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, AudioFileNotFoundError, "does not exist: give a list of files after @"),
        (b"", OptionError, "names no files"),
        (b"#EXTM3U\n\n", OptionError, "names no files"),
        (b"http://radio.example/stream\n", OptionError, "names http://radio.example/stream, which is no file"),
        (b"\xff\xfe\x00", AudioFileError, "cannot be read"),
    ],
)
def test_lists_that_are_refused(content: bytes | None, error: type[HaaqiEdgeError], words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.m3u").write_bytes(content)
    with pytest.raises(error, match=words):
        read_file_list(tmp_path / "a.m3u")
    with pytest.raises(AudioFileError, match="cannot be read"):
        read_file_list(f"@{tmp_path}")
