"""Sounds to compare on: the files of a folder for each listener, the rows of a table with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.evaluation.predictors import ScorerPredictor
from haaqi_edge.evaluation.sounds import STANDARD_LISTENERS, Sound, list_folder_sounds, list_table_sounds, load_audio
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.audio.reading import AudioLike, open_audio
from haaqi_edge.runtime.errors import AudioError, AudioFileNotFoundError, CorpusError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data.labels import write_rows
from haaqi_edge.training.data.rendering import render_row
from haaqi_edge.training.data.rows import Row, plan_rows
from haaqi_edge.training.degradations.sampling import family
from sounds import DEMO, music
from sounds import write as write_sound


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nclean.flac,test,demo,acoustic,20\n")
    (folder / "clean.flac").write_bytes(DEMO.read_bytes())
    return folder


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[Row]:
    planned = plan_rows(Corpus(corpus).of("test"), "test", 0, 24, 2.0, speech=False)
    return [dataclasses.replace(row, score=k / 24) for k, row in enumerate(planned)]


def test_a_folder_is_listed_for_each_listener(tmp_path: Path) -> None:
    for name in ("a", "sub/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_sound(tmp_path / name, music(1.0), 16_000, "wav")
    (tmp_path / "note.txt").write_text("no audio")
    listed = list_folder_sounds(tmp_path)
    assert [(sound.name, sound.listener.name) for sound in listed] == [
        (name, listener) for name in ("a.wav", str(Path("sub/b.wav"))) for listener in STANDARD_LISTENERS
    ]
    assert {sound.load() for sound in listed} == {tmp_path / "a.wav", tmp_path / "sub/b.wav"}
    chosen = list_folder_sounds(tmp_path, [Audiogram.named("S3")], 65.0, True)
    assert [(s.listener.name, s.spl, s.nal_r, s.level) for s in chosen] == [("S3", 65.0, True, 65.0)] * 2


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileNotFoundError):
        list_folder_sounds(tmp_path)


def test_rows_are_rendered_with_their_labels(corpus: Path, rows: list[Row], tmp_path: Path) -> None:
    write_rows(tmp_path / "test-0000.parquet", rows)
    listed = list_table_sounds(tmp_path, corpus)
    assert [sound.label for sound in listed] == pytest.approx([row.score for row in rows])
    for sound, row in list(zip(listed, rows, strict=True))[::5]:
        audio = open_audio(sound.load())
        _, expected, expected_rate = render_row(row, Corpus(corpus))
        assert (audio.rate, audio.presented) == (expected_rate, True)
        samples = np.concatenate(list(audio.blocks(audio.rate)))
        np.testing.assert_array_equal(samples, expected.astype(np.float32))
        assert sound.listener.levels == pytest.approx(row.audiogram)
        assert (sound.condition, sound.level) == (family(row.chain), row.level)
        assert row.chain in sound.name


def test_rows_that_are_amplified_above_120_db_spl_are_scored(corpus: Path, rows: list[Row], tmp_path: Path) -> None:
    amplified = [dataclasses.replace(rows[0], chain="", aid="nal-r", level=75.0, audiogram=(105.0,) * 8)]
    write_rows(tmp_path / "test-0000.parquet", amplified)
    (sound,) = list_table_sounds(tmp_path, corpus)
    _, presented, rate = render_row(amplified[0], Corpus(corpus))
    scorer = Scorer("nano", threads=1)
    with pytest.raises(AudioError, match="music that is amplified for a severe hearing loss can be this loud"):
        scorer.score((presented.astype(np.float32), rate), sound.listener)
    assert 0 <= ScorerPredictor(scorer)(sound.load(), sound.listener) <= 1


def test_a_random_selection_of_rows_is_ordered_and_reproducible(corpus: Path, rows: list[Row], tmp_path: Path) -> None:
    write_rows(tmp_path / "test-0000.parquet", rows)
    labels = [sound.label for sound in list_table_sounds(tmp_path, corpus, rows=7)]
    assert labels == sorted(labels)  # type: ignore[type-var]
    assert len(set(labels)) == 7
    assert labels == [sound.label for sound in list_table_sounds(tmp_path, corpus, rows=7)]
    assert len(list_table_sounds(tmp_path, corpus, rows=100)) == 24


def test_other_tables_and_splits_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no table test in"):
        list_table_sounds(tmp_path, corpus)
    with pytest.raises(CorpusError, match="no table tset in"):
        list_table_sounds(tmp_path, corpus, "tset")


def test_a_sound_is_loaded_once_for_consecutive_listeners(tmp_path: Path) -> None:
    calls: list[AudioLike] = []
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, music(1.0), 16_000)
    openers: dict[int, Callable[[], AudioLike]] = {}

    def counted(sound: Sound) -> Sound:
        def load(opener: Callable[[], AudioLike] = sound.load) -> AudioLike:
            calls.append(opener())
            return calls[-1]

        return dataclasses.replace(sound, load=openers.setdefault(id(sound.load), load))

    counting = [counted(sound) for sound in list_folder_sounds(tmp_path)]
    loaded = [audio for _, audio in load_audio(counting)]
    assert loaded == [tmp_path / "a.wav"] * 4 + [tmp_path / "b.wav"] * 4
    assert calls == [tmp_path / "a.wav", tmp_path / "b.wav"]


def test_rows_that_differ_only_in_the_aid_are_different_sounds(corpus: Path, rows: list[Row], tmp_path: Path) -> None:
    aids = ("nal-r", "none", "nal-r(gain=6.0,tilt=1.0)")
    write_rows(tmp_path / "test-0000.parquet", [dataclasses.replace(rows[0], aid=aid) for aid in aids])
    opened = [open_audio(audio) for _, audio in load_audio(list_table_sounds(tmp_path, corpus))]
    levels = [float(np.square(np.concatenate(list(audio.blocks(audio.rate)))).mean()) for audio in opened]
    assert len({round(level, 9) for level in levels}) == 3
    assert len({sound.name for sound in list_table_sounds(tmp_path, corpus)}) == 3
