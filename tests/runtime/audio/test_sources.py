"""Where audio may come from: open files, pipes, standard input, and paths of every kind."""

from __future__ import annotations

import gc
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.audio.reading import FileAudio, open_audio
from haaqi_edge.runtime.errors import AudioError, AudioFileError, AudioFileNotFoundError, OptionError
from haaqi_edge.runtime.files import display_name
from sounds import DEMO, RATE, Sound, as_int16, music, write

WHOLE = np.concatenate(list(open_audio(DEMO).blocks()))


def whole(audio: Any, **options: Any) -> Sound:
    return np.concatenate(list(open_audio(audio, **options).blocks()))


class Named:
    """An `os.PathLike` of another kind than `Path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_open_files() -> None:
    file = io.BytesIO(DEMO.read_bytes())
    audio = open_audio(file)
    assert audio.name == "the file given"
    for _ in range(2):
        assert np.array_equal(np.concatenate(list(audio.blocks())), WHOLE)
    with DEMO.open("rb") as binary:
        for _ in range(2):
            assert np.array_equal(whole(binary), WHOLE)
        assert open_audio(binary).name == str(DEMO)
        assert binary.tell() == 0
    with DEMO.open("rb", buffering=0) as raw:
        assert np.array_equal(whole(raw), WHOLE)
    assert np.array_equal(whole(Named(DEMO)), WHOLE)


def test_a_file_is_read_from_its_position() -> None:
    data = DEMO.read_bytes()
    file = io.BytesIO(b"something else" + data)
    file.seek(14)
    assert np.array_equal(whole(file), WHOLE)
    file.seek(0, io.SEEK_END)
    with pytest.raises(AudioFileError, match=r"the file given is at its end, .*: move to its beginning with seek\(0\)"):
        open_audio(file)


class Stubborn(io.RawIOBase):
    """A stream that cannot seek, and returns a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), 1000))
        buffer[: len(data)] = data
        return len(data)


def test_streams_that_cannot_seek() -> None:
    audio = open_audio(Stubborn(DEMO.read_bytes()))  # type: ignore[arg-type]
    for _ in range(2):
        assert np.array_equal(np.concatenate(list(audio.blocks())), WHOLE)


def test_two_readers_of_one_file_do_not_disturb_each_other() -> None:
    file = io.BytesIO(DEMO.read_bytes())
    first, second = open_audio(file), open_audio(file)
    assert file.tell() == 0
    pairs = list(zip(first.blocks(), second.blocks(), strict=True))
    for blocks in zip(*pairs, strict=True):
        assert np.array_equal(np.concatenate(blocks), WHOLE)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(got, WHOLE) for got in pool.map(whole, [file] * 8))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    closed = io.BytesIO(DEMO.read_bytes())
    closed.close()
    with pytest.raises(AudioFileError, match="closed file"):
        open_audio(closed)
    with pytest.raises(AudioError, match=r"is a text file: open it in binary mode, with open\(path, 'rb'\)"):
        open_audio(io.StringIO("text"))  # type: ignore[arg-type]
    with (tmp_path / "written").open("wb") as file, pytest.raises(AudioFileError, match="open for reading"):
        open_audio(file)
    with pytest.raises(AudioFileError, match=r"the file given is empty \(0 bytes\)"):
        open_audio(io.BytesIO())
    with pytest.raises(AudioFileError, match="the file given cannot be read as audio"):
        open_audio(io.BytesIO(bytes(5000)))
    file = io.BytesIO(DEMO.read_bytes())
    audio = open_audio(file)
    file.close()
    with pytest.raises(AudioFileError, match="the file given cannot be read"):
        list(audio.blocks())


def test_the_scorer_takes_them() -> None:
    scorer = Scorer("nano", threads=1)
    expected = [score.score for score in scorer.score(DEMO, ["N3", "N5"])]
    data = DEMO.read_bytes()
    assert [score.score for score in scorer.score(io.BytesIO(data), ["N3", "N5"])] == expected
    assert [score.score for score in scorer.score(open_audio(DEMO), ["N3", "N5"])] == expected
    assert [score.score for score in scorer.score(Stubborn(data), ["N3", "N5"])] == expected  # type: ignore[arg-type]
    amplified = [score.score for score in scorer.score(DEMO, ["N3", "N5"], nal_r=True)]
    assert [s.score for s in scorer.score(Stubborn(data), ["N3", "N5"], nal_r=True)] == amplified  # type: ignore[arg-type]
    clips: list[Any] = [io.BytesIO(data), Stubborn(data), Named(DEMO), DEMO, io.BytesIO(b"no audio")]
    *outcomes, last = scorer.score_many(clips, ["N3", "N5"], nal_r=True)
    assert all([score.score for score in outcome] == amplified for outcome in outcomes if isinstance(outcome, list))
    assert len(outcomes) == 4
    assert isinstance(last, AudioFileError)
    with pytest.raises(OptionError, match="one clip where several were expected"):
        scorer.score_many(io.BytesIO(data), "N3")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipes(tmp_path: Path) -> None:
    for name, data in (("a.flac", DEMO.read_bytes()), ("none.wav", b"")):
        os.mkfifo(tmp_path / name)
        writer = threading.Thread(target=(tmp_path / name).write_bytes, args=(data,))
        writer.start()
        if data:
            audio = open_audio(tmp_path / name)
            for _ in range(2):
                assert np.array_equal(np.concatenate(list(audio.blocks())), WHOLE)
        else:
            with pytest.raises(AudioFileError, match="is empty"):
                open_audio(tmp_path / name)
        writer.join()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_devices() -> None:
    with pytest.raises(AudioFileError, match="/dev/null is empty"):
        open_audio("/dev/null")
    with pytest.raises(AudioFileError, match=r"/dev/zero cannot be read as audio \(its first \d+ bytes are no audio\)"):
        open_audio("/dev/zero")


READ = """
import sys
from haaqi_edge.runtime.audio.reading import open_audio
audio = open_audio(sys.argv[1])
print(audio.name, *(sum(len(block) for block in audio.blocks()) for _ in range(2)))
"""


def run(path: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", READ, path], capture_output=True, check=False, timeout=120, **options)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/stdin")
def test_standard_input(path: str) -> None:
    name = "standard input" if path == "-" else path
    for options in ({"input": DEMO.read_bytes()}, {"stdin": DEMO.open("rb")}):
        done = run(path, **options)
        assert done.stdout.decode().strip() == f"{name} {len(WHOLE)} {len(WHOLE)}", done.stderr


def test_a_closed_standard_input() -> None:
    code = "import os, sys; os.close(0); sys.argv = ['-c', '-']\n" + READ
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert "standard input" in done.stderr.splitlines()[-1]
    assert "AudioFileError" in done.stderr.splitlines()[-1]


def test_the_space_of_a_pipe_is_given_back() -> None:
    audio = FileAudio(Stubborn(DEMO.read_bytes()))  # type: ignore[arg-type]
    spool = audio._content._file  # type: ignore[attr-defined]
    assert not spool.closed
    del audio
    gc.collect()
    assert spool.closed


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.wav", "plain.wav"),
        ("zażółć 音楽 🎵.wav", "zażółć 音楽 🎵.wav"),
        ("new\nline\t.wav", "new\\nline\\t.wav"),
        ("\x1b[31mred.wav", "\\x1b[31mred.wav"),
        (os.fsdecode(b"latin\xe9.wav"), "latin\\xe9.wav"),
        ("-a.wav", "-a.wav"),
        ("[bold]x.wav", "[bold]x.wav"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="not every name is possible")
def test_names_of_every_kind(name: str, shown: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copy(DEMO, path)
    assert np.array_equal(whole(path), WHOLE)
    assert display_name(path.name) == shown
    assert open_audio(path).name == str(tmp_path / shown)
    path.write_bytes(b"no audio")
    with pytest.raises(AudioFileError) as info:
        open_audio(path)
    assert str(info.value).isprintable()


def test_empty_paths() -> None:
    with pytest.raises(AudioFileNotFoundError, match="an empty path: give the path of an audio file"):
        open_audio("")


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    shutil.copy(DEMO, path)
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        with pytest.raises(AudioFileError, match=r"secret\.wav cannot be read \(Permission denied\)"):
            open_audio(path)
    finally:
        path.chmod(0o600)


def test_options_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="damage='ignore': give 'error' or 'warn'"):
        open_audio(DEMO, damage="ignore")  # type: ignore[arg-type]


def test_notes_are_logged(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    path = write(tmp_path / "a", as_int16(music(1)), RATE, "wav")
    path.write_bytes(path.read_bytes() + bytes(5))
    with caplog.at_level("INFO", logger="haaqi_edge"):
        audio = open_audio(path)
    assert isinstance(audio, FileAudio)
    assert audio.notes == ("5 bytes behind the audio were skipped",)
    assert caplog.messages == [f"{path}: 5 bytes behind the audio were skipped"]


FULL_SCALE: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: (as_int16(music(1)).astype(np.int32) << 8, RATE),
        r"type int32 with a peak of \d+: .* 2\*\*23 for 24 bits",
    ),
    (lambda: (as_int16(music(1)).astype(np.int64), RATE), r"type int64 with a peak of \d+: .* 2\*\*15 for 16 bits"),
    (lambda: (as_int16(music(1)).tolist(), RATE), r"a list of integers with a peak of \d+: .* 2\*\*15 for 16 bits"),
    (lambda: (as_int16(music(1)).astype(np.int32), RATE), r"2\*\*15 for 16 bits"),
]


@pytest.mark.parametrize(("audio", "message"), FULL_SCALE, ids=["24 in 32", "int64", "list", "16 in 32"])
def test_integers_of_another_full_scale(audio: Callable[[], Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_audio(audio())


def test_silent_integers_are_silent() -> None:
    assert not whole((np.zeros(5000, dtype=np.int32), RATE)).any()
