"""Files in pairs: matched by name, read at their own rates, compared."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import soundfile
import soxr
from haaqi_edge.haaqi.clips import Convention
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.haaqi.index import Haaqi, Listener, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.levels import LEVEL1, nal_r
from haaqi_edge.runtime.batch.messages import Messages
from haaqi_edge.runtime.errors import AudioError, AudioFileError, AudioFileNotFoundError, OptionError, WorkerError
from haaqi_edge.training.pairs import Pair, match_files, score_pair, score_pairs
from sounds import Sound, as_int16, music, noise, write

SECONDS = 0.4
LISTENERS = [Audiogram.named("N2"), Audiogram.parse("20,30,40,50,55,60,70,70")]


def heard(audiogram: Audiogram) -> Listener:
    return Listener(audiogram, level1=LEVEL1)


def excerpt(clip: str, rate: int = RATE) -> Sound:
    return music(SECONDS, rate, 4.0, clip)


def put(path: Path, samples: Sound | None = None, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(100) if samples is None else samples, rate)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    clean, aided = tmp_path / "clean", tmp_path / "aided"
    for name in ("a.wav", "b.flac", "sub/c.wav", "sub/a.wav", "unused.wav", "d.e.wav"):
        put(clean / name)
    for name in ("a.mp3", "a.wav", "b.wav", "sub/c.ogg", "extra.wav", "d.e.wav"):
        put(aided / name, np.zeros(4_000, np.float32))
    (aided / "notes.txt").write_text("no audio")
    return clean, aided


def below(pairs: list[Pair], folders: tuple[Path, Path]) -> list[tuple[str, str]]:
    return [
        (str(pair.reference.relative_to(folders[0])), str(pair.processed.relative_to(folders[1]))) for pair in pairs
    ]


def test_raw_music_is_amplified_for_each_listener(tmp_path: Path) -> None:
    pair = Pair(*(put(tmp_path / name, excerpt("clean")) for name in ("a.wav", "b.wav")))
    x = excerpt("clean").astype(np.float64)
    plain, amplified = score_pair(pair, LISTENERS), score_pair(pair, LISTENERS, Convention(amplify_processed=True))
    for listener, own, other in zip(LISTENERS, amplified, plain, strict=True):
        assert own.score > max(0.8, other.score)  # the same music, and HAAQI amplifies its reference
        aided = nal_r(x.astype(np.float32), RATE, listener).astype(np.float64)
        assert own.score == pytest.approx(Reference(x, RATE, heard(listener)).score(aided, RATE).score, abs=1e-3)


def test_files_are_matched_by_their_place_and_stem(folders: tuple[Path, Path]) -> None:
    pairs, alone = match_files(*folders)
    assert below(pairs, folders) == [
        ("a.wav", "a.mp3"),
        ("a.wav", "a.wav"),
        ("b.flac", "b.wav"),
        ("d.e.wav", "d.e.wav"),
        ("sub/c.wav", "sub/c.ogg"),
    ]
    clean, aided = folders
    assert [path for path, _ in alone] == [aided / "extra.wav", clean / "sub" / "a.wav", clean / "unused.wav"]
    assert str(alone[0][1]) == f"{aided / 'extra.wav'} has no reference: expected {clean / 'extra.wav'}"
    assert str(alone[2][1]) == f"{clean / 'unused.wav'} has no processed version: expected {aided / 'unused.wav'}"


def test_the_same_name_goes_before_the_same_stem(folders: tuple[Path, Path]) -> None:
    put(folders[0] / "a.flac")
    (folders[1] / "a.mp3").unlink()
    assert below(match_files(*folders).pairs, folders)[0] == ("a.wav", "a.wav")
    (folders[1] / "a.wav").rename(folders[1] / "a.ogg")
    with pytest.raises(OptionError, match=r"a\.ogg may go with .*a\.flac or .*a\.wav: leave one of them"):
        match_files(*folders)


def test_two_files_are_a_pair_whatever_their_names(folders: tuple[Path, Path]) -> None:
    pair = folders[0] / "a.wav", folders[1] / "b.wav"
    assert match_files(*pair) == ([pair], [])


def test_what_cannot_be_matched(folders: tuple[Path, Path], tmp_path: Path) -> None:
    clean, aided = folders
    for given in ((clean, tmp_path / "absent"), (tmp_path / "absent.wav", aided / "a.wav")):
        with pytest.raises(
            AudioFileNotFoundError, match=r"absent.* does not exist: give two audio files, or two folders"
        ):
            match_files(*given)
    for given in ((clean, aided / "a.wav"), (clean / "a.wav", aided)):
        with pytest.raises(OptionError, match=r"is a folder and .*a\.wav a file: give two files, or two folders"):
            match_files(*given)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioFileNotFoundError, match=r"no audio in .*empty: expected files that end in"):
        match_files(clean, tmp_path / "empty")
    put(tmp_path / "other" / "z.wav")
    with pytest.raises(AudioFileNotFoundError, match=r"no file of .*other has the name of one in .*clean"):
        match_files(clean, tmp_path / "other")


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_files_are_compared_at_their_own_rate(rate: int, tmp_path: Path) -> None:
    x, y = excerpt("clean", rate), excerpt("degraded", rate)
    pair = Pair(put(tmp_path / "x.flac", x, rate), put(tmp_path / "y.flac", y, rate))
    x, y = (soundfile.read(path)[0] for path in pair)
    assert score_pair(pair, LISTENERS) == [Reference(x, rate, heard(listener)).score(y, rate) for listener in LISTENERS]


def test_channels_are_averaged(tmp_path: Path) -> None:
    x, y = excerpt("clean"), excerpt("degraded")
    side = noise(len(y))
    stereo = np.stack([y + side, y - side], axis=1)
    pair = Pair(
        write(tmp_path / "x", x, RATE, "wavfloat"), write(tmp_path / "y", stereo.astype(np.float32), RATE, "wavfloat")
    )
    wanted = Reference(x, RATE, heard(LISTENERS[0])).score(y, RATE)
    np.testing.assert_allclose(score_pair(pair, LISTENERS[:1])[0], wanted, atol=1e-4)


def test_rates_that_differ_keep_time(tmp_path: Path) -> None:
    """A rate of 44.1 kHz counts as 44 in the model: beside 48 kHz the music would drift away."""
    x, y = (music(2.0, 48_000, 4.0, clip) for clip in ("clean", "degraded"))
    wanted = Reference(x, 48_000, heard(LISTENERS[0])).score(y, 48_000)
    other = soxr.resample(y, 48_000, 44_100)
    pairs = [
        Pair(put(tmp_path / "x.flac", x, 48_000), put(tmp_path / "y.flac", other, 44_100)),
        Pair(
            put(tmp_path / "x44.flac", soxr.resample(x, 48_000, 44_100), 44_100), put(tmp_path / "y48.flac", y, 48_000)
        ),
    ]
    for pair in pairs:
        np.testing.assert_allclose(score_pair(pair, LISTENERS[:1])[0], wanted, atol=0.01)
    drifting = Reference(x, 48_000, heard(LISTENERS[0])).score(other, 44_100)
    assert abs(drifting.score - wanted.score) > 0.02


@pytest.fixture
def four(tmp_path: Path) -> list[Pair]:
    """Two good pairs, and two that fail."""
    clean = put(tmp_path / "clean.wav", excerpt("clean"))
    good = put(tmp_path / "good.wav", excerpt("degraded"))
    same = put(tmp_path / "same.wav", excerpt("clean"))
    silent = put(tmp_path / "silent.wav", np.zeros(9_000, np.float32))
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    return [Pair(clean, good), Pair(silent, good), Pair(clean, broken), Pair(clean, same)]


def test_a_pair_that_fails_stops_no_other(four: list[Pair]) -> None:
    found = dict(score_pairs(four, LISTENERS, jobs=1))
    assert list(found) == [0, 1, 2, 3]
    for place in (0, 3):
        assert found[place] == score_pair(four[place], LISTENERS)
    assert isinstance(found[1], AudioError)
    assert str(found[1]).startswith(f"{four[1].processed} cannot be compared with {four[1].reference}: the reference")
    assert isinstance(found[2], AudioFileError)
    assert "broken.wav" in str(found[2])


def test_processes_find_the_same(four: list[Pair]) -> None:
    alone, together = (dict(score_pairs(four, LISTENERS[:1], jobs)) for jobs in (1, 2))
    assert {place: str(result) for place, result in together.items()} == {p: str(r) for p, r in alone.items()}


def test_long_files_are_refused_before_they_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haaqi_edge.haaqi.clips.MAX_SECONDS", 6.0)
    long = put(tmp_path / "long.wav", as_int16(music(6.1, RATE)))
    with pytest.raises(AudioError, match=r"long\.wav lasts more than 6 s: .*give excerpts"):
        score_pair(Pair(long, long), LISTENERS)


def test_a_process_that_is_killed(four: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed:
        def __init__(self, **_: Any) -> None: ...

        def __call__(self, _: Iterator[Any]) -> Iterator[tuple[int, list[Haaqi], Messages]]:
            yield 0, [], Messages([], [])
            raise BrokenProcessPool("a worker process managed by the executor was unexpectedly terminated")

    monkeypatch.setattr(joblib, "Parallel", Killed)
    with pytest.raises(WorkerError, match=r"one of 2 processes was ended from outside, .*: use fewer jobs") as caught:
        list(score_pairs(four, LISTENERS, jobs=2))
    assert caught.value.exit_code == 1
