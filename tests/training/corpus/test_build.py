"""A corpus built from a tiny recipe: packages, a folder of clips, duplicates, rules, resuming, and what is left out."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from command import run
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus import build
from haaqi_edge.training.corpus.build import Builder, BuildSummary
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.corpus.packages import Packages
from haaqi_edge.training.corpus.recipe import read_recipe
from haaqi_edge.training.corpus.synthetic import synthesize_piece

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages are built with Debian's dpkg-deb")
RATE = 24_000
SECONDS = 24.0


def song(number: int) -> np.ndarray:
    """Music float64 [samples] of `SECONDS`, louder than the rules ask for, with energy in all bands."""
    samples = synthesize_piece(number, SECONDS)
    samples = 0.8 * samples / np.abs(samples).max()
    return np.asarray(samples + 4e-3 * np.random.default_rng(number).standard_normal(len(samples)))


def package(folder: Path, name: str, files: dict[str, np.ndarray]) -> dict[str, str]:
    """A package with audio below usr/share/NAME; returns the SHA-256 of each by path."""
    tree = folder / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: songs\n"
    )
    sums = {}
    for file, samples in files.items():
        path = tree / "usr" / "share" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE)
        sums[f"usr/share/{name}/{file}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    subprocess.run(
        ["dpkg-deb", "--build", "-Zgzip", tree, folder / f"{name}_1_all.deb"], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return sums


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of two packages and a folder of clips, with the packages beside it in `debs`.

    `first` has a song that the folder has too, and a silent track; `second` repeats a song of `first` and lacks one
    that the table of checksums names.
    """
    folder = tmp_path_factory.mktemp("recipe")
    debs, music = folder / "debs", folder / "music"
    debs.mkdir()
    music.mkdir()
    one, two, three, four = (song(number) for number in (5, 8, 6, 19))
    excerpt = one[8 * RATE : 18 * RATE]
    soundfile.write(music / "known.ogg", excerpt, RATE, format="OGG", subtype="VORBIS")
    (music / "CLIPS.csv").write_text(
        "clip,split,source,track,start_s,genre,duration_s,licence,origin_repo,origin_path\n"
        "known.ogg,train,mine,known,8.0,folk,10.0,CC0-1.0,us/mine,known.flac\n"
    )
    sums = {
        "first": package(
            debs, "first", {"a.flac": one, "b.flac": two, "c.flac": three, "quiet.flac": np.zeros(24 * RATE)}
        ),
        "second": package(debs, "second", {"d.flac": 0.5 * three[RATE:], "e.flac": four}),
    }
    sums["second"]["usr/share/second/gone.flac"] = "0" * 64
    with (folder / "songs-sha256.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "path", "sha256"])
        writer.writerows((source, path, digest) for source, entries in sums.items() for path, digest in entries.items())
    common = {"codec": "FLAC", "licence": "CC0-1.0", "attribution": "us", "genre": "synthetic"}
    sources = [
        {"source": name, "package": name, "split": split, "tracks": [f"usr/share/{name}/*.flac"], **common}
        for name, split in (("first", "train"), ("second", "test"), ("absent", "valid"))
    ]
    (folder / "songs.yaml").write_text(yaml.safe_dump({"recorded": sources}))
    settings = {"folders": ["music"], "recorded": "songs.yaml", "cut": {"length": 6, "per_track": 2}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder


def builder(recipe: Path, output: Path, jobs: int = 1) -> Builder:
    packages = Packages(output / "packages", recipe / "debs")
    return Builder(read_recipe(recipe / "tiny.yaml"), output, packages, {"music": recipe / "music"}, jobs)


@pytest.fixture(scope="module")
def built(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuildSummary]:
    output = tmp_path_factory.mktemp("corpus")
    return output, builder(recipe, output).build()


def reasons(summary: BuildSummary) -> dict[str, str]:
    return {reason.name: reason.reason for reason in summary.left_out}


@pytest.mark.slow
def test_the_corpus_has_what_the_recipe_names(built: tuple[Path, BuildSummary]) -> None:
    output, summary = built
    corpus = Corpus(output)
    assert {(c.path.rsplit("-", 1)[0], c.split) for c in corpus.clips} == {
        ("music/known.ogg", "train"),
        ("first/b", "train"),
        ("second/d", "test"),
        ("second/e", "test"),
    }
    for clip in corpus.clips:
        samples, rate = corpus.excerpt(clip.path, 0.0, clip.duration)
        assert rate == RATE
        assert len(samples) == pytest.approx(clip.duration * RATE, abs=64)
        assert 0.01 < np.abs(samples).max() <= 1
        assert clip.licence == "CC0-1.0"
        assert clip.origin in {"us/mine", "first", "second"}
    assert summary.counts()["test"]["recorded"]["tracks"] == 2
    assert summary.digest == corpus.digest
    told = json.loads((output / "CORPUS.json").read_text())
    assert told["digest"] == corpus.digest
    assert told["counts"] == summary.counts()


def test_a_recording_is_kept_in_one_source(built: tuple[Path, BuildSummary]) -> None:
    output, summary = built
    found = reasons(summary)
    assert found["first/a"] == "the same recording as music/known.ogg"
    assert found["first/c"] == "the same recording as second/d"  # test comes before train
    assert not list(output.glob("first/a-*"))
    assert not list(output.glob("first/c-*"))


@pytest.mark.slow
def test_what_cannot_be_had_is_left_out_with_the_reason(built: tuple[Path, BuildSummary]) -> None:
    found = reasons(built[1])
    assert "absent_*.deb" in found["absent"]
    assert "silence" in found["first/quiet"] or "level" in found["first/quiet"]
    assert "gone.flac" in found["second"]


def test_clips_are_the_track_itself(built: tuple[Path, BuildSummary]) -> None:
    output, summary = built
    entry = next(e for e in summary.entries if e.track == "e")
    whole = song(19)
    clip, _ = soundfile.read(output / entry.clip)
    begin = round(entry.start_s * RATE)
    np.testing.assert_allclose(clip, whole[begin : begin + len(clip)], atol=1e-3)


def test_an_interrupted_build_is_continued(
    recipe: Path, built: tuple[Path, BuildSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_source = Builder._cut_source
    asked: list[str] = []

    def stopping(self: Builder, source: build.recorded.RecordedSource, checksums: dict[str, str]) -> object:
        asked.append(source.source)
        if source.source == "second" and asked.count("second") == 1:
            raise KeyboardInterrupt
        return cut_source(self, source, checksums)

    monkeypatch.setattr(Builder, "_cut_source", stopping)
    with pytest.raises(KeyboardInterrupt):
        builder(recipe, tmp_path).build()
    assert not (tmp_path / "CLIPS.csv").exists()
    summary = builder(recipe, tmp_path).build()
    assert asked == ["first", "second", "second", "absent"]
    assert summary.digest == built[1].digest
    assert builder(recipe, tmp_path).build().digest == summary.digest
    assert asked[4:] == ["absent"]  # nothing is cut twice


def test_processes_build_the_same_corpus(recipe: Path, built: tuple[Path, BuildSummary], tmp_path: Path) -> None:
    summary = builder(recipe, tmp_path, jobs=2).build()
    assert summary.digest == built[1].digest
    assert (tmp_path / "CLIPS.csv").read_bytes() == (built[0] / "CLIPS.csv").read_bytes()


def test_another_recipe_needs_a_folder_of_its_own(recipe: Path, tmp_path: Path) -> None:
    builder(recipe, tmp_path)._prepare()
    other = recipe / "other.yaml"
    other.write_text((recipe / "tiny.yaml").read_text().replace("per_track: 2", "per_track: 1"))
    packages = Packages(tmp_path / "packages", recipe / "debs")
    with pytest.raises(CorpusError, match="a corpus of another recipe"):
        Builder(read_recipe(other), tmp_path, packages, {"music": recipe / "music"}).build()


def test_a_folder_of_other_clips_is_not_overwritten(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "CLIPS.csv").write_text("clip,split\n")
    with pytest.raises(CorpusError, match="holds clips that were not built there"):
        builder(recipe, tmp_path).build()
    assert (tmp_path / "CLIPS.csv").read_text() == "clip,split\n"


def test_one_process_builds_at_a_time(recipe: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / ".build").mkdir()
    with (tmp_path / ".build" / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match=r"another process builds .*: wait until it ends"):
            builder(recipe, tmp_path).build()


def test_a_folder_that_cannot_be_made_is_told(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match=r"cannot build the corpus in .*make the folder writable"):
        builder(recipe, tmp_path / "file").build()


def test_music_that_lacks_a_clip_is_named(recipe: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    shutil.copy(recipe / "music" / "CLIPS.csv", music)
    packages = Packages(tmp_path / "packages", recipe / "debs")
    with pytest.raises(CorpusError, match=r"known\.ogg does not exist"):
        Builder(read_recipe(recipe / "tiny.yaml"), tmp_path / "out", packages, {"music": music}).build()


def test_damage_to_what_is_built_is_repaired(recipe: Path, built: tuple[Path, BuildSummary], tmp_path: Path) -> None:
    output = tmp_path / "corpus"
    shutil.copytree(built[0], output)
    (output / "music" / "known.ogg").write_bytes(b"half")
    (output / ".build" / "recorded" / "first.json").write_text("[{")
    (output / "second" / "e-1.flac").unlink()
    with pytest.raises(CorpusError, match=r"1 clips are missing .*second/e-1\.flac: run the same command again"):
        builder(recipe, output).build()
    assert builder(recipe, output).build().digest == built[1].digest
    for clip in Corpus(built[0]).clips:
        assert (output / clip.path).read_bytes() == (built[0] / clip.path).read_bytes()


def test_a_folder_that_the_recipe_needs_is_asked_for(recipe: Path, tmp_path: Path) -> None:
    packages = Packages(tmp_path / "packages", recipe / "debs")
    with pytest.raises(CorpusError, match="--folder music=PATH"):
        Builder(read_recipe(recipe / "tiny.yaml"), tmp_path, packages, {}).build()


def test_a_full_disk_stops_the_build(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    with pytest.raises(CorpusError, match="free some space"):
        builder(recipe, tmp_path).build()


def test_the_command_builds_it_too(recipe: Path, built: tuple[Path, BuildSummary], tmp_path: Path) -> None:
    done = run(
        *("corpus", "build", recipe / "tiny.yaml", "-o", tmp_path / "out", "--folder", f"music={recipe / 'music'}"),
        *("--packages", recipe / "debs", "--jobs", "1", "--json"),
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["digest"] == built[1].digest
    assert told["counts"]["test"]["recorded"]["tracks"] == 2
    assert {reason["name"] for reason in told["left_out"]} >= {"absent", "first/a"}


def test_checksums_are_written_for_a_recipe_of_ones_own(recipe: Path, tmp_path: Path) -> None:
    sources = yaml.safe_load((recipe / "songs.yaml").read_text())
    sources["recorded"] = sources["recorded"][:2]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sources))
    done = run("corpus", "checksums", tmp_path / "mine.yaml", "--packages", recipe / "debs", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tracks"] == 6
    with (tmp_path / "mine-sha256.csv").open(newline="") as file:
        written = {(row["source"], row["path"], row["sha256"]) for row in csv.DictReader(file)}
    with (recipe / "songs-sha256.csv").open(newline="") as file:
        expected = {(row["source"], row["path"], row["sha256"]) for row in csv.DictReader(file)}
    assert written == {row for row in expected if "gone" not in row[1]}
    absent = run("corpus", "checksums", recipe / "songs.yaml", "--packages", recipe / "debs")
    assert absent.code == 2
    assert "absent_*.deb" in absent.err
