"""The corpus: what its table says, excerpts of its clips, and what is wrong with a table or a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.clips import Clip, Corpus
from sounds import music
from voices import write_bank

HEADING = "clip,split,source,genre,duration_s,licence,origin_repo\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stereo = np.stack([music(3.0, 24_000), 0.5 * music(3.0, 24_000)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 24_000, subtype="FLOAT")
    (tmp_path / "CLIPS.csv").write_text(
        HEADING + "a.wav,train,us,folk,3.0,CC0-1.0,some/where\nb.wav,test,them,jazz,2.5,,\n"
    )
    return tmp_path


def test_the_table_says_what_there_is(folder: Path) -> None:
    corpus = Corpus(folder)
    assert corpus.of("train") == [Clip("a.wav", "train", "us", "folk", 3.0, "CC0-1.0", "some/where")]
    assert corpus.of("test") == [Clip("b.wav", "test", "them", "jazz", 2.5)]
    assert corpus.of("valid") == []


def test_columns_for_attribution_may_be_absent(folder: Path) -> None:
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\na.wav,train,us,folk,3\n")
    assert Corpus(folder).clips == [Clip("a.wav", "train", "us", "folk", 3.0)]


def test_excerpts_are_mono_and_where_they_should_be(folder: Path) -> None:
    samples, rate = Corpus(folder).excerpt("a.wav", 1.0, 0.5)
    assert rate == 24_000
    assert samples.dtype == np.float64
    np.testing.assert_allclose(samples, 0.75 * music(0.5, 24_000, 1.0), atol=1e-6)
    end, _ = Corpus(folder).excerpt("a.wav", 2.9, 0.5)
    assert len(end) == 2_400


def test_clips_that_are_not_as_the_table_says_are_named(folder: Path) -> None:
    corpus = Corpus(folder)
    with pytest.raises(CorpusError, match=r"b\.wav does not exist"):
        corpus.excerpt("b.wav", 0.0, 1.0)
    with pytest.raises(CorpusError, match=r"a\.wav lasts 3 s, not 7: check its duration_s"):
        corpus.excerpt("a.wav", 7.0, 1.0)
    (folder / "b.wav").write_text("no audio")
    with pytest.raises(CorpusError, match=r"cannot read .*b\.wav"):
        corpus.excerpt("b.wav", 0.0, 1.0)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("clip,source,genre,duration_s\na.wav,us,folk,3\n", "line 2: the table has no column 'split'"),
        (HEADING + "a.wav,train,us,folk,3,,\nb.wav,training,us,folk,3,,\n", "line 3: 'training' is not a split"),
        (HEADING + "a.wav,train,us,folk,nan,,\n", "line 2: the duration nan is not a number of seconds above 0"),
        (HEADING + "a.wav,train,us,folk,-3,,\n", "line 2: the duration -3 is not a number of seconds above 0"),
        (HEADING + "../a.wav,train,us,folk,3,,\n", r"line 2: '\.\./a\.wav' is not the path of a clip below"),
        (HEADING + "/a.wav,train,us,folk,3,,\n", "line 2: '/a.wav' is not the path of a clip below"),
        (HEADING + "a.wav,train,us,folk,long,,\n", "line 2: the duration 'long' is not a number of seconds"),
    ],
)
def test_a_wrong_table_is_told_by_line(table: str, words: str, folder: Path) -> None:
    (folder / "CLIPS.csv").write_text(table)
    with pytest.raises(CorpusError, match=words):
        Corpus(folder)


def test_a_table_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "CLIPS.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(CorpusError, match=r"cannot read .*CLIPS\.csv"):
        Corpus(folder)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no music in .*: expected CLIPS\.csv"):
        Corpus(tmp_path)


# What a corpus is made of


def test_origins_are_kept_with_their_checksums(folder: Path) -> None:
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s,licence,origin_repo,origin_sha256\na.wav,train,us,folk,3,CC0-1.0,deb,abc\n"
    )
    assert Corpus(folder).clips == [Clip("a.wav", "train", "us", "folk", 3.0, "CC0-1.0", "deb", "abc")]


def test_a_digest_tells_corpora_apart(folder: Path) -> None:
    columns = "clip,split,source,genre,duration_s,origin_sha256\n"

    def digest(line: str = "a.wav,train,us,folk,3.0,abc") -> str:
        (folder / "CLIPS.csv").write_text(f"{columns}{line}\n")
        return Corpus(folder).digest

    first = digest()
    assert len(first) == 16
    assert digest() == first
    assert digest("a.wav,train,us,rock,3.0,abc") == first  # rows do not depend on the genre
    changed = ("b.wav,train,us,folk,3.0,abc", "a.wav,test,us,folk,3.0,abc", "a.wav,train,them,folk,3.0,abc")
    changed += ("a.wav,train,us,folk,3.1,abc", "a.wav,train,us,folk,3.0,abd")
    digests = {digest(line) for line in changed}
    digests.add(digest("a.wav,train,us,folk,3.0,abc\nb.wav,train,us,folk,3.0,abc"))
    assert len(digests | {first}) == 7
    write_bank(folder / "speech")
    spoken = digest()
    assert spoken not in digests | {first}
    voices = folder / "speech" / "VOICES.csv"
    voices.write_text(voices.read_text().replace(",0\n", ",1\n", 1))  # another checksum of a voice
    assert digest() not in {*digests, first, spoken}


def test_a_corpus_without_a_speech_bank_has_no_voices(folder: Path) -> None:
    assert Corpus(folder).voices("train") is None


def test_voices_are_those_of_the_split(folder: Path) -> None:
    write_bank(folder / "speech")
    for split in ("train", "valid", "test"):
        speech = Corpus(folder).voices(split)
        assert speech is not None
        assert [talker.voice for talker in speech.talkers] == [f"{split}-{number}" for number in range(4)]
        assert speech.stretch(0, 100, 50_000).shape == (50_000,)


def test_older_tables_are_made_from_the_music_inside(folder: Path) -> None:
    corpus = Corpus(folder)
    assert corpus.part("test-2026-11") is corpus  # it is that music
    (folder / "music").mkdir()
    (folder / "music" / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nold.wav,train,us,folk,3\n")
    assert corpus.part("test") is corpus
    assert [clip.path for clip in corpus.part("test-2026-11").clips] == ["old.wav"]
