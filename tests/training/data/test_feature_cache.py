"""The feature cache: packs that only grow, features made once for each sound, and batches that read them."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.model.nano import PLANES
from haaqi_edge.runtime.errors import CorpusError, OptionError, WorkerError
from haaqi_edge.runtime.features.fbank import fbank
from haaqi_edge.runtime.features.texture import BANDS
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data import examples as examples_module
from haaqi_edge.training.data import feature_cache
from haaqi_edge.training.data.batches import Dataset
from haaqi_edge.training.data.examples import Example, load_table_examples, render_waveforms
from haaqi_edge.training.data.feature_cache import (
    DENSE,
    FBANK,
    FeatureCache,
    FeatureKind,
    Pack,
    clean_kind,
    texture_kind,
)
from haaqi_edge.training.data.features import clean_level, patches_in, row_texture, rows_digest
from haaqi_edge.training.data.labels import targets_path, write_rows
from haaqi_edge.training.data.rendering import render_row
from haaqi_edge.training.data.rows import GROUP, Row, plan_rows
from haaqi_edge.training.data.targets import MISSING

ROOT = Path(__file__).resolve().parents[3]
TEXTURE, CLEAN = texture_kind(), clean_kind()
SECONDS = 0.6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of the two demo files."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s\nclean.flac,train,demo,acoustic,20\ndegraded.flac,valid,demo,acoustic,20\n"
    )
    for name in ("clean.flac", "degraded.flac"):
        (folder / name).symlink_to(ROOT / "demo" / name)
    return Corpus(folder)


def planned(corpus: Corpus, rows: int = 8) -> list[Row]:
    """Rows of clean music with simple conditions, whatever the plan's are."""
    made = plan_rows(corpus.of("train"), "train", 0, rows, SECONDS)
    chains = ("", "clip(peak=0.5)", "lowpass(hz=2000)", "noise(snr=10)")
    return [replace(row, chain=chains[n % GROUP], variation="", score=0.1 * (n % 10)) for n, row in enumerate(made)]


@pytest.fixture
def table(corpus: Corpus, tmp_path: Path) -> Path:
    write_rows(tmp_path / "table" / "train-0000.parquet", planned(corpus), corpus.digest)
    return tmp_path / "table"


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is made while a test runs: `reference` and `presented`."""
    calls: list[str] = []
    for name, kept in (("render_reference", "reference"), ("render_presented", "presented")):
        inner = getattr(examples_module, name)

        def counted(*given: Any, inner: Any = inner, kept: str = kept) -> Any:
            calls.append(kept)
            return inner(*given)

        monkeypatch.setattr(examples_module, name, counted)
    return calls


def arrays(*lengths: int, tail: tuple[int, ...] = (2, 3), seed: int = 0) -> list[tuple[str, Any]]:
    rng = np.random.default_rng(seed)
    return [(f"k{seed}-{n}", rng.standard_normal((x, *tail)).astype(np.float16)) for n, x in enumerate(lengths)]


def append(path: Path, given: Sequence[tuple[str, Any]]) -> None:
    with Pack(path).lock() as pack:
        pack.append(given)


# Packs


def test_a_pack_grows_and_is_an_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.npy"
    first, second = arrays(4, 1, 3), arrays(2, seed=1)
    append(path, first)
    append(path, [*second, *first])
    pack = Pack(path)
    assert len(pack) == 4
    for key, array in (*first, *second):
        np.testing.assert_array_equal(pack.get(key), array)
    joined = np.concatenate([array for _, array in (*first, *second)])
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), joined)
    assert isinstance(pack.array, np.memmap)
    assert pack.place("k0-2") == (5, 3)
    assert "k0-3" not in pack
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.index", "x.npy"]


@pytest.mark.parametrize("left", ["data", "line"])
def test_an_interrupted_write_is_no_part_of_a_pack(left: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    first, second = arrays(4, 2), arrays(3, seed=1)
    append(path, first)
    with (path if left == "data" else tmp_path / "x.index").open("ab") as file:
        file.write(b"k9 3")
    assert len(Pack(path)) == 2
    append(path, second)
    pack = Pack(path)
    for key, array in (*first, *second):
        np.testing.assert_array_equal(pack.get(key), array)
    assert len(np.load(path)) == 9


def test_damaged_packs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    append(path, arrays(4, 2))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CorpusError, match=r"x\.npy is cut short: remove it and x\.index"):
        Pack(path)
    path.write_bytes(b"something else")
    with pytest.raises(CorpusError, match=r"is damaged .* remove both"):
        Pack(path)
    path.unlink()
    with pytest.raises(CorpusError, match="is damaged"):
        Pack(path)
    path.write_bytes(content)
    for index in ("k0-0 four\n", "k0-0 4\nk0-1 -2\n"):
        (tmp_path / "x.index").write_text(index)
        with pytest.raises(CorpusError, match="is damaged"):
            Pack(path)


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    append(path, arrays(4))
    with pytest.raises(CorpusError, match=r"has arrays of float16 \[n, 2, 3\], got float16 \[4, 2, 4\]"):
        append(path, arrays(4, tail=(2, 4), seed=1))
    assert len(Pack(path)) == 1


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with Pack(path).lock() as pack:
        with pytest.raises(OptionError, match=r"another process is writing .*x\.npy: wait"), Pack(path).lock():
            pass
        pack.append(arrays(2))
    other = Pack(path)
    append(path, arrays(3, seed=1))
    with other.lock():
        assert len(other) == 2  # what another writer added is read first


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npy"
    append(path, arrays(4))

    def full(*_: Any) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "_header", full)
        with pytest.raises(OptionError, match=r"No space left .*: free some space"):
            append(path, arrays(5, seed=1))
    assert len(Pack(path)) == 1
    append(path, arrays(5, seed=1))
    assert len(Pack(path)) == 2


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot write features to"):
        append(tmp_path / "file" / "x.npy", arrays(1))


# Features


def test_features_are_those_of_the_rows(table: Path, corpus: Corpus, cache: FeatureCache, made: list[str]) -> None:
    examples = load_table_examples(table, "train")
    seen: list[tuple[int, int]] = []
    cache.fill([TEXTURE, CLEAN, FBANK], examples, corpus, 1, lambda *at: seen.append(at))
    assert seen == [(0, 8), (8, 8)]
    assert (made.count("reference"), made.count("presented")) == (2, 8)  # once for each group, and each row
    for example in examples:
        row = example.source
        assert isinstance(row, Row)
        clean, presented, rate = render_row(row, corpus)
        np.testing.assert_array_equal(cache.load(TEXTURE, example), row_texture(row, presented, rate))
        np.testing.assert_array_equal(cache.load(CLEAN, example), clean_level(row, clean, rate))
    wave = next(render_waveforms(examples[3:], corpus))
    np.testing.assert_array_equal(cache.load(FBANK, examples[3]), fbank(wave).astype(np.float16))
    patches = patches_in(SECONDS)
    flat = np.load(cache.folder / "train" / "texture.npy", mmap_mode="r")
    assert flat.shape == (8 * patches, PLANES, BANDS)
    assert np.load(cache.folder / "train" / "clean.npy", mmap_mode="r").shape == (2 * patches, BANDS)


def test_versions_of_the_front_end_are_kept_apart(table: Path, corpus: Corpus, cache: FeatureCache) -> None:
    examples = load_table_examples(table, "train", 4)
    cache.fill([TEXTURE, texture_kind(2), clean_kind(2)], examples, corpus)
    row = examples[0].source
    assert isinstance(row, Row)
    clean, presented, rate = render_row(row, corpus)
    np.testing.assert_array_equal(cache.load(texture_kind(2), examples[0]), row_texture(row, presented, rate, 2))
    np.testing.assert_array_equal(cache.load(clean_kind(2), examples[0]), clean_level(row, clean, rate, 2))
    assert not np.array_equal(cache.load(TEXTURE, examples[0]), cache.load(texture_kind(2), examples[0]))


def test_a_table_that_grows_keeps_its_features(
    table: Path, corpus: Corpus, cache: FeatureCache, made: list[str]
) -> None:
    cache.fill([TEXTURE, CLEAN], load_table_examples(table, "train", 4), corpus)
    assert made.count("presented") == 4
    write_rows(table / "train-0001.parquet", planned(corpus, 16)[8:], corpus.digest)
    examples, other = load_table_examples(table, "train"), FeatureCache(cache.folder)
    assert len(examples) == 16
    other.fill([TEXTURE, CLEAN], examples, corpus)
    assert made.count("presented") == 16
    other.fill([TEXTURE, CLEAN], examples, None)  # all is there: no corpus is needed
    assert made.count("presented") == 16


def test_rows_of_another_sound_are_made_again(
    table: Path, corpus: Corpus, cache: FeatureCache, made: list[str]
) -> None:
    cache.fill([TEXTURE, CLEAN], load_table_examples(table, "train"), corpus)
    rows = planned(corpus)
    changed = [replace(rows[0], chain="clip(peak=0.1)"), *(replace(row, score=0.9) for row in rows[1:])]
    write_rows(table / "train-0000.parquet", changed, corpus.digest)
    made.clear()
    examples = load_table_examples(table, "train")
    assert cache.missing(TEXTURE, examples) == [0]
    cache.fill([TEXTURE, CLEAN], examples, corpus)
    assert made == ["reference", "presented"]


def test_a_table_of_another_corpus_is_refused(table: Path, corpus: Corpus, cache: FeatureCache) -> None:
    write_rows(table / "train-0000.parquet", planned(corpus), "0123456789abcdef")
    with pytest.raises(CorpusError, match=r"table train was made from corpus 0123456789abcdef, .* build the corpus"):
        cache.fill([TEXTURE], load_table_examples(table, "train"), corpus)
    with pytest.raises(CorpusError, match="give the folder with --corpus"):
        cache.fill([TEXTURE], load_table_examples(table, "train"), None)


def test_an_old_table_does_not_tell_its_corpus(table: Path, corpus: Corpus, cache: FeatureCache) -> None:
    write_rows(table / "train-2026-11-0000.parquet", planned(corpus, 4))
    examples = load_table_examples(table, "train-2026-11")
    cache.fill([TEXTURE], examples, corpus)
    assert (cache.folder / "train-2026-11" / "texture.npy").exists()
    same = load_table_examples(table, "train")[:4]
    assert [e.sound_key for e in same] != [e.sound_key for e in examples]


def test_features_resume_after_a_failure(
    table: Path, corpus: Corpus, cache: FeatureCache, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "CHUNK", GROUP)
    rows = planned(corpus)
    write_rows(table / "train-0000.parquet", [*rows[:4], *(replace(row, clip="absent.flac") for row in rows[4:])])
    with pytest.raises(CorpusError, match=r"absent\.flac does not exist"):
        cache.fill([TEXTURE], load_table_examples(table, "train"), corpus)
    write_rows(table / "train-0000.parquet", rows)
    made.clear()
    FeatureCache(cache.folder).fill([TEXTURE], load_table_examples(table, "train"), corpus)
    assert made.count("presented") == 4


@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_what_is_finished_stays(
    table: Path, corpus: Corpus, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "CHUNK", GROUP)
    examples = load_table_examples(table, "train")
    cache.fill([TEXTURE], examples[:4], corpus)
    write_rows(table / "train-0001.parquet", planned(corpus, 16)[8:], corpus.digest)

    def kill(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "partial", lambda *_: kill)
        with pytest.raises(WorkerError, match="use fewer --jobs, then run it again"):
            cache.fill([TEXTURE], load_table_examples(table, "train"), corpus, jobs=2)
    cache.fill([TEXTURE], examples[:4], None)
    cache.fill([TEXTURE], examples, corpus)
    assert len(cache.pack(TEXTURE, "train")) == 8


def test_what_a_network_gives_is_computed_once(cache: FeatureCache) -> None:
    examples = [Example(f"s{n % 2}", (10.0 * (n // 2),) * 8, 0.5, Path(f"{n}.wav")) for n in range(4)]
    layers, frames = FeatureKind("layers", axis=1), FeatureKind("frames", "listening_key")
    calls: list[Any] = []

    def compute(example: Example) -> Any:
        calls.append(example)
        return np.full((3, 2 + len(example.sound_key), 4), len(calls))

    cache.fill_with(layers, examples, lambda example: compute(example).astype(np.float32))
    assert len(calls) == 2
    assert cache.load(layers, examples[3]).shape == (3, 4, 4)
    seen: list[tuple[int, int]] = []
    cache.fill_with(frames, examples, lambda example: np.float32([example.audiogram[0]]), lambda *at: seen.append(at))
    assert [float(cache.load(frames, example)[0]) for example in examples] == [0, 0, 10, 10]
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


# Dense targets


def test_dense_targets_come_from_labelling(
    table: Path, corpus: Corpus, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "LABEL_CHUNK", 4)
    examples, work, patches = load_table_examples(table, "train"), tmp_path / "work", patches_in(SECONDS)
    assert cache.add_targets(examples, work) == 0
    path = targets_path(work, "train", 0)
    path.parent.mkdir(parents=True)
    targets = np.random.default_rng(0).integers(0, 255, (4, 3, patches, BANDS), np.uint8)
    np.savez_compressed(path, targets=targets, digest=np.array(rows_digest(planned(corpus)[:4])))
    assert cache.add_targets(examples[:3], work) == 0  # not a whole chunk
    assert cache.add_targets(examples, work) == 4
    cache.fill([TEXTURE], examples, corpus)
    clips = Dataset(cache, examples, TEXTURE, [DENSE])
    ((_, batch),) = clips.batches(8)
    np.testing.assert_array_equal(batch.targets[0][:4].numpy(), targets)
    assert (batch.targets[0][4:] == MISSING).all()
    assert batch.targets[0].shape == (8, 3, patches, BANDS)
    ((_, batch),) = Dataset(cache, examples[4:], TEXTURE, [DENSE]).batches(8)
    assert batch.targets[0].numel() == 0


def test_dense_targets_of_other_rows_are_refused(
    table: Path, corpus: Corpus, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "LABEL_CHUNK", 4)
    examples, path = load_table_examples(table, "train"), targets_path(tmp_path, "train", 1)
    path.parent.mkdir(parents=True)
    np.savez(path, targets=np.zeros((4, 3, 2, BANDS), np.uint8), digest=np.array(rows_digest(planned(corpus)[:4])))
    with pytest.raises(CorpusError, match="dense targets of other rows than the label table"):
        cache.add_targets(examples, tmp_path)
    path.write_bytes(b"PK something")
    with pytest.raises(CorpusError, match="is damaged"):
        cache.add_targets(examples, tmp_path)


# Batches


def test_batches_read_several_tables_and_lengths(cache: FeatureCache) -> None:
    examples = []
    for number in range(20):
        table, length = ("train", "older")[number % 2], 3 + number % 3
        examples.append(Example(f"s{number}", (float(number),) * 8, number / 20, Path("x"), table=table))
        cache.put(FBANK, table, [(f"s{number}", np.full((length, 2), number, np.float32))])
    clips = Dataset(cache, examples, FBANK)
    for rng in (None, np.random.default_rng(0)):
        places = []
        for chosen, batch in clips.batches(4, rng):
            assert chosen == sorted(chosen)
            assert {3 + place % 3 for place in chosen} == {batch.inputs.shape[1]}
            np.testing.assert_array_equal(batch.inputs[:, 0, 0].numpy(), chosen)
            np.testing.assert_array_equal(batch.audiograms[:, 0].numpy(), chosen)
            np.testing.assert_array_equal(batch.labels.numpy(), np.float32([place / 20 for place in chosen]))
            places += chosen
        assert sorted(places) == list(range(20))
    assert clips.steps(4) == 6
    assert clips.steps(4, drop_last=True) == 3


def test_batches_are_read_memory_mapped(cache: FeatureCache) -> None:
    examples = [Example(f"s{n}", (0.0,) * 8, 0.5, Path("x"), table="train") for n in range(64)]
    cache.put(FBANK, "train", [(e.sound_key, np.full((2, 3), n, np.float32)) for n, e in enumerate(examples)])
    clips = Dataset(cache, examples, FBANK)
    next(clips.batches(8))
    pack = cache.pack(FBANK, "train")
    assert isinstance(pack.array, np.memmap)
    with pack.path.open("r+b") as file:  # a change of the file shows: nothing was copied
        file.seek(-12, os.SEEK_END)
        file.write(np.full(6, 7, np.float16).tobytes())
    np.testing.assert_array_equal(clips.features([63]), np.full((1, 2, 3), 7))


def test_features_that_were_not_made_are_told(cache: FeatureCache) -> None:
    with pytest.raises(CorpusError, match=r"texture\.npy lacks features of .*x\.wav: compute them first"):
        Dataset(cache, [Example("a", (0.0,) * 8, 0.5, Path("x.wav"))], TEXTURE)
    with pytest.raises(CorpusError, match="no examples"):
        Dataset(cache, [], TEXTURE)
